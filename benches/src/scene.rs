//! The scene that is measured: a model with any number of names over few Sites, and the queries for them.
//!
//! Names are many and Sites are few, as where one operator's Sites host many applications: 30 Sites with weights 1 to 3,
//! and each Pool over three of them. How many different threes there are is the scene's second size, its plans: what
//! names cost and what tables cost are different things, and names of the same three are one service. The zone and the Sites
//! are the same at every size.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use ::tests::kernel::{machine, planned::Planned};
use etherparse::{IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, PacketBuilder};
use ipnet::Ipv4Net;
use xdp_ebpf::sum::Sum;
use zerottl_core::{
    model::{
        Admin, ApexSettings, Chaos, Damping, DnssecConfig, DynamicName, EdnsConfig, Failback, Front, Group, GroupId,
        Initial, Life, Model, Name, NameKind, Policy, Pool, PoolId, PoolSettings, Probe, ProbeKind, Roles, Site,
        SiteAddress, SiteId, SiteOrder, Vlans, XdpMode, ZoneConfig, ZoneId,
    },
    nets::{Nets, Rule, Source},
};
use zerottl_dns::Zones;
use zerottl_kernel::FastpathParts;

use crate::error::BenchError;

/// Sites of every scene.
pub const SITES: usize = 30;
/// The address queries go to.
pub const SERVER: [u8; 4] = [203, 0, 113, 53];
/// The address they come from.
pub const CLIENT: [u8; 4] = [198, 51, 100, 200];
/// The port they come from, in the test run.
pub const CLIENT_PORT: u16 = 40_000;
/// The MAC they go to, in the test run.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x53];
/// The MAC they come from, in the test run.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// Different plans where plans are few: every Site is in three of them.
pub const PLANS_FEW: usize = SITES;
/// Different plans where they are many: all threes of the Sites.
pub const PLANS_MANY: usize = 4_060;

/// A model of exactly `names` Pool Names, 22 bytes each in wire form, with at most `plans` different sets of Sites.
///
/// # Panics
/// Never: all names are legal.
#[must_use]
pub fn model(names: usize, plans: usize) -> Arc<Model> {
    let orders: Vec<SiteOrder> =
        threes(plans).into_iter().map(|three| three.map(SiteId).into_iter().collect()).collect();
    let sites = (0..SITES).map(site).collect();
    let settings = Arc::new(PoolSettings::default());
    let pools: Vec<Pool> = (0..names)
        .map(|i| Pool {
            name: name(&pool_name(i)),
            zone: ZoneId(0),
            sites: orders[i % orders.len()].clone(),
            settings: Arc::clone(&settings),
        })
        .collect();
    let dynamic = |(i, pool): (usize, &Pool)| DynamicName {
        name: pool.name.clone(),
        zone: ZoneId(0),
        kind: NameKind::Pool(PoolId(i)),
        served: true,
    };
    Arc::new(Model {
        front: Front {
            interfaces: vec!["eth0".to_owned()],
            listen: vec![(IpAddr::from(SERVER), 53).into()],
            xdp: XdpMode::Native,
            freebind: true,
            roles: Roles { load_balance: true, failover: true },
            vlans: Vlans::Auto,
        },
        admin: Admin::default(),
        state: PathBuf::new(),
        life: Life::default(),
        health_file: None,
        edns: EdnsConfig::default(),
        fleet: None,
        rate_limit: None,
        chaos: Chaos::default(),
        zones: vec![zone()],
        names: pools.iter().enumerate().map(dynamic).collect(),
        web: Vec::new(),
        hooks: Vec::new(),
        directors: Vec::new(),
        forwards: vec![],
        pools,
        nets: Arc::default(),
        groups: Vec::new(),
        sites,
    })
}

/// A model of `names` Pool Names over so many Sites each, at most [`SITES`].
#[must_use]
pub fn model_of(names: usize, sites: usize) -> Model {
    let mut model = Model::clone(&model(names, PLANS_FEW));
    for (i, pool) in model.pools.iter_mut().enumerate() {
        pool.sites = (i..i + sites).map(|site| SiteId(site % SITES)).collect();
    }
    model
}

/// Sites of a pool in [`own_sites_model`].
pub const OWN_SITES: usize = 3;

