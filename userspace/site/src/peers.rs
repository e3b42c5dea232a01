//! Which other Sites are up (C14, C15): for choosing the next one when this Site is too busy.
//!
//! | `web.peers` | a Site counts as down |
//! |---|---|
//! | `probe` | while every address of it is, by the probe of its own section, made from here |
//! | an agent's address | while it may not be given new clients: it is down, or excluded by its operator or by flapping |
//! | `none` | never |
//!
//! What is not known is up: a redirect to a Site that is down after all ends at another, since its name fails over. So is
//! what has not been heard of for [`STALE`] intervals. This Site itself is always up.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use zerottl_core::{
    model::{AdminListen, Model, Peers, SiteId, SiteOrder, Web},
    status::{Health, Verdicts},
};
use zerottl_host::patience;
use zerottl_inputs::{
    agent_client::{self as client, AgentAddress},
    http_check::ProbeError,
    load::LoadStore,
    probe::{self, Probes, Reports},
};

/// Intervals without news after which what is known no longer counts.
pub const STALE: u32 = 10;
/// The longest that an agent is waited for.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time from one look to the next.
const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Which Sites of the pool are up, as far as is known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerHealth {
    /// By position in the pool's list.
    up: Arc<ArcSwap<Arc<[bool]>>>,
}

impl PeerHealth {
    /// Starts finding out, in the way that the Site's configuration says, until `cancel`. Must be called within a tokio
    /// runtime; fails where a probe's file cannot be read.
    pub fn start(model: &Arc<Model>, site: SiteId, web: &Web, cancel: CancellationToken) -> Result<Self, ProbeError> {
        let sites = model.pools[model.sites[site.0].pool.0].sites.clone();
        let peers = Self { up: Arc::new(ArcSwap::from_pointee(sites.iter().map(|_| true).collect())) };
        let found = Found { up: Arc::clone(&peers.up), model: Arc::clone(model), own: site, sites };
        match &web.peers {
            Peers::None => {}
            Peers::Agent { at, interval } => {
                let at = AgentAddress { place: AdminListen::Tcp(*at), token: model.admin.token.clone() };
                tokio::spawn(cancel.run_until_cancelled_owned(ask_agent(found, at, (*interval).max(INTERVAL_MIN))));
            }
            Peers::Probe => {
                let checked = Arc::new(others(model, &found));
                let reports = Reports::new(&checked);
                let probes = probe::start(&checked, reports, &LoadStore::new(&checked), cancel.clone())?;
                tokio::spawn(cancel.run_until_cancelled_owned(follow_probes(found, checked, probes)));
            }
        }
        Ok(peers)
    }

    /// This and nothing else, for ever.
    #[must_use]
    pub fn fixed(up: Arc<[bool]>) -> Self {
        Self { up: Arc::new(ArcSwap::from_pointee(up)) }
    }

    /// By position in the pool's list of Sites, what is known now.
    #[must_use]
    pub fn up(&self) -> Arc<[bool]> {
        Arc::clone(&self.up.load())
    }
}

/// Where what is found out goes.
struct Found {
    up: Arc<ArcSwap<Arc<[bool]>>>,
    model: Arc<Model>,
    own: SiteId,
    /// The pool's list.
    sites: SiteOrder,
}

impl Found {
    /// Says of each Site whether it is up; unchanged lists are not replaced.
    fn tell(&self, is_up: impl Fn(SiteId) -> bool) {
        let up: Arc<[bool]> = self.sites.iter().map(|site| *site == self.own || is_up(*site)).collect();
        let before = self.up.load();
        if **before == up {
            return;
        }
        for ((site, was), is) in self.sites.iter().zip(before.iter()).zip(up.iter()) {
            let site = &self.model.sites[site.0].key;
            match (was, is) {
                (true, false) => tracing::warn!(site, "peer is down"),
                (false, true) => tracing::info!(site, "peer is up"),
                _ => {}
            }
        }
        self.up.store(Arc::new(up));
    }
}

