//! When attempts start: a fixed grid per address, `first + n × interval`.
//!
//! Jitter moves only the grid's phase, never the distance between its points, and an attempt that starts late does not
//! move the points after it. So with `timeout <= interval` an address that dies is down no later than
//! `fall × interval + timeout` afterwards: the first failing attempt starts within one interval, the last `fall - 1`
//! intervals later, and it has its verdict within `timeout`.

use std::time::Duration;

use tokio::time::Instant;

/// The most that the first attempt is put off, so that a start with long intervals still has its verdicts soon.
pub(crate) const PHASE_MAX: Duration = Duration::from_secs(1);

/// How long after the start the first attempt begins; `random` is from 0 to 1.
#[must_use]
pub(crate) fn phase(interval: Duration, random: f64) -> Duration {
    interval.min(PHASE_MAX).mul_f64(random.clamp(0.0, 1.0))
}

/// The grid point after `tick`, or if that is long past, the newest one that `now` has reached: points that could not
/// be kept are left out rather than made up for in a burst.
#[must_use]
pub(crate) fn following(tick: Instant, interval: Duration, now: Instant) -> Instant {
    let interval_ns = interval.as_nanos().max(1);
    let points = (now.saturating_duration_since(tick).as_nanos() / interval_ns).max(1);
    let offset_ns = u64::try_from(points * interval_ns).unwrap_or(u64::MAX);
    tick + Duration::from_nanos(offset_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn phase_is_within_the_interval_and_a_second() {
        for (interval, random, expect) in [
            (ms(200), 0.0, ms(0)),
            (ms(200), 0.5, ms(100)),
            (ms(200), 1.0, ms(200)),
            (ms(30_000), 0.5, ms(500)),
            (ms(30_000), 7.0, ms(1000)),
        ] {
            assert_eq!(phase(interval, random), expect, "{interval:?} {random}");
        }
    }

    #[test]
    fn following_keeps_the_grid() {
        let tick = Instant::now();
        for (now, expect) in
            [(0, 100), (1, 100), (99, 100), (100, 100), (106, 100), (199, 100), (200, 200), (250, 200), (1234, 1200)]
        {
            assert_eq!(following(tick, ms(100), tick + ms(now)), tick + ms(expect), "now {now}");
        }
        assert!(following(tick, Duration::ZERO, tick) > tick, "an interval of nothing still goes forward");
    }

    proptest! {
        #[test]
        fn following_is_a_later_grid_point_and_skips_no_future_one(interval in 1_u64..100_000, late in 0_u64..1_000_000) {
            let tick = Instant::now();
            let now = tick + ms(late);
            let next = following(tick, ms(interval), now);
            prop_assert!(next > tick);
            prop_assert_eq!((next - tick).as_millis() % u128::from(interval), 0);
            prop_assert!(next <= now || next == tick + ms(interval));
            prop_assert!(now < next + ms(interval));
        }
    }
}
