//! The newest report of each Site, with its age by the monotonic clock.
//!
//! A report that bears the `at` of the one before is that one again (a cache, a Site whose figures have frozen), and
//! makes nothing younger, nor does it end a word that was said in between. One with an earlier `at` has been overtaken and is left out, unless what it would replace is
//! stale: then the Site's clock was set back, and its reports are good again.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hyper::header::{HeaderMap, HeaderValue};

use super::{
    orca,
    report::{self, BadReport, Report},
};
use zerottl_core::{
    model::{Model, SiteId},
    site_load::SiteLoad,
};

/// Shared access to what all Sites have said. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LoadStore {
    model: Arc<Model>,
    entries: Arc<[Mutex<SiteLoad>]>,
    is_used: bool,
    sharing: Arc<Sharing>,
}

/// Reports that other machines are told, and which Sites this one asks.
#[derive(Debug)]
struct Sharing {
    /// The newest of each Site that is not told yet; none where nobody is told.
    untold: Mutex<Option<HashMap<SiteId, Report>>>,
    asked_here: Box<[AtomicBool]>,
}

impl Sharing {
    fn new(model: &Model) -> Arc<Self> {
        let asked_here = model.sites.iter().map(|_| AtomicBool::new(true)).collect();
        Arc::new(Self { untold: Mutex::new(None), asked_here })
    }
}

impl LoadStore {
    /// Nobody has said anything yet.
    #[must_use]
    pub fn new(model: &Arc<Model>) -> Self {
        let entries = model.sites.iter().map(|_| Mutex::default()).collect();
        Self { model: Arc::clone(model), entries, is_used: is_used(model), sharing: Sharing::new(model) }
    }

    /// Creates a store for a new configuration that keeps what is known of each Site that was there before, by its key,
    /// and whose load comes in the same way.
    #[must_use]
    pub fn carry_over(&self, model: &Arc<Model>) -> Self {
        let old: HashMap<&str, SiteId> =
            self.model.sites.iter().enumerate().map(|(i, site)| (site.key.as_str(), SiteId(i))).collect();
        let entries = model.sites.iter().map(|site| {
            let before = old.get(site.key.as_str()).copied();
            let kind = |load: &zerottl_core::model::LoadSource| std::mem::discriminant(&load.kind);
            let same =
                before.filter(|id| self.model.sites[id.0].load.as_ref().map(kind) == site.load.as_ref().map(kind));
            Mutex::new(same.map(|id| self.lock(id).clone()).unwrap_or_default())
        });
        let sharing = Sharing::new(model);
        Self { entries: entries.collect(), model: Arc::clone(model), is_used: is_used(model), sharing }
    }

    /// Whether any Site may say anything.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// The configuration whose Sites these are.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Returns what each Site has said, positions as in the model.
    #[must_use]
    pub fn read(&self) -> Vec<SiteLoad> {
        (0..self.entries.len()).map(|site| self.lock(SiteId(site)).clone()).collect()
    }

    /// Takes in the outcome of an attempt to learn a Site's load. Of a Site without `load`, nothing is kept.
    pub fn report(&self, site: SiteId, now: Instant, said: Result<Report, BadReport>) {
        if let (Ok(report), Some(untold)) = (&said, self.untold().as_mut()) {
            untold.insert(site, report.clone());
        }
        self.take(site, now, said);
    }

    /// Takes in a report that another machine has learned, as of `made`, which is not told on. One that is not sound is passed over.
    pub fn report_from_afar(&self, site: SiteId, made: Instant, report: Report) {
        let is_newer = self.lock(site).received.is_none_or(|received| received < made);
        if report.is_sound() && is_newer {
            self.take(site, made, Ok(report));
        }
    }

    /// From now on reports are kept to be told to other machines.
    pub fn tell(&self) {
        self.untold().get_or_insert_default();
    }

