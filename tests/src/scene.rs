//! A lab with an agent in it: what most end-to-end tests start with.
//!
//! What cannot be set up panics with the reason, as a test's own `expect` would.

use std::{net::IpAddr, time::Duration};

use crate::{
    agent::Agent,
    checker::CheckTarget,
    client::Client,
    config::{Config, SiteConfig},
    lab::{Lab, LabSpec, can_run, front_addresses},
    site::Serves,
};

/// Health has to be seen within this, on a machine that is busy with other tests.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(15);

/// A lab with one front, its agent and its configuration.
#[derive(Debug)]
pub struct Scene {
    /// The agent on front 0; first, so that it ends before its namespace.
    pub agent: Agent,
    /// The lab.
    pub lab: Lab,
    /// The configuration that the agent was given.
    pub config: Config,
}

impl Scene {
    /// One front with `config`, all its Sites running and proven up; none without root (see [`can_run`]).
    ///
    /// # Panics
    /// If it cannot be set up.
    #[must_use]
    pub fn start(what: &str, config: Config) -> Option<Self> {
        // A Site that is not probed needs no server.
        let sites = if config.probe.is_some() { config.sites.clone() } else { vec![] };
        Self::in_lab(what, &LabSpec { sites, ..LabSpec::default() }, config)
    }

    /// Starts a scene with the example application at the Sites, behind `zerottl site`. `config.more` has the `[web]`.
    ///
    /// # Panics
    /// If it cannot be set up.
    #[must_use]
    pub fn with_fronts(what: &str, config: Config) -> Option<Self> {
        let serves = Serves::Front(Box::new(config.clone()));
        Self::in_lab(what, &LabSpec { sites: config.sites.clone(), serves, ..LabSpec::default() }, config)
    }

    /// Starts a scene in a lab of one's own.
    ///
    /// # Panics
    /// If it cannot be set up.
    #[must_use]
    pub fn in_lab(what: &str, spec: &LabSpec, config: Config) -> Option<Self> {
        if !can_run(what) {
            return None;
        }
        let lab = Lab::start(spec).unwrap_or_else(|e| panic!("lab: {e}"));
        let agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
        let scene = Self { agent, lab, config };
        if scene.config.probe.is_some() {
            let up: Vec<_> = scene.config.sites.iter().map(|site| (site.key.as_str(), true)).collect();
            scene.wait_for(&up);
        }
        Some(scene)
    }

    /// Waits until probes have proven each Site up or down as told.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_for(&self, sites: &[(&str, bool)]) {
        self.agent.wait_for(sites, HEALTH_PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    }

    /// A client of the front, over IPv4 or IPv6.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn client(&self, v6: bool) -> Client {
        self.client_from(v6, None)
    }

    /// A client from a source address of one's own.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn client_from(&self, v6: bool, source: Option<IpAddr>) -> Client {
        let server = front_addresses(0)[usize::from(v6)];
        Client::new(&self.lab.client, source, server).unwrap_or_else(|e| panic!("client: {e}"))
    }

    /// A Site of the configuration.
    ///
    /// # Panics
    /// If there is none with this key.
    #[must_use]
    pub fn site(&self, key: &str) -> &SiteConfig {
        self.config.sites.iter().find(|site| site.key == key).unwrap_or_else(|| panic!("no Site {key}"))
    }

    /// A Site's address.
    ///
    /// # Panics
    /// If it has none of this family.
    #[must_use]
    pub fn address(&self, key: &str, v6: bool) -> IpAddr {
        self.site(key).address(v6).unwrap_or_else(|| panic!("{key} has no address of that family"))
    }

    /// The key of the Site with this address.
    ///
    /// # Panics
    /// If no Site has it.
    #[must_use]
    pub fn site_at(&self, address: IpAddr) -> &str {
        let site = self.config.sites.iter().find(|site| site.addresses.contains(&address));
        &site.unwrap_or_else(|| panic!("{address} is no Site's")).key
    }

    /// Queries answered in the kernel so far.
    ///
    /// # Panics
    /// If the agent does not say.
    #[must_use]
    pub fn kernel_answers(&self) -> u64 {
        self.agent.status().unwrap_or_else(|e| panic!("status: {e}")).kernel_answers()
    }

    /// Asks once, which must be answered; whether the kernel did.
    ///
    /// # Panics
    /// If nobody answers.
    #[must_use]
    pub fn answers_in_kernel(&self) -> bool {
        let before = self.kernel_answers();
        self.client(false).lookup("app.com", false).unwrap_or_else(|e| panic!("not answered: {e}"));
        self.kernel_answers() > before
    }

    /// Kills the agent and starts it again, which must be no outage.
    ///
    /// # Panics
    /// If it is one.
    pub fn survives_a_kill(&mut self) {
        self.agent.kill();
        let answer = self.client(false).lookup("app.com", false);
        answer.unwrap_or_else(|e| panic!("the program does not answer without an agent: {e}"));
        self.agent.restart(&[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(self.answers_in_kernel(), "not in the kernel: {}", self.agent.log());
    }

    /// Every balanced name, A and AAAA.
    #[must_use]
    pub fn targets(&self) -> Vec<CheckTarget> {
        [self.config.targets(false), self.config.targets(true)].concat()
    }
}
