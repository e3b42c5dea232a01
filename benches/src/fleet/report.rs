//! The figures of (j) as text and as JSON, with how they were made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    FleetCost, FleetRun,
    effort::{FleetEffort, FleetMode},
};
use crate::figure_target::FigureTarget;

/// Returns how (j) is measured.
#[must_use]
pub fn method(effort: &FleetEffort) -> String {
    let FleetEffort { interval_s, lease_s, window, .. } = effort;
    format!(
        "\
Three fronts in namespaces of one machine, each with its agent, and three nodes of etcd, each in its own namespace too, on a network that only
they have. Pools of 100 Sites, as in (e); all addresses are of one more machine, whose one listener counts the connections. Every Site is
probed by TCP every {interval_s} s (rise and fall 1); the lease is {lease_s} s. `alone` is the same without [fleet] and without etcd; `shared` has probes =
\"shared\" and probers = 2. At rest: {window:?} in which nobody asks for a page. Storms: the listener is closed, or opened again, so that each
front finds every Site changed within an interval; and the engine comes back to fronts that had been cut off it for longer than the lease,
so that each has all its votes to tell at once. CPU time in a storm is of one interval and a half. A vote is a key, and a revision of etcd is a
transaction of up to 100 of them. Keys are counted by the agents, revisions by etcd. Figures of agents and nodes are medians of the three
[quartiles]; all of them share the CPUs of one machine, and etcd its disk."
    )
}

/// (j) as a table for each number of Sites.
#[must_use]
pub fn table(costs: &[FleetCost]) -> String {
    let mut text = String::new();
    for FleetCost { sites, runs } in costs {
        let _ = write!(text, "{:<66}", format!("{sites} Sites"));
        for run in runs {
            let _ = write!(text, " {:>26}", run.mode.name());
        }
        text.push_str("   fleet by alone\n");
        for what in names(&runs.iter().collect::<Vec<_>>()) {
            let _ = write!(text, "{what:<66}");
            for run in runs {
                let found = run.figures.iter().find(|figure| figure.what == what);
                let shown = found.map_or("-".to_owned(), |found| format!("{:.*}", found.decimals, found.figure));
                let _ = write!(text, " {shown:>26}");
            }
            let of = |mode| runs.iter().find(|run| run.mode == mode)?.figure(&what).map(|figure| figure.median);
            let ratio = of(FleetMode::Alone).filter(|alone| *alone > 0.0).zip(of(FleetMode::Fleet));
            let _ = writeln!(
                text,
                " {:>16}",
                ratio.map_or("-".to_owned(), |(alone, fleet)| format!("{:.2}", fleet / alone))
            );
        }
        text.push('\n');
    }
    text
}

/// The names of all figures, each once: those of the fleet, which has most, and the others' behind.
fn names(runs: &[&FleetRun]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| run.mode != FleetMode::Fleet);
    for figure in runs.iter().flat_map(|run| &run.figures) {
        if !names.contains(&figure.what) {
            names.push(figure.what.clone());
        }
    }
    names
}

/// The figures of (j) that have a target.
#[must_use]
pub fn targets(costs: &[FleetCost]) -> Vec<FigureTarget> {
    let mut targets = Vec::new();
    for cost in costs {
        let mut add = |mode: FleetMode, what: &str, target| {
            let run = cost.runs.iter().find(|run| run.mode == mode);
            if let Some(figure) = run.and_then(|run| run.figure(what)) {
                let what = format!("(j) {} Sites, {}: {what}", cost.sites, mode.name());
                targets.push(FigureTarget { what, figure: figure.high, target, at_least: false });
            }
        };
        add(FleetMode::Fleet, "keys written a second at rest, by all fronts", 0.0);
        for storm in ["every Site fails", "every Site returns", "the engine returns"] {
            add(FleetMode::Fleet, &format!("{storm}: fronts that lose the engine"), 0.0);
        }
        // Two of the fronts, and what one more round in the window makes of it.
        add(FleetMode::Shared, "probes of a target in an interval", 2.1);
    }
    targets
}

/// (j) as JSON.
#[must_use]
pub fn json(costs: &[FleetCost]) -> Value {
    let cost = |cost: &FleetCost| {
        let run = |run: &FleetRun| {
            let figures = run.figures.iter().map(|figure| (figure.what.clone(), figure.figure.json()));
            (run.mode.name().to_owned(), Value::from(figures.collect::<serde_json::Map<_, _>>()))
        };
        json!({ "sites": cost.sites, "modes": cost.runs.iter().map(run).collect::<serde_json::Map<_, _>>() })
    };
    costs.iter().map(cost).collect()
}
