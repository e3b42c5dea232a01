//! (b) Answered queries per second over a veth pair, beside the reflector under the same generators.
//!
//! ```text
//!   client namespace                                front namespace
//!   dnsperf or kxdpgun ── wire ════════ veth ════════ eth0   reflector, or the agent's program; native
//!   CPU 0                 NAPI thread: CPU 1          NAPI thread: CPU 1
//! ```
//!
//! The generator and what it does to send run on CPU 0. Receiving is moved off it: both ends' NAPI is threaded and
//! pinned to CPU 1, so that there the XDP program, its transmission, and the client's receive path take turns. With one
//! CPU, all is on that.

use std::{
    fs, io,
    io::Write as _,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::tests::{netns::Netns, process, scratch};
use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};
use xdp_ebpf::reason::Reason;
use zerottl_core::model::{Model, XdpMode};
use zerottl_kernel::{
    BENCH_OBJECT, Fastpath, FastpathParts, OBJECT, PROGRAM, PacketCounters,
    attach::{Attached, attach},
    nic::Nics,
    publish::Publisher,
};

use crate::{cost::step, error::BenchError, kinds::counted, scene, stats::Quartiles};

/// A reflector that counts, of the benchmarks' object.
pub(crate) const COUNTED_REFLECTOR: &str = "counted_reflector";
/// Names configured and asked for.
pub const NAMES: usize = 1_000;
/// Queries a second that kxdpgun is told to send: more than anything here can.
const FLOOD_QPS: u32 = 4_000_000;
/// Queries that dnsperf keeps outstanding: enough to keep the other CPU busy.
const OUTSTANDING: u32 = 500;

/// Where queries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// dnsperf: a UDP socket, as many queries as are answered.
    Sockets,
    /// kxdpgun: `AF_XDP`, as many queries as can be sent.
    AfXdp,
}

impl Generator {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sockets, Self::AfXdp];

    /// The program.
    #[must_use]
    pub const fn tool(self) -> &'static str {
        match self {
            Self::Sockets => "dnsperf",
            Self::AfXdp => "kxdpgun",
        }
    }
}

/// The queries for the names' A records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// Without EDNS.
    Plain,
    /// With DO, which a signed zone answers signed.
    Signed,
}

impl Queries {
    /// The reason they are answered under.
    const fn reason(self) -> Reason {
        match self {
            Self::Plain => Reason::AnswerA,
            Self::Signed => Reason::AnswerSigned,
        }
    }
}

/// A generator's task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) generator: Generator,
    pub(crate) queries: Queries,
    pub(crate) seconds: u64,
    /// Queries a second at most; none for all that it can.
    pub(crate) qps: Option<u32>,
    /// Whether dnsperf says of each reply how long it took.
    pub(crate) each: bool,
}

impl Load {
    /// As many queries as the generator can make.
    pub(crate) const fn full(generator: Generator, queries: Queries, seconds: u64) -> Self {
        Self { generator, queries, seconds, qps: None, each: false }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct RateEffort {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Of one generator's run, whole seconds.
    pub seconds: u64,
    /// Rounds of one second with the kernel's statistics on.
    pub timed_rounds: usize,
}

/// Answered queries per second, one figure per round.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The generator.
    pub generator: Generator,
    reflector: Vec<f64>,
    agent: Vec<f64>,
    /// In rounds of their own, with the kernel's statistics on: time of a run of the reflector and the agent, ns.
    times: [Vec<f64>; 2],
    /// And of the client's program, if it ran.
    empty: Vec<f64>,
}

impl Rate {
    /// The reflector's.
    #[must_use]
    pub fn reflector(&self) -> Quartiles {
        Quartiles::of(self.reflector.iter().copied())
    }

    /// The agent's program's.
    #[must_use]
    pub fn agent(&self) -> Quartiles {
        Quartiles::of(self.agent.iter().copied())
    }

    /// The agent's program's by the reflector's, round by round.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        Quartiles::of_pairs(&self.agent, &self.reflector, |agent, reflector| agent / reflector)
    }

    /// Time of a run of the reflector, ns, by the kernel's statistics, whose own cost is in it.
    #[must_use]
    pub fn reflector_ns(&self) -> Quartiles {
        Quartiles::of(self.times[0].iter().copied())
    }

