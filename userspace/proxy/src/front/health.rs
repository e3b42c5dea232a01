//! Whether a backend is asked: by what its probes say, and by what became of its requests; pure.
//!
//! | now | by | to |
//! |---|---|---|
//! | asked, ejected | [`FALL`] probes or connects in a row that failed | down |
//! | down | [`RISE`] probes in a row that succeeded | asked |
//! | asked | requests that were taken and not answered: three in a row, or more than a fifth | ejected |
//! | ejected | the first probe that succeeds after [`EJECTED_MIN`], doubled each time up to [`EJECTED_MAX`] | asked, on trial |
//!
//! On trial one more such request ejects it again, until enough were answered. A probe may be a mere TCP handshake, which a
//! backend that closes every connection passes: so time alone brings it back from an ejection, and each time later.

use std::time::Duration;

use tokio::time::Instant;

use zerottl_core::status::Health;
use zerottl_inputs::probe::health::{Machine, Transition};

/// Probes in a row that must succeed before a backend that is down is asked again.
const RISE: u32 = 2;
/// Probes or connects in a row that must fail before a backend is down.
const FALL: u32 = 3;
/// The first ejection's length.
const EJECTED_MIN: Duration = Duration::from_secs(5);
/// The longest.
const EJECTED_MAX: Duration = Duration::from_mins(2);
/// The weight of one failed request, in answered ones.
const FAILED: u32 = 4;
/// The weight at which it is ejected.
const FULL: u32 = 3 * FAILED;

/// The standing of a backend: what becomes of requests for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes its turn.
    Asked,
    /// It is asked only where no other is left.
    Ejected,
    /// It is not asked.
    Down,
}

/// A change, and what to say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Its probes succeed again.
    Up,
    /// Its probes, or connects, fail.
    Down,
    /// It left requests without an answer; for so long at least.
    Ejected(Duration),
    /// Its ejection is over.
    Back,
}

/// The health record of one backend.
#[derive(Clone, Debug)]
pub(super) struct Record {
    probes: Machine,
    /// [`FAILED`] for each request that failed, less one for each that was answered.
    weight: u32,
    /// Until when it is ejected at least.
    ejected: Option<Instant>,
    /// Ejections in a row.
    times: u32,
    /// Since when it is on trial.
    back_since: Option<Instant>,
}

