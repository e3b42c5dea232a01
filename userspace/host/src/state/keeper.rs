//! Writes the state file, off the planning rounds' thread, newest state only. A disk that hangs holds up neither the start
//! nor the end.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use zerottl_core::saved_state::SavedState;

use super::{apart, file, file::NoState, stamp::ClockStamp};

/// The outcome of the newest write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteStatus {
    /// The newest memory that was tried, by the number it was handed over with.
    pub number: u64,
    /// Why it could not be written; none if it was.
    pub error: Option<String>,
}

/// Hands memories over to be kept; when it is dropped, the newest is written and the task ends.
#[derive(Debug)]
pub struct StateWriter {
    newest: watch::Sender<(u64, SavedState)>,
    _ending: DropGuard,
}

impl StateWriter {
    /// A keeper, what it has kept, and the task that writes, which the caller runs.
    pub fn new(directory: PathBuf) -> (Self, watch::Receiver<WriteStatus>, impl Future<Output = ()> + Send + use<>) {
        let (newest, memories) = watch::channel((0, SavedState::default()));
        let (kept, seen) = watch::channel(WriteStatus::default());
        let ending = CancellationToken::new();
        let keeping = write_all(directory, memories, kept, ending.clone());
        (Self { newest, _ending: ending.drop_guard() }, seen, keeping)
    }

