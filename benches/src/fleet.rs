//! (j) Three fronts that share votes by three nodes of etcd, beside the same three without `[fleet]`.
//!
//! The Sites are addresses of one machine, all served by one listener, which the bench closes to make all of them fail. Every
//! front probes them by TCP over a network of its own; fronts and etcd have another.

pub mod effort;
pub mod report;
mod scene;

use std::time::{Duration, Instant};

use self::{
    effort::{FleetEffort, FleetMode},
    scene::FleetLab,
};
use crate::{
    BenchError,
    process_time::{memory_mib, whole_cpu_s},
    stats::Quartiles,
};

/// How often the counts are looked at in a storm.
const LOOK: Duration = Duration::from_millis(200);

/// A named figure, and its number of decimals.
#[derive(Clone, Debug)]
pub struct FleetFigure {
    /// Its name.
    pub what: String,
    /// Of the fronts, of the nodes, or one for all.
    pub figure: Quartiles,
    /// As many are printed.
    pub decimals: usize,
}

/// The figures of one way.
#[derive(Clone, Debug)]
pub struct FleetRun {
    /// The way.
    pub mode: FleetMode,
    /// The figures, in order.
    pub figures: Vec<FleetFigure>,
}

/// All ways with one number of Sites.
#[derive(Clone, Debug)]
pub struct FleetCost {
    /// How many.
    pub sites: usize,
    /// In the order of [`FleetMode::ALL`].
    pub runs: Vec<FleetRun>,
}

impl FleetRun {
    /// Returns a figure by its name.
    #[must_use]
    pub fn figure(&self, what: &str) -> Option<Quartiles> {
        self.figures.iter().find(|figure| figure.what == what).map(|figure| figure.figure)
    }

    fn add(&mut self, what: &str, figures: impl IntoIterator<Item = f64>, decimals: usize) {
        let figures: Vec<f64> = figures.into_iter().collect();
        // Without etcd there is nothing to say of it.
        if !figures.is_empty() {
            self.figures.push(FleetFigure { what: what.to_owned(), figure: Quartiles::of(figures), decimals });
        }
    }
}

/// Measures all numbers of Sites.
pub fn measure(effort: &FleetEffort) -> Result<Vec<FleetCost>, BenchError> {
    let one = |sites| {
        let runs = FleetMode::ALL.map(|mode| measure_mode(effort, sites, mode));
        Ok(FleetCost { sites, runs: runs.into_iter().collect::<Result<_, BenchError>>()? })
    };
    effort.sites.iter().map(|sites| one(*sites)).collect()
}

fn measure_mode(effort: &FleetEffort, sites: usize, mode: FleetMode) -> Result<FleetRun, BenchError> {
    let mut run = FleetRun { mode, figures: Vec::new() };
    let mut lab = FleetLab::start(effort, sites, mode)?;
    // What the start has left to do.
    std::thread::sleep(effort.storm());
    rest(effort, sites, &lab, &mut run)?;
    if mode != FleetMode::Shared {
        storm(effort, &mut lab, &mut run, Storm::Fail)?;
        storm(effort, &mut lab, &mut run, Storm::Return)?;
    }
    if mode == FleetMode::Fleet {
        storm(effort, &mut lab, &mut run, Storm::Rejoin)?;
    }
    let memory: Result<Vec<f64>, _> = lab.fronts.iter().map(|front| memory_mib(front.pid())).collect();
    run.add("memory of an agent at the end, MiB", memory?, 1);
    Ok(run)
}

/// Some time in which nothing happens but probing; no page is asked for meanwhile.
fn rest(effort: &FleetEffort, sites: usize, lab: &FleetLab, run: &mut FleetRun) -> Result<(), BenchError> {
    let (agents, nodes): (Vec<u32>, Vec<u32>) = (lab.fronts.iter().map(scene::Front::pid).collect(), lab.etcd_pids());
    let cpu = |pids: &[u32]| pids.iter().map(|pid| whole_cpu_s(*pid)).collect::<Result<Vec<f64>, _>>();
    let is_fleet = lab.etcd.is_some();
    let keys = || if is_fleet { lab.writes() } else { Ok(0.0) };
    let (before_keys, before_revision) = (keys()?, lab.revision()?.0);
    std::thread::sleep(Duration::from_secs(1));
    let (of_agents, of_nodes, taken, begun) = (cpu(&agents)?, cpu(&nodes)?, lab.taken(), Instant::now());
    std::thread::sleep(effort.window);
    let (took_s, taken) = (begun.elapsed().as_secs_f64(), lab.taken() - taken);
    let percent = |before: &[f64], after: Vec<f64>| -> Vec<f64> {
        after.iter().zip(before).map(|(after, before)| (after - before) / took_s * 100.0).collect()
    };
    let memory = |pids: &[u32]| pids.iter().map(|pid| memory_mib(*pid)).collect::<Result<Vec<f64>, _>>();
    run.add("CPU of an agent at rest, % of a core", percent(&of_agents, cpu(&agents)?), 2);
    run.add("memory of an agent at rest, MiB", memory(&agents)?, 1);
    run.add("CPU of a node of etcd at rest, % of a core", percent(&of_nodes, cpu(&nodes)?), 2);
    run.add("memory of a node of etcd at rest, MiB", memory(&nodes)?, 1);
    run.add("probes of a target in an interval", [taken / (sites as f64) / took_s * effort.interval_s as f64], 2);
    if is_fleet {
        run.add("keys written a second at rest, by all fronts", [(keys()? - before_keys) / took_s], 2);
        run.add("revisions of etcd a second at rest", [(lab.revision()?.0 - before_revision) / took_s], 2);
    }
    Ok(())
}

