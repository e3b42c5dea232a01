//! Whether the Site is too busy for one more session (stage 550).
//!
//! What "too busy" means is [`Overload`]'s to say; [`OverloadLimits`] is the default. It has up to three limits, and how far each
//! is used is a number, 1 at the limit:
//!
//! | limit | how far it is used |
//! |---|---|
//! | `in_flight` | requests under way / `in_flight` |
//! | `sessions` | active sessions / `sessions` |
//! | `latency` | (latency now / usual latency − 1) / (`latency` − 1), at least 0 |
//!
//! **Shares.** A request of share *s* is turned away where a limit is used by *s* or more: the lowest shares first, and
//! `in_flight = 1000` is 500 for a share of ½.
//!
//! **Clients.** Of `in_flight` and `sessions` one client fills no more than a share ([`clients`](super::clients)), so
//! nobody alone turns others away; a newcomer whose client has filled its own is turned away itself.
//!
//! **Hysteresis.** Once *s* is turned away, it is until the use has fallen below `resume` × *s*. For all shares at once
//! that is one number, the highest share that is turned away: it is never below the use, nor above use / `resume`, and
//! moves only as far as these bounds push it.
//!
//! **Keys.** Those who return with a key that is due go first: for newcomers, the keys that are due count as requests
//! under way and as sessions. But as no more than half of the limit, since some never return.
//!
//! **Latency** is the time from a request's begin to its response's. Windows of at least a second and 16 responses each
//! have a mean. Latency now is half the newest mean and half of what it was; usual latency is the mean of
//! up to 600 windows, old ones fading: an application that has become slower for good is as usual after some ten minutes.
//! Anything below a millisecond counts as one. Before the tenth window, 10 s after the newest, and while no request
//! is under way, this limit is not used at all: a Site that serves nobody must find out that it is quick again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::clients::{ClientShares, UnderWay};
use zerottl_core::model::BusyConfig;
use zerottl_inputs::load::report::FIGURE_MAX;

/// A window's length, milliseconds, and its responses: at least.
const WINDOW_MS: u64 = 1000;
const RESPONSES_MIN: u64 = 16;
/// Windows before usual latency is known, and those that it is the mean of.
const WINDOWS_MIN: u64 = 10;
const WINDOWS_MAX: u64 = 600;
/// The age beyond which a figure says nothing of latency now, milliseconds.
const STALE_MS: u64 = 10_000;
/// Lower latencies count as this, microseconds.
const LATENCY_MIN_US: f64 = 1000.0;
/// The most sessions that are reported: `FIGURE_MAX`.
const SESSIONS_MAX: u64 = 1_000_000_000_000_000;
/// The capacity that is reported where only latency is limited: per cent.
const PER_CENT: f64 = 100.0;

/// The question asked at stage 550.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// The part of each limit that the request may fill, over 0, at most 1.
    pub share: f64,
    /// Whether it brings a key that is due, and so goes first.
    pub returns: bool,
    /// Sessions that are active.
    pub sessions: u64,
    /// Keys that are due.
    pub reserved: u32,
    /// The client's net; none where clients are not told apart.
    pub client: Option<IpNet>,
    /// Of the sessions, those of this net.
    pub client_sessions: u64,
}

/// When a Site is too busy. On the way of every request: it must not block.
pub trait Overload: Send + Sync + 'static {
    /// Whether a request without a session is to be turned away. It has not begun yet.
    fn is_busy(&self, ask: Ask) -> bool;

    /// A request of a client's net is handed to the application, in a session or not. It ends when the guard is dropped, which is when its
    /// response's body is done.
    fn begin(&self, client: Option<IpNet>) -> Guard;

    /// The Site's load, as [`load::report`](zerottl_inputs::load::report) reads it.
    fn report(&self, sessions: u64) -> Value;

    /// Requests under way.
    fn in_flight(&self) -> u64;

    /// Of them, those beyond their clients' shares.
    fn beyond_shares(&self) -> u64 {
        0
    }

    /// Whether a client's net has as many under way as it may.
    fn is_full(&self, _client: Option<IpNet>) -> bool {
        false
    }
}

/// Told what becomes of a request.
pub trait Watch: Send + Sync {
    /// Its response has begun. `begun` is what the guard was made with.
    fn responded(&self, begun: u64);

    /// It has ended. `client` is what the guard was made with.
    fn ended(&self, client: Option<IpNet>);
}

/// A request under way, until it is dropped.
pub struct Guard {
    watch: Option<Arc<dyn Watch>>,
    begun: u64,
    client: Option<IpNet>,
    responded: bool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("begun", &self.begun).field("responded", &self.responded).finish_non_exhaustive()
    }
}

