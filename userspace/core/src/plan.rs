//! The plan: which slot of which table answers each name, compiled from the model and one moment's status.
//!
//! Pure: the same model and status make the same plan. A plan says, for every name and family, one of
//! [`Choice`]'s arms; the kernel and the socket path both answer from it (invariant 7).

mod compile;
mod eligible;
pub mod headroom;
pub mod n_minus_one;
mod service;
mod services;
mod site_inputs;
mod spec;
mod steer;
mod table;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

pub use compile::{Planner, UnevenShare, share_warnings};
pub use service::{Basis, Choice, Service, Table, mask6};
pub use services::Services;
pub use site_inputs::SiteInputs;
pub use spec::{binding_count, bindings_of_site};
pub use steer::Before;
pub use table::CANDIDATES_MAX;

use crate::model::{DynamicType, NameId, PoolId, SiteId};

/// The contents of an HTTPS record about a Site: a service binding (RFC 9460).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Whose `https` it has.
    pub pool: PoolId,
    /// The Site's first live IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The Site's first live IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// The service that answers a pool's clients of one set of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTarget {
    /// Position in [`Plan::services`].
    pub service: u32,
    /// Whose cursor turns: the group's, which has a table of its own.
    pub name: NameId,
}

/// The shares of a plan, from which those of the next plan move on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares {
    /// By position in [`Plan::services`] and [`DynamicType::index`]: of each Site that takes new clients, its share
    /// (least-load) or what it keeps of its slots (sticky with a bounded load), 0 to 1. Only where one of these is so.
    pub of: BTreeMap<u32, [Vec<(SiteId, f64)>; 3]>,
    /// Whether some are not yet where they are due, so that there is a plan to be made even if nothing else changes.
    pub moving: bool,
}

/// A compiled plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Counts up by one with every publication; 0 is "none yet".
    pub generation: u64,
    /// Every answered address of the model; fixed for the model's life.
    pub endpoints: Arc<[IpAddr]>,
    /// Every HTTPS record that the model's Sites can come to; fixed for the model's life.
    pub bindings: Arc<[Binding]>,
    /// The distinct services.
    pub services: Services,
    /// By [`NameId`]: the name's position in `services`; fixed for the model's life.
    pub service_of: Arc<[u32]>,
    /// By [`Service::chosen`] and set of groups; fixed for the model's life.
    pub chosen: Arc<[GroupTarget]>,
    /// The shares that the next plan's move on from.
    pub shares: Shares,
    /// By Site: what it was made from.
    pub site_inputs: Arc<[SiteInputs]>,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedAnswer {
    /// This address, with this TTL in seconds.
    Address(IpAddr, u32),
    /// This HTTPS record, with this TTL in seconds.
    Https(Binding, u32),
    /// NOERROR, SOA in authority.
    NoData,
    /// SERVFAIL.
    Servfail,
}

impl Plan {
    /// Whether both answer alike, whatever their generations.
    #[must_use]
    pub fn answers_as(&self, other: &Self) -> bool {
        self.services == other.services
    }

    /// Returns the answers of `name` for a type.
    #[must_use]
    pub fn choice(&self, name: NameId, of: impl Into<DynamicType>) -> &Choice {
        &self.service(name).choice[of.into().index()]
    }

    /// The service behind a name.
    #[must_use]
    pub fn service(&self, name: NameId) -> &Service {
        &self.services[self.service_of[name.0] as usize]
    }
}
