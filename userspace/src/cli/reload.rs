//! `zerottl reload`.

use zerottl::{
    admin::{
        client::{self, ClientError},
        reload::{RELOAD, Reload},
    },
    agent::Reloaded,
};

use super::{AgentAt, Failure, complain, print, unasked};

/// Makes the agent read its file anew, and prints what came of it.
pub async fn reload(agent: &AgentAt, json: bool) -> Result<(), Failure> {
    let at = agent.address()?;
    let answer = client::post(&at, RELOAD, &Reload {}).await.map_err(|error| match error {
        // The faults, as `check` shows them.
        ClientError::Status(409, faults) => Failure::Shown(faults),
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
