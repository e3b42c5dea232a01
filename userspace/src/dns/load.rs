//! The model and its records files into [`Zones`].

use std::{
    collections::{HashMap, HashSet, hash_map::Entry as MapEntry},
    net::IpAddr,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use domain::{
    base::{
        Name, ParseRecordData, ParsedName, RecordData, Rtype, Serial, Ttl,
        iana::Class,
        name::{FlattenInto, ToName},
        rdata::ComposeRecordData,
    },
    dep::octseq::Parser,
    rdata::{A, Aaaa, Ns, Soa, ZoneRecordData},
    zonefile::inplace::ScannedRecord,
};

use super::{
    master::{self, Place, ZoneError},
    zone::{Data, Dynamic, Folded, Node, Role, RrSet, Zone, Zones},
};
use crate::model::{self, Model, NameKind};

/// Data of one set, bytes: it has to fit into one TCP answer beside its question and an SOA.
const SET_LEN_MAX: usize = 64_000;
/// The largest TTL (RFC 2181 section 8).
const TTL_MAX: u32 = i32::MAX as u32;

impl Zones {
    /// Reads every zone's records file, relative ones from `base`, and adds what the model says: SOA, NS, name servers'
    /// addresses, dynamic names.
    ///
    /// # Errors
    /// The first fault: a file that cannot be read, a line that is no record, a record that must not be there.
    pub fn load(model: &Model, base: &Path) -> Result<Self, ZoneError> {
        let mut zones = Self {
            list: Vec::new(),
            by_apex: HashMap::new(),
            apex_labels_max: 0,
            forwards: HashMap::new(),
            forward_labels_max: 0,
            forwards_outside: Vec::new(),
        };
        for (id, zone) in model.zones.iter().enumerate() {
            let id_of_zone = model::ZoneId(id);
            let built = Builder::new(model, zone).build(id_of_zone, base);
            let built = built.map_err(|error| ZoneError { zone: Some(id_of_zone), ..error })?;
            zones.apex_labels_max = zones.apex_labels_max.max(built.apex.label_count());
            zones.by_apex.insert(Folded::new(built.apex.for_slice()).wire().into(), id);
            zones.list.push(built);
        }
        zones.add_forwards(model);
        Ok(zones)
    }

    fn add_forwards(&mut self, model: &Model) {
        for (id, forward) in model.forwards.iter().enumerate() {
            self.forward_labels_max = self.forward_labels_max.max(forward.name.label_count());
            self.forwards.insert(Folded::new(forward.name.for_slice()).wire().into(), model::ForwardId(id));
        }
        for forward in &model.forwards {
            let mut above = forward.name.iter_suffixes().skip(1);
            let is_inner = above.any(|above| self.forwards.contains_key(Folded::new(above.for_slice()).wire()));
            if !is_inner && self.zone_of(&Folded::new(forward.name.for_slice())).is_none() {
                self.forwards_outside.push(forward.name.clone());
            }
        }
    }
}

/// A zone in the making.
struct Builder<'m> {
    model: &'m Model,
    zone: &'m model::Zone,
    nodes: HashMap<Box<[u8]>, Node>,
    /// Where in the files each name stood first, to complain about later.
    lines: Vec<(Box<[u8]>, PathBuf, usize)>,
}

impl<'m> Builder<'m> {
    fn new(model: &'m Model, zone: &'m model::Zone) -> Self {
        Self { model, zone, nodes: HashMap::new(), lines: Vec::new() }
    }

    fn build(mut self, id: model::ZoneId, base: &Path) -> Result<Zone, ZoneError> {
        for (position, name) in self.model.names.iter().enumerate().filter(|(_, name)| name.zone == id) {
            let role = match name.kind {
                NameKind::Pool(_) | NameKind::Group(_) => Role::Balance,
                NameKind::Site(_) => Role::Failover,
            };
            let refer = (!name.served).then_some(role);
            self.node(&name.name).dynamic = Some(Dynamic { id: model::NameId(position), refer });
        }
        if let Some(records) = &self.zone.records {
            master::read(&base.join(records), self.zone.apex.clone(), &mut |record, place| self.record(record, place))?;
        }
        self.name_servers_addresses()?;
        self.check_delegations()?;
        self.add_forwards()?;
        self.check_redirects()?;
        let soa = self.apex_sets();
        let balance = self.referral(Role::Balance)?;
        let failover = self.referral(Role::Failover)?;
        self.empty_non_terminals();
        let is_static = self.nodes.values().all(|node| node.dynamic.is_none());
        let transfer_to = if is_static { self.zone.transfer_to.clone() } else { Vec::new() };
        Ok(Zone { id, apex: self.zone.apex.clone(), nodes: self.nodes, soa, balance, failover, transfer_to })
    }

