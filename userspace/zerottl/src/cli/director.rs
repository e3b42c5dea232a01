//! `zerottl director`: the distributor itself, and what is asked of one that runs.

mod text;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use zerottl_config::{self as config, Loaded};
use zerottl_core::model::{AdminListen, Director, Model};
use zerottl_director::{
    WorkerSetup,
    keeper::{self, KeeperLink, WorkerCommand},
    pages::{ConnectionPage, DirectorPage, VerbDone},
};
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};

use super::{CommandError, INSTALLED, log::Log, overrides::refused, print};

/// A distributor, and what is asked of it.
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
    /// Show servers, their connections, and how many wait
    Status {
        #[command(flatten)]
        at: DirectorAt,
    },
    /// Give a server no new connections; those that it has go on
    Drain(Verb),
    /// Give a server no new connections, and stop it once those that it has have ended, or after `drain_timeout`
    Maint(Verb),
    /// Undo `drain` and `maint`, or start a server that has been given up
    Ready(Verb),
    /// Replace a server's process without refusing or cutting a connection; all of them, one after the other, if none is named
    Restart {
        /// A process such as app-1, or a server such as app for all of its processes
        server: Option<String>,
        #[command(flatten)]
        at: DirectorAt,
    },
    /// Show which server has a client's connection, and why
    Explain {
        /// The client's address and port, as the server sees them
        #[arg(value_name = "ADDRESS:PORT")]
        client: SocketAddr,
        #[command(flatten)]
        at: DirectorAt,
    },
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

#[derive(Debug, clap::Args)]
struct Verb {
    /// A process such as app-1, or a server such as app for all of its processes
    server: String,
    #[command(flatten)]
    at: DirectorAt,
}

/// How to find the distributor that runs.
#[derive(Debug, clap::Args)]
struct DirectorAt {
    /// Its Unix socket, `control` of [director] [default: what the configuration says]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "site"])]
    control: Option<PathBuf>,
    /// The configuration, TOML [default: /etc/zerottl/zerottl.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The Site, by its key in the file [default: the only one with servers]
    #[arg(long = "as", value_name = "SITE")]
    site: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        Some(Command::Status { at }) => at.show::<DirectorPage>("/v1/director", text::status).await,
        Some(Command::Drain(verb)) => verb.run("drain").await,
        Some(Command::Maint(verb)) => verb.run("maint").await,
        Some(Command::Ready(verb)) => verb.run("ready").await,
        Some(Command::Restart { server: Some(server), at }) => Verb { server, at }.run("restart").await,
        Some(Command::Restart { server: None, at }) => at.post("/v1/director/restart", "restart").await,
        Some(Command::Explain { client, at }) => {
            let path = format!("/v1/director/explain?client={}", client::query_value(&client.to_string()));
            at.show::<ConnectionPage>(&path, text::connection).await
        }
        None => keep(&arguments).map(drop),
    }
}

async fn worker(of: DirectorOf) -> Result<(), CommandError> {
    let (link, kept) = KeeperLink::from_env().map_err(|error| error.to_string())?;
    let loaded = load(&of.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.line());
    }
    let config = of_site(&loaded.model, &of.site)?;
    let mut site_arguments: Vec<OsString> = vec!["site".into(), "--config".into(), of.config.clone().into()];
    site_arguments.extend(["--as".into(), of.site.clone().into()]);
    let site = of.site.clone();
    let read = move || of_site(&load(&of.config).map_err(|error| error.to_string())?.model, &of.site);
    let setup = WorkerSetup { site, config, link, kept, site_arguments, read: Box::new(read) };
    zerottl_director::run(setup).await.map_err(|error| error.to_string().into())
}

fn load(file: &Path) -> Result<Loaded, CommandError> {
    config::load(file).map_err(|error| CommandError::report(&error))
}

impl Verb {
    async fn run(&self, verb: &str) -> Result<(), CommandError> {
        let path = format!("/v1/director/servers/{}/{verb}", client::query_value(&self.server));
        self.at.post(&path, verb).await
    }
}

