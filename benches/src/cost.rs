//! (a) Time in the kernel per answered query, beside a bare reflector.

use std::{io, ops::Range};

use aya::{
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use rustix::time::{ClockId, clock_gettime};
use xdp_ebpf::reason::Reason;
use zerottl_kernel::{BENCH_OBJECT, Fastpath, FastpathParts, OBJECT, PROGRAM, PacketCounters};

use crate::{error::BenchError, scene, stats::Quartiles};

/// Bytes of the map `WALK`: those of [`walk`].
pub(crate) const WALK: usize = 128;
/// `XDP_TX`: what a timed program returns when all went well.
pub const XDP_TX: u32 = 3;

/// The timed programs of `xdp-ebpf/src/bench.rs`; the last is the reflector on its own, run again on its own replies.
pub const PROGRAMS: [&str; 6] =
    ["bench_empty", "bench_restore", "bench_resize", "bench_reflect", "bench_answer", "reflector"];
const EMPTY: usize = 0;
const RESTORE: usize = 1;
const RESIZE: usize = 2;
const REFLECT: usize = 3;
const ANSWER: usize = 4;
const REFLECTOR: usize = 5;

/// Differences below this say nothing, ns.
pub const RESOLUTION: f64 = 0.5;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct CostEffort {
    /// Numbers of names and of plans.
    pub scenes: Vec<(usize, usize)>,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Runs of a program per round.
    pub repeat: u32,
}

/// The figures for one number of names, with EDNS or without; ns per run, one per round.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Names configured, and asked for.
    pub names: usize,
    /// Different sets of Sites among them, at most.
    pub plans: usize,
    /// Whether the queries carry an OPT record.
    pub edns: bool,
    rounds: [Vec<f64>; PROGRAMS.len()],
}

impl Cost {
    /// The test run's own loop around a program that does nothing.
    #[must_use]
    pub fn empty(&self) -> Quartiles {
        self.of(EMPTY)
    }

    /// Loop and restoring.
    #[must_use]
    pub fn restore(&self) -> Quartiles {
        self.of(RESTORE)
    }

    /// Growing by an A record, and shrinking again when the next query is restored.
    #[must_use]
    pub fn resize(&self) -> Quartiles {
        self.less(RESIZE, RESTORE)
    }

    /// The reflector less restoring.
    #[must_use]
    pub fn reflect(&self) -> Quartiles {
        self.less(REFLECT, RESTORE)
    }

    /// The reflector on its own, loop included: run again and again on its own reply.
    #[must_use]
    pub fn reflector(&self) -> Quartiles {
        self.of(REFLECTOR)
    }

    /// The answer less restoring; the shrinking that a longer answer makes restoring do is left in.
    #[must_use]
    pub fn answer(&self) -> Quartiles {
        self.less(ANSWER, RESTORE)
    }

    /// Restoring and answering by restoring and reflecting: nothing subtracted.
    #[must_use]
    pub fn ratio_with_restore(&self) -> Quartiles {
        Quartiles::of_pairs(&self.rounds[ANSWER], &self.rounds[REFLECT], |answer, reflect| answer / reflect)
    }

    /// Answer by reflector, restoring subtracted from both: of medians, since the difference of two near figures is
    /// mostly noise in a single round. None where the reflector's is below [`RESOLUTION`], as anything divided by it would
    /// be noise.
    #[must_use]
    pub fn ratio_without_restore(&self) -> Option<f64> {
        let reflect = self.reflect().median;
        (reflect >= RESOLUTION).then(|| self.answer().median / reflect)
    }

    /// Loop and answer by loop and reflector, restoring subtracted from the answer alone, as the reflector on its own
    /// needs none: what two programs of their own would show in the kernel's test run.
    #[must_use]
    pub fn ratio_alone(&self) -> f64 {
        (self.answer().median + self.empty().median) / self.reflector().median
    }

    fn of(&self, program: usize) -> Quartiles {
        Quartiles::of(self.rounds[program].iter().copied())
    }

    fn less(&self, program: usize, base: usize) -> Quartiles {
        Quartiles::of_pairs(&self.rounds[program], &self.rounds[base], |with, without| with - without)
    }
}

/// A program's size.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// BPF instructions after the verifier's rewriting.
    pub xlated: u32,
    /// Bytes of machine code.
    pub jited: u32,
}

/// Everything measured.
#[derive(Clone, Debug)]
pub struct Costs {
    /// The reflector as attached for (b).
    pub reflector: Size,
    /// The agent's program.
    pub agent: Size,
    /// By names and EDNS.
    pub costs: Vec<Cost>,
}

/// Measures. Runs on the calling thread, which should be pinned.
pub fn measure(effort: &CostEffort) -> Result<Costs, BenchError> {
    let (reflector, agent) = sizes()?;
    let mut costs = Vec::new();
    for (names, plans) in &effort.scenes {
        let mut bench = Bench::new(*names, *plans)?;
        for edns in [false, true] {
            bench.prepare(edns)?;
            costs.push(bench.measure(effort, edns)?);
        }
    }
    Ok(Costs { reflector, agent, costs })
}