    fn node(&mut self, name: &model::Name) -> &mut Node {
        let key = Folded::new(name.for_slice()).wire().into();
        self.nodes.entry(key).or_insert_with(|| Node::empty(name.clone()))
    }

    fn existing(&self, name: &model::Name) -> Option<&Node> {
        self.nodes.get(Folded::new(name.for_slice()).wire())
    }

    fn record(&mut self, record: &ScannedRecord, place: Place<'_>) -> Result<(), ZoneError> {
        let owner: model::Name = record.owner().to_name();
        let rtype = record.rtype();
        let what = || format!("{rtype} at {owner}");
        if record.class() != Class::IN {
            return Err(place.error(format!(
                "{}: class {} is not served; leave the class out",
                what(),
                record.class()
            )));
        }
        if record.ttl().as_secs() > TTL_MAX {
            return Err(place.error(format!("{}: the TTL is over {TTL_MAX} seconds", what())));
        }
        if !owner.ends_with(&self.zone.apex) {
            let apex = &self.zone.apex;
            return Err(
                place.error(format!("{} lies outside the zone {apex}; end relative names without a dot", what()))
            );
        }
        let at_apex = owner == self.zone.apex;
        let dynamic = self.existing(&owner).is_some_and(|node| node.dynamic.is_some());
        let wildcard = owner.first().as_slice() == b"*";
        let fault = match rtype {
            Rtype::SOA => {
                "the SOA is made from [zone]: `nameservers`, `contact`, `serial`, `negative_ttl`, …; remove it"
            }
            Rtype::NS if at_apex => "the apex NS set is made from [zone] `nameservers` and `ns_ttl`; remove it",
            Rtype::CNAME if at_apex => "a CNAME cannot stand at the apex (RFC 1034 section 3.6.2)",
            Rtype::A | Rtype::AAAA | Rtype::CNAME | Rtype::HTTPS if dynamic => {
                "a Pool, Group or Site Name is answered from the plan; remove it"
            }
            Rtype::NS | Rtype::DS if dynamic => "a Pool, Group or Site Name cannot be delegated; remove it",
            Rtype::DS if at_apex => "DS belongs to the parent zone; remove it",
            Rtype::NS | Rtype::DS if wildcard => "a wildcard cannot be delegated (RFC 4592 section 4.2)",
            Rtype::DNAME if wildcard => "a wildcard cannot own a DNAME (RFC 4592 section 4.4); remove it",
            Rtype::DNAME if dynamic => "a Pool, Group or Site Name cannot own a DNAME; remove it",
            rtype if is_meta(rtype) => "this type has no data in a zone (RFC 6895 section 3.1)",
            _ => return self.add(&owner, record, place),
        };
        Err(place.error(format!("{}: {fault}", what())))
    }

    fn add(&mut self, owner: &model::Name, record: &ScannedRecord, place: Place<'_>) -> Result<(), ZoneError> {
        let (rtype, ttl) = (record.rtype(), record.ttl().as_secs());
        let data = owned(record.data()).ok_or_else(|| {
            place.error(format!("{rtype} at {owner}: the data does not have that type's form (RFC 3597 section 5)"))
        })?;
        let key: Box<[u8]> = Folded::new(owner.for_slice()).wire().into();
        self.lines.push((key, place.file.to_owned(), place.line));
        let node = self.node(owner);
        let beside_alias = node.sets.iter().any(|set| (set.rtype == Rtype::CNAME) != (rtype == Rtype::CNAME));
        if beside_alias {
            return Err(place.error(format!("{owner} has a CNAME and other data (RFC 1034 section 3.6.2)")));
        }
        let Some(set) = node.sets.iter_mut().find(|set| set.rtype == rtype) else {
            node.sets.push(RrSet { rtype, ttl, data: vec![data] });
            return Ok(());
        };
        if set.data.contains(&data) {
            return Ok(());
        }
        if rtype == Rtype::DNAME {
            return Err(place.error(format!("{owner} has two DNAMEs (RFC 6672 section 2.4)")));
        }
        if rtype == Rtype::CNAME {
            return Err(place.error(format!("{owner} has two CNAMEs (RFC 2181 section 10.1)")));
        }
        if set.ttl != ttl {
            let first = set.ttl;
            let message =
                format!("{rtype} at {owner}: TTL {ttl}, but {first} before; one set, one TTL (RFC 2181 section 5.2)");
            return Err(place.error(message));
        }
        set.data.push(data);
        // An owner takes two bytes where it is compressed, and the fixed fields ten.
        let len: usize = set.data.iter().map(|data| 12 + usize::from(data.rdlen(false).unwrap_or(u16::MAX))).sum();
        if len > SET_LEN_MAX {
            return Err(place.error(format!("{rtype} at {owner}: over {SET_LEN_MAX} bytes cannot be answered")));
        }
        Ok(())
    }

