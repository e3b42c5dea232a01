//! (e) One agent and many Sites: what planning and publishing cost while none fails and while all fail.
//!
//! The Sites are addresses of one namespace, all served by one listener, which the bench closes to make all of them fail
//! and opens to bring them back. The agent probes them over loopback, by TCP.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tests::{agent::binary, netns::Netns, process::Process, scratch};
use zerottl_config as config;
use zerottl_core::{
    plan::Planner,
    status::{Assessment, Health},
};
use zerottl_kernel::image::{Bank, Layout};

use crate::{
    BenchError,
    instructions::{self, CountedWork},
    process_time::{memory_mib, whole_cpu_s},
    stats::Quartiles,
};

/// Sites of each pool.
const POOL: usize = 100;
/// Plans made and laid out at once for one figure.
const REPEAT: u64 = 10;
/// Until the agent has loaded its configuration and answers.
const START: Duration = Duration::from_mins(1);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct SitesEffort {
    /// Sites, at most 65,000.
    pub sites: usize,
    /// From one probe of a Site to the next, seconds.
    pub interval_s: u64,
    /// Rounds of both states.
    pub runs: usize,
    /// How long each state is watched.
    pub window: Duration,
}

/// The cost of one state.
#[derive(Clone, Debug)]
pub struct State {
    /// Planning rounds a second.
    pub rounds_per_s: Quartiles,
    /// CPU time of one round, µs.
    pub round_us: Quartiles,
    /// Plans made in the window, since nothing changes.
    pub plans: Quartiles,
    /// Bytes written into the maps in the window.
    pub written: Quartiles,
    /// CPU time of making one plan, ms.
    pub plan_ms: Quartiles,
    /// CPU time of laying one out, ms.
    pub lay_out_ms: Quartiles,
    /// Instructions of one round's assessment.
    pub round_instructions: f64,
    /// Instructions of making and laying out one plan.
    pub plan_instructions: f64,
    /// CPU of the whole agent, probing included, percent of one core.
    pub cpu: Quartiles,
    /// Memory of the whole agent (RSS), MiB.
    pub memory: Quartiles,
    /// While all Sites come into this state: plans made.
    pub change_plans: Quartiles,
    /// Bytes of them written into the maps.
    pub change_written: Quartiles,
    /// And CPU time of their rounds, seconds.
    pub change_cpu_s: Quartiles,
}

/// Both states.
#[derive(Clone, Debug)]
pub struct SitesCost {
    /// How many.
    pub sites: usize,
    /// None fails.
    pub none: State,
    /// All fail.
    pub all: State,
}

impl State {
    /// Each figure with its name and its number of decimals.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, Quartiles, usize); 13] {
        [
            ("planning rounds, 1/s", self.rounds_per_s, 2),
            ("CPU of a round, µs", self.round_us, 1),
            ("plans made while nothing changes", self.plans, 0),
            ("bytes written while nothing changes", self.written, 0),
            ("instructions of a round's assessment", Quartiles::of([self.round_instructions]), 0),
            ("CPU of making a whole plan, ms", self.plan_ms, 2),
            ("CPU of laying it out, ms", self.lay_out_ms, 2),
            ("instructions of both", Quartiles::of([self.plan_instructions]), 0),
            ("CPU of the agent, probes included, % of a core", self.cpu, 1),
            ("memory of the agent, MiB", self.memory, 1),
            ("while all come into this state: plans", self.change_plans, 0),
            ("bytes of them written", self.change_written, 0),
            ("and CPU of their rounds, s", self.change_cpu_s, 2),
        ]
    }
}