/// A model of `names` names where every pool has Sites of its own, each with a Site Name that fails over to the others.
///
/// # Panics
/// If `names` is not a multiple of one pool's: four.
#[must_use]
pub fn own_sites_model(names: usize) -> Arc<Model> {
    let pools = names / (1 + OWN_SITES);
    assert_eq!(pools * (1 + OWN_SITES), names);
    let mut model = Model::clone(&model(pools, PLANS_FEW));
    model.sites = (0..pools * OWN_SITES)
        .map(|i| {
            let (pool, at, number) = (i / OWN_SITES, i % OWN_SITES, i as u32);
            let addresses = [
                IpAddr::from((0x0a00_0000 | number).to_be_bytes()),
                IpAddr::from((0x2001_0db8 << 96 | u128::from(number)).to_be_bytes()),
            ];
            Site {
                key: format!("site{i:05}"),
                name: name(&format!("site{i:05}.app.example")),
                pool: PoolId(pool),
                addresses: addresses.map(|address| SiteAddress { answer: address, probe: address }).to_vec(),
                primary: None,
                failover: (0..OWN_SITES).map(|next| SiteId(pool * OWN_SITES + (at + next) % OWN_SITES)).collect(),
                ..site(i % SITES)
            }
        })
        .collect();
    for (i, pool) in model.pools.iter_mut().enumerate() {
        pool.sites = (0..OWN_SITES).map(|at| SiteId(i * OWN_SITES + at)).collect();
    }
    let dynamic = |(i, site): (usize, &Site)| DynamicName {
        name: site.name.clone(),
        zone: ZoneId(0),
        kind: NameKind::Site(SiteId(i)),
        served: true,
    };
    model.names.extend(model.sites.iter().enumerate().map(dynamic).collect::<Vec<_>>());
    Arc::new(model)
}

/// One of the scene's models, ready to plan, with every Site up.
///
/// # Panics
/// If it has records files; the scene's have none.
#[must_use]
pub fn planned(model: Arc<Model>) -> Planned {
    let zones = Zones::load(&model, Path::new("")).expect("the scene has no records files");
    Planned::of(model, zones)
}

/// A model whose zone is signed, with the file's own defaults but for bytes of signed answers, which are not metered.
#[must_use]
pub fn signed(model: &Model) -> Model {
    let mut model = model.clone();
    for zone in &mut model.zones {
        zone.dnssec = Some(DnssecConfig::default());
    }
    model
}

/// Loads a program of an object for one of the scene's models, signs what is to be signed, and publishes the plan.
pub(crate) fn load(program: (&[u8], &'static str), model: Arc<Model>) -> Result<FastpathParts, BenchError> {
    load_at(program, model, SERVER_MAC)
}

/// As [`load`], for an interface with this MAC.
pub(crate) fn load_at(
    program: (&[u8], &'static str),
    model: Arc<Model>,
    mac: [u8; 6],
) -> Result<FastpathParts, BenchError> {
    let planned = planned(model).sign();
    let plan = planned.plan(1);
    let mut loaded = machine::load(program, &planned, &plan, &[mac])?;
    loaded.publisher.publish(&plan);
    Ok(loaded)
}

/// A name of 122 labels in the scene's zone: no legal name there has more.
#[must_use]
pub fn deep_name() -> String {
    format!("{}app.example", "q.".repeat(120))
}

/// As [`model`], with one more pool, of [`deep_name`].
#[must_use]
pub fn deep_model(names: usize) -> Model {
    let mut model = Model::clone(&model(names, PLANS_FEW));
    let pool = Pool { name: name(&deep_name()), ..model.pools[0].clone() };
    let kind = NameKind::Pool(PoolId(model.pools.len()));
    model.names.push(DynamicName { name: pool.name.clone(), zone: ZoneId(0), kind, served: true });
    model.pools.push(pool);
    model
}

/// As [`deep_model`], with this many client nets: /22 by /22 over 128.0.0.0/2, for two groups of the first pool in turn, so
/// that none merge.
///
/// # Panics
/// Never: two groups make few sets.
#[must_use]
pub fn nets_model(names: usize, nets: usize) -> Model {
    let mut model = deep_model(names);
    for i in 0..2 {
        let sites = vec![model.pools[0].sites[i]];
        let group = Group {
            name: name(&format!("group{i}.app.example")),
            zone: ZoneId(0),
            pool: PoolId(0),
            sites: sites.into(),
            policy: Policy::WeightedRoundRobin,
        };
        let kind = NameKind::Group(GroupId(i));
        model.names.push(DynamicName { name: group.name.clone(), zone: ZoneId(0), kind, served: true });
        model.groups.push(group);
    }
    model.nets = Arc::new(Nets::build(&client_nets(nets)).expect("three sets of groups"));
    model
}

/// The rules of [`nets_model`].
///
/// # Panics
/// If there are more than fit: 2^20.
#[must_use]
pub fn client_nets(nets: usize) -> Vec<Rule> {
    assert!(nets <= 1 << 20);
    let rule = |i: usize| Rule {
        pool: PoolId(0),
        group: GroupId(i % 2),
        net: Ipv4Net::new_assert((0x8000_0000 | (i as u32) << 10).into(), 22).into(),
        source: Source::Written,
    };
    (0..nets).map(rule).collect()
}

/// The text of the `i`-th name. The first label is made as `xdp-ebpf/src/bench.rs` makes it: eight letters, the
/// hexadecimal digits of `i` as `a` to `p`, lowest first.
#[must_use]
pub fn pool_name(i: usize) -> String {
    let letter = |digit: usize| char::from(b'a' + (i >> (4 * digit)) as u8 % 16);
    (0..8).map(letter).chain(".app.example".chars()).collect()
}

fn name(text: &str) -> Name {
    Name::from_str(text).expect("the scene's names are legal")
}

fn threes(plans: usize) -> Vec<[usize; 3]> {
    if plans <= PLANS_FEW {
        return (0..plans).map(|a| [a, (a + 1) % SITES, (a + 2) % SITES]).collect();
    }
    let with = |a: usize| (a + 1..SITES).flat_map(move |b| (b + 1..SITES).map(move |c| [a, b, c]));
    (0..SITES).flat_map(with).take(plans).collect()
}

fn site(i: usize) -> Site {
    let host = i as u8 + 1;
    let address = |address: IpAddr| SiteAddress { answer: address, probe: address };
    Site {
        key: format!("site{i:02}"),
        name: name(&format!("site{i:02}.app.example")),
        zone: ZoneId(0),
        pool: PoolId(0),
        addresses: vec![
            address(IpAddr::from([192, 0, 2, host])),
            address(IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)])),
        ],
        weight: i as u32 % 3 + 1,
        capacity: None,
        // Or those that the benchmarks take down again and again would be held back.
        damping: Damping { hold_down: Duration::ZERO, ..Damping::default() },
        failback: Failback::Auto,
        depends_on: Vec::new(),
        probes: vec![Probe {
            kind: ProbeKind::Tcp,
            port: 80,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
        }],
        min_healthy: 1,
        load: None,
        initial: Initial::Up,
        primary: None,
        failover: vec![SiteId(i)].into(),
    }
}

