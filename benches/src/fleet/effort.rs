//! How much is measured of (j), and of what.

use std::time::Duration;

/// Fronts, and nodes of etcd.
pub const FRONTS: usize = 3;
/// How much is measured.
#[derive(Clone, Debug)]
pub struct FleetEffort {
    /// Numbers of Sites, each with fronts of its own.
    pub sites: Vec<usize>,
    /// From one probe of a Site to the next, seconds.
    pub interval_s: u64,
    /// The lease of a front, seconds.
    pub lease_s: u64,
    /// How long a fleet at rest is watched.
    pub window: Duration,
}

impl FleetEffort {
    /// Returns that of a whole run, or of a smoke run.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { sites: vec![120], interval_s: 1, lease_s: 2, window: Duration::from_secs(2) }
        } else {
            Self { sites: vec![1_000, 10_000], interval_s: 10, lease_s: 10, window: Duration::from_secs(30) }
        }
    }

    /// Until every Site has been probed once and a half.
    pub(super) fn storm(&self) -> Duration {
        Duration::from_millis(self.interval_s * 1500)
    }
}

/// The three fronts' ways to be together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetMode {
    /// Without `[fleet]`.
    Alone,
    /// Each probes everything.
    Fleet,
    /// `probes = "shared"`, by two of them.
    Shared,
}

impl FleetMode {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Alone, Self::Fleet, Self::Shared];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Fleet => "fleet",
            Self::Shared => "shared",
        }
    }
}
