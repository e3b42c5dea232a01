//! Flap damping: a Site that keeps failing has to be steady for longer each time before it is answered again.
//!
//! A failure is a Site's going from proven up to down. It is in a row with the one before it if the Site was up for no
//! longer than `window` between them. The first two of a row cost nothing but the probes' `rise`; from the third on the
//! Site, once it is up again, is held until it has been up without a break for `hold_down`, twice that at the fourth, and
//! so on up to `max`. Only the return is delayed: that a Site has gone down counts at once.
//!
//! Pure: time is what the caller says it is.

use std::time::{Duration, Instant};

use crate::model::Damping;

/// Failures in a row that cost nothing.
const FREE: u32 = 2;

/// One Site's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaps {
    /// Failures in a row.
    pub in_a_row: u32,
    /// Since when it is up; none while it is down or nothing is known.
    pub up_since: Option<Instant>,
}

/// The state of a Site as far as probes have proven it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// An address of it is up.
    Up,
    /// None counts as up, and one at least has been proven down.
    Down,
    /// Neither.
    Nothing,
}

impl Flaps {
    /// Takes in what is proven at `now`, which never goes back.
    pub fn observe(&mut self, damping: Damping, proven: Proven, now: Instant) {
        match (proven, self.up_since) {
            (Proven::Up, None) => self.up_since = Some(now),
            (Proven::Up, Some(since)) => {
                if now.saturating_duration_since(since) > damping.window.max(self.needed(damping)) {
                    self.in_a_row = 0;
                }
            }
            (Proven::Down, Some(since)) => {
                let steady = now.saturating_duration_since(since);
                self.in_a_row = if steady > damping.window { 1 } else { self.in_a_row.saturating_add(1) };
                self.up_since = None;
            }
            (Proven::Down, None) | (Proven::Nothing, _) => {}
        }
    }

    /// Until when it is held, if it is at `now`.
    #[must_use]
    pub fn held_until(&self, damping: Damping, now: Instant) -> Option<Instant> {
        let until = self.up_since?.checked_add(self.needed(damping))?;
        (until > now).then_some(until)
    }

    /// How long it must be up before it is answered.
    #[must_use]
    pub fn needed(&self, damping: Damping) -> Duration {
        let Some(doublings) = self.in_a_row.checked_sub(FREE + 1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        damping.hold_down.saturating_mul(factor).min(damping.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAMPING: Damping =
        Damping { hold_down: Duration::from_secs(10), max: Duration::from_secs(35), window: Duration::from_mins(1) };

    /// Plays seconds and states (`+` up, `-` down, `?` nothing) and says for how long it is held after each.
    #[track_caller]
    fn check(events: &[(u64, char)], expect: &[u64]) {
        let start = Instant::now();
        let mut flaps = Flaps::default();
        let held: Vec<u64> = events
            .iter()
            .map(|(second, what)| {
                let now = start + Duration::from_secs(*second);
                let proven = match what {
                    '+' => Proven::Up,
                    '-' => Proven::Down,
                    _ => Proven::Nothing,
                };
                flaps.observe(DAMPING, proven, now);
                flaps.held_until(DAMPING, now).map_or(0, |until| (until - now).as_secs())
            })
            .collect();
        assert_eq!(held, expect, "{events:?}");
    }

    /// S4-3B-BACK: two failures are free, then the return is delayed by 10, 20, 35 (the maximum) seconds; the time is
    /// counted from the return, and a failure meanwhile counts on.
    #[test]
    fn s4_3b_back_the_return_of_a_flapping_site_is_delayed_more_each_time() {
        check(&[(0, '+'), (1, '-'), (2, '+'), (3, '-'), (4, '+')], &[0, 0, 0, 0, 0]);
        check(
            &[(0, '+'), (1, '-'), (2, '+'), (3, '-'), (4, '+'), (5, '-'), (6, '+'), (10, '+'), (15, '+'), (16, '+')],
            &[0, 0, 0, 0, 0, 0, 10, 6, 1, 0],
        );
        let mut flapping = vec![];
        for i in 0..7 {
            flapping.extend([(2 * i, '+'), (2 * i + 1, '-')]);
        }
        flapping.push((14, '+'));
        check(&flapping, &[0, 0, 0, 0, 0, 0, 10, 0, 20, 0, 35, 0, 35, 0, 35]);
    }

    /// A Site that was up for longer than the window starts anew, also if that was its hold-down.
    #[test]
    fn a_steady_site_is_forgiven() {
        let three = [(0, '+'), (1, '-'), (2, '+'), (3, '-'), (4, '+'), (5, '-'), (6, '+')];
        let then = |more: &[(u64, char)]| [&three, more].concat();
        check(&then(&[(67, '+'), (68, '-'), (69, '+')]), &[0, 0, 0, 0, 0, 0, 10, 0, 0, 0]);
        check(&then(&[(66, '-'), (67, '+')]), &[0, 0, 0, 0, 0, 0, 10, 0, 20]);
        // Not looked at for a while: the same.
        check(&then(&[(90, '-'), (91, '+')]), &[0, 0, 0, 0, 0, 0, 10, 0, 0]);
    }

    /// A Site that has never been proven up has not flapped, and nothing known is no failure.
    #[test]
    fn only_proven_changes_count() {
        check(&[(0, '-'), (1, '-'), (2, '+'), (3, '?'), (4, '+'), (5, '-'), (6, '+')], &[0; 7]);
    }

    #[test]
    fn any_number_of_failures_is_bounded_by_the_maximum() {
        let flaps = Flaps { in_a_row: u32::MAX, up_since: None };
        assert_eq!(flaps.needed(DAMPING), DAMPING.max);
        assert_eq!(flaps.needed(Damping { hold_down: Duration::ZERO, ..DAMPING }), Duration::ZERO);
    }
}