impl DirectorAt {
    fn address(&self) -> Result<AgentAddress, CommandError> {
        let place = match &self.control {
            Some(path) => path.clone(),
            None => control(self.config.as_deref().unwrap_or(Path::new(INSTALLED)), self.site.as_deref())?,
        };
        Ok(AgentAddress { place: AdminListen::Unix(place), token: None })
    }

    async fn show<T: DeserializeOwned>(&self, path: &str, text: impl FnOnce(&T) -> String) -> Result<(), CommandError> {
        let at = self.address()?;
        let body = client::get(&at, path).await.map_err(unanswered)?;
        self.print(&at, &body, text)
    }

    async fn post(&self, path: &str, verb: &str) -> Result<(), CommandError> {
        let at = self.address()?;
        let body = client::post(&at, path, &serde_json::json!({})).await.map_err(unanswered)?;
        self.print::<VerbDone>(&at, &body, |done| text::done(done, verb))
    }

    fn print<T: DeserializeOwned>(
        &self,
        at: &AgentAddress,
        body: &[u8],
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        if self.json {
            return print(&[body, b"\n"].concat());
        }
        let page = serde_json::from_slice(body)
            .map_err(|error| format!("what answers at {at} is no director of this version ({error}); try --json"))?;
        print(text(&page).as_bytes())
    }
}

/// Returns the Unix socket of a Site's distributor by the configuration.
fn control(file: &Path, site: Option<&str>) -> Result<PathBuf, CommandError> {
    let model = load(file)?.model;
    let director = match site {
        Some(key) => of_site(&model, key)?,
        None => only(&model)?,
    };
    Ok(director.control.clone())
}

fn of_site(model: &Model, key: &str) -> Result<Arc<Director>, String> {
    let site = model.known_site(key).map_err(|error| error.to_string())?;
    let director = model.directors.get(site.0).cloned().flatten();
    director.ok_or_else(|| format!("the Site `{key}` has no servers: [[director.server]] is missing"))
}

fn only(model: &Model) -> Result<Arc<Director>, String> {
    let all = || model.sites.iter().zip(&model.directors).filter_map(|(site, one)| Some((site, one.clone()?)));
    let mut some = all();
    match (some.next(), some.next()) {
        (Some((_, director)), None) => Ok(director),
        (None, _) => Err("the configuration has no [director]: nothing is distributed".into()),
        _ => {
            let keys: Vec<&str> = all().map(|(site, _)| site.key.as_str()).take(20).collect();
            Err(format!("say which Site by --as: {} have servers", keys.join(", ")))
        }
    }
}

/// The director's words where it has some, else what went wrong.
fn unanswered(error: ClientError) -> CommandError {
    match error {
        ClientError::Connect(place, error) => CommandError::Sentence(format!(
            "no director answers at {place}: {error}; is `zerottl director --config FILE --as SITE` running, with this \
             `control`?"
        )),
        ClientError::Timeout(limit) => format!("the director did not answer within {limit:?}").into(),
        other => refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_director_that_does_not_run_is_told_so() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let place: AdminListen = "unix:/run/zerottl/director.sock".parse().unwrap();
        let said = unanswered(ClientError::Connect(place, error)).to_string();
        assert!(said.starts_with("zerottl: no director answers at unix:/run/zerottl/director.sock: "), "{said}");
        let body = r#"{"error":"no-such","message":"there is no server `x`: app-1, app-2 are"}"#.to_owned();
        let said = unanswered(ClientError::Status(404, body)).to_string();
        assert_eq!(said, "zerottl: there is no server `x`: app-1, app-2 are");
    }

    #[test]
    fn the_socket_is_that_of_the_only_director() {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
        let example = &Path::new(&folder).join("../../examples/director.toml");
        let model = config::load(example).unwrap().model;
        let with = model.directors.iter().flatten().count();
        assert_eq!(control(example, None).is_ok(), with == 1);
        for (site, director) in model.sites.iter().zip(&model.directors) {
            let found = control(example, Some(&site.key)).map_err(|error| error.to_string());
            match director {
                Some(director) => assert_eq!(found, Ok(director.control.clone())),
                None => assert!(found.unwrap_err().contains("has no servers")),
            }
        }
        let said = control(example, Some("nowhere")).unwrap_err().to_string();
        assert!(said.contains("nowhere"), "{said}");
    }
}
