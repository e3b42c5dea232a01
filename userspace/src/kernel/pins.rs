//! What outlives the agent: a folder on a bpffs.
//!
//! | pin | what it is |
//! |---|---|
//! | `link-MODE-INTERFACE` | the program on an interface; a dot in its name is written `%2e` |
//! | `control` | the `CONTROL` map of the program in use: how old its plan is, whose it is |
//! | `counters-ABI`, `events-ABI` | maps that programs hand on to each other |
//!
//! The folder is locked (flock) by the agent that owns it, for as long as that runs. An owner always makes maps of its own, so
//! that one which was stopped and goes on later writes to maps that nothing reads any more; and it changes a link only from
//! its own program to another.

use std::{
    fmt, fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode as Permissions, OFlags, flock, fstat, major, minor, open, statfs},
    process::{Pid, Signal, kill_process},
};
use xdp_ebpf::layout::ABI;

use super::{attach::Mode, sys};

/// `statfs` says this of a bpffs (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// How long an agent that is asked to leave may take to. One that cannot is killed.
const LEAVING: Duration = Duration::from_secs(5);
/// From the kill to the end.
const DYING: Duration = Duration::from_secs(2);

const CONTROL: &str = "control";
const LINK: &str = "link-";

/// Why the folder cannot be had.
#[derive(Debug)]
pub enum PinError {
    /// It cannot be made or read.
    Folder(PathBuf, io::Error),
    /// It is on another kind of file system.
    NotBpffs(PathBuf),
    /// Another agent, of this process id as far as can be told, owns it.
    Owned(PathBuf, Option<i32>),
    /// An object cannot be pinned there.
    Pin(PathBuf, io::Error),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotBpffs(path) => write!(
                f,
                "{} is on no bpffs: `mount -t bpf bpf /sys/fs/bpf`, or another folder in [agent] `pins`",
                path.display()
            ),
            Self::Owned(path, pid) => {
                let who = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
                let path = path.display();
                write!(
                    f,
                    "{path}: another agent{who} runs with it: stop it, take over by `run --take-over`, or give this one"
                )?;
                write!(f, " [agent] `pins` of its own")
            }
            Self::Pin(path, error) => write!(f, "pinning {} failed: {error}", path.display()),
        }
    }
}

impl std::error::Error for PinError {}

/// A pinned link.
#[derive(Debug)]
pub struct PinnedLink {
    /// The interface it was made for.
    pub interface: String,
    /// How the program sits there.
    pub mode: Mode,
    /// The pin.
    pub path: PathBuf,
}

/// The folder, ours until this is dropped.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    _lock: OwnedFd,
}

