//! Numbers that become descriptors, and a descriptor that becomes memory.
#![expect(unsafe_code, reason = "a number becomes a descriptor, and a descriptor becomes memory")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
};

use rustix::{
    fs::{FileType, fstat},
    io::{FdFlags, fcntl_setfd},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// Whether the descriptors are taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Makes a descriptor of each number, closed on exec; the first number that is not open fails all. Once in a process: the
/// second time it is `None`, whatever came of the first.
pub(crate) fn take(numbers: impl Iterator<Item = RawFd> + Clone) -> Option<Result<Vec<OwnedFd>, RawFd>> {
    let open = |number: RawFd| {
        // SAFETY: the descriptor is borrowed for this call alone, which changes a flag of it and fails where there is none.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(borrowed, FdFlags::CLOEXEC).is_ok()
    };
    if TAKEN.swap(true, SeqCst) {
        return None;
    }
    if let Some(closed) = numbers.clone().find(|number| !open(*number)) {
        return Some(Err(closed));
    }
    // SAFETY: each number is open; whoever started this process left it open for it (LISTEN_FDS, LISTEN_PID), so nobody in
    // the process owns it, and here, once in a process, it gets its owner.
    Some(Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()))
}

/// The beginning of the page, as others see it at the same time: as `layout::ServerPage` of the kernel programs.
#[repr(C)]
pub(crate) struct PageCells {
    /// `looped_at`.
    pub(crate) looped_at: AtomicU64,
    /// `pending`.
    pub(crate) pending: AtomicU32,
    /// `has_pending`.
    pub(crate) has_pending: AtomicU32,
}

/// The bytes of memory that are mapped; the kernel rounds up to its pages.
const LEN: usize = size_of::<PageCells>();

/// A page that is shared with the kernel, mapped until this is dropped.
#[derive(Debug)]
pub(crate) struct Mapping(NonNull<PageCells>);

// SAFETY: the memory belongs to the process, not to a thread, and is read and written by atomic operations alone.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the beginning of what a descriptor stands for: a map of BPF, or a file of the page's bytes at least.
    pub(crate) fn new(fd: impl AsFd) -> io::Result<Self> {
        let about = fstat(&fd)?;
        let is_short = usize::try_from(about.st_size).is_ok_and(|size| size < LEN);
        if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile && is_short {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than a page"));
        }
        // SAFETY: no address is asked for, so nothing that is mapped already is replaced.
        let start = unsafe { mmap(ptr::null_mut(), LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) }?;
        NonNull::new(start.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at 0"))
    }

    /// Returns what is there.
    pub(crate) fn cells(&self) -> &PageCells {
        // SAFETY: the mapping lives as long as `self`, begins at a page's start, and is long enough; zeros, and all other
        // bytes, are valid cells. Whoever else has the page reads and writes it as aligned words, too.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody has a reference any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), LEN) };
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use xdp_ebpf::director::layout::ServerPage;

    use super::*;

    #[test]
    fn the_page_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(LEN, size_of::<ServerPage>());
        assert_eq!(offset_of!(PageCells, looped_at), offset_of!(ServerPage, looped_at));
        assert_eq!(offset_of!(PageCells, pending), offset_of!(ServerPage, pending));
        assert_eq!(offset_of!(PageCells, has_pending), offset_of!(ServerPage, has_pending));
    }
}