/// Measures both states in turn; `counted` is the program whose instructions are counted.
pub fn measure(effort: &SitesEffort, counted: &Path) -> Result<SitesCost, BenchError> {
    let text = text(effort);
    let folder = scratch::folder()?;
    let file = folder.path().join("zerottl.toml");
    fs::write(&file, &text)?;
    let machine = Netns::new()?;
    machine.ip("link set lo up\nroute add local 10.0.0.0/8 dev lo\nlink add eth0 type veth peer name peer0\n\
         addr add 203.0.113.53/24 dev eth0\nlink set eth0 up\nlink set peer0 up")?;
    let mut server = Some(Server::start(&machine)?);
    let mut command = Command::new(binary()?);
    command.args(["run", "--config"]).arg(&file).env("ZEROTTL_LOG", "warn");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.path().join("log"))?);
    let agent = Agent { process: Process::new(machine.spawn(command)?), machine: &machine, log: folder.path() };
    agent.wait()?;

    let planner = Planner::new(Arc::new(config::parse("sites.toml", &text, Path::new(""))?.model));
    let mut samples = [Samples::default(), Samples::default()];
    // Once for the first verdicts, which are no change of state.
    agent.settle(effort, true)?;
    for _ in 0..effort.runs {
        for (samples, up) in samples.iter_mut().zip([true, false]) {
            let before = agent.page()?;
            match (up, server.take()) {
                (true, None) => server = Some(Server::start(&machine)?),
                (false, Some(serving)) => serving.stop(),
                (_, same) => server = same,
            }
            let settled = agent.settle(effort, up)?;
            samples.change_plans.push(settled.plans - before.plans);
            samples.change_written.push(settled.written - before.written);
            samples.change_cpu_s.push(settled.cpu_s - before.cpu_s);
            agent.watch(effort, samples, &settled)?;
            plan(&planner, up, samples);
        }
    }
    let count = |all_fail| -> Result<_, BenchError> {
        let count = |what| instructions::count(counted, what, all_fail, &file);
        Ok([count(CountedWork::Round)?, count(CountedWork::Plan)?])
    };
    let [none, all] = samples;
    let (none, all) = (none.state(count(false)?), all.state(count(true)?));
    Ok(SitesCost { sites: effort.sites, none, all })
}

fn text(effort: &SitesEffort) -> String {
    let front = "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\nxdp = \"generic\"\n\
                 [state]\ndirectory = \"state\"\n[admin]\nlisten = \"127.0.0.1:8053\"\n";
    front.to_owned() + &many_sites(effort.sites, effort.interval_s)
}

/// Pools of [`POOL`] Sites each, each Site with a name and an address of its own, from 10.1.0.0 on, and probed by TCP.
pub(crate) fn many_sites(sites: usize, interval_s: u64) -> String {
    let mut text = String::from(
        "[zone.\"app.example\"]\nnameservers = [\"ns1.app.example\"]\ncontact = \"hostmaster@app.example\"\n",
    );
    let keys: Vec<String> = (0..sites).map(|site| format!("s{site}")).collect();
    for (pool, keys) in keys.chunks(POOL).enumerate() {
        let _ = write!(text, "[pool.\"p{pool}.app.example\"]\nsites = {keys:?}\n");
    }
    for (site, key) in keys.iter().enumerate() {
        let _ = write!(
            text,
            "[site.{key}]\nname = \"{key}.app.example\"\naddresses = [\"10.1.{}.{}\"]\nprobe = {{ kind = \"tcp\", port = 80, \
             interval = \"{interval_s}s\", timeout = \"{}ms\", rise = 1, fall = 1 }}\n",
            site / 256,
            site % 256,
            interval_s * 500
        );
    }
    text
}

/// Takes every connection, counts it and closes it.
pub(crate) struct Server {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(machine: &Netns) -> Result<Self, BenchError> {
        Self::start_counting(machine, &Arc::default())
    }

    pub(crate) fn start_counting(machine: &Netns, taken: &Arc<AtomicU64>) -> Result<Self, BenchError> {
        let listener = machine.run(|| TcpListener::bind("0.0.0.0:80"))??;
        let (own, taken) = (listener.try_clone()?, Arc::clone(taken));
        let thread = std::thread::spawn(move || {
            while own.accept().is_ok() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self { listener, thread })
    }

    pub(crate) fn stop(self) {
        // A listener that is shut down takes none any more, and its `accept` ends.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let _ = self.thread.join();
    }
}

/// Of `/v1/status`, what is looked at.
#[derive(Clone, Copy, Debug)]
struct Page {
    at: Instant,
    rounds: f64,
    plans: f64,
    written: f64,
    cpu_s: f64,
    sites_up: usize,
}

struct Agent<'a> {
    process: Process,
    machine: &'a Netns,
    log: &'a Path,
}

