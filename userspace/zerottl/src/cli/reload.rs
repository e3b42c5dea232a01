//! `zerottl reload`.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use zerottl::{
    admin::reload::{RELOAD, Reload},
    control::commands::Reloaded,
};
use zerottl_inputs::agent_client::{self as client, ClientError};

use super::{AgentAt, CommandError, complain, print, unasked};

/// Longer than any file takes: 65,535 addresses are planned in seconds.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two words that it goes on.
const TOLD: Duration = Duration::from_secs(5);

/// Makes the agent read its file anew, and prints what came of it.
pub async fn reload(agent: &AgentAt, json: bool) -> Result<(), CommandError> {
    let at = agent.address()?;
    let asked = client::post_within(&at, RELOAD, &Reload {}, PATIENCE);
    tokio::pin!(asked);
    let begun = Instant::now();
    let answer = loop {
        match timeout(TOLD, &mut asked).await {
            Ok(answer) => break answer,
            Err(_) => complain(&format!(
                "zerottl reload: not done after {} s; until it is, answers follow the old configuration",
                begun.elapsed().as_secs()
            )),
        }
    };
    let answer = answer.map_err(|error| match error {
        // The faults, as `check` shows them.
        ClientError::Status(409, faults) => CommandError::Report(faults),
        error => unasked(&error),
    })?;
    if json {
        return print(&[&answer, &b"\n"[..]].concat());
    }
    let page: Reloaded = serde_json::from_slice(&answer)
        .map_err(|error| format!("what answers at {at} is no agent of this version ({error}); try --json"))?;
    for warning in &page.warnings {
        complain(warning);
    }
    print(format!("reloaded in {:.0} ms; from plan {} on\n", page.took_ms, page.generation).as_bytes())
}
