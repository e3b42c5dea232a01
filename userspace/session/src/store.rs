//! All sessions of this worker, and how they are read, written and ended.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{
    clock, copier,
    counts::StoreCounts,
    entry::{Entry, EntryState, Phase},
    fault::{SessionFault, SessionStartError},
    heartbeat::{self, Heartbeats},
    lease::{Leases, Moment},
    placement::{CopyPlacement, PlacedServer, SERVERS_MAX},
    remote::{Remote, RemoteTarget},
    repair,
    version::{Epoch, Tag},
    worker::Worker,
};

/// Parts of the table of sessions, each with a lock of its own.
const SHARDS: usize = 64;

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

/// Data of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The data.
    pub data: Bytes,
    /// Its tag.
    pub tag: Tag,
}

/// What a request says of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The highest epoch that its client has seen.
    pub epoch: Epoch,
}

/// When a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// In any case.
    #[default]
    Any,
    /// If the session has this state (`If-Match`).
    Is(Tag),
    /// If the session has no data (`If-None-Match: *`).
    Empty,
    /// If it has any (`If-Match: *`).
    Present,
}

impl WriteCondition {
    fn holds(self, state: &EntryState) -> bool {
        match self {
            Self::Any => true,
            Self::Is(tag) => state.tag() == Some(tag),
            Self::Empty => state.data.is_none(),
            Self::Present => state.data.is_some(),
        }
    }
}

/// The sessions of this worker. Clones are the same.
#[derive(Clone)]
pub struct SessionStore(pub(crate) Arc<StoreInner>);

/// The parts of [`SessionStore`].
pub(crate) struct StoreInner {
    pub(crate) config: StoreConfig,
    /// This worker, as servers know it.
    pub(crate) worker: Worker,
    pub(crate) placement: CopyPlacement,
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) heartbeats: Heartbeats,
    leases: Mutex<Leases>,
    shards: Vec<Mutex<HashMap<SessionId, Arc<Entry>>>>,
    /// Sessions that are being claimed, so that each is claimed once at a time.
    pub(crate) claiming: Mutex<HashMap<SessionId, Arc<tokio::sync::Mutex<()>>>>,
    queues: Vec<mpsc::Sender<Arc<Entry>>>,
    pub(crate) counts: StoreCounts,
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("worker", &self.0.worker.token).finish_non_exhaustive()
    }
}

impl SessionStore {
    /// Starts to keep sessions, until `cancel`. Inside a tokio runtime. `reach` says to other workers where this one is reached.
    pub fn start(config: StoreConfig, worker: Worker, cancel: &CancellationToken) -> Result<Self, SessionStartError> {
        let placed = |server: &RemoteTarget| PlacedServer { name: server.name.clone(), domain: server.domain.clone() };
        let placement = CopyPlacement::new(config.servers.iter().map(placed).collect());
        let servers = config.servers.iter().take(SERVERS_MAX);
        let remotes = servers.map(|server| Remote::new(server, &config.site, config.timeout).map(Arc::new));
        let remotes: Vec<Arc<Remote>> = remotes.collect::<Result<_, _>>()?;
        // Each entry stands in a queue once, and those that are about to go as often again.
        let places = config.sessions_max.saturating_mul(2).clamp(1024, 1 << 28);
        let (queues, outlets): (Vec<_>, Vec<_>) = remotes.iter().map(|_| mpsc::channel(places)).unzip();
        let inner = Arc::new(StoreInner {
            leases: Mutex::new(Leases::new(remotes.len())),
            heartbeats: Heartbeats::new(remotes.len()),
            worker,
            placement,
            remotes,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            claiming: Mutex::default(),
            queues,
            counts: StoreCounts::default(),
            config,
        });
        for (at, outlet) in outlets.into_iter().enumerate() {
            tokio::spawn(cancel.clone().run_until_cancelled_owned(heartbeat::run(Arc::clone(&inner), at)));
            tokio::spawn(cancel.clone().run_until_cancelled_owned(copier::run(Arc::clone(&inner), at, outlet)));
        }
        tokio::spawn(cancel.clone().run_until_cancelled_owned(repair::run(Arc::clone(&inner))));
        Ok(Self(inner))
    }

