//! The clock of leases: it goes on while the machine sleeps, and nobody sets it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::lease::Moment;

/// The time that the clock had at the start of the machine: sessions that a journal has kept were used before that.
const BEFORE: Duration = Duration::from_secs(1 << 31);

/// Returns the time since the machine was started, with the time that it slept, and a constant more.
pub(crate) fn now() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    BEFORE + Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns a time in milliseconds; never 0, which means none.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
