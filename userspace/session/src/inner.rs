//! The table of sessions, and what all of its parts know together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{
    clock,
    counts::StoreCounts,
    entry::{Entry, EntryState, Phase},
    fault::SessionFault,
    heartbeats::Heartbeats,
    journal::Journal,
    lease::{Leases, Moment},
    placement::CopyPlacement,
    remote::{Remote, RemoteTarget},
    version::Epoch,
    worker::Worker,
};

/// Parts of the table of sessions, each with a lock of its own.
pub(crate) const SHARDS: usize = 64;

/// How sessions are kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The Site's name: what its keys at the servers begin with.
    pub site: String,
    /// The session servers.
    pub servers: Vec<RemoteTarget>,
    /// Copies of each session.
    pub copies: usize,
    /// When a change is acknowledged.
    pub write: WriteMode,
    /// How long a session lives after it was last used.
    pub life: Duration,
    /// How long a lease lives.
    pub lease: Duration,
    /// How long a server may take to answer.
    pub timeout: Duration,
    /// Bytes of a session, at most.
    pub size_max: usize,
    /// Sessions, at most.
    pub sessions_max: usize,
    /// Sessions that are copied again in a second, at most, when a server has died or come back.
    pub repair_rate: u32,
}

/// Knowledge that a request brings of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The highest epoch that its client has seen.
    pub epoch: Epoch,
}

/// The parts of a store: the table of sessions, the servers, the leases.
pub(crate) struct StoreInner {
    pub(crate) config: StoreConfig,
    /// This worker, as servers know it.
    pub(crate) worker: Worker,
    pub(crate) placement: CopyPlacement,
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) leases_of_all: Mutex<Leases>,
    pub(crate) shards: Vec<Mutex<HashMap<SessionId, Arc<Entry>>>>,
    /// Sessions that are being claimed, so that each is claimed once at a time.
    pub(crate) claiming: Mutex<HashMap<SessionId, Arc<tokio::sync::Mutex<()>>>>,
    /// One for each server, or one for the journal.
    pub(crate) queues: Vec<mpsc::Sender<Arc<Entry>>>,
    pub(crate) counts: StoreCounts,
    pub(crate) journal: Option<Arc<Journal>>,
}

impl StoreInner {
    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        let at = usize::from(id.0[0]) % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the entry of a session, if there is one.
    pub(crate) fn entry(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.shard(id).get(&id).cloned()
    }

