//! The contents of an answer, before it is a message.

use std::borrow::Cow;

use domain::base::{Name, iana::Rcode};

use super::zone::{Data, RrSet};
use zerottl_core::model;

/// A record's owner.
#[derive(Clone, Debug)]
pub enum Owner<'a> {
    /// As asked, or as the zone has it.
    Known(&'a Name<[u8]>),
    /// Made by a DNAME.
    Made(model::Name),
}

impl Owner<'_> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name<[u8]> {
        match self {
            Self::Known(name) => name,
            Self::Made(name) => name.for_slice(),
        }
    }
}

impl<'a> From<&'a Name<[u8]>> for Owner<'a> {
    fn from(name: &'a Name<[u8]>) -> Self {
        Self::Known(name)
    }
}

/// A record of an answer.
#[derive(Clone, Debug)]
pub struct Rr<'a> {
    /// Its owner.
    pub owner: Owner<'a>,
    /// Seconds.
    pub ttl: u32,
    /// Its data, which has its type.
    pub data: Cow<'a, Data>,
}

/// The contents of an answer, before any limit.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "three are bits of the answer's header, each on its own")]
pub struct Reply<'a> {
    /// The rcode.
    pub rcode: Rcode,
    /// Whether the zone's own data speaks for the question's name.
    pub authoritative: bool,
    /// RA: whether other servers were, or would have been, asked.
    pub recursive: bool,
    /// Whether there is more than can be said: TC, and no records.
    pub truncated: bool,
    /// The answer section.
    pub answer: Vec<Rr<'a>>,
    /// The authority section: the SOA of a negative answer, the NS of a referral.
    pub authority: Vec<Rr<'a>>,
    /// Glue that a referral cannot be followed without (RFC 9471).
    pub glue: Vec<Rr<'a>>,
    /// Addresses that only save a question; one set each.
    pub extra: Vec<Vec<Rr<'a>>>,
    /// Whether the plan made it, and not an alias led to that: then it is held to twice its query (invariant 8).
    pub by_plan: bool,
    /// Bits of the client's subnet that it depends on (RFC 7871 section 7.2.1); 0 for what is negative (section 7.4).
    pub scope: u8,
    /// Whether it has the signatures of a signed zone.
    pub is_signed: bool,
}

impl Reply<'_> {
    /// A reply that is only its rcode.
    #[must_use]
    pub fn bare(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            recursive: false,
            truncated: false,
            answer: Vec::new(),
            authority: Vec::new(),
            glue: Vec::new(),
            extra: Vec::new(),
            by_plan: false,
            scope: 0,
            is_signed: false,
        }
    }
}

/// The records of a set, under an owner.
pub(crate) fn records<'a>(owner: impl Into<Owner<'a>>, set: &'a RrSet) -> impl Iterator<Item = Rr<'a>> {
    let owner = owner.into();
    set.data.iter().map(move |data| Rr { owner: owner.clone(), ttl: set.ttl, data: Cow::Borrowed(data) })
}
