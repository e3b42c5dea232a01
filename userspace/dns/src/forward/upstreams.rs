//! The state of the servers that forwarded queries go to, and the choice of the one that is asked.
//!
//! Nothing is asked for health's sake alone. A server that has left queries unanswered is down, and is passed over
//! while another one is up; now and then it gets a copy of a client's query, for whose answer no client waits.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tracing::{info, warn};

/// Queries in turn that get no answer, until a server is down.
const FALL: u32 = 3;
/// From then on until it gets a copy of a query; twice as long after each that is not answered either.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Queries that wait for one server at a time.
pub(crate) const UPSTREAM_MAX: usize = 256;

/// The health of a server by its answers, and by those that did not come; pure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpstreamHealth {
    /// Tries that ended without an answer since the last one.
    silent: u32,
    /// When it answered last.
    heard: Option<Instant>,
    /// Smoothed time that answers take (RFC 6298 section 2).
    rtt: Option<Duration>,
    down: Option<Down>,
}

/// Since when a server is down, and when it is asked again.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Instant,
    retry_at: Instant,
    pause: Duration,
}

/// A change of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamChange {
    /// It is down from now on.
    Down,
    /// It is up again, after so long.
    Up(Duration),
}

impl UpstreamHealth {
    /// Takes an answer, of whatever kind: a server that refuses, or fails at one name, lives.
    pub fn answered(&mut self, now: Instant, took: Duration) -> Option<UpstreamChange> {
        self.rtt = Some(self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8));
        (self.silent, self.heard) = (0, Some(now));
        self.down.take().map(|down| UpstreamChange::Up(now.saturating_duration_since(down.since)))
    }

    /// Takes the end of a try that began at `began` and was not answered. It says nothing of a server that has answered
    /// another query since: that one query may be lost, or about a name that takes the server long.
    pub fn unanswered(&mut self, began: Instant, now: Instant) -> Option<UpstreamChange> {
        if self.heard.is_some_and(|heard| heard >= began) {
            return None;
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent < FALL || self.down.is_some() {
            return None;
        }
        self.down = Some(Down { since: now, retry_at: now + RETRY_MIN, pause: RETRY_MIN });
        Some(UpstreamChange::Down)
    }

    /// Whether it is asked before others are.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.down.is_none()
    }

    /// Takes the turn to ask a server that is down, if it is time; the next one comes after at least `limit`.
    pub(crate) fn take_turn(&mut self, now: Instant, limit: Duration) -> bool {
        let Some(down) = self.down.as_mut().filter(|down| down.retry_at <= now) else { return false };
        down.pause = (down.pause * 2).min(RETRY_MAX);
        down.retry_at = now + down.pause.max(limit);
        true
    }
}

/// A server that queries are forwarded to, whatever names it answers for.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    health: Mutex<UpstreamHealth>,
    permits: Arc<Semaphore>,
    queries: AtomicU64,
    answers: AtomicU64,
    unanswered: AtomicU64,
    not_tried: AtomicU64,
    respelt: AtomicU64,
    wrong: AtomicU64,
}

/// The state of a server, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Whether it is asked before others are.
    pub up: bool,
    /// How long it has been down.
    pub down_for: Option<Duration>,
    /// Smoothed time that its answers take.
    pub rtt: Option<Duration>,
    /// Queries that wait for it now.
    pub waiting: u64,
    /// Tries, copies of queries included.
    pub queries: u64,
    /// Answers, of whatever rcode.
    pub answers: u64,
    /// Tries that ended without an answer.
    pub unanswered: u64,
    /// Tries that this machine could not make.
    pub not_tried: u64,
    /// Answers whose question was spelt in other letter case than ours.
    pub respelt: u64,
    /// Datagrams that were not the answer: another's ID, question or address.
    pub wrong: u64,
}

