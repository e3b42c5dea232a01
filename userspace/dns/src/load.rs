//! The model and its records files into [`Zones`].
//!
//! | module | does |
//! |---|---|
//! | this | the records, one by one |
//! | `apex` | SOA, NS, name servers' addresses |
//! | `hidden` | what lies below a cut, a DNAME, a forward name or another zone's apex |

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use domain::base::{Rtype, rdata::ComposeRecordData};

use super::{
    dnssec,
    fault::{At, Fault, Faults, ZoneError},
    master::{self, FilePosition, Record},
    zone::{Dynamic, FoldedName, Node, Nodes, Role, RrSet, Zone, Zones},
};
use zerottl_core::model::{self, Model, NameKind};

mod apex;
mod hidden;

/// Data of one set, bytes: it has to fit into one TCP answer beside its question and an SOA.
const SET_LEN_MAX: usize = 64_000;
/// The largest TTL (RFC 2181 section 8).
const TTL_MAX: u32 = i32::MAX as u32;

/// The result of reading.
#[derive(Clone, Debug)]
pub struct Read {
    /// The zones, if nothing is wrong with them.
    pub zones: Zones,
    /// Errors and warnings.
    pub faults: Faults,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
}

impl Zones {
    /// As [`Zones::read`], without what is only odd.
    ///
    /// # Errors
    /// The first fault: a file that cannot be read, a line that is no record, a record that must not be there.
    pub fn load(model: &Model, base: &Path) -> Result<Self, ZoneError> {
        let read = Self::read(model, base, None);
        match read.faults.errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(read.zones),
        }
    }

    /// Reads every zone's records file, relative ones from `base`, and adds what the model says: SOA, NS, name servers'
    /// addresses, dynamic names. `changed` is when the configuration was, for serials that make themselves.
    #[must_use]
    pub fn read(model: &Model, base: &Path, changed: Option<SystemTime>) -> Read {
        let zones = Self {
            list: Vec::new(),
            by_apex: HashMap::new(),
            apex_labels_max: 0,
            forwards: HashMap::new(),
            forward_labels_max: 0,
            forwards_outside: Vec::new(),
        };
        let mut read = Read { zones, faults: Faults::default(), files: Vec::new() };
        for (id, zone) in model.zones.iter().enumerate() {
            read.zones.apex_labels_max = read.zones.apex_labels_max.max(zone.apex.label_count());
            read.zones.by_apex.insert(FoldedName::new(zone.apex.for_slice()).wire().into(), id);
        }
        let of_apex = read.zones.by_apex.clone();
        let mut names: Vec<Vec<usize>> = vec![Vec::new(); model.zones.len()];
        for (position, name) in model.names.iter().enumerate() {
            if let Some(names) = names.get_mut(name.zone.0) {
                names.push(position);
            }
        }
        for ((id, zone), names) in model.zones.iter().enumerate().zip(names) {
            let id = model::ZoneId(id);
            let told = read.faults.told();
            let builder = Builder::new(model, zone, &of_apex, &mut read.faults);
            let built = builder.build(id, names, (base, changed), &mut read.files);
            read.zones.list.push(built);
            read.faults.of_zone(id, told);
        }
        read.zones.add_forwards(model);
        read
    }

    fn add_forwards(&mut self, model: &Model) {
        for (id, forward) in model.forwards.iter().enumerate() {
            self.forward_labels_max = self.forward_labels_max.max(forward.name.label_count());
            self.forwards.insert(FoldedName::new(forward.name.for_slice()).wire().into(), model::ForwardId(id));
        }
        for forward in &model.forwards {
            let mut above = forward.name.iter_suffixes().skip(1);
            let is_inner = above.any(|above| self.forwards.contains_key(FoldedName::new(above.for_slice()).wire()));
            if !is_inner && self.zone_of(&FoldedName::new(forward.name.for_slice())).is_none() {
                self.forwards_outside.push(forward.name.clone());
            }
        }
    }
}

/// A zone in the making.
struct Builder<'m> {
    model: &'m Model,
    zone: &'m model::ZoneConfig,
    /// Every zone's position, by apex in wire form, lower case.
    of_apex: &'m HashMap<Box<[u8]>, usize>,
    faults: &'m mut Faults,
    nodes: Nodes,
    /// Where in the files each set stood first, to complain about later.
    places: Vec<(Box<[u8]>, Rtype, FilePosition)>,
    /// The files' own SOA and apex NS set.
    own_soa: Option<RrSet>,
    own_ns: Option<RrSet>,
}