/// Everything changes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storm {
    /// Every Site fails: each front finds that out within an interval.
    Fail,
    /// Every Site is back.
    Return,
    /// The engine is back after longer than the lease: every front has every vote to tell, at once.
    Rejoin,
}

impl Storm {
    const fn name(self) -> &'static str {
        match self {
            Self::Fail => "every Site fails",
            Self::Return => "every Site returns",
            Self::Rejoin => "the engine returns",
        }
    }
}

/// The counts at one moment of a storm.
struct Seen {
    at_s: f64,
    keys: f64,
}

fn storm(effort: &FleetEffort, lab: &mut FleetLab, run: &mut FleetRun, storm: Storm) -> Result<(), BenchError> {
    if storm == Storm::Rejoin {
        lab.join_engine(false)?;
        std::thread::sleep(Duration::from_millis(effort.lease_s * 1500));
    }
    let pids: [Vec<u32>; 2] = [lab.fronts.iter().map(scene::Front::pid).collect(), lab.etcd_pids()];
    let cpu = || pids.each_ref().map(|pids| pids.iter().map(|pid| whole_cpu_s(*pid)).collect::<Result<Vec<f64>, _>>());
    let losses = |lab: &FleetLab| lab.fronts.iter().map(scene::Front::losses).sum::<usize>();
    let (revision, lost, before, is_fleet) = (lab.revision()?, losses(lab), cpu(), lab.etcd.is_some());
    let begun = Instant::now();
    let mut seen = vec![Seen { at_s: 0.0, keys: if is_fleet { lab.writes()? } else { 0.0 } }];
    match storm {
        Storm::Rejoin => lab.join_engine(true)?,
        up => lab.serve(up == Storm::Return)?,
    }
    while begun.elapsed() < effort.storm() {
        std::thread::sleep(LOOK);
        if is_fleet {
            seen.push(Seen { at_s: begun.elapsed().as_secs_f64(), keys: lab.writes()? });
        }
    }
    let after = cpu();
    let up = storm != Storm::Fail;
    let is_in_time = lab.is_settled(up)?;
    lab.until(storm.name(), || lab.is_settled(up))?;
    let name = |what: &str| format!("{}: {what}", storm.name());
    // While the window lasts nobody asks for the pages of all Sites: by its end all is well, or it took longer.
    if let Some(last) = last_change(&seen).filter(|_| is_in_time) {
        run.add(&name("until the last vote is written, s"), [last], 1);
    } else if !is_in_time {
        run.add(&name("until all fronts have it, s"), [begun.elapsed().as_secs_f64()], 1);
    }
    if is_fleet {
        let now = lab.revision()?;
        run.add(&name("keys written"), [seen.last().map_or(0.0, |last| last.keys) - seen[0].keys], 0);
        run.add(&name("keys written in the busiest second"), [busiest(&seen)], 0);
        run.add(&name("revisions of etcd"), [now.0 - revision.0], 0);
        run.add(&name("etcd's database grows by, MiB"), [now.1 - revision.1], 1);
        run.add(&name("fronts that lose the engine"), [(losses(lab) - lost) as f64], 0);
    }
    for ((what, before), after) in ["CPU of an agent, s", "CPU of a node of etcd, s"].into_iter().zip(before).zip(after)
    {
        let of = after?.into_iter().zip(before?).map(|(after, before)| after - before);
        run.add(&name(what), of.collect::<Vec<_>>(), 2);
    }
    Ok(())
}

/// When the count last grew, seconds; none where it did not.
fn last_change(seen: &[Seen]) -> Option<f64> {
    seen.windows(2).filter(|pair| pair[1].keys > pair[0].keys).map(|pair| pair[1].at_s).next_back()
}

/// The most that the count grew by in about a second, a second.
fn busiest(seen: &[Seen]) -> f64 {
    let grown = seen.iter().enumerate().filter_map(|(at, from)| {
        let to = seen[at..].iter().find(|to| to.at_s - from.at_s >= 0.95)?;
        Some((to.keys - from.keys) / (to.at_s - from.at_s))
    });
    grown.fold(0.0, f64::max)
}
