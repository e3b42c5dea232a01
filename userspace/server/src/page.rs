//! The page where a server says that it lives, and how much it has to do.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::Ordering::{Relaxed, Release},
};

use rustix::time::{ClockId, clock_gettime};

use crate::raw::Mapping;

/// The page that the kernel program reads before it chooses this process.
#[derive(Debug)]
pub struct LoopPage(Mapping);

impl LoopPage {
    /// Maps the page of a descriptor, which may be closed afterwards. The descriptor is a map of BPF that can be mapped, or
    /// a file of 16 bytes at least.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        Mapping::new(fd).map(Self)
    }

    /// Publishes that the server's loop has gone round. For every round, and well within `hang_after`: each time that the
    /// loop waits for events, it has a timeout of a quarter of it at most. Costs less than 100 ns.
    pub fn looped(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // The clock counts from the start of the machine: neither part is negative.
        let nanoseconds = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        self.0.cells().looped_at.store(nanoseconds, Release);
    }

    /// Publishes the work that was taken and is not done, in units of the server's own, such as requests: with the policy
    /// `least-connections` it counts instead of connections from then on.
    pub fn pending(&self, units: u32) {
        let cells = self.0.cells();
        cells.pending.store(units, Release);
        // Once it stands there it stays: the page is written only if it has to be.
        if cells.has_pending.load(Relaxed) != 1 {
            cells.has_pending.store(1, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek},
    };

    use super::*;

    fn words(file: &mut File) -> (u64, u32, u32) {
        let mut bytes = [0; 16];
        file.rewind().unwrap();
        file.read_exact(&mut bytes).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        (u64::from_ne_bytes(bytes[..8].try_into().unwrap()), word(8), word(12))
    }

    #[test]
    fn what_is_published_is_seen_by_others() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(LoopPage::new(&file).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(4096).unwrap();
        let page = LoopPage::new(&file).unwrap();
        assert_eq!(words(&mut file), (0, 0, 0));
        page.looped();
        let (first, ..) = words(&mut file);
        let now = clock_gettime(ClockId::Monotonic).tv_sec.unsigned_abs() * 1_000_000_000;
        assert!(first.abs_diff(now) < 60_000_000_000, "{first} {now}");
        page.pending(7);
        page.looped();
        let (second, pending, has_pending) = words(&mut file);
        assert!(second > first);
        assert_eq!((pending, has_pending), (7, 1));
    }
}
