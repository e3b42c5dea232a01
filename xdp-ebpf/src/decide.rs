//! The decision: from a frame and the maps to an answer, or the reason why not.
//!
//! ```text
//! frame ─ net ─ query ─> name ─> NameEntry ─> Service[bank] ─> Choice[family] ─ policy ─> slot ─> Endpoint
//!                          │        │            ^ Control::word, read once
//!                          │        └ no record of that type: NODATA
//!                          └ missing: walk ─> NXDOMAIN, REFUSED
//! ```

use crate::{
    frame::Frame,
    layout::{
        BANKS, BLOCK_DISPLACEMENTS, BLOCK_SLOTS, CHOICE_CURSOR, CHOICE_NODATA, CHOICE_RANDOM, CHOICE_SERVFAIL,
        CHOICE_STICKY, Choice, Control, Displace, Endpoint, NAME_ABOVE, NAME_INLINE, NAME_OPAQUE, NAME_REFERRED,
        NAME_SERVED, NameEntry, NameTail, Service, SlotBlock, Soa, type_bit,
    },
    name,
    net::{self, Datagram},
    query::{self, HEADER, Query, TYPE_A, TYPE_AAAA},
    reason::Reason,
    scratch::Scratch,
    walk::{self, Missing, Step},
};

/// The maps, as the program sees them; `None` is an index beyond the end.
pub trait Maps {
    /// `CONTROL`.
    fn control(&self) -> Option<&Control>;
    /// `DISPLACE`.
    fn displace(&self, block: u32) -> Option<&Displace>;
    /// `NAMES`.
    fn name(&self, index: u32) -> Option<&NameEntry>;
    /// `TAILS`.
    fn tail(&self, index: u32) -> Option<&NameTail>;
    /// `SOAS`.
    fn soa(&self, index: u32) -> Option<&Soa>;
    /// `ENDPOINTS`.
    fn endpoint(&self, index: u32) -> Option<&Endpoint>;
    /// `SERVICES`.
    fn service(&self, index: u32) -> Option<&Service>;
    /// `SLOTS`.
    fn slots(&self, block: u32) -> Option<&SlotBlock>;
    /// Takes this CPU's next turn of the name at `index` of `NAMES`.
    fn turn(&self, index: u32, family: usize) -> Option<u32>;
    /// A random number.
    fn random(&self) -> u32;
    /// `SCRATCH`.
    fn scratch(&self) -> Option<&Scratch>;
    /// Takes a step up to `times` times, until one is the last.
    fn repeat<S: Step>(&self, times: u32);
}

/// A decided answer: what [`answer::write`](crate::answer::write) needs to make the query it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'m> {
    /// The query's headers.
    pub datagram: Datagram,
    /// The query.
    pub query: Query,
    /// What it says.
    pub body: Body<'m>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub enum Body<'m> {
    /// One address, of the type asked for.
    Address {
        /// The address.
        endpoint: &'m Endpoint,
        /// Its TTL (be).
        ttl: u32,
    },
    /// The zone's SOA in the authority section: NODATA or NXDOMAIN.
    Negative {
        /// The zone's SOA.
        soa: &'m Soa,
        /// Where the apex begins within the question's name.
        apex: u8,
        /// NXDOMAIN, not NODATA.
        missing: bool,
    },
    /// No record.
    Bare(Bare),
}

/// An answer without records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// In no zone of ours.
    Refused,
    /// By `all_down`.
    Servfail,
    /// An EDNS version we do not know.
    Badvers,
    /// NODATA, truncated.
    TruncatedNodata,
    /// NXDOMAIN, truncated.
    TruncatedNxdomain,
}

impl Bare {
    /// AA, TC and RCODE, as the header's flags.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u16 {
        match self {
            Self::Refused => 0x0005,
            Self::Servfail => 0x0002,
            Self::Badvers => 0x0000,
            Self::TruncatedNodata => 0x0600,
            Self::TruncatedNxdomain => 0x0603,
        }
    }

    /// The RCODE's upper bits, which stand in the OPT record (RFC 6891 section 6.1.3).
    #[inline(always)]
    #[must_use]
    pub const fn extended_rcode(self) -> u8 {
        match self {
            Self::Badvers => 1,
            _ => 0,
        }
    }
}

