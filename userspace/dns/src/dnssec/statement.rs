//! Everything that is signed at a name, in the order of its signatures:
//!
//! ```text
//! NSEC of all types | NSEC without A | … AAAA | … HTTPS | set … set | A … A | AAAA … AAAA | HTTPS … HTTPS
//!                     (of a name that the plan answers)               (each answer that it may give)
//! ```

use std::borrow::Cow;

use domain::base::{Name, Rtype};

use super::chain::{Chain, Link, signed_sets};
use crate::zone::{DYNAMIC_TYPES, Data, Zone};
use zerottl_core::model::DynamicType;
use zerottl_sign::signature::RecordSet;

/// A part of what is signed at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The NSEC with all types that may be here.
    Nsec,
    /// That without one that the plan answers.
    Narrow(DynamicType),
    /// A set of records, by its position among [`signed_sets`].
    Set(usize),
    /// An answer of the plan, by its position among the alternatives.
    Answer(DynamicType, usize),
}

/// A set of records to be signed.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    owner: &'a Name<[u8]>,
    rtype: Rtype,
    pub ttl: u32,
    pub data: Cow<'a, [Data]>,
}

impl Statement<'_> {
    pub fn set(&self) -> RecordSet<'_> {
        RecordSet { owner: self.owner, rtype: self.rtype, ttl: self.ttl, data: &self.data }
    }
}

impl Link {
    /// Whether an NSEC without a type that the plan answers is signed.
    pub fn has_narrow(&self, of: DynamicType) -> bool {
        self.alternatives.is_some() && self.types.contains(&DYNAMIC_TYPES[of.index()])
    }

    fn narrows(&self) -> usize {
        DynamicType::ALL.into_iter().filter(|of| self.has_narrow(*of)).count()
    }

    fn answers(&self, of: DynamicType) -> usize {
        self.alternatives.as_ref().map_or(0, |alternatives| alternatives.of(of).len())
    }

    /// All its parts, in the order of their signatures.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let narrow = DynamicType::ALL.into_iter().filter(|of| self.has_narrow(*of)).map(Part::Narrow);
        let answers =
            DynamicType::ALL.into_iter().flat_map(|of| (0..self.answers(of)).map(move |at| Part::Answer(of, at)));
        [Part::Nsec].into_iter().chain(narrow).chain((0..self.sets).map(Part::Set)).chain(answers)
    }

    /// How many signatures it has.
    pub fn len(&self) -> usize {
        let answers: usize = DynamicType::ALL.into_iter().map(|of| self.answers(of)).sum();
        1 + self.narrows() + self.sets + answers
    }

    /// The position of a part's signature among the link's.
    pub fn position(&self, part: Part) -> Option<usize> {
        let types = |upto: DynamicType| DynamicType::ALL.into_iter().take(upto.index());
        let at = match part {
            Part::Nsec => 0,
            Part::Narrow(of) => 1 + types(of).filter(|of| self.has_narrow(*of)).count(),
            Part::Set(at) => 1 + self.narrows() + at,
            Part::Answer(of, at) => {
                1 + self.narrows() + self.sets + types(of).map(|of| self.answers(of)).sum::<usize>() + at
            }
        };
        (at < self.len()).then_some(at)
    }
}

impl Chain {
    /// Everything that is signed at a link.
    pub(super) fn statements<'a>(&'a self, zone: &'a Zone, at: usize) -> impl Iterator<Item = Statement<'a>> {
        self.links[at].parts().filter_map(move |part| self.statement(zone, at, part))
    }

    /// A part of a link.
    pub(super) fn statement<'a>(&'a self, zone: &'a Zone, at: usize, part: Part) -> Option<Statement<'a>> {
        let link = &self.links[at];
        let owner = link.owner.for_slice();
        let nsec = |without: Option<Rtype>| {
            let data = self.nsec(at, without);
            Statement { owner, rtype: Rtype::NSEC, ttl: self.proof_ttl, data: Cow::Owned(vec![data]) }
        };
        Some(match part {
            Part::Nsec => nsec(None),
            Part::Narrow(of) => nsec(Some(DYNAMIC_TYPES[of.index()])),
            Part::Set(position) => {
                let set = signed_sets(zone.node(owner)?, link.is_cut).nth(position)?;
                Statement { owner, rtype: set.rtype, ttl: set.ttl, data: Cow::Borrowed(&set.data) }
            }
            Part::Answer(of, position) => {
                let alternatives = link.alternatives.as_ref()?;
                let data = alternatives.of(of).get(position..=position)?;
                Statement { owner, rtype: DYNAMIC_TYPES[of.index()], ttl: alternatives.ttl, data: Cow::Borrowed(data) }
            }
        })
    }
}