fn zone() -> ZoneConfig {
    ZoneConfig {
        apex: name("app.example"),
        apex_settings: ApexSettings::all(),
        primary: None,
        nameservers: vec![name("ns1.app.example")],
        rname: name("hostmaster.app.example"),
        serial: 1,
        refresh: 3600,
        retry: 600,
        expire: 86400,
        negative_ttl: 5,
        soa_ttl: 5,
        auto_serial: false,
        ns_ttl: 3600,
        records: None,
        balance_nameservers: Vec::new(),
        failover_nameservers: Vec::new(),
        transfer_to: vec![],
        dnssec: None,
    }
}

/// A query of a walk over the names, but for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkQuery {
    /// The type asked for.
    pub rtype: u16,
    /// Whether it has an OPT record, and there DO, as resolvers send it.
    pub edns: bool,
    /// Whether the client is left out: the walk puts in another one each time.
    pub spread: bool,
}

/// An A query for the `i`-th name as a frame.
#[must_use]
pub fn frame(i: usize, edns: bool) -> Vec<u8> {
    walk_frame(i, WalkQuery { rtype: 1, edns, spread: false })
}

/// A query for the `i`-th name as a frame: IPv4, RD set, valid checksums. IDs make up for the name and the client, so that
/// the checksums are the same for all.
#[must_use]
pub fn walk_frame(i: usize, query: WalkQuery) -> Vec<u8> {
    udp_frame(&message(i, query), query.spread)
}

/// The message of [`walk_frame`].
#[must_use]
pub(crate) fn message(i: usize, WalkQuery { rtype, edns, .. }: WalkQuery) -> Vec<u8> {
    let name = name(&pool_name(i));
    let mut message = Vec::with_capacity(64);
    // The letters begin at an odd offset.
    let letters = Sum::of_bytes(&name.as_slice()[1..9]).fold().swap_bytes();
    message.extend_from_slice(&(!letters).to_ne_bytes());
    message.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    message.extend_from_slice(name.as_slice());
    message.extend(rtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if edns {
        message.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    message
}

/// A query as a frame over IPv4; without a client, and with an ID that makes up for one, if `spread`.
///
/// # Panics
/// If it is too long for a datagram.
#[must_use]
pub(crate) fn udp_frame(message: &[u8], spread: bool) -> Vec<u8> {
    let client = if spread { [0; 4] } else { CLIENT };
    let mut ip = Ipv4Header::new(0, 64, IpNumber::UDP, client, SERVER).expect("an empty packet is short");
    ip.identification = if spread { 0xffff } else { 0 };
    let link = PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC);
    let packet = link.ip(IpHeaders::Ipv4(ip, Ipv4Extensions::default())).udp(CLIENT_PORT, 53);
    let mut frame = Vec::with_capacity(packet.size(message.len()));
    packet.write(&mut frame, message).expect("writing to a Vec, and the message is short");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_has_the_plans_it_says() {
        for (plans, tables) in [(PLANS_FEW, PLANS_FEW), (PLANS_MANY, PLANS_MANY), (40, 40)] {
            assert_eq!(planned(model(5_000, plans)).plan(1).services.len(), tables);
        }
        assert_eq!(planned(model(10, PLANS_FEW)).plan(1).services.len(), 10);
    }

    #[test]
    fn one_checksum_is_right_for_every_name() {
        let checksum = |i, edns| frame(i, edns)[40..42].to_vec();
        for i in [1, 9, 0xabc, 99_999] {
            assert_eq!(checksum(i, false), checksum(0, false));
            assert_eq!(checksum(i, true), checksum(0, true));
            assert_ne!(frame(i, false)[42..44], frame(0, false)[42..44]);
        }
    }
}
