//! Publications of plans.

use std::time::{Duration, Instant};

use zerottl_core::histogram::{Histogram, PUBLISH_BOUNDS};

/// The newest publication of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publication {
    /// When it was done.
    pub at: Instant,
    /// From the status that caused it to answers being made from it.
    pub took: Duration,
    /// How long each took since the agent's start.
    pub all: Histogram,
}

impl Publication {
    /// One more, done at `at`.
    pub fn record(newest: &mut Option<Self>, at: Instant, took: Duration) {
        let mut all = newest.map_or_else(|| Histogram::new(&PUBLISH_BOUNDS), |newest| newest.all);
        all.observe(took);
        *newest = Some(Self { at, took, all });
    }
}
