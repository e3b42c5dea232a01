//! `zerottl director`.

use std::{path::PathBuf, process::ExitCode};

use zerottl_director::keeper::{self, KeeperLink, WorkerCommand};

use super::{CommandError, log::Log};

/// Which Site's distributor, by which file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DirectorArguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    of: Option<DirectorOf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Be the worker of the keeper that starts this
    #[command(hide = true)]
    Worker(DirectorOf),
}

/// Which Site's distributor, by which file.
#[derive(Clone, Debug, clap::Args)]
struct DirectorOf {
    /// The configuration, TOML: the same file as the DNS side's, with a [director] section
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The Site that this machine belongs to, by its key in the file
    #[arg(long = "as", value_name = "SITE")]
    site: String,
}

impl DirectorArguments {
    /// Whether this is the command that runs the distributor: its keeper.
    pub fn is_keeper(&self) -> bool {
        self.command.is_none()
    }
}

/// Runs the keeper until its worker has stopped; of a process of a single thread.
pub fn keep(arguments: &DirectorArguments) -> Result<ExitCode, CommandError> {
    let Some(of) = &arguments.of else {
        return Err(CommandError::Sentence("give --config FILE and --as SITE; see `zerottl director --help`".into()));
    };
    Log::from_environment().map_err(|error| error.to_string())?.start();
    let mut arguments = ["director", "worker", "--config"].map(Into::into).to_vec();
    arguments.extend([of.config.clone().into(), "--as".into(), of.site.clone().into()]);
    let worker = WorkerCommand { program: "/proc/self/exe".into(), arguments };
    keeper::keep(&worker).map_err(|error| error.to_string().into())
}

/// Runs the other commands.
pub async fn director(arguments: DirectorArguments, log: impl FnOnce()) -> Result<(), CommandError> {
    match arguments.command {
        Some(Command::Worker(of)) => {
            log();
            worker(of).await
        }
        None => keep(&arguments).map(drop),
    }
}

#[expect(clippy::unused_async, reason = "the worker is not there yet")]
async fn worker(of: DirectorOf) -> Result<(), CommandError> {
    let (_link, _kept) = KeeperLink::from_env().map_err(|error| error.to_string())?;
    Err(CommandError::Sentence(format!("{}: the distributor of {} is not there yet", of.config.display(), of.site)))
}
