//! What the commands share: finding the agent, asking it, and saying what went wrong. Commands of some length have a
//! module of their own here.

pub mod left;
pub mod run;

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
};

use serde::de::DeserializeOwned;
use zerottl::{
    admin::client::{self, ClientError},
    config,
};

/// Where the agent's admin interface is, unless told.
const ADMIN: &str = "127.0.0.1:8053";

/// How to find the running agent.
#[derive(Debug, clap::Args)]
pub struct AgentAt {
    /// The agent's admin address [default: 127.0.0.1:8053]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    pub admin: Option<SocketAddr>,
    /// Take the admin address from this configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl AgentAt {
    /// Where it is.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        match (&self.admin, &self.config) {
            (Some(address), _) => Ok(*address),
            (None, Some(file)) => {
                let loaded = config::load(file).map_err(|error| Failure::shown(&error))?;
                loaded.model.admin.listen.ok_or_else(|| {
                    let file = file.display();
                    Failure::Words(format!("{file}: there is no [admin] `listen`, so the agent cannot be asked"))
                })
            }
            (None, None) => Ok(ADMIN.parse().expect("the constant is an address")),
        }
    }
}

/// Why a command failed.
pub enum Failure {
    /// In a sentence.
    Words(String),
    /// With the lines of the configuration at fault.
    Shown(String),
}

impl Failure {
    /// From a configuration's faults.
    pub fn shown(error: &config::ConfigError) -> Self {
        Self::Shown(error.render(io::stderr().is_terminal()))
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

/// Where stderr is closed there is nobody left to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Writes to stdout; a reader that has gone, as `| head` does, has what it wanted.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Words(format!("writing the result failed: {error}")))
        }
        _ => Ok(()),
    }
}

/// Asks the agent for a page and prints it.
pub async fn show<T: DeserializeOwned>(
    at: SocketAddr,
    path: &str,
    json: bool,
    to_text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let body = client::get(at, path).await.map_err(|error| unasked(&error))?;
    if json {
        return print(&[&body, &b"\n"[..]].concat());
    }
    let page: T = serde_json::from_slice(&body)
        .map_err(|error| format!("what answers at {at} is no agent of this version ({error}); try --json"))?;
    print(to_text(&page).as_bytes())
}

/// Why the agent could not be asked, and what to do.
pub fn unasked(error: &ClientError) -> Failure {
    Failure::Words(match error {
        ClientError::Connect(..) => {
            format!("{error}; is it running, with this [admin] `listen`? Say where with --config or --admin")
        }
        // The agent's words are about what was asked for.
        ClientError::Status(400, words) => words.trim_end().to_owned(),
        _ => error.to_string(),
    })
}
