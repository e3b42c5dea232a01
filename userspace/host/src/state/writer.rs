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
    /// The newest state that was tried, by the number it was handed over with.
    pub number: u64,
    /// Why it could not be written; none if it was.
    pub error: Option<String>,
}

/// Hands states over to be written; when it is dropped, the newest is written and the task ends.
#[derive(Debug)]
pub struct StateWriter {
    newest: watch::Sender<(u64, SavedState)>,
    _ending: DropGuard,
}

impl StateWriter {
    /// A writer, the outcome of its newest write, and the task that writes, which the caller runs.
    pub fn new(directory: PathBuf) -> (Self, watch::Receiver<WriteStatus>, impl Future<Output = ()> + Send + use<>) {
        let (newest, states) = watch::channel((0, SavedState::default()));
        let (outcome, seen) = watch::channel(WriteStatus::default());
        let ending = CancellationToken::new();
        let writing = write_all(directory, states, outcome, ending.clone());
        (Self { newest, _ending: ending.drop_guard() }, seen, writing)
    }

    /// Has `state` written soon; returns its number. What was not yet begun is left out.
    #[expect(clippy::must_use_candidate, reason = "it is written whether somebody waits or not")]
    pub fn write(&self, state: SavedState) -> u64 {
        let mut number = 0;
        self.newest.send_modify(|(newest, of)| {
            *newest += 1;
            *of = state;
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
/// For the last state to be written when the agent ends.
const END_WITHIN: Duration = Duration::from_secs(3);
/// For a look at the file, before it is needed.
const PEEK_WITHIN: Duration = Duration::from_secs(2);
/// For the file to be read at the start.
const RECALL_WITHIN: Duration = Duration::from_secs(5);

/// When states are handed to a [`StateWriter`].
#[derive(Debug)]
pub struct WriteSchedule {
    writer: Arc<StateWriter>,
    at: Instant,
    revision: u64,
    is_new: bool,
}

impl WriteSchedule {
    /// Nothing written yet, at the agent's start.
    #[must_use]
    pub fn new(writer: Arc<StateWriter>, now: Instant) -> Self {
        Self { writer, at: now, revision: 0, is_new: false }
    }

    /// Whether a state is to be written at `now`; `is_new` says whether the status has changed.
    pub fn is_due(&mut self, now: Instant, is_new: bool, revision: u64) -> bool {
        self.is_new |= is_new || revision != self.revision;
        now.saturating_duration_since(self.at) >= if self.is_new { SOON } else { LATEST }
    }

    /// Has a state written; returns its number.
    pub fn write(&mut self, state: SavedState, now: Instant, revision: u64) -> u64 {
        (self.at, self.revision, self.is_new) = (now, revision, false);
        self.writer.write(state)
    }
}

async fn write_all(
    directory: PathBuf,
    mut states: watch::Receiver<(u64, SavedState)>,
    outcome: watch::Sender<WriteStatus>,
    ending: CancellationToken,
) {
    let mut told = false;
    // A disk that hangs holds up the agent's end for no longer.
    let mut over = pin!(async {
        ending.cancelled().await;
        sleep(END_WITHIN).await;
    });
    // An error says that the writer is gone, and that its last state has been seen.
    while states.changed().await.is_ok() {
        let (number, state) = states.borrow_and_update().clone();
        let mut written = pin!(apart::write(&directory, file::encode(ClockStamp::now(), state)));
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
                    tell(&directory, &mut told, number, Some(apart::hangs(HANGS).to_string()), &outcome);
                }
            }
        };
        tell(&directory, &mut told, number, result.err().map(|error| error.to_string()), &outcome);
    }
}

/// Says what has become of a write: in the log where that has changed.
fn tell(directory: &Path, told: &mut bool, number: u64, error: Option<String>, outcome: &watch::Sender<WriteStatus>) {
    match (&error, *told) {
        (Some(error), false) => tracing::warn!(
            directory = %directory.display(),
            "the state cannot be saved ({error}): a restart would forget overrides and health"
        ),
        (None, true) => tracing::info!(directory = %directory.display(), "the state is saved again"),
        _ => {}
    }
    *told = error.is_some();
    outcome.send_replace(WriteStatus { number, error });
}

/// Once `number` has been tried, or `limit` is over: why it is not written, if so.
pub async fn wait(outcome: &mut watch::Receiver<WriteStatus>, number: u64, limit: Duration) -> Option<String> {
    let tried = outcome.wait_for(|newest| newest.number >= number);
    match tokio::time::timeout(limit, tried).await {
        Ok(Ok(newest)) => newest.error.clone(),
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
        Ok((state, age)) => {
            tracing::info!(directory = %directory.display(), sites = state.sites.len(), age_s = ?age.map(|age| age.as_secs()), "state recalled");
            (state, age)
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

    /// The newest of many states is what is on disk once the writer is gone, and who waits is told.
    #[tokio::test]
    async fn the_newest_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, mut outcome, task) = StateWriter::new(folder.path().into());
        let task = tokio::spawn(task);
        let state = |key: &str| SavedState { sites: [(key.to_owned(), SavedSite::default())].into() };
        let first = writer.write(state("first"));
        assert_eq!(wait(&mut outcome, first, Duration::from_secs(10)).await, None);
        for i in 0..100 {
            writer.write(state(&i.to_string()));
        }
        let _ = writer.write(state("last"));
        drop(writer);
        task.await.expect("ends with the writer");
        let (read, _) = recall(folder.path());
        assert_eq!(read, state("last"));
    }

    /// A disk that does not answer, here a named pipe in the place of the new file: who waits is told, and the end comes all
    /// the same.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("state.json.new");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        let (writer, mut outcome, task) = StateWriter::new(folder.path().into());
        let task = tokio::spawn(task);
        let number = writer.write(SavedState::default());
        assert_eq!(wait(&mut outcome, number, Duration::from_millis(100)).await.as_deref(), Some("not within 100ms"));
        let told = wait(&mut outcome, number, Duration::from_mins(1)).await.expect("not written");
        assert_eq!(told, "the disk has not answered within 10s");
        let _ = writer.write(SavedState::default());
        drop(writer);
        tokio::time::timeout(Duration::from_secs(30), task).await.expect("in time").expect("without a panic");
    }

    /// Where nothing can be written, that is said to who waits.
    #[tokio::test]
    async fn who_waits_is_told_that_nothing_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, mut outcome, task) = StateWriter::new(folder.path().join("no/such"));
        let task = tokio::spawn(task);
        let number = writer.write(SavedState::default());
        assert!(wait(&mut outcome, number, Duration::from_secs(10)).await.is_some());
        drop(writer);
        task.await.expect("ends with the writer");
    }
}