fn sizes() -> Result<(Size, Size), BenchError> {
    let model = || scene::model(10, scene::PLANS_FEW);
    let mut bench = scene::load((BENCH_OBJECT, "reflector"), model())?;
    let mut agent = scene::load((OBJECT, PROGRAM), model())?;
    let size = |program: &Xdp| -> Result<Size, BenchError> {
        let info = program.info()?;
        let xlated = info.size_translated().ok_or("the kernel does not say the program's size")? / 8;
        Ok(Size { xlated, jited: info.size_jitted() })
    };
    Ok((size(bench.fastpath.program("reflector"))?, size(agent.fastpath.program(PROGRAM))?))
}

/// The programs, loaded for one number of names.
struct Bench {
    names: usize,
    plans: usize,
    fastpath: Fastpath,
    counters: PacketCounters,
    walk: Array<MapData, [u8; WALK]>,
}

impl Bench {
    fn new(names: usize, plans: usize) -> Result<Self, BenchError> {
        let loaded = scene::load((BENCH_OBJECT, PROGRAMS[ANSWER]), scene::model(names, plans))?;
        let FastpathParts { mut fastpath, counters, .. } = loaded;
        for program in PROGRAMS.iter().filter(|program| **program != PROGRAMS[ANSWER]) {
            fastpath.program(program).load()?;
        }
        let walk = fastpath.take_map("WALK")?.try_into()?;
        Ok(Self { names, plans, fastpath, counters, walk })
    }

    /// Sets the walk to its start.
    fn prepare(&mut self, edns: bool) -> Result<(), BenchError> {
        Ok(self.walk.set(0, walk(&scene::frame(0, edns), 0..self.names as u32, false), 0)?)
    }

    fn measure(&mut self, effort: &CostEffort, edns: bool) -> Result<Cost, BenchError> {
        let mut cost = Cost { names: self.names, plans: self.plans, edns, rounds: Default::default() };
        let query = scene::frame(0, edns);
        let mut own_reply = query.clone();
        // From port 53 to port 53: the reply is again a query to the reflector.
        own_reply[34..36].copy_from_slice(&53_u16.to_be_bytes());
        let before = answered(&self.counters)?;
        // The first round warms caches and is not kept.
        for round in 0..=effort.rounds {
            for (program, (name, rounds)) in PROGRAMS.iter().zip(&mut cost.rounds).enumerate() {
                let frame = if program == REFLECTOR { &own_reply } else { &query };
                let elapsed = run(self.fastpath.program(name), frame, effort.repeat, XDP_TX)?;
                if round > 0 {
                    rounds.push(elapsed);
                }
            }
        }
        let runs = (effort.rounds as u64 + 1) * u64::from(effort.repeat);
        let answers = answered(&self.counters)? - before;
        if answers != runs {
            return Err(format!("{answers} of {runs} runs for {} names were answered", self.names).into());
        }
        Ok(cost)
    }
}

/// The start of a walk over the names of these numbers, as `xdp-ebpf/src/bench.rs` has it, with the frame that all queries are
/// made from; `spread` says that each comes from another client.
pub(crate) fn walk(frame: &[u8], numbers: Range<u32>, spread: bool) -> [u8; WALK] {
    let (first, names) = (numbers.start, numbers.end - numbers.start);
    let mut walk = [0; WALK];
    walk[..frame.len()].copy_from_slice(frame);
    let fields = [frame.len() as u32, 0, names, step(names), first, u32::from(spread)];
    for (field, value) in walk[96..].chunks_exact_mut(4).zip(fields) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
    walk
}

/// As [`walk`] over so many names, but that they are asked for at random, the n-th with a probability of about 1 / n.
pub(crate) fn zipf_walk(frame: &[u8], names: u32) -> [u8; WALK] {
    let mut walk = walk(frame, 0..names, false);
    let log2 = (f64::from(names).log2() * 65_536.0) as u32;
    walk[120..124].copy_from_slice(&log2.to_ne_bytes());
    walk
}

/// A step of about the golden ratio, prime to `names`: it meets all of them, and neighbours in time are none in number.
pub(crate) fn step(names: u32) -> u32 {
    ((f64::from(names) * 0.618) as u32..names).find(|step| gcd(*step, names) == 1).unwrap_or(0)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) fn answered(counters: &PacketCounters) -> Result<u64, BenchError> {
    Ok(counters.read()?.into_iter().find(|(reason, _)| *reason == Reason::AnswerA).map_or(0, |(_, count)| count))
}

/// Runs a program and returns the CPU time of one run, ns. Fails unless it ends with `action`.
///
/// By the thread's own CPU clock and not the kernel's figure, which is rounded down to whole nanoseconds; it stands still
/// while another thread has the CPU.
pub fn run(program: &Xdp, frame: &[u8], repeat: u32, action: u32) -> Result<f64, BenchError> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let begun = cpu_time();
    let result = program.test_run(options)?;
    let elapsed = cpu_time() - begun;
    if result.return_value != action {
        return Err(io::Error::other(format!("a timed program returned {}", result.return_value)).into());
    }
    Ok(elapsed / f64::from(repeat))
}

/// Of this thread, ns.
pub(crate) fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}
