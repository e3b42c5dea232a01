//! One that is measured: an XDP program or a server, at a wire of its own.

use std::{fs, net::Ipv4Addr, process::Command, sync::Arc};

use ::tests::process::Process;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};
use zerottl_core::model::Model;
use zerottl_kernel::PROGRAM;

use super::{
    figures::Absent,
    servers::{self, Peer},
};
use crate::{
    error::BenchError,
    process_time::cpu_s,
    rate::{Generator, Load, Queries, Responder, Wire, cpu},
    scene,
};

/// How a server in user space is loaded by one generator, and where it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offered {
    /// Queries a second; none for all that there can be.
    pub(super) qps: Option<u32>,
    /// Whether it may run on the generator's CPU, too.
    pub(super) everywhere: bool,
}

/// The one that answers.
enum Answerer {
    Program(Box<Responder>),
    Server { process: Process, _folder: tempfile::TempDir },
}

/// One that is measured.
pub(super) struct Contestant {
    /// Its name and version.
    pub(super) what: String,
    /// The TTL of its answers.
    pub(super) ttl: Option<u32>,
    /// Per generator, in the order of [`Generator::ALL`].
    pub(super) offered: [Offered; 2],
    /// Before the wire, so that it ends before its namespace does.
    answerer: Answerer,
    wire: Wire,
}

/// The outcome of a run.
pub(super) struct Ran {
    pub(super) per_second: f64,
    /// CPU time of the server and of the NAPI thread before it, by answers.
    pub(super) cpu_ns: f64,
}

/// Starts everyone and has each answer one question.
pub(super) fn all(model: &Arc<Model>) -> Result<(Vec<Contestant>, Vec<Absent>), BenchError> {
    let mut contestants = Vec::new();
    for (what, program) in
        [("reflector", "reflector"), ("reflector as long as an answer", "long_reflector"), ("zerottl", PROGRAM)]
    {
        let responder = Box::new(Responder::load(program)?);
        let mut contestant = Contestant::new(what.to_owned(), Answerer::Program(responder))?;
        if program == PROGRAM {
            contestant.ttl = Some(contestant.ask(model)?);
        }
        contestants.push(contestant);
    }
    let mut absent = Vec::new();
    for peer in Peer::ALL {
        let started = peer.version().and_then(|version| {
            let wire = Wire::new()?;
            let folder = ::tests::scratch::folder()?;
            let process = servers::start(peer, &wire, model, folder.path())?;
            let answerer = Answerer::Server { process, _folder: folder };
            let what = format!("{} {version}{}", peer.name(), peer.how());
            let mut contestant = Contestant { what, ttl: None, offered: Default::default(), answerer, wire };
            contestant.ttl = Some(contestant.ask(model)?);
            Ok(contestant)
        });
        match started {
            Ok(contestant) => contestants.push(contestant),
            Err(why) => absent.push(Absent { name: format!("{}{}", peer.name(), peer.how()), why: why.to_string() }),
        }
    }
    Ok((contestants, absent))
}

impl Contestant {
    fn new(what: String, answerer: Answerer) -> Result<Self, BenchError> {
        Ok(Self { what, ttl: None, offered: Default::default(), answerer, wire: Wire::new()? })
    }

    /// Whether it has processes, whose place can be chosen.
    pub(super) fn is_process(&self) -> bool {
        matches!(self.answerer, Answerer::Server { .. })
    }

    /// Asks for one address by dig, once there is an answer, and returns its TTL. Fails unless it is an address of the pool.
    fn ask(&mut self, model: &Model) -> Result<u32, BenchError> {
        let _attached = match &self.answerer {
            Answerer::Program(responder) => {
                Some([responder.attach(&self.wire.front, "eth0")?, self.wire.pass.attach(&self.wire.client, "wire")?])
            }
            Answerer::Server { .. } => None,
        };
        let (server, name) = (format!("@{}", Ipv4Addr::from(scene::SERVER)), scene::pool_name(0));
        let mut dig = Command::new("dig");
        dig.args(["+noedns", "+norecurse", "+tries=3", "+time=1", &server, &name, "A"]);
        let output = self.wire.client.output(dig)?;
        servers::judge(&String::from_utf8_lossy(&output.stdout), model, 0)
    }

    /// Has a generator ask as much as was settled.
    pub(super) fn run(&mut self, generator: Generator, seconds: u64) -> Result<Ran, BenchError> {
        let offered = self.offered[generator as usize];
        self.place(offered)?;
        let load = Load { qps: offered.qps, ..Load::full(generator, Queries::Plain, seconds) };
        let before = self.cpu_s()?;
        let received = self.replies(load)?;
        let cpu_s = self.cpu_s()? - before;
        Ok(Ran { per_second: received.per_second, cpu_ns: cpu_s * 1e9 / received.count })
    }

    /// Has dnsperf ask so much, and returns how long each answer took.
    pub(super) fn latencies_us(&mut self, qps: f64, seconds: u64) -> Result<Vec<f64>, BenchError> {
        self.place(self.offered[Generator::Sockets as usize])?;
        let full = Load::full(Generator::Sockets, Queries::Plain, seconds);
        Ok(self.replies(Load { qps: Some(qps as u32), each: true, ..full })?.latencies_us)
    }

    fn replies(&self, load: Load) -> Result<crate::rate::Received, BenchError> {
        match &self.answerer {
            Answerer::Program(responder) => self.wire.replies(Some(responder), load),
            Answerer::Server { .. } => self.wire.replies(None, load),
        }
        .map_err(|why| format!("{}: {why}", self.what).into())
    }

    /// CPU time so far of the server, if it is one, and of the threads that receive before it, seconds.
    fn cpu_s(&self) -> Result<f64, BenchError> {
        let mut sum = 0.0;
        for pid in self.processes()? {
            sum += cpu_s(pid)?;
        }
        for thread in &self.wire.front_napi {
            sum += cpu_s(thread.as_raw_nonzero().get().cast_unsigned())?;
        }
        Ok(sum)
    }

    fn processes(&self) -> Result<Vec<u32>, BenchError> {
        match &self.answerer {
            Answerer::Program(_) => Ok(Vec::new()),
            Answerer::Server { process, .. } => descendants(process.id()),
        }
    }

    /// Puts all threads of a server where they are to run.
    fn place(&self, offered: Offered) -> Result<(), BenchError> {
        let mut cpus: CpuSet = cpu(1);
        if offered.everywhere {
            cpus.set(0);
        }
        for pid in self.processes()? {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
                sched_setaffinity(task, &cpus)?;
            }
        }
        Ok(())
    }
}

/// A process and all below it.
fn descendants(root: u32) -> Result<Vec<u32>, BenchError> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_below_a_process() {
        let mut child = Command::new("sh").args(["-c", "sleep 30 & wait"]).spawn().unwrap();
        let mut all = Vec::new();
        assert!(::tests::process::eventually(std::time::Duration::from_secs(5), || {
            all = descendants(child.id()).unwrap_or_default();
            all.len() == 2
        }));
        assert_eq!(all[0], child.id());
        for pid in all {
            let _ =
                rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), rustix::process::Signal::KILL);
        }
        child.wait().unwrap();
    }
}