    /// Puts an entry in the place of the one before.
    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        self.shard(entry.id).insert(entry.id, entry);
    }

    /// Removes an entry, if it still is that one.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        let mut shard = self.shard(entry.id);
        if shard.get(&entry.id).is_some_and(|found| Arc::ptr_eq(found, entry)) {
            shard.remove(&entry.id);
        }
    }

    /// Returns all entries.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let lock = |shard: &Mutex<HashMap<SessionId, Arc<Entry>>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(lock).collect()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Locks the leases.
    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases_of_all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session that was confirmed then may be served from memory now: nobody else can have claimed it, or nobody can
    /// be asked who might have. The latter is the case while no session server at all can be reached.
    pub(crate) fn may_serve(&self, confirmed: Moment) -> bool {
        let now = clock::now();
        self.leases().holds_since(confirmed, now) || self.is_alone(now)
    }

    /// Refuses a change that nobody could acknowledge, before it is made.
    pub(crate) fn may_write(&self, state: &EntryState) -> Result<(), SessionFault> {
        let holds = self.leases().holds_since(state.confirmed, clock::now());
        if holds || self.config.write == WriteMode::Async || self.remotes.is_empty() {
            return Ok(());
        }
        Err(self.no_quorum())
    }

    /// Whether a session may be served without a lease: no session server is reached, and each was tried since the lease ended;
    /// or the mode promises nothing.
    pub(crate) fn is_alone(&self, now: Moment) -> bool {
        let ended = self.leases().last_end();
        now > ended
            && self.remotes.iter().enumerate().all(|(at, remote)| {
                !remote.is_up() && self.heartbeats.refused_at(at).is_some_and(|tried| tried >= ended)
            })
    }

    /// Returns the entry of a session that this worker hosts; claims it if it does not.
    pub(crate) async fn hosted(self: &Arc<Self>, id: SessionId, hint: Hint) -> Result<Arc<Entry>, SessionFault> {
        if let Some(entry) = self.entry(id) {
            let (phase, epoch, confirmed) = {
                let state = entry.state();
                (state.phase, state.epoch, state.confirmed)
            };
            match phase {
                Phase::Ended => {
                    self.remember(&entry);
                    return Err(SessionFault::Ended);
                }
                Phase::Hosted if epoch >= hint.epoch && self.may_serve(confirmed) => return Ok(entry),
                Phase::Hosted | Phase::Lost => {}
            }
        }
        self.claim(id, hint).await
    }

    /// Puts an entry into the queues of the servers that lack its newest state.
    pub(crate) fn spread(&self, entry: &Arc<Entry>) {
        let behind: Vec<usize> = {
            let state = entry.state();
            let number = state.number;
            state.holders().filter(|server| !state.is_acked(*server, number)).collect()
        };
        for server in behind {
            self.enqueue(entry, server);
        }
    }

    /// Puts an entry into a server's queue, where it stands once.
    pub(crate) fn enqueue(&self, entry: &Arc<Entry>, server: usize) {
        if entry.enqueue(server)
            && let Some(queue) = self.queues.get(server)
        {
            // Full: the repair comes to it.
            if queue.try_send(Arc::clone(entry)).is_err() {
                entry.dequeued(server);
            }
        }
    }

    /// Tells the servers now and then that a session that is only read goes on.
    pub(crate) fn prolong(&self, entry: &Arc<Entry>) {
        let due = {
            let mut state = entry.state();
            let due = state.data.is_some() && state.used.saturating_sub(state.prolonged) > self.config.life / 4;
            if due {
                state.prolonged = state.used;
            }
            due.then(|| state.copies.clone())
        };
        for server in due.into_iter().flatten() {
            self.enqueue(entry, server);
        }
    }

    /// Notes that somebody still comes with the cookie of a session that has ended.
    fn remember(&self, entry: &Arc<Entry>) {
        let due = {
            let mut state = entry.state();
            state.used = clock::now();
            let due = state.used.saturating_sub(state.prolonged) > self.config.life / 4;
            if due {
                state.prolonged = state.used;
            }
            due.then(|| state.copies.clone())
        };
        for server in due.into_iter().flatten() {
            self.enqueue(entry, server);
        }
    }

    /// How many acknowledgements a change needs.
    fn is_acknowledged(&self, state: &EntryState, number: u64) -> bool {
        let (acks, copies) = (state.acks(number), state.copies.len());
        match self.config.write {
            WriteMode::Async => acks > 0 || self.journal.as_ref().is_none_or(|journal| !journal.is_behind()),
            WriteMode::AckOne => acks > 0 || copies == 0,
            WriteMode::AckAll if state.phase == Phase::Ended => {
                // Whoever claims it asks a quorum, of which one knows then.
                acks >= crate::lease::quorum(copies)
            }
            WriteMode::AckAll => state.has_all_acks(number),
        }
    }

    /// Which servers are to hold copies: all but those that have been down for a while, and those whose word does not count yet.
    pub(crate) fn usable(&self) -> Vec<bool> {
        let is_usable = |remote: &Arc<Remote>| !remote.is_down_for(self.config.timeout) && !remote.is_newcomer();
        self.remotes.iter().map(is_usable).collect()
    }

    /// Waits until a state is acknowledged as the mode says.
    pub(crate) async fn acknowledged(self: &Arc<Self>, entry: &Arc<Entry>, number: u64) -> Result<(), SessionFault> {
        if self.config.write == WriteMode::AckAll && number != 0 {
            let (phase, copies) = {
                let state = entry.state();
                (state.phase, state.copies.clone())
            };
            let usable = self.usable();
            // The repair comes to this one too, but somebody waits for it.
            if phase == Phase::Hosted && copies.iter().any(|at| !usable[*at]) {
                self.replace(entry, self.placement.choose(entry.id, self.config.copies, |at| usable[at])).await;
            }
        }
        let waited = async {
            loop {
                let changed = entry.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                {
                    let state = entry.state();
                    if state.phase == Phase::Lost {
                        return Err(SessionFault::Fenced);
                    }
                    if number == 0 || self.is_acknowledged(&state, number) {
                        return Ok(());
                    }
                }
                changed.await;
            }
        };
        timeout(self.config.lease, waited).await.unwrap_or(Err(SessionFault::Unacknowledged))
    }
}
