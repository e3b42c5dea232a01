//! One director for a place: a lock on a file beside `control`, which the keeper holds while workers come and go.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The reason why a director may not begin.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another one runs.
    #[error(
        "another director runs with this `control` of [director]: {0} is locked; stop that one, or give this one another"
    )]
    Held(PathBuf),
    /// The file cannot be had.
    #[error("locking {0}, beside `control` of [director]: {1}")]
    File(PathBuf, #[source] io::Error),
}

/// The lock, until the last copy of its descriptor is closed.
#[derive(Debug)]
pub(crate) struct DirectorLock(OwnedFd);

impl DirectorLock {
    /// Takes it.
    pub(crate) fn take(control: &Path) -> Result<Self, LockError> {
        let mut path = control.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let opened = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::options().create(true).truncate(false).write(true).open(&path)
        };
        let file = opened().map_err(|error| LockError::File(path.clone(), error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file.into())),
            Err(Errno::WOULDBLOCK) => Err(LockError::Held(path)),
            Err(error) => Err(LockError::File(path, error.into())),
        }
    }

    /// Takes it over from the worker before.
    pub(crate) fn adopt(lock: OwnedFd) -> Self {
        Self(lock)
    }
}

impl AsFd for DirectorLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_all_copies_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("run/director.sock");
        let first = DirectorLock::take(&control).unwrap();
        let kept = first.as_fd().try_clone_to_owned().unwrap();
        drop(first);
        let said = DirectorLock::take(&control).unwrap_err().to_string();
        assert!(said.starts_with("another director runs"), "{said}");
        drop(DirectorLock::adopt(kept));
        DirectorLock::take(&control).unwrap();
    }
}
