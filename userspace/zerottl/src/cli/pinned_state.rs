//! Commands on what goes on without an agent: `zerottl status` where none answers, and `zerottl detach`.

use std::{fmt::Write, path::Path};

use zerottl::admin::text;
use zerottl_config as config;
use zerottl_core::model::Life;
use zerottl_kernel::{
    pinned_state::{self, PinnedState},
    pins::Pins,
};

use super::{AgentAt, CommandError, print};

/// The folder of pins that a command is about.
fn folder(agent: &AgentAt) -> Result<std::path::PathBuf, CommandError> {
    match &agent.config {
        Some(file) => Ok(config::load(file).map_err(|error| CommandError::report(&error))?.model.life.pins),
        None => Ok(Life::default().pins),
    }
}

/// Shows what goes on without an agent, if anything does.
pub fn status(agent: &AgentAt, json: bool) -> Result<(), CommandError> {
    let folder = folder(agent)?;
    let Some(left) = pinned_state::read(&folder) else { return Ok(()) };
    if json {
        let page = serde_json::to_string(&left).map_err(|error| CommandError::Sentence(error.to_string()))?;
        return print(format!("{page}\n").as_bytes());
    }
    print(words(&left, &folder).as_bytes())
}

fn words(left: &PinnedState, folder: &Path) -> String {
    let mut page = String::new();
    let _ = match left.owner {
        Some(pid) => writeln!(page, "an agent runs (process {pid}) but does not answer; its pins say:"),
        None => writeln!(page, "no agent runs; {} says:", folder.display()),
    };
    let _ = match &left.plan {
        None => writeln!(page, "a plan of another version, which this one cannot read"),
        Some(plan) => {
            let stale = match plan.age_max_s {
                Some(max) if plan.age_s >= max => format!(": STALE, over its {}", text::age(max)),
                Some(max) => format!(" (stale at {})", text::age(max)),
                None => String::new(),
            };
            writeln!(page, "plan {}, confirmed {} ago{stale}", plan.generation, text::age(plan.age_s))
        }
    };
    for interface in &left.interfaces {
        let _ = writeln!(page, "{}: {}", interface.interface, interface.mode);
    }
    if !left.reasons.is_empty() {
        let rows: Vec<_> = left.reasons.iter().map(|(name, count)| vec![name.clone(), count.to_string()]).collect();
        let _ = write!(page, "\n{}", text::table(&["REASON", "COUNT"], &rows));
    }
    page
}

/// Removes what an agent has left.
pub fn detach(agent: &AgentAt) -> Result<(), CommandError> {
    let folder = folder(agent)?;
    if !folder.exists() {
        return print(format!("{}: nothing is there\n", folder.display()).as_bytes());
    }
    let pins = Pins::own(&folder, false).map_err(|error| CommandError::Sentence(error.to_string()))?;
    let interfaces = pins
        .clear()
        .map_err(|error| CommandError::Sentence(format!("removing {} failed: {error}", folder.display())))?;
    let from = if interfaces.is_empty() { "no interface".to_owned() } else { interfaces.join(", ") };
    print(format!("detached from {from}; {} removed\n", folder.display()).as_bytes())
}