    /// As [`reflector_ns`](Self::reflector_ns), of the agent's program.
    #[must_use]
    pub fn agent_ns(&self) -> Quartiles {
        Quartiles::of(self.times[1].iter().copied())
    }

    /// As [`reflector_ns`](Self::reflector_ns), of a program that only passes: nearly all of it is the statistics' own cost.
    #[must_use]
    pub fn empty_ns(&self) -> Option<Quartiles> {
        (!self.empty.is_empty()).then(|| Quartiles::of(self.empty.iter().copied()))
    }

    /// Returns how much longer a query takes than with the reflector, ns, round by round.
    #[must_use]
    pub fn difference_ns(&self) -> Quartiles {
        Quartiles::of_pairs(&self.agent, &self.reflector, |agent, reflector| 1e9 / agent - 1e9 / reflector)
    }
}

/// Measures with each generator.
pub fn measure(effort: RateEffort) -> Result<Vec<Rate>, BenchError> {
    for generator in Generator::ALL {
        scratch::find_tool(generator.tool())?;
    }
    let wire = Wire::new()?;
    let reflector = Responder::load("reflector")?;
    let agent = Responder::load(PROGRAM)?;
    let responders = [&reflector, &agent];
    let mut rates = Vec::new();
    for generator in Generator::ALL {
        let mut figures = [Vec::new(), Vec::new()];
        // The first round warms caches and is not kept. Who goes first changes, so that drift favours neither.
        for round in 0..=effort.rounds {
            for which in [round % 2, 1 - round % 2] {
                let answered = wire.run(responders[which], Load::full(generator, Queries::Plain, effort.seconds))?;
                if round > 0 {
                    figures[which].push(answered);
                }
            }
        }
        let (mut times, mut empty) = ([Vec::new(), Vec::new()], Vec::new());
        let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
        for _ in 0..effort.timed_rounds {
            for (responder, times) in responders.iter().zip(&mut times) {
                let before = [responder.runs()?, wire.pass.runs()?];
                wire.run(responder, Load::full(generator, Queries::Plain, 1))?;
                let mean = |(time, runs): (f64, f64), (now, runs_now)| (now - time) / (runs_now - runs);
                times.push(mean(before[0], responder.runs()?));
                if generator == Generator::Sockets {
                    empty.push(mean(before[1], wire.pass.runs()?));
                }
            }
        }
        drop(statistics);
        let [reflector, agent] = figures;
        rates.push(Rate { generator, reflector, agent, times, empty });
    }
    Ok(rates)
}

/// A loaded program.
pub(crate) struct Responder {
    fastpath: Arc<Mutex<Fastpath>>,
    program: &'static str,
    /// The agent's program counts, and one reflector.
    counters: Option<PacketCounters>,
    _publisher: Publisher,
}

impl Responder {
    /// The agent's program, or one of the benchmarks' object.
    pub(crate) fn load(program: &'static str) -> Result<Self, BenchError> {
        Self::load_model(program, scene::model(NAMES, scene::PLANS_FEW))
    }

    /// As above, of another model.
    pub(crate) fn load_model(program: &'static str, model: Arc<Model>) -> Result<Self, BenchError> {
        Self::load_at(program, model, scene::SERVER_MAC)
    }

    /// As above, for an interface with this MAC.
    pub(crate) fn load_at(program: &'static str, model: Arc<Model>, mac: [u8; 6]) -> Result<Self, BenchError> {
        let agent = program == PROGRAM;
        let object = if agent { OBJECT } else { BENCH_OBJECT };
        let loaded = scene::load_at((object, program), model, mac)?;
        let FastpathParts { fastpath, publisher, counters, .. } = loaded;
        let counters = (agent || program == COUNTED_REFLECTOR).then_some(counters);
        Ok(Self { fastpath: Arc::new(Mutex::new(fastpath)), program, counters, _publisher: publisher })
    }

    pub(crate) fn attach(&self, namespace: &Netns, interface: &'static str) -> Result<Attached, BenchError> {
        let (fastpath, program) = (Arc::clone(&self.fastpath), self.program);
        namespace.run(move || attach_here(&fastpath, program, interface, XdpMode::Native))?
    }

