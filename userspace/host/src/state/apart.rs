//! The state directory at arm's length: what may hang there is done by another process.
//!
//! A disk that does not answer holds whoever touches it, and no signal frees them: a process with a thread there never ends,
//! keeps its sockets, and cannot be started anew. So the agent's own program is run for it, which reads or writes the
//! file and ends; the agent waits for it as long as it likes, and leaves it. Where no program is named ([`by`]), a thread does
//! it: that can be waited for no longer than one likes, too, but it has to be ended with.

use std::{
    ffi::OsStr,
    future::Future,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{io::AsyncWriteExt, sync::oneshot};

use super::file;

/// The first argument of the program that does it.
const COMMAND: &str = "state-file";
/// The exit code where there is no file.
const NONE: u8 = 3;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// From now on this program is run for it: one that calls [`command`] before anything else.
pub fn by(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Does the work of a process that was started for it and returns its exit code; none in any other process.
#[must_use]
pub fn command() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(COMMAND)) {
        return None;
    }
    let (what, directory) = (arguments.next()?, PathBuf::from(arguments.next()?));
    let done = match what.to_str() {
        Some("read") => file::bytes(&directory).and_then(|bytes| io::stdout().write_all(&bytes)),
        Some("write") => {
            let mut bytes = Vec::new();
            // All of it first: nobody waits for the disk by waiting for us to read.
            io::stdin().read_to_end(&mut bytes).and_then(|_| file::replace(&directory, &bytes))
        }
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::NotFound && what == "read" => NONE.into(),
        Err(error) => {
            let _ = write!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    })
}

/// The state file's bytes, if they are there within `limit`.
pub fn read(directory: &Path, limit: Duration) -> io::Result<Vec<u8>> {
    let child = PROGRAM.get().and_then(|program| {
        let mut command = process::Command::new(program);
        command.arg(COMMAND).arg("read").arg(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()
    });
    let pid = child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
    let directory = directory.to_owned();
    let read = within(limit, move || match child {
        None => file::bytes(&directory),
        Some(child) => {
            let output = child.wait_with_output()?;
            match output.status.code() {
                Some(0) => Ok(output.stdout),
                Some(code) if code == i32::from(NONE) => Err(io::ErrorKind::NotFound.into()),
                _ => Err(failed(output.status, &output.stderr)),
            }
        }
    });
    if let (Err(error), Some(pid)) = (&read, pid)
        && error.kind() == io::ErrorKind::TimedOut
    {
        // It may not hear it, and is not waited for.
        let _ = kill_process(pid, Signal::KILL);
    }
    read
}

/// Runs a job on a thread of its own and returns its result; the thread is left where it takes longer than `limit`.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, wait) = mpsc::sync_channel(1);
    thread::Builder::new().name("state".into()).spawn(move || {
        // Nobody waiting any more is no error.
        let _ = done.send(job());
    })?;
    wait.recv_timeout(limit).unwrap_or_else(|_| Err(hangs(limit)))
}

/// That nothing came of it for so long.
pub(super) fn hangs(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the disk has not answered within {limit:?}"))
}

fn failed(status: process::ExitStatus, said: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(said).into_owned();
    io::Error::other(if said.is_empty() { status.to_string() } else { said })
}

/// Replaces the state file. Dropping the future leaves whoever does it.
pub fn write(directory: &Path, bytes: Vec<u8>) -> impl Future<Output = io::Result<()>> + Send + use<> {
    let directory = directory.to_owned();
    async move {
        let Some(program) = PROGRAM.get() else { return by_thread(directory, bytes).await };
        let first = by_process(program, &directory, &bytes).await;
        match first {
            // A supervisor that ends all of a service sends its signal to the process, too.
            Err(Broken::Ended) => by_process(program, &directory, &bytes).await.map_err(io::Error::from),
            Err(Broken::Unstarted) => by_thread(directory, bytes).await,
            other => other.map_err(io::Error::from),
        }
    }
}

/// How a process has not done it.
enum Broken {
    Unstarted,
    Ended,
    Reported(io::Error),
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unstarted => Self::other("the process that writes it cannot be started"),
            Broken::Ended => Self::other("the process that writes it was ended"),
            Broken::Reported(error) => error,
        }
    }
}

async fn by_process(program: &Path, directory: &Path, bytes: &[u8]) -> Result<(), Broken> {
    let mut command = tokio::process::Command::new(program);
    command.arg(COMMAND).arg("write").arg(directory).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|_| Broken::Unstarted)?;
    if let Some(mut input) = child.stdin.take() {
        // One that has ended says why by its status.
        let _ = input.write_all(bytes).await;
    }
    let output = child.wait_with_output().await.map_err(Broken::Reported)?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(_) => Err(Broken::Reported(failed(output.status, &output.stderr))),
        None => Err(Broken::Ended),
    }
}

async fn by_thread(directory: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
    let (done, wait) = oneshot::channel();
    thread::Builder::new().name("state".into()).spawn(move || {
        // Nobody waiting any more is no error.
        let _ = done.send(file::replace(&directory, &bytes));
    })?;
    wait.await.unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_left() {
        assert_eq!(within(Duration::from_secs(20), || Ok(7)).expect("done"), 7);
        let error = within(Duration::from_millis(50), || {
            thread::sleep(Duration::from_secs(30));
            Ok(())
        })
        .expect_err("left");
        assert_eq!(error.to_string(), "the disk has not answered within 50ms");
    }

    /// A named pipe in the place of the file: whoever opens it waits for somebody at its other end.
    #[test]
    fn a_file_that_hangs_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join(file::NAME);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        let error = read(folder.path(), Duration::from_millis(100)).expect_err("nobody writes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
