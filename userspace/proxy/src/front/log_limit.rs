//! Lines that repeat, from many requests at a time: one in a while, with how many were left out.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// The time between two lines that say that a backend does not answer.
const EVERY: Duration = Duration::from_secs(5);

/// A limit for lines about what happens often, shared by whoever meets it without a lock.
#[derive(Debug)]
pub(super) struct SharedLogLimit {
    start: Instant,
    /// When it was said last, milliseconds after the start, and one.
    said: AtomicU64,
    unsaid: AtomicU64,
}

impl SharedLogLimit {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), said: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Returns how often it was not said since it was last, if it is to be said now.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let ms = u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let said = self.said.load(Relaxed);
        let is_due = said == 0 || Duration::from_millis(ms.saturating_sub(said)) >= EVERY;
        // Of several at once, one says it.
        if is_due && self.said.compare_exchange(said, ms, Relaxed, Relaxed).is_ok() {
            return Some(self.unsaid.swap(0, Relaxed));
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_seldom() {
        let (limit, now) = (SharedLogLimit::new(), Instant::now());
        assert_eq!(limit.admit(now), Some(0));
        for ms in [0, 1, 4999] {
            assert_eq!(limit.admit(now + Duration::from_millis(ms)), None);
        }
        assert_eq!(limit.admit(now + EVERY), Some(3));
        assert_eq!(limit.admit(now + 3 * EVERY), Some(0));
    }
}
