//! Every existing name of the zones as the kernel knows it: who answers it, and which types it has.
//!
//! With these the kernel tells NODATA and NXDOMAIN itself. What it must not know better than the socket path is marked:
//! types that the records file has, wildcards, aliases, redirections, and delegations and forward names with all that lies below them.

use std::collections::HashSet;

use domain::base::{Name, Rtype};
use xdp_ebpf::layout::{
    NAME_ABOVE, NAME_HAS_HTTPS, NAME_HAS_WILDCARD, NAME_IS_SIGNED, NAME_OPAQUE, NAME_REFERRED, NAME_SERVED,
    NAME_STATIC, type_bit,
};

use super::perfect_hash::{NameFacts, Named};
use zerottl_core::{model::Model, plan::Plan};
use zerottl_dns::zone::{FoldedName, Node, Zone, Zones};

/// Labels of the shortest apex or forward name outside the zones, without the root: no shorter suffix needs to be looked up.
#[must_use]
pub fn walk_from(zones: &Zones) -> u32 {
    let apexes = zones.iter().map(Zone::apex);
    apexes.chain(zones.forwards_outside()).map(|name| name.label_count() as u32 - 1).min().unwrap_or(0)
}

/// The entries of all zones; `first` is any plan of theirs.
#[must_use]
pub fn names<'z>(zones: &'z Zones, walk_from: u32, first: &Plan, model: &Model) -> Vec<Named<'z>> {
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
                    .map(|entry| NameFacts { types: entry.types | outer, ..entry })
                    .map(|entry| NameFacts { soa: (first_soa + position) as u16, ..entry })
                    .map(|facts| Named { wire: node.owner.as_slice().into(), facts }),
            );
        }
    }
    // A walk meets these before the zones' names and has to pass by them. Forward names have to be reached before a name
    // below them is taken to be in no zone.
    for top in zones.iter().map(Zone::apex).chain(zones.forwards_outside()) {
        let parents = top.iter_suffixes().skip(1).filter(|parent| parent.label_count() > walk_from as usize);
        // Within another zone they are names of that one.
        let parents =
            parents.map(|parent| FoldedName::new(parent.for_slice())).filter(|parent| zones.zone_of(parent).is_none());
        above.extend(parents.map(|parent| parent.wire().to_vec()));
    }
    named.extend(zones.forwards_outside().map(|name| Named {
        wire: name.as_slice().into(),
        facts: NameFacts { kind: NAME_OPAQUE, ..NameFacts::default() },
    }));
    let facts = NameFacts { kind: NAME_ABOVE, ..NameFacts::default() };
    named.extend(above.into_iter().map(|wire| Named { wire: wire.into(), facts }));
    named
}

/// Makes the entry of one name; none for what lies below a delegation, a DNAME or a forward name.
fn entry(zone: &Zone, node: &Node, first: &Plan, model: &Model) -> Option<NameFacts> {
    let name: &Name<[u8]> = node.owner.for_slice();
    if zone.hides(node) {
        return None;
    }
    let kind = match node.dynamic {
        _ if node.is_cut || node.is_forward || node.alias().is_some() || node.redirect().is_some() => NAME_OPAQUE,
        Some(dynamic) if dynamic.refer.is_some() => NAME_REFERRED,
        Some(_) => NAME_SERVED,
        None => NAME_STATIC,
    };
    let has_https = node.dynamic.is_some_and(|own| model.pool_of(model.names[own.id.0].kind).https.is_some());
    Some(NameFacts {
        apex: (node.owner.len() - zone.apex().len()) as u8,
        kind,
        flags: if zone.has_wildcard(name) { NAME_HAS_WILDCARD } else { 0 }
            | if has_https { NAME_HAS_HTTPS } else { 0 }
            | if zone.is_signed() { NAME_IS_SIGNED } else { 0 },
        service: node.dynamic.map_or(0, |dynamic| first.service_of[dynamic.id.0]),
        // The chain's own records are the socket path's to answer.
        types: node.sets.iter().fold(0, |types, set| types | type_bit(set.rtype.to_int()))
            | if zone.is_signed() { type_bit(Rtype::NSEC.to_int()) } else { 0 },
        soa: 0,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::perfect_hash::NameTable;
    use zerottl_config as config;
    use zerottl_core::{plan::Planner, status::Assessment};

    const TEXT: &str = "[front]\nxdp = \"off\"\naddresses = [\"192.0.2.1\"]\n\
        [zone.\"z.example\"]\nnameservers = [\"ns.example.net\"]\ncontact = \"h@z.example\"\nrecords = \"z\"\n\
        [zone.\"in.deep.z.example\"]\nnameservers = [\"ns.example.net\"]\ncontact = \"h@z.example\"\n\
        [zone.\".\"]\nnameservers = [\"ns.example.net\"]\ncontact = \".\"\n\
        [pool.\"p.z.example\"]\nsites = [\"s\"]\n[site.s]\nname = \"s.z.example\"\naddresses = [\"192.0.2.2\"]\n";
    const RECORDS: &str = "cut NS ns.x.\ncut TXT t\nbelow.cut TXT t\na.b.below.cut A 192.0.2.3\nold DNAME new\nx.old TXT t\n\
        y.x.old A 192.0.2.4\nx.in.deep TXT t\nin.deep NS ns.x.\n";

    /// Every name once; what is hidden is no entry, so that a look-up of it ends at what hides it.
    #[test]
    fn hidden_names_are_no_entries_and_no_name_stands_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("z"), RECORDS).expect("written");
        let loaded = config::parse("f", TEXT, folder.path()).expect("valid");
        let model = Arc::new(loaded.model);
        let first = Planner::new(Arc::clone(&model)).follow(&Assessment::unknown(&model), 1, None);
        let walk_from = walk_from(&loaded.zones);
        assert_eq!(walk_from, 0, "the root is the first step");
        let all = names(&loaded.zones, walk_from, &first, &model);
        NameTable::build(&all).expect("no name twice");
        let shown = |named: &Named<'_>| {
            (Name::from_slice(&named.wire).expect("a name").fmt_with_dot().to_string(), named.facts)
        };
        let all: BTreeMap<String, NameFacts> = all.iter().map(shown).collect();
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                ".",
                "cut.z.example.",
                "deep.z.example.",
                "example.",
                "example.net.",
                "in.deep.z.example.",
                "net.",
                "ns.example.net.",
                "old.z.example.",
                "p.z.example.",
                "s.z.example.",
                "z.example.",
            ]
        );
        assert_eq!((all["cut.z.example."].kind, all["old.z.example."].kind), (NAME_OPAQUE, NAME_OPAQUE));
        let inner = &all["in.deep.z.example."];
        assert_eq!(
            (inner.kind, inner.types & type_bit(43)),
            (NAME_STATIC, type_bit(43)),
            "DS there is the outer zone's"
        );
        assert_eq!(all["z.example."].types & type_bit(43), type_bit(43));
        assert_eq!(all["example."].kind, NAME_STATIC, "a name of the root zone");
    }
}
