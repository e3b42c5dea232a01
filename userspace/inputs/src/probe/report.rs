//! The knowledge about each address, for status pages and metrics.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::health::{Machine, Transition, of_several};
use crate::http_check::Failure;
use zerottl_core::{
    histogram::{Histogram, PROBE_BOUNDS},
    model::{Model, Probe, SiteId},
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
    /// When the newest attempt began; that of the probe which has been silent for longest, where there are several. Older than
    /// interval + timeout: the checker hangs.
    pub last_attempt: Option<Instant>,
    /// Why the newest finished attempt failed; none if it succeeded. Of each of several probes.
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

/// The state of one probe of an address.
#[derive(Clone, Debug)]
struct ProbeState {
    machine: Machine,
    last_attempt: Option<Instant>,
    last_error: Option<String>,
    /// Told from others by this.
    label: Arc<str>,
}

/// The state of an address: its probes, and the report they make.
#[derive(Debug)]
struct Entry {
    probes: Vec<ProbeState>,
    min_healthy: usize,
    report: AddressReport,
}

impl Entry {
    /// Makes the report that of all probes.
    fn gather(&mut self) {
        let errors = |state: &ProbeState| {
            let error = state.last_error.as_ref()?;
            Some(if self.probes.len() > 1 { format!("{}: {error}", state.label) } else { error.clone() })
        };
        let errors: Vec<String> = self.probes.iter().filter_map(errors).collect();
        self.report.last_error = (!errors.is_empty()).then(|| errors.join("; "));
        self.report.last_attempt = self.probes.iter().filter_map(|state| state.last_attempt).min();
    }

    /// Takes over what is known by the probes of another configuration: of those that are alike, or of the only one. Where that leaves
    /// the verdict open, it stays.
    fn take_over(&mut self, old: &Self) {
        let only = self.probes.len() == 1 && old.probes.len() == 1;
        let mut left: Vec<&ProbeState> = old.probes.iter().collect();
        for state in &mut self.probes {
            let Some(at) = left.iter().position(|known| only || known.label == state.label) else { continue };
            let known = left.remove(at);
            state.machine = known.machine.with(&state.machine);
            state.last_attempt = known.last_attempt;
            state.last_error.clone_from(&known.last_error);
        }
        self.report = old.report.clone();
        let healths = self.probes.iter().map(|state| state.machine.health());
        if let Some(health) = of_several(healths, self.min_healthy).filter(|health| *health != self.report.health) {
            self.report.health = health;
            self.report.since = tokio::time::Instant::now().into_std();
            self.report.since_wall = SystemTime::now();
        }
        self.gather();
    }
}

/// A probe, by its Site, the position of the address and its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeId {
    pub site: SiteId,
    pub address: usize,
    pub probe: usize,
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
            let state = |probe: &Probe| ProbeState {
                machine: Machine::new(probe.rise, probe.fall),
                last_attempt: None,
                last_error: None,
                label: probe.to_string().into(),
            };
            let probes: Vec<ProbeState> = site.probes.iter().map(state).collect();
            let entry = |health| Entry {
                probes: probes.clone(),
                min_healthy: site.min_healthy,
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
            for (index, address) in site.addresses.iter().enumerate() {
                let known = before.addresses.iter().position(|known| known == address);
                let Some(known) = known.filter(|_| before.is_probed() && site.is_probed()) else { continue };
                let old = self.lock(SiteId(old), known);
                let mut new = reports.lock(SiteId(id), index);
                new.take_over(&old);
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

    /// Returns when a probe's newest attempt began.
    pub(super) fn last_attempt(&self, of: ProbeId) -> Option<Instant> {
        self.lock(of.site, of.address).probes.get(of.probe)?.last_attempt
    }

    /// An attempt begins.
    pub(super) fn begin(&self, of: ProbeId, now: Instant) {
        let mut entry = self.lock(of.site, of.address);
        entry.probes[of.probe].last_attempt = Some(now);
        entry.report.attempts += 1;
        entry.gather();
    }

    /// An attempt has ended. Says so if it changed the verdict on the address.
    pub(super) fn end(&self, of: ProbeId, now: Instant, result: Result<(), &Failure>) -> Option<Transition> {
        let mut entry = self.lock(of.site, of.address);
        entry.probes[of.probe].last_error = result.err().map(ToString::to_string);
        entry.gather();
        let Entry { probes, min_healthy, report } = &mut *entry;
        let state = &mut probes[of.probe];
        match result {
            Ok(()) => {
                report.last_latency = state.last_attempt.map(|began| now.saturating_duration_since(began));
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
        state.machine.observe(result.is_ok())?;
        let healths = probes.iter().map(|state| state.machine.health());
        let to = of_several(healths, *min_healthy).filter(|to| *to != report.health)?;
        let from = std::mem::replace(&mut report.health, to);
        report.since = now;
        report.since_wall = SystemTime::now();
        Some(Transition { from, to })
    }

    /// The address is not probed any more.
    pub(super) fn forget(&self, site: SiteId, address: usize) {
        let mut entry = self.lock(site, address);
        for state in &mut entry.probes {
            state.machine = Machine::new(0, 0).with(&state.machine);
            state.last_error = None;
        }
        entry.report.health = Health::Unknown;
        entry.gather();
        entry.report.since = tokio::time::Instant::now().into_std();
        entry.report.since_wall = SystemTime::now();
    }

    /// The probe task has ended unexpectedly and is started again.
    pub(super) fn restart(&self, of: ProbeId, why: String) {
        let mut entry = self.lock(of.site, of.address);
        entry.report.restarts += 1;
        entry.probes[of.probe].last_error = Some(why);
        entry.gather();
    }

    fn lock(&self, site: SiteId, address: usize) -> MutexGuard<'_, Entry> {
        // Every change leaves the entry whole, so one cut short by a panic is still good to read.
        self.entries[site.0][address].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