    /// Attaches it to an interface of the calling thread's namespace.
    pub(crate) fn attach_here(&self, interface: &str, mode: XdpMode) -> Result<Attached, BenchError> {
        attach_here(&self.fastpath, self.program, interface, mode)
    }

    /// Tells all that it has counted.
    pub(crate) fn seen(&self) -> Result<String, BenchError> {
        let counts = self.counters.as_ref().map(PacketCounters::read).transpose()?.unwrap_or_default();
        let seen = counts.iter().filter(|(_, count)| *count > 0);
        Ok(seen.map(|(reason, count)| format!("{} {count}", reason.name())).collect::<Vec<_>>().join(", "))
    }

    /// Time spent in it in ns and runs, since it was loaded, while the kernel's statistics were on.
    pub(crate) fn runs(&self) -> Result<(f64, f64), BenchError> {
        let mut fastpath = self.fastpath.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = fastpath.program(self.program).fd()?.as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.ok_or_else(|| format!("the kernel does not say {name}"))
        };
        Ok((field("run_time_ns:")?, field("run_cnt:")?))
    }

    /// Queries answered since it was loaded, if it counts.
    pub(crate) fn answered(&self, queries: Queries) -> Result<Option<u64>, BenchError> {
        self.counters.as_ref().map(|counters| counted(counters, queries.reason())).transpose()
    }
}

fn attach_here(
    fastpath: &Mutex<Fastpath>,
    program: &str,
    interface: &str,
    mode: XdpMode,
) -> Result<Attached, BenchError> {
    let mut fastpath = fastpath.lock().unwrap_or_else(PoisonError::into_inner);
    let nics = Nics::new()?;
    let index = nics.index(interface)?.ok_or("there is no such interface")?;
    Ok(attach(fastpath.program(program).fd()?.as_fd(), &nics, interface, index, mode)?)
}

/// Two namespaces and the veth pair between them.
pub(crate) struct Wire {
    pub(crate) client: Netns,
    pub(crate) front: Netns,
    /// The threads that receive at the front.
    pub(crate) front_napi: Vec<Pid>,
    /// A veth is sent to by `XDP_TX` only while it has a program itself (Linux 6.18; GRO does not do).
    pub(crate) pass: Responder,
    /// Files of queries: with DO, kxdpgun has others.
    queries: PathBuf,
    signed_queries: PathBuf,
    _folder: Box<dyn std::any::Any>,
}

impl Wire {
    pub(crate) fn new() -> Result<Self, BenchError> {
        Self::with_names(NAMES)
    }

    /// Whose client asks for so many names, one after another, neighbours in time being none in number.
    pub(crate) fn with_names(names: usize) -> Result<Self, BenchError> {
        let (client, front) = (Netns::new()?, Netns::new()?);
        let [c, s] = [scene::CLIENT, scene::SERVER].map(std::net::Ipv4Addr::from);
        let [c_mac, s_mac] =
            [scene::CLIENT_MAC, scene::SERVER_MAC].map(|mac| mac.map(|b| format!("{b:02x}")).join(":"));
        // One queue each: two CPUs have no use for more.
        client.ip(&format!(
            "link add wire address {c_mac} numtxqueues 1 numrxqueues 1 type veth \
             peer name eth0 address {s_mac} numtxqueues 1 numrxqueues 1 netns {}",
            front.path()
        ))?;
        // GRO keeps NAPI, and with it its thread, while programs come and go. The sender computes checksums, as one beyond a real
        // wire has; the client's stack then checks those of both programs' replies.
        client.read("ethtool", &["-K", "wire", "gro", "on", "tx", "off"])?;
        front.read("ethtool", &["-K", "eth0", "gro", "on"])?;
        // The front's come last.
        let mut front_napi = Vec::new();
        // No neighbour discovery: nothing but queries and answers on the wire.
        for (namespace, interface, own, other, other_mac) in
            [(&client, "wire", c, s, &s_mac), (&front, "eth0", s, c, &c_mac)]
        {
            namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            namespace.ip(&format!(
                "addr add {own}/32 dev {interface}\nlink set {interface} up\n\
                 route add {other} dev {interface} src {own}\n\
                 neigh add {other} lladdr {other_mac} dev {interface} nud permanent"
            ))?;
            front_napi = thread_napi(namespace, interface, 1)?;
        }
        let folder = scratch::folder()?;
        let [queries, signed_queries] = ["queries", "signed-queries"].map(|file| folder.path().join(file));
        for (file, kind) in [(&queries, "A"), (&signed_queries, "A D")] {
            let mut file = io::BufWriter::new(fs::File::create(file)?);
            let step = step(names as u32) as usize;
            for i in 0..names {
                writeln!(file, "{} {kind}", scene::pool_name(i * step % names))?;
            }
            file.flush()?;
        }
        let pass = Responder::load("pass")?;
        Ok(Self { client, front, front_napi, pass, queries, signed_queries, _folder: Box::new(folder) })
    }

