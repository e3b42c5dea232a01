//! The thread that writes the journal: all sessions that have changed while the last commit was under way, by the next one.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use redb::Database;
use tokio::{runtime::Handle, sync::mpsc};
use tracing::{error, info};

use crate::{
    entry::{Entry, Phase},
    inner::StoreInner,
    journal::{self, Journal, JournalError, OpenJournal, PLACE, SESSIONS},
    version::Version,
};

/// The pause before a file is opened again that could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// Sessions in one commit, at most.
const BATCH: usize = 1 << 20;

/// Puts what was read into the memory, and starts to write what comes by the queue. Inside a tokio runtime.
pub(crate) fn start(
    opened: OpenJournal,
    inner: Arc<StoreInner>,
    queue: mpsc::Receiver<Arc<Entry>>,
) -> Result<(), JournalError> {
    let (journal, database, runtime) = (opened.journal, opened.database, Handle::current());
    let (sessions, life) = (opened.rows.len(), inner.config.life);
    for row in opened.rows {
        inner.insert(Arc::new(row.entry(life)));
    }
    info!(sessions, journal = %journal.path().display(), "sessions read");
    let writes = move || {
        let closed = journal.closed.clone().drop_guard();
        Writer { inner, journal, database: Some(database) }.run(queue, &runtime);
        drop(closed);
    };
    thread::Builder::new().name("journal".to_owned()).spawn(writes).map_err(JournalError::Thread)?;
    Ok(())
}

