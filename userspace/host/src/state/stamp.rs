//! How much time has passed between two runs of the agent.
//!
//! Within one boot the boot clock says so, which no step of the wall clock moves, which goes on while the machine
//! sleeps, and which is the same in every time namespace once its offset is taken off. Only across a reboot the wall clock has to; where it went back, nothing is known.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// A moment that another run can measure from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStamp {
    /// Which boot of which machine; empty where that is not known.
    pub boot_id: String,
    /// The boot clock, milliseconds.
    pub boot_ms: u64,
    /// The wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

impl ClockStamp {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let boot_ms = crate::resources::boot_ns() / 1_000_000;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { boot_id, boot_ms, wall_ms: zerottl_core::saved_state::ms(wall) }
    }

    /// How long ago it was at `now`; none where that cannot be known.
    #[must_use]
    pub fn age(&self, now: &Self) -> Option<Duration> {
        let ms = if self.boot_id == now.boot_id && !now.boot_id.is_empty() {
            now.boot_ms.checked_sub(self.boot_ms)
        } else {
            now.wall_ms.checked_sub(self.wall_ms)
        };
        ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: (&str, u64, u64), now: (&str, u64, u64), expect_ms: Option<u64>) {
        let stamp =
            |(boot_id, boot_ms, wall_ms): (&str, u64, u64)| ClockStamp { boot_id: boot_id.into(), boot_ms, wall_ms };
        assert_eq!(stamp(before).age(&stamp(now)), expect_ms.map(Duration::from_millis), "{before:?} {now:?}");
    }

    /// A step of the wall clock, forward or back, by any size, changes no age within a boot.
    #[test]
    fn wall_clock_steps_change_no_age() {
        check(("a", 1_000, 50_000), ("a", 4_000, 53_000), Some(3_000));
        check(("a", 1_000, 50_000), ("a", 4_000, 0), Some(3_000));
        check(("a", 1_000, 50_000), ("a", 4_000, u64::MAX), Some(3_000));
    }

    /// Across a reboot there is only the wall clock.
    #[test]
    fn a_reboot_is_measured_by_the_wall_clock() {
        check(("a", 900_000, 50_000), ("b", 4_000, 53_000), Some(3_000));
        check(("a", 900_000, 50_000), ("b", 4_000, 49_999), None);
        check(("", 1_000, 50_000), ("", 4_000, 51_000), Some(1_000));
        check(("a", 5_000, 50_000), ("a", 4_000, 51_000), None);
    }

    #[test]
    fn this_moment_is_in_this_boot() {
        let before = ClockStamp::now();
        let age = before.age(&ClockStamp::now()).expect("the clock goes on");
        assert!(
            age < Duration::from_secs(10) && !before.boot_id.is_empty() && before.boot_ms > 0,
            "{before:?} {age:?}"
        );
    }
}
