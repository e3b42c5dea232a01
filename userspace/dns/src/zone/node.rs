//! An existing name and its records.

use bytes::Bytes;
use domain::{base::iana::Rtype, rdata::ZoneRecordData};
use zerottl_core::model::{self, NameId};

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

    /// Whether it says nothing of other names, as a delegation, a forward name, a DNAME or a wildcard does.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_wildcard = self.owner.first().as_slice() == b"*";
        !self.is_cut && !self.is_forward && self.redirect().is_none() && !is_wildcard
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
