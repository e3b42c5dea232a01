//! A service: what equal names answer, by type.

use std::{net::IpAddr, sync::Arc};

use xdp_ebpf::decide::sticky_turn;

use crate::model::Policy;

/// The answers of one name for one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One slot of a table, chosen by the name's policy.
    Table(Table),
    /// NOERROR without data: no configured Site has this family, or the Site that answers has none; or no HTTPS.
    NoData,
    /// SERVFAIL, by `all_down`.
    Servfail,
}

/// 2^k slots, each an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// Positions in [`Plan::endpoints`](super::Plan::endpoints); for HTTPS, in [`Plan::bindings`](super::Plan::bindings).
    pub slots: Arc<[u16]>,
    /// Why these endpoints.
    pub basis: Basis,
}

/// Why a table holds the endpoints it holds; [`exclusion`](crate::exclusion) says which comes before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// They are live.
    Live,
    /// `up_threshold` is undershot: all count as up.
    UpThreshold,
    /// None is live: `all_down = "fail-open"`.
    FailOpen,
    /// They are live, and one at least only so that the pool keeps its `min_sites` and `min_capacity`.
    Minimum,
    /// They are live but held back, and no other is live.
    Held,
    /// They are live but drained, and no other is live.
    Drained,
}

/// The common part of a set of equal names: policy, Sites and knobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where a pool's part of [`Plan::chosen`](super::Plan::chosen) begins, by set of groups; none where no group has client nets.
    pub chosen: Option<u32>,
    /// Where the slot index comes from.
    pub policy: Policy,
    /// TTL of positive answers, seconds.
    pub ttl: u32,
    /// Client prefix lengths for `sticky`: IPv4, IPv6.
    pub sticky_prefix: (u8, u8),
    /// By [`DynamicType::index`](crate::model::DynamicType::index).
    pub choice: [Choice; 3],
}

impl Service {
    /// The slot index of a client under `sticky`, before it is cut to a table's size; the kernel's own function.
    #[must_use]
    pub fn sticky_turn(&self, client: IpAddr) -> u32 {
        match client {
            IpAddr::V4(client) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.sticky_prefix.0)).unwrap_or(0);
                sticky_turn([u64::from((client.to_bits() & mask).to_be()), 0])
            }
            IpAddr::V6(client) => {
                let masked = client.to_bits() & mask6(self.sticky_prefix.1);
                sticky_turn([((masked >> 64) as u64).to_be(), (masked as u64).to_be()])
            }
        }
    }
}

/// The network mask of an IPv6 prefix length.
#[must_use]
pub fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}
