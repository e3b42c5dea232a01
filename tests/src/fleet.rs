//! Several fronts of one configuration, each with its agent, and the etcd that they share their words by.

use std::net::IpAddr;

use crate::{
    agent::Agent,
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
        let configs: Vec<_> = (0..fronts).map(|number| config_of(config, number, &etcd)).collect();
        let start = |(number, config)| Agent::start(&lab, number, config).unwrap_or_else(|e| panic!("{e}"));
        let agents = configs.iter().enumerate().map(start).collect();
        let scene = Self { agents, etcd, lab, configs };
        if config.probe.is_some() {
            for number in 0..fronts {
                scene.wait_for(number, true);
            }
        }
        Some(scene)
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
