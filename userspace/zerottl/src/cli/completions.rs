//! Shell completions that know the Sites and names there are.

use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Command, ValueEnum};
use clap_complete::{
    Shell,
    engine::CompletionCandidate,
    env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh},
};
use zerottl_config as config;
use zerottl_inputs::agent_client::{self as client, AgentAddress};

use super::{ADMIN, INSTALLED};

/// Shells set this to ask for candidates; clap's own name for it.
const VARIABLE: &str = "COMPLETE";
/// The longest that a press of the tab key waits.
const PATIENCE: Duration = Duration::from_millis(500);
/// Candidates that are told; a shell asks before it shows a hundred.
const CANDIDATES_MAX: usize = 1_000;

/// Answers a shell that asks for candidates, and ends the process then.
pub fn answer(command: fn() -> Command) {
    clap_complete::CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Writes what a shell has to be told once: to ask this program.
pub fn write(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let shells: [(&str, &dyn EnvCompleter); 5] =
        [("bash", &Bash), ("elvish", &Elvish), ("fish", &Fish), ("powershell", &Powershell), ("zsh", &Zsh)];
    let word = shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let found = shells.iter().find(|(name, _)| *name == word);
    let (_, of) = found.ok_or_else(|| io::Error::other(format!("there are no completions for {word}")))?;
    of.write_registration(VARIABLE, "zerottl", "zerottl", "zerottl", out)
}

/// The keys of the Sites that begin with a word.
pub fn sites(word: &OsStr) -> Vec<CompletionCandidate> {
    candidates(word, known().0)
}

/// The Pool, Group and Site Names that begin with a word.
pub fn names(word: &OsStr) -> Vec<CompletionCandidate> {
    candidates(word, known().1)
}

fn candidates(word: &OsStr, of: Vec<String>) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let fitting = of.into_iter().filter(|candidate| candidate.starts_with(&*word));
    fitting.take(CANDIDATES_MAX).map(CompletionCandidate::new).collect()
}

/// Sites and names: of the file that the command line names, or of the installed one, or else what the agent says.
fn known() -> (Vec<String>, Vec<String>) {
    let words: Vec<String> = std::env::args().collect();
    let after = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
    let admin = after("--admin");
    let file = after("--config").map(PathBuf::from);
    let file = file.or_else(|| admin.is_none().then(|| PathBuf::from(INSTALLED)).filter(|file| file.is_file()));
    file.and_then(|file| of_file(&file)).or_else(|| of_agent(admin.map_or(ADMIN, String::as_str))).unwrap_or_default()
}

fn of_file(file: &Path) -> Option<(Vec<String>, Vec<String>)> {
    let model = config::load(file).ok()?.model;
    let names = model.names.iter().map(|name| name.name.to_string()).collect();
    Some((model.sites.into_iter().map(|site| site.key).collect(), names))
}

fn of_agent(admin: &str) -> Option<(Vec<String>, Vec<String>)> {
    let token = std::env::var(super::TOKEN_VARIABLE).ok();
    let token = token.and_then(|text| zerottl_core::model::AdminToken::new(&text).ok());
    let at = AgentAddress { place: admin.parse().ok()?, token };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let body = runtime.block_on(async { tokio::time::timeout(PATIENCE, client::get(&at, "/v1/status")).await });
    let page: zerottl::admin::status::StatusPage = serde_json::from_slice(&body.ok()?.ok()?).ok()?;
    let names = page.names.into_iter().map(|name| name.name).collect();
    Some((page.sites.into_iter().map(|site| site.key).collect(), names))
}