impl Upstream {
    /// One of which nothing is known: it is up.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: Mutex::default(),
            permits: Arc::new(Semaphore::new(UPSTREAM_MAX)),
            queries: AtomicU64::default(),
            answers: AtomicU64::default(),
            unanswered: AtomicU64::default(),
            not_tried: AtomicU64::default(),
            respelt: AtomicU64::default(),
            wrong: AtomicU64::default(),
        }
    }

    fn health(&self) -> MutexGuard<'_, UpstreamHealth> {
        // Every change leaves it whole.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a permit for a query that waits for it; none where as many wait as may.
    #[must_use]
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
        self.queries.fetch_add(u64::from(permit.is_some()), Relaxed);
        permit
    }

    /// Whether it is asked before others are.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.health().is_up()
    }

    /// As [`UpstreamHealth::take_turn`].
    #[must_use]
    pub(crate) fn take_turn(&self, limit: Duration) -> bool {
        self.health().take_turn(Instant::now(), limit)
    }

    /// Takes an answer to a try that began at `began`.
    pub fn answered(&self, began: Instant) {
        self.answers.fetch_add(1, Relaxed);
        let now = Instant::now();
        if let Some(UpstreamChange::Up(after)) = self.health().answered(now, now.saturating_duration_since(began)) {
            info!(upstream = %self.address, "the upstream is up again, after {} s", after.as_secs());
        }
    }

    /// Takes a try without an answer.
    pub fn unanswered(&self, began: Instant) {
        self.unanswered.fetch_add(1, Relaxed);
        if self.health().unanswered(began, Instant::now()).is_some() {
            warn!(
                upstream = %self.address,
                "the upstream is down: {FALL} queries got no answer; others are asked before it"
            );
        }
    }

    /// Counts a try that this machine could not make.
    pub fn not_tried(&self) {
        self.not_tried.fetch_add(1, Relaxed);
    }

    /// Counts an answer that spells the question otherwise.
    pub fn respelt(&self) {
        self.respelt.fetch_add(1, Relaxed);
    }

    /// Counts a datagram that is not the answer.
    pub fn wrong(&self) {
        self.wrong.fetch_add(1, Relaxed);
    }

    /// Returns its state, as it is shown.
    #[must_use]
    pub fn seen(&self) -> UpstreamStatus {
        let (health, now) = (*self.health(), Instant::now());
        let read = |count: &AtomicU64| count.load(Relaxed);
        UpstreamStatus {
            up: health.is_up(),
            down_for: health.down.map(|down| now.saturating_duration_since(down.since)),
            rtt: health.rtt,
            waiting: (UPSTREAM_MAX - self.permits.available_permits().min(UPSTREAM_MAX)) as u64,
            queries: read(&self.queries),
            answers: read(&self.answers),
            unanswered: read(&self.unanswered),
            not_tried: read(&self.not_tried),
            respelt: read(&self.respelt),
            wrong: read(&self.wrong),
        }
    }
}

/// Those to be asked, in this order: as configured, those that are up before those that are not. Not the latter, if `last`
/// is false.
#[must_use]
pub fn order(upstreams: &[Arc<Upstream>], last: bool) -> Vec<&Arc<Upstream>> {
    let (mut first, behind): (Vec<_>, Vec<_>) = upstreams.iter().partition(|upstream| upstream.is_up());
    if last {
        first.extend(behind);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn three_in_turn_without_an_answer_are_down() {
        let (mut health, t) = (UpstreamHealth::default(), Instant::now());
        for silent in 0..2 {
            assert_eq!(health.unanswered(at(t, 500 * silent), at(t, 500 * silent + 300)), None);
        }
        assert_eq!(health.answered(at(t, 1_000), Duration::from_millis(8)), None);
        for silent in 0..2 {
            assert_eq!(health.unanswered(at(t, 1_100 + silent), at(t, 1_400 + silent)), None, "counted anew");
        }
        assert!(health.is_up());
        assert_eq!(health.unanswered(at(t, 1_200), at(t, 1_500)), Some(UpstreamChange::Down));
        assert_eq!(health.unanswered(at(t, 1_200), at(t, 1_600)), None, "said once");
        assert!(!health.is_up());
        assert_eq!(
            health.answered(at(t, 4_500), Duration::from_millis(8)),
            Some(UpstreamChange::Up(Duration::from_secs(3)))
        );
        assert!(health.is_up());
    }

    /// Names that take a resolver long are no reason to think that it is down, whoever asks for them.
    #[test]
    fn who_answers_others_is_up() {
        let (mut health, t) = (UpstreamHealth::default(), Instant::now());
        for round in 0..100 {
            health.answered(at(t, 1_000 * round + 200), Duration::from_millis(2));
            for query in 0..5 {
                assert_eq!(health.unanswered(at(t, 1_000 * round + query), at(t, 1_000 * round + 900)), None);
            }
        }
    }

    #[test]
    fn turns_come_ever_later() {
        let (mut health, t) = (UpstreamHealth::default(), Instant::now());
        assert!(!health.take_turn(t, LIMIT), "it is up");
        for _ in 0..3 {
            health.unanswered(t, at(t, 300));
        }
        let turns: Vec<u64> = (0..200_000).step_by(100).filter(|ms| health.take_turn(at(t, *ms), LIMIT)).collect();
        assert_eq!(turns, [1_300, 3_300, 7_300, 15_300, 31_300, 61_300, 91_300, 121_300, 151_300, 181_300]);
        health.answered(at(t, 200_000), LIMIT);
        assert!(!health.take_turn(at(t, 500_000), LIMIT));
    }

    #[test]
    fn the_time_of_answers_is_smoothed() {
        let (mut health, t) = (UpstreamHealth::default(), Instant::now());
        for took in [80, 80, 160, 0] {
            health.answered(t, Duration::from_millis(took));
        }
        assert_eq!(health.rtt, Some(Duration::from_micros(78_750)));
    }
}
