//! This front's part in its fleet: what the agent is told, and what it tells.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use zerottl_core::{
    model::{FleetConfig, FleetEngine, Model},
    overrides::{OverrideRequest, OverrideValue},
    saved_state::ms,
    site_load::Report,
    statements::HealthStatement,
    status::Verdicts,
};

use crate::{
    etcd::Etcd,
    inner::{FleetError, Inner, lock},
    keys::VotePlace,
    own::Own,
    shared::{EngineLink, FrontReport, SharedView},
    values::{Ack, MadeSecret, Presence, ToldStatement},
};

/// Requests that wait for the engine, at most.
const PENDING_MAX: usize = 256;
/// Whoever says something waits for the engine no longer than this.
const SAID_WITHIN: Duration = Duration::from_secs(3);
/// Between two starts of a client that ended.
const RESTART: Duration = Duration::from_secs(1);
/// A client that has not stirred for so long is started anew.
const STIRRED_WITHIN: Duration = Duration::from_secs(30);

/// A word of the fleet that this front has not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingWord {
    /// The Site.
    pub site: String,
    /// The number that it is known by.
    pub id: u64,
    /// The request that it makes.
    pub request: OverrideRequest,
}

/// This front's part in its fleet. Cheap to clone; ends when the last clone is dropped.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
    engine: Arc<Etcd>,
    stop: CancellationToken,
    _stop_at_end: Arc<DropGuard>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("front", &self.inner.front).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Starts a client of the engine, which tries until it is stopped. The task ends then, and gives up its lease. Must be
    /// called within a tokio runtime.
    pub fn start(config: &FleetConfig) -> Result<(Self, JoinHandle<()>), FleetError> {
        let FleetEngine::Etcd(etcd) = &config.engine else { return Err(FleetError::ByFile) };
        let (patience, engine) = (etcd.lease, Arc::new(Etcd::new(etcd)?));
        let presence = Presence { instance: rand::random(), ..Presence::default() };
        let inner = Arc::new(Inner {
            front: config.front.clone(),
            view: Mutex::new(SharedView::new(config.front.clone())),
            own: Mutex::new(Own { presence, ..Own::default() }),
            taken: Mutex::default(),
            pending: Mutex::default(),
            told: Notify::new(),
            presented: AtomicI64::new(0),
            displaced: AtomicBool::new(false),
            changed: watch::Sender::new(0),
            writes: AtomicU64::new(0),
            stirred: AtomicU64::new(0),
            started: Instant::now(),
            patience,
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch_over(Arc::clone(&engine), Arc::clone(&inner), stop.clone()));
        let at_end = Arc::new(stop.clone().drop_guard());
        Ok((Self { inner, engine, stop, _stop_at_end: at_end }, task))
    }

    /// This front's name.
    #[must_use]
    pub fn front(&self) -> &str {
        &self.inner.front
    }

    /// Leaves the fleet: gives up the lease, and with it all votes. The task ends then, whoever still has a clone.
    pub fn leave(&self) {
        self.stop.cancel();
    }

    /// Changes whenever the shared view does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Tells the others what this front is; its instance is known here.
    pub fn present(&self, presence: Presence) {
        let mut own = self.inner.own();
        let presence = Presence { instance: own.presence.instance, ..presence };
        if own.presence != presence {
            own.presence = presence;
            drop(own);
            self.inner.told.notify_one();
        }
    }

    /// The secret that cookies are to be made with, if anybody has said so.
    #[must_use]
    pub fn made_secret(&self) -> Option<MadeSecret> {
        lock(&self.inner.view).made.as_ref().map(|(_, secret)| secret.clone())
    }

    /// Has all fronts make their cookies with a secret; returns the revision that has it. Whether all accept it is for whoever asks to
    /// know before.
    pub async fn make_secret(&self, secret: &MadeSecret) -> Result<i64, FleetError> {
        let said = tokio::time::timeout(SAID_WITHIN, self.engine.make_secret(&self.inner, secret)).await;
        said.unwrap_or(Err(FleetError::Away))
    }

    /// Tells the others this front's verdicts.
    pub fn vote(&self, model: &Arc<Model>, verdicts: &Arc<Verdicts>) {
        self.inner.own().votes = Some((Arc::clone(model), Arc::clone(verdicts)));
        self.inner.told.notify_one();
    }

    /// Tells the others how many answers this front has given, by Site, since it last said so.
    pub fn answered(&self, sites: impl Iterator<Item = (String, u64)>) {
        let mut own = self.inner.own();
        for (site, count) in sites {
            *own.answers.entry(site).or_default() += count;
        }
        let is_news = !own.answers.is_empty();
        drop(own);
        if is_news {
            self.inner.told.notify_one();
        }
    }

    /// Tells the others load reports that this front has learned.
    pub fn learned(&self, reports: impl Iterator<Item = (String, Report)>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms);
        let mut own = self.inner.own();
        let before = own.reports.len();
        own.reports.extend(reports.map(|(site, report)| (site, (now, report))));
        if own.reports.len() != before {
            drop(own);
            self.inner.told.notify_one();
        }
    }

    /// Returns the load reports that others have learned since this was last called: Site, when it was made, and the report.
    #[must_use]
    pub fn take_reports(&self) -> HashMap<String, (Instant, Report)> {
        std::mem::take(&mut lock(&self.inner.view).reports)
    }

    /// Tells the others what has been stated here of the health of some addresses of a Site.
    pub fn state_health(&self, site: &str, addresses: &[IpAddr], statement: &HealthStatement) {
        let lasts = statement.until.map(|until| until.saturating_duration_since(statement.at));
        let told = ToldStatement {
            front: self.inner.front.clone(),
            up: statement.up,
            by: format!("{} at {}", statement.by, self.inner.front),
            reason: statement.reason.clone(),
            at_ms: statement.at_wall_ms,
            lasts_ms: lasts.map(ms),
        };
        let place = |address: &IpAddr| (VotePlace { site: site.into(), address: *address }, told.clone());
        self.inner.own().statements.extend(addresses.iter().map(place));
        self.inner.told.notify_one();
    }

    /// Returns what was stated at the others since this was last called, and at a start what is known: Site, address, statement.
    #[must_use]
    pub fn take_statements(&self) -> Vec<(Box<str>, IpAddr, HealthStatement)> {
        let taken = std::mem::take(&mut lock(&self.inner.view).statements);
        taken.into_iter().map(|(place, statement)| (place.site, place.address, statement)).collect()
    }

    /// By Site of a model: answers that the others have given, as far as they have said so; only ever grows.
    #[must_use]
    pub fn answers(&self, model: &Model) -> Vec<u64> {
        let view = lock(&self.inner.view);
        model.sites.iter().map(|site| view.answers.get(&site.key).copied().unwrap_or(0)).collect()
    }

    /// The other fronts that can probe in this one's place: none while the engine is away.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        let view = lock(&self.inner.view);
        if view.is_fresh(Instant::now(), self.inner.patience) { view.others() } else { Vec::new() }
    }

    /// A number for a word that is about to be said.
    #[must_use]
    pub fn id() -> u64 {
        rand::random()
    }

    /// Has the whole fleet know what has been said at this front, where it is in force already; returns the revision that
    /// has it. What cannot be told now is told once the engine is there again, unless something newer has been said by then.
    pub async fn say(&self, id: u64, sites: &[String], request: &OverrideRequest) -> Result<i64, FleetError> {
        let said = tokio::time::timeout(SAID_WITHIN, self.engine.say(&self.inner, id, sites, request)).await;
        let said = said.unwrap_or(Err(FleetError::Away));
        if said.is_err() {
            self.tell_later(id, sites, request);
        }
        said
    }

    /// Has the fleet told what is said at this front once the engine is there again.
    pub fn tell_later(&self, id: u64, sites: &[String], request: &OverrideRequest) {
        let mut pending = lock(&self.inner.pending);
        if pending.len() == PENDING_MAX {
            pending.pop_front();
        }
        pending.push_back((id, sites.to_vec(), request.clone()));
        drop(pending);
        self.inner.told.notify_one();
    }

    /// Notes that a word is in force here, or why it is refused.
    pub fn took(&self, id: u64, sites: &[String], value: OverrideValue, refused: Option<&str>) {
        let mut taken = lock(&self.inner.taken);
        for site in sites {
            let slot = (site.clone(), is_state(value));
            match refused {
                None => {
                    taken.refused.remove(&slot);
                    taken.ids.insert(slot, id);
                }
                Some(why) => drop(taken.refused.insert(slot, (id, why.to_owned()))),
            }
        }
    }

    /// Whether a word of a Site is refused here.
    #[must_use]
    pub fn has_refused(&self, site: &str, value: OverrideValue, id: u64) -> bool {
        let slot = (site.to_owned(), is_state(value));
        lock(&self.inner.taken).refused.get(&slot).is_some_and(|(refused, _)| *refused == id)
    }

    /// The words that are not in force here, though they should be; none where nothing has changed since it was last asked,
    /// unless it is to look `again` at those that were refused.
    #[must_use]
    pub fn pending_words(&self, again: bool) -> Option<Vec<PendingWord>> {
        let view = lock(&self.inner.view);
        let mut taken = lock(&self.inner.taken);
        if taken.looked == Some(view.word_changes) && (taken.refused.is_empty() || !again) {
            return None;
        }
        taken.looked = Some(view.word_changes);
        taken.revision = view.newest_word();
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms));
        let mut words = Vec::new();
        for (site, stored) in &view.words {
            let age = |at_ms: u64| match stored.seen {
                Some(seen) => now.saturating_duration_since(seen),
                None => Duration::from_millis(wall.saturating_sub(at_ms)),
            };
            for (id, request) in stored.words.requests(site, age) {
                let slot = (site.clone(), is_state(request.value));
                if taken.ids.get(&slot) != Some(&id) {
                    words.push(PendingWord { site: site.clone(), id, request });
                }
            }
        }
        Some(words)
    }

    /// Tells the others that all words are taken over, or refused, that there were when they were last
    /// [looked at](Self::pending_words): not those that have come since.
    pub fn acknowledge(&self) {
        let view = lock(&self.inner.view);
        let mut taken = lock(&self.inner.taken);
        // Of what nobody says any more there is nothing to refuse.
        taken.refused.retain(|(site, _), (id, _)| {
            view.words.get(site).is_some_and(|stored| {
                let words = &stored.words;
                let ids = [words.state.as_ref().map(|said| said.id), words.weight.as_ref().map(|said| said.id)];
                ids.contains(&Some(*id))
            })
        });
        let refused = taken.refused.iter().map(|((site, _), (_, why))| (site.clone(), why.clone()));
        let ack = Ack { revision: taken.revision, refused: refused.collect() };
        let ack = ack.bounded();
        drop((view, taken));
        let mut own = self.inner.own();
        if own.ack != ack {
            own.ack = ack;
            drop(own);
            self.inner.told.notify_one();
        }
    }

    /// Returns all that is known, for people.
    #[must_use]
    pub fn report(&self) -> FleetView {
        let now = Instant::now();
        let view = lock(&self.inner.view);
        FleetView {
            front: self.inner.front.clone(),
            link: view.link.clone(),
            is_fresh: view.is_fresh(now, self.inner.patience),
            fronts: view.fronts.clone(),
            revision: view.newest_word(),
            words: view.words.len(),
            faults: view.faults.clone(),
            faulty: view.faulty,
            made: view.made.as_ref().map(|(_, secret)| secret.clone()),
            pending: lock(&self.inner.pending).len(),
            writes: self.inner.writes.load(Relaxed),
        }
    }
}

