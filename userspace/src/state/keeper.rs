//! Writes the state file, off the planning rounds' thread, newest state only.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Memory, file, file::NoState};

/// What has been kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The newest memory that was tried, by the number it was handed over with.
    pub number: u64,
    /// Why it could not be written; none if it was.
    pub error: Option<String>,
}

/// Hands memories over to be kept; when it is dropped, the newest is written and the task ends.
#[derive(Debug)]
pub struct Keeper {
    newest: watch::Sender<(u64, Memory)>,
}

impl Keeper {
    /// A keeper, what it has kept, and the task that writes, which the caller runs.
    pub fn new(directory: PathBuf) -> (Self, watch::Receiver<Kept>, impl Future<Output = ()> + Send + use<>) {
        let (newest, memories) = watch::channel((0, Memory::default()));
        let (kept, seen) = watch::channel(Kept::default());
        (Self { newest }, seen, write_all(directory, memories, kept))
    }

    /// Has `memory` written soon; returns its number. What was not yet begun is left out.
    #[expect(clippy::must_use_candidate, reason = "it is kept whether somebody waits or not")]
    pub fn keep(&self, memory: Memory) -> u64 {
        let mut number = 0;
        self.newest.send_modify(|(newest, of)| {
            *newest += 1;
            *of = memory;
            number = *newest;
        });
        number
    }
}

/// The least time between two writings that nobody waits for: a storm of verdicts is not one of writings.
const SOON: Duration = Duration::from_secs(1);
/// The most: what the file says of health is known to be true this long ago at most.
const LATEST: Duration = Duration::from_secs(20);

/// When memories are handed to a [`Keeper`].
#[derive(Debug)]
pub struct Keeping {
    keeper: Arc<Keeper>,
    at: Instant,
    revision: u64,
    is_new: bool,
}

impl Keeping {
    /// Nothing kept yet, at the agent's start.
    #[must_use]
    pub fn new(keeper: Arc<Keeper>, now: Instant) -> Self {
        Self { keeper, at: now, revision: 0, is_new: false }
    }

    /// Whether a memory is to be kept at `now`; `is_new` says whether the status has changed.
    pub fn is_due(&mut self, now: Instant, is_new: bool, revision: u64) -> bool {
        self.is_new |= is_new || revision != self.revision;
        now.saturating_duration_since(self.at) >= if self.is_new { SOON } else { LATEST }
    }

    /// Has a memory kept; returns its number.
    pub fn keep(&mut self, memory: Memory, now: Instant, revision: u64) -> u64 {
        (self.at, self.revision, self.is_new) = (now, revision, false);
        self.keeper.keep(memory)
    }
}

async fn write_all(directory: PathBuf, mut memories: watch::Receiver<(u64, Memory)>, kept: watch::Sender<Kept>) {
    let mut told = false;
    // An error says that the keeper is gone, and that its last memory has been seen.
    while memories.changed().await.is_ok() {
        let (number, memory) = memories.borrow_and_update().clone();
        let to = directory.clone();
        // A slow disk holds up this task alone.
        let written = tokio::task::spawn_blocking(move || file::write(&to, memory)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error.as_ref().filter(|_| !told) {
            tracing::warn!(
                directory = %directory.display(),
                "the state cannot be kept ({error}): words and health are forgotten at a restart"
            );
        }
        told = error.is_some();
        kept.send_replace(Kept { number, error });
    }
}

/// Once `number` has been tried, or `limit` is over: why it is not kept, if so.
pub async fn wait(kept: &mut watch::Receiver<Kept>, number: u64, limit: Duration) -> Option<String> {
    let tried = kept.wait_for(|kept| kept.number >= number);
    match tokio::time::timeout(limit, tried).await {
        Ok(Ok(kept)) => kept.error.clone(),
        Ok(Err(_)) => Some("the agent is stopping".into()),
        Err(_) => Some(format!("not within {limit:?}")),
    }
}

/// What the last run left, and how old it is; an empty one where there is nothing of use, which is told unless it is a
/// first start.
#[must_use]
pub fn recall(directory: &Path) -> (Memory, Option<Duration>) {
    match file::read(directory) {
        Ok((memory, age)) => {
            tracing::info!(directory = %directory.display(), sites = memory.sites.len(), age_s = ?age.map(|age| age.as_secs()), "state recalled");
            (memory, age)
        }
        Err(NoState::None) => (Memory::default(), None),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), "the last known state is of no use: {error}");
            (Memory::default(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SiteMemory;

    /// The newest of many memories is what is on disk once the keeper is gone, and who waits is told.
    #[tokio::test]
    async fn the_newest_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keeper, mut kept, task) = Keeper::new(folder.path().into());
        let task = tokio::spawn(task);
        let memory = |key: &str| Memory { sites: [(key.to_owned(), SiteMemory::default())].into() };
        let first = keeper.keep(memory("first"));
        assert_eq!(wait(&mut kept, first, Duration::from_secs(10)).await, None);
        for i in 0..100 {
            keeper.keep(memory(&i.to_string()));
        }
        let _ = keeper.keep(memory("last"));
        drop(keeper);
        task.await.expect("ends with the keeper");
        let (read, _) = recall(folder.path());
        assert_eq!(read, memory("last"));
    }

    /// Where nothing can be written, that is said to who waits.
    #[tokio::test]
    async fn who_waits_is_told_that_nothing_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keeper, mut kept, task) = Keeper::new(folder.path().join("no/such"));
        let task = tokio::spawn(task);
        let number = keeper.keep(Memory::default());
        assert!(wait(&mut kept, number, Duration::from_secs(10)).await.is_some());
        drop(keeper);
        task.await.expect("ends with the keeper");
    }
}
