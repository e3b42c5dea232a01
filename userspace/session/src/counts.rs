//! Counters of the sessions of this worker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct StoreCounts {
    /// Sessions that were claimed, new ones and others'.
    pub(crate) claims: AtomicU64,
    /// Those of them that another had hosted.
    pub(crate) moves: AtomicU64,
    /// Those of them that nobody had asked for since their worker died.
    pub(crate) adoptions: AtomicU64,
    /// Sessions that were lost to another worker.
    pub(crate) lost: AtomicU64,
    /// Sessions that were ended.
    pub(crate) ends: AtomicU64,
    /// Sessions that left the memory, as there were too many.
    pub(crate) evictions: AtomicU64,
    /// Sessions whose copies were given to other servers.
    pub(crate) repairs: AtomicU64,
}

impl StoreCounts {
    /// Counts a session that was ended.
    pub(crate) fn ended(&self) {
        self.ends.fetch_add(1, Relaxed);
    }
}