/// The knowledge of a front about its fleet at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetView {
    /// This front.
    pub front: String,
    /// Whether the engine is reached.
    pub link: EngineLink,
    /// Whether others' votes count.
    pub is_fresh: bool,
    /// All fronts that live, as the engine has them.
    pub fronts: BTreeMap<String, FrontReport>,
    /// The revision of the newest word.
    pub revision: i64,
    /// Sites of which something is said.
    pub words: usize,
    /// Why values are ignored, by key.
    pub faults: BTreeMap<String, String>,
    /// Values that were ignored.
    pub faulty: u64,
    /// The secret that cookies are to be made with.
    pub made: Option<MadeSecret>,
    /// Requests that wait for the engine.
    pub pending: usize,
    /// Keys that this front has written.
    pub writes: u64,
}

/// Whether a value is a state; else it is a weight.
fn is_state(value: OverrideValue) -> bool {
    matches!(value, OverrideValue::State(_))
}

/// Runs the client, and starts it anew where it ends or hangs: it never takes the agent with it.
async fn watch_over(engine: Arc<Etcd>, inner: Arc<Inner>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        inner.stir();
        let (of, shared, until) = (Arc::clone(&engine), Arc::clone(&inner), stop.clone());
        let mut client = tokio::spawn(async move {
            of.run(&shared, &until).await;
        });
        let why = loop {
            tokio::select! {
                ended = &mut client => break match ended {
                    Ok(()) => None,
                    Err(error) => Some(error.to_string()),
                },
                () = sleep(RESTART) => {
                    let stirred = Duration::from_millis(inner.stirred.load(Relaxed));
                    if inner.started.elapsed().saturating_sub(stirred) > STIRRED_WITHIN {
                        client.abort();
                        break Some("it hangs".to_owned());
                    }
                }
            }
        };
        let Some(why) = why else { continue };
        inner.away(&format!("the client has failed: {why}"));
        sleep(RESTART).await;
    }
}