impl Guard {
    /// Tells `watch` once when the response begins, and once that the request has ended.
    #[must_use]
    pub fn new(watch: Arc<dyn Watch>, begun: u64, client: Option<IpNet>) -> Self {
        Self { watch: Some(watch), begun, client, responded: false }
    }

    /// Tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { watch: None, begun: 0, client: None, responded: true }
    }

    /// The response's head is there: the time until now is the latency. Requests of which this is never said, since they
    /// were cut short, have none.
    pub fn responded(&mut self) {
        if let Some(watch) = self.watch.as_ref().filter(|_| !self.responded) {
            watch.responded(self.begun);
        }
        self.responded = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.ended(self.client);
        }
    }
}

/// A monotonic clock: the time since a moment of its choosing.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The default: by the limits of the configuration. No locks but those of `UnderWay`, which are held for one look-up.
#[derive(Clone, Debug)]
pub struct OverloadLimits(Arc<State>);

struct State {
    clock: Clock,
    resume: f64,
    /// 0 is no limit.
    in_flight_max: f64,
    sessions_max: f64,
    sessions_limit: u64,
    latency_max: f64,
    shares: ClientShares,
    in_flight: UnderWay,
    latency: Latency,
    /// For each limit, the highest share that it turns away.
    held: [Held; 3],
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_flight, latency, held, .. } = self;
        f.debug_struct("State")
            .field("in_flight", in_flight)
            .field("latency", latency)
            .field("held", held)
            .finish_non_exhaustive()
    }
}

impl OverloadLimits {
    /// Nothing under way.
    #[must_use]
    pub fn new(config: &BusyConfig) -> Self {
        let start = Instant::now();
        Self::with_clock(config, move || start.elapsed())
    }

    /// Creates one with another clock, which must not go back.
    #[must_use]
    pub fn with_clock(config: &BusyConfig, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(State {
            clock: Box::new(clock),
            resume: if config.resume > 0.0 { config.resume.min(1.0) } else { 1.0 },
            in_flight_max: f64::from(config.in_flight),
            sessions_max: number(config.sessions),
            sessions_limit: config.sessions,
            latency_max: if config.latency > 1.0 { config.latency } else { 0.0 },
            shares: ClientShares::new(config),
            in_flight: UnderWay::new(ClientShares::new(config).of(config.in_flight.into())),
            latency: Latency::default(),
            held: Default::default(),
        }))
    }
}

/// How far the limits are used; none where there is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Uses {
    in_flight: Option<f64>,
    sessions: Option<f64>,
    latency: Option<f64>,
}