impl Answer<'_> {
    /// Why this answer, for the counters.
    #[inline(always)]
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.body {
            Body::Address { .. } if self.query.rtype == TYPE_A => Reason::AnswerA,
            Body::Address { .. } => Reason::AnswerAaaa,
            Body::Negative { missing: false, .. } => Reason::AnswerNodata,
            Body::Negative { missing: true, .. } => Reason::AnswerNxdomain,
            Body::Bare(Bare::Refused) => Reason::AnswerRefused,
            Body::Bare(Bare::Servfail) => Reason::AnswerServfail,
            Body::Bare(Bare::Badvers) => Reason::AnswerBadvers,
            Body::Bare(Bare::TruncatedNodata | Bare::TruncatedNxdomain) => Reason::AnswerTruncated,
        }
    }

    /// Length of the DNS message.
    #[inline(always)]
    #[must_use]
    pub fn dns_len(&self) -> usize {
        let record = match self.body {
            Body::Address { .. } => 12 + if self.query.rtype == TYPE_A { 4 } else { 16 },
            Body::Negative { soa, .. } => 12 + usize::from(soa.len),
            Body::Bare(_) => 0,
        };
        let opt = if self.query.edns.is_some() { query::OPT } else { 0 };
        HEADER + self.query.name_len + query::QUESTION_FIXED + record + opt
    }

    /// Whether a negative answer is more than the client takes or, counted as an IP packet, more than 2.5 times its query
    /// (invariant 8). A positive one never reaches its bound of 2: it adds 28 bytes at most to a packet of 45 at least.
    #[inline(always)]
    fn is_too_big(&self) -> bool {
        let headers = net::UDP + if self.datagram.v6 { net::IPV6 } else { net::IPV4 };
        let len = self.dns_len();
        len > self.query.size_max() || 2 * (headers + len) > 5 * (headers + self.datagram.dns_len)
    }
}

/// Decides what becomes of a frame. Writes nothing.
#[inline(always)]
pub fn decide<M: Maps>(frame: Frame, maps: &M) -> Result<Answer<'_>, Reason> {
    let control = maps.control().ok_or(Reason::Internal)?;
    let datagram = net::parse(frame, control)?;
    let query = query::parse(frame, &datagram, control)?;
    if !datagram.checksum_is_good(query.sum) {
        return Err(Reason::PassUdpChecksum);
    }
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Ok(Answer { datagram, query, body: Body::Bare(Bare::Badvers) });
    }
    // 128 to 255 are questions and message parts, 0 is reserved (RFC 6895 section 3.1); OPT is one as well.
    if query.rtype == 0 || query.rtype & 0xff80 == 0x80 || query.rtype == query::TYPE_OPT {
        return Err(Reason::PassType);
    }
    let Some((index, entry)) = find(frame, maps, control, &datagram, &query)? else {
        let body = match walk::missing(frame, maps, control, datagram.dns + HEADER, query.name_len)? {
            Missing::NoZone => Body::Bare(Bare::Refused),
            Missing::InZone { soa, apex } => {
                return negative(maps, datagram, query, soa, apex, true);
            }
        };
        return Ok(Answer { datagram, query, body });
    };
    match entry.kind {
        NAME_SERVED if query.rtype == TYPE_A || query.rtype == TYPE_AAAA => {}
        NAME_REFERRED => return Err(Reason::PassReferral),
        NAME_OPAQUE => return Err(Reason::PassStatic),
        NAME_ABOVE => return Ok(Answer { datagram, query, body: Body::Bare(Bare::Refused) }),
        _ if entry.types & type_bit(query.rtype) != 0 => return Err(Reason::PassStatic),
        _ => return negative(maps, datagram, query, entry.soa, entry.apex, false),
    }
    // The one read of the generation: everything below is of this bank (invariant 4).
    // SAFETY: a reference to an aligned u64; volatile because the agent stores to it while we run.
    let word = unsafe { core::ptr::read_volatile(&raw const control.word) };
    if word == 0 {
        return Err(Reason::PassNoPlan);
    }
    let bank = word as u32 % BANKS;
    let service = maps.service(bank * control.bank_services + entry.service).ok_or(Reason::Internal)?;
    let aaaa = query.rtype == TYPE_AAAA;
    let choice = if aaaa { &service.choice[1] } else { &service.choice[0] };
    let turn = match choice.kind {
        CHOICE_CURSOR => maps.turn(index, usize::from(aaaa)).ok_or(Reason::Internal)?,
        CHOICE_RANDOM => maps.random(),
        CHOICE_STICKY => sticky(frame, &datagram, service).ok_or(Reason::Internal)?,
        CHOICE_NODATA => return negative(maps, datagram, query, entry.soa, entry.apex, false),
        CHOICE_SERVFAIL => return Ok(Answer { datagram, query, body: Body::Bare(Bare::Servfail) }),
        _ => return Err(Reason::Internal),
    };
    let slot = slot(maps, bank * control.bank_blocks, choice, turn).ok_or(Reason::Internal)?;
    let endpoint = maps.endpoint(slot).ok_or(Reason::Internal)?;
    Ok(Answer { datagram, query, body: Body::Address { endpoint, ttl: service.ttl } })
}

