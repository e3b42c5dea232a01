//! The clock of leases: it goes on while the machine sleeps, and nobody sets it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::lease::Moment;

/// Returns the time since the machine was started, with the time that it slept.
pub(crate) fn now() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
