//! Lines that would repeat many times a second: one in a while, with how many were left out.

use std::time::{Duration, Instant};

/// Admits one line in `every`.
#[derive(Clone, Debug)]
pub struct LogLimit {
    every: Duration,
    next: Option<Instant>,
    unsaid: u64,
}

impl LogLimit {
    /// Nothing said yet.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self { every, next: None, unsaid: 0 }
    }

    /// Whether a line may be said at `now`: then how many have been left out since the one before.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + self.every);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_left_out() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut limit = LogLimit::new(5 * second);
        let said: Vec<_> = (0..12).map(|n| limit.admit(begun + n * second)).collect();
        let none = None;
        assert_eq!(said, [Some(0), none, none, none, none, Some(4), none, none, none, none, Some(4), none]);
        assert_eq!(limit.admit(begun + 100 * second), Some(1));
    }
}
