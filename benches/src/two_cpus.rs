//! (m) What a second CPU adds: the answering program on two CPUs at once, beside one, and the reflector likewise.
//!
//! A generator in user space would need a CPU itself, and there may be no more than two. So two things are measured that need
//! none: the program in the kernel's test run, on both CPUs at once, over the same maps; and frames that the kernel makes and
//! sends over a veth pair of two queues:
//!
//! ```text
//!   CPU 0:  flood ── wire ═══ veth, queue 0 ═══ eth0, queue 0   the program, then back by XDP_TX, dropped at `wire`
//!   CPU 1:  flood ── wire ═══ veth, queue 1 ═══ eth0, queue 1   the same
//! ```
//!
//! A frame stays on the CPU that made it: veth's queue is the sender's, and its NAPI runs where it was scheduled, when the
//! batch of frames is out.

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ::tests::netns::Netns;
use aya::{
    maps::{PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use rustix::thread::sched_setaffinity;
use zerottl_kernel::{BENCH_OBJECT, Fastpath, PROGRAM, nic::Nics};

use crate::{
    cost::{self, XDP_TX},
    error::BenchError,
    rate::{COUNTED_REFLECTOR, NAMES, Queries, Responder, cpu},
    scene,
    stats::Quartiles,
};

pub mod report;

/// Live frames that the kernel makes before it sends them: as many as a NAPI takes at once.
const BATCH: u32 = 64;
/// Live frames of one call: many, as a call begins with work of its own, of which two at once do a part together.
const CALL: u32 = 500_000;
/// Of the answers, what a flood may lose: more would mean that a queue was full, and the generator the measure.
const LOST_MAX: f64 = 0.01;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct TwoCpusEffort {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Test runs of a program per round and CPU.
    pub repeat: u32,
    /// Of each flood.
    pub flood: Duration,
}

impl TwoCpusEffort {
    /// The effort of a whole or of a quick run.
    #[must_use]
    pub const fn new(quick: bool) -> Self {
        let (rounds, repeat, flood_ms) = if quick { (1, 100_000, 200) } else { (15, 1_000_000, 500) };
        Self { rounds, repeat, flood: Duration::from_millis(flood_ms) }
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuScene {
    /// In the kernel's test run.
    TestRun,
    /// At a veth of two queues.
    Queues,
}

/// Packets a second of one program on one CPU and on two, one figure per round.
#[derive(Clone, Debug)]
pub struct CpuScaling {
    /// Where.
    pub scene: CpuScene,
    /// The program, in words.
    pub what: &'static str,
    one: Vec<f64>,
    two: Vec<f64>,
}

impl CpuScaling {
    /// One CPU's.
    #[must_use]
    pub fn one(&self) -> Quartiles {
        Quartiles::of(self.one.iter().copied())
    }

    /// Both CPUs' together.
    #[must_use]
    pub fn two(&self) -> Quartiles {
        Quartiles::of(self.two.iter().copied())
    }

    /// Both CPUs' by one's, round by round.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        Quartiles::of_pairs(&self.two, &self.one, |two, one| two / one)
    }

    const fn new(scene: CpuScene, what: &'static str) -> Self {
        Self { scene, what, one: Vec::new(), two: Vec::new() }
    }
}

/// Measures both; nothing where there is one CPU only.
pub fn measure(effort: TwoCpusEffort) -> Result<Vec<CpuScaling>, BenchError> {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Ok(Vec::new());
    }
    let mut all = test_runs(effort)?;
    all.extend(floods(effort)?);
    Ok(all)
}

/// The programs of the benchmarks' object with a walk of each CPU's own.
fn load_own(program: &'static str, others: &[&str]) -> Result<(Fastpath, zerottl_kernel::PacketCounters), BenchError> {
    let loaded = scene::load((BENCH_OBJECT, program), scene::model(NAMES, scene::PLANS_FEW))?;
    let zerottl_kernel::FastpathParts { mut fastpath, counters, .. } = loaded;
    for other in others {
        fastpath.program(other).load()?;
    }
    let mut walks: PerCpuArray<_, [u8; cost::WALK]> = fastpath.take_map("OWN_WALK")?.try_into()?;
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| format!("{what}: {error}"))?;
    let walk = |cpu| {
        let mut walk = cost::walk(&scene::frame(0, false), 0..NAMES as u32, false);
        // The next name's number: each CPU is elsewhere in the same walk.
        walk[100..104].copy_from_slice(&((cpu * NAMES / cpus) as u32).to_ne_bytes());
        walk
    };
    walks.set(0, PerCpuValues::try_from((0..cpus).map(walk).collect::<Vec<_>>())?, 0)?;
    Ok((fastpath, counters))
}

fn test_runs(effort: TwoCpusEffort) -> Result<Vec<CpuScaling>, BenchError> {
    const PROGRAMS: [(&str, &str); 2] = [("own_reflect", "reflector"), ("own_answer", "zerottl")];
    let (mut fastpath, counters) = load_own(PROGRAMS[1].0, &[PROGRAMS[0].0])?;
    let mut all = PROGRAMS.map(|(_, what)| CpuScaling::new(CpuScene::TestRun, what));
    let before = cost::answered(&counters)?;
    // The first round warms caches and is not kept. The CPU that is alone changes.
    for round in 0..=effort.rounds {
        for ((program, _), scaling) in PROGRAMS.iter().zip(&mut all) {
            let program = fastpath.program(program);
            let one = run_on(program, &[round % 2], effort.repeat)?;
            let two = run_on(program, &[0, 1], effort.repeat)?;
            if round > 0 {
                scaling.one.push(one);
                scaling.two.push(two);
            }
        }
    }
    let runs = 3 * (effort.rounds as u64 + 1) * u64::from(effort.repeat);
    let answers = cost::answered(&counters)? - before;
    if answers != runs {
        return Err(format!("{answers} of {runs} runs on two CPUs were answered").into());
    }
    Ok(all.into())
}

/// Runs a program on these CPUs at once, and returns their runs per second of CPU time, added.
fn run_on(program: &Xdp, cpus: &[usize], repeat: u32) -> Result<f64, BenchError> {
    let frame = scene::frame(0, false);
    Ok(at_once(cpus, |_| Ok([1e9 / cost::run(program, &frame, repeat, XDP_TX)?]))?[0])
}

/// Does a thing on threads of these CPUs at once and adds the results.
fn at_once<const N: usize>(
    cpus: &[usize],
    job: impl Fn(usize) -> Result<[f64; N], BenchError> + Sync,
) -> Result<[f64; N], BenchError> {
    let start = Barrier::new(cpus.len());
    let on = |number: usize| {
        let pinned = sched_setaffinity(None, &cpu(number));
        start.wait();
        pinned?;
        job(number)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = cpus.iter().map(|number| scope.spawn(move || on(*number))).collect();
        let mut sum = [0.0; N];
        for thread in threads {
            let each = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            sum.iter_mut().zip(each).for_each(|(sum, each)| *sum += each);
        }
        Ok(sum)
    })
}

