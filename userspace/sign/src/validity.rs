//! The times of signatures.

use std::time::Duration;

/// From when to when a signature is good: seconds since 1970 modulo 2^32, compared as serial numbers (RFC 4034 section
/// 3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub inception: u32,
    /// The last second.
    pub expiration: u32,
}

/// How far back signatures begin, for resolvers whose clocks are behind.
pub const BACKDATED: Duration = Duration::from_hours(1);

impl Validity {
    /// Of signatures that are made at `now` and are good for `span` from then.
    #[must_use]
    pub fn new(now: u32, span: Duration) -> Self {
        let seconds = |span: Duration| span.as_secs() as u32;
        Self { inception: now.wrapping_sub(seconds(BACKDATED)), expiration: now.wrapping_add(seconds(span)) }
    }

    /// Seconds that are left at `now`; negative once it is over.
    #[must_use]
    pub fn left(self, now: u32) -> i64 {
        i64::from(self.expiration.wrapping_sub(now).cast_signed())
    }

    /// Whether a clock that shows `now` finds it good.
    #[must_use]
    pub fn holds(self, now: u32) -> bool {
        self.left(now) >= 0 && now.wrapping_sub(self.inception).cast_signed() >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_an_hour_back_and_goes_over_the_end_of_the_count() {
        let now = u32::MAX - 10;
        let validity = Validity::new(now, Duration::from_hours(1));
        assert_eq!(validity, Validity { inception: now - 3600, expiration: 3589 });
        assert!(validity.holds(now) && validity.holds(0) && validity.holds(3589));
        assert!(!validity.holds(3590) && !validity.holds(now - 3601));
        assert_eq!((validity.left(3589), validity.left(3590)), (0, -1));
    }
}
