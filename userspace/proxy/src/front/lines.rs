//! Lines on their way to a file: whoever has one never waits for the disk.
//!
//! Lines gather in memory, and a thread of their own writes them, a tenth of a second's at once. What is too much is lost and
//! counted. `tracing-appender` does alike, but bounds lines and not bytes, and opens no file anew.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tracing::error;

/// Bytes that wait to be written, at most.
const WAITING_MAX: usize = 4 << 20;
/// Lines of so long a time are written at once.
const GATHERED: Duration = Duration::from_millis(100);
/// The longest that [`Lines::finish`] waits for a disk.
const FINISH: Duration = Duration::from_secs(1);

/// A file that lines are appended to, or standard output.
#[derive(Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// Everything is done.
    done: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    count: u64,
    /// The most that was asked for.
    ask: Ask,
    writing: bool,
}

/// The work to be done besides writing, the greater with the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    #[default]
    Nothing,
    /// Write at once.
    Hurry,
    /// Open the file anew then.
    Reopen,
    /// End then: nothing comes any more.
    End,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.ask < Ask::Reopen
    }

    fn ask(&mut self, ask: Ask) {
        self.ask = self.ask.max(ask);
    }
}

impl Lines {
    /// Appends to this file, which is made where there is none; to standard output where none is given.
    pub(super) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let output = Output::open(file)?;
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("access-log".into()).spawn(move || worker.work(output))?;
        Ok(Self(shared))
    }

    /// Writes a whole line, with its end.
    pub(super) fn write(&self, line: &[u8]) {
        let mut state = self.0.state();
        if state.waiting.len() + line.len() > WAITING_MAX {
            drop(state);
            self.0.lost.fetch_add(1, Relaxed);
            return;
        }
        let wakes = state.is_idle() && !state.writing;
        state.waiting.extend_from_slice(line);
        state.count += 1;
        drop(state);
        if wakes {
            self.0.work.notify_one();
        }
    }

    /// Opens the file anew, after what waits has been written to the old one.
    pub(super) fn reopen(&self) {
        self.0.state().ask(Ask::Reopen);
        self.0.work.notify_one();
    }

    /// Returns how many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Waits until what is there is written, but not for a disk that hangs.
    pub(super) fn finish(&self) {
        let mut state = self.0.state();
        state.ask(Ask::Hurry);
        self.0.work.notify_one();
        let is_busy = |state: &mut State| state.writing || !state.is_idle();
        drop(self.0.done.wait_timeout_while(state, FINISH, is_busy));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.state().ask(Ask::End);
        self.0.work.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut output: Output) {
        let mut full = Vec::new();
        loop {
            let state = self.state();
            let state = self.work.wait_while(state, |state| state.is_idle()).unwrap_or_else(PoisonError::into_inner);
            // Those that come right after it are written with it.
            let gathered = |state: &mut State| state.ask == Ask::Nothing;
            let waited = self.work.wait_timeout_while(state, GATHERED, gathered);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut full, &mut state.waiting);
            let count = std::mem::take(&mut state.count);
            let ask = std::mem::take(&mut state.ask);
            state.writing = true;
            drop(state);
            if !output.write(&full) {
                self.lost.fetch_add(count, Relaxed);
            }
            full.clear();
            if ask == Ask::Reopen {
                output.reopen();
            }
            self.state().writing = false;
            self.done.notify_all();
            if ask == Ask::End {
                return;
            }
        }
    }
}

/// The file that lines go to.
#[derive(Debug)]
struct Output {
    /// None is standard output.
    file: Option<(PathBuf, File)>,
    /// Whether it was said that writing fails.
    is_said: bool,
}

impl Output {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.map(|path| append(&path).map(|file| (path, file))).transpose()?;
        Ok(Self { file, is_said: false })
    }

    fn write(&mut self, lines: &[u8]) -> bool {
        let written = match &mut self.file {
            Some((_, file)) => file.write_all(lines),
            None => io::stdout().lock().write_all(lines).and_then(|()| io::stdout().lock().flush()),
        };
        match written {
            Ok(()) => self.is_said = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_said, true) {
                    error!(%error, "writing the access log fails; lines are lost");
                }
                return false;
            }
        }
        true
    }

    /// Opens the file anew; where that fails, lines go on to the old one.
    fn reopen(&mut self) {
        let Some((path, file)) = &mut self.file else { return };
        match append(path) {
            Ok(new) => *file = new,
            Err(error) => {
                error!(%error, file = %path.display(), "opening the access log anew failed: the old file stays");
            }
        }
    }
}

/// Opens a file to append to, and creates it where there is none. Who may read logs is the group's matter.
fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_whole_and_in_order_and_a_moved_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, old) = (folder.path().join("log"), folder.path().join("log.1"));
        fs::write(&file, "before\n").unwrap();
        let lines = Lines::open(Some(file.clone())).unwrap();
        let expected: Vec<String> = (0..2000).map(|number| format!("line {number}\n")).collect();
        let expected = expected.concat();
        for line in expected.lines() {
            lines.write(format!("{line}\n").as_bytes());
        }
        lines.finish();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("before\n{expected}"));
        fs::rename(&file, &old).unwrap();
        lines.write(b"still to the old one\n");
        lines.reopen();
        lines.finish();
        lines.write(b"to the new one\n");
        lines.finish();
        assert!(fs::read_to_string(&old).unwrap().ends_with("still to the old one\n"));
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), lines.lost()), ("to the new one\n", 0));
        // Where no file can be made, the old one goes on.
        fs::rename(&file, &old).unwrap();
        fs::create_dir(&file).unwrap();
        lines.reopen();
        lines.write(b"more\n");
        lines.finish();
        assert_eq!((fs::read_to_string(&old).unwrap().as_str(), lines.lost()), ("to the new one\nmore\n", 0));
    }

    /// A pipe that nobody reads is a disk that hangs.
    #[test]
    fn nobody_waits_for_the_disk_and_what_is_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let lines = Lines::open(Some(pipe)).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..20_000 {
            lines.write(&line);
        }
        assert!(lines.lost() > 5_000, "{}", lines.lost());
        let held = lines.0.state().waiting.len();
        assert!(held <= WAITING_MAX, "{held}");
        drop(reader);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Lines::open(Some(folder.path().to_owned())).is_err());
        assert!(Lines::open(Some(folder.path().join("none/log"))).is_err());
    }
}
