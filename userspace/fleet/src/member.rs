//! This front's part in its fleet: what the agent is told, and what it tells.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
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
    status::Verdicts,
};

use crate::{
    etcd::Etcd,
    inner::{FleetError, Inner, lock},
    own::Own,
    shared::{EngineLink, FrontReport, SharedView},
    values::{Ack, Presence, Words},
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
        let FleetEngine::Etcd(etcd) = &config.engine;
        let (patience, engine) = (etcd.lease, Arc::new(Etcd::new(etcd)?));
        let presence = Presence { instance: rand::random(), ..Presence::default() };
        let inner = Arc::new(Inner {
            front: config.front.clone(),
            view: Mutex::new(SharedView::new(config.front.clone())),
            own: Mutex::new(Own { presence, ..Own::default() }),
            taken: Mutex::default(),
            pending: Mutex::default(),
            told: Notify::new(),
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

    /// Tells the others what this front is.
    pub fn present(&self, digest: &str, version: &str, generation: u64, cut_off: bool) {
        let mut own = self.inner.own();
        let presence = &mut own.presence;
        let is_new = presence.digest != digest || presence.cut_off != cut_off || presence.generation != generation;
        if is_new {
            *presence = Presence {
                instance: presence.instance,
                digest: digest.to_owned(),
                version: version.to_owned(),
                generation,
                cut_off,
            };
            drop(own);
            self.inner.told.notify_one();
        }
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

    /// By Site of a model: answers that the others have given, as far as they have said so; only ever grows.
    #[must_use]
    pub fn answers(&self, model: &Model) -> Vec<u64> {
        let view = lock(&self.inner.view);
        model.sites.iter().map(|site| view.answers.get(&site.key).copied().unwrap_or(0)).collect()
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
    }

    /// Notes that a word is in force here, or why it is refused.
    pub fn took(&self, id: u64, sites: &[String], value: OverrideValue, refused: Option<&str>) {
        let mut taken = lock(&self.inner.taken);
        for site in sites {
            match refused {
                None => {
                    taken.ids.insert((site.clone(), matches!(value, OverrideValue::State(_))), id);
                    taken.refused.remove(site);
                }
                Some(why) => drop(taken.refused.insert(site.clone(), (id, why.to_owned()))),
            }
        }
    }

    /// Whether a word of a Site is refused here.
    #[must_use]
    pub fn has_refused(&self, site: &str, id: u64) -> bool {
        lock(&self.inner.taken).refused.get(site).is_some_and(|(refused, _)| *refused == id)
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
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms));
        let mut words = Vec::new();
        for (site, stored) in &view.words {
            let age = |at_ms: u64| match stored.seen {
                Some(seen) => now.saturating_duration_since(seen),
                None => Duration::from_millis(wall.saturating_sub(at_ms)),
            };
            for (id, request) in stored.words.requests(site, age) {
                let slot = (site.clone(), matches!(request.value, OverrideValue::State(_)));
                if taken.ids.get(&slot) != Some(&id) {
                    words.push(PendingWord { site: site.clone(), id, request });
                }
            }
        }
        Some(words)
    }

    /// Tells the others up to where this front has come with their words.
    pub fn acknowledge(&self) {
        let view = lock(&self.inner.view);
        let taken = lock(&self.inner.taken);
        let revision = view.words.values().map(|stored| stored.revision).max().unwrap_or(0);
        let stands = |site: &String, id: u64| {
            view.words.get(site).is_some_and(|stored| {
                let words = &stored.words;
                words.state.as_ref().is_some_and(|said| said.id == id)
                    || words.weight.as_ref().is_some_and(|said| said.id == id)
            })
        };
        let refused = taken.refused.iter().filter(|(site, (id, _))| stands(site, *id));
        let ack = Ack { revision, refused: refused.map(|(site, (_, why))| (site.clone(), why.clone())).collect() };
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
            own: self.inner.own().presence.clone(),
            fronts: view.fronts.clone(),
            revision: view.words.values().map(|stored| stored.revision).max().unwrap_or(0),
            words: view.words.iter().map(|(site, stored)| (site.clone(), stored.words.clone())).collect(),
            faults: view.faults.clone(),
            faulty: view.faulty,
            pending: lock(&self.inner.pending).len(),
            refused: lock(&self.inner.taken)
                .refused
                .iter()
                .map(|(site, (_, why))| (site.clone(), why.clone()))
                .collect(),
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
    /// This front, as it presents itself.
    pub own: Presence,
    /// All fronts that live, as the engine has them.
    pub fronts: BTreeMap<String, FrontReport>,
    /// The revision of the newest word.
    pub revision: i64,
    /// The words that stand, by Site.
    pub words: BTreeMap<String, Words>,
    /// Why values are ignored, by key.
    pub faults: BTreeMap<String, String>,
    /// Values that were ignored.
    pub faulty: u64,
    /// Requests that wait for the engine.
    pub pending: usize,
    /// Words that this front refuses, by Site.
    pub refused: BTreeMap<String, String>,
    /// Keys that this front has written.
    pub writes: u64,
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
