//! Descriptors that were open when this process began.
#![expect(unsafe_code, reason = "a number becomes a descriptor")]

use std::{
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// Whether they are taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Makes descriptors of numbers that whoever started this process has left open for it; those that are not open are left
/// out. Once in a process: the second time there are none.
pub fn take(numbers: impl IntoIterator<Item = RawFd>) -> Vec<OwnedFd> {
    if TAKEN.swap(true, SeqCst) {
        return Vec::new();
    }
    // SAFETY: fcntl with F_SETFD changes one flag of a descriptor, and fails where there is none.
    let open = |number: &RawFd| unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: the number is open, was so before this process ran, and is made a descriptor here and only once.
    numbers.into_iter().filter(open).map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}
