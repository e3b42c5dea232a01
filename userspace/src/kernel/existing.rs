//! Every existing name of the zones as the kernel knows it: who answers it, and which types it has.
//!
//! With these the kernel tells NODATA and NXDOMAIN itself. What it must not know better than the socket path is marked:
//! types that the records file has, wildcards, aliases, redirections, and delegations and forward names with all that lies below them.

use std::collections::HashSet;

use domain::base::{Name, Rtype};
use xdp_ebpf::layout::{
    NAME_ABOVE, NAME_HAS_HTTPS, NAME_HAS_WILDCARD, NAME_OPAQUE, NAME_REFERRED, NAME_SERVED, NAME_STATIC, NameEntry,
    type_bit,
};

use super::names::Named;
use crate::{
    dns::zone::{Folded, Found, Node, Zone, Zones},
    model::Model,
    plan::Plan,
};

/// Labels of the shortest apex or forward name outside the zones, without the root: no shorter suffix needs to be looked up.
#[must_use]
pub fn walk_from(zones: &Zones) -> u32 {
    let apexes = zones.iter().map(Zone::apex);
    apexes.chain(zones.forwards_outside()).map(|name| name.label_count() as u32 - 1).min().unwrap_or(0)
}

/// The entries of all zones; `first` is any plan of theirs.
#[must_use]
pub fn names(zones: &Zones, walk_from: u32, first: &Plan, model: &Model) -> Vec<Named> {
    let first_soa = first.bindings.len();
    let mut named = Vec::new();
    let mut above = HashSet::new();
    for (position, zone) in zones.iter().enumerate() {
        let is_inner = zones.is_inner(zone);
        for node in zone.nodes() {
            let name = node.owner.for_slice();
            // A zone within this one says itself what there is.
            if !zones.is_of(zone, name) {
                continue;
            }
            // DS at its apex is the outer zone's to answer.
            let outer = if is_inner && node.owner == *zone.apex() { type_bit(Rtype::DS.to_int()) } else { 0 };
            named.extend(
                entry(zone, node, first, model)
                    .map(|entry| NameEntry { types: entry.types | outer, ..entry })
                    .map(|entry| NameEntry { soa: (first_soa + position) as u16, ..entry })
                    .map(|entry| Named { wire: Folded::new(node.owner.for_slice()).wire().to_vec(), entry }),
            );
        }
    }
    // A walk meets these before the zones' names and has to pass by them. Forward names have to be reached before a name
    // below them is taken to be in no zone.
    for top in zones.iter().map(Zone::apex).chain(zones.forwards_outside()) {
        let parents = top.iter_suffixes().skip(1).filter(|parent| parent.label_count() > walk_from as usize);
        // Within another zone they are names of that one.
        let parents =
            parents.map(|parent| Folded::new(parent.for_slice())).filter(|parent| zones.zone_of(parent).is_none());
        above.extend(parents.map(|parent| parent.wire().to_vec()));
    }
    named.extend(zones.forwards_outside().map(|name| Named {
        wire: Folded::new(name.for_slice()).wire().to_vec(),
        entry: NameEntry { kind: NAME_OPAQUE, ..NameEntry::default() },
    }));
    let entry = NameEntry { kind: NAME_ABOVE, ..NameEntry::default() };
    named.extend(above.into_iter().map(|wire| Named { wire, entry }));
    named
}

/// What is said of one name; nothing of what lies below a delegation, a DNAME or a forward name.
fn entry(zone: &Zone, node: &Node, first: &Plan, model: &Model) -> Option<NameEntry> {
    let name: &Name<[u8]> = node.owner.for_slice();
    let is_hidden = match zone.find(&Folded::new(name), false) {
        Found::Cut(above) | Found::Forward(above) => above.owner != node.owner,
        Found::Redirect(_) => true,
        _ => false,
    };
    if is_hidden {
        return None;
    }
    let kind = match node.dynamic {
        _ if node.is_cut || node.is_forward || node.alias().is_some() || node.redirect().is_some() => NAME_OPAQUE,
        Some(dynamic) if dynamic.refer.is_some() => NAME_REFERRED,
        Some(_) => NAME_SERVED,
        None => NAME_STATIC,
    };
    let has_https = node.dynamic.is_some_and(|own| model.pool_of(model.names[own.id.0].kind).https.is_some());
    Some(NameEntry {
        apex: (node.owner.len() - zone.apex().len()) as u8,
        kind,
        flags: if zone.has_wildcard(name) { NAME_HAS_WILDCARD } else { 0 } | if has_https { NAME_HAS_HTTPS } else { 0 },
        service: node.dynamic.map_or(0, |dynamic| first.service_of[dynamic.id.0]),
        types: node.sets.iter().fold(0, |types, set| types | type_bit(set.rtype.to_int())),
        ..NameEntry::default()
    })
}
