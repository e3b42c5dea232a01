//! Descriptors of any kind, waited for by a runtime.
#![expect(unsafe_code, reason = "a descriptor is registered with an epoll")]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor to be waited for until it can be read from: a process (`pidfd_open(2)`), a socket of a kind that
/// tokio does not know. Reading must not block where others read, too. Must be called within a tokio runtime.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its number, and is open for as long as it lives; the `AsyncFd` gives it out by shared reference
    // until it ends.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