/// The model with the probes of this pool's other Sites and no more. Load is not what they are for.
fn others(model: &Model, found: &Found) -> Model {
    let mut model = model.clone();
    for (id, site) in model.sites.iter_mut().enumerate() {
        site.load = None;
        if SiteId(id) == found.own || !found.sites.contains(&SiteId(id)) {
            site.probes.clear();
        }
    }
    model
}

/// Follows what the probes say, and how long ago each Site's last said anything.
async fn follow_probes(found: Found, checked: Arc<Model>, probes: Probes) {
    let Probes { mut verdicts, reports, task: _task, .. } = probes;
    let intervals = checked.sites.iter().flat_map(|site| &site.probes).map(|probe| probe.interval);
    // With nothing to probe there is nothing to be said.
    let Some(shortest) = intervals.min() else { return };
    let mut look = interval(shortest.max(INTERVAL_MIN));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard: Vec<(u64, Instant)> = vec![(0, Instant::now()); checked.sites.len()];
    loop {
        tokio::select! {
            _ = look.tick() => {}
            changed = verdicts.changed() => if changed.is_err() { return },
        }
        let now = Instant::now();
        for (id, (outcomes, since)) in heard.iter_mut().enumerate() {
            let all = (0..checked.sites[id].addresses.len()).map(|address| reports.get(SiteId(id), address));
            let newer = all.map(|report| report.took.count() + report.failures).sum();
            if newer != *outcomes {
                (*outcomes, *since) = (newer, now);
            }
        }
        let is_stale = |site: SiteId| {
            let shortest = checked.sites[site.0].probes.iter().map(|probe| probe.interval).min();
            shortest.is_some_and(|interval| now - heard[site.0].1 > interval * STALE)
        };
        let down = all_down(&mut verdicts);
        found.tell(|site| !down[site.0] || is_stale(site));
    }
}

/// By Site, whether every address is down.
fn all_down(verdicts: &mut watch::Receiver<Verdicts>) -> Vec<bool> {
    let verdicts = verdicts.borrow_and_update();
    verdicts.iter().map(|site| site.iter().all(|health| *health == Health::Down)).collect()
}

/// Of the agent's status page, what is looked at.
#[derive(Deserialize)]
struct Page {
    sites: Vec<SiteState>,
}

/// One Site in it.
#[derive(Deserialize)]
struct SiteState {
    name: String,
    up: bool,
    /// Whether it may be given new clients.
    #[serde(default)]
    eligible: Option<bool>,
}

/// Asks the agent at each interval.
async fn ask_agent(found: Found, at: AgentAddress, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut is_failing) = (Instant::now(), false);
    loop {
        tick.tick().await;
        let limit = every.clamp(AGENT_TIMEOUT / 5, AGENT_TIMEOUT);
        let said = match patience::within(limit, client::get(&at, "/v1/status")).await {
            Err(late) => Err(late.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(page)) => serde_json::from_slice::<Page>(&page).map_err(|error| format!("not a status: {error}")),
        };
        match said {
            Ok(page) => {
                heard = Instant::now();
                if std::mem::take(&mut is_failing) {
                    tracing::info!(agent = %at, "the agent says again which Sites are up");
                }
                let states = states(page);
                // One that the agent does not know is up.
                found.tell(|site| *states.get(&found.model.sites[site.0].name.to_string()).unwrap_or(&true));
            }
            Err(why) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(agent = %at, why, "the agent does not say which Sites are up");
                }
                if heard.elapsed() > every * STALE {
                    found.tell(|_| true);
                }
            }
        }
    }
}

/// By Site Name, whether it may be given new clients.
fn states(page: Page) -> HashMap<String, bool> {
    let state = |site: SiteState| (site.name.to_ascii_lowercase(), site.eligible.unwrap_or(site.up));
    page.sites.into_iter().map(state).collect()
}

#[cfg(test)]
mod tests;