impl Agent<'_> {
    fn wait(&self) -> Result<(), BenchError> {
        let end = Instant::now() + START;
        while self.page().is_err() {
            if Instant::now() >= end {
                let log = fs::read_to_string(self.log.join("log")).unwrap_or_default();
                return Err(format!("the agent does not answer after {START:?}:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn page(&self) -> Result<Page, BenchError> {
        let text = self.machine.read("curl", &["-sSf", "--max-time", "10", "http://127.0.0.1:8053/v1/status"])?;
        let page: Value = serde_json::from_str(&text)?;
        let work = |name: &str| page["work"][name].as_f64().ok_or_else(|| format!("the status has no {name}"));
        let sites = page["sites"].as_array().ok_or("the status has no Sites")?;
        Ok(Page {
            at: Instant::now(),
            rounds: work("rounds")?,
            plans: work("plans")?,
            written: work("written_bytes")?,
            cpu_s: work("cpu_s")?,
            sites_up: sites.iter().filter(|site| site["up"] == true).count(),
        })
    }

    /// Waits until every Site has been probed and is as it should be.
    fn settle(&self, effort: &SitesEffort, up: bool) -> Result<Page, BenchError> {
        let expected = if up { effort.sites } else { 0 };
        let end = Instant::now() + Duration::from_secs(4 * effort.interval_s + 10);
        std::thread::sleep(Duration::from_secs(effort.interval_s));
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let page = self.page()?;
            if page.sites_up == expected {
                return Ok(page);
            }
            if Instant::now() >= end {
                return Err(format!("{} Sites are up, not {expected}", page.sites_up).into());
            }
        }
    }

    /// The agent alone for a while; its page is asked for before and after, not meanwhile.
    fn watch(&self, effort: &SitesEffort, samples: &mut Samples, before: &Page) -> Result<(), BenchError> {
        std::thread::sleep(Duration::from_secs(1));
        let (cpu, begun) = (whole_cpu_s(self.process.id())?, Instant::now());
        std::thread::sleep(effort.window);
        samples.cpu.push((whole_cpu_s(self.process.id())? - cpu) / begun.elapsed().as_secs_f64() * 100.0);
        samples.memory.push(memory_mib(self.process.id())?);
        let after = self.page()?;
        let rounds = after.rounds - before.rounds;
        samples.rounds_per_s.push(rounds / after.at.duration_since(before.at).as_secs_f64());
        samples.round_us.push((after.cpu_s - before.cpu_s) / rounds * 1e6);
        samples.plans.push(after.plans - before.plans);
        samples.written.push(after.written - before.written);
        Ok(())
    }
}

/// Makes whole plans of a state and lays them out, outside the agent: CPU time of this thread.
fn plan(planner: &Planner, up: bool, samples: &mut Samples) {
    let mut status = Assessment::unknown(planner.model());
    status.health.iter_mut().for_each(|site| site.fill(if up { Health::Up } else { Health::Down }));
    let layout = Layout::new(planner);
    let (mut plan_s, mut lay_out_s) = (0.0, 0.0);
    for generation in 1..=REPEAT {
        let begun = cpu_time();
        let plan = planner.plan(&status, generation);
        let made = cpu_time();
        std::hint::black_box(Bank::new(&layout, &plan));
        plan_s += made - begun;
        lay_out_s += cpu_time() - made;
    }
    let each = REPEAT as f64;
    samples.plan_ms.push(plan_s / each * 1e3);
    samples.lay_out_ms.push(lay_out_s / each * 1e3);
}

/// Of this thread, seconds.
fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// One state's figures, a round each.
#[derive(Default)]
struct Samples {
    rounds_per_s: Vec<f64>,
    round_us: Vec<f64>,
    plans: Vec<f64>,
    written: Vec<f64>,
    plan_ms: Vec<f64>,
    lay_out_ms: Vec<f64>,
    cpu: Vec<f64>,
    memory: Vec<f64>,
    change_plans: Vec<f64>,
    change_written: Vec<f64>,
    change_cpu_s: Vec<f64>,
}

impl Samples {
    fn state(self, [round_instructions, plan_instructions]: [f64; 2]) -> State {
        State {
            rounds_per_s: Quartiles::of(self.rounds_per_s),
            round_us: Quartiles::of(self.round_us),
            plans: Quartiles::of(self.plans),
            written: Quartiles::of(self.written),
            plan_ms: Quartiles::of(self.plan_ms),
            lay_out_ms: Quartiles::of(self.lay_out_ms),
            round_instructions,
            plan_instructions,
            cpu: Quartiles::of(self.cpu),
            memory: Quartiles::of(self.memory),
            change_plans: Quartiles::of(self.change_plans),
            change_written: Quartiles::of(self.change_written),
            change_cpu_s: Quartiles::of(self.change_cpu_s),
        }
    }
}
