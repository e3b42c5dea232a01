//! The objects that outlive the agent: a folder on a bpffs.
//!
//! | pin | what it is |
//! |---|---|
//! | `link-MODE-INTERFACE` | the program on an interface; a dot in its name is written `%2e` |
//! | `control` | the `CONTROL` map of the program in use: how old its plan is, whose it is |
//! | `programs` | the `PROGRAMS` map of the program in use: the program that signs, which it hands over to |
//! | `program` | the program in use, so that the next agent can put it back if it does not come to serve |
//! | `counters-ABI`, `events-ABI` | maps that programs hand on to each other |
//!
//! A pin is made under a name of its own (`next-…`) and moved over the one before, so that there is always one or the other.
//!
//! The folder is locked (flock) by the agent that owns it, for as long as that runs. An owner always makes maps of its own, so
//! that one which was stopped and goes on later writes to maps that nothing reads any more; and it changes a link only from
//! its own program to another.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode as Permissions, OFlags, flock, fstat, open, statfs},
    process::{Pid, Signal, kill_process},
};
use xdp_ebpf::layout::ABI;
use zerottl_host::locks;

use super::{attach::AttachMode, sys};

/// `statfs` says this of a bpffs (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// How long an agent that is asked to leave may take to. One that cannot is killed.
const LEAVING: Duration = Duration::from_secs(5);
/// From the kill to the end.
const DYING: Duration = Duration::from_secs(2);

/// The pin of the `CONTROL` map.
pub const CONTROL: &str = "control";
/// The pin of the `PROGRAMS` map.
pub const PROGRAMS: &str = "programs";
/// The pin of the program.
pub const PROGRAM: &str = "program";
/// Before the name of a pin that is not yet in its place.
const NEXT: &str = "next-";
const LINK: &str = "link-";

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It cannot be made or read.
    #[error("{}: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] io::Error),
    /// It is on another kind of file system.
    #[error("{} is on no bpffs: `mount -t bpf bpf /sys/fs/bpf`, or another folder in [agent] `pins`", .0.display())]
    NotBpffs(PathBuf),
    /// Another agent, of this process id as far as can be told, owns it.
    #[error(
        "{}: another agent{} runs with it: stop it, take over by `run --take-over`, or give this one [agent] `pins` of \
         its own",
        .0.display(),
        .1.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    Owned(PathBuf, Option<i32>),
    /// An object cannot be pinned there.
    #[error("pinning {} failed: {}", .0.display(), .1)]
    Pin(PathBuf, #[source] io::Error),
}

/// A pinned link.
#[derive(Debug)]
pub struct PinnedLink {
    /// The interface it was made for.
    pub interface: String,
    /// How the program sits there.
    pub mode: AttachMode,
    /// The pin.
    pub path: PathBuf,
    /// Its name in the folder.
    pub name: String,
}

/// The folder, ours until this is dropped. A folder that was made for this goes then, if nothing is in it.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    lock: OwnedFd,
    /// The folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

/// The identity that tells one pin from another.
pub(crate) type PinId = (u64, u64);

