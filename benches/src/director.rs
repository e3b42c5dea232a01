//! (g) `zerottl director` beside nothing between, plain hashing, `HAProxy` and nginx.
//!
//! ```text
//!   clients' namespace                servers' namespace
//!   clients ── eth0 ══════ veth ══════ eth0 ── one server                       direct
//!                                          ├── three that share an address      SO_REUSEPORT hashing
//!                                          ├── three, chosen for by the kernel  zerottl director
//!                                          ├── haproxy ── three                 mode tcp
//!                                          └── nginx ──── the same three        stream
//!   all of it: CPU 0                  all of it: CPU 1
//! ```
//!
//! Both ends' NAPI is threaded, so that what a machine does to receive is done, and accounted for, on that machine.

mod client;
mod lab;
mod paths;
pub mod report;

use std::{path::Path, time::Instant};

use self::lab::DirectorLab;
pub use self::paths::ConnectionPath;
use crate::{
    error::BenchError,
    stats::{Quartiles, percentile},
};

/// Clients at a time under load.
pub const CLIENTS: usize = 16;
/// Servers of each way but the direct one.
pub const SERVERS: usize = client::SERVERS;

/// Downloads of a round, of which the fastest counts.
pub const DOWNLOADS: usize = 4;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct DirectorEffort {
    /// Rounds of everything.
    pub rounds: usize,
    /// Bytes of a download.
    pub download: u64,
    /// Connections of one client under load.
    pub connections: usize,
    /// Connections of one client, for the spread.
    pub spread: usize,
    /// Connections one after the other, for latency.
    pub timed: usize,
}

impl DirectorEffort {
    /// Returns that of a whole run, or of a smoke run.
    #[must_use]
    pub const fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 1, download: 1_000_000, connections: 10, spread: 5, timed: 20 }
        } else {
            Self { rounds: 21, download: 100_000_000, connections: 500, spread: 20, timed: 2_000 }
        }
    }
}

/// A figure of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFigure {
    /// MB a second of the fastest of some downloads.
    Download,
    /// Connections a second.
    Rate,
    /// Connections by second of CPU time of the servers' machine.
    PerServersCpu,
    /// Connections by second of CPU time of both machines.
    PerCpu,
    /// The most connections of a server by the mean; of `Direct`, which has one server, 1.
    Spread,
    /// Median of connecting, asking, being answered and the close, microseconds.
    P50,
    /// 99th percentile of the same.
    P99,
}

impl PathFigure {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Download, Self::Rate, Self::PerServersCpu, Self::PerCpu, Self::Spread, Self::P50, Self::P99];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Download => "download, MB/s",
            Self::Rate => "connections a second",
            Self::PerServersCpu => "connections by CPU second of the servers' machine",
            Self::PerCpu => "connections by CPU second of both machines",
            Self::Spread => "connections of a server, most by mean",
            Self::P50 => "latency, p50, µs",
            Self::P99 => "latency, p99, µs",
        }
    }
}

/// The figures of all ways: by way and figure a series, by round.
#[derive(Clone, Debug, Default)]
pub struct PathCosts {
    series: [[Vec<f64>; PathFigure::ALL.len()]; ConnectionPath::ALL.len()],
}

impl PathCosts {
    fn series(&self, path: ConnectionPath, figure: PathFigure) -> &[f64] {
        &self.series[path as usize][figure as usize]
    }

    /// Returns a figure of a way.
    #[must_use]
    pub fn figure(&self, path: ConnectionPath, figure: PathFigure) -> Quartiles {
        Quartiles::of(self.series(path, figure).iter().copied())
    }

    /// Returns the director's figure by that of another way, round by round.
    #[must_use]
    pub fn ratio(&self, figure: PathFigure, by: ConnectionPath) -> Quartiles {
        let (ours, theirs) = (self.series(ConnectionPath::Director, figure), self.series(by, figure));
        Quartiles::of_pairs(ours, theirs, |ours, theirs| ours / theirs)
    }
}

/// Measures all ways; `server` is the program of the servers.
pub fn measure(effort: DirectorEffort, server: &Path) -> Result<PathCosts, BenchError> {
    let lab = DirectorLab::new(server)?;
    let mut costs = PathCosts::default();
    // The first round warms caches and is not kept. Who goes first changes, so that drift favours nobody.
    for round in 0..=effort.rounds {
        let mut order = ConnectionPath::ALL;
        order.rotate_left(round % ConnectionPath::ALL.len());
        for path in order {
            let figures = once(&lab, effort, path)?;
            if round > 0 {
                for (series, figure) in costs.series[path as usize].iter_mut().zip(figures) {
                    series.push(figure);
                }
            }
        }
    }
    Ok(costs)
}

/// Measures one way once; the figures in the order of [`PathFigure::ALL`].
fn once(
    lab: &DirectorLab,
    effort: DirectorEffort,
    path: ConnectionPath,
) -> Result<[f64; PathFigure::ALL.len()], BenchError> {
    let (machine, at) = (lab.client(), path.at());
    // The fastest of some: what else a machine does can only slow one down.
    let mut download = 0.0_f64;
    for _ in 0..DOWNLOADS {
        download = download.max(client::download(machine, at, effort.download)? / 1e6);
    }
    let before = (lab.servers_cpu_s(path)?, lab.receiver_cpu_s()?);
    let begin = Instant::now();
    let totals = client::load(machine, at, CLIENTS, effort.connections)?;
    let took_s = begin.elapsed().as_secs_f64();
    let servers_s = lab.servers_cpu_s(path)? - before.0;
    let both_s = servers_s + totals.cpu_s + lab.receiver_cpu_s()? - before.1;
    let connections = f64::from(totals.by_server.iter().sum::<u32>());
    let spread = client::load(machine, at, CLIENTS, effort.spread)?.by_server;
    let most = f64::from(spread.into_iter().max().unwrap_or_default());
    let servers = if path == ConnectionPath::Direct { 1 } else { SERVERS };
    let mean = f64::from(spread.into_iter().sum::<u32>()) / servers as f64;
    let latencies = client::latencies(machine, at, effort.timed)?;
    Ok([
        download,
        connections / took_s,
        connections / servers_s,
        connections / both_s,
        most / mean,
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
    ])
}
