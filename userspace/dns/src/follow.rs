//! Zones after those before them: what other servers make of the serials (RFC 1982).

use std::{cmp::Ordering, collections::HashMap};

use domain::{
    base::{Rtype, Serial},
    rdata::Soa,
};

use super::zone::{Data, FoldedName, Node, RrSet, Zone, Zones};
use zerottl_core::model::{self, Model};

impl Zones {
    /// Makes these zones follow those of the configuration before. A serial that makes itself never goes back, and goes
    /// forward with whatever has changed. Others are the operator's: what is odd about them is returned.
    #[must_use]
    pub fn follow(&mut self, before: &Self, model: &Model) -> Vec<String> {
        let mut warnings = Vec::new();
        for (zone, configured) in self.list.iter_mut().zip(&model.zones) {
            let Some(&old) = before.by_apex.get(FoldedName::new(zone.apex.for_slice()).wire()) else { continue };
            let old = &before.list[old];
            let (Some(was), Some(is)) = (soa(old).map(Soa::serial), soa(zone).map(Soa::serial)) else { continue };
            let changed = has_changed(old, zone);
            let order = is.partial_cmp(&was);
            if configured.auto_serial {
                if order != Some(Ordering::Greater) {
                    set_serial(zone, if changed { was.add(1) } else { was });
                }
                continue;
            }
            if !(configured.apex_settings.serial || zone.has_own_soa || !configured.transfer_to.is_empty()) {
                // Nobody goes by it.
                continue;
            }
            let what = match order {
                Some(Ordering::Greater) => continue,
                Some(Ordering::Equal) if !changed => continue,
                Some(Ordering::Equal) => format!("its data has changed, and its serial {is} has not"),
                _ => format!("its serial is {is} after {was}, which is not higher (RFC 1982)"),
            };
            let apex = &zone.apex;
            warnings.push(format!(
                "zone {apex}: {what}: other servers keep what they have (raise it, or set `serial = \"auto\"` in [zone.\"{apex}\"])"
            ));
        }
        warnings
    }
}

impl Zones {
    /// Gives a zone a serial that has been made elsewhere.
    pub fn set_serial(&mut self, id: model::ZoneId, serial: u32) {
        set_serial(&mut self.list[id.0], Serial(serial));
    }
}

impl Zone {
    /// The serial of its SOA.
    #[must_use]
    pub fn serial(&self) -> u32 {
        soa(self).map_or(0, |soa| soa.serial().into_int())
    }
}

fn soa(zone: &Zone) -> Option<&Soa<model::Name>> {
    match zone.soa.data.first()? {
        Data::Soa(soa) => Some(soa),
        _ => None,
    }
}

fn set_serial(zone: &mut Zone, serial: Serial) {
    let Some(soa) = soa(zone) else { return };
    let soa = Soa::new(
        soa.mname().clone(),
        soa.rname().clone(),
        serial,
        soa.refresh(),
        soa.retry(),
        soa.expire(),
        soa.minimum(),
    );
    let data = vec![soa.into()];
    let apex = zone.nodes.get_mut(FoldedName::new(zone.apex.for_slice()).wire());
    let set = apex.and_then(|apex| apex.sets.iter_mut().find(|set| set.rtype == Rtype::SOA));
    if let Some(set) = set {
        set.data.clone_from(&data);
    }
    zone.soa.data = data;
}

/// Whether anything but the serial differs.
fn has_changed(old: &Zone, new: &Zone) -> bool {
    // Names without data come and go with those below them.
    let with_data = |zone: &Zone| zone.nodes.values().filter(|node| !node.sets.is_empty()).count();
    with_data(old) != with_data(new)
        || new
            .nodes
            .values()
            .filter(|node| !node.sets.is_empty())
            .any(|node| old.node(node.owner.for_slice()).is_none_or(|old| !same_sets(old, node)))
}

fn same_sets(old: &Node, new: &Node) -> bool {
    old.sets.len() == new.sets.len()
        && new.sets.iter().all(|set| old.set(set.rtype).is_some_and(|old| same_set(old, set)))
}

fn same_set(old: &RrSet, new: &RrSet) -> bool {
    if old.ttl != new.ttl || old.data.len() != new.data.len() {
        return false;
    }
    if let ([Data::Soa(old)], [Data::Soa(new)]) = (&old.data[..], &new.data[..]) {
        let timers = |soa: &Soa<model::Name>| [soa.refresh(), soa.retry(), soa.expire(), soa.minimum()];
        return old.mname() == new.mname() && old.rname() == new.rname() && timers(old) == timers(new);
    }
    if old.data == new.data {
        return true;
    }
    // Their order says nothing.
    let mut counted: HashMap<String, isize> = HashMap::new();
    for (data, by) in old.data.iter().map(|data| (data, 1)).chain(new.data.iter().map(|data| (data, -1))) {
        *counted.entry(data.to_string()).or_default() += by;
    }
    counted.values().all(|count| *count == 0)
}