/// Two namespaces and a veth pair of two queues between them, and what makes frames.
struct Queues {
    client: Netns,
    front: Netns,
    flood: Arc<Mutex<Fastpath>>,
}

impl Queues {
    fn new() -> Result<Self, BenchError> {
        let (client, front) = (Netns::new()?, Netns::new()?);
        let [c_mac, s_mac] =
            [scene::CLIENT_MAC, scene::SERVER_MAC].map(|mac| mac.map(|b| format!("{b:02x}")).join(":"));
        for namespace in [&client, &front] {
            namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        client.ip(&format!(
            "link add wire address {c_mac} numtxqueues 2 numrxqueues 2 type veth \
             peer name eth0 address {s_mac} numtxqueues 2 numrxqueues 2 netns {}\nlink set wire up",
            front.path()
        ))?;
        let server = Ipv4Addr::from(scene::SERVER);
        front.ip(&format!("addr add {server}/32 dev eth0\nlink set eth0 up"))?;
        let (mut flood, _) = load_own("flood", &[])?;
        let wire = client.run(|| Nics::new()?.index("wire"))??.ok_or("there is no interface wire")?;
        let mut target: aya::maps::Array<_, u32> = flood.take_map("TARGET")?.try_into()?;
        target.set(0, wire, 0)?;
        Ok(Self { client, front, flood: Arc::new(Mutex::new(flood)) })
    }

    /// Answers a second of frames that are made on these CPUs.
    fn run(
        &self,
        responder: &Responder,
        sink: &Responder,
        cpus: &'static [usize],
        time: Duration,
    ) -> Result<f64, BenchError> {
        let _attached = [responder.attach(&self.front, "eth0")?, sink.attach(&self.client, "wire")?];
        let answered =
            || Ok::<_, BenchError>(responder.answered(Queries::Plain)?.ok_or("this program does not count")?);
        let before = answered()?;
        let flood = Arc::clone(&self.flood);
        let [made, per_second] = self.client.run(move || {
            let mut flood = flood.lock().unwrap_or_else(PoisonError::into_inner);
            let program: &Xdp = flood.program("flood");
            at_once(cpus, |number| make(program, number, time))
        })??;
        let answers = (answered()? - before) as f64;
        if answers < made * (1.0 - LOST_MAX) {
            return Err(format!("{answers} of {made} frames over veth were answered").into());
        }
        Ok(per_second * answers / made)
    }
}

/// Makes frames on the calling thread's CPU, and returns how many, in all and per second of CPU time. Softirqs run in the thread
/// that raises them, and in ksoftirqd; a kernel that counts them apart (`CONFIG_IRQ_TIME_ACCOUNTING`) shows too much here, with
/// one CPU as with two.
fn make(program: &Xdp, number: usize, time: Duration) -> Result<[f64; 2], BenchError> {
    let frame = scene::frame(0, false);
    // It goes on with what arrives where that is much.
    let helper = format!("/proc/{}/schedstat", kernel_thread(&format!("ksoftirqd/{number}"))?);
    let taken = || Ok::<_, BenchError>(on_cpu_s("/proc/thread-self/schedstat")? + on_cpu_s(&helper)?);
    let (before, begun) = (taken()?, Instant::now());
    let mut made = 0.0;
    while begun.elapsed() < time {
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        program.test_run(TestRunOptions { data_in: Some(&frame), repeat: CALL, attrs, ..TestRunOptions::default() })?;
        made += f64::from(CALL);
    }
    Ok([made, made / (taken()? - before)])
}

/// A thread's time on a CPU so far, seconds.
fn on_cpu_s(schedstat: &str) -> Result<f64, BenchError> {
    let text = fs::read_to_string(schedstat)?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

/// The process id of a thread of the kernel.
fn kernel_thread(name: &str) -> Result<u32, BenchError> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else { continue };
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Ok(pid);
        }
    }
    Err(format!("there is no {name}").into())
}

fn floods(effort: TwoCpusEffort) -> Result<Vec<CpuScaling>, BenchError> {
    const CPUS: [&[usize]; 2] = [&[0], &[1]];
    let queues = Queues::new()?;
    let sink = Responder::load("sink")?;
    let responders = [Responder::load(COUNTED_REFLECTOR)?, Responder::load(PROGRAM)?];
    let mut all = ["reflector", "zerottl"].map(|what| CpuScaling::new(CpuScene::Queues, what));
    for round in 0..=effort.rounds {
        for (responder, scaling) in responders.iter().zip(&mut all) {
            let one = queues.run(responder, &sink, CPUS[round % 2], effort.flood)?;
            let two = queues.run(responder, &sink, &[0, 1], effort.flood)?;
            if round > 0 {
                scaling.one.push(one);
                scaling.two.push(two);
            }
        }
    }
    Ok(all.into())
}
