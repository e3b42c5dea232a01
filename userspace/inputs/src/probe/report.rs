//! The knowledge about each address, for status pages and metrics.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::health::{Machine, Transition};
use crate::http_check::Failure;
use zerottl_core::{
    histogram::{Histogram, PROBE_BOUNDS},
    model::{Model, Site, SiteId},
    status::{Assessment, Health, Verdicts},
};

/// The knowledge about one address.
#[derive(Clone, Debug)]
pub struct AddressReport {
    /// The verdict.
    pub health: Health,
    /// Since when.
    pub since: Instant,
    /// Since when, as wall-clock time.
    pub since_wall: SystemTime,
    /// When the newest attempt began. Older than interval + timeout: the checker hangs.
    pub last_attempt: Option<Instant>,
    /// Why the newest finished attempt failed; none if it succeeded.
    pub last_error: Option<String>,
    /// How long the newest success took.
    pub last_latency: Option<Duration>,
    /// How long the successes took.
    pub took: Histogram,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that counted against the address.
    pub failures: u64,
    /// Attempts that this machine could not make, so that they counted neither way.
    pub not_tried: u64,
    /// Times the address's probe task ended unexpectedly and was restarted.
    pub restarts: u64,
}

/// A probe's state: the machine, and the report it makes.
#[derive(Debug)]
struct Entry {
    machine: Machine,
    report: AddressReport,
}

/// Shared access to the reports of all addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reports {
    entries: Arc<[Box<[Mutex<Entry>]>]>,
}

impl Reports {
    /// Nothing tried yet.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let (since, since_wall) = (tokio::time::Instant::now().into_std(), SystemTime::now());
        let initial = Assessment::unknown(model);
        let entries = model.sites.iter().zip(initial.health.iter()).map(|(site, health)| {
            let (rise, fall) = site.probe.as_ref().map_or((1, 1), |probe| (probe.rise, probe.fall));
            let entry = |health| Entry {
                machine: Machine::new(rise, fall),
                report: AddressReport {
                    health,
                    since,
                    since_wall,
                    last_attempt: None,
                    last_error: None,
                    last_latency: None,
                    took: Histogram::new(&PROBE_BOUNDS),
                    attempts: 0,
                    failures: 0,
                    not_tried: 0,
                    restarts: 0,
                },
            };
            health.iter().map(|health| Mutex::new(entry(*health))).collect()
        });
        Self { entries: entries.collect() }
    }

    /// Creates those of another configuration: what is known of an address of a Site stays, if the Site still has it.
    #[must_use]
    pub fn carried_over(&self, from: &Model, to: &Model) -> Self {
        let reports = Self::new(to);
        let keys: HashMap<&str, usize> = from.sites.iter().zip(0..).map(|(site, id)| (site.key.as_str(), id)).collect();
        for (id, site) in to.sites.iter().enumerate() {
            let Some(old) = keys.get(site.key.as_str()).copied() else { continue };
            let before = &from.sites[old];
            let probed = |site: &Site| site.probe.is_some();
            for (index, address) in site.addresses.iter().enumerate() {
                let known = before.addresses.iter().position(|known| known == address);
                let Some(known) = known.filter(|_| probed(before) && probed(site)) else { continue };
                let old = self.lock(SiteId(old), known);
                let mut new = reports.lock(SiteId(id), index);
                new.machine = old.machine.with(&new.machine);
                new.report = old.report.clone();
            }
        }
        reports
    }

    /// Every address's verdict.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        let verdict = |entry: &Mutex<Entry>| entry.lock().unwrap_or_else(PoisonError::into_inner).report.health;
        self.entries.iter().map(|site| site.iter().map(verdict)).collect()
    }

    /// The report on one address of a Site, positions as in the model.
    #[must_use]
    pub fn get(&self, site: SiteId, address: usize) -> AddressReport {
        self.lock(site, address).report.clone()
    }

    /// The reports on all addresses, `[site][address]`, positions as in the model.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Vec<AddressReport>> {
        let site = |site: usize| (0..self.entries[site].len()).map(move |address| self.get(SiteId(site), address));
        (0..self.entries.len()).map(|id| site(id).collect()).collect()
    }

    /// An attempt begins.
    pub(super) fn begin(&self, site: SiteId, address: usize, now: Instant) {
        let mut entry = self.lock(site, address);
        entry.report.last_attempt = Some(now);
        entry.report.attempts += 1;
    }

    /// An attempt has ended.
    pub(super) fn end(
        &self,
        site: SiteId,
        address: usize,
        now: Instant,
        result: Result<(), &Failure>,
    ) -> Option<Transition> {
        let mut entry = self.lock(site, address);
        let Entry { machine, report } = &mut *entry;
        report.last_error = result.err().map(ToString::to_string);
        match result {
            Ok(()) => {
                report.last_latency = report.last_attempt.map(|began| now.saturating_duration_since(began));
                if let Some(took) = report.last_latency {
                    report.took.observe(took);
                }
            }
            Err(failure) if failure.is_verdict() => report.failures += 1,
            Err(_) => {
                report.not_tried += 1;
                return None;
            }
        }
        let transition = machine.observe(result.is_ok())?;
        report.health = transition.to;
        report.since = now;
        report.since_wall = SystemTime::now();
        Some(transition)
    }

    /// The address is not probed any more.
    pub(super) fn forget(&self, site: SiteId, address: usize) {
        let mut entry = self.lock(site, address);
        entry.machine = Machine::new(0, 0).with(&entry.machine);
        entry.report.health = Health::Unknown;
        entry.report.last_error = None;
        entry.report.since = tokio::time::Instant::now().into_std();
        entry.report.since_wall = SystemTime::now();
    }

    /// The probe task has ended unexpectedly and is started again.
    pub(super) fn restart(&self, site: SiteId, address: usize, why: String) {
        let mut entry = self.lock(site, address);
        entry.report.restarts += 1;
        entry.report.last_error = Some(why);
    }

    fn lock(&self, site: SiteId, address: usize) -> MutexGuard<'_, Entry> {
        // Every change leaves the entry whole, so one cut short by a panic is still good to read.
        self.entries[site.0][address].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