#[cfg(test)]
mod tests {
    use zerottl_core::model::EtcdConfig;

    use super::*;

    fn alone() -> Fleet {
        let etcd = EtcdConfig {
            endpoints: vec![([127, 0, 0, 1], 9).into()],
            tls: None,
            user: None,
            prefix: "zerottl/".into(),
            lease: Duration::from_secs(10),
        };
        let config =
            FleetConfig { front: "ns1".into(), engine: FleetEngine::Etcd(etcd), digest: String::new(), probers: None };
        Fleet::start(&config).expect("started").0
    }

    fn said(fleet: &Fleet, site: &str, words: &str, revision: i64) {
        let key = format!("word/{site}");
        fleet.inner.change(|view| view.put(&key, Some(words.as_bytes()), revision, Some(Instant::now())));
    }

    /// F-WORD, F-OWN: a front has taken over what it has looked at, and not what has come since; a weight that it takes over ends
    /// no refusal of the same Site's state.
    #[tokio::test]
    async fn f_own_only_what_was_looked_at_is_acknowledged() {
        let fleet = alone();
        let both =
            r#"{"state":{"id":1,"what":"drain","by":"a","at_ms":0},"weight":{"id":2,"what":7,"by":"a","at_ms":0}}"#;
        said(&fleet, "boston", both, 5);
        let words = fleet.pending_words(false).expect("there is news");
        said(&fleet, "geneva", r#"{"state":{"id":3,"what":"drain","by":"a","at_ms":0}}"#, 9);
        for PendingWord { site, id, request } in words {
            let refused = is_state(request.value).then_some("the minimum");
            fleet.took(id, &[site], request.value, refused);
        }
        fleet.acknowledge();
        let ack = fleet.inner.own().ack.clone();
        assert_eq!((ack.revision, ack.refused.get("boston").map(String::as_str)), (5, Some("the minimum")));
        let left = fleet.pending_words(false).expect("geneva has come");
        let sites: Vec<_> = left.iter().map(|word| (word.site.as_str(), word.id)).collect();
        assert_eq!(sites, [("boston", 1), ("geneva", 3)]);
        for PendingWord { site, id, request } in left {
            fleet.took(id, &[site], request.value, None);
        }
        fleet.acknowledge();
        assert_eq!(fleet.inner.own().ack.clone(), Ack { revision: 9, ..Ack::default() });
        assert_eq!(fleet.pending_words(true), None);
    }
}
