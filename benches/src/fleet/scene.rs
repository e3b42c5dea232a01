//! Three fronts with their agents, where asked for three nodes of etcd, and one machine that has the addresses of all Sites.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    agent::binary,
    etcd::Etcd,
    fleet::front_name,
    lab::{Lab, LabSpec, front_v4},
    netns::Netns,
    process::Process,
};

use super::effort::{FRONTS, FleetEffort, FleetMode};
use crate::{
    BenchError,
    sites::{Server, many_sites},
};

/// Until an agent has loaded its configuration and answers, or a change has come to all.
const PATIENCE: Duration = Duration::from_mins(2);
/// For one page of an agent, which of 10,000 Sites is some MB.
const PAGE: Duration = Duration::from_secs(10);
/// The machine of all Sites, on the network of Sites and fronts.
const SITES: &str = "192.0.2.254";

/// One agent.
pub(super) struct Front {
    process: Process,
    machine: Arc<Netns>,
    folder: PathBuf,
}

impl Front {
    fn start(lab: &Lab, number: usize, text: &str) -> Result<Self, BenchError> {
        let folder = lab.folder("front")?;
        let file = folder.join("zerottl.toml");
        fs::write(&file, text)?;
        let machine = Arc::clone(&lab.fronts[number]);
        let mut command = Command::new(binary()?);
        command.args(["run", "--config"]).arg(&file).env("ZEROTTL_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("log"))?);
        let process = Process::new(machine.spawn(command)?);
        Ok(Self { process, machine, folder })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// How often it has lost the engine.
    pub(super) fn losses(&self) -> usize {
        self.log().matches("the fleet's engine is away").count()
    }

    /// A page of its admin interface, without a program of its own: some are asked for while it is measured.
    pub(super) fn page(&self, path: &str) -> Result<Value, BenchError> {
        let mut stream = self.machine.run(|| TcpStream::connect("127.0.0.1:8053"))??;
        stream.set_read_timeout(Some(PAGE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:8053\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
        if !head.contains(" 200 ") {
            return Err(format!("{path}: {}", head.lines().next().unwrap_or_default()).into());
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Keys that it has written.
    pub(super) fn writes(&self) -> Result<f64, BenchError> {
        Ok(self.page("/v1/fleet")?["writes"].as_f64().ok_or("the fleet has no writes")?)
    }

    /// Whether all Sites are up, or all down, in its own probes' words and in the quorum's.
    fn has_all(&self, sites: usize, up: bool) -> Result<bool, BenchError> {
        let page = self.page("/v1/status")?;
        let all = page["sites"].as_array().ok_or("the status has no Sites")?;
        let is_so = all.iter().filter(|site| site["up"] == up);
        Ok(is_so.count() == sites && all.iter().all(|site| site["state"] != "unknown"))
    }
}

/// All of them.
pub(super) struct FleetLab {
    /// First, so that the agents end before their machines.
    pub(super) fronts: Vec<Front>,
    pub(super) etcd: Option<Etcd>,
    /// Connections that the Sites have taken.
    taken: Arc<AtomicU64>,
    server: Option<Server>,
    target: Netns,
    lab: Lab,
    sites: usize,
}

impl FleetLab {
    /// Starts it and waits until every front has found every Site up, and has met the others.
    pub(super) fn start(effort: &FleetEffort, sites: usize, mode: FleetMode) -> Result<Self, BenchError> {
        let peers = if mode == FleetMode::Alone { 0 } else { FRONTS };
        let lab = Lab::start(&LabSpec { fronts: FRONTS, peers, sites: Vec::new(), ..LabSpec::default() })?;
        let target = Netns::new()?;
        lab.hub().ip(&format!(
            "link add many type veth peer name eth0 netns {}\nlink set many master br0\nlink set many up",
            target.path()
        ))?;
        target.ip(&format!(
            "link set eth0 up\naddr add {SITES}/32 dev eth0\nroute add 192.0.2.0/24 dev eth0\nroute add local 10.1.0.0/16 dev lo"
        ))?;
        for (front, number) in lab.fronts.iter().zip(1..) {
            let from = format!("src 192.0.2.{number}");
            front
                .ip(&format!("route add {SITES} dev eth1 {from}\nroute add 10.1.0.0/16 via {SITES} dev eth1 {from}"))?;
        }
        let taken = Arc::default();
        let server = Some(Server::start_counting(&target, &taken)?);
        let etcd = if mode == FleetMode::Alone { None } else { Some(Etcd::start(&lab)?) };
        let text = |number| text(effort, sites, mode, number, etcd.as_ref());
        let fronts = (0..FRONTS).map(|number| Front::start(&lab, number, &text(number))).collect::<Result<_, _>>()?;
        let scene = Self { fronts, etcd, taken, server, target, lab, sites };
        scene.until("every front finds every Site up", || scene.is_settled(true))?;
        Ok(scene)
    }

    /// Connections that the Sites have taken so far.
    pub(super) fn taken(&self) -> f64 {
        self.taken.load(Ordering::Relaxed) as f64
    }

    /// Has every Site fail, or come back.
    pub(super) fn serve(&mut self, up: bool) -> Result<(), BenchError> {
        match (up, self.server.take()) {
            (true, None) => self.server = Some(Server::start_counting(&self.target, &self.taken)?),
            (false, Some(serving)) => serving.stop(),
            (_, same) => self.server = same,
        }
        Ok(())
    }

    /// Cuts every front off the engine, or joins it again.
    pub(super) fn join_engine(&self, joined: bool) -> Result<(), BenchError> {
        for number in 0..FRONTS {
            self.lab.join_front_to_peers(number, joined)?;
        }
        Ok(())
    }

    /// Whether all fronts have all Sites so, and each of a fleet lives and is seen by all.
    pub(super) fn is_settled(&self, up: bool) -> Result<bool, BenchError> {
        for front in &self.fronts {
            if !front.has_all(self.sites, up)? {
                return Ok(false);
            }
            if self.etcd.is_some() {
                let page = front.page("/v1/fleet")?;
                let seen = page["fronts"].as_array().map_or(0, Vec::len);
                if seen != FRONTS || page["engine"] != "connected" || page["cut_off"] != false {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Waits for it, looking twice a second.
    pub(super) fn until(&self, what: &str, is_so: impl Fn() -> Result<bool, BenchError>) -> Result<(), BenchError> {
        let end = Instant::now() + PATIENCE;
        // Whoever is still starting gives no page.
        while !is_so().unwrap_or(false) {
            if Instant::now() >= end {
                let logs: String =
                    self.fronts.iter().map(|front| front.log().chars().take(2000).collect::<String>()).collect();
                return Err(format!("after {PATIENCE:?} not yet: {what}\n{logs}").into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Keys that all fronts have written.
    pub(super) fn writes(&self) -> Result<f64, BenchError> {
        let writes: Result<Vec<f64>, _> = self.fronts.iter().map(Front::writes).collect();
        Ok(writes?.iter().sum())
    }

    /// etcd's revision, which each transaction raises by one, and the size of its database, MiB.
    pub(super) fn revision(&self) -> Result<(f64, f64), BenchError> {
        let Some(etcd) = &self.etcd else { return Ok((0.0, 0.0)) };
        let status = etcd.ask(0, "/v3/maintenance/status", &json!({}))?;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        let revision = number(&status["header"]["revision"]).ok_or("etcd has no revision")?;
        Ok((revision, number(&status["dbSize"]).unwrap_or(0.0) / f64::from(1 << 20)))
    }

    /// The processes of etcd.
    pub(super) fn etcd_pids(&self) -> Vec<u32> {
        self.etcd.as_ref().map(Etcd::pids).unwrap_or_default()
    }
}

/// The configuration of one front.
fn text(effort: &FleetEffort, sites: usize, mode: FleetMode, number: usize, etcd: Option<&Etcd>) -> String {
    let mut text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"{}\"]\n[state]\ndirectory = \"state\"\n\
         [admin]\nlisten = \"127.0.0.1:8053\"\n",
        front_v4(number)
    );
    if let Some(etcd) = etcd {
        let (front, endpoints, lease_s) = (front_name(number), etcd.endpoints(), effort.lease_s);
        let fleet = format!(
            "[fleet]\nkind = \"etcd\"\nfront = \"{front}\"\nendpoints = {endpoints:?}\nlease = \"{lease_s}s\"\n"
        );
        text.push_str(&fleet);
        if mode == FleetMode::Shared {
            text += "probes = \"shared\"\nprobers = 2\n";
        }
    }
    text + &many_sites(sites, effort.interval_s)
}
