//! The state that the fleet's client and the planning rounds share, each part behind a lock of its own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use zerottl_core::{
    overrides::{OverrideRequest, OverrideValue},
    saved_state::ms,
};

use crate::{
    gateway::GatewayError,
    own::Own,
    shared::{EngineLink, SharedView},
    values::Words,
};

/// Why the fleet could not be told something.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// etcd could not be asked, or has refused.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// No node is named, or none answers.
    #[error("no node of the engine answers")]
    Away,
    /// There is no engine to reach.
    #[error("the fleet is by a file")]
    ByFile,
}

/// State or weight: of each a Site has one.
pub(crate) type Slot = (String, bool);

/// The words that this front has taken over, and those that it has refused.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// By Site and kind: the id of the word.
    pub ids: HashMap<Slot, u64>,
    pub refused: BTreeMap<Slot, (u64, String)>,
    /// The revision of the newest word when they were last looked at.
    pub revision: i64,
    /// [`SharedView::word_changes`] when they were last looked at.
    pub looked: Option<u64>,
}

pub(crate) struct Inner {
    pub front: String,
    pub view: Mutex<SharedView>,
    pub own: Mutex<Own>,
    pub taken: Mutex<Taken>,
    pub pending: Mutex<VecDeque<(u64, Vec<String>, OverrideRequest)>>,
    /// There is something to tell.
    pub told: Notify,
    /// The revision at which this front's presence was written last; 0 before that.
    pub presented: AtomicI64,
    /// Another front bears this one's name.
    pub displaced: AtomicBool,
    pub changed: watch::Sender<u64>,
    /// Keys written.
    pub writes: AtomicU64,
    /// Milliseconds from `started` to when the client last stirred.
    pub stirred: AtomicU64,
    pub started: Instant,
    pub patience: Duration,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves it whole, so one cut short by a panic is still good to read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub fn own(&self) -> MutexGuard<'_, Own> {
        lock(&self.own)
    }

    pub fn stir(&self) {
        self.stirred.store(ms(self.started.elapsed()), Relaxed);
    }

    pub fn change(&self, change: impl FnOnce(&mut SharedView)) {
        change(&mut lock(&self.view));
        self.stir();
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn heard(&self) {
        lock(&self.view).heard = Some(Instant::now());
        self.stir();
    }

    pub fn snapshot(&self, fill: impl FnOnce(&mut SharedView) -> i64) {
        let mut lost = Vec::new();
        self.change(|view| {
            let before = view.begin_snapshot();
            let revision = fill(view);
            lost = view.end_snapshot(before, revision);
            view.heard = Some(Instant::now());
        });
        if !lost.is_empty() {
            warn!(sites = lost.len(), "the engine has lost words: they are told again");
            // As they were said: one word of many Sites is one.
            let mut words: BTreeMap<u64, (Vec<String>, OverrideRequest)> = BTreeMap::new();
            for (id, request) in lost {
                let (sites, _) = words.entry(id).or_insert_with(|| (Vec::new(), request.clone()));
                sites.push(request.target);
            }
            lock(&self.pending).extend(words.into_iter().map(|(id, (sites, request))| (id, sites, request)));
        }
        info!("the fleet's engine is there");
        self.told.notify_one();
    }

    pub fn away(&self, why: &str) {
        let mut is_new = false;
        self.change(|view| {
            is_new = !matches!(view.link, EngineLink::Away(..));
            let since = match &view.link {
                EngineLink::Away(since, _) => *since,
                _ => Instant::now(),
            };
            view.link = EngineLink::Away(since, why.to_owned());
        });
        if is_new {
            warn!("the fleet's engine is away: {why}");
        }
        // Old news would burden Sites with what they have long borne.
        let mut own = self.own();
        own.answers.clear();
        own.reports.clear();
    }

    /// Whoever came later bears the name; this one writes nothing while the other lives.
    pub fn look_for_namesake(&self) {
        let instance = self.own().presence.instance;
        let mut view = lock(&self.view);
        let other = view.fronts.get(&self.front).and_then(|report| report.presence.as_ref());
        if other.is_some_and(|presence| presence.instance != instance) && !self.displaced.swap(true, Relaxed) {
            warn!(front = self.front, "another front bears this name: nothing is told to the fleet while it does");
            view.link = EngineLink::Displaced;
        }
    }

    pub fn is_displaced(&self) -> bool {
        self.displaced.load(Relaxed)
    }

    pub fn words_of(&self, site: &str) -> (i64, Words) {
        lock(&self.view).words.get(site).map_or_else(Default::default, |stored| (stored.revision, stored.words.clone()))
    }

    pub fn made_revision(&self) -> i64 {
        lock(&self.view).made.as_ref().map_or(0, |(revision, _)| *revision)
    }

    /// Whether the fleet knows a word already, or a newer one.
    pub fn has_word(&self, site: &str, id: u64, request: &OverrideRequest) -> bool {
        let (_, words) = self.words_of(site);
        let known = match request.value {
            OverrideValue::State(_) => words.state.map(|said| (said.id, said.at_ms)),
            OverrideValue::Weight(_) => words.weight.map(|said| (said.id, said.at_ms)),
        };
        known.is_some_and(|(known, at)| known == id || at > request.at_wall_ms)
    }

    pub fn next_pending(&self) -> Option<(u64, Vec<String>, OverrideRequest)> {
        lock(&self.pending).front().cloned()
    }

    pub fn pending_done(&self, id: u64) {
        lock(&self.pending).retain(|(pending, ..)| *pending != id);
    }
}
