//! A worker, as others know it by its lease.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// A worker, and what its lease says of it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its name with 64 random bits: another one after each start.
    pub token: String,
    /// The lease's value.
    pub(crate) lease: String,
    /// Held as long as this process lives, so that others of this machine see at once that it does not.
    _lock: Option<Arc<LockFile>>,
}

/// A lease's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// The worker's token.
    pub token: String,
    /// Where other workers reach it: `http://HOST:PORT`, or the path of a Unix socket. Empty for nowhere.
    #[serde(default)]
    pub reach: String,
    /// A file that it has locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<PathBuf>,
}

#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    _file: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Worker {
    /// Makes one that other workers reach at `reach`. `folder` is one that all workers of this machine have in common: there a
    /// file is locked, by which they see that this one has died.
    pub fn new(name: &str, reach: &str, folder: Option<&Path>) -> io::Result<Self> {
        let token = format!("{name}.{:016x}", rand::random::<u64>());
        let lock = folder.map(|folder| locked(&folder.join(format!("worker-{token}.lock")))).transpose()?;
        let holder = LeaseHolder { token, reach: reach.to_owned(), lock: lock.as_ref().map(|lock| lock.path.clone()) };
        let lease = serde_json::to_string(&holder).map_err(io::Error::other)?;
        Ok(Self { token: holder.token, lease, _lock: lock.map(Arc::new) })
    }

    /// The number by which its epochs differ from those of others.
    pub(crate) fn claimant(&self) -> u16 {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.token.as_bytes());
        digest.as_ref().first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }
}

fn locked(path: &Path) -> io::Result<LockFile> {
    let file = File::create(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(LockFile { path: path.to_owned(), _file: file })
}

impl LeaseHolder {
    /// Reads a lease's value.
    #[must_use]
    pub fn read(lease: &str) -> Option<Self> {
        serde_json::from_str(lease).ok()
    }

    /// Whether the worker is known to have died: its file is there, and nobody has locked it.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let Some(file) = self.lock.as_ref().and_then(|path| File::open(path).ok()) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S1-7: whether a worker of the same machine lives is seen by its file.
    #[test]
    fn s1_7_a_dead_worker_of_this_machine_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let worker = Worker::new("site-1", "/run/x", Some(folder.path())).unwrap();
        let holder = LeaseHolder::read(&worker.lease).unwrap();
        assert_eq!((&*holder.reach, &holder.token), ("/run/x", &worker.token));
        assert!(!holder.has_died());
        let copy = File::open(holder.lock.as_ref().unwrap()).unwrap();
        drop(copy);
        assert!(!holder.has_died());
        // Killed: the file is left, the lock is not.
        File::create(folder.path().join("left")).unwrap();
        let left = LeaseHolder { lock: Some(folder.path().join("left")), ..holder.clone() };
        assert!(left.has_died());
        drop(worker);
        assert!(!holder.has_died(), "no file says nothing");
        assert!(LeaseHolder::read("{").is_none());
    }
}
