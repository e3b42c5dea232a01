//! Which addresses this machine probes, where several share the probing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::watch;

use super::report::Reports;
use zerottl_core::{
    model::{Model, SiteId},
    status::{Health, Verdicts},
};

/// The addresses that are probed: all of them unless it is told otherwise. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProbeDuty {
    on: Arc<[Box<[AtomicBool]>]>,
    reports: Reports,
    verdicts: watch::Sender<Verdicts>,
}

impl ProbeDuty {
    /// Probes all.
    pub(super) fn new(model: &Model, reports: &Reports, verdicts: &watch::Sender<Verdicts>) -> Self {
        let of = |site: &zerottl_core::model::Site| site.addresses.iter().map(|_| AtomicBool::new(true)).collect();
        let on = model.sites.iter().map(of).collect();
        Self { on, reports: reports.clone(), verdicts: verdicts.clone() }
    }

    /// Whether an address is probed.
    #[must_use]
    pub fn is_on(&self, site: SiteId, address: usize) -> bool {
        self.on[site.0][address].load(Relaxed)
    }

    /// Sets which are probed from now on. Whatever was found of one that is not any more is forgotten: its verdict would be of the past
    /// when it is probed again.
    pub fn assign(&self, is_on: impl Fn(SiteId, usize) -> bool) {
        let mut left = Vec::new();
        for (site, addresses) in self.on.iter().enumerate() {
            for (address, flag) in addresses.iter().enumerate() {
                let on = is_on(SiteId(site), address);
                if flag.swap(on, Relaxed) && !on {
                    left.push((site, address));
                }
            }
        }
        if left.is_empty() {
            return;
        }
        for (site, address) in &left {
            self.reports.forget(SiteId(*site), *address);
        }
        self.verdicts.send_modify(|verdicts| {
            for (site, address) in left {
                verdicts[site][address] = Health::Unknown;
            }
        });
    }
}
