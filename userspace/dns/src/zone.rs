//! The zones' data and the look-up.
//!
//! A zone is a map from every existing name (empty non-terminals included) to its node. A look-up walks down from the
//! apex label by label and stops at the first name that does not exist, which finds delegations on the way and makes
//! the last existing name the closest encloser of RFC 4592.

mod folded;
mod node;
mod nodes;

use std::{collections::HashMap, net::IpAddr};

use domain::base::{Name, iana::Rtype};

use ipnet::IpNet;

pub use self::{
    folded::FoldedName,
    node::{Data, Dynamic, Node, Role, RrSet},
    nodes::Nodes,
};
use zerottl_core::model::{self, DynamicType, ForwardId, ZoneId};

/// The longest name, in bytes of wire form (RFC 1035 section 2.3.4).
const NAME_LEN_MAX: usize = 255;

/// The types that the plan answers at Pool, Group and Site Names, by [`DynamicType::index`].
pub const DYNAMIC_TYPES: [Rtype; 3] = [Rtype::A, Rtype::AAAA, Rtype::HTTPS];

/// A type as the plan knows it; none that it does not answer.
#[must_use]
pub fn dynamic_type(rtype: Rtype) -> Option<DynamicType> {
    DYNAMIC_TYPES.iter().position(|own| *own == rtype).map(|of| DynamicType::ALL[of])
}