impl Drop for Pins {
    fn drop(&mut self) {
        for folder in &self.made {
            // Refused where something is in it, and then also for those around it.
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Pins {
    /// Makes the folder, if it is not there, and takes it. With `take_over` an agent that has it is asked to leave (SIGUSR1)
    /// and killed if it does not; blocks for 7 seconds at most.
    pub fn own(folder: &Path, take_over: bool) -> Result<Self, PinError> {
        let failed = |error| PinError::Folder(folder.to_owned(), error);
        let mut made = Vec::new();
        loop {
            on_bpffs(folder)?;
            // Those that are not there are made; others' are left as they are.
            let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
            let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            made.extend(missing);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let lock = open(folder, flags, Permissions::empty()).map_err(|error| failed(error.into()))?;
            let displaced = match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if take_over => displace(folder, &lock),
                Err(rustix::io::Errno::WOULDBLOCK) => Err(PinError::Owned(folder.to_owned(), locks::owner(folder))),
                Err(error) => Err(failed(error.into())),
            };
            let pins = Self { folder: folder.to_owned(), lock, made: std::mem::take(&mut made) };
            displaced?;
            // Its owner may have removed it meanwhile: then this is the lock of a folder that nobody sees.
            if pins.is_there().map_err(failed)? {
                return Ok(pins);
            }
        }
    }

    /// As [`Self::own`], but only if the folder is there; none where there can be nothing.
    pub fn own_existing(folder: &Path, take_over: bool) -> Result<Option<Self>, PinError> {
        match fs::metadata(folder) {
            Ok(_) => match Self::own(folder, take_over) {
                Err(PinError::NotBpffs(_)) => Ok(None),
                owned => owned.map(Some),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(PinError::Folder(folder.to_owned(), error)),
        }
    }

    /// Whether the folder is where it was, and still this one. Takes no descriptor.
    pub fn is_there(&self) -> io::Result<bool> {
        let ours = fstat(&self.lock)?;
        match fs::metadata(&self.folder) {
            Ok(now) => Ok((now.dev(), now.ino()) == (ours.st_dev, ours.st_ino)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the folder anew where somebody has removed it, and takes it. An error if another agent has been there first.
    pub(crate) fn own_again(&mut self) -> Result<(), PinError> {
        let mut again = Self::own(&self.folder, false)?;
        // Or dropping this one would take the new folder for its own.
        again.made.append(&mut self.made);
        *self = again;
        Ok(())
    }

    /// Where the folder is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Pins an object under a name, in the place of what is there, in one step; what tells the pin from others.
    pub fn put(&self, name: &str, object: impl AsFd) -> Result<PinId, PinError> {
        self.stage(name, object)?;
        self.settle(name)
    }

    /// Pins an object so that [`Self::settle`] has only to move it. What an agent that is killed before that has staged,
    /// the next one finds among the links, or removes.
    pub fn stage(&self, name: &str, object: impl AsFd) -> Result<(), PinError> {
        let next = self.next(name);
        let _ = fs::remove_file(&next);
        sys::pin(object.as_fd(), &next).map_err(|error| PinError::Pin(self.folder.join(name), error))
    }

    /// Moves what was staged into its place.
    pub fn settle(&self, name: &str) -> Result<PinId, PinError> {
        let path = self.folder.join(name);
        let id = || fs::rename(self.next(name), &path).and_then(|()| id_of(&path));
        id().and_then(|id| id.ok_or_else(|| io::ErrorKind::NotFound.into())).map_err(|error| PinError::Pin(path, error))
    }

    /// Takes back what was staged.
    pub(crate) fn unstage(&self, name: &str) {
        let _ = fs::remove_file(self.next(name));
    }

    /// Removes a pin.
    pub fn remove(&self, name: &str) {
        let path = self.folder.join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("removing {} failed: {error}", path.display());
        }
    }

    /// Returns the identity of the pin of this name; none if there is none. Takes no descriptor.
    pub fn id(&self, name: &str) -> io::Result<Option<PinId>> {
        id_of(&self.folder.join(name))
    }

    /// The object pinned under a name; none if there is none.
    pub fn get(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        match sys::get(&self.folder.join(name)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{NEXT}{name}"))
    }

    /// The pinned links.
    pub fn links(&self) -> io::Result<Vec<PinnedLink>> {
        links(&self.folder)
    }

    /// Removes what no program in use has any more: maps of other versions, and what a killed agent did not finish.
    pub(crate) fn remove_foreign(&self) {
        let ours = |name: &str| {
            [CONTROL, PROGRAMS, PROGRAM].contains(&name)
                || name.starts_with(LINK)
                || name.ends_with(&format!("-{ABI:08x}"))
        };
        let stale = |name: &String| !ours(name) || name.starts_with(NEXT);
        for name in names(&self.folder).into_iter().flatten().filter(stale) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// Takes the program off and removes everything; the interfaces it was on.
    pub fn clear(self) -> io::Result<Vec<String>> {
        let links = self.links()?;
        for link in &links {
            // What refuses it, such as an interface that has gone, goes with its last reference.
            let _ = sys::get(&link.path).and_then(|link| sys::link_detach(link.as_fd()));
        }
        for name in names(&self.folder)? {
            fs::remove_file(self.folder.join(name))?;
        }
        match fs::remove_dir(&self.folder) {
            // A service that is not root may own the folder and not the one it is in; empty, it holds nothing.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            // Somebody was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        Ok(links.into_iter().map(|link| link.interface).collect())
    }
}

/// The name of a link's pin.
#[must_use]
pub(crate) fn link_name(interface: &str, mode: AttachMode) -> String {
    format!("{LINK}{}-{}", mode.name(), interface.replace('.', "%2e"))
}

/// The name of a shared map's pin.
#[must_use]
pub(crate) fn shared_name(map: &str) -> String {
    format!("{}-{ABI:08x}", map.to_ascii_lowercase())
}

/// Returns the identity of a pin.
#[must_use]
pub fn id(pin: &fs::Metadata) -> PinId {
    (pin.dev(), pin.ino())
}

fn id_of(path: &Path) -> io::Result<Option<PinId>> {
    match fs::symlink_metadata(path) {
        Ok(now) => Ok(Some(id(&now))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error unless the folder is on a bpffs, or would be: asked of what is there, so that nothing is made on another kind of
/// file system.
pub fn on_bpffs(folder: &Path) -> Result<(), PinError> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let kind = statfs(there).map_err(|error| PinError::Folder(folder.to_owned(), error.into()))?;
    if kind.f_type == BPF_FS_MAGIC { Ok(()) } else { Err(PinError::NotBpffs(folder.to_owned())) }
}

/// Where a shared map lies in a folder.
#[must_use]
pub fn shared(folder: &Path, map: &str) -> PathBuf {
    folder.join(shared_name(map))
}

/// Where the `CONTROL` of the program in use lies in a folder.
#[must_use]
pub fn control(folder: &Path) -> PathBuf {
    folder.join(CONTROL)
}

/// Lists the names in a folder; none in one that is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
    entries.filter_map(|entry| name(entry).transpose()).collect()
}

/// The pinned links of a folder.
pub fn links(folder: &Path) -> io::Result<Vec<PinnedLink>> {
    let link = |name: String| {
        // One that was staged by an agent that was killed then is on its interface as any other.
        let plain = name.strip_prefix(NEXT).unwrap_or(&name);
        let (mode, interface) = plain.strip_prefix(LINK)?.split_once('-')?;
        let mode = [AttachMode::Native, AttachMode::Generic].into_iter().find(|known| known.name() == mode)?;
        Some(PinnedLink { interface: interface.replace("%2e", "."), mode, path: folder.join(&name), name })
    };
    Ok(names(folder)?.into_iter().filter_map(link).collect())
}

/// Makes the agent that has the lock leave, and takes it.
fn displace(folder: &Path, lock: &OwnedFd) -> Result<(), PinError> {
    let owned = || PinError::Owned(folder.to_owned(), locks::owner(folder));
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
        let Some(pid) = locks::owner(folder).and_then(Pid::from_raw) else { break };
        tracing::warn!(pid = pid.as_raw_nonzero(), ?signal, "taking over from another agent");
        // Gone already, or not ours to signal: the lock tells.
        let _ = kill_process(pid, signal);
        if taken(patience) {
            return Ok(());
        }
    }
    if taken(Duration::ZERO) { Ok(()) } else { Err(owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock that is really held is found, by the kernel's own words.
    #[test]
    fn a_real_lock_has_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(locks::owner(folder.path()), None);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = open(folder.path(), flags, Permissions::empty()).expect("opened");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
        assert_eq!(locks::owner(folder.path()), i32::try_from(std::process::id()).ok());
        let other = tempfile::tempdir().expect("a folder");
        assert_eq!(locks::owner(other.path()), None);
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
