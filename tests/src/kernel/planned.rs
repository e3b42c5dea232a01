//! A configuration's text, and what the agent makes of it: planner, zones, plan. A [`World`] of the kernel table is
//! one such text.

use std::{fmt::Write, fs, net::SocketAddr, path::Path, sync::Arc};

use kernel_table::world::{
    self, EXPIRE, POOLS, REFRESH, RETRY, SERIAL, SITES, World, WorldZone, plain_pools, site_name,
};
use zerottl_config as config;
use zerottl_core::{
    model::{Model, ZoneConfig, ZoneId},
    plan::{Plan, Planner},
    status::{Assessment, Health},
};
use zerottl_dns::{self as dns, Zones, dnssec::SignedZone};
use zerottl_sign::keyring;

/// The keys of the Sites that are down.
const SITES_DOWN: [&str; 2] = ["down", "lost"];

/// Compiled in: on the virtual machine of `cargo xtask test --kernel` there is no source tree.
const RECORDS: &str = include_str!("example.zone");

/// A world as a configuration file. Weights make `one` two thirds of its pairs.
fn file(world: World) -> String {
    let mut text =
        String::from("[edns]\ncookies = false\nclient_subnet = false\n[front]\ninterfaces = [\"lo\"]\naddresses = [");
    for (address, port) in world.listen() {
        write!(text, "\"{}\", ", SocketAddr::new(address, port)).unwrap();
    }
    let roles = if world == World::Full { "\"load-balance\", \"failover\"" } else { "\"load-balance\"" };
    writeln!(text, "]\nroles = [{roles}]").unwrap();
    for zone in world::zones() {
        let records = if zone.apex == "example" { "records = \"example.zone\"" } else { "" };
        let WorldZone { apex, mname, rname, negative_ttl, .. } = zone;
        writeln!(
            text,
            "[zone.\"{apex}\"]\nnameservers = [\"{mname}\"]\ncontact = \"{rname}\"\nnegative_ttl = {negative_ttl}\n\
             serial = {SERIAL}\nrefresh = {REFRESH}\nretry = {RETRY}\nexpire = {EXPIRE}\n\
             failover_nameservers = [\"ns.provider.net\"]\n{records}"
        )
        .unwrap();
        if apex == world::SIGNED && world == World::Full {
            writeln!(text, "dnssec = true").unwrap();
        }
    }
    for (name, sites, more) in POOLS {
        writeln!(text, "[pool.\"{name}\"]\nsites = {sites:?}\n{more}").unwrap();
    }
    for (name, site) in plain_pools() {
        writeln!(text, "[pool.\"{name}\"]\nsites = [\"{site}\"]").unwrap();
    }
    for (key, addresses) in SITES {
        let weight = if key == "one" { 2 } else { 1 };
        let name = site_name(key);
        writeln!(text, "[site.{key}]\nname = \"{name}\"\naddresses = {addresses:?}\nweight = {weight}").unwrap();
        writeln!(text, "probe = {{ kind = \"tcp\", port = 80 }}").unwrap();
    }
    text
}

/// The parts that the agent has made of a configuration, and a status to plan for.
pub struct Planned {
    /// The configuration, ready to plan.
    pub planner: Planner,
    /// Its zones with their records.
    pub zones: Zones,
    /// Every Site's health.
    pub status: Assessment,
    /// The signatures that the kernel has; none before [`Self::sign`].
    pub signed: Vec<Option<Arc<SignedZone>>>,
}

impl Planned {
    /// Reads a configuration whose records files are in `folder`; every Site's health is unknown.
    #[must_use]
    pub fn read(text: &str, folder: &Path) -> Self {
        Self::changed(text, folder, |_| {})
    }

    /// Reads a configuration as [`Self::read`] does and changes something in its model.
    #[must_use]
    pub fn changed(text: &str, folder: &Path, change: impl FnOnce(&mut Model)) -> Self {
        let loaded = config::parse("zerottl.toml", text, folder).unwrap_or_else(|error| panic!("{}", error.plain()));
        let mut model = loaded.model;
        change(&mut model);
        Self::of(Arc::new(model), loaded.zones)
    }

    /// A model and its zones; every Site's health is unknown.
    #[must_use]
    pub fn of(model: Arc<Model>, zones: Zones) -> Self {
        let status = Assessment::unknown(&model);
        let mut planned = Self { planner: Planner::new(model), zones, status, signed: Vec::new() };
        planned.mark_signed();
        planned
    }

    /// Signs the zones that are to be signed, with new keys.
    #[must_use]
    pub fn sign(mut self) -> Self {
        let model = Arc::clone(self.planner.model());
        let state = tempfile::tempdir().unwrap();
        let sign = |(id, zone): (usize, &ZoneConfig)| {
            let config = zone.dnssec.as_ref()?;
            let keys = keyring::open(&zone.apex, config, state.path()).unwrap();
            let zone = (&self.zones, ZoneId(id));
            Some(Arc::new(SignedZone::new(zone, Arc::new(keys), config, &model, &[], dns::now()).unwrap()))
        };
        self.signed = model.zones.iter().enumerate().map(sign).collect();
        self
    }

    /// Marks the zones that are signed: of keys and signatures the kernel knows nothing.
    fn mark_signed(&mut self) {
        let model = Arc::clone(self.planner.model());
        for (id, zone) in model.zones.iter().enumerate() {
            if zone.dnssec.is_some() {
                self.zones.mark_signed(ZoneId(id));
            }
        }
    }

    /// Has probes prove every Site up but for those with these keys, which are down.
    #[must_use]
    pub fn with_down(mut self, keys: &[&str]) -> Self {
        for (site, health) in self.planner.model().sites.iter().zip(self.status.health.iter_mut()) {
            health.fill(if keys.contains(&site.key.as_str()) { Health::Down } else { Health::Up });
        }
        self
    }

    /// A world of the kernel table.
    #[must_use]
    pub fn world(world: World) -> Self {
        Self::world_with(world, |_| {})
    }

    /// A world with something changed in the model.
    #[must_use]
    pub fn world_with(world: World, change: impl FnOnce(&mut Model)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("example.zone"), RECORDS).unwrap();
        Self::changed(&file(world), folder.path(), change).with_down(&SITES_DOWN)
    }

    /// The plan that follows from the status.
    #[must_use]
    pub fn plan(&self, generation: u64) -> Plan {
        self.planner.plan(&self.status, generation)
    }
}
