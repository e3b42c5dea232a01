//! (k) Answers in the kernel, and the agent ([`start`]), as names grow to a million.
//!
//! Each number of names is loaded at once with the others, and rounds go through them in turn, so that whatever else the
//! machine does falls on all of them. Names are asked for in a walk that meets each of them once before any again, which is
//! the hardest for caches, and by Zipf, as clients do.

pub mod live;
pub mod start;

use self::{live::LiveCost, start::StartCost};
use aya::maps::{Array, MapData};
use serde_json::{Value, json};
use zerottl_kernel::{BENCH_OBJECT, Fastpath, FastpathParts};

use crate::{
    cost::{self, WALK, XDP_TX},
    error::BenchError,
    figure_target::FigureTarget,
    scene,
    stats::Quartiles,
};

/// The programs that are timed: restoring a query, and restoring and answering it.
const PROGRAMS: [&str; 2] = ["bench_restore", "bench_answer"];

/// The order in which names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Each once before any again, neighbours in time being none in number.
    Uniformly,
    /// The n-th with a probability of about 1 / n.
    ByZipf,
}

impl Asked {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Uniformly, Self::ByZipf];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Uniformly => "each once before any again",
            Self::ByZipf => "by Zipf",
        }
    }
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct ScaleEffort {
    /// Numbers of names; the first is what the others are divided by.
    pub names: Vec<usize>,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Runs of a program per round.
    pub repeat: u32,
}

/// The figures of one number of names; ns, one per round.
#[derive(Clone, Debug)]
pub struct ScaleCost {
    /// Names configured, and asked for.
    pub names: usize,
    /// How they are asked for.
    pub asked: Asked,
    /// Restoring and answering, less restoring.
    pub answer: Vec<f64>,
}

impl ScaleCost {
    /// An answer, ns.
    #[must_use]
    pub fn ns(&self) -> Quartiles {
        Quartiles::of(self.answer.iter().copied())
    }

    /// By another's in the same rounds.
    #[must_use]
    pub fn by(&self, other: &Self) -> Quartiles {
        Quartiles::of_pairs(&self.answer, &other.answer, |own, other| own / other)
    }
}

impl ScaleCost {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "names": self.names, "asked": self.asked.words(), "answer_ns": self.ns().json() })
    }
}

/// All of (k).
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// Of answers.
    pub answers: Vec<ScaleCost>,
    /// Of answers over a veth.
    pub live: Vec<LiveCost>,
    /// Of the agent.
    pub starts: Vec<StartCost>,
}

impl Scale {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let answers: Vec<Value> = self.answers.iter().map(ScaleCost::json).collect();
        let live = |cost: &LiveCost| json!({ "names": cost.names, "run_ns": cost.ns().json() });
        let live: Vec<Value> = self.live.iter().map(live).collect();
        let starts: Vec<Value> = self.starts.iter().map(StartCost::json).collect();
        json!({ "answers": answers, "live": live, "agent": starts })
    }
}

/// Returns what was to be reached: half as much again up to 100,000 names, twice as much up to a million, as the kernel's
/// statistics have it.
#[must_use]
pub fn targets(scale: &Scale) -> Vec<FigureTarget> {
    let mut targets = start::targets(&scale.starts);
    for (names, aim) in [(100_000, 1.5), (1_000_000, 2.0)] {
        if let (Some(many), Some(few)) = (scale.live.iter().find(|cost| cost.names == names), scale.live.first()) {
            targets.push(FigureTarget {
                what: format!("(k) a run over veth with {names} names by one with {}", few.names),
                figure: many.by(few).median,
                target: aim,
                at_least: false,
            });
        }
    }
    targets
}

/// A loaded program for one number of names.
struct Loaded {
    names: usize,
    fastpath: Fastpath,
    walk: Array<MapData, [u8; WALK]>,
}

impl Loaded {
    fn new(names: usize) -> Result<Self, BenchError> {
        let loaded = scene::load((BENCH_OBJECT, PROGRAMS[1]), scene::model(names, scene::PLANS_FEW))?;
        let FastpathParts { mut fastpath, .. } = loaded;
        fastpath.program(PROGRAMS[0]).load()?;
        let walk = fastpath.take_map("WALK")?.try_into()?;
        Ok(Self { names, fastpath, walk })
    }

    /// An answer, ns.
    fn answer(&mut self, asked: Asked, repeat: u32) -> Result<f64, BenchError> {
        let (query, names) = (scene::frame(0, false), self.names as u32);
        let walk = match asked {
            Asked::Uniformly => cost::walk(&query, 0..names, false),
            Asked::ByZipf => cost::zipf_walk(&query, names),
        };
        self.walk.set(0, walk, 0)?;
        let [restore, answer] = PROGRAMS.map(|name| cost::run(self.fastpath.program(name), &query, repeat, XDP_TX));
        Ok(answer? - restore?)
    }
}

/// Measures. Runs on the calling thread, which should be pinned.
pub fn measure(effort: &ScaleEffort) -> Result<Vec<ScaleCost>, BenchError> {
    let mut loaded = effort.names.iter().map(|names| Loaded::new(*names)).collect::<Result<Vec<_>, _>>()?;
    let each = |names: &usize| Asked::ALL.map(|asked| ScaleCost { names: *names, asked, answer: Vec::new() });
    let mut costs: Vec<ScaleCost> = effort.names.iter().flat_map(each).collect();
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for cost in &mut costs {
            let Some(loaded) = loaded.iter_mut().find(|loaded| loaded.names == cost.names) else { continue };
            let answer = loaded.answer(cost.asked, effort.repeat)?;
            if round > 0 {
                cost.answer.push(answer);
            }
        }
    }
    Ok(costs)
}

/// How it is measured.
pub const METHOD: &str = "\
Each program runs in BPF_PROG_TEST_RUN, pinned to one CPU, as in (a); an answer is restoring and answering, less restoring.
All numbers of names are loaded at once, and rounds go through them in turn; the first is not kept; ratios are taken round
by round. A walk meets each name once before any again, in an order unlike that of the maps; by Zipf, the n-th name is asked
for with a probability of about 1 / n. 30 Sites, each Pool over three of them; weighted round robin.";

/// The figures as a table.
#[must_use]
pub fn table(costs: &[ScaleCost]) -> String {
    let mut lines = vec![format!("{:>9}  {:<28} {:>22}  {}", "names", "asked for", "answer, ns", "by the fewest")];
    for cost in costs {
        let fewest = costs.iter().find(|other| other.asked == cost.asked).unwrap_or(cost);
        let (ns, by) = (cost.ns(), cost.by(fewest));
        lines.push(format!(
            "{:>9}  {:<28} {:>7.1} [{:>5.1}-{:>6.1}]  {:.2} [{:.2}-{:.2}]",
            cost.names,
            cost.asked.words(),
            ns.median,
            ns.low,
            ns.high,
            by.median,
            by.low,
            by.high
        ));
    }
    lines.join("\n")
}
