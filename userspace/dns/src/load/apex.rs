//! The records at a zone's apex: as `[zone]` says, or as the records file does.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use domain::{
    base::{Name, RecordData, Rtype, Serial, Ttl},
    rdata::{A, Aaaa, Ns, Soa},
};

use super::{At, Builder, Fault, Node, Record, Role, RrSet, ZoneError, add_to};
use crate::zone::Data;
use zerottl_core::model;

impl<'m> Builder<'m> {
    /// Takes an SOA or NS of the apex, unless `[zone]` gives it.
    pub(super) fn own(&mut self, record: Record) -> Result<(), Fault> {
        let Record { owner, ttl, rtype, data } = record;
        let settings = &self.zone.apex_settings;
        let (own, other) = if rtype == Rtype::SOA {
            (
                &mut self.own_soa,
                settings.soa.map(|key| {
                    format!(
                        "the SOA is made from [zone]: `{key}`; remove it, or that key and \
                its like: `contact`, `primary`, `serial`, `refresh`, `retry`, `expire`, `negative_ttl`, `soa_ttl`"
                    )
                }),
            )
        } else {
            (
                &mut self.own_ns,
                settings.nameservers.map(|key| {
                    format!(
                        "the apex NS set is made from [zone] `{key}`; remove it, or \
                `nameservers` and `ns_ttl` there"
                    )
                }),
            )
        };
        if let Some(other) = other {
            return Err(Fault::new(At::Type, format!("{rtype} at {owner}: {other}")));
        }
        let Some(set) = own else {
            *own = Some(RrSet { rtype, ttl, data: vec![data] });
            return Ok(());
        };
        if rtype == Rtype::SOA && !set.data.contains(&data) {
            return Err(Fault::new(At::Whole, format!("{owner} has two SOAs (RFC 2181 section 6.1)")));
        }
        add_to(set, &owner, ttl, data)
    }

    /// The apex NS set's names.
    pub(super) fn name_servers(&self) -> Vec<model::Name> {
        let own = self.own_ns.iter().flat_map(|set| &set.data).filter_map(|data| match data {
            Data::Ns(ns) => Some(ns.nsdname().clone()),
            _ => None,
        });
        self.zone.nameservers.iter().cloned().chain(own).collect()
    }

    /// An in-zone name server without addresses of its own gets the front's, unless it is one that names are referred
    /// to: that is another machine.
    pub(super) fn name_servers_addresses(&mut self) {
        let (zone, model) = (self.zone, self.model);
        for role in [Role::Balance, Role::Failover] {
            let is_lost =
                |server: &&model::Name| self.is_ours(server) && !self.existing(server).is_some_and(has_address);
            let lost: Vec<_> = self.referred_to(role).iter().filter(is_lost).collect();
            for server in lost {
                let (key, apex) = (role_key(role), &zone.apex);
                self.error(format!(
                    "zone {apex}: `{key}` names {server}, which lies in the zone and has no address: give it an A or AAAA \
                     record in `records`"
                ));
            }
        }
        let servers = self.name_servers();
        let in_zone: Vec<_> = servers.iter().filter(|server| self.is_ours(server)).collect();
        for server in &in_zone {
            let node = self.node(server);
            if node.set(Rtype::CNAME).is_some() {
                let apex = &zone.apex;
                self.error(format!("zone {apex}: the name server {server} is a CNAME (RFC 2181 section 10.3)"));
                continue;
            }
            if node.dynamic.is_some() || has_address(node) {
                continue;
            }
            for listen in &model.front.listen {
                let data: Data = match listen.ip() {
                    IpAddr::V4(address) => A::new(address).into(),
                    IpAddr::V6(address) => Aaaa::new(address).into(),
                };
                let rtype = data.rtype();
                match node.sets.iter_mut().find(|set| set.rtype == rtype) {
                    Some(set) if set.data.contains(&data) => {}
                    Some(set) => set.data.push(data),
                    None => node.sets.push(RrSet { rtype, ttl: zone.ns_ttl, data: vec![data] }),
                }
            }
            // One machine is what a single name server is; of several, one at most is this one.
            if in_zone.len() > 1 {
                let apex = &zone.apex;
                let warning = format!(
                    "zone {apex}: the name server {server} has no address in `records`, and gets those of this machine"
                );
                let help = "give its A and AAAA records in `records`, also where they are this machine's";
                self.faults.warn(ZoneError::general(warning).help(help));
            }
        }
    }