    /// An in-zone name server without addresses of its own gets the front's, unless it is one that names are referred
    /// to: that is another machine.
    fn name_servers_addresses(&mut self) -> Result<(), ZoneError> {
        let (zone, model) = (self.zone, self.model);
        for role in [Role::Balance, Role::Failover] {
            for server in self.referred_to(role).iter().filter(|server| server.ends_with(&zone.apex)) {
                if !self.existing(server).is_some_and(has_address) {
                    let key = role_key(role);
                    return Err(ZoneError::general(format!(
                        "zone {}: `{key}` names {server}, which lies in the zone and has no address: give it an A or \
                         AAAA record in `records`",
                        zone.apex
                    )));
                }
            }
        }
        for server in zone.nameservers.iter().filter(|server| server.ends_with(&zone.apex)) {
            let node = self.node(server);
            if node.set(Rtype::CNAME).is_some() {
                return Err(ZoneError::general(format!(
                    "zone {}: the name server {server} is a CNAME (RFC 2181 section 10.3)",
                    zone.apex
                )));
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
        }
        Ok(())
    }

    fn referred_to(&self, role: Role) -> &'m [model::Name] {
        let roles = self.model.front.roles;
        match role {
            Role::Balance if !roles.load_balance => &self.zone.balance_nameservers,
            Role::Failover if !roles.failover => &self.zone.failover_nameservers,
            _ => &[],
        }
    }

    fn referral(&self, role: Role) -> Result<Option<RrSet>, ZoneError> {
        let needed = self.nodes.values().any(|node| node.dynamic.is_some_and(|dynamic| dynamic.refer == Some(role)));
        let servers = self.referred_to(role);
        if needed && servers.is_empty() {
            let (apex, key) = (&self.zone.apex, role_key(role));
            return Err(ZoneError::general(format!("zone {apex}: names of a role this machine lacks need `{key}`")));
        }
        Ok((!servers.is_empty()).then(|| ns_set(servers, self.zone.ns_ttl)))
    }

    /// Marks the cuts, and refuses what they would hide.
    fn check_delegations(&mut self) -> Result<(), ZoneError> {
        let apex = self.zone.apex.clone();
        for node in self.nodes.values_mut() {
            node.is_cut = node.owner != apex && node.set(Rtype::NS).is_some();
        }
        for (key, file, line) in &self.lines {
            let node = &self.nodes[key];
            let place = Place { file, line: *line };
            if node.is_cut {
                let allowed = [Rtype::NS, Rtype::DS, Rtype::A, Rtype::AAAA];
                if let Some(set) = node.sets.iter().find(|set| !allowed.contains(&set.rtype)) {
                    return Err(place.error(format!("{} at {} is hidden by its delegation", set.rtype, node.owner)));
                }
            } else if let Some(set) = node.set(Rtype::DS) {
                return Err(place.error(format!("{} at {} without an NS set", set.rtype, node.owner)));
            } else if let Some(cut) = self.cut_above(&node.owner) {
                let glue_only = node.sets.iter().all(|set| matches!(set.rtype, Rtype::A | Rtype::AAAA));
                if !glue_only {
                    return Err(place.error(format!(
                        "{} is hidden by the delegation of {}; only its name servers' addresses may stand here",
                        node.owner, cut.owner
                    )));
                }
            }
        }
        for node in self.nodes.values().filter(|node| node.dynamic.is_some()) {
            if let Some(cut) = self.cut_above(&node.owner) {
                let message = format!("{} is configured, but hidden by the delegation of {}", node.owner, cut.owner);
                return Err(ZoneError { zone: None, file: self.zone.records.clone(), line: None, message });
            }
        }
        Ok(())
    }

