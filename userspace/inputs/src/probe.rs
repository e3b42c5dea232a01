//! Health probes: one task per probe of an address, and what they found.
//!
//! | module       | what it is                                            |
//! |--------------|-------------------------------------------------------|
//! | [`health`]   | the verdict of a probe on one address, and of several, pure |
//! | `attempt`    | one attempt over the network, by [`http_check`](crate::http_check) |
//! | `duty`       | which addresses are probed, where several machines share them |
//! | [`report`]   | what is known of each address, for people             |
//! | `runner`     | the tasks, and the one that watches them              |
//!
//! **Detection bound.** An address that stops answering is down no later than `fall × interval + timeout` afterwards,
//! wherever in the schedule that happens (see `http_check::schedule`); `timeout <= interval` is checked
//! with the configuration. It holds while fewer than [`CONCURRENT_MAX`] attempts run at once, or as many as there are
//! descriptors for; beyond that attempts wait for their turn. Time in which this machine did not run does not count
//! ([`patience`](zerottl_host::patience)): it puts the verdict off.
//!
//! **Stopping.** Cancelling the token given to [`start`] ends every task at its next await, attempts included;
//! [`Probes::task`] then returns.

mod attempt;
mod duty;
pub mod health;
pub mod report;
mod runner;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    http_check::{Configs, ProbeError, get::OnHeaders},
    load::LoadStore,
};
use zerottl_core::model::{LoadKind, Model, ProbeKind, SiteId};

pub use duty::ProbeDuty;
pub use report::{AddressReport, Reports};
pub use runner::Probes;

/// The most attempts that run at once.
pub use zerottl_host::resources::PROBES_MAX as CONCURRENT_MAX;

/// Starts probing every address of every Site that has a probe, from what `reports` know already; reads the files its TLS
/// needs first. Load that comes in responses goes to `loads`.
///
/// Must be called within a tokio runtime.
pub fn start(
    model: &Arc<Model>,
    reports: Reports,
    loads: &LoadStore,
    cancel: CancellationToken,
) -> Result<Probes, ProbeError> {
    let mut configs = Configs::default();
    let mut attempts: Vec<(report::ProbeId, Arc<dyn attempt::Attempt>)> = Vec::new();
    for (site_index, site) in model.sites.iter().enumerate() {
        let in_header = site.load.as_ref().is_some_and(|load| matches!(load.kind, LoadKind::ProbeHeader));
        // One of several GETs says the load.
        let says_load = site.probes.iter().position(|probe| in_header && matches!(probe.kind, ProbeKind::Http(_)));
        let site_id = SiteId(site_index);
        for (address, at) in site.addresses.iter().enumerate() {
            for (number, probe) in site.probes.iter().enumerate() {
                let on_headers = (says_load == Some(number)).then(|| load_sink(loads.clone(), site_id));
                let attempt = attempt::Network::new(probe, *at, on_headers, &mut configs)
                    .map_err(|fault| ProbeError { part: "probe", site: site.key.clone(), source: Box::new(fault) })?;
                let Some(attempt) = attempt else { continue };
                attempts.push((report::ProbeId { site: site_id, address, probe: number }, Arc::new(attempt)));
            }
        }
    }
    Ok(runner::start(model, attempts, reports, cancel))
}

/// Returns what takes a Site's load from the headers of its responses.
fn load_sink(loads: LoadStore, site: SiteId) -> OnHeaders {
    Box::new(move |headers, from| loads.report_header(site, headers, from))
}

#[cfg(test)]
mod tests {
    mod grpc;
    mod network;
    mod runner;
}
