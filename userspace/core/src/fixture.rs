//! Models for tests of what consumes them.

use std::{net::IpAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use crate::model::{
    Admin, ApexSettings, Chaos, Damping, DynamicName, EdnsConfig, Failback, Front, Group, HttpProbe, Initial, Life,
    Model, Name, NameKind, Policy, Pool, PoolId, Probe, ProbeKind, Roles, Site, SiteAddress, SiteId, Vlans, XdpMode,
    ZoneConfig, ZoneId,
};

/// A name.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::from_str(text).expect("a test's name is valid")
}

/// A TCP probe; port 1 where nothing listens.
#[must_use]
pub fn tcp(interval: Duration, timeout: Duration, rise: u32, fall: u32) -> Probe {
    Probe { kind: ProbeKind::Tcp, port: 1, interval, timeout, rise, fall }
}

/// GET `/health` for status 200, every 100 ms within 1 s.
#[must_use]
pub fn http(port: u16) -> Probe {
    let http = HttpProbe {
        path: "/health".into(),
        host: "boston.app.com".into(),
        expect_status: vec![200],
        expect_body: None,
        tls: None,
    };
    let (interval, timeout) = (Duration::from_millis(100), Duration::from_secs(1));
    Probe { kind: ProbeKind::Http(http), port, interval, timeout, rise: 2, fall: 3 }
}

/// Appendix A's Boston (both families, weight 2), Chicago and Geneva (IPv4), in this order and all probed; without groups.
#[must_use]
pub fn appendix_a() -> Model {
    let probe = || Some(http(80));
    let mut model = model(&[
        ("boston", &["192.0.2.10", "2001:db8:1::10"], probe()),
        ("chicago", &["192.0.2.20"], probe()),
        ("geneva", &["192.0.2.30"], probe()),
    ]);
    model.sites[0].weight = 2;
    model
}

/// A group of some Sites of [`model`]'s pool.
///
/// # Panics
///
/// If the name is none.
#[must_use]
pub fn group(text: &str, sites: &[usize]) -> Group {
    Group {
        name: name(text),
        zone: ZoneId(0),
        pool: PoolId(0),
        sites: sites.iter().copied().map(SiteId).collect(),
        policy: Policy::WeightedRoundRobin,
    }
}

/// One pool `app.com` of the given Sites (key, addresses, probe), weight 1 each, round robin.
///
/// # Panics
///
/// If a name or an address is none.
pub fn model(sites: &[(&str, &[&str], Option<Probe>)]) -> Model {
    let ids: Vec<SiteId> = (0..sites.len()).map(SiteId).collect();
    let zone = ZoneId(0);
    let site = |(index, (key, addresses, probe)): (usize, &(&str, &[&str], Option<Probe>))| Site {
        key: (*key).into(),
        name: name(&format!("{key}.app.com")),
        zone,
        pool: PoolId(0),
        addresses: addresses
            .iter()
            .map(|address| {
                let answer: IpAddr = address.parse().expect("a test's address is valid");
                SiteAddress { answer, probe: answer }
            })
            .collect(),
        weight: 1,
        capacity: None,
        damping: Damping::default(),
        failback: Failback::Auto,
        depends_on: Vec::new(),
        probes: probe.iter().cloned().collect(),
        min_healthy: usize::from(probe.is_some()),
        load: None,
        initial: Initial::Up,
        primary: None,
        failover: (0..sites.len()).map(|step| SiteId((index + step) % sites.len())).collect(),
    };
    let pool = Pool { name: name("app.com"), zone, sites: ids.clone().into(), settings: Arc::default() };
    let sites: Vec<Site> = sites.iter().enumerate().map(site).collect();
    let mut names = vec![DynamicName { name: pool.name.clone(), zone, kind: NameKind::Pool(PoolId(0)), served: true }];
    for (id, site) in ids.iter().zip(&sites) {
        names.push(DynamicName { name: site.name.clone(), zone, kind: NameKind::Site(*id), served: true });
    }
    Model {
        front: Front {
            interfaces: vec![],
            listen: vec!["203.0.113.53:53".parse().expect("valid")],
            xdp: XdpMode::Off,
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
        zones: vec![ZoneConfig {
            apex: name("app.com"),
            apex_settings: ApexSettings::all(),
            primary: None,
            nameservers: vec![name("ns1.app.com")],
            rname: name("hostmaster.app.com"),
            serial: 1,
            refresh: 1,
            retry: 1,
            expire: 1,
            negative_ttl: 5,
            soa_ttl: 5,
            auto_serial: false,
            ns_ttl: 3600,
            records: None,
            balance_nameservers: vec![],
            failover_nameservers: vec![],
            transfer_to: vec![],
            dnssec: None,
        }],
        forwards: vec![],
        pools: vec![pool],
        groups: vec![],
        nets: Arc::default(),
        sites,
        names,
        web: Vec::new(),
        hooks: Vec::new(),
        directors: Vec::new(),
    }
}
