//! Front-end counters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::StatusCode;

use super::AccessLogWriter;
use zerottl_core::model::Web;

/// Bounds of times until responses, seconds: from a redirect's to a report's.
pub(crate) const BOUNDS: [f64; 15] =
    [0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// The statuses that there are (RFC 9110 section 15).
const STATUSES: std::ops::Range<u16> = 100..600;

/// The reason why the front refused or cut something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrontRefusal {
    /// A connection: as many are open as may be.
    Full,
    /// A connection: the client's address has as many open as it may.
    PerClient,
    /// A connection: its TLS handshake failed or took too long.
    Handshake,
    /// A connection: no whole head came in time, or nothing of an answer was taken.
    Slow,
    /// A connection: it cancelled most of what it asked for (CVE-2023-44487).
    Resets,
    /// A request that is not HTTP, or has more than one Host, 400.
    Malformed,
    /// A head over the bounds, 414 or 431.
    HeadTooLarge,
    /// A body over the bound, 413.
    BodyTooLarge,
    /// A request over HTTP/2: as many of this client are under way as may be, 503.
    Requests,
    /// A request that has come by here too often, 508.
    Loop,
    /// CONNECT or TRACE, 501.
    Method,
    /// A transfer coding other than chunked, 501.
    Coding,
}

impl FrontRefusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 12] = [
        Self::Full,
        Self::PerClient,
        Self::Handshake,
        Self::Slow,
        Self::Resets,
        Self::Malformed,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::Requests,
        Self::Loop,
        Self::Method,
        Self::Coding,
    ];

    /// Returns its name in metrics.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PerClient => "per_client",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::Resets => "resets",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Requests => "requests",
            Self::Loop => "loop",
            Self::Method => "method",
            Self::Coding => "coding",
        }
    }
}

/// The screen's word on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScreenResult {
    /// It may pass.
    Passed,
    /// It may not: 401 or 403.
    Refused,
    /// None that counts: it may not, 503.
    Failed,
}

impl ScreenResult {
    /// Every result.
    pub(crate) const ALL: [Self; 3] = [Self::Passed, Self::Refused, Self::Failed];

    /// Returns its name in metrics.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Counters of the front; read by the metrics.
#[derive(Debug)]
pub(crate) struct FrontCounters {
    /// Connections of clients accepted, since the start.
    pub(crate) accepted: AtomicU64,
    /// Connections of clients that are open now, those of tunnels with them.
    pub(crate) open: AtomicU64,
    /// Requests handed to the service, since the start.
    pub(crate) requests: AtomicU64,
    /// Upgraded connections (WebSocket) that are open now.
    pub(crate) tunnels: AtomicU64,
    /// By backend, in the order of `web.backends`.
    pub(crate) backends: Box<[Arc<BackendCounters>]>,
    /// Requests by what the screen said of them, in the order of [`ScreenResult::ALL`].
    screened: [AtomicU64; ScreenResult::ALL.len()],
    /// The log that requests are written to, if any.
    pub(crate) access: ArcSwapOption<AccessLogWriter>,
    /// By status, and one for those that are none.
    responses: Box<[AtomicU64]>,
    took: Took,
    refused: [AtomicU64; FrontRefusal::ALL.len()],
}

/// Times from requests to the begin of their responses.
#[derive(Debug, Default)]
struct Took {
    /// By [`BOUNDS`], and one for what is over all of them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

/// Counters of one backend.
#[derive(Debug)]
pub(crate) struct BackendCounters {
    /// Its URL as configured.
    pub(crate) url: String,
    /// Requests that it was sent, since the start.
    pub(crate) requests: AtomicU64,
    /// Attempts that it did not answer to the end: connects, responses, probes not among them.
    pub(crate) failures: AtomicU64,
    /// Requests that it did not answer and that were sent again, to another or over another connection.
    pub(crate) retries: AtomicU64,
    /// Ejections of it, since the start.
    pub(crate) ejections: AtomicU64,
    /// Connections made to it for requests, since the start; fewer than requests, as they are kept.
    pub(crate) connects: AtomicU64,
    /// Whether requests go there.
    pub(crate) healthy: AtomicBool,
    /// Whether they do not because it left some without an answer, though its probes succeed.
    pub(crate) ejected: AtomicBool,
}

impl BackendCounters {
    /// Makes counters that are all zero, of one that is healthy.
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            ejected: AtomicBool::new(false),
        }
    }
}

impl FrontCounters {
    /// Makes counters that are all zero, with backends that are healthy.
    #[must_use]
    pub(crate) fn new(web: &Web) -> Arc<Self> {
        Arc::new(Self {
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            backends: web.backends.iter().map(|one| Arc::new(BackendCounters::new(&one.url))).collect(),
            screened: Default::default(),
            access: ArcSwapOption::empty(),
            responses: STATUSES.chain([0]).map(|_| AtomicU64::new(0)).collect(),
            took: Took::default(),
            refused: Default::default(),
        })
    }

    /// Returns how often something was refused for this reason, since the start.
    #[must_use]
    pub(crate) fn refused(&self, why: FrontRefusal) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }

    /// Lists statuses that responses had, and how often; 0 stands for all that are none.
    pub(crate) fn responses(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.chain([0]).zip(&self.responses).map(|(status, count)| (status, count.load(Relaxed)))
    }

    /// Returns times from requests to responses: [`BOUNDS`] and infinity, each with how many were not over it but over the one before; and
    /// their sum, seconds.
    #[must_use]
    pub(crate) fn took(&self) -> (Vec<(f64, u64)>, f64) {
        let counts = self.took.counts.iter().map(|count| count.load(Relaxed));
        let buckets = BOUNDS.into_iter().chain([f64::INFINITY]).zip(counts).collect();
        (buckets, Duration::from_micros(self.took.sum_us.load(Relaxed)).as_secs_f64())
    }

    /// Counts a request that has its response, after so long.
    pub(super) fn responded(&self, status: StatusCode, after: Duration) {
        let place = usize::from(status.as_u16() - STATUSES.start).min(STATUSES.len());
        self.responses[place].fetch_add(1, Relaxed);
        let seconds = after.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.took.counts[bucket].fetch_add(1, Relaxed);
        self.took.sum_us.fetch_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Returns how often the screen said this, since the start.
    #[must_use]
    pub(crate) fn screened(&self, result: ScreenResult) -> u64 {
        self.screened[result as usize].load(Relaxed)
    }

    pub(crate) fn count_screened(&self, result: ScreenResult) {
        self.screened[result as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, why: FrontRefusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }
}
