//! A worker dies, and another serves its sessions.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ::tests::{netns::Netns, process::eventually};

use super::{
    client::{self, Asking, ClientLoad},
    effort::{CONNECTIONS, SessionsEffort},
    scene::{Application, ApplicationSetting, SessionScene},
};
use crate::{
    error::BenchError,
    stats::{Quartiles, percentile},
};

/// Until all sessions of a worker have their copies.
const COPIED: Duration = Duration::from_secs(30);

/// How a worker's death comes to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathNews {
    /// By its lock, which the kernel has given back: workers of one machine, as those of a director.
    Lock,
    /// By the end of its lease, 3 s unless told otherwise: workers of several machines.
    Lease,
}

impl DeathNews {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lock, Self::Lease];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "seen by its lock",
            Self::Lease => "seen by the end of its lease",
        }
    }
}

/// A figure of some takeovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverFigure {
    /// Seconds from the death until half of the sessions have been served.
    P50,
    /// Seconds until 99 in 100 have been.
    P99,
    /// Seconds until all have been.
    Last,
    /// Milliseconds that such a request takes: half of them no longer.
    RequestP50,
    /// Milliseconds that 99 in 100 of them take, at most.
    RequestP99,
    /// The longest.
    RequestLast,
    /// Data read from session servers, by session.
    Reads,
    /// Requests that were answered by 503 first.
    Refused,
    /// Sessions that the other worker took of itself, before anybody asked for them.
    Adopted,
    /// Data read while each is asked for once more.
    ReadsAfterwards,
}

impl TakeoverFigure {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::P50,
        Self::P99,
        Self::Last,
        Self::RequestP50,
        Self::RequestP99,
        Self::RequestLast,
        Self::Reads,
        Self::Refused,
        Self::Adopted,
        Self::ReadsAfterwards,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "death to served, p50, s",
            Self::P99 => "death to served, p99, s",
            Self::Last => "death to served, the last, s",
            Self::RequestP50 => "such a request, p50, ms",
            Self::RequestP99 => "such a request, p99, ms",
            Self::RequestLast => "such a request, longest, ms",
            Self::Reads => "reads by session",
            Self::Refused => "requests refused at first",
            Self::Adopted => "sessions taken before they were asked for",
            Self::ReadsAfterwards => "reads when each is asked for again",
        }
    }
}

/// Some takeovers.
#[derive(Clone, Debug)]
pub struct Takeovers {
    /// How the death came to be known.
    pub news: DeathNews,
    /// Sessions of the worker that died.
    pub sessions: usize,
    series: [Vec<f64>; TakeoverFigure::ALL.len()],
}

impl Takeovers {
    /// Returns a figure.
    #[must_use]
    pub fn figure(&self, figure: TakeoverFigure) -> Quartiles {
        Quartiles::of(self.series[figure as usize].iter().copied())
    }
}

/// Measures workers' deaths of which others hear in one way.
pub(super) fn measure(effort: SessionsEffort, program: &Path, news: DeathNews) -> Result<Takeovers, BenchError> {
    let mut takeovers = Takeovers { news, sessions: effort.hosted, series: Default::default() };
    for _ in 0..effort.deaths {
        for (series, figure) in takeovers.series.iter_mut().zip(once(effort, program, news)?) {
            series.push(figure);
        }
    }
    Ok(takeovers)
}

/// The sum over all session servers.
fn reads(page: &serde_json::Value) -> f64 {
    let servers = page["servers"].as_array().into_iter().flatten();
    servers.filter_map(|server| server["reads"].as_f64()).sum()
}

fn is_copied(application: &Application, machine: &Netns, sessions: usize) -> bool {
    application.page(machine).is_ok_and(|page| {
        page["hosted"].as_u64() == Some(sessions as u64) && page["under_replicated"].as_u64() == Some(0)
    })
}

/// Has one worker die; the figures in the order of [`TakeoverFigure::ALL`].
fn once(
    effort: SessionsEffort,
    program: &Path,
    news: DeathNews,
) -> Result<[f64; TakeoverFigure::ALL.len()], BenchError> {
    let mut scene = SessionScene::new(program, 3)?;
    let setting = ApplicationSetting { keeper: "zerottl", write: "ack-one", copies: 2, servers: 3 };
    let place = scene.configuration(0, setting)?;
    let folder = (news == DeathNews::Lock).then(|| scene.folder());
    let mut first = scene.start(setting, &place, folder.as_deref(), false)?;
    let second = scene.start(setting, &place, folder.as_deref(), false)?;
    let machine = &scene.machine;
    let mut sessions = client::open(machine, first.at, CONNECTIONS, effort.hosted)?;
    if !eventually(COPIED, || is_copied(&first, machine, sessions.len())) {
        return Err(format!("not all sessions are copied after {COPIED:?}: {}", first.page(machine)?).into());
    }
    let before = reads(&second.page(machine)?);
    first.kill();
    let since = Instant::now();
    // Each answer must follow the one from before the death: nothing that was acknowledged is lost.
    let load = ClientLoad { asking: Asking::Once, counted: true, is_pinned: false, since };
    let run = client::ask(machine, second.at, CONNECTIONS, &mut sessions, load)?;
    let after = second.page(machine)?;
    client::ask(machine, second.at, CONNECTIONS, &mut sessions, load)?;
    let again = reads(&second.page(machine)?) - reads(&after);
    let adopted = after["adoptions"].as_f64().unwrap_or_default();
    let ms = |share| percentile(&run.took_us, share) / 1e3;
    let s = |share| percentile(&run.answered_s, share);
    Ok([
        s(0.5),
        s(0.99),
        s(1.0),
        ms(0.5),
        ms(0.99),
        ms(1.0),
        (reads(&after) - before) / sessions.len() as f64,
        run.refused as f64,
        adopted,
        again,
    ])
}
