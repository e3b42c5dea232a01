//! The folder on a bpffs with what outlives the director's worker.
//!
//! | pin | what it is |
//! |---|---|
//! | `NAME-ABI` | a map that the programs share, by its name in lower case |
//! | `page-SLOT-ABI` | the page of a slot's process |
//! | `count` | the link of the program that counts connections |
//!
//! The folder is locked (flock) by the worker that uses it. Listeners keep their programs whether or not anything is pinned.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use xdp_ebpf::director::layout::ABI;

use super::errors::DirectorLoadError;
use crate::{pins, sys};

/// The pin of the link.
const LINK: &str = "count";

/// The folder, locked until this is dropped.
#[derive(Debug)]
pub(super) struct DirectorPins {
    folder: PathBuf,
    _lock: OwnedFd,
}

impl DirectorPins {
    /// Makes the folder, if it is not there, and locks it.
    pub(super) fn own(folder: &Path) -> Result<Self, DirectorLoadError> {
        let failed = |error: io::Error| DirectorLoadError::Folder(folder.to_owned(), error);
        match pins::on_bpffs(folder) {
            Err(pins::PinError::NotBpffs(_)) => return Err(DirectorLoadError::NotBpffs(folder.to_owned())),
            Err(pins::PinError::Folder(_, error)) => return Err(failed(error)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = open(folder, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectorLoadError::InUse(folder.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where a map lies.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{ABI:08x}", name.to_ascii_lowercase()))
    }

    /// Where a slot's page lies.
    pub(super) fn page(&self, slot: u32) -> PathBuf {
        self.map(&format!("page-{slot}"))
    }

    /// Removes the page of a slot, if there is one.
    pub(super) fn remove_page(&self, slot: u32) {
        let _ = fs::remove_file(self.page(slot));
    }

    /// Removes all maps; programs and sockets that use them go on with them.
    pub(super) fn remove_maps(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() != LINK {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Has the program count the connections of a cgroup: by the pinned link if that is on this cgroup, else by a new one in
    /// its place.
    pub(super) fn count_in(&self, cgroup: &Path, program: impl AsFd) -> Result<(), DirectorLoadError> {
        let failed = |error: io::Error| DirectorLoadError::Cgroup(cgroup.to_owned(), error);
        let path = self.folder.join(LINK);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(cgroup, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let id = fs::metadata(cgroup).map_err(failed)?.ino();
        match sys::get(&path) {
            Ok(link) if sys::link_cgroup(link.as_fd()).is_ok_and(|on| on == id) => {
                return sys::link_update(link.as_fd(), program.as_fd(), None).map_err(failed);
            }
            Ok(link) => {
                let _ = sys::link_detach(link.as_fd());
                fs::remove_file(&path).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let link = sys::link_create_sock_ops(program.as_fd(), folder.as_fd()).map_err(failed)?;
        sys::pin(link.as_fd(), &path).map_err(|error| DirectorLoadError::Folder(path, error))
    }

    /// Takes the counting program off its cgroup and removes everything. Listeners keep their programs until they close.
    pub(super) fn clear(self) -> io::Result<()> {
        let link = self.folder.join(LINK);
        if let Ok(object) = sys::get(&link) {
            // What refuses it goes with its last reference.
            let _ = sys::link_detach(object.as_fd());
            fs::remove_file(&link)?;
        }
        self.remove_maps()?;
        match fs::remove_dir(&self.folder) {
            // A service that is not root may own the folder and not the one it is in; empty, it holds nothing.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }
}
