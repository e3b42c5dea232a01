//! The agent's side of a [`World`]: its configuration and records files, and the model, zones and plan that follow.

use std::{fmt::Write, fs, net::SocketAddr, sync::Arc};

use zerottl_config as config;
use zerottl_core::{
    model::Model,
    plan::{Plan, Planner},
    status::{Assessment, Health},
};
use zerottl_dns::Zones;

use crate::table::world::{self, EXPIRE, POOLS, REFRESH, RETRY, SERIAL, SITES, World, Zone, plain_pools, site_name};

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
        let Zone { apex, mname, rname, negative_ttl, .. } = zone;
        writeln!(
            text,
            "[zone.\"{apex}\"]\nnameservers = [\"{mname}\"]\ncontact = \"{rname}\"\nnegative_ttl = {negative_ttl}\n\
             serial = {SERIAL}\nrefresh = {REFRESH}\nretry = {RETRY}\nexpire = {EXPIRE}\n\
             failover_nameservers = [\"ns.provider.net\"]\n{records}"
        )
        .unwrap();
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

/// An agent's parts, made of a world's configuration.
pub struct Agent {
    pub planner: Planner,
    pub zones: Zones,
    pub status: Assessment,
}

impl Agent {
    pub fn new(world: World) -> Self {
        Self::with(world, |_| {})
    }

    /// With something changed in the model.
    pub fn with(world: World, change: impl FnOnce(&mut Model)) -> Self {
        let beside = tempfile::tempdir().unwrap();
        fs::write(beside.path().join("example.zone"), RECORDS).unwrap();
        let loaded = config::parse("world.toml", &file(world), beside.path());
        let loaded = loaded.unwrap_or_else(|error| panic!("{}", error.plain()));
        let mut model = loaded.model;
        change(&mut model);
        let planner = Planner::new(Arc::new(model));
        let model = planner.model();
        let mut status = Assessment::unknown(model);
        for (site, health) in model.sites.iter().zip(status.health.iter_mut()) {
            health.fill(if SITES_DOWN.contains(&site.key.as_str()) { Health::Down } else { Health::Up });
        }
        Self { planner, zones: loaded.zones, status }
    }

    /// The plan that follows from the status.
    pub fn plan(&self, generation: u64) -> Plan {
        self.planner.plan(&self.status, generation)
    }
}
