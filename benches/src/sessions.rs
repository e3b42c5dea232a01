//! (h) Sessions: zerottl's beside tower-sessions with its stores.
//!
//! ```text
//!   CPU 1                     CPU 0                                          CPU 1
//!   clients ── 64 connections ── application: tower-sessions ── its store ── one Redis
//!                             ── the same application, zerottl's layer ── copies at one or three
//! ```
//!
//! All in a namespace of its own, over its loopback. All applications run all the time, one of them is asked. One program has
//! them all, `benches/peers/sessions`, which is no member of the workspace.

mod client;
mod effort;
mod memory;
mod peer_program;
pub mod report;
mod scene;
mod takeover;

use std::time::Instant;

use self::{
    client::{Asking, ClientLoad, ClientSession},
    scene::{Application, ApplicationSetting, SessionScene},
};
pub use self::{
    effort::{CONNECTIONS, SessionsEffort},
    memory::{MemoryUse, SessionMemory},
    takeover::{DeathNews, Takeovers},
};
use crate::{
    error::BenchError,
    stats::{Quartiles, percentile},
};

/// An application with its way of keeping sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKeeping {
    /// None: what the application costs without.
    Nothing,
    /// tower-sessions, in memory.
    TowerMemory,
    /// tower-sessions, in one Redis.
    TowerRedis,
    /// zerottl's layer, `async`, two copies at three servers.
    Async,
    /// zerottl's layer, `async`, one copy at one server.
    AsyncOne,
    /// zerottl's layer, `ack-one`, two copies at three servers.
    AckOne,
    /// zerottl's layer, `ack-one`, one copy at one server.
    AckOneOne,
    /// tower-sessions over zerottl's store, `async`, two copies at three servers.
    TowerZerottl,
}

impl SessionKeeping {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::TowerMemory,
        Self::TowerRedis,
        Self::Async,
        Self::AsyncOne,
        Self::AckOne,
        Self::AckOneOne,
        Self::TowerZerottl,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no sessions",
            Self::TowerMemory => "tower-sessions, memory: no copy",
            Self::TowerRedis => "tower-sessions, Redis: 1 copy, 1 server",
            Self::Async => "zerottl, async: 2 copies, 3 servers",
            Self::AsyncOne => "zerottl, async: 1 copy, 1 server",
            Self::AckOne => "zerottl, ack-one: 2 copies, 3 servers",
            Self::AckOneOne => "zerottl, ack-one: 1 copy, 1 server",
            Self::TowerZerottl => "tower-sessions over zerottl's store, async: 2, 3",
        }
    }

    const fn setting(self) -> ApplicationSetting {
        let (keeper, write, copies, servers) = match self {
            Self::Nothing => ("none", "", 0, 0),
            Self::TowerMemory => ("tower-memory", "", 0, 0),
            Self::TowerRedis => ("tower-redis", "", 0, 1),
            Self::Async => ("zerottl", "async", 2, 3),
            Self::AsyncOne => ("zerottl", "async", 1, 1),
            Self::AckOne => ("zerottl", "ack-one", 2, 3),
            Self::AckOneOne => ("zerottl", "ack-one", 1, 1),
            Self::TowerZerottl => ("tower-zerottl", "async", 2, 3),
        };
        ApplicationSetting { keeper, write, copies, servers }
    }
}

/// A figure of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFigure {
    /// Requests a second.
    Rate,
    /// Requests by second of the application's CPU time.
    PerCpu,
    /// Requests by second of CPU time of the application and all session servers.
    PerAllCpu,
    /// Median of the time that a request takes, microseconds.
    P50,
    /// 99th percentile of the same.
    P99,
    /// Requests a second of one client.
    Alone,
}

impl SessionFigure {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Rate, Self::PerCpu, Self::PerAllCpu, Self::P50, Self::P99, Self::Alone];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests a second",
            Self::PerCpu => "requests by CPU second of the application",
            Self::PerAllCpu => "requests by CPU second of it and the session servers",
            Self::P50 => "latency, p50, µs",
            Self::P99 => "latency, p99, µs",
            Self::Alone => "requests a second of one client alone",
        }
    }
}