    /// Bytes of a session, at most.
    #[must_use]
    pub fn size_max(&self) -> usize {
        self.0.config.size_max
    }

    /// How long a request waits for a session whose worker does not answer: until the worker's lease has ended, and a little.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.0.config.lease + self.0.config.timeout * 2
    }

    /// Returns the epoch under which a session is hosted here.
    #[must_use]
    pub fn epoch(&self, id: SessionId) -> Option<Epoch> {
        let entry = self.0.entry(id)?;
        let state = entry.state();
        (state.phase == Phase::Hosted).then_some(state.epoch)
    }

    /// Notes that a client has seen an epoch: if it is above the one here, the session is another's by now, and is claimed again
    /// before it is served.
    pub fn seen(&self, id: SessionId, epoch: Epoch) {
        if epoch == Epoch::default() {
            return;
        }
        if let Some(entry) = self.0.entry(id) {
            let mut state = entry.state();
            if state.epoch < epoch {
                state.confirmed = Moment::ZERO;
            }
        }
    }

    /// Returns a session's data; none if it has none.
    pub async fn read(&self, id: SessionId, hint: Hint) -> Result<Option<Held>, SessionFault> {
        loop {
            let entry = self.0.hosted(id, hint).await?;
            let (number, data, tag, confirmed) = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                state.used = clock::now();
                (state.number, state.data.clone(), state.tag(), state.confirmed)
            };
            self.0.prolong(&entry);
            // After the state was read: it was this worker's until now, and so then.
            if !self.0.may_serve(confirmed) {
                let again = self.0.claim(id, hint).await?;
                if !Arc::ptr_eq(&again, &entry) || again.state().number != number {
                    continue;
                }
            }
            // What nobody has acknowledged may be lost, and then it must not have been seen.
            self.0.acknowledged(&entry, number).await?;
            return Ok(data.zip(tag).map(|(data, tag)| Held { data, tag }));
        }
    }

    /// Writes a session's data. Returns its tag once as many copies are acknowledged as the mode says.
    pub async fn write(
        &self,
        id: SessionId,
        hint: Hint,
        condition: WriteCondition,
        data: Bytes,
    ) -> Result<Tag, SessionFault> {
        let max = self.0.config.size_max;
        if data.len() > max {
            return Err(SessionFault::TooLarge { size: data.len(), max });
        }
        loop {
            let entry = self.0.hosted(id, hint).await?;
            let (tag, number) = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                self.0.may_write(&state)?;
                if !condition.holds(&state) {
                    return Err(SessionFault::Changed);
                }
                let tag = state.change(data, clock::now());
                (tag, state.number)
            };
            self.0.spread(&entry);
            self.0.acknowledged(&entry, number).await?;
            return Ok(tag);
        }
    }

    /// Changes a session's data by what it is now, as one step: no other change comes between. `change` returns none to leave
    /// it as it is.
    pub async fn update(
        &self,
        id: SessionId,
        hint: Hint,
        mut change: impl FnMut(Option<&Bytes>) -> Option<Bytes> + Send,
    ) -> Result<Option<Tag>, SessionFault> {
        loop {
            let entry = self.0.hosted(id, hint).await?;
            let (tag, number) = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                self.0.may_write(&state)?;
                let (data, max) = (change(state.data.as_ref()), self.0.config.size_max);
                if let Some(size) = data.as_ref().map(Bytes::len).filter(|size| *size > max) {
                    return Err(SessionFault::TooLarge { size, max });
                }
                if let Some(data) = data.filter(|data| state.data.as_ref() != Some(data)) {
                    state.change(data, clock::now());
                }
                (state.tag(), state.number)
            };
            self.0.spread(&entry);
            self.0.acknowledged(&entry, number).await?;
            return Ok(tag);
        }
    }

    /// Ends a session for good.
    pub async fn end(&self, id: SessionId, hint: Hint) -> Result<(), SessionFault> {
        loop {
            let entry = match self.0.hosted(id, hint).await {
                Err(SessionFault::Ended) => return Ok(()),
                hosted => hosted?,
            };
            let number = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                self.0.may_write(&state)?;
                state.end((0..self.0.remotes.len()).collect(), clock::now());
                state.number
            };
            self.0.counts.ended();
            self.0.spread(&entry);
            return self.0.acknowledged(&entry, number).await;
        }
    }

    /// Copies what is not yet, gives all sessions up, and ends the lease: others may claim them at once.
    pub async fn resign(&self) {
        let entries = self.0.all();
        for entry in &entries {
            self.0.spread(entry);
        }
        let copied = async {
            for entry in &entries {
                let notified = entry.changed.notified();
                if !entry.state().is_copied() {
                    notified.await;
                }
            }
        };
        let _ = timeout(self.0.config.timeout, copied).await;
        for remote in &self.0.remotes {
            let _ = remote.resign(&self.0.worker.token).await;
        }
    }
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
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session that was confirmed then may be served from memory now: nobody else can have claimed it, or nobody can
    /// be asked who might have. The latter is the case while no session server at all can be reached.
    pub(crate) fn may_serve(&self, confirmed: Moment) -> bool {
        let now = clock::now();
        self.leases().holds_since(confirmed, now) || self.is_alone(now)
    }

    /// Refuses a change that nobody could acknowledge, before it is made.
    fn may_write(&self, state: &EntryState) -> Result<(), SessionFault> {
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
            && self
                .remotes
                .iter()
                .enumerate()
                .all(|(at, remote)| !remote.is_up() && self.heartbeats.refused(at).is_some_and(|tried| tried >= ended))
    }

    /// Returns the entry of a session that this worker hosts; claims it if it does not.
    pub(crate) async fn hosted(self: &Arc<Self>, id: SessionId, hint: Hint) -> Result<Arc<Entry>, SessionFault> {
        if let Some(entry) = self.entry(id) {
            let (phase, epoch, confirmed) = {
                let state = entry.state();
                (state.phase, state.epoch, state.confirmed)
            };
            match phase {
                Phase::Ended => return Err(SessionFault::Ended),
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
            state.copies.iter().copied().filter(|server| !state.is_acked(*server, number)).collect()
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
    fn prolong(&self, entry: &Arc<Entry>) {
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

    /// How many acknowledgements a change needs.
    fn is_acknowledged(&self, state: &EntryState, number: u64) -> bool {
        let (acks, copies) = (state.acks(number), state.copies.len());
        match self.config.write {
            WriteMode::Async => true,
            WriteMode::AckOne => acks > 0 || copies == 0,
            WriteMode::AckAll if state.phase == Phase::Ended => {
                // Whoever claims it asks a quorum, of which one knows then.
                acks >= crate::lease::quorum(copies)
            }
            WriteMode::AckAll => acks == copies,
        }
    }

    /// Which servers are to hold copies: all but those that have been down for a while.
    pub(crate) fn usable(&self) -> Vec<bool> {
        self.remotes.iter().map(|remote| !remote.is_down_for(self.config.timeout)).collect()
    }

    /// Waits until a state is acknowledged as the mode says.
    pub(crate) async fn acknowledged(self: &Arc<Self>, entry: &Arc<Entry>, number: u64) -> Result<(), SessionFault> {
        if self.config.write == WriteMode::AckAll && number != 0 {
            let (phase, copies) = {
                let state = entry.state();
                (state.phase, state.copies.clone())
            };
            // The repair comes to this one too, but somebody waits for it.
            if phase == Phase::Hosted && copies.iter().any(|at| self.remotes[*at].is_down_for(self.config.timeout)) {
                let usable = self.usable();
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
