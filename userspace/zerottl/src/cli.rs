//! The common parts of the commands: finding the agent, asking it, and saying what went wrong. Commands of some length
//! have a module of their own here.

pub mod completions;
pub mod cookie_secrets;
pub mod director;
pub mod dnssec;
pub mod log;
pub mod man;
pub mod overrides;
pub mod pinned_state;
pub mod reload;
pub mod run;
pub mod session;
pub mod sign;
pub mod simulate;
pub mod site;
pub mod status;
pub mod top;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use thiserror::Error;
use zerottl_config as config;
use zerottl_core::model::{Admin, AdminListen, AdminToken};
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};

/// Where the package puts the configuration.
pub const INSTALLED: &str = "/etc/zerottl/zerottl.toml";

/// Where the agent's admin interface is, unless told.
const ADMIN: &str = "127.0.0.1:8053";

/// The token, for where a file of its own is too much.
pub const TOKEN_VARIABLE: &str = "ZEROTTL_TOKEN";

/// How to find the running agent.
#[derive(Debug, clap::Args)]
pub struct AgentAt {
    /// The agent's admin interface: ADDRESS:PORT or unix:PATH [default: 127.0.0.1:8053]
    #[arg(long, value_name = "PLACE", conflicts_with = "config")]
    pub admin: Option<AdminListen>,
    /// Take the admin interface's address and token from this configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file with the admin interface's token [default: the variable `ZEROTTL_TOKEN`]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl AgentAt {
    /// Where it is, and what to show to it.
    pub fn address(&self) -> Result<AgentAddress, CommandError> {
        let token = self.token()?;
        match (&self.admin, &self.config) {
            (Some(place), _) => Ok(AgentAddress { place: place.clone(), token }),
            (None, Some(file)) => {
                let loaded = config::load(file).map_err(|error| CommandError::report(&error))?;
                let admin = loaded.model.admin;
                let place = nearest(&admin).ok_or_else(|| {
                    let file = file.display();
                    CommandError::Sentence(format!(
                        "{file}: there is no [admin] `listen`, so the agent cannot be asked"
                    ))
                })?;
                Ok(AgentAddress { place: place.clone(), token: token.or(admin.token) })
            }
            (None, None) => {
                Ok(AgentAddress { place: ADMIN.parse().expect("the constant is an address and a port"), token })
            }
        }
    }

    fn token(&self) -> Result<Option<AdminToken>, CommandError> {
        if let Some(file) = &self.token_file {
            return read_token(file)
                .map(Some)
                .map_err(|why| CommandError::Sentence(format!("{}: {why}", file.display())));
        }
        let Some(text) = std::env::var_os(TOKEN_VARIABLE) else { return Ok(None) };
        let token = text.to_str().ok_or("it is not UTF-8").and_then(AdminToken::new);
        token.map(Some).map_err(|why| CommandError::Sentence(format!("{TOKEN_VARIABLE}: {why}")))
    }
}

fn read_token(file: &Path) -> Result<AdminToken, TokenError> {
    AdminToken::new(&fs::read_to_string(file)?).map_err(TokenError::Text)
}

/// Of the places, the one that asks least: a socket, loopback, another address.
fn nearest(admin: &Admin) -> Option<&AdminListen> {
    let distance = |place: &&AdminListen| match place {
        AdminListen::Unix(_) => 0,
        AdminListen::Tcp(at) if at.ip().is_loopback() => 1,
        AdminListen::Tcp(_) => 2,
    };
    admin.listen.iter().min_by_key(distance)
}

/// The reason why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A sentence, which follows the program's name.
    #[error("zerottl: {0}")]
    Sentence(String),
    /// A report with the lines of the configuration at fault, as it is.
    #[error("{0}")]
    Report(String),
}

impl CommandError {
    /// Creates one from a configuration's faults.
    pub fn report(error: &config::ConfigError) -> Self {
        Self::Report(error.render(io::stderr().is_terminal()))
    }
}

impl From<String> for CommandError {
    fn from(sentence: String) -> Self {
        Self::Sentence(sentence)
    }
}

/// The fault of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadArgument(pub &'static str);

/// The reason why a token cannot be read.
#[derive(Debug, Error)]
enum TokenError {
    /// The file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Its text.
    #[error("{0}")]
    Text(&'static str),
}

/// Where stderr is closed there is nobody left to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// How often it is told that a file is still being read.
const READING: Duration = Duration::from_secs(3);

/// Reads a configuration. Of one so long that this takes seconds, that is told on stderr meanwhile.
pub fn load(file: &Path) -> Result<config::Loaded, config::ConfigError> {
    let (done, waits) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            while waits.recv_timeout(READING) == Err(RecvTimeoutError::Timeout) {
                complain(&format!("{}: still being read, for {} s", file.display(), begun.elapsed().as_secs()));
            }
        });
        let loaded = config::load(file);
        drop(done);
        loaded
    })
}

/// Writes to stdout; a reader that has gone, as `| head` does, has what it wanted.
pub fn print(text: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Sentence(format!("writing the result failed: {error}")))
        }
        _ => Ok(()),
    }
}

/// Asks the agent for a page and prints it.
pub async fn show<T: DeserializeOwned>(
    at: AgentAddress,
    path: &str,
    json: bool,
    to_text: impl FnOnce(&T) -> String,
) -> Result<(), CommandError> {
    let body = client::get(&at, path).await.map_err(|error| unasked(&error))?;
    if json {
        return print(&[&body, &b"\n"[..]].concat());
    }
    let page: T = serde_json::from_slice(&body)
        .map_err(|error| format!("what answers at {at} is no agent of this version ({error}); try --json"))?;
    print(to_text(&page).as_bytes())
}

/// Why the agent could not be asked, and what to do.
pub fn unasked(error: &ClientError) -> CommandError {
    CommandError::Sentence(match error {
        ClientError::Connect(..) => {
            format!("{error}; is it running, with this [admin] `listen`? Say where with --config or --admin")
        }
        // The agent's words are about what was asked for.
        ClientError::Status(400, words) => words.trim_end().to_owned(),
        _ => error.to_string(),
    })
}
