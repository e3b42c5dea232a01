//! The table of sessions, and what all of its parts know together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
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
/// From one try to the next of a request that waits for enough session servers.
const QUORUM_PAUSE: Duration = Duration::from_millis(20);

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
    /// When it was started.
    pub(crate) started: Moment,
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

    /// Waits a little before another try of what was begun at `begun` and failed because too few servers answer. As long as they
    /// have not been missing for longer than a lease, a request waits for them; then it is refused at once.
    pub(crate) async fn wait_for_quorum(&self, fault: SessionFault, begun: Moment) -> Result<(), SessionFault> {
        // At first, servers that are all empty may take the time of a lease until they count.
        let had_quorum = self.leases().quorum_end().max(self.started + self.config.lease);
        let is_brief = clock::now() < begun.min(had_quorum) + self.config.lease;
        if !is_brief || !matches!(fault, SessionFault::NoQuorum { .. }) {
            return Err(fault);
        }
        sleep(QUORUM_PAUSE).await;
        Ok(())
    }

    /// Whether a session may be served without a lease: no session server is reached, and each was tried since the lease ended.
    pub(crate) fn is_alone(&self, now: Moment) -> bool {
        let ended = self.leases().last_end();
        now > ended
            && self.remotes.iter().enumerate().all(|(at, remote)| {
                !remote.is_up() && self.heartbeats.refused_at(at).is_some_and(|tried| tried >= ended)
            })
    }

    /// Returns the entry of a session that may be served from memory now; none if it has to be claimed first.
    pub(crate) fn ready(&self, id: SessionId, hint: Hint) -> Result<Option<Arc<Entry>>, SessionFault> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        let (phase, epoch, confirmed) = {
            let state = entry.state();
            (state.phase, state.epoch, state.confirmed)
        };
        match phase {
            Phase::Ended => {
                // Somebody still comes with its cookie.
                self.touch(&entry);
                Err(SessionFault::Ended)
            }
            Phase::Hosted if epoch >= hint.epoch && self.may_serve(confirmed) => Ok(Some(entry)),
            Phase::Hosted | Phase::Lost => Ok(None),
        }
    }

    /// Returns the entry of a session that this worker hosts; claims it if it does not, for a request that was begun at `begun`.
    pub(crate) async fn hosted(
        self: &Arc<Self>,
        id: SessionId,
        hint: Hint,
        begun: Moment,
    ) -> Result<Arc<Entry>, SessionFault> {
        loop {
            if let Some(entry) = self.ready(id, hint)? {
                return Ok(entry);
            }
            match self.claim(id, hint).await {
                Err(fault) => self.wait_for_quorum(fault, begun).await?,
                entry => return entry,
            }
        }
    }

    /// Returns the entry of a session that this worker hosts, and whose change somebody could acknowledge now.
    pub(crate) async fn writable(
        self: &Arc<Self>,
        id: SessionId,
        hint: Hint,
        begun: Moment,
    ) -> Result<Arc<Entry>, SessionFault> {
        loop {
            let entry = self.hosted(id, hint, begun).await?;
            let confirmed = entry.state().confirmed;
            let is_promised = self.config.write != WriteMode::Async && !self.remotes.is_empty();
            if !is_promised || self.leases().holds_since(confirmed, clock::now()) {
                return Ok(entry);
            }
            self.wait_for_quorum(self.no_quorum(), begun).await?;
        }
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

    /// Notes that a session is used, or that somebody still comes with the cookie of one that has ended; the servers are told now
    /// and then, so that they keep it.
    pub(crate) fn touch(&self, entry: &Arc<Entry>) {
        let due = {
            let mut state = entry.state();
            state.used = clock::now();
            let is_kept = state.data.is_some() || state.phase == Phase::Ended;
            let due = is_kept && state.used.saturating_sub(state.prolonged) > self.config.life / 4;
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
        let (phase, copies) = {
            let state = entry.state();
            // As a rule, when it was only read.
            if state.phase != Phase::Lost && (number == 0 || self.is_acknowledged(&state, number)) {
                return Ok(());
            }
            (state.phase, state.copies.clone())
        };
        if self.config.write == WriteMode::AckAll {
            let usable = self.usable();
            // The repair comes to this one too, but somebody waits for it.
            if phase == Phase::Hosted && copies.iter().any(|at| !usable[*at]) {
                self.replace(entry, self.placement.choose(entry.id, self.config.copies, |at| usable[at])).await;
            }
        }
        let waited = entry.when(|state| match state.phase {
            Phase::Lost => Some(Err(SessionFault::Fenced)),
            _ => self.is_acknowledged(state, number).then_some(Ok(())),
        });
        timeout(self.config.lease, waited).await.unwrap_or(Err(SessionFault::Unacknowledged))
    }
}