    /// Makes the nodes of forward names, and refuses what they would hide.
    fn add_forwards(&mut self) -> Result<(), ZoneError> {
        let (model, apex) = (self.model, &self.zone.apex);
        let forwards: Vec<_> =
            model.forwards.iter().map(|forward| &forward.name).filter(|name| name.ends_with(apex)).collect();
        if forwards.is_empty() {
            return Ok(());
        }
        let wires: HashSet<Box<[u8]>> =
            forwards.iter().map(|forward| Folded::new(forward.for_slice()).wire().into()).collect();
        for node in self.nodes.values() {
            let mut suffixes = node.owner.iter_suffixes();
            let above = suffixes.find(|suffix| wires.contains(Folded::new(suffix.for_slice()).wire()));
            let Some(forward) = above else { continue };
            let key = Folded::new(node.owner.for_slice());
            let place = self.lines.iter().find(|(line, ..)| **line == *key.wire());
            let message = format!("{} lies at or below {forward}, which is forwarded", node.owner);
            return Err(match place {
                Some((_, file, line)) => Place { file, line: *line }.error(message),
                None => ZoneError::general(format!("zone {apex}: {message}")),
            });
        }
        for forward in forwards {
            self.node(forward).is_forward = true;
        }
        Ok(())
    }

    /// Below a DNAME there is nothing (RFC 6672 section 2.4).
    fn check_redirects(&self) -> Result<(), ZoneError> {
        if !self.nodes.values().any(|node| node.redirect().is_some()) {
            return Ok(());
        }
        let hidden = |node: &Node| {
            let above = &self.redirect_above(&node.owner)?.owner;
            Some(format!("{} is hidden by the DNAME of {above} (RFC 6672 section 2.4)", node.owner))
        };
        for (key, file, line) in &self.lines {
            if let Some(message) = hidden(&self.nodes[key]) {
                return Err(Place { file, line: *line }.error(message));
            }
        }
        match self.nodes.values().find_map(hidden) {
            Some(message) => Err(ZoneError { zone: None, file: self.zone.records.clone(), line: None, message }),
            None => Ok(()),
        }
    }

    fn redirect_above(&self, name: &model::Name) -> Option<&Node> {
        let folded = Folded::new(name.for_slice());
        let above = folded.labels().checked_sub(self.zone.apex.label_count())?;
        (1..=above).filter_map(|first| self.nodes.get(folded.suffix(first))).find(|node| node.redirect().is_some())
    }

    fn cut_above(&self, name: &model::Name) -> Option<&Node> {
        let folded = Folded::new(name.for_slice());
        let above = folded.labels().checked_sub(self.zone.apex.label_count())?;
        (1..above).filter_map(|first| self.nodes.get(folded.suffix(first))).find(|node| node.is_cut)
    }

    fn apex_sets(&mut self) -> RrSet {
        let zone = self.zone;
        let soa = Soa::new(
            // Never empty, as the model says.
            zone.nameservers.first().cloned().unwrap_or_else(Name::root),
            zone.rname.clone(),
            Serial(zone.serial),
            Ttl::from_secs(zone.refresh),
            Ttl::from_secs(zone.retry),
            Ttl::from_secs(zone.expire),
            Ttl::from_secs(zone.negative_ttl),
        );
        // The SOA's own TTL is its MINIMUM, so the answer's TTL and a negative answer's are one (RFC 2308 section 3).
        let soa = RrSet { rtype: Rtype::SOA, ttl: zone.negative_ttl, data: vec![soa.into()] };
        let ns = ns_set(&zone.nameservers, zone.ns_ttl);
        self.node(&zone.apex).sets.extend([soa.clone(), ns]);
        soa
    }

    fn empty_non_terminals(&mut self) {
        let apex_labels = self.zone.apex.label_count();
        let owners: Vec<_> = self.nodes.values().map(|node| node.owner.clone()).collect();
        for owner in owners {
            for parent in owner.iter_suffixes().skip(1) {
                if parent.label_count() <= apex_labels {
                    break;
                }
                match self.nodes.entry(Folded::new(parent.for_slice()).wire().into()) {
                    // Whoever made it goes on to make its parents.
                    MapEntry::Occupied(_) => break,
                    MapEntry::Vacant(entry) => entry.insert(Node::empty(parent)),
                };
            }
        }
    }
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

/// Types that are questions or message parts, never zone data.
fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype.to_int(), 0 | 41 | 128..=255 | 65535)
}

/// The scanner's data as its type's own, also where it was written as unknown data (RFC 3597 section 5), so that a
/// CNAME written so still is one.
fn owned(data: &impl ComposeRecordData) -> Option<Data> {
    let mut wire = Vec::new();
    let Ok(()) = data.compose_rdata(&mut wire);
    let wire = Bytes::from(wire);
    let mut parser = Parser::from_ref(&wire);
    let parsed = ZoneRecordData::<Bytes, ParsedName<Bytes>>::parse_rdata(data.rtype(), &mut parser).ok()??;
    if parser.remaining() > 0 {
        return None;
    }
    let Ok(owned) = parsed.try_flatten_into();
    Some(owned)
}
