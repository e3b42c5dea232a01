//! Why the distributor's programs cannot be had, or not be told something.

use std::{error::Error, io, path::PathBuf};

use aya::{maps::MapError, programs::ProgramError};
use xdp_ebpf::director::layout::ADDRESSES_MAX;

use crate::Chain;

/// Why the programs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectorLoadError {
    /// The folder with the pins, or something in it.
    #[error("{}: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] io::Error),
    /// The folder is on another kind of file system.
    #[error("{} is on no bpffs: `mount -t bpf bpf /sys/fs/bpf`, or another folder in [director] `pins`", .0.display())]
    NotBpffs(PathBuf),
    /// Another process uses the folder.
    #[error("{}: another director uses it: stop that, or give this one [director] `pins` of its own", .0.display())]
    InUse(PathBuf),
    /// The object, its maps or the verifier.
    #[error(
        "loading the distributor's programs failed: {}; they need Linux 5.17, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
         (root has them)",
        Chain(.0.as_ref())
    )]
    Bpf(#[source] Box<dyn Error + Send + Sync>),
    /// Connections cannot be counted.
    #[error(
        "{}: counting the connections of this cgroup failed: {}; it has to be a folder of a cgroup v2 file system, and \
         attaching to it needs CAP_NET_ADMIN and CAP_BPF",
        .0.display(), .1
    )]
    Cgroup(PathBuf, #[source] io::Error),
    /// The object lacks a part: it is not ours.
    #[error("the distributor's BPF object has no {0}")]
    Missing(&'static str),
    /// A map cannot be mapped into our memory.
    #[error("mapping the distributor's map {0} failed: {1}")]
    Mapping(&'static str, #[source] io::Error),
    /// More addresses than there is room for, or none.
    #[error("{0} addresses to listen on; the distributor takes 1 to {ADDRESSES_MAX}")]
    Addresses(usize),
}

/// Why a map cannot be read or written, or a socket not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectorMapError {
    /// A map refused it.
    #[error("the distributor's map {0}: {1}")]
    Map(&'static str, #[source] io::Error),
    /// The counters cannot be read.
    #[error("the distributor's counters: {0}")]
    Counters(#[from] MapError),
    /// The program cannot be attached to a listener.
    #[error("attaching the distributor's program to a listener: {0}; the listener needs SO_REUSEPORT, set before bind")]
    Attach(#[source] ProgramError),
    /// A socket refused a question.
    #[error("asking a socket for its {0}: {1}")]
    Socket(&'static str, #[source] io::Error),
    /// A page cannot be made, pinned or mapped.
    #[error("the page of slot {0}: {1}")]
    Page(u32, #[source] io::Error),
    /// There is no such slot or address.
    #[error("there is no {0} {1}: they are fewer than {2}")]
    Beyond(&'static str, usize, usize),
}

impl DirectorMapError {
    pub(super) fn map(name: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Map(name, error)
    }
}
