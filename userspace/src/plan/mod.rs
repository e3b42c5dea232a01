//! The plan: which slot of which table answers each name, compiled from the model and one moment's status.
//!
//! Pure: the same model and status make the same plan. A plan says, for every name and family, one of
//! [`Choice`]'s arms; the kernel and the socket path both answer from it (invariant 7).

use std::{net::IpAddr, sync::Arc};

use crate::model::{Family, NameId, Policy};

/// What one name answers for one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One slot of a table, chosen by the name's policy.
    Table(Arc<Table>),
    /// NOERROR without data: no configured Site has this family, or the Site that answers has none.
    NoData,
    /// SERVFAIL, by `all_down`.
    Servfail,
}

/// 2^k slots, each an endpoint. Equal tables are one `Arc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Positions in [`Plan::endpoints`].
    pub slots: Box<[u16]>,
}

/// What a set of equal names shares: policy, Sites and knobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where the slot index comes from.
    pub policy: Policy,
    /// TTL of positive answers, seconds.
    pub ttl: u32,
    /// Client prefix lengths for `sticky`: IPv4, IPv6.
    pub sticky_prefix: (u8, u8),
    /// By [`Family::index`].
    pub choice: [Choice; 2],
}

/// A compiled plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Counts up by one with every publication; 0 is "none yet".
    pub generation: u64,
    /// Every answered address of the model; fixed for the model's life.
    pub endpoints: Arc<[IpAddr]>,
    /// The distinct services.
    pub services: Vec<Service>,
    /// By [`NameId`]: the name's position in `services`; fixed for the model's life.
    pub service_of: Arc<[u32]>,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This address, with this TTL in seconds.
    Address(IpAddr, u32),
    /// NOERROR, SOA in authority.
    NoData,
    /// SERVFAIL.
    Servfail,
}

impl Plan {
    /// What `name` answers for `family`.
    #[must_use]
    pub fn choice(&self, name: NameId, family: Family) -> &Choice {
        &self.service(name).choice[family.index()]
    }

    /// The service behind a name.
    #[must_use]
    pub fn service(&self, name: NameId) -> &Service {
        &self.services[self.service_of[name.0] as usize]
    }
}
