//! The time of a query in the program as the kernel's statistics have it, over a veth, as names grow to a million.
//!
//! In the test run the packet is warm and nothing else uses the caches. Here a packet comes from elsewhere, and the client's
//! receiving, which has the same CPU, takes its part of them: what an operator would see by `bpftool prog show`.

use crate::{
    error::BenchError,
    rate::{Generator, Load, Queries, Responder, Wire},
    scene,
    stats::Quartiles,
};
use zerottl_kernel::PROGRAM;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct LiveEffort {
    /// Numbers of names; the first is what the others are divided by.
    pub names: Vec<usize>,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Of one run, whole seconds: long enough to ask for each of the names.
    pub seconds: u64,
}

/// The figures of one number of names.
#[derive(Clone, Debug)]
pub struct LiveCost {
    /// Names configured, and asked for.
    pub names: usize,
    /// By round, ns, the statistics' own cost included.
    pub run_ns: Vec<f64>,
    /// Answers that came, by round, a second.
    pub answered: Vec<f64>,
}

impl LiveCost {
    /// A run, ns.
    #[must_use]
    pub fn ns(&self) -> Quartiles {
        Quartiles::of(self.run_ns.iter().copied())
    }

    /// By another's in the same rounds.
    #[must_use]
    pub fn by(&self, other: &Self) -> Quartiles {
        Quartiles::of_pairs(&self.run_ns, &other.run_ns, |own, other| own / other)
    }
}

/// Measures.
pub fn measure(effort: &LiveEffort) -> Result<Vec<LiveCost>, BenchError> {
    let load = |names: &usize| -> Result<_, BenchError> {
        let responder = Responder::load_model(PROGRAM, scene::model(*names, scene::PLANS_FEW))?;
        let cost = LiveCost { names: *names, run_ns: Vec::new(), answered: Vec::new() };
        Ok((Wire::with_names(*names)?, responder, cost))
    };
    let mut all = effort.names.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for (wire, responder, cost) in &mut all {
            let (time, runs) = responder.runs()?;
            let answered = wire.run(responder, Load::full(Generator::Sockets, Queries::Plain, effort.seconds))?;
            let (time_now, runs_now) = responder.runs()?;
            if round > 0 {
                cost.run_ns.push((time_now - time) / (runs_now - runs));
                cost.answered.push(answered);
            }
        }
    }
    Ok(all.into_iter().map(|(.., cost)| cost).collect())
}

/// How it is measured.
pub const METHOD: &str = "\
The agent's program on a veth as in (b), asked by dnsperf for all names in an order unlike that of the maps, long enough to
come to each; time by run is the kernel's own (kernel.bpf_stats_enabled), whose cost is in it. Rounds go through all numbers
of names in turn; the first is not kept; ratios are taken round by round.";

/// The figures as a table.
#[must_use]
pub fn table(costs: &[LiveCost]) -> String {
    let mut lines = vec![format!("{:>9}  {:>24}  {:<20} {:>12}", "names", "run, ns", "by the fewest", "answered, 1/s")];
    for cost in costs {
        let (ns, by) = (cost.ns(), cost.by(&costs[0]));
        let answered = Quartiles::of(cost.answered.iter().copied()).median;
        lines.push(format!(
            "{:>9}  {:>8.1} [{:>6.1}-{:>6.1}]  {:.2} [{:.2}-{:.2}]     {answered:>12.0}",
            cost.names, ns.median, ns.low, ns.high, by.median, by.low, by.high
        ));
    }
    lines.join("\n")
}
