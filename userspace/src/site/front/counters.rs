//! What happened how often.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::{model::Web, status::Health};

/// Why the front refused or cut something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
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

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 12] = [
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

    /// Its name in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
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

/// What the front counts; read by the metrics.
#[derive(Debug)]
pub struct Counters {
    /// Connections of clients accepted, since the start.
    pub accepted: AtomicU64,
    /// Connections of clients that are open now, those of tunnels with them.
    pub open: AtomicU64,
    /// Requests handed to the service, since the start.
    pub requests: AtomicU64,
    /// Upgraded connections (WebSocket) that are open now.
    pub tunnels: AtomicU64,
    /// By backend, in the order of `web.backends`.
    pub backends: Box<[BackendCounters]>,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// What is counted of one backend.
#[derive(Debug)]
pub struct BackendCounters {
    /// As configured.
    pub url: String,
    /// Requests that it was sent, since the start.
    pub requests: AtomicU64,
    /// Attempts that it did not answer: connects, responses, probes not among them.
    pub failures: AtomicU64,
    /// Connections made to it for requests, since the start; fewer than requests, as they are kept.
    pub connects: AtomicU64,
    /// Whether requests go there.
    pub healthy: AtomicBool,
}

impl BackendCounters {
    /// The verdict on it.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.healthy.load(Relaxed) { Health::Up } else { Health::Down }
    }
}

impl Counters {
    /// All zero; backends healthy.
    #[must_use]
    pub fn new(web: &Web) -> Arc<Self> {
        let backend = |url: &String| BackendCounters {
            url: url.clone(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
        };
        Arc::new(Self {
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            backends: web.backends.iter().map(|one| backend(&one.url)).collect(),
            refused: Default::default(),
        })
    }

    /// How often for this reason, since the start.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }

    pub(super) fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }
}