impl Record {
    /// Creates one from what is known already, by whoever had it before.
    pub(super) fn from(standing: Standing, now: Instant) -> Self {
        let health = if standing == Standing::Down { Health::Down } else { Health::Up };
        let ejected = (standing == Standing::Ejected).then_some(now + EJECTED_MIN);
        let times = u32::from(ejected.is_some());
        Self { probes: Machine::from(health, RISE, FALL), weight: 0, ejected, times, back_since: None }
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.probes.health(), self.ejected) {
            (Health::Down, _) => Standing::Down,
            (_, Some(_)) => Standing::Ejected,
            _ => Standing::Asked,
        }
    }

    /// Whether answers mean anything to it now.
    pub(super) fn is_weighed(&self) -> bool {
        self.weight > 0
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, succeeded: bool, now: Instant) -> Option<Change> {
        if let Some(Transition { to, .. }) = self.probes.observe(succeeded) {
            // Whatever its requests came to, it was of another time.
            (self.weight, self.ejected) = (0, None);
            return Some(if to == Health::Up { Change::Up } else { Change::Down });
        }
        if self.standing() == Standing::Ejected && succeeded && self.ejected.is_some_and(|until| now >= until) {
            (self.ejected, self.back_since) = (None, Some(now));
            self.weight = FULL - FAILED;
            return Some(Change::Back);
        }
        None
    }

    /// No connection to it came about.
    pub(super) fn unreachable(&mut self, now: Instant) -> Option<Change> {
        match self.probes.observe(false) {
            Some(_) => {
                (self.weight, self.ejected) = (0, None);
                Some(Change::Down)
            }
            None => self.failed(now),
        }
    }

    /// It took a request and left it without a whole answer.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Change> {
        if self.standing() != Standing::Asked {
            return None;
        }
        self.weight += FAILED;
        if self.weight < FULL {
            return None;
        }
        let forgiven = self.back_since.is_none_or(|since| now.duration_since(since) > EJECTED_MAX);
        self.times = if forgiven { 1 } else { self.times.saturating_add(1) };
        let factor = 1_u32.checked_shl(self.times - 1).unwrap_or(u32::MAX);
        let length = EJECTED_MIN.saturating_mul(factor).min(EJECTED_MAX);
        (self.weight, self.ejected) = (0, Some(now + length));
        Some(Change::Ejected(length))
    }

    /// It answered a request.
    pub(super) fn answered(&mut self) {
        self.weight = self.weight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays seconds and events: `+` and `-` probes, `x` a request without an answer, `o` one with, `c` no connection. Gives what
    /// changed, and what is so at the end.
    fn play(events: &str) -> (Vec<(u64, Change)>, Standing) {
        let start = Instant::now();
        let mut record = Record::from(Standing::Asked, start);
        let mut changes = Vec::new();
        let mut second = 0;
        for event in events.chars() {
            let now = start + Duration::from_secs(second);
            let change = match event {
                '+' | '-' => record.probed(event == '+', now),
                'x' => record.failed(now),
                'c' => record.unreachable(now),
                'o' => {
                    record.answered();
                    None
                }
                _ => {
                    second += 1;
                    None
                }
            };
            changes.extend(change.map(|change| (second, change)));
        }
        (changes, record.standing())
    }

    #[track_caller]
    fn check(what: &str, events: &str, changes: &[(u64, Change)], standing: Standing) {
        assert_eq!(play(events), (changes.to_vec(), standing), "{what}: {events}");
    }

    const S: fn(u64) -> Change = |seconds| Change::Ejected(Duration::from_secs(seconds));

    #[test]
    fn requests_that_fail_eject() {
        use Standing::{Asked, Ejected};
        check("two are no pattern", "xx", &[], Asked);
        check("three in a row are", "xxx", &[(0, S(5))], Ejected);
        check("probes between them do not hide them", "x+ x+ x", &[(2, S(5))], Ejected);
        check("one in ten is borne", &"xooooooooo".repeat(50), &[], Asked);
        check("every other is not", "xoxoxo", &[], Asked);
        check("every other is not, for long", "xoxoxoxo", &[(0, S(5))], Ejected);
        assert_eq!(play(&"xoo".repeat(50)).1, Ejected, "nor every third");
        check("what fails meanwhile is not counted", "xxxxxxxxxx", &[(0, S(5))], Ejected);
    }

    #[test]
    fn an_ejection_ends_by_time_and_a_probe() {
        use Change::Back;
        use Standing::{Asked, Ejected};
        check("not before its time", "xxx + + + +", &[(0, S(5))], Ejected);
        check("not by time alone", "xxx          ", &[(0, S(5))], Ejected);
        check("nor by a probe that fails", "xxx      -", &[(0, S(5))], Ejected);
        check("by both", "xxx     +", &[(0, S(5)), (5, Back)], Asked);
        check("one more is enough then, for longer", "xxx     +x", &[(0, S(5)), (5, Back), (5, S(10))], Ejected);
        check("unless it has answered", "xxx     +oooox", &[(0, S(5)), (5, Back)], Asked);
        let mut lengths: Vec<u64> = Vec::new();
        let (changes, _) = play(&format!("xxx{}", format!("{}+x", " ".repeat(121)).repeat(8)));
        for (_, change) in changes {
            if let Change::Ejected(length) = change {
                lengths.push(length.as_secs());
            }
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 120, 120, 120, 120]);
        let long_after = format!("xxx     +{}xx", " ".repeat(121));
        check("a good time is a fresh start", &long_after, &[(0, S(5)), (5, Back), (126, S(5))], Ejected);
    }

    #[test]
    fn probes_and_connects_decide_what_is_down() {
        use Change::{Down, Up};
        use Standing::{Asked, Ejected};
        check("probes", "--- + +", &[(0, Down), (2, Up)], Asked);
        check("connects, and back by probes at once", "ccc++", &[(0, Down), (0, Up)], Asked);
        check("connects between probes that succeed", "c+c+c", &[(0, S(5))], Ejected);
        check("down is more than ejected", "xxx---", &[(0, S(5)), (0, Down)], Standing::Down);
        check("and its end is a fresh start", "xxx---++xx", &[(0, S(5)), (0, Down), (0, Up)], Asked);
    }

    #[test]
    fn what_is_known_goes_on() {
        let now = Instant::now();
        for standing in [Standing::Asked, Standing::Ejected, Standing::Down] {
            assert_eq!(Record::from(standing, now).standing(), standing);
        }
        let mut ejected = Record::from(Standing::Ejected, now);
        assert_eq!(ejected.probed(true, now), None);
        assert_eq!(ejected.probed(true, now + EJECTED_MIN), Some(Change::Back));
    }
}
