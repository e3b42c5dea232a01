//! The part of each Site's status that a plan is made from.
//!
//! It is worked out once for all the names that a Site serves, and is little enough to be compared: a name none of whose
//! Sites has other inputs than in the plan before answers as it did there, unless it is steered by load.

use crate::{
    exclusion::Exclusion,
    model::{Family, Model, SiteId},
    status::Assessment,
};

/// Where one Site stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteInputs {
    /// By family, of its addresses the first live one, else the first.
    pub(super) first: [Option<AddressChoice>; 2],
    /// Whether any of its addresses is live.
    pub(super) is_up: bool,
    /// The cause that excludes it.
    pub(super) exclusion: Exclusion,
    /// Whether an exclusion of its own was lifted for the pool's minimum.
    pub(super) overridden: bool,
    /// The weight in force.
    pub(super) weight: u32,
    /// Of that, what it is to get; 0 is no new clients.
    pub(super) wanted: f64,
}

/// One of a Site's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressChoice {
    /// Position in [`Plan::endpoints`](super::Plan::endpoints).
    pub endpoint: u16,
    pub live: bool,
}

/// The addresses of all Sites, one after the other: position of the family in [`Family::ALL`], and endpoint.
#[derive(Debug)]
pub(super) struct AddressIndex(Vec<(usize, u16)>);

impl AddressIndex {
    /// `endpoints` are positions by Site and address.
    pub fn new(model: &Model, endpoints: &[Vec<u16>]) -> Self {
        let all = model.sites.iter().zip(endpoints).flat_map(|(site, of)| site.addresses.iter().zip(of));
        Self(all.map(|(address, endpoint)| (usize::from(Family::V6.has(address.answer)), *endpoint)).collect())
    }

    /// Where every Site stands.
    pub fn site_inputs(&self, model: &Model, status: &Assessment) -> Vec<SiteInputs> {
        let mut rest = &self.0[..];
        let inputs = |(site, health): (usize, &[_])| {
            let (own, others) = rest.split_at(health.len());
            rest = others;
            let mut first: [Option<AddressChoice>; 2] = [None; 2];
            let mut is_up = false;
            for (address, (family, endpoint)) in own.iter().copied().enumerate() {
                let live = status.address_is_live(model, SiteId(site), address);
                is_up |= live;
                if first[family].is_none_or(|first| live && !first.live) {
                    first[family] = Some(AddressChoice { endpoint, live });
                }
            }
            let state = &status.sites[site];
            let (exclusion, overridden, weight, wanted) =
                (state.exclusion(), state.overridden, state.weight, state.wanted());
            SiteInputs { first, is_up, exclusion, overridden, weight, wanted }
        };
        status.health.iter().enumerate().map(inputs).collect()
    }
}

/// Which Sites stand otherwise than before.
pub(super) fn moved<'a>(before: &'a [SiteInputs], now: &'a [SiteInputs]) -> impl Iterator<Item = SiteId> + 'a {
    before.iter().zip(now).enumerate().filter(|(_, (before, now))| before != now).map(|(i, _)| SiteId(i))
}
