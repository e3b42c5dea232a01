//! Data that lies where something else answers: below a delegation, a DNAME, a forward name or another zone's apex.
//!
//! A records file may hold it all the same, as zones often do: it is kept, goes with the whole zone (RFC 5936 section
//! 3.5) and is never an answer. What is configured must not lie there.

use std::collections::HashSet;

use domain::base::Rtype;

use super::{At, Builder, Fault, FoldedName, Node, ZoneError};
use zerottl_core::model;

impl Builder<'_> {
    /// Marks the cuts.
    pub(super) fn mark_cuts(&mut self) {
        let apex = self.zone.apex.clone();
        for node in self.nodes.values_mut() {
            node.is_cut = node.owner != apex && node.set(Rtype::NS).is_some();
        }
    }

    /// Makes the apexes of zones within this one exist here, since names above them must not be NXDOMAIN.
    pub(super) fn add_inner_apexes(&mut self) {
        let (model, apex) = (self.model, &self.zone.apex);
        for inner in model.zones.iter().map(|zone| &zone.apex) {
            if inner != apex && inner.ends_with(apex) {
                self.node(inner);
            }
        }
    }

    /// The apex of the zone that holds a name of ours, if that is another one.
    pub(super) fn inner_above(&self, name: &model::Name) -> Option<model::Name> {
        let folded = FoldedName::new(name.for_slice());
        let above = folded.labels().checked_sub(self.zone.apex.label_count())?;
        let found = (0..above).find_map(|first| self.of_apex.get(folded.suffix(first)))?;
        Some(self.model.zones[*found].apex.clone())
    }

    /// Makes the nodes of forward names, and refuses what they would hide.
    pub(super) fn add_forwards(&mut self) {
        let (model, apex) = (self.model, &self.zone.apex);
        let forwards = model.forwards.iter().map(|forward| &forward.name);
        let forwards: Vec<_> =
            forwards.filter(|name| name.ends_with(apex) && self.inner_above(name).is_none()).collect();
        if forwards.is_empty() {
            return;
        }
        let wires: HashSet<Box<[u8]>> =
            forwards.iter().map(|forward| FoldedName::new(forward.for_slice()).wire().into()).collect();
        let mut told = Vec::new();
        for node in self.nodes.values() {
            let mut suffixes = node.owner.iter_suffixes();
            let above = suffixes.find(|suffix| wires.contains(FoldedName::new(suffix.for_slice()).wire()));
            let Some(forward) = above else { continue };
            let key = FoldedName::new(node.owner.for_slice());
            let place = self.places.iter().find(|(line, ..)| **line == *key.wire());
            let message = format!("{} lies at or below {forward}, which is forwarded", node.owner);
            told.push(match place {
                Some((.., place)) => place.error(Fault::new(At::Owner, message)),
                None => ZoneError::general(format!("zone {apex}: {message}")),
            });
        }
        told.sort_by_key(|fault| (fault.file.clone(), fault.line));
        for fault in told {
            self.faults.error(fault);
        }
        for forward in forwards {
            self.node(forward).is_forward = true;
        }
    }

    /// Warns of records that are never answered, and refuses configured names, and name servers, where nothing is.
    pub(super) fn tell_what_is_hidden(&mut self) {
        let mut warnings = Vec::new();
        for (key, rtype, place) in &self.places {
            let Some(node) = self.nodes.get(key) else { continue };
            let what = format!("{rtype} at {}", node.owner);
            let kept = "it is kept, and not answered";
            if let Some(message) = self.hidden(node, *rtype) {
                warnings.push(place.error(Fault::new(At::Owner, format!("{what} {message}: {kept}"))));
            } else if *rtype == Rtype::DS && !node.is_cut {
                let fault = Fault::new(At::Type, format!("{what} without an NS set: no name is delegated there"));
                warnings.push(place.error(fault.help("add the NS records, or take it out")));
            }
        }
        for warning in warnings {
            self.faults.warn(warning);
        }
        if self.nodes.values().all(Node::is_plain) {
            return;
        }
        let mut errors = Vec::new();
        let servers: HashSet<_> = self.name_servers().into_iter().collect();
        for node in self.nodes.values() {
            if let Some(cut) = self.cut_above(&node.owner).filter(|_| node.dynamic.is_some()) {
                errors.push(format!("{} is configured, but hidden by the delegation of {}", node.owner, cut.owner));
                continue;
            }
            if !(node.dynamic.is_some() || node.is_forward || servers.contains(&node.owner)) {
                continue;
            }
            if let Some(above) = self.redirect_above(&node.owner) {
                let above = &above.owner;
                errors.push(format!("{} is hidden by the DNAME of {above} (RFC 6672 section 2.4)", node.owner));
            }
        }
        errors.sort();
        for message in errors {
            let file = self.zone.records.clone();
            self.faults.error(ZoneError { file, ..ZoneError::general(message) });
        }
    }

    /// Why a record is never answered, if so. A cut's own NS, DS and addresses are the referral, addresses below it may be
    /// glue.
    fn hidden(&self, node: &Node, rtype: Rtype) -> Option<String> {
        let is_address = matches!(rtype, Rtype::A | Rtype::AAAA);
        if node.is_cut && !is_address && !matches!(rtype, Rtype::NS | Rtype::DS) {
            return Some("is hidden by its delegation".into());
        }
        if let Some(cut) = self.cut_above(&node.owner)
            && !is_address
        {
            return Some(format!("is hidden by the delegation of {}", cut.owner));
        }
        if let Some(above) = self.redirect_above(&node.owner) {
            return Some(format!("is hidden by the DNAME of {} (RFC 6672 section 2.4)", above.owner));
        }
        let inner = self.inner_above(&node.owner)?;
        let is_referral = is_address || (node.owner == inner && matches!(rtype, Rtype::NS | Rtype::DS));
        (!is_referral).then(|| format!("lies in the zone {inner}, which is answered from its own records"))
    }

    fn redirect_above(&self, name: &model::Name) -> Option<&Node> {
        let folded = FoldedName::new(name.for_slice());
        let above = folded.labels().checked_sub(self.zone.apex.label_count())?;
        (1..=above).filter_map(|first| self.nodes.get(folded.suffix(first))).find(|node| node.redirect().is_some())
    }

    fn cut_above(&self, name: &model::Name) -> Option<&Node> {
        let folded = FoldedName::new(name.for_slice());
        let above = folded.labels().checked_sub(self.zone.apex.label_count())?;
        (1..above).filter_map(|first| self.nodes.get(folded.suffix(first))).find(|node| node.is_cut)
    }
}