    /// Whether a name server's address is this zone's to say.
    fn is_ours(&self, server: &model::Name) -> bool {
        !server.is_root() && server.ends_with(&self.zone.apex) && self.inner_above(server).is_none()
    }

    fn referred_to(&self, role: Role) -> &'m [model::Name] {
        let roles = self.model.front.roles;
        match role {
            Role::Balance if !roles.load_balance => &self.zone.balance_nameservers,
            Role::Failover if !roles.failover => &self.zone.failover_nameservers,
            _ => &[],
        }
    }

    pub(super) fn referral(&mut self, role: Role) -> Option<RrSet> {
        let needed = self.nodes.values().any(|node| node.dynamic.is_some_and(|dynamic| dynamic.refer == Some(role)));
        let servers = self.referred_to(role);
        if needed && servers.is_empty() {
            let (apex, key) = (&self.zone.apex, role_key(role));
            self.error(format!("zone {apex}: names of a role this machine lacks need `{key}`"));
        }
        (!servers.is_empty()).then(|| ns_set(servers, self.zone.ns_ttl))
    }

    /// Puts SOA and NS to the apex, and returns the SOA as a negative answer has it. What is missing is only missed where
    /// all records could be read.
    pub(super) fn apex_sets(&mut self, newest: Option<SystemTime>, is_whole: bool) -> RrSet {
        let zone = self.zone;
        let (apex, settings) = (&zone.apex, &zone.apex_settings);
        if is_whole && self.own_ns.is_none() && zone.nameservers.is_empty() {
            self.error(format!(
                "zone {apex} has no name servers: give `nameservers`, or NS records at the apex in `records`"
            ));
        }
        if is_whole && self.own_soa.is_none() && !settings.contact {
            self.error(format!("zone {apex} has no SOA: give `contact`, or an SOA record in `records`"));
        }
        let ns = self.own_ns.take().unwrap_or_else(|| ns_set(&zone.nameservers, zone.ns_ttl));
        let (ttl, soa) = match self.own_soa.take().and_then(|set| Some((set.ttl, set.data.into_iter().next()?))) {
            Some((ttl, Data::Soa(soa))) => (ttl, soa),
            _ => (zone.soa_ttl, self.made_soa(&ns)),
        };
        let serial = if zone.auto_serial { Serial(seconds(newest)) } else { soa.serial() };
        let soa = Soa::new(
            soa.mname().clone(),
            soa.rname().clone(),
            serial,
            soa.refresh(),
            soa.retry(),
            soa.expire(),
            soa.minimum(),
        );
        // RFC 2308 section 3.
        let negative_ttl = ttl.min(soa.minimum().as_secs());
        let soa = RrSet { rtype: Rtype::SOA, ttl, data: vec![soa.into()] };
        self.node(apex).sets.extend([soa.clone(), ns]);
        RrSet { ttl: negative_ttl, ..soa }
    }

    fn made_soa(&self, ns: &RrSet) -> Soa<model::Name> {
        let zone = self.zone;
        let first = ns.data.iter().find_map(|data| match data {
            Data::Ns(ns) => Some(ns.nsdname().clone()),
            _ => None,
        });
        Soa::new(
            // There is a name server, or an error.
            zone.primary.clone().or(first).unwrap_or_else(Name::root),
            zone.rname.clone(),
            Serial(zone.serial),
            Ttl::from_secs(zone.refresh),
            Ttl::from_secs(zone.retry),
            Ttl::from_secs(zone.expire),
            Ttl::from_secs(zone.negative_ttl),
        )
    }
}

/// Seconds since 1970, modulo 2^32, and not 0.
fn seconds(time: Option<SystemTime>) -> u32 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(1, |since| (since.as_secs() as u32).max(1))
}

fn role_key(role: Role) -> &'static str {
    match role {
        Role::Balance => "balance_nameservers",
        Role::Failover => "failover_nameservers",
    }
}

fn has_address(node: &Node) -> bool {
    node.set(Rtype::A).is_some() || node.set(Rtype::AAAA).is_some()
}

fn ns_set(servers: &[model::Name], ttl: u32) -> RrSet {
    let mut data: Vec<Data> = Vec::new();
    for server in servers {
        let ns = Ns::new(server.clone()).into();
        if !data.contains(&ns) {
            data.push(ns);
        }
    }
    RrSet { rtype: Rtype::NS, ttl, data }
}