/// The thread that writes.
struct Writer {
    inner: Arc<StoreInner>,
    journal: Arc<Journal>,
    /// None while the file could not be opened again after a fault.
    database: Option<Database>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Arc<Entry>>, runtime: &Handle) {
        let (mut batch, closing) = (Vec::new(), self.journal.closing.clone());
        loop {
            let closed = runtime.block_on(async {
                tokio::select! {
                    biased;
                    count = queue.recv_many(&mut batch, BATCH) => count == 0,
                    () = closing.cancelled() => true,
                }
            });
            if closed {
                queue.close();
                while let Ok(entry) = queue.try_recv() {
                    batch.push(entry);
                }
            }
            self.write(&batch);
            batch.clear();
            if closed {
                return;
            }
        }
    }

    /// Writes what stands in a batch, as often as it takes; once if it is the last.
    fn write(&mut self, batch: &[Arc<Entry>]) {
        while !batch.is_empty() {
            let oldest = batch.iter().map(|entry| {
                let state = entry.state();
                state.behind_since.unwrap_or(state.used)
            });
            let oldest = oldest.min().map_or(1, |oldest| u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX).max(1));
            self.journal.oldest.store(oldest, Relaxed);
            match self.commit(batch) {
                Ok(sent) => {
                    self.journal.oldest.store(0, Relaxed);
                    self.journal.commits.fetch_add(1, Relaxed);
                    self.journal.written.fetch_add(sent.len() as u64, Relaxed);
                    if self.journal.why().is_some() {
                        info!("the sessions' journal is written again");
                        self.journal.set_why(None);
                    }
                    self.committed(sent);
                    return;
                }
                Err(why) => {
                    if self.journal.why().is_none() {
                        error!(journal = %self.journal.path().display(), %why, "the sessions' journal cannot be written");
                    }
                    self.journal.set_why(Some(why.to_string()));
                    // It takes no more changes after a fault.
                    self.database = None;
                    if self.journal.closing.is_cancelled() {
                        return;
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    }

    /// Writes the newest state of each session, and returns which it was.
    fn commit<'a>(&mut self, batch: &'a [Arc<Entry>]) -> Result<Vec<(&'a Arc<Entry>, Version)>, redb::Error> {
        if self.database.is_none() {
            self.database = Some(journal::reopen(self.journal.path())?);
        }
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let mut sent = Vec::with_capacity(batch.len());
        let transaction = database.begin_write()?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            for entry in batch {
                // Before the state is read: a change from now on comes into the queue again.
                entry.dequeued(PLACE);
                let (phase, version, data, used) = {
                    let state = entry.state();
                    (state.phase, state.version(), state.data.clone(), state.used)
                };
                if phase == Phase::Lost {
                    sessions.remove(entry.id.0)?;
                    continue;
                }
                if phase == Phase::Hosted && data.is_none() {
                    continue;
                }
                let ends = journal::ends(used, self.inner.config.life);
                sessions.insert(entry.id.0, (version.epoch.0, version.number, ends, data.as_deref()))?;
                sent.push((entry, version));
            }
        }
        // The default: it is on the disk when this returns.
        transaction.commit()?;
        Ok(sent)
    }

    /// Tells those who wait for it.
    fn committed(&self, sent: Vec<(&Arc<Entry>, Version)>) {
        for (entry, version) in sent {
            let again = {
                let mut state = entry.state();
                state.acknowledge(PLACE, version);
                state.phase != Phase::Lost && state.version() > version
            };
            entry.wake();
            if again {
                self.inner.enqueue(entry, PLACE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;
    use zerottl_core::{model::WriteMode, session_id::SessionId};

    use crate::{
        clock,
        fault::{SessionFault, SessionStartError},
        inner::{Hint, StoreConfig},
        journal::JournalError,
        store::{SessionStore, WriteCondition},
        version::{Epoch, Tag},
        worker::Worker,
    };

    use super::*;

    fn config(site: &str, life: Duration) -> StoreConfig {
        StoreConfig {
            site: site.to_owned(),
            servers: Vec::new(),
            copies: 0,
            write: WriteMode::Async,
            life,
            lease: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            size_max: 65_536,
            sessions_max: 10_000,
            repair_rate: 1000,
        }
    }

    fn start(path: &Path, config: StoreConfig) -> Result<SessionStore, SessionStartError> {
        let worker = Worker::new("w", "", None).unwrap();
        SessionStore::with_journal(config, worker, path, &CancellationToken::new())
    }

    fn id(number: u8) -> SessionId {
        SessionId([number; 16])
    }

    async fn write(store: &SessionStore, number: u8, data: &'static str) -> Tag {
        store.write(id(number), Hint::default(), WriteCondition::Any, Bytes::from(data)).await.unwrap()
    }

    async fn read(store: &SessionStore, number: u8, hint: Hint) -> Result<Option<Tag>, SessionFault> {
        Ok(store.read(id(number), hint).await?.map(|state| state.tag))
    }

    /// S1-2: an end in order writes what stands in the queue; a client that has seen a later epoch finds its session; another
    /// Site's journal is refused.
    #[tokio::test(flavor = "multi_thread")]
    async fn s1_2_all_is_there_after_an_end_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (path, life) = (folder.path().join("journal"), Duration::from_mins(10));
        let store = start(&path, config("boston", life)).unwrap();
        let mut tags = Vec::new();
        for number in 0..200 {
            tags.push(write(&store, number, "cart").await);
        }
        store.end(id(200), Hint::default()).await.unwrap();
        store.resign().await;
        // Nothing is acknowledged from now on.
        let late = store.write(id(1), Hint::default(), WriteCondition::Any, Bytes::from("late")).await;
        assert_eq!(late, Err(SessionFault::Unacknowledged));
        let other = start(&path, config("geneva", life)).unwrap_err();
        assert!(
            matches!(other, SessionStartError::Journal(JournalError::OtherSite { site, .. }) if *site == *"boston")
        );
        let store = start(&path, config("boston", life)).unwrap();
        for (number, tag) in (0..).zip(&tags) {
            assert_eq!(read(&store, number, Hint::default()).await, Ok(Some(*tag)), "{number}");
            let above = Hint { epoch: Epoch(1 << 40) };
            assert_eq!(read(&store, number, above).await, Ok(Some(*tag)), "{number}, of a later epoch");
            assert!(store.epoch(id(number)) > Some(above.epoch));
        }
        assert_eq!(read(&store, 200, Hint::default()).await, Err(SessionFault::Ended));
    }

    /// S1-2: the time of a session goes on while its Site is away, and with it that of its end.
    #[tokio::test(flavor = "multi_thread")]
    async fn s1_2_time_goes_on_while_the_site_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, life) = (folder.path().join("journal"), Duration::from_secs(3));
        let store = start(&path, config("boston", life)).unwrap();
        let begun = clock::now();
        write(&store, 1, "cart").await;
        store.end(id(2), Hint::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let later = write(&store, 3, "later").await;
        store.resign().await;
        tokio::time::sleep((begun + life + Duration::from_millis(100)).saturating_sub(clock::now())).await;
        let store = start(&path, config("boston", life)).unwrap();
        let tags = (read(&store, 1, Hint::default()).await, read(&store, 2, Hint::default()).await);
        assert_eq!(tags, (Ok(None), Ok(None)), "both are over");
        assert_eq!(read(&store, 3, Hint::default()).await, Ok(Some(later)));
        // In the memory as well, and what is forgotten there is not found again.
        tokio::time::sleep(life + Duration::from_millis(1500)).await;
        assert_eq!(store.page().hosted, 0);
        store.resign().await;
        assert_eq!(start(&path, config("boston", Duration::from_mins(10))).unwrap().page().hosted, 0);
    }
}