    /// Has `memory` written soon; returns its number. What was not yet begun is left out.
    #[expect(clippy::must_use_candidate, reason = "it is kept whether somebody waits or not")]
    pub fn keep(&self, memory: SavedState) -> u64 {
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

/// After so long a disk hangs.
const HANGS: Duration = Duration::from_secs(10);
/// For the last memory to be written when the agent ends.
const END_WITHIN: Duration = Duration::from_secs(3);
/// For a look at the file, before it is needed.
const PEEK_WITHIN: Duration = Duration::from_secs(2);
/// For the file to be read at the start.
const RECALL_WITHIN: Duration = Duration::from_secs(5);

/// When memories are handed to a [`StateWriter`].
#[derive(Debug)]
pub struct Keeping {
    keeper: Arc<StateWriter>,
    at: Instant,
    revision: u64,
    is_new: bool,
}

impl Keeping {
    /// Nothing kept yet, at the agent's start.
    #[must_use]
    pub fn new(keeper: Arc<StateWriter>, now: Instant) -> Self {
        Self { keeper, at: now, revision: 0, is_new: false }
    }

    /// Whether a memory is to be kept at `now`; `is_new` says whether the status has changed.
    pub fn is_due(&mut self, now: Instant, is_new: bool, revision: u64) -> bool {
        self.is_new |= is_new || revision != self.revision;
        now.saturating_duration_since(self.at) >= if self.is_new { SOON } else { LATEST }
    }

    /// Has a memory kept; returns its number.
    pub fn keep(&mut self, memory: SavedState, now: Instant, revision: u64) -> u64 {
        (self.at, self.revision, self.is_new) = (now, revision, false);
        self.keeper.keep(memory)
    }
}

async fn write_all(
    directory: PathBuf,
    mut memories: watch::Receiver<(u64, SavedState)>,
    kept: watch::Sender<WriteStatus>,
    ending: CancellationToken,
) {
    let mut told = false;
    // A disk that hangs holds up the agent's end for no longer.
    let mut over = pin!(async {
        ending.cancelled().await;
        sleep(END_WITHIN).await;
    });
    // An error says that the keeper is gone, and that its last memory has been seen.
    while memories.changed().await.is_ok() {
        let (number, memory) = memories.borrow_and_update().clone();
        let mut written = pin!(apart::write(&directory, file::encode(ClockStamp::now(), memory)));
        let mut is_late = false;
        let result = loop {
            tokio::select! {
                biased;
                result = &mut written => break result,
                () = &mut over => {
                    tracing::warn!(
                        directory = %directory.display(),
                        "the last state is not saved: {}", apart::hangs(END_WITHIN)
                    );
                    return;
                }
                // Nothing else is tried meanwhile, so that no more than one hangs there.
                () = sleep(HANGS), if !is_late => {
                    is_late = true;
                    tell(&directory, &mut told, number, Some(apart::hangs(HANGS).to_string()), &kept);
                }
            }
        };
        tell(&directory, &mut told, number, result.err().map(|error| error.to_string()), &kept);
    }
}

/// Says what has become of a memory: in the log where that has changed.
fn tell(directory: &Path, told: &mut bool, number: u64, error: Option<String>, kept: &watch::Sender<WriteStatus>) {
    match (&error, *told) {
        (Some(error), false) => tracing::warn!(
            directory = %directory.display(),
            "the state cannot be saved ({error}): a restart would forget overrides and health"
        ),
        (None, true) => tracing::info!(directory = %directory.display(), "the state is saved again"),
        _ => {}
    }
    *told = error.is_some();
    kept.send_replace(WriteStatus { number, error });
}

/// Once `number` has been tried, or `limit` is over: why it is not kept, if so.
pub async fn wait(kept: &mut watch::Receiver<WriteStatus>, number: u64, limit: Duration) -> Option<String> {
    let tried = kept.wait_for(|kept| kept.number >= number);
    match tokio::time::timeout(limit, tried).await {
        Ok(Ok(kept)) => kept.error.clone(),
        Ok(Err(_)) => Some("the agent is stopping".into()),
        Err(_) => Some(format!("not within {limit:?}")),
    }
}

/// Reads a state directory, for a look at it: nobody waits long for that.
pub fn peek(directory: &Path) -> Result<(SavedState, Option<Duration>), NoState> {
    file::read_from(apart::read(directory, PEEK_WITHIN))
}

/// Reads the state that the last run left, and how old it is; an empty one where there is nothing of use, which is
/// logged unless it is a first start.
#[must_use]
pub fn recall(directory: &Path) -> (SavedState, Option<Duration>) {
    match file::read_from(apart::read(directory, RECALL_WITHIN)) {
        Ok((memory, age)) => {
            tracing::info!(directory = %directory.display(), sites = memory.sites.len(), age_s = ?age.map(|age| age.as_secs()), "state recalled");
            (memory, age)
        }
        Err(NoState::None) => (SavedState::default(), None),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), "the saved state cannot be used: {error}");
            (SavedState::default(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerottl_core::saved_state::SavedSite;

    /// The newest of many memories is what is on disk once the keeper is gone, and who waits is told.
    #[tokio::test]
    async fn the_newest_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keeper, mut kept, task) = StateWriter::new(folder.path().into());
        let task = tokio::spawn(task);
        let memory = |key: &str| SavedState { sites: [(key.to_owned(), SavedSite::default())].into() };
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

    /// A disk that does not answer, here a named pipe in the place of the new file: who waits is told, and the end comes all
    /// the same.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("state.json.new");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        let (keeper, mut kept, task) = StateWriter::new(folder.path().into());
        let task = tokio::spawn(task);
        let number = keeper.keep(SavedState::default());
        assert_eq!(wait(&mut kept, number, Duration::from_millis(100)).await.as_deref(), Some("not within 100ms"));
        let told = wait(&mut kept, number, Duration::from_mins(1)).await.expect("not kept");
        assert_eq!(told, "the disk has not answered within 10s");
        let _ = keeper.keep(SavedState::default());
        drop(keeper);
        tokio::time::timeout(Duration::from_secs(30), task).await.expect("in time").expect("without a panic");
    }

    /// Where nothing can be written, that is said to who waits.
    #[tokio::test]
    async fn who_waits_is_told_that_nothing_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (keeper, mut kept, task) = StateWriter::new(folder.path().join("no/such"));
        let task = tokio::spawn(task);
        let number = keeper.keep(SavedState::default());
        assert!(wait(&mut kept, number, Duration::from_secs(10)).await.is_some());
        drop(keeper);
        task.await.expect("ends with the keeper");
    }
}
