//! Several fronts of one configuration, each with its agent, and the etcd that they share their words by.

use std::{fmt::Write as _, io, net::IpAddr};

use crate::{
    agent::{Agent, binary},
    client::Client,
    config::Config,
    etcd::Etcd,
    lab::{Lab, LabSpec, can_run, front_addresses, front_v4, front_v6},
    scene::HEALTH_PATIENCE,
};

/// Fronts of one configuration, that differ in their addresses and names, with etcd beside them.
#[derive(Debug)]
pub struct FleetScene {
    /// The agents, by front; first, so that they end before their namespaces.
    pub agents: Vec<Agent>,
    /// The etcd that they share their words by; without nodes where none was asked for.
    pub etcd: Etcd,
    /// The lab, by which links are cut.
    pub lab: Lab,
    /// The configurations that the agents were given, by front.
    pub configs: Vec<Config>,
}

impl FleetScene {
    /// Starts as many fronts, and as many nodes of etcd, with the Sites of `config`; every front has proven every Site up. In
    /// `config.fleet`, `{front}` becomes `ns1` and so on, and `{endpoints}` etcd's URLs. None without root.
    ///
    /// # Panics
    /// If it cannot be set up.
    #[must_use]
    pub fn start(what: &str, fronts: usize, nodes: usize, config: &Config) -> Option<Self> {
        if !can_run(what) {
            return None;
        }
        // A Site that is not probed needs no server.
        let sites = if config.probe.is_some() { config.sites.clone() } else { vec![] };
        let spec = LabSpec { fronts, peers: nodes, sites, ..LabSpec::default() };
        let lab = Lab::start(&spec).unwrap_or_else(|e| panic!("lab: {e}"));
        let etcd = Etcd::start(&lab).unwrap_or_else(|e| panic!("{e}"));
        Some(Self::in_lab(lab, etcd, config))
    }

    /// Starts the fronts of a lab that has its etcd.
    ///
    /// # Panics
    /// If it cannot be set up.
    #[must_use]
    pub fn in_lab(lab: Lab, etcd: Etcd, config: &Config) -> Self {
        let fronts = lab.fronts.len();
        let configs: Vec<_> = (0..fronts).map(|number| config_of(config, number, &etcd)).collect();
        let start = |(number, config)| Agent::start(&lab, number, config).unwrap_or_else(|e| panic!("{e}"));
        let agents = configs.iter().enumerate().map(start).collect();
        let scene = Self { agents, etcd, lab, configs };
        if config.probe.is_some() {
            for number in 0..fronts {
                scene.wait_for(number, true);
            }
        }
        scene
    }

    /// Waits until a front's own probes have proven all Sites up, or all down.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_for(&self, front: usize, up: bool) {
        let sites: Vec<_> = self.configs[front].sites.iter().map(|site| (site.key.as_str(), up)).collect();
        self.agents[front].wait_for(&sites, HEALTH_PATIENCE).unwrap_or_else(|e| panic!("front {front}: {e}"));
    }

    /// A client of one front, over IPv4 or IPv6.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn client(&self, front: usize, v6: bool) -> Client {
        let server = front_addresses(front)[usize::from(v6)];
        Client::new(&self.lab.client, None, server).unwrap_or_else(|e| panic!("client: {e}"))
    }
}

/// `[fleet]` of the quick-start lab and of tests: by etcd, with a short lease.
pub const BY_ETCD: &str = "[fleet]\nkind = \"etcd\"\nfront = \"{front}\"\nendpoints = {endpoints}\nlease = \"2s\"\n";

impl FleetScene {
    /// The lines to paste into another terminal.
    pub fn welcome(&self) -> io::Result<String> {
        let client = format!("nsenter --net={}", self.lab.client.path());
        let zerottl = binary()?.display().to_string();
        let at = |number: usize| format!("nsenter --net={} {zerottl}", self.lab.fronts[number].path());
        let dig = |number: usize| format!("{client} dig @{} app.com +short", front_v4(number));
        let mut text = format!(
            "
Three fronts, ns1 to ns3, share words and votes by three nodes of etcd; Appendix A's Sites are behind all of them.
The lines below go into another terminal of this machine, as root.

Ask each front, from the client:
  {}
  {}
  {}
Take a Site out of use at one, and wait until all have it; ask again; put it back at another:
  {} drain boston --reason 'a try' --wait
  {} ready boston --wait
What the fleet is, and who votes what:
  {} status
  {} explain boston.app.com
Cut a front off the Sites, see that it says so and holds, and join it again:
  {hub} ip link set front1 nomaster
  {hub} ip link set front1 master br0
Kill an agent (its votes end after the lease of 2 s; the kernel goes on):
",
            dig(0),
            dig(1),
            dig(2),
            at(0),
            at(2),
            at(1),
            at(1),
            hub = format!("nsenter --net={}", self.lab.hub().path()),
        );
        for (number, agent) in self.agents.iter().enumerate() {
            let _ = writeln!(text, "  kill -9 {:<16} # {}", agent.pid(), front_name(number));
        }
        text.push_str("Kill a node of etcd; with two of three gone words stay where they are said:\n");
        for (number, pid) in self.etcd.pids().into_iter().enumerate() {
            let _ = writeln!(text, "  kill -9 {pid:<16} # {}", self.etcd.endpoints()[number]);
        }
        Ok(text)
    }

    /// Shows what each front knows of the fleet, a line each.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = String::new();
        for (number, agent) in self.agents.iter().enumerate() {
            let page =
                agent.get("/v1/fleet").ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            let Some(page) = page else {
                let _ = writeln!(text, "{}: no agent answers", front_name(number));
                continue;
            };
            let fronts = page["fronts"].as_array().map_or(0, Vec::len);
            let cut = if page["cut_off"] == true { ", CUT OFF" } else { "" };
            let engine = page["engine"].as_str().unwrap_or("?");
            let _ = writeln!(
                text,
                "{}: sees {fronts} fronts, etcd {engine}, words at {}{cut}",
                front_name(number),
                page["revision"]
            );
        }
        text
    }
}

/// The name of a front in its file: `ns1` is front 0.
#[must_use]
pub fn front_name(number: usize) -> String {
    format!("ns{}", number + 1)
}

/// Returns the configuration of one front of several.
#[must_use]
pub fn config_of(config: &Config, number: usize, etcd: &Etcd) -> Config {
    let addresses = vec![IpAddr::from(front_v4(number)), front_v6(number).into()];
    let fleet = config.fleet.replace("{front}", &front_name(number));
    let fleet = fleet.replace("{endpoints}", &format!("{:?}", etcd.endpoints()));
    Config { addresses, fleet, ..config.clone() }
}
