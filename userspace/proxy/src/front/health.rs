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

/// The state of a backend: what becomes of requests for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackendState {
    /// It takes its turn.
    Asked,
    /// It is asked only where no other is left.
    Ejected,
    /// It is not asked.
    Down,
}

/// A change, and what to say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthChange {
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
pub(super) struct BackendHealth {
    probes: Machine,
    /// [`FAILED`] for each request that failed, less one for each that was answered.
    weight: u32,
    /// The end of its ejection at the earliest.
    ejected: Option<Instant>,
    /// Ejections in a row.
    times: u32,
    /// The begin of its trial.
    back_since: Option<Instant>,
}

impl BackendHealth {
    /// Creates one from what is known already, by whoever had it before.
    pub(super) fn from(state: BackendState, now: Instant) -> Self {
        let health = if state == BackendState::Down { Health::Down } else { Health::Up };
        let ejected = (state == BackendState::Ejected).then_some(now + EJECTED_MIN);
        let times = u32::from(ejected.is_some());
        Self { probes: Machine::from(health, RISE, FALL), weight: 0, ejected, times, back_since: None }
    }

    pub(super) fn state(&self) -> BackendState {
        match (self.probes.health(), self.ejected) {
            (Health::Down, _) => BackendState::Down,
            (_, Some(_)) => BackendState::Ejected,
            _ => BackendState::Asked,
        }
    }

    /// Whether answers mean anything to it now.
    pub(super) fn is_weighed(&self) -> bool {
        self.weight > 0
    }

    /// Notes that a probe has ended.
    pub(super) fn probed(&mut self, succeeded: bool, now: Instant) -> Option<HealthChange> {
        if let Some(Transition { to, .. }) = self.probes.observe(succeeded) {
            // Whatever its requests came to, it was of another time.
            (self.weight, self.ejected) = (0, None);
            return Some(if to == Health::Up { HealthChange::Up } else { HealthChange::Down });
        }
        if self.state() == BackendState::Ejected && succeeded && self.ejected.is_some_and(|until| now >= until) {
            (self.ejected, self.back_since) = (None, Some(now));
            self.weight = FULL - FAILED;
            return Some(HealthChange::Back);
        }
        None
    }

    /// Notes that no connection to it came about.
    pub(super) fn unreachable(&mut self, now: Instant) -> Option<HealthChange> {
        match self.probes.observe(false) {
            Some(_) => {
                (self.weight, self.ejected) = (0, None);
                Some(HealthChange::Down)
            }
            None => self.failed(now),
        }
    }

    /// Notes that it took a request and left it without a whole answer.
    pub(super) fn failed(&mut self, now: Instant) -> Option<HealthChange> {
        if self.state() != BackendState::Asked {
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
        Some(HealthChange::Ejected(length))
    }

    /// Notes that it answered a request.
    pub(super) fn answered(&mut self) {
        self.weight = self.weight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays seconds and events: `+` and `-` probes, `x` a request without an answer, `o` one with, `c` no connection. Gives what
    /// changed, and what is so at the end.
    fn play(events: &str) -> (Vec<(u64, HealthChange)>, BackendState) {
        let start = Instant::now();
        let mut record = BackendHealth::from(BackendState::Asked, start);
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
        (changes, record.state())
    }

    #[track_caller]
    fn check(what: &str, events: &str, changes: &[(u64, HealthChange)], state: BackendState) {
        assert_eq!(play(events), (changes.to_vec(), state), "{what}: {events}");
    }

    const S: fn(u64) -> HealthChange = |seconds| HealthChange::Ejected(Duration::from_secs(seconds));

    #[test]
    fn requests_that_fail_eject() {
        use BackendState::{Asked, Ejected};
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
        use BackendState::{Asked, Ejected};
        use HealthChange::Back;
        check("not before its time", "xxx + + + +", &[(0, S(5))], Ejected);
        check("not by time alone", "xxx          ", &[(0, S(5))], Ejected);
        check("nor by a probe that fails", "xxx      -", &[(0, S(5))], Ejected);
        check("by both", "xxx     +", &[(0, S(5)), (5, Back)], Asked);
        check("one more is enough then, for longer", "xxx     +x", &[(0, S(5)), (5, Back), (5, S(10))], Ejected);
        check("unless it has answered", "xxx     +oooox", &[(0, S(5)), (5, Back)], Asked);
        let mut lengths: Vec<u64> = Vec::new();
        let (changes, _) = play(&format!("xxx{}", format!("{}+x", " ".repeat(121)).repeat(8)));
        for (_, change) in changes {
            if let HealthChange::Ejected(length) = change {
                lengths.push(length.as_secs());
            }
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 120, 120, 120, 120]);
        let long_after = format!("xxx     +{}xx", " ".repeat(121));
        check("a good time is a fresh start", &long_after, &[(0, S(5)), (5, Back), (126, S(5))], Ejected);
    }

    #[test]
    fn probes_and_connects_decide_what_is_down() {
        use BackendState::{Asked, Ejected};
        use HealthChange::{Down, Up};
        check("probes", "--- + +", &[(0, Down), (2, Up)], Asked);
        check("connects, and back by probes at once", "ccc++", &[(0, Down), (0, Up)], Asked);
        check("connects between probes that succeed", "c+c+c", &[(0, S(5))], Ejected);
        check("down is more than ejected", "xxx---", &[(0, S(5)), (0, Down)], BackendState::Down);
        check("and its end is a fresh start", "xxx---++xx", &[(0, S(5)), (0, Down), (0, Up)], Asked);
    }

    #[test]
    fn what_is_known_goes_on() {
        let now = Instant::now();
        for state in [BackendState::Asked, BackendState::Ejected, BackendState::Down] {
            assert_eq!(BackendHealth::from(state, now).state(), state);
        }
        let mut ejected = BackendHealth::from(BackendState::Ejected, now);
        assert_eq!(ejected.probed(true, now), None);
        assert_eq!(ejected.probed(true, now + EJECTED_MIN), Some(HealthChange::Back));
    }
}
