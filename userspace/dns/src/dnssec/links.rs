//! A signed zone for another place that answers from it, which lays the signatures out in its own way: the kernel.

use std::sync::{Arc, PoisonError};

use domain::base::{Name, Rtype};

use super::{
    chain::{COHORTS, Link, signed_sets},
    mirror::CohortMirror,
    statement::Part,
    zone::SignedZone,
};
use crate::zone::{DYNAMIC_TYPES, Data, Zone};
use zerottl_core::model::{self, DynamicType};
use zerottl_sign::{canonical, signature};

/// A name of the chain.
#[derive(Clone, Copy, Debug)]
pub struct ChainLink<'a> {
    signed: &'a SignedZone,
    at: usize,
}

impl SignedZone {
    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &model::Name {
        &self.chain.apex
    }

    /// Seconds that proofs live.
    #[must_use]
    pub fn proof_ttl(&self) -> u32 {
        self.chain.proof_ttl
    }

    /// The names of the chain, in its order.
    pub fn links(&self) -> impl Iterator<Item = ChainLink<'_>> {
        (0..self.chain.links.len()).map(|at| self.link_at(at))
    }

    /// The name at a position of the chain.
    #[must_use]
    pub fn link_at(&self, at: usize) -> ChainLink<'_> {
        ChainLink { signed: self, at }
    }

    /// The position of a name that is in the chain.
    #[must_use]
    pub fn link_of(&self, name: &Name<[u8]>) -> Option<usize> {
        self.chain.link(name)
    }

    /// The position of the last name that is not after another, whose proof denies that one.
    #[must_use]
    pub fn gap_of(&self, name: &Name<[u8]>) -> usize {
        self.chain.before(name)
    }

    /// As [`gap_of`](Self::gap_of) the wildcard right below a name.
    #[must_use]
    pub fn gap_of_wildcard(&self, name: &Name<[u8]>) -> usize {
        self.chain.before_key(&canonical::wildcard_key(name))
    }

    /// How many lines each cohort has.
    #[must_use]
    pub fn lines(&self) -> [usize; COHORTS] {
        let mut lines = [0; COHORTS];
        for link in &self.chain.links {
            lines[usize::from(link.cohort)] += link.len();
        }
        lines
    }

    /// Gives a place all signatures that there are, and each cohort that is signed from now on.
    pub fn mirror_to(&self, mut mirror: Box<dyn CohortMirror>) {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        for at in 0..COHORTS {
            self.with_cohort(at, |signatures| mirror.put(at, signatures));
        }
        mirrors.push(mirror);
    }
}

impl<'a> ChainLink<'a> {
    fn link(&self) -> &'a Link {
        &self.signed.chain.links[self.at]
    }

    /// Its name, as the zone spells it.
    #[must_use]
    pub fn owner(&self) -> &'a model::Name {
        &self.link().owner
    }

    /// Its cohort.
    #[must_use]
    pub fn cohort(&self) -> usize {
        usize::from(self.link().cohort)
    }

    /// Its labels as RRSIGs count them.
    #[must_use]
    pub fn labels(&self) -> u8 {
        signature::labels(self.link().owner.for_slice())
    }

    /// Its NSEC records with their lines: that of all its types, then those that lack one which the plan answers.
    pub fn proofs(&self) -> impl Iterator<Item = (Option<DynamicType>, u32, Data)> {
        let (link, chain, at) = (self.link(), &self.signed.chain, self.at);
        link.parts().filter_map(move |part| {
            let of = match part {
                Part::Nsec => None,
                Part::Narrow(of) => Some(of),
                Part::Set(_) | Part::Answer(..) => return None,
            };
            let without = of.map(|of| DYNAMIC_TYPES[of.index()]);
            Some((of, link.first + link.position(part)? as u32, chain.nsec(at, without)))
        })
    }

    /// The answers of a type that the plan may give, and the line of the first one's signature.
    #[must_use]
    pub fn answers(&self, of: DynamicType) -> Option<(u32, &'a [Data])> {
        let link = self.link();
        let position = link.position(Part::Answer(of, 0))?;
        let answers = link.alternatives.as_ref()?.of(of);
        (!answers.is_empty()).then_some((link.first + position as u32, answers))
    }

    /// A number that names of the same answers share.
    #[must_use]
    pub fn answers_id(&self) -> Option<usize> {
        self.link().alternatives.as_ref().map(|alternatives| Arc::as_ptr(alternatives).addr())
    }

    /// The line and the TTL of one of the zone's own sets here.
    #[must_use]
    pub fn set(&self, zone: &Zone, rtype: Rtype) -> Option<(u32, u32)> {
        let link = self.link();
        let node = zone.node(link.owner.for_slice())?;
        let (at, set) = signed_sets(node, link.is_cut).enumerate().find(|(_, set)| set.rtype == rtype)?;
        Some((link.first + link.position(Part::Set(at))? as u32, set.ttl))
    }
}