/// The result of a look-up.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The name itself.
    Exact(&'a Node),
    /// The wildcard at the closest encloser (RFC 4592 section 3.3.1).
    Wildcard(&'a Node),
    /// A delegation at or above the name.
    Cut(&'a Node),
    /// A DNAME above the name.
    Redirect(&'a Node),
    /// A forward name at or above the name.
    Forward(&'a Node),
    /// Neither the name nor a wildcard for it.
    Missing,
}

/// One zone, apex SOA and NS included.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) id: ZoneId,
    pub(super) apex: model::Name,
    pub(super) nodes: Nodes,
    /// The apex SOA with a negative answer's TTL.
    pub(super) soa: RrSet,
    /// Whether that is the records file's.
    pub(super) has_own_soa: bool,
    pub(super) balance: Option<RrSet>,
    pub(super) failover: Option<RrSet>,
    /// Clients that may have it whole; nobody where it has dynamic names.
    pub(super) transfer_to: Vec<IpNet>,
    /// Whether nothing in it says anything of other names: there is no delegation, forward name, DNAME or wildcard.
    pub(super) is_plain: bool,
    /// Whether it has the records of keys, and is answered with signatures where those are asked for.
    pub(super) is_signed: bool,
}

impl Zone {
    /// Its position in the model.
    #[must_use]
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &model::Name {
        &self.apex
    }

    /// Whether it is signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// The apex SOA as a negative answer has it: its TTL is min(TTL, MINIMUM), as RFC 2308 section 3 asks.
    #[must_use]
    pub fn soa(&self) -> &RrSet {
        &self.soa
    }

    /// The apex SOA with its own TTL.
    #[must_use]
    pub(crate) fn apex_soa(&self) -> &RrSet {
        let apex = self.nodes.get(FoldedName::new(self.apex.for_slice()).wire());
        apex.and_then(|apex| apex.set(Rtype::SOA)).unwrap_or(&self.soa)
    }

    /// Whether a client may have the whole zone.
    #[must_use]
    pub(crate) fn goes_to(&self, client: IpAddr) -> bool {
        self.transfer_to.iter().any(|net| net.contains(&client))
    }

    /// The NS set that a role's names are referred to with.
    #[must_use]
    pub fn referral(&self, role: Role) -> Option<&RrSet> {
        match role {
            Role::Balance => self.balance.as_ref(),
            Role::Failover => self.failover.as_ref(),
        }
    }

    /// Looks up a name that lies in the zone. With `parent_side`, a delegation at the name itself is an ordinary
    /// node: DS belongs to the parent (RFC 4035 section 3.1.4.1).
    #[must_use]
    pub fn find(&self, name: &FoldedName, parent_side: bool) -> Found<'_> {
        let apex_labels = self.apex.label_count();
        let Some(above) = name.labels().checked_sub(apex_labels) else { return Found::Missing };
        let mut encloser: &[u8] = &[];
        for first in (0..=above).rev() {
            let suffix = name.suffix(first);
            let Some(node) = self.nodes.get(suffix) else { return self.wildcard(encloser) };
            if node.is_cut && !(parent_side && first == 0) {
                return Found::Cut(node);
            }
            if node.is_forward {
                return Found::Forward(node);
            }
            if first == 0 {
                return Found::Exact(node);
            }
            if node.redirect().is_some() {
                return Found::Redirect(node);
            }
            encloser = suffix;
        }
        Found::Missing
    }

    fn wildcard(&self, encloser: &[u8]) -> Found<'_> {
        // Longer than a name can be where the encloser is as long as one can: then there is none.
        let mut name = [0; NAME_LEN_MAX + 2];
        name[..2].copy_from_slice(b"\x01*");
        name[2..2 + encloser.len()].copy_from_slice(encloser);
        self.nodes.get(&name[..2 + encloser.len()]).map_or(Found::Missing, Found::Wildcard)
    }

    /// The node of a name, whatever lies above it; for glue.
    #[must_use]
    pub fn node(&self, name: &Name<[u8]>) -> Option<&Node> {
        self.nodes.get(FoldedName::new(name).wire())
    }

    /// Whether a node is not this zone's to answer: a delegation, a forward name or a DNAME above it is.
    #[must_use]
    pub fn hides(&self, node: &Node) -> bool {
        if self.is_plain {
            return false;
        }
        match self.find(&FoldedName::new(node.owner.for_slice()), false) {
            Found::Cut(above) | Found::Forward(above) => above.owner != node.owner,
            Found::Redirect(_) => true,
            Found::Exact(_) | Found::Wildcard(_) | Found::Missing => false,
        }
    }

    /// Every existing name, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Whether a wildcard stands right below a name.
    #[must_use]
    pub fn has_wildcard(&self, name: &Name<[u8]>) -> bool {
        !self.is_plain && matches!(self.wildcard(FoldedName::new(name).wire()), Found::Wildcard(_))
    }

    /// Whether a name is the apex or below it.
    #[must_use]
    pub fn holds(&self, name: &Name<[u8]>) -> bool {
        name.ends_with(&self.apex)
    }
}

/// Every zone this machine is authoritative for.
#[derive(Clone, Debug)]
pub struct Zones {
    pub(super) list: Vec<Zone>,
    /// By apex in wire form, lower case; positions in `list`.
    pub(super) by_apex: HashMap<Box<[u8]>, usize>,
    /// The most labels an apex has, so that longer suffixes need not be tried.
    pub(super) apex_labels_max: usize,
    /// By forward name in wire form, lower case.
    pub(super) forwards: HashMap<Box<[u8]>, ForwardId>,
    /// The most labels a forward name has.
    pub(super) forward_labels_max: usize,
    /// Forward names that lie in no zone and below no other such name.
    pub(super) forwards_outside: Vec<model::Name>,
}

impl Zones {
    /// The zone that holds a name: the innermost, where zones lie within each other.
    #[must_use]
    pub fn zone_of(&self, name: &FoldedName) -> Option<&Zone> {
        self.zone_from(name, 0)
    }

    /// The zone that answers a question: DS at a zone's apex is the parent's to say, if that is here too (RFC 4035 section
    /// 3.1.4.1).
    #[must_use]
    pub fn zone_for(&self, name: &FoldedName, rtype: Rtype) -> Option<&Zone> {
        let zone = self.zone_of(name)?;
        let at_apex = rtype == Rtype::DS && zone.apex.label_count() == name.labels();
        Some(if at_apex { self.zone_from(name, 1).unwrap_or(zone) } else { zone })
    }

    /// Whether another zone here holds a zone's apex.
    #[must_use]
    pub fn is_inner(&self, zone: &Zone) -> bool {
        self.zone_from(&FoldedName::new(zone.apex.for_slice()), 1).is_some()
    }

    /// Whether a name is a zone's own, and of no zone within it.
    #[must_use]
    pub fn is_of(&self, zone: &Zone, name: &Name<[u8]>) -> bool {
        let is_inmost = || self.zone_of(&FoldedName::new(name)).is_some_and(|holder| holder.id == zone.id);
        zone.holds(name) && (self.list.len() == 1 || is_inmost())
    }

    fn zone_from(&self, name: &FoldedName, least: usize) -> Option<&Zone> {
        let from = name.labels().saturating_sub(self.apex_labels_max).max(least);
        (from..name.labels()).find_map(|first| self.by_apex.get(name.suffix(first))).map(|&zone| &self.list[zone])
    }

    /// The longest forward name that a name is at or below. It goes before any zone's data.
    #[must_use]
    pub fn forward_of(&self, name: &FoldedName) -> Option<ForwardId> {
        let from = name.labels().saturating_sub(self.forward_labels_max);
        (from..name.labels()).find_map(|first| self.forwards.get(name.suffix(first))).copied()
    }

    /// Forward names that lie in no zone; none is below another.
    pub fn forwards_outside(&self) -> impl Iterator<Item = &model::Name> {
        self.forwards_outside.iter()
    }

    /// All of them, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.list.iter()
    }

    /// The zone of a model's zone.
    #[must_use]
    pub fn zone(&self, id: ZoneId) -> &Zone {
        &self.list[id.0]
    }
}
