//! The verdict of a probe on one address: a pure state machine with hysteresis; and that of several.
//!
//! | now     | to `Up`                   | to `Down`                |
//! |---------|---------------------------|--------------------------|
//! | Unknown | `rise` successes in a row | `fall` failures in a row |
//! | Up      |                           | `fall` failures in a row |
//! | Down    | `rise` successes in a row |                          |
//!
//! `Unknown` is left by the same rule as any other state: what it counts as until then is the operator's choice
//! (`initial`), so neither one lucky nor one unlucky first probe decides a cold start.

use zerottl_core::status::Health;

/// A change of an address's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Health,
    /// After; never equal to `from`, never [`Health::Unknown`].
    pub to: Health,
}

/// The health of one address and how far it is from changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    health: Health,
    rise: u32,
    fall: u32,
    last: bool,
    in_a_row: u32,
}

impl Machine {
    /// Nothing known yet. `rise` and `fall` of 0 count as 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { health: Health::Unknown, rise: rise.max(1), fall: fall.max(1), last: false, in_a_row: 0 }
    }

    /// Creates one from a verdict that is known already.
    #[must_use]
    pub fn from(health: Health, rise: u32, fall: u32) -> Self {
        Self { health, ..Self::new(rise, fall) }
    }

    /// Keeps what is known here, and takes the thresholds of another.
    #[must_use]
    pub fn with(self, thresholds: &Self) -> Self {
        Self { rise: thresholds.rise, fall: thresholds.fall, ..self }
    }

    /// The verdict now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes in one attempt's outcome; says so if it changed the verdict (S4-3B-BACK).
    pub fn observe(&mut self, success: bool) -> Option<Transition> {
        self.in_a_row = if success == self.last { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = success;
        let (needed, to) = if success { (self.rise, Health::Up) } else { (self.fall, Health::Down) };
        if self.health == to || self.in_a_row < needed {
            return None;
        }
        let from = std::mem::replace(&mut self.health, to);
        Some(Transition { from, to })
    }
}

/// The verdict of several probes on an address: up where at least so many find it well, down where so many cannot; none while that is
/// open.
#[must_use]
pub fn of_several(healths: impl IntoIterator<Item = Health>, min_healthy: usize) -> Option<Health> {
    let (mut up, mut open) = (0, 0);
    for health in healths {
        match health {
            Health::Up => up += 1,
            Health::Unknown => open += 1,
            Health::Down => {}
        }
    }
    if up >= min_healthy {
        return Some(Health::Up);
    }
    (up + open < min_healthy).then_some(Health::Down)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A verdict that is known already is left by the same rule.
    #[test]
    fn from_what_is_known() {
        let after = |health, outcomes: &[bool]| {
            let mut machine = Machine::from(health, 2, 3);
            for outcome in outcomes {
                machine.observe(*outcome);
            }
            machine.health()
        };
        assert_eq!([after(Health::Up, &[]), after(Health::Up, &[false; 2])], [Health::Up; 2]);
        assert_eq!([after(Health::Up, &[false; 3]), after(Health::Down, &[true])], [Health::Down; 2]);
        assert_eq!(after(Health::Down, &[true; 2]), Health::Up);
    }

    #[test]
    fn several_probes() {
        let check = |healths: &str, expect: [char; 3]| {
            for (min_healthy, expect) in (1..).zip(expect) {
                let one = |c| match c {
                    'U' => Health::Up,
                    'D' => Health::Down,
                    _ => Health::Unknown,
                };
                let verdict = of_several(healths.chars().map(one), min_healthy);
                assert_eq!(verdict, (expect != '?').then(|| one(expect)), "{min_healthy} of {healths}");
            }
        };
        check("???", ['?', '?', '?']);
        check("UUU", ['U', 'U', 'U']);
        check("DDD", ['D', 'D', 'D']);
        check("UUD", ['U', 'U', 'D']);
        check("DUD", ['U', 'D', 'D']);
        check("?UD", ['U', '?', 'D']);
        check("D??", ['?', '?', 'D']);
        check("??U", ['U', '?', '?']);
    }

    /// Feeds `outcomes` (`+` success, `-` failure) to a new machine; the verdicts as `?`, `U`, `D`, one per outcome.
    #[track_caller]
    fn check(rise: u32, fall: u32, outcomes: &str, expect: &str) {
        let mut machine = Machine::new(rise, fall);
        let seen: String = outcomes
            .chars()
            .map(|outcome| {
                let before = machine.health();
                let transition = machine.observe(outcome == '+');
                let after = machine.health();
                assert_eq!(transition, (before != after).then_some(Transition { from: before, to: after }));
                match after {
                    Health::Unknown => '?',
                    Health::Up => 'U',
                    Health::Down => 'D',
                }
            })
            .collect();
        assert_eq!(seen, expect, "rise {rise}, fall {fall}, outcomes {outcomes}");
    }

    #[test]
    fn s4_3b_back_hysteresis_table() {
        check(1, 1, "+-+-", "UDUD");
        check(2, 3, "++", "?U");
        check(2, 3, "---", "??D");
        check(2, 3, "+-+-+-+-", "????????");
        check(2, 3, "+--++", "????U");
        check(2, 3, "++--+--+---", "?UUUUUUUUUD");
        check(2, 3, "---+-+-++", "??DDDDDDU");
        check(2, 3, "--+--++", "??????U");
        check(3, 1, "-++-+++", "DDDDDDU");
        check(1, 3, "+-----+", "UUUDDDU");
        check(0, 0, "+-", "UD");
    }

    proptest! {
        /// S4-3B-BACK: the verdict is that of the newest run of `rise` successes or `fall` failures, and of nothing less.
        #[test]
        fn s4_3b_back_never_flips_on_less_than_a_run(
            rise in 1_u32..6, fall in 1_u32..6, outcomes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut machine = Machine::new(rise, fall);
            for end in 1..=outcomes.len() {
                let transition = machine.observe(outcomes[end - 1]);
                let all = |count: u32, want: bool, end: usize| {
                    end.checked_sub(count as usize).is_some_and(|start| outcomes[start..end].iter().all(|&o| o == want))
                };
                let verdict = (1..=end).rev().find_map(|end| {
                    if all(rise, true, end) { Some(Health::Up) }
                    else if all(fall, false, end) { Some(Health::Down) }
                    else { None }
                });
                prop_assert_eq!(machine.health(), verdict.unwrap_or(Health::Unknown));
                if let Some(transition) = transition {
                    prop_assert_eq!(transition.to, machine.health());
                    prop_assert_ne!(transition.from, transition.to);
                }
            }
        }
    }
}