impl Pins {
    /// Makes the folder, if it is not there, and takes it. With `take_over` an agent that has it is asked to leave (SIGUSR1)
    /// and killed if it does not; blocks for 7 seconds at most.
    pub fn own(folder: &Path, take_over: bool) -> Result<Self, PinError> {
        let failed = |error| PinError::Folder(folder.to_owned(), error);
        loop {
            // Asked of what is there, so that nothing is made on another kind of file system.
            let there = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
            if statfs(there).map_err(|error| failed(error.into()))?.f_type != BPF_FS_MAGIC {
                return Err(PinError::NotBpffs(folder.to_owned()));
            }
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let lock = open(folder, flags, Permissions::empty()).map_err(|error| failed(error.into()))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if take_over => displace(folder, &lock)?,
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(PinError::Owned(folder.to_owned(), owner(folder))),
                Err(error) => return Err(failed(error.into())),
            }
            // Its owner may have removed it meanwhile: then this is the lock of a folder that nobody sees.
            let ours = fstat(&lock).map_err(|error| failed(error.into()))?.st_ino;
            if fs::metadata(folder).is_ok_and(|now| now.ino() == ours) {
                return Ok(Self { folder: folder.to_owned(), _lock: lock });
            }
        }
    }

    /// Where the folder is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a map lies that programs hand on to each other.
    #[must_use]
    pub fn shared(&self, map: &str) -> PathBuf {
        shared(&self.folder, map)
    }

    /// Pins a link.
    pub fn pin_link(&self, link: &OwnedFd, interface: &str, mode: Mode) -> Result<PathBuf, PinError> {
        let path = self.folder.join(format!("{LINK}{}-{}", mode.name(), interface.replace('.', "%2e")));
        // One that is left there has been found to be of no use.
        let _ = fs::remove_file(&path);
        match sys::pin(link.as_fd(), &path) {
            Ok(()) => Ok(path),
            Err(error) => Err(PinError::Pin(path, error)),
        }
    }

    /// Pins the `CONTROL` of the program in use, in the place of the one before.
    pub fn pin_control(&self, control: impl AsFd) -> Result<(), PinError> {
        let (next, path) = (self.folder.join("control-next"), self.folder.join(CONTROL));
        let _ = fs::remove_file(&next);
        sys::pin(control.as_fd(), &next)
            .and_then(|()| fs::rename(&next, &path))
            .map_err(|error| PinError::Pin(path, error))
    }

    /// The pinned links.
    #[must_use]
    pub fn links(&self) -> Vec<PinnedLink> {
        links(&self.folder)
    }

    /// Removes maps of other versions, which no program in use has any more.
    pub fn remove_foreign(&self) {
        let ours = |name: &str| name == CONTROL || name.starts_with(LINK) || name.ends_with(&format!("-{ABI:08x}"));
        for name in names(&self.folder).filter(|name| !ours(name)) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// Takes the program off and removes everything; the interfaces it was on.
    pub fn clear(self) -> io::Result<Vec<String>> {
        let links = self.links();
        for link in &links {
            // What refuses it, such as an interface that has gone, goes with its last reference.
            let _ = sys::get(&link.path).and_then(|link| sys::link_detach(link.as_fd()));
        }
        for name in names(&self.folder) {
            fs::remove_file(self.folder.join(name))?;
        }
        match fs::remove_dir(&self.folder) {
            // A service that is not root may own the folder and not the one it is in; empty, it holds nothing.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
        Ok(links.into_iter().map(|link| link.interface).collect())
    }
}

/// Where a shared map lies in a folder.
#[must_use]
pub fn shared(folder: &Path, map: &str) -> PathBuf {
    folder.join(format!("{}-{ABI:08x}", map.to_ascii_lowercase()))
}

/// Where the `CONTROL` of the program in use lies in a folder.
#[must_use]
pub fn control(folder: &Path) -> PathBuf {
    folder.join(CONTROL)
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The pinned links of a folder.
#[must_use]
pub fn links(folder: &Path) -> Vec<PinnedLink> {
    let link = |name: String| {
        let (mode, interface) = name.strip_prefix(LINK)?.split_once('-')?;
        let mode = [Mode::Native, Mode::Generic].into_iter().find(|known| known.name() == mode)?;
        Some(PinnedLink { interface: interface.replace("%2e", "."), mode, path: folder.join(&name) })
    };
    names(folder).filter_map(link).collect()
}

/// Makes the agent that has the lock leave, and takes it.
fn displace(folder: &Path, lock: &OwnedFd) -> Result<(), PinError> {
    let owned = || PinError::Owned(folder.to_owned(), owner(folder));
    let taken = |patience: Duration| {
        let end = Instant::now() + patience;
        loop {
            if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(10));
        }
    };
    for (signal, patience) in [(Signal::USR1, LEAVING), (Signal::KILL, DYING)] {
        let Some(pid) = owner(folder).and_then(Pid::from_raw) else { break };
        tracing::warn!(pid = pid.as_raw_nonzero(), ?signal, "taking over from another agent");
        // Gone already, or not ours to signal: the lock tells.
        let _ = kill_process(pid, signal);
        if taken(patience) {
            return Ok(());
        }
    }
    if taken(Duration::ZERO) { Ok(()) } else { Err(owned()) }
}

/// The process that holds the folder's lock, by /proc/locks.
#[must_use]
pub fn owner(folder: &Path) -> Option<i32> {
    let meta = fs::metadata(folder).ok()?;
    let file = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    holder(&fs::read_to_string("/proc/locks").ok()?, &file)
}

/// Who has a lock by flock on a file, given as device and inode: of lines as `1: FLOCK ADVISORY WRITE 1234 00:1f:5678 0 EOF`.
/// The whole of it counts: inodes of another file system bear the same numbers, and whoever is found may be killed.
fn holder(locks: &str, file: &str) -> Option<i32> {
    let pid = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file);
        words.get(4).filter(|_| is_it)?.parse().ok().filter(|pid| *pid > 0)
    };
    locks.lines().find_map(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_of_the_same_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1f:5678 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 08:01:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1f:15678 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 10 00:1f:5678 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 11 00:1f:5678 0 EOF\n";
        assert_eq!(holder(locks, "00:1f:5678"), Some(11));
        assert_eq!(holder(locks, "08:01:5678"), Some(8));
        assert_eq!(holder(locks, "00:1e:5678"), None);
        assert_eq!(holder("4: FLOCK  ADVISORY  WRITE -1 00:1f:5678 0 EOF", "00:1f:5678"), None, "of another namespace");
    }

    /// A lock that is really held is found, by the kernel's own words.
    #[test]
    fn a_real_lock_has_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(owner(folder.path()), None);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = open(folder.path(), flags, Permissions::empty()).expect("opened");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
        assert_eq!(owner(folder.path()), i32::try_from(std::process::id()).ok());
        let other = tempfile::tempdir().expect("a folder");
        assert_eq!(owner(other.path()), None);
    }

    #[test]
    fn nothing_is_made_on_another_file_system() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path().to_owned(), folder.path().join("one/two")] {
            assert!(matches!(Pins::own(&path, false), Err(PinError::NotBpffs(_))), "{}", path.display());
        }
        assert!(folder.path().exists() && fs::read_dir(folder.path()).expect("read").next().is_none());
    }
}
