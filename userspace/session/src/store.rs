//! The sessions of this worker, and how they are read, written and ended.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{
    absent, adopt, clock, copier,
    counts::StoreCounts,
    entry::{EntryState, Phase},
    fault::{SessionFault, SessionStartError},
    heartbeat,
    heartbeats::Heartbeats,
    inner::{Hint, SHARDS, StoreConfig, StoreInner},
    journal::OpenJournal,
    journal_writer,
    lease::{Leases, Moment},
    placement::{CopyPlacement, PlacedServer, SERVERS_MAX},
    remote::{Remote, RemoteTarget},
    repair,
    version::{Epoch, Tag},
    worker::Worker,
};

/// Data of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// The data.
    pub data: Bytes,
    /// Its tag.
    pub tag: Tag,
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

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("worker", &self.0.worker.token).finish_non_exhaustive()
    }
}

impl SessionStore {
    /// Starts to keep sessions, until `cancel`. Inside a tokio runtime. `reach` says to other workers where this one is reached.
    pub fn start(config: StoreConfig, worker: Worker, cancel: &CancellationToken) -> Result<Self, SessionStartError> {
        Self::begin(config, worker, None, cancel)
    }

    /// Starts to keep sessions as [`Self::start`] does, without servers: a file keeps them over a restart.
    pub fn with_journal(
        mut config: StoreConfig,
        worker: Worker,
        journal: &Path,
        cancel: &CancellationToken,
    ) -> Result<Self, SessionStartError> {
        config.servers.clear();
        config.copies = 0;
        if config.write == WriteMode::AckAll {
            config.write = WriteMode::AckOne;
        }
        let journal = OpenJournal::open(journal, &config.site, cancel)?;
        Self::begin(config, worker, Some(journal), cancel)
    }

    fn begin(
        config: StoreConfig,
        worker: Worker,
        opened: Option<OpenJournal>,
        cancel: &CancellationToken,
    ) -> Result<Self, SessionStartError> {
        let placed = |server: &RemoteTarget| PlacedServer { name: server.name.clone(), domain: server.domain.clone() };
        let placement = CopyPlacement::new(config.servers.iter().map(placed).collect());
        let servers = config.servers.iter().take(SERVERS_MAX);
        let remotes = servers.map(|server| Remote::new(server, &config.site, config.timeout).map(Arc::new));
        let remotes: Vec<Arc<Remote>> = remotes.collect::<Result<_, _>>()?;
        // Each entry stands in a queue once, and those that are about to go as often again.
        let queue_len = config.sessions_max.saturating_mul(2).clamp(1024, 1 << 28);
        let count = remotes.len() + usize::from(opened.is_some());
        let (queues, mut ends): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(queue_len)).unzip();
        let inner = Arc::new(StoreInner {
            leases_of_all: Mutex::new(Leases::new(remotes.len())),
            heartbeats: Heartbeats::new(remotes.len()),
            worker,
            started: clock::now(),
            placement,
            remotes,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            claiming: Mutex::default(),
            queues,
            counts: StoreCounts::default(),
            journal: opened.as_ref().map(|opened| Arc::clone(&opened.journal)),
            config,
        });
        if let Some((opened, queue)) = opened.zip(ends.pop_if(|_| inner.remotes.is_empty())) {
            journal_writer::start(opened, Arc::clone(&inner), queue)?;
        }
        for (at, outlet) in ends.into_iter().enumerate() {
            tokio::spawn(cancel.clone().run_until_cancelled_owned(heartbeat::run(Arc::clone(&inner), at)));
            tokio::spawn(cancel.clone().run_until_cancelled_owned(copier::run(Arc::clone(&inner), at, outlet)));
        }
        tokio::spawn(cancel.clone().run_until_cancelled_owned(repair::run(Arc::clone(&inner))));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(adopt::run(Arc::clone(&inner))));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(absent::run(Arc::clone(&inner))));
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
    pub async fn read(&self, id: SessionId, hint: Hint) -> Result<Option<SessionState>, SessionFault> {
        let begun = clock::now();
        loop {
            let entry = self.0.hosted(id, hint, begun).await?;
            let (number, data, tag, confirmed) = {
                let state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                (state.number, state.data.clone(), state.tag(), state.confirmed)
            };
            self.0.touch(&entry);
            // After the state was read: it was this worker's until now, and so then.
            if !self.0.may_serve(confirmed) {
                match self.0.claim(id, hint).await {
                    Ok(again) if Arc::ptr_eq(&again, &entry) && again.state().number == number => {}
                    Ok(_) => continue,
                    Err(fault) => {
                        self.0.wait_for_quorum(fault, begun).await?;
                        continue;
                    }
                }
            }
            // What nobody has acknowledged may be lost, and then it must not have been seen.
            match self.0.acknowledged(&entry, number).await {
                // It has left the memory, or is another's: whoever has it now says what it is.
                Err(SessionFault::Fenced) => {}
                acknowledged => {
                    let state = data.zip(tag).map(|(data, tag)| SessionState { data, tag });
                    return acknowledged.map(|()| state);
                }
            }
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
        let begun = clock::now();
        loop {
            let entry = self.0.writable(id, hint, begun).await?;
            let (tag, number) = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
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
        let begun = clock::now();
        loop {
            let entry = self.0.writable(id, hint, begun).await?;
            let (tag, number) = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
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
        let begun = clock::now();
        loop {
            let entry = match self.0.writable(id, hint, begun).await {
                Err(SessionFault::Ended) => return Ok(()),
                hosted => hosted?,
            };
            let number = {
                let mut state = entry.state();
                if state.phase != Phase::Hosted {
                    continue;
                }
                state.end((0..self.0.queues.len()).collect(), clock::now());
                state.number
            };
            self.0.counts.ended();
            self.0.spread(&entry);
            return self.0.acknowledged(&entry, number).await;
        }
    }

    /// Copies what is not yet, gives all sessions up, and ends the lease: others may claim them at once. A journal is closed.
    pub async fn resign(&self) {
        let entries = self.0.all();
        for entry in &entries {
            self.0.spread(entry);
        }
        if let Some(journal) = &self.0.journal {
            journal.close().await;
            return;
        }
        let copied = async {
            for entry in &entries {
                entry.when(|state| (!state.is_behind()).then_some(())).await;
            }
        };
        let _ = timeout(self.0.config.timeout, copied).await;
        for remote in &self.0.remotes {
            let _ = remote.resign(&self.0.worker.token).await;
        }
    }
}