impl State {
    fn now_us(&self) -> u64 {
        u64::try_from((self.clock)().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether there is a limit of latency.
    fn is_timed(&self) -> bool {
        self.latency_max > 1.0
    }

    fn uses(&self, sessions: u64) -> Uses {
        let of = |used: u64, max: f64| (max > 0.0).then(|| number(used) / max);
        Uses {
            in_flight: of(self.in_flight.counted(), self.in_flight_max),
            sessions: of(sessions, self.sessions_max),
            latency: self.is_timed().then(|| match self.in_flight.all() {
                0 => 0.0,
                _ => self.latency.excess(self.now_us() / 1000) / (self.latency_max - 1.0),
            }),
        }
    }
}

impl Overload for OverloadLimits {
    fn is_busy(&self, ask: Ask) -> bool {
        let state = &*self.0;
        let share = if ask.share > 0.0 { ask.share.min(1.0) } else { 0.0 };
        let reserved = if ask.returns { 0.0 } else { f64::from(ask.reserved) };
        let found = state.uses(ask.sessions);
        let limits = [
            (found.in_flight, reserved_part(reserved, state.in_flight_max)),
            (found.sessions, reserved_part(reserved, state.sessions_max)),
            (found.latency, 0.0),
        ];
        let sessions_max = state.shares.of(state.sessions_limit);
        let mut is_busy = state.in_flight.is_full(ask.client) || ask.client_sessions >= sessions_max;
        for (held, (used, reserved)) in state.held.iter().zip(limits) {
            let Some(used) = used else { continue };
            let turned_away = held.follow(used, state.resume);
            is_busy |= share <= turned_away || share <= used + reserved;
        }
        is_busy
    }

    fn begin(&self, client: Option<IpNet>) -> Guard {
        self.0.in_flight.begin(client);
        // The clock is read where something comes of it.
        let begun = if self.0.is_timed() { self.0.now_us() } else { 0 };
        Guard::new(Arc::clone(&self.0) as Arc<dyn Watch>, begun, client)
    }

    fn report(&self, sessions: u64) -> Value {
        let sessions = sessions.min(SESSIONS_MAX);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let state = &*self.0;
        let found = state.uses(sessions);
        let limits =
            [(found.in_flight, state.in_flight_max), (found.sessions, state.sessions_max), (found.latency, PER_CENT)];
        let Some((_, capacity)) = limits.into_iter().find(|(used, _)| used.is_some()) else {
            return json!({ "current": self.in_flight(), "sessions": sessions, "at": at });
        };
        let used = limits.into_iter().filter_map(|(used, _)| used).fold(0.0, f64::max);
        json!({
            "current": (used * capacity).min(FIGURE_MAX),
            "target": state.resume.max(1e-3) * capacity,
            "capacity": capacity,
            "sessions": sessions,
            "at": at,
        })
    }

    fn in_flight(&self) -> u64 {
        self.0.in_flight.all()
    }

    fn beyond_shares(&self) -> u64 {
        self.in_flight().saturating_sub(self.0.in_flight.counted())
    }

    fn is_full(&self, client: Option<IpNet>) -> bool {
        self.0.in_flight.is_full(client)
    }
}

impl Watch for State {
    fn responded(&self, begun: u64) {
        if self.is_timed() {
            let now = self.now_us();
            self.latency.add(now / 1000, now.saturating_sub(begun));
        }
    }

    fn ended(&self, client: Option<IpNet>) {
        self.in_flight.end(client);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Returns the part of a limit that is kept for those with keys: half of it at most, or one.
fn reserved_part(keys: f64, limit: f64) -> f64 {
    if limit > 0.0 { keys.min((limit / 2.0).max(1.0)) / limit } else { 0.0 }
}

/// The highest share that is turned away; 0 is none. Bits of a number.
#[derive(Debug, Default)]
struct Held(AtomicU64);

impl Held {
    /// The use has changed.
    fn follow(&self, used: f64, resume: f64) -> f64 {
        let mut before = self.0.load(Relaxed);
        loop {
            let after = f64::from_bits(before).min(used / resume).max(used);
            if after.to_bits() == before {
                return after;
            }
            match self.0.compare_exchange_weak(before, after.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return after,
                Err(other) => before = other,
            }
        }
    }
}

/// Latency now and as usual. Two threads that meet at a window's end may count a response in the next window.
#[derive(Debug, Default)]
struct Latency {
    /// When the window began, milliseconds.
    began: AtomicU64,
    /// Its responses, and the microseconds that they took.
    responses: AtomicU64,
    took: AtomicU64,
    /// Windows before it, and when the last of them ended.
    windows: AtomicU64,
    ended: AtomicU64,
    /// Microseconds, as bits of numbers.
    newest: AtomicU64,
    usual: AtomicU64,
}

impl Latency {
    fn add(&self, now_ms: u64, took_us: u64) {
        self.took.fetch_add(took_us, Relaxed);
        let responses = self.responses.fetch_add(1, Relaxed) + 1;
        let began = self.began.load(Relaxed);
        let is_over = responses >= RESPONSES_MIN && now_ms.saturating_sub(began) >= WINDOW_MS;
        // One of those who see its end ends it.
        if is_over && self.began.compare_exchange(began, now_ms, Relaxed, Relaxed).is_ok() {
            self.end_window(now_ms);
        }
    }

    fn end_window(&self, now_ms: u64) {
        let (responses, took) = (self.responses.swap(0, Relaxed), self.took.swap(0, Relaxed));
        let mean = (number(took) / number(responses.max(1))).max(LATENCY_MIN_US);
        let windows = self.windows.load(Relaxed).saturating_add(1);
        let follow = |of: &AtomicU64, part: f64| {
            let before = f64::from_bits(of.load(Relaxed));
            of.store((before + (mean - before) * part).to_bits(), Relaxed);
        };
        let is_stale = windows == 1 || now_ms.saturating_sub(self.ended.load(Relaxed)) > STALE_MS;
        follow(&self.newest, if is_stale { 1.0 } else { 0.5 });
        follow(&self.usual, 1.0 / number(windows.min(WINDOWS_MAX)));
        self.ended.store(now_ms, Relaxed);
        self.windows.store(windows, Relaxed);
    }

    /// By what part of the usual latency it is above it now; 0 where that is not known.
    fn excess(&self, now_ms: u64) -> f64 {
        let is_known =
            self.windows.load(Relaxed) >= WINDOWS_MIN && now_ms.saturating_sub(self.ended.load(Relaxed)) <= STALE_MS;
        if !is_known {
            return 0.0;
        }
        let (newest, usual) = (f64::from_bits(self.newest.load(Relaxed)), f64::from_bits(self.usual.load(Relaxed)));
        (newest / usual.max(LATENCY_MIN_US) - 1.0).max(0.0)
    }
}

#[cfg(test)]
mod tests;
