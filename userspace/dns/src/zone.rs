//! The zones' data and the look-up.
//!
//! A zone is a map from every existing name (empty non-terminals included) to its node. A look-up walks down from the
//! apex label by label and stops at the first name that does not exist, which finds delegations on the way and makes
//! the last existing name the closest encloser of RFC 4592.

use std::{collections::HashMap, net::IpAddr};

use bytes::Bytes;
use domain::{
    base::{Name, iana::Rtype},
    rdata::ZoneRecordData,
};

use ipnet::IpNet;

use zerottl_core::model::{self, DynamicType, ForwardId, NameId, ZoneId};

/// The longest name, in bytes of wire form (RFC 1035 section 2.3.4).
const NAME_LEN_MAX: usize = 255;
/// The most labels such a name can have, the root included.
const LABELS_MAX: usize = 128;

/// Record data, names uncompressed.
pub type Data = ZoneRecordData<Bytes, model::Name>;

/// The records of one name and type.
#[derive(Clone, Debug)]
pub struct RrSet {
    /// Their type.
    pub rtype: Rtype,
    /// Their TTL, seconds; one for all (RFC 2181 section 5.2).
    pub ttl: u32,
    /// Their data, without duplicates; empty only for the key sets of a signed zone, which are with its signatures.
    pub data: Vec<Data>,
}

/// The types that the plan answers at Pool, Group and Site Names, by [`DynamicType::index`].
pub const DYNAMIC_TYPES: [Rtype; 3] = [Rtype::A, Rtype::AAAA, Rtype::HTTPS];

/// A type as the plan knows it; none that it does not answer.
#[must_use]
pub fn dynamic_type(rtype: Rtype) -> Option<DynamicType> {
    DYNAMIC_TYPES.iter().position(|own| *own == rtype).map(|of| DynamicType::ALL[of])
}

/// The role that answers a dynamic name which this machine refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pool and Group Names: `balance_nameservers`.
    Balance,
    /// Site Names: `failover_nameservers`.
    Failover,
}

/// A Pool, Group or Site Name in a zone's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// Its position in the model.
    pub id: NameId,
    /// Where it is referred to, if this machine does not answer it (invariant 10).
    pub refer: Option<Role>,
}

/// An existing name. Without sets and dynamic it is an empty non-terminal.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name as the records file spells it.
    pub owner: model::Name,
    /// Static data, in no particular order.
    pub sets: Vec<RrSet>,
    /// The dynamic name that the plan answers A and AAAA for.
    pub dynamic: Option<Dynamic>,
    /// Whether an NS set below the apex delegates from here on down.
    pub is_cut: bool,
    /// Whether other servers are asked from here on down.
    pub is_forward: bool,
}

impl Node {
    /// A name that exists and has nothing.
    #[must_use]
    pub fn empty(owner: model::Name) -> Self {
        Self { owner, sets: Vec::new(), dynamic: None, is_cut: false, is_forward: false }
    }

    /// The records of one type.
    #[must_use]
    pub fn set(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// The target, where the name is an alias.
    #[must_use]
    pub fn alias(&self) -> Option<&model::Name> {
        match self.set(Rtype::CNAME)?.data.first()? {
            Data::Cname(cname) => Some(cname.cname()),
            _ => None,
        }
    }

    /// Where all names below this one are redirected to (RFC 6672).
    #[must_use]
    pub fn redirect(&self) -> Option<&model::Name> {
        match self.set(Rtype::DNAME)?.data.first()? {
            Data::Dname(dname) => Some(dname.dname()),
            _ => None,
        }
    }
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
    /// By name in wire form, lower case.
    pub(super) nodes: HashMap<Box<[u8]>, Node>,
    /// The apex SOA with a negative answer's TTL.
    pub(super) soa: RrSet,
    /// Whether that is the records file's.
    pub(super) has_own_soa: bool,
    pub(super) balance: Option<RrSet>,
    pub(super) failover: Option<RrSet>,
    /// Clients that may have it whole; nobody where it has dynamic names.
    pub(super) transfer_to: Vec<IpNet>,
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
        matches!(self.wildcard(FoldedName::new(name).wire()), Found::Wildcard(_))
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
        zone.holds(name) && self.zone_of(&FoldedName::new(name)).is_some_and(|holder| holder.id == zone.id)
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

/// A name in lower case with its labels' places; on the stack, made once per look-up.
#[derive(Debug)]
pub struct FoldedName {
    wire: [u8; NAME_LEN_MAX],
    len: usize,
    starts: [u8; LABELS_MAX],
    labels: usize,
}

impl FoldedName {
    /// Folds a name (RFC 4343). Length bytes are at most 63, below any letter, so they fold to themselves.
    #[must_use]
    pub fn new(name: &Name<[u8]>) -> Self {
        let bytes = name.as_slice();
        let mut folded = Self { wire: [0; NAME_LEN_MAX], len: bytes.len(), starts: [0; LABELS_MAX], labels: 0 };
        folded.wire[..bytes.len()].copy_from_slice(bytes);
        folded.wire.make_ascii_lowercase();
        let mut at = 0;
        for label in name {
            folded.starts[folded.labels] = at;
            folded.labels += 1;
            // A label and its length byte are at most 64 bytes, a whole name 255; after the root this is not read.
            at = at.wrapping_add(label.len() as u8).wrapping_add(1);
        }
        folded
    }

    /// The whole name.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire[..self.len]
    }

    /// How many labels it has, the root included.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The name without its first `first` labels; `first` is less than [`Self::labels`].
    #[must_use]
    pub fn suffix(&self, first: usize) -> &[u8] {
        &self.wire[usize::from(self.starts[first])..self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn name(text: &str) -> model::Name {
        Name::from_str(text).unwrap()
    }

    #[test]
    fn folding_keeps_labels_and_drops_case() {
        let folded = FoldedName::new(name("wWw.App.COM.").for_slice());
        assert_eq!(folded.wire(), b"\x03www\x03app\x03com\0");
        assert_eq!((folded.labels(), folded.suffix(1), folded.suffix(3)), (4, &b"\x03app\x03com\0"[..], &b"\0"[..]));
    }

    #[test]
    fn folding_takes_the_longest_names() {
        let most_labels = name(&"a.".repeat(127));
        assert_eq!(FoldedName::new(most_labels.for_slice()).labels(), 128);
        let longest = name(&format!("{0}.{0}.{0}.{1}.", "x".repeat(63), "y".repeat(61)));
        let folded = FoldedName::new(longest.for_slice());
        assert_eq!((folded.wire().len(), folded.labels(), folded.suffix(4)), (255, 5, &b"\0"[..]));
    }
}
