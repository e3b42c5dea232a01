//! Health probes: one task per probed address, and what they found.
//!
//! | module       | what it is                                            |
//! |--------------|-------------------------------------------------------|
//! | [`health`]   | the verdict on one address, pure                      |
//! | [`schedule`] | when attempts start, pure                             |
//! | `attempt`    | one attempt over the network (`tcp`, `http`, `tls`)   |
//! | `metered`    | what an attempt takes from whom it asks, bounded      |
//! | [`failure`]  | why an attempt failed                                 |
//! | [`report`]   | what is known of each address, for people             |
//! | `runner`     | the tasks, and the one that watches them              |
//!
//! **Detection bound.** An address that stops answering is down no later than `fall × interval + timeout` afterwards,
//! wherever in the schedule that happens (see [`schedule`]); `timeout <= interval` is checked with the configuration.
//! It holds while fewer than [`CONCURRENT_MAX`] attempts run at once, or as many as there are descriptors for; beyond that
//! attempts wait for their turn. Time in which this machine did not run does not count ([`patience`](zerottl_host::patience)): it
//! puts the verdict off.
//!
//! **Stopping.** Cancelling the token given to [`start`] ends every task at its next await, attempts included;
//! [`Probes::task`] then returns.

mod attempt;
pub mod failure;
pub mod health;
mod http;
pub mod metered;
pub mod report;
mod runner;
pub mod schedule;
mod tcp;
mod tls;

/// The parts that learning a Site's load shares with probing it.
pub mod fetch {
    pub use super::{
        attempt::Progress,
        failure::Failure,
        http::Get,
        tcp::{attempt_over, connect},
        tls::Configs,
    };
}

#[cfg(test)]
mod tests_network;
#[cfg(test)]
mod tests_runner;

use std::{fmt, sync::Arc};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::load::LoadStore;
use zerottl_core::{
    model::{LoadKind, Model, SiteId},
    status::Verdicts,
};

pub use report::{AddressReport, Reports};
pub use tls::TrustAnyone;

/// The most attempts that run at once.
pub use zerottl_host::resources::PROBES_MAX as CONCURRENT_MAX;

/// Why probing, or asking for loads, cannot start.
#[derive(Debug, PartialEq, Eq)]
pub struct ProbeError {
    /// The table of the Site's section that it is about: `probe` or `load`.
    pub part: &'static str,
    /// The Site's key.
    pub site: String,
    /// The fault, as a sentence.
    pub why: String,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of site `{}`: {}", self.part, self.site, self.why)
    }
}

impl std::error::Error for ProbeError {}

/// Running probes.
#[derive(Debug)]
pub struct Probes {
    /// Changes, and so wakes its receivers, only when some address's health does.
    pub verdicts: watch::Receiver<Verdicts>,
    /// Attempts, errors and ages, to be read at any time; wakes no one.
    pub reports: Reports,
    /// Ends after the token is cancelled, when every probe has.
    pub task: JoinHandle<()>,
}

/// Starts probing every address of every Site that has a probe, from what `reports` know already; reads the files its TLS
/// needs first. Load that comes in responses goes to the board.
///
/// Must be called within a tokio runtime.
pub fn start(
    model: &Arc<Model>,
    reports: Reports,
    board: &LoadStore,
    cancel: CancellationToken,
) -> Result<Probes, ProbeError> {
    let mut configs = tls::Configs::default();
    let mut attempts: Vec<(usize, usize, Arc<dyn attempt::Attempt>)> = Vec::new();
    for (site_index, site) in model.sites.iter().enumerate() {
        let Some(probe) = &site.probe else { continue };
        let in_header = site.load.as_ref().is_some_and(|load| matches!(load.kind, LoadKind::ProbeHeader));
        let sink = in_header.then(|| (board.clone(), SiteId(site_index)));
        for (address_index, address) in site.addresses.iter().enumerate() {
            let attempt = attempt::Network::new(probe, *address, sink.clone(), &mut configs)
                .map_err(|why| ProbeError { part: "probe", site: site.key.clone(), why })?;
            attempts.push((site_index, address_index, Arc::new(attempt)));
        }
    }
    Ok(runner::start(model, attempts, reports, cancel))
}
