//! A front with a signed zone, and the validating resolvers that ask it.

use std::{net::IpAddr, time::Duration};

use rustix::process::Signal;
use tests::{
    bind::BindZone,
    config::Config,
    lab::{LabSpec, can_run, front_addresses},
    process::{Process, eventually},
    resolver::ResolverKind,
    scene::Scene,
    scratch::folder,
    validator::{Delv, Validated, Validator},
};

use super::zone::{Children, STATIC};

/// How long a resolver may keep what has a TTL of 0. `PowerDNS` keeps it for 1 s.
pub const KEPT_MAX: Duration = Duration::from_secs(2);
/// How long a negative answer lives: `negative_ttl` of the lab's zone.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// Name and Sites of the lab's pool and groups, and of each Site.
pub const NAMES: [(&str, &[&str]); 6] = [
    ("app.com", &["geneva", "boston", "chicago"]),
    ("europe.app.com", &["geneva"]),
    ("americas.app.com", &["boston", "chicago"]),
    ("geneva.app.com", &["geneva"]),
    ("boston.app.com", &["boston"]),
    ("chicago.app.com", &["chicago"]),
];
/// The types that dynamic names have where the pool has `https`.
pub const TYPES: [&str; 3] = ["A", "AAAA", "HTTPS"];

/// A scene whose app.com is signed.
pub struct Signed {
    /// The DS records that the agent's command prints.
    pub ds: Vec<String>,
    /// The lab, its agent and its configuration.
    pub scene: Scene,
    _children: Process,
}

/// Turns on what these tests are about: DNSSEC, and HTTPS records.
pub fn config() -> Config {
    let pool = "https = { alpn = [\"h2\"] }".to_owned();
    // The resolver's wire is a second interface.
    let interfaces = vec!["eth0".into(), "eth2".into()];
    Config { interfaces, zone: "dnssec = true".into(), pool, records: String::new(), ..Config::default() }
}

/// Takes IPv6 from a configuration's Sites but for one.
pub fn only_with_v6(mut config: Config, key: &str) -> Config {
    for site in &mut config.sites {
        site.addresses.retain(|address| address.is_ipv4() || site.key == key);
    }
    config
}

impl Signed {
    /// Starts it, with [`STATIC`] and its children beside the dynamic names.
    pub fn start(what: &str, config: Config) -> Option<Self> {
        Self::start_after(what, config, |_| ())
    }

    /// As [`Self::start`], with something to be done once the configuration is whole, before the agent has it.
    pub fn start_after(what: &str, config: Config, before: impl FnOnce(&Config)) -> Option<Self> {
        if !can_run(what) {
            return None;
        }
        let scratch = folder().expect("a folder");
        let children = Children::new(scratch.path());
        let records = [STATIC, &children.ds, &config.records].concat();
        let spec = LabSpec { resolver: true, sites: config.sites.clone(), ..LabSpec::default() };
        let config = Config { records, ..config };
        before(&config);
        let scene = Scene::in_lab(what, &spec, config)?;
        let children = children.serve(&scene.lab);
        let ds = ds(&scene, "app.com");
        Some(Self { ds, scene, _children: children })
    }

    /// Starts the three resolvers.
    pub fn resolvers(&self) -> Vec<Validator<'_>> {
        Validator::all(&self.scene.lab, &["app.com"], &self.ds)
    }

    /// Starts nothing: delv asks the front itself, from the client.
    pub fn delv(&self) -> Delv<'_> {
        let Scene { lab, .. } = &self.scene;
        Delv::new(lab, &lab.client, front_addresses(0)[0].ip(), "app.com", &self.ds)
    }

    /// Writes another configuration and has the agent read it.
    pub fn reload(&mut self, config: Config) {
        let agent = &mut self.scene.agent;
        let before = agent.status().expect("status").generation();
        config.write(agent.folder()).expect("written");
        agent.signal(Signal::HUP).expect("told");
        let done = || agent.status().is_ok_and(|report| report.generation() > before);
        assert!(eventually(Duration::from_secs(10), done), "{}", agent.log());
        self.scene.config = config;
    }

    /// Whether an answer is of one of these Sites: its address, or the HTTPS record with its hints.
    pub fn is_of(&self, answer: &Validated, rtype: &str, keys: &[&str]) -> bool {
        let records = answer.records();
        let site = |key: &&&str| {
            let site = self.scene.site(key);
            match (rtype, site.address(rtype == "AAAA")) {
                ("HTTPS", v4) => {
                    let hint = |address: IpAddr| records.iter().all(|(_, _, data)| data.contains(&address.to_string()));
                    v4.into_iter().chain(site.address(true)).all(hint)
                }
                (_, Some(address)) => answer.addresses() == [address],
                (_, None) => false,
            }
        };
        records.len() == 1 && keys.iter().any(|key| site(&key))
    }

    /// Asks one resolver until it names one of these Sites, for as long as it may keep an answer; every answer on the way
    /// validates.
    pub fn follows(&self, resolver: &Validator, name: &str, rtype: &str, keys: &[&str], within: Duration) {
        let mut last = None;
        let followed = eventually(within, || {
            let answer = resolver.ask(name, rtype);
            resolver.expect(&answer, answer.is_authentic());
            let right = self.is_of(&answer, rtype, keys);
            last = Some(answer);
            right
        });
        if let Some(last) = last {
            resolver.expect(&last, followed);
        }
    }
}

/// Returns the DS records of a zone, as `zerottl dnssec ds` prints them.
pub fn ds(scene: &Scene, zone: &str) -> Vec<String> {
    let file = scene.agent.folder().join("zerottl.toml");
    let said = scene.agent.zerottl(&["dnssec", "ds", zone, "--config", &file.to_string_lossy()]).expect("zerottl");
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(" IN DS ")), "{said}");
    lines
}

/// Writes a static zone, static.example, whose one referral with DS leads nowhere.
pub fn static_zone(folder: &std::path::Path) -> BindZone {
    let ds = "secure DS 12345 13 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766\n";
    BindZone::plain(folder, "static.example", &[STATIC, ds].concat()).expect("written")
}

/// Whether a resolver goes by a TTL of 0, so that every question is a new decision.
pub fn honours_ttl_0(kind: ResolverKind) -> bool {
    kind != ResolverKind::Recursor
}
