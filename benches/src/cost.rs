//! (a) Time in the kernel per answered query, beside a bare reflector.

use std::{error::Error, io};

use aya::{
    maps::{Array, Map, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use rand::{SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};
use rustix::time::{ClockId, clock_gettime};
use xdp_ebpf::reason::Reason;
use zerottl::kernel::{BENCH_OBJECT, Counters, Fastpath, Loaded};

use crate::{scene, stats::Quartiles};

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes of an entry of the map `QUERIES`: a length and a frame.
const PREPARED: usize = 128;
/// `XDP_TX`: what every timed program returns when all went well.
const XDP_TX: u32 = 3;

/// The timed programs of `xdp-ebpf/src/bench.rs`.
pub const PROGRAMS: [&str; 4] = ["bench_restore", "bench_resize", "bench_reflect", "bench_answer"];
const RESTORE: usize = 0;
const RESIZE: usize = 1;
const REFLECT: usize = 2;
const ANSWER: usize = 3;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Numbers of names.
    pub names: Vec<usize>,
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
    /// Whether the queries carry an OPT record.
    pub edns: bool,
    rounds: [Vec<f64>; 4],
}

impl Cost {
    /// Restoring alone.
    #[must_use]
    pub fn restore(&self) -> Quartiles {
        Quartiles::of(self.rounds[RESTORE].iter().copied())
    }

    /// Growing by an A record, and shrinking again when the next query is restored.
    #[must_use]
    pub fn resize(&self) -> Quartiles {
        self.beyond_restore(RESIZE)
    }

    /// The reflector less restoring.
    #[must_use]
    pub fn reflect(&self) -> Quartiles {
        self.beyond_restore(REFLECT)
    }

    /// The answer less restoring; the shrinking that a longer answer makes restoring do is left in.
    #[must_use]
    pub fn answer(&self) -> Quartiles {
        self.beyond_restore(ANSWER)
    }

    /// Answer by reflector, both with restoring.
    #[must_use]
    pub fn ratio_with_restore(&self) -> Quartiles {
        Quartiles::of_pairs(&self.rounds[ANSWER], &self.rounds[REFLECT], |answer, reflect| answer / reflect)
    }

    /// Answer by reflector, both less restoring: of medians, as a round's difference of small figures is mostly noise.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.answer().median / self.reflect().median
    }

    fn beyond_restore(&self, program: usize) -> Quartiles {
        Quartiles::of_pairs(&self.rounds[program], &self.rounds[RESTORE], |with, without| with - without)
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
pub fn measure(effort: &Effort, mut progress: impl FnMut(&Cost)) -> Result<Costs, Failure> {
    let (reflector, agent) = sizes()?;
    let mut costs = Vec::new();
    for names in &effort.names {
        let mut bench = Bench::new(*names)?;
        for edns in [false, true] {
            bench.prepare(edns)?;
            let cost = bench.measure(effort, edns)?;
            progress(&cost);
            costs.push(cost);
        }
    }
    Ok(Costs { reflector, agent, costs })
}

fn sizes() -> Result<(Size, Size), Failure> {
    let (planner, plan) = scene::planned(10);
    let mut bench = Fastpath::load_object(BENCH_OBJECT, "reflector", &planner, &plan)?;
    let mut agent = Fastpath::load(&planner, &plan)?;
    let size = |program: &Xdp| -> Result<Size, Failure> {
        let info = program.info()?;
        let xlated = info.size_translated().ok_or("the kernel does not say the program's size")? / 8;
        Ok(Size { xlated, jited: info.size_jitted() })
    };
    Ok((size(bench.fastpath.program("reflector"))?, size(agent.fastpath.program(zerottl::kernel::PROGRAM))?))
}

/// The programs, loaded for one number of names.
struct Bench {
    names: usize,
    fastpath: Fastpath,
    counters: Counters,
    queries: Array<MapData, [u8; PREPARED]>,
    /// Next and length, of each CPU.
    walk: PerCpuArray<MapData, u64>,
}

impl Bench {
    fn new(names: usize) -> Result<Self, Failure> {
        let (planner, plan) = scene::planned(names);
        let loaded = Fastpath::load_object(BENCH_OBJECT, PROGRAMS[ANSWER], &planner, &plan)?;
        let Loaded { mut fastpath, mut publisher, counters, .. } = loaded;
        publisher.set_macs(&[scene::SERVER_MAC]);
        publisher.publish(&plan);
        for program in &PROGRAMS[..ANSWER] {
            fastpath.program(program).load()?;
        }
        let queries: Map = fastpath.take_map("QUERIES")?;
        let walk: Map = fastpath.take_map("WALK")?;
        Ok(Self { names, fastpath, counters, queries: queries.try_into()?, walk: walk.try_into()? })
    }

    /// Writes a query for every name, in an order that has nothing to do with the maps'.
    fn prepare(&mut self, edns: bool) -> Result<(), Failure> {
        let mut order: Vec<usize> = (0..self.names).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(42));
        for (at, name) in order.into_iter().enumerate() {
            let frame = scene::frame(name, edns);
            let mut prepared = [0; PREPARED];
            prepared[..4].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
            prepared[4..4 + frame.len()].copy_from_slice(&frame);
            self.queries.set(at as u32, prepared, 0)?;
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let start = (self.names as u64) << 32;
        self.walk.set(0, PerCpuValues::try_from(vec![start; cpus])?, 0)?;
        Ok(())
    }

    fn measure(&mut self, effort: &Effort, edns: bool) -> Result<Cost, Failure> {
        let mut cost = Cost { names: self.names, edns, rounds: Default::default() };
        let first = scene::frame(0, edns);
        let before = answered(&self.counters)?;
        // The first round warms caches and is not kept.
        for round in 0..=effort.rounds {
            for (program, rounds) in PROGRAMS.iter().zip(&mut cost.rounds) {
                let elapsed = run(self.fastpath.program(program), &first, effort.repeat)?;
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

fn answered(counters: &Counters) -> Result<u64, Failure> {
    Ok(counters.read()?.into_iter().find(|(reason, _)| *reason == Reason::AnswerA).map_or(0, |(_, count)| count))
}

/// Runs a program and returns the CPU time of one run, ns.
///
/// By the thread's own CPU clock and not the kernel's figure, which is rounded down to whole nanoseconds; it stands still
/// while another thread has the CPU.
fn run(program: &Xdp, frame: &[u8], repeat: u32) -> Result<f64, Failure> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let begun = cpu_time();
    let result = program.test_run(options)?;
    let elapsed = cpu_time() - begun;
    if result.return_value != XDP_TX {
        return Err(io::Error::other(format!("a timed program returned {}", result.return_value)).into());
    }
    Ok(elapsed / f64::from(repeat))
}

/// Of this thread, ns.
fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}
