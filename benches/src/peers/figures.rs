//! The figures of (l).

use crate::stats::Quartiles;

/// A server that was not measured.
#[derive(Clone, Debug)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// Everything measured.
#[derive(Clone, Debug)]
pub struct PeerCosts {
    /// The reflector first, then zerottl, then the others.
    pub servers: Vec<ServerCost>,
    /// Those that are not there, or answer wrongly.
    pub absent: Vec<Absent>,
}

impl PeerCosts {
    /// Returns a server by the start of its name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerCost> {
        self.servers.iter().find(|server| server.what.starts_with(name))
    }
}

/// One server's figures, one figure per round; pairs are of dnsperf and kxdpgun.
#[derive(Clone, Debug)]
pub struct ServerCost {
    /// The server and its version.
    pub what: String,
    /// The TTL of its answers; none of one that does not answer.
    pub ttl: Option<u32>,
    /// Answered queries per second.
    pub answered: [Vec<f64>; 2],
    /// CPU time on the server's side per answer, ns.
    pub cpu_ns: [Vec<f64>; 2],
    /// Half of what it answers to dnsperf, which the latencies are measured at.
    pub half_qps: f64,
    /// The 50th and the 99th percentile.
    pub latency_us: [Vec<f64>; 2],
}

impl ServerCost {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(what: String, ttl: Option<u32>) -> Self {
        Self {
            what,
            ttl,
            answered: [Vec::new(), Vec::new()],
            cpu_ns: [Vec::new(), Vec::new()],
            half_qps: 0.0,
            latency_us: [Vec::new(), Vec::new()],
        }
    }

    /// The quartiles of one series.
    #[must_use]
    pub fn of(series: &[f64]) -> Quartiles {
        Quartiles::of(series.iter().copied())
    }

    /// Answered rate by another one's, round by round.
    #[must_use]
    pub fn by(&self, other: &Self, generator: usize) -> Quartiles {
        Quartiles::of_pairs(&self.answered[generator], &other.answered[generator], |own, other| own / other)
    }
}