/// NODATA or NXDOMAIN with the zone's SOA (RFC 2308), or truncated.
#[inline(always)]
fn negative<M: Maps>(
    maps: &M,
    datagram: Datagram,
    query: Query,
    soa: u16,
    apex: u8,
    missing: bool,
) -> Result<Answer<'_>, Reason> {
    let soa = maps.soa(u32::from(soa)).ok_or(Reason::Internal)?;
    let answer = Answer { datagram, query, body: Body::Negative { soa, apex, missing } };
    if !answer.is_too_big() {
        return Ok(answer);
    }
    let bare = if missing { Bare::TruncatedNxdomain } else { Bare::TruncatedNodata };
    Ok(Answer { body: Body::Bare(bare), ..answer })
}

/// Finds a name and its position: one displacement, one entry, compared whole (invariant 2).
#[inline(always)]
fn find<'m, M: Maps>(
    frame: Frame,
    maps: &'m M,
    control: &Control,
    datagram: &Datagram,
    query: &Query,
) -> Result<Option<(u32, &'m NameEntry)>, Reason> {
    let hash = query.name.hash;
    let bucket = (hash >> 32) as u32 & control.bucket_mask;
    let block = maps.displace(bucket / BLOCK_DISPLACEMENTS as u32).ok_or(Reason::Internal)?;
    let displacement = block.0[bucket as usize % BLOCK_DISPLACEMENTS];
    let index = position(hash, displacement, control.slot_mask);
    let entry = maps.name(index).ok_or(Reason::Internal)?;
    let mut differs = u64::from(entry.len) ^ query.name_len as u64;
    let mut i = 0;
    while i < NAME_INLINE / 8 {
        differs |= entry.name[i] ^ query.name.words[i];
        i += 1;
    }
    if differs != 0 {
        return Ok(None);
    }
    if query.name_len > NAME_INLINE {
        let tail = maps.tail(entry.tail).ok_or(Reason::Internal)?;
        if !name::tail_is(frame, datagram.dns + HEADER, query.name_len, tail, control) {
            return Ok(None);
        }
    }
    Ok(Some((index, entry)))
}

/// Where the perfect hash puts a name.
#[inline(always)]
#[must_use]
pub const fn position(hash: u64, displacement: u32, slot_mask: u32) -> u32 {
    (hash as u32).wrapping_add(displacement) & slot_mask
}

#[inline(always)]
fn slot<M: Maps>(maps: &M, bank: u32, choice: &Choice, turn: u32) -> Option<u32> {
    let index = turn & u32::from(choice.mask);
    let block = maps.slots(bank + choice.block + index / BLOCK_SLOTS as u32)?;
    Some(u32::from(block.0[index as usize % BLOCK_SLOTS]))
}

/// The client's prefix as a turn.
#[inline(always)]
fn sticky(frame: Frame, datagram: &Datagram, service: &Service) -> Option<u32> {
    if datagram.v6 {
        let source = frame.claim::<16>(datagram.l3 + 8)?;
        Some(sticky_turn([source.u64::<0>() & service.mask6[0], source.u64::<8>() & service.mask6[1]]))
    } else {
        let source = frame.claim::<4>(datagram.l3 + 12)?.u32::<0>();
        Some(sticky_turn([u64::from(source & service.mask4), 0]))
    }
}

/// The turn of a masked client address, as in the packet. Unkeyed, so that every front end agrees; without the family
/// asked for, so that A and AAAA agree (sticky needs no secrecy: a client can only choose its own Site). The last round
/// lets an address's last byte reach the bits that choose a slot.
#[inline(always)]
#[must_use]
pub const fn sticky_turn(prefix: [u64; 2]) -> u32 {
    (name::mix(name::mix(name::mix(prefix[0], 0), prefix[1]), 0) >> 16) as u32
}