impl<'m> Builder<'m> {
    fn new(
        model: &'m Model,
        zone: &'m model::ZoneConfig,
        of_apex: &'m HashMap<Box<[u8]>, usize>,
        faults: &'m mut Faults,
    ) -> Self {
        let (nodes, places) = (Nodes::default(), Vec::new());
        Self { model, zone, of_apex, faults, nodes, places, own_soa: None, own_ns: None }
    }

    fn build(
        mut self,
        id: model::ZoneId,
        names: Vec<usize>,
        (base, changed): (&Path, Option<SystemTime>),
        files: &mut Vec<PathBuf>,
    ) -> Zone {
        self.nodes = Nodes::with_capacity(names.len());
        for position in names {
            let name = &self.model.names[position];
            let role = match name.kind {
                NameKind::Pool(_) | NameKind::Group(_) => Role::Balance,
                NameKind::Site(_) => Role::Failover,
            };
            let refer = (!name.served).then_some(role);
            self.node(&name.name).dynamic = Some(Dynamic { id: model::NameId(position), refer });
        }
        let mut newest = changed;
        let before = self.faults.errors.len() + self.faults.more_errors;
        if let Some(records) = &self.zone.records {
            // Lent apart: the reader has the faults, and each record comes back here.
            let mut faults = std::mem::take(self.faults);
            let apex = self.zone.apex.clone();
            let sources =
                master::read(&base.join(records), apex, &mut faults, &mut |record, place| self.record(record, place));
            *self.faults = faults;
            newest = newest.max(sources.newest);
            files.extend(sources.files);
        }
        let is_whole = before == self.faults.errors.len() + self.faults.more_errors;
        self.name_servers_addresses();
        self.mark_cuts();
        self.add_inner_apexes();
        self.add_forwards();
        self.tell_what_is_hidden();
        let has_own_soa = self.own_soa.is_some();
        let soa = self.apex_sets(newest, is_whole);
        let balance = self.referral(Role::Balance);
        let failover = self.referral(Role::Failover);
        self.empty_non_terminals();
        let is_static = self.nodes.values().all(|node| node.dynamic.is_none());
        let transfer_to = if is_static { self.zone.transfer_to.clone() } else { Vec::new() };
        self.nodes.shrink();
        let is_plain = self.nodes.values().all(Node::is_plain);
        let (apex, nodes) = (self.zone.apex.clone(), self.nodes);
        Zone { id, apex, nodes, soa, has_own_soa, balance, failover, transfer_to, is_plain, is_signed: false }
    }

    fn node(&mut self, name: &model::Name) -> &mut Node {
        let key = FoldedName::new(name.for_slice());
        self.nodes.get_or_insert(key.wire(), || Node::empty(name.clone())).0
    }

    fn existing(&self, name: &model::Name) -> Option<&Node> {
        self.nodes.get(FoldedName::new(name.for_slice()).wire())
    }

    fn record(&mut self, record: Record, place: &FilePosition) -> Result<(), Fault> {
        let (owner, rtype) = (&record.owner, record.rtype);
        let what = || format!("{rtype} at {owner}");
        if record.ttl > TTL_MAX {
            return Err(Fault::new(At::Whole, format!("{}: the TTL is over {TTL_MAX} seconds", what())));
        }
        if !owner.ends_with(&self.zone.apex) {
            let apex = &self.zone.apex;
            let message = format!("{} lies outside the zone {apex}; end relative names without a dot", what());
            return Err(Fault::new(At::Owner, message));
        }
        let at_apex = *owner == self.zone.apex;
        let dynamic = self.existing(owner).is_some_and(|node| node.dynamic.is_some());
        let wildcard = owner.first().as_slice() == b"*";
        let fault = match rtype {
            Rtype::SOA | Rtype::NS if at_apex => return self.own(record),
            Rtype::SOA => "an SOA stands at the zone's apex alone (RFC 1035 section 5.2); remove it",
            Rtype::CNAME if at_apex => "a CNAME cannot stand at the apex (RFC 1034 section 3.6.2)",
            Rtype::A | Rtype::AAAA | Rtype::CNAME | Rtype::HTTPS if dynamic => {
                "a Pool, Group or Site Name is answered from the plan; remove it"
            }
            Rtype::NS | Rtype::DS if dynamic => "a Pool, Group or Site Name cannot be delegated; remove it",
            Rtype::DS if at_apex => "DS belongs to the parent zone; remove it",
            Rtype::NS | Rtype::DS if wildcard => "a wildcard cannot be delegated (RFC 4592 section 4.2)",
            Rtype::DNAME if wildcard => "a wildcard cannot own a DNAME (RFC 4592 section 4.4); remove it",
            Rtype::DNAME if dynamic => "a Pool, Group or Site Name cannot own a DNAME; remove it",
            rtype if self.zone.dnssec.is_some() && is_of_signing(rtype) => {
                "a signed zone gets this type from `dnssec`; remove it"
            }
            rtype if is_meta(rtype) => "this type has no data in a zone (RFC 6895 section 3.1)",
            _ => return self.add(record, place),
        };
        Err(Fault::new(At::Type, format!("{}: {fault}", what())))
    }