/// The figures of all applications, and of what comes after a worker's death, and of memory.
#[derive(Clone, Debug, Default)]
pub struct SessionCosts {
    series: [[Vec<f64>; SessionFigure::ALL.len()]; SessionKeeping::ALL.len()],
    /// By how the death comes to be known.
    pub takeovers: Vec<Takeovers>,
    /// By who keeps the sessions.
    pub memory: Vec<SessionMemory>,
}

impl SessionCosts {
    fn series(&self, keeping: SessionKeeping, figure: SessionFigure) -> &[f64] {
        &self.series[keeping as usize][figure as usize]
    }

    /// Returns a figure of an application.
    #[must_use]
    pub fn figure(&self, keeping: SessionKeeping, figure: SessionFigure) -> Quartiles {
        Quartiles::of(self.series(keeping, figure).iter().copied())
    }

    /// Returns an application's figure by that of tower-sessions with Redis, round by round.
    #[must_use]
    pub fn ratio(&self, keeping: SessionKeeping, figure: SessionFigure) -> Quartiles {
        let (ours, theirs) = (self.series(keeping, figure), self.series(SessionKeeping::TowerRedis, figure));
        Quartiles::of_pairs(ours, theirs, |ours, theirs| ours / theirs)
    }
}

/// Measures everything.
pub fn measure(effort: SessionsEffort) -> Result<SessionCosts, BenchError> {
    let program = peer_program::build(effort.quick)?;
    let mut costs = SessionCosts::default();
    rates(effort, &program, &mut costs)?;
    for news in DeathNews::ALL {
        costs.takeovers.push(takeover::measure(effort, &program, news)?);
    }
    costs.memory = memory::measure(effort, &program)?;
    Ok(costs)
}

fn rates(effort: SessionsEffort, program: &std::path::Path, costs: &mut SessionCosts) -> Result<(), BenchError> {
    let mut scene = SessionScene::new(program, 3)?;
    scene.pin_servers()?;
    let mut applications = Vec::new();
    for (number, keeping) in SessionKeeping::ALL.into_iter().enumerate() {
        let setting = keeping.setting();
        let place =
            if setting.write.is_empty() { scene.redis()? } else { scene.configuration(number as u16, setting)? };
        let application = scene.start(setting, &place, None, true)?;
        let sessions = client::open(&scene.machine, application.at, CONNECTIONS, effort.sessions)?;
        applications.push((keeping, application, sessions));
    }
    // The first round warms caches and is not kept. Who goes first changes, so that drift favours nobody.
    for round in 0..=effort.rounds {
        let first = round % applications.len();
        for at in (0..applications.len()).map(|number| (first + number) % SessionKeeping::ALL.len()) {
            let (keeping, application, sessions) = &mut applications[at];
            let figures = once(&scene, effort, *keeping, application, sessions)?;
            if round > 0 {
                for (series, figure) in costs.series[*keeping as usize].iter_mut().zip(figures) {
                    series.push(figure);
                }
            }
        }
    }
    Ok(())
}

/// Measures one application once; the figures in the order of [`SessionFigure::ALL`].
fn once(
    scene: &SessionScene,
    effort: SessionsEffort,
    keeping: SessionKeeping,
    application: &Application,
    sessions: &mut Vec<ClientSession>,
) -> Result<[f64; SessionFigure::ALL.len()], BenchError> {
    let counted = keeping != SessionKeeping::Nothing;
    let load = |time| ClientLoad { asking: Asking::For(time), counted, is_pinned: true, since: Instant::now() };
    let before = (application.cpu_s()?, scene.servers_cpu_s()?);
    let begun = Instant::now();
    let run = client::ask(&scene.machine, application.at, CONNECTIONS, sessions, load(effort.time))?;
    let took_s = begun.elapsed().as_secs_f64();
    let cpu_s = application.cpu_s()? - before.0;
    let all_cpu_s = cpu_s + scene.servers_cpu_s()? - before.1;
    let alone = client::ask(&scene.machine, application.at, 1, sessions, load(effort.time / 4))?;
    let requests = run.took_us.len() as f64;
    let spent_s: f64 = alone.took_us.iter().sum::<f64>() / 1e6;
    Ok([
        requests / took_s,
        requests / cpu_s,
        requests / all_cpu_s,
        percentile(&run.took_us, 0.5),
        percentile(&run.took_us, 0.99),
        alone.took_us.len() as f64 / spent_s,
    ])
}
