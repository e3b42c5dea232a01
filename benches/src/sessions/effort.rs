//! How much is measured of (h).

use std::time::Duration;

/// Connections of the clients, each with one request under way.
pub const CONNECTIONS: usize = 64;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct SessionsEffort {
    /// A smoke run.
    pub quick: bool,
    /// Rounds of everything.
    pub rounds: usize,
    /// Of one run of the clients.
    pub time: Duration,
    /// Sessions of each application.
    pub sessions: usize,
    /// Workers' deaths of each kind.
    pub deaths: usize,
    /// Sessions of a worker that dies.
    pub hosted: usize,
    /// Sessions whose memory is measured.
    pub kept: usize,
}

impl SessionsEffort {
    /// Returns that of a whole run, or of a smoke run.
    #[must_use]
    pub const fn new(quick: bool) -> Self {
        if quick {
            let time = Duration::from_millis(200);
            Self { quick, rounds: 1, time, sessions: 128, deaths: 1, hosted: 256, kept: 2_000 }
        } else {
            let time = Duration::from_secs(2);
            Self { quick, rounds: 11, time, sessions: 2_000, deaths: 3, hosted: 10_000, kept: 100_000 }
        }
    }
}