    fn add(&mut self, record: Record, place: &FilePosition) -> Result<(), Fault> {
        let Record { owner, ttl, rtype, data } = record;
        let node = self.node(&owner);
        let beside_alias = node.sets.iter().any(|set| (set.rtype == Rtype::CNAME) != (rtype == Rtype::CNAME));
        if beside_alias {
            let message = format!("{owner} has a CNAME and other data (RFC 1034 section 3.6.2)");
            return Err(Fault::new(At::Type, message));
        }
        let Some(set) = node.sets.iter_mut().find(|set| set.rtype == rtype) else {
            node.sets.push(RrSet { rtype, ttl, data: vec![data] });
            let key = FoldedName::new(owner.for_slice()).wire().into();
            self.places.push((key, rtype, place.clone()));
            return Ok(());
        };
        add_to(set, &owner, ttl, data)
    }

    fn empty_non_terminals(&mut self) {
        let apex_labels = self.zone.apex.label_count();
        // Most lie right below the apex, and there may be a million.
        let is_deep = |node: &&Node| node.owner.label_count() > apex_labels + 1;
        let owners: Vec<_> = self.nodes.values().filter(is_deep).map(|node| node.owner.clone()).collect();
        for owner in owners {
            for parent in owner.iter_suffixes().skip(1) {
                if parent.label_count() <= apex_labels {
                    break;
                }
                let key = FoldedName::new(parent.for_slice());
                // Whoever made it goes on to make its parents.
                if !self.nodes.get_or_insert(key.wire(), || Node::empty(parent)).1 {
                    break;
                }
            }
        }
    }

    /// Adds an error of the zone as a whole.
    fn error(&mut self, message: String) {
        self.faults.error(ZoneError::general(message));
    }
}

/// Adds data to an owner's set that has some.
fn add_to(set: &mut RrSet, owner: &model::Name, ttl: u32, data: super::zone::Data) -> Result<(), Fault> {
    let fault = |message: String| Err(Fault::new(At::Whole, message));
    let rtype = set.rtype;
    if set.data.contains(&data) {
        return Ok(());
    }
    if rtype == Rtype::DNAME {
        return fault(format!("{owner} has two DNAMEs (RFC 6672 section 2.4)"));
    }
    if rtype == Rtype::CNAME {
        return fault(format!("{owner} has two CNAMEs (RFC 2181 section 10.1)"));
    }
    if set.ttl != ttl {
        let first = set.ttl;
        return fault(format!(
            "{rtype} at {owner}: TTL {ttl}, but {first} before; one set, one TTL (RFC 2181 section 5.2)"
        ));
    }
    set.data.push(data);
    // An owner takes two bytes where it is compressed, and the fixed fields ten.
    let len: usize = set.data.iter().map(|data| 12 + usize::from(data.rdlen(false).unwrap_or(u16::MAX))).sum();
    if len > SET_LEN_MAX {
        return fault(format!("{rtype} at {owner}: over {SET_LEN_MAX} bytes cannot be answered"));
    }
    Ok(())
}

/// Types that whoever signs a zone makes: those of a file that was signed elsewhere would be signed once more.
fn is_of_signing(rtype: Rtype) -> bool {
    let of_chain = matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM);
    of_chain || dnssec::is_of_keys(rtype)
}

/// Types that are questions or message parts, never zone data.
fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype.to_int(), 0 | 41 | 128..=255 | 65535)
}
