//! Every name that exists in a world's zones, worked out by hand from `world.rs`, as the name map is to hold it.

use std::collections::BTreeMap;

use xdp_ebpf::layout::{
    NAME_ABOVE, NAME_HAS_HTTPS, NAME_HAS_WILDCARD, NAME_IS_SIGNED, NAME_OPAQUE, NAME_REFERRED, NAME_SERVED,
    NAME_STATIC, NameEntry,
};

use crate::{
    packet::{A, AAAA},
    wire::wire,
    world::{self, BINDINGS, OPAQUE, STATIC, Says, World},
};

/// The nature of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// The entry at this position of [`world::entries`].
    Dynamic { entry: usize, is_site: bool },
    /// Of the records file, a name server or an apex; without types, an empty non-terminal.
    Static,
    /// An alias or a delegation.
    Opaque,
    /// No zone's.
    Above,
}

/// A name that exists.
#[derive(Clone, Debug)]
pub struct Existing {
    pub name: String,
    pub is: Is,
    /// Position in [`world::zones`]; 0 above all zones.
    pub zone: usize,
    /// Types that it has records of, beside what is dynamic.
    pub types: Vec<u16>,
    pub has_wildcard: bool,
}

/// All of them.
pub fn existing() -> Vec<Existing> {
    let zones = world::zones();
    let mut names = BTreeMap::<String, (Is, Vec<u16>)>::new();
    for (entry, dynamic) in world::entries().iter().enumerate() {
        names.insert(dynamic.name.clone(), (Is::Dynamic { entry, is_site: dynamic.is_site }, Vec::new()));
    }
    let mut add = |name: &str, is, types: &[u16]| {
        names.entry(name.to_owned()).or_insert((is, Vec::new())).1.extend_from_slice(types);
    };
    for zone in &zones {
        add(zone.apex, Is::Static, &[NS, SOA]);
        if world::is_within(&zone.mname, zone.apex) {
            add(&zone.mname, Is::Static, &[A, AAAA]);
        }
    }
    for (name, types) in STATIC {
        add(name, Is::Static, types);
    }
    for (name, types) in OPAQUE {
        add(name, Is::Opaque, types);
    }
    let zone_of = |name: &str| zones.iter().position(|zone| world::is_within(name, zone.apex));
    for name in names.keys().cloned().collect::<Vec<_>>() {
        let apex = zones[zone_of(&name).unwrap()].apex;
        let mut rest = &name[..];
        while rest != apex {
            rest = rest.split_once('.').unwrap().1;
            names.entry(rest.to_owned()).or_insert((Is::Static, Vec::new()));
        }
    }
    // `test` is the only name above an apex: the shortest apex has one label, so that the root is never looked for.
    names.insert("test".to_owned(), (Is::Above, Vec::new()));
    let wildcards: Vec<String> = names.keys().filter_map(|name| name.strip_prefix("*.").map(str::to_owned)).collect();
    let existing = names.into_iter().map(|(name, (is, types))| {
        let (zone, has_wildcard) = (zone_of(&name).unwrap_or(0), wildcards.contains(&name));
        Existing { name, is, zone, types, has_wildcard }
    });
    existing.collect()
}

const NS: u16 = 2;
const SOA: u16 = 6;
const NSEC: u16 = 47;

impl Existing {
    /// The map's entry, but for what depends on where the loader puts things: name, service and tail.
    pub fn entry(&self, world: World) -> NameEntry {
        let kind = match self.is {
            Is::Dynamic { is_site, .. } if is_site && world != World::Full => NAME_REFERRED,
            Is::Dynamic { .. } => NAME_SERVED,
            Is::Static => NAME_STATIC,
            Is::Opaque => NAME_OPAQUE,
            Is::Above => NAME_ABOVE,
        };
        let apex = match self.is {
            Is::Above => 0,
            _ => wire(&self.name).len() - wire(world::zones()[self.zone].apex).len(),
        };
        let has_https = matches!(self.is, Is::Dynamic { entry, .. } if world::entries()[entry].says[2] != Says::NoData);
        let is_signed = world == World::Full && self.is != Is::Above && world::zones()[self.zone].apex == world::SIGNED;
        // NSEC, and DNSKEY at the apex, which share a bit.
        let of_signed = if is_signed { 1 << bit(NSEC) } else { 0 };
        NameEntry {
            len: wire(&self.name).len() as u8,
            apex: apex as u8,
            kind,
            flags: if self.has_wildcard { NAME_HAS_WILDCARD } else { 0 }
                | if has_https { NAME_HAS_HTTPS } else { 0 }
                | if is_signed { NAME_IS_SIGNED } else { 0 },
            soa: if self.is == Is::Above { 0 } else { (BINDINGS + self.zone) as u16 },
            types: self.types.iter().fold(of_signed, |bits, rtype| bits | 1 << bit(*rtype)),
            ..NameEntry::default()
        }
    }
}

/// A type's place in an entry's types: A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, NAPTR, DS, TLSA, SVCB, HTTPS, CAA,
/// and all others.
pub fn bit(rtype: u16) -> usize {
    [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 52, 64, 65, 257].iter().position(|own| *own == rtype).unwrap_or(15)
}
