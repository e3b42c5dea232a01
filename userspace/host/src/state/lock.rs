//! One agent per state directory: a lock (flock) on it, for as long as the agent runs.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};

use super::{apart, file};
use crate::locks;

/// Between looks whether it is free.
const LOOK: Duration = Duration::from_millis(50);
/// For the disk to say anything.
const HANGS: Duration = Duration::from_secs(5);

/// The directory is ours until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

/// Another agent, of this process number as far as can be told, has the directory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: another agent{} keeps its state there: stop it, or give this one a directory of its own",
    directory.display(),
    by.map_or(String::new(), |pid| format!(" (process {pid})"))
)]
pub struct Owned {
    directory: PathBuf,
    by: Option<i32>,
}

/// Takes the directory, and makes it where it is not there. One that another agent has is waited for, which may just be
/// leaving. None where the directory cannot be had at all: then nothing can be kept there either, which is told.
pub fn own(directory: &Path, patience: Duration) -> Result<Option<Lock>, Owned> {
    let end = Instant::now() + patience;
    let path = directory.to_owned();
    let opened = apart::within(HANGS, move || {
        file::make_directory(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(open(&path, flags, Mode::empty())?)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) => return Ok(unlocked(directory, &error)),
    };
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) if Instant::now() >= end => {
                return Err(Owned { directory: directory.to_owned(), by: locks::owner(directory) });
            }
            Err(Errno::WOULDBLOCK) => sleep(LOOK),
            // Some file systems have no locks.
            Err(error) => return Ok(unlocked(directory, &error.into())),
        }
    }
}

fn unlocked(directory: &Path, error: &io::Error) -> Option<Lock> {
    tracing::warn!(directory = %directory.display(), "the state directory cannot be locked against other agents: {error}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let first = own(&state, Duration::ZERO).expect("free").expect("locked");
        let taken = own(&state, Duration::ZERO).expect_err("taken");
        assert_eq!(taken.by, Some(i32::try_from(std::process::id()).expect("small")));
        assert!(taken.to_string().contains("another agent (process "), "{taken}");
        // One that leaves is waited for.
        let leaving = std::thread::spawn(move || {
            sleep(Duration::from_millis(300));
            drop(first);
        });
        assert!(own(&state, Duration::from_secs(20)).expect("free again").is_some());
        leaving.join().expect("left");
        assert!(own(&folder.path().join("no/such"), Duration::ZERO).expect("nobody's").is_none());
    }
}
