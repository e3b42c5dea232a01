//! `zerottl status`.

use std::io::{self, IsTerminal};

use clap_complete::engine::ArgValueCompleter;
use zerottl::admin::{
    overview::{self, Filter},
    status::StatusPage,
};
use zerottl_inputs::agent_client as client;

use super::{AgentAt, CommandError, completions, pinned_state, print, unasked};

/// A choice of the status to show.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Of {
    /// Only Sites with this key or name; a shell's pattern, such as 'boston*'
    #[arg(long, value_name = "PATTERN", value_parser = glob::Pattern::new, add = ArgValueCompleter::new(completions::sites))]
    site: Vec<glob::Pattern>,
    /// Only Sites of this pool or group
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(completions::names))]
    pool: Option<String>,
    /// Only Sites that are down, drained or otherwise not fully in service
    #[arg(long)]
    down: bool,
    /// All names, not only those with problems and the first ones
    #[arg(long)]
    names: bool,
}

/// Asks the agent; if it does not answer, what it left in the kernel is shown, and the failure is told.
pub async fn status(agent: &AgentAt, of: &Of, json: bool) -> Result<(), CommandError> {
    let at = agent.address()?;
    let columns = io::stdout()
        .is_terminal()
        .then(|| crossterm::terminal::size().ok())
        .flatten()
        .map(|(columns, _)| usize::from(columns))
        .filter(|columns| *columns > 0);
    let filter = Filter { sites: of.site.clone(), pool: of.pool.clone(), down: of.down, names: of.names, columns };
    let body = match client::get(&at, "/v1/status").await {
        Ok(body) => body,
        Err(error) => {
            pinned_state::status(agent, json)?;
            return Err(unasked(&error));
        }
    };
    if json && !filter.is_of_sites() {
        return print(&[&body, &b"\n"[..]].concat());
    }
    let read = |body: &[u8]| -> Result<StatusPage, CommandError> {
        let page = serde_json::from_slice(body);
        Ok(page.map_err(|error| format!("what answers at {at} is no agent of this version ({error}); try --json"))?)
    };
    let mut page = read(&body)?;
    let is_cut = page.names_omitted > 0 || page.sites.iter().any(|site| site.member_of_omitted > 0);
    if let Some(pool) = of.pool.as_ref().filter(|_| is_cut) {
        // The page may have left it out.
        let body = client::get(&at, &format!("/v1/status?name={}", client::query_value(pool))).await;
        page = read(&body.map_err(|error| unasked(&error))?)?;
    }
    if json {
        page.sites.retain(|site| filter.has_site(site));
        let text = serde_json::to_string(&page).map_err(|error| error.to_string())?;
        return print(format!("{text}\n").as_bytes());
    }
    print(overview::text(&page, &filter).as_bytes())
}