    /// Queries answered per second, as the generator counted its replies.
    pub(crate) fn run(&self, responder: &Responder, load: Load) -> Result<f64, BenchError> {
        let before = responder.answered(load.queries)?;
        let replies = self.replies(Some(responder), load)?;
        if let (Some(before), Some(after)) = (before, responder.answered(load.queries)?)
            && ((after - before) as f64) < replies.count
        {
            let counted = after - before;
            return Err(format!("{} answers came and {counted} were made in the kernel", replies.count).into());
        }
        Ok(replies.per_second)
    }

    /// The replies of a responder, or, without one, of whatever else answers at the front.
    pub(crate) fn replies(&self, responder: Option<&Responder>, load: Load) -> Result<Received, BenchError> {
        let attached = responder.map(|responder| responder.attach(&self.front, "eth0")).transpose()?;
        // kxdpgun brings its own program; replies that no program sends need none.
        let receiver = match (load.generator, responder) {
            (Generator::Sockets, Some(_)) => Some(self.pass.attach(&self.client, "wire")?),
            _ => None,
        };
        let output = self.generate(load);
        if load.generator == Generator::AfXdp {
            // kxdpgun leaves its program, which a socket's client need not have.
            self.client.ip("link set dev wire xdp off")?;
        }
        // Programs are off once nothing refers to their links.
        drop((receiver, attached));
        // What is still queued at either end must not meet the next run.
        std::thread::sleep(Duration::from_millis(100));
        answered(load.generator, &output?)
    }

    fn generate(&self, load: Load) -> io::Result<String> {
        let Load { generator, queries, seconds, qps, each } = load;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(scratch::find_tool(generator.tool())?);
        let server = std::net::Ipv4Addr::from(scene::SERVER).to_string();
        match generator {
            Generator::Sockets => command
                .args(["-s", &server, "-l", &seconds.to_string(), "-q", &OUTSTANDING.to_string()])
                .args(["-c", "1", "-T", "1", "-t", "1"])
                .args((queries == Queries::Signed).then_some("-D"))
                .args(qps.map(|qps| format!("-Q{qps}")))
                .args(each.then_some("-v"))
                .arg("-d")
                .arg(&self.queries),
            Generator::AfXdp => command
                .args(["-t", &seconds.to_string(), "-Q", &qps.unwrap_or(FLOOD_QPS).to_string()])
                .args(["-b", "32", "-I", "wire", "-i"])
                .arg(if queries == Queries::Signed { &self.signed_queries } else { &self.queries })
                .arg(&server),
        };
        // What it says of each reply goes to a file: a reader of a pipe would need a CPU meanwhile.
        let file = self.queries.with_file_name("said");
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&file)?)
            .stderr(fs::OpenOptions::new().append(true).open(&file)?);
        let status = self.client.spawn(command)?.wait()?;
        let said = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        if status.success() { Ok(said) } else { Err(io::Error::other(said)) }
    }
}

/// Gives the NAPI of an interface threads on a CPU, and returns them. Nothing may arrive meanwhile: a NAPI that is being polled
/// while it gets its thread is not polled again.
pub(crate) fn thread_napi(namespace: &Netns, interface: &str, number: usize) -> Result<Vec<Pid>, BenchError> {
    let before = napi_threads(interface)?;
    let path = format!("class/net/{interface}/threaded");
    namespace.run(move || write_sysfs(&path, b"1"))??;
    let mut ours = Vec::new();
    process::eventually(Duration::from_secs(2), || {
        ours = napi_threads(interface).unwrap_or_default();
        ours.retain(|pid| !before.contains(pid));
        !ours.is_empty()
    });
    if ours.is_empty() {
        return Err(format!("{interface} got no NAPI thread").into());
    }
    for pid in &ours {
        sched_setaffinity(Some(*pid), &cpu(number))?;
    }
    Ok(ours)
}