    /// Returns the reports that are not told yet.
    #[must_use]
    pub fn take_untold(&self) -> HashMap<SiteId, Report> {
        self.untold().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Sets which Sites this machine asks.
    pub fn assign(&self, is_asked_here: impl Fn(SiteId) -> bool) {
        for (site, flag) in self.sharing.asked_here.iter().enumerate() {
            flag.store(is_asked_here(SiteId(site)), Relaxed);
        }
    }

    /// Whether a Site is to be asked by this machine: it is its turn, or whoever's turn it is has been silent for `patience`.
    pub(super) fn is_asked_here(&self, site: SiteId, now: Instant, patience: Duration) -> bool {
        let is_silent = || {
            let received = self.lock(site).received;
            received.is_none_or(|received| now.saturating_duration_since(received) > patience)
        };
        self.sharing.asked_here[site.0].load(Relaxed) || is_silent()
    }

    fn untold(&self) -> MutexGuard<'_, Option<HashMap<SiteId, Report>>> {
        self.sharing.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, site: SiteId, now: Instant, said: Result<Report, BadReport>) {
        let Some(source) = self.model.sites.get(site.0).and_then(|site| site.load.as_ref()) else { return };
        let said = said.and_then(|report| report::load(&report, source).map(|load| (report, load)));
        let mut entry = self.lock(site);
        let (report, load) = match said {
            Ok(said) => said,
            Err(why) => {
                entry.failures += 1;
                entry.error = Some(why.0.into());
                return;
            }
        };
        entry.reports += 1;
        entry.error.clone_from(&report.slip);
        let untried = entry.untried;
        let age = |then| now.saturating_duration_since(then).saturating_sub(untried);
        let is_stale = entry.received.is_none_or(|then| age(then) > source.stale_after);
        match (entry.at, report.at) {
            // The same report once more; or an older one, unless the newer is too old itself.
            (Some(before), Some(at)) if at.total_cmp(&before).is_eq() || (at < before && !is_stale) => return,
            _ => {}
        }
        entry.news += 1;
        entry.received = Some(now);
        if load.is_some() {
            // Words have no time of their own: figures from before them end nothing.
            entry.at = report.at;
        }
        entry.untried = Duration::ZERO;
        entry.load = load.or(entry.load);
        entry.sessions = report.sessions.or(entry.sessions);
        hear(&mut entry, &report);
        entry.maxconn = report.maxconn.or(entry.maxconn);
    }

    /// Takes in the headers of a probe's response, whose sender says its Site's load in one of them.
    pub(crate) fn report_header(&self, site: SiteId, headers: &HeaderMap, from: Option<IpAddr>) {
        let value = headers.get(orca::HEADER).map_or(&b""[..], HeaderValue::as_bytes);
        // Each of a Site's addresses reports; a fault is one address's.
        let said = orca::header(value).map_err(|why| match from {
            Some(from) => why.at(from),
            None => why,
        });
        self.report(site, tokio::time::Instant::now().into_std(), said);
    }

    /// This machine could not ask a Site, as it should have `since` it did last: that says nothing of the Site, and makes
    /// what it said before no staler.
    pub fn not_tried(&self, site: SiteId, since: Duration, why: &dyn std::fmt::Display) {
        if self.model.sites.get(site.0).is_none_or(|site| site.load.is_none()) {
            return;
        }
        let mut entry = self.lock(site);
        entry.untried += since;
        entry.error = Some(why.to_string().into());
    }

    fn lock(&self, site: SiteId) -> MutexGuard<'_, SiteLoad> {
        // Every change leaves the entry whole, so one cut short by a panic is still good to read.
        self.entries[site.0].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in what a report says beside figures. What is not spoken of stays, as in `HAProxy`; but figures alone, where
/// there have been words, come from a Site that has gone back to reporting its load: they end them.
fn hear(entry: &mut SiteLoad, report: &Report) {
    if report.is_figures() {
        (entry.admin_state, entry.condition, entry.factor, entry.note) = Default::default();
        return;
    }
    let has_state = report.admin_state.is_some() || report.condition.is_some();
    if has_state || report.note.is_some() {
        entry.note.clone_from(&report.note);
    }
    entry.admin_state = report.admin_state.unwrap_or(entry.admin_state);
    entry.condition = report.condition.unwrap_or(entry.condition);
    entry.factor = report.factor.or(entry.factor);
}

fn is_used(model: &Model) -> bool {
    model.sites.iter().any(|site| site.load.is_some())
}