/// Writes a file of sysfs as it shows the calling thread's network namespace. The /sys we see shows the one it was mounted
/// in; a mount made and not put anywhere is of ours, and goes when it is closed (Linux 5.2).
fn write_sysfs(path: &str, value: &[u8]) -> io::Result<()> {
    let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = openat(&root, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    fs::File::from(file).write_all(value)
}

/// The kernel threads `napi/INTERFACE-ID`.
fn napi_threads(interface: &str) -> io::Result<Vec<Pid>> {
    let prefix = format!("napi/{interface}-");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if name.starts_with(&prefix) {
            found.extend(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// A set of this CPU, or of the last where there are fewer.
#[must_use]
pub fn cpu(number: usize) -> CpuSet {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut set = CpuSet::new();
    set.set(number.min(last));
    set
}

/// Runs `job` on a thread of its own, pinned to CPU 1.
pub(crate) fn on_own_cpu<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, BenchError> {
    let thread = std::thread::spawn(move || {
        sched_setaffinity(None, &cpu(1))?;
        Ok::<T, rustix::io::Errno>(job())
    });
    match thread.join() {
        Ok(result) => Ok(result?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The answers that a generator received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) count: f64,
    pub(crate) per_second: f64,
    /// How long each took, where that was asked for.
    pub(crate) latencies_us: Vec<f64>,
}

/// The times in dnsperf's lines of replies: "> NOERROR NAME TYPE 0.000123".
fn latencies_us(output: &str) -> Vec<f64> {
    let replies = output.lines().filter(|line| line.starts_with("> NOERROR "));
    replies.filter_map(|line| Some(line.rsplit_once(' ')?.1.parse::<f64>().ok()? * 1e6)).collect()
}

fn answered(generator: Generator, output: &str) -> Result<Received, BenchError> {
    let after = |label: &str, skip: usize| -> Option<f64> {
        let line = output.lines().find_map(|line| line.trim().strip_prefix(label))?;
        let word = line.split_whitespace().nth(skip)?;
        word.trim_matches(|c: char| !c.is_ascii_digit() && c != '.').parse().ok()
    };
    let received = match generator {
        // "Queries completed:    1234 (100.00%)" and "Queries per second:   1234.5"
        Generator::Sockets => (after("Queries completed:", 0), after("Queries per second:", 0)),
        // "total replies:     1234 (617 pps) (99%)"
        Generator::AfXdp => (after("total replies:", 0), after("total replies:", 1)),
    };
    match received {
        (Some(count), Some(per_second)) if count > 0.0 => {
            Ok(Received { count, per_second, latencies_us: latencies_us(output) })
        }
        _ => {
            let said: Vec<&str> = output.lines().filter(|line| !line.starts_with("[Timeout]")).collect();
            Err(format!("{} received nothing, or says it in other words:\n{}", generator.tool(), said.join("\n"))
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_words_are_understood() {
        let dnsperf = "Statistics:\n\n  Queries sent:         200\n  Queries completed:    199 (99.50%)\n\n  Run time (s):         1.0\n  Queries per second:   198.25\n";
        assert_eq!(
            answered(Generator::Sockets, dnsperf).unwrap(),
            Received { count: 199.0, per_second: 198.25, latencies_us: vec![] }
        );
        let kxdpgun = "total queries:     2000 (1000 pps)\ntotal replies:     1900 (950 pps) (95%)\n";
        assert_eq!(
            answered(Generator::AfXdp, kxdpgun).unwrap(),
            Received { count: 1900.0, per_second: 950.0, latencies_us: vec![] }
        );
        let each = "> NOERROR a.app.example A 0.000250\n> SERVFAIL b.app.example A 0.000001\n";
        assert_eq!(latencies_us(each), [250.0]);
        assert!(answered(Generator::AfXdp, "total replies:     0 (0 pps) (0%)\n").is_err());
        assert!(answered(Generator::Sockets, kxdpgun).is_err());
    }
}
