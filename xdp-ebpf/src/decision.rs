//! A decided answer: numbers that say all of it, so that it can be put away and taken over again.

use crate::{
    layout::Control,
    limit::Class,
    maps::Maps,
    name::OFFSET_MASK,
    net::{self, Datagram},
    query::{self, HEADER, Query, RECORD_FIXED},
    reason::Reason,
    rtype::TYPE_A,
    scratch::Scratch,
    sum::Sum,
};

/// A decided answer: what [`answer::write`](crate::answer::write) needs to make the query it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The query's headers.
    pub datagram: Datagram,
    /// The query.
    pub query: Query,
    /// Bytes of EDNS options, which lie in the scratch area.
    pub options_len: usize,
    /// The contents of the answer.
    pub body: Body,
    /// Bytes of signatures and proofs behind the record.
    pub signed_len: usize,
    /// Records of them.
    pub signed_records: u16,
    /// Whether its client proved by a cookie that it is who it says.
    pub(crate) known: bool,
    /// One of the `RATE_` constants.
    pub(crate) rate: u32,
}

/// Within its client network's rate, or not limited.
pub(crate) const RATE_KEPT: u32 = 0;
/// Over it, and sent truncated.
pub(crate) const RATE_SLIP: u32 = 1;
/// Over it in a dry run, and sent.
pub(crate) const RATE_DRY: u32 = 2;
/// Truncated, as its client network has had its bytes of signed answers.
pub(crate) const RATE_BYTES: u32 = 3;

/// The contents of an answer.
///
/// Numbers, not references or an enum with fields: the verifier then follows what makes the answer's bytes once, and not
/// once for every kind of answer times every kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its record.
    pub record: AnswerRecord,
    /// AA, TC and RCODE, as the header's flags.
    pub flags: u16,
    /// Where the zone's apex begins within the question's name.
    pub apex: u8,
    /// The RCODE's upper bits, which stand in the OPT record (RFC 6891 section 6.1.3).
    pub extended_rcode: u8,
    /// Bytes of the record, its owner a pointer.
    pub record_len: usize,
    /// Position in `ENDPOINTS` or `RDATA`.
    pub index: u32,
    /// TTL of the record (be).
    pub ttl: u32,
}

/// The one record of an answer. A number and not an enum, which the verifier would follow once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerRecord(u8);

impl AnswerRecord {
    /// None.
    pub const NONE: Self = Self(0);
    /// The address of an endpoint, of the type asked for.
    pub const ADDRESS: Self = Self(1);
    /// A zone's SOA, in the authority section.
    pub const SOA: Self = Self(2);
    /// An HTTPS record.
    pub const HTTPS: Self = Self(3);
}

/// AA, as a header's flag.
pub(crate) const AA: u16 = 0x0400;
/// TC, as a header's flag.
pub(crate) const TC: u16 = 0x0200;
/// RCODEs.
pub(crate) const SERVFAIL: u16 = 2;
pub(crate) const NXDOMAIN: u16 = 3;
pub(crate) const REFUSED: u16 = 5;

impl Body {
    /// No record.
    #[inline(always)]
    pub(crate) const fn bare(flags: u16) -> Self {
        Self { record: AnswerRecord::NONE, flags, apex: 0, extended_rcode: 0, record_len: 0, index: 0, ttl: 0 }
    }

    /// One address.
    #[inline(always)]
    pub(crate) const fn address(aaaa: bool, index: u32, ttl: u32) -> Self {
        let record_len = RECORD_FIXED + if aaaa { 16 } else { 4 };
        Self { record: AnswerRecord::ADDRESS, record_len, index, ttl, ..Self::bare(AA) }
    }

    /// NODATA or NXDOMAIN with the zone's SOA (RFC 2308).
    #[inline(always)]
    pub(crate) fn negative<M: Maps>(maps: &M, index: u16, apex: u8, rcode: u16) -> Result<Self, Reason> {
        let index = u32::from(index);
        let rdata = maps.rdata(index).ok_or(Reason::Internal)?;
        let record_len = RECORD_FIXED + usize::from(rdata.len);
        Ok(Self { record: AnswerRecord::SOA, apex, record_len, index, ttl: rdata.ttl, ..Self::bare(AA | rcode) })
    }

    /// One HTTPS record (RFC 9460).
    #[inline(always)]
    pub(crate) fn https<M: Maps>(maps: &M, index: u32, ttl: u32) -> Result<Self, Reason> {
        let record_len = RECORD_FIXED + usize::from(maps.rdata(index).ok_or(Reason::Internal)?.len);
        Ok(Self { record: AnswerRecord::HTTPS, record_len, index, ttl, ..Self::bare(AA) })
    }

    /// Whether it is NXDOMAIN.
    #[inline(always)]
    pub(crate) const fn is_nxdomain(&self) -> bool {
        self.flags & 0xf == NXDOMAIN
    }

    /// Returns an equal body of which the verifier knows nothing.
    #[inline(always)]
    pub(crate) fn forgotten(self, control: &Control) -> Self {
        Self::from_words(self.words().map(|word| control.forget_word(word)))
    }

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        let record = u64::from(self.record.0);
        let meta = record | u64::from(self.flags) << 8 | u64::from(self.apex) << 24 | (self.record_len as u64) << 32;
        [meta | u64::from(self.extended_rcode) << 48, u64::from(self.index) | u64::from(self.ttl) << 32]
    }

    #[inline(always)]
    fn from_words([meta, data]: [u64; 2]) -> Self {
        Self {
            record: AnswerRecord(meta as u8),
            flags: (meta >> 8) as u16,
            apex: (meta >> 24) as u8,
            extended_rcode: (meta >> 48) as u8,
            record_len: (meta >> 32) as usize & 0x3ff,
            index: data as u32,
            ttl: (data >> 32) as u32,
        }
    }
}

impl Answer {
    #[inline(always)]
    pub(crate) const fn new(datagram: Datagram, query: Query, options_len: usize, body: Body, known: bool) -> Self {
        Self { datagram, query, options_len, body, signed_len: 0, signed_records: 0, known, rate: RATE_KEPT }
    }

    /// Why this answer, for the counters.
    #[inline(always)]
    #[must_use]
    pub fn reason(&self) -> Reason {
        let body = &self.body;
        match self.rate {
            RATE_SLIP => return Reason::AnswerSlip,
            RATE_DRY => return Reason::AnswerOverLimit,
            RATE_BYTES => return Reason::AnswerSignedBytes,
            _ => {}
        }
        match body.record {
            AnswerRecord::SOA if self.signed_records == 0 => {
                if body.is_nxdomain() {
                    Reason::AnswerNxdomain
                } else {
                    Reason::AnswerNodata
                }
            }
            AnswerRecord::SOA if body.is_nxdomain() => Reason::AnswerSignedNxdomain,
            AnswerRecord::SOA => Reason::AnswerSignedNodata,
            AnswerRecord::ADDRESS | AnswerRecord::HTTPS if self.signed_records != 0 => Reason::AnswerSigned,
            AnswerRecord::ADDRESS if self.query.rtype == TYPE_A => Reason::AnswerA,
            AnswerRecord::ADDRESS => Reason::AnswerAaaa,
            AnswerRecord::HTTPS => Reason::AnswerHttps,
            _ if body.flags & TC != 0 => Reason::AnswerTruncated,
            _ if body.flags & 0xf == REFUSED => Reason::AnswerRefused,
            _ if body.flags & 0xf == SERVFAIL => Reason::AnswerServfail,
            _ => Reason::AnswerBadvers,
        }
    }

    /// Returns the class that it is limited with.
    #[inline(always)]
    pub(crate) fn class(&self) -> Class {
        match self.body.record {
            AnswerRecord::ADDRESS | AnswerRecord::HTTPS => Class::Data,
            AnswerRecord::SOA if self.body.is_nxdomain() => Class::Nxdomain,
            AnswerRecord::SOA => Class::Nodata,
            _ => Class::Other,
        }
    }

    /// Without its record, and TC.
    #[inline(always)]
    pub(crate) fn truncated(self, control: &Control) -> Self {
        let Body { flags, extended_rcode, .. } = self.body;
        let body = Body { extended_rcode, ..Body::bare(flags | TC) }.forgotten(control);
        Self { body, signed_len: 0, signed_records: 0, ..self }
    }

    /// As it is sent where it may not be whole, for one of the `RATE_` constants.
    #[inline(always)]
    pub(crate) fn held_back(self, control: &Control, rate: u32) -> Self {
        Self { rate, ..self.truncated(control) }
    }

    /// Whether the program that signs has to add signatures.
    #[inline(always)]
    #[must_use]
    pub fn is_to_sign(&self, scratch: &Scratch) -> bool {
        scratch.is_signed.get() != 0 && self.body.record != AnswerRecord::NONE
    }

    /// Puts the answer away once more, for [`taken_over`](Self::taken_over).
    #[inline(always)]
    pub(crate) fn put_away(&self, scratch: &Scratch) {
        park_body(scratch, &self.body);
        let word = scratch.parked[5].get() & PARKED_SUM;
        let rest = u64::from(self.rate) << 16 | u64::from(self.signed_records) << 24;
        scratch.parked[5].set(word | rest | (self.signed_len as u64) << 32);
    }

    /// The answer that was put away. Read anew where it is needed, it takes no place on the stack between.
    #[inline(always)]
    #[must_use]
    pub fn taken_over(scratch: &Scratch) -> Self {
        let (mut datagram, mut query) = (Datagram::default(), Query::default());
        unpark(scratch, &mut datagram, &mut query);
        let word = scratch.parked[5].get();
        query.name.sum = Sum::of(word as u16);
        let has_options = query.edns.options_len != 0;
        Self {
            datagram,
            query,
            options_len: if has_options { scratch.options.said_len.get() as usize & 0x7f } else { 0 },
            body: unpark_body(scratch),
            signed_len: (word >> 32) as usize & OFFSET_MASK,
            signed_records: (word >> 24) as u16 & 7,
            known: has_options && scratch.options.known.get() != 0,
            rate: (word >> 16) as u32 & 3,
        }
    }

    /// Length of the DNS message.
    #[inline(always)]
    #[must_use]
    pub(crate) fn dns_len(&self) -> usize {
        let opt = if self.query.has_edns { query::OPT + self.options_len } else { 0 };
        HEADER + self.query.name_len + query::QUESTION_FIXED + self.body.record_len + self.signed_len + opt
    }

    /// Whether the answer is more than the client takes or, counted as an IP packet, more than 2 times its query if it is
    /// positive and 2.5 times if not (invariant 8). An address never reaches its bound: with a cookie and NSID it adds 68
    /// bytes at most to a packet of 76 at least.
    #[inline(always)]
    pub(crate) fn is_too_big(&self) -> bool {
        let headers = net::UDP + if self.datagram.v6 { net::IPV6 } else { net::IPV4 };
        let len = self.dns_len();
        let halves = if self.body.record == AnswerRecord::HTTPS { 4 } else { 5 };
        len > self.query.size_max() || 2 * (headers + len) > halves * (headers + self.datagram.dns_len)
    }
}

/// Puts away what is known of the query while steps are taken, for [`unpark`].
///
/// Before Linux 6.8 the verifier cannot follow a number back over a call of `bpf_loop`: if it has to, to know where in the
/// packet something lies, it gives up telling what matters from what does not, and then follows every way there is to such
/// a call on its own, far over its limit. What comes back from a map is new to it, so nothing is followed back.
#[inline(always)]
pub(crate) fn park(scratch: &Scratch, datagram: &Datagram, query: &Query) {
    let Query { name_len, name, rtype, has_edns, edns, .. } = query;
    let places = datagram.l3 as u64 | (datagram.dns as u64) << 8 | (*name_len as u64) << 16;
    let flags = u64::from(datagram.v6) | u64::from(*has_edns) << 1 | u64::from(edns.dnssec_ok) << 2;
    scratch.parked[0].set(places | flags << 24 | u64::from(*rtype) << 32);
    let lens = datagram.dns_len as u64 | (edns.size as u64) << 16;
    scratch.parked[1].set(lens | (edns.options_len as u64) << 32);
    scratch.parked[2].set(name.hash);
}

/// Takes it back. Sums are not used for places, and stay; neither does a version other than 0 come so far.
#[inline(always)]
pub(crate) fn unpark(scratch: &Scratch, datagram: &mut Datagram, query: &mut Query) {
    let word = scratch.parked[0].get();
    datagram.l3 = word as usize & 0x1f;
    datagram.dns = (word >> 8) as usize & 0x7f;
    query.name_len = (word >> 16) as usize & 0xff;
    datagram.v6 = word >> 24 & 1 != 0;
    query.has_edns = word >> 25 & 1 != 0;
    query.edns.dnssec_ok = word >> 26 & 1 != 0;
    query.rtype = (word >> 32) as u16;
    let word = scratch.parked[1].get();
    datagram.dns_len = word as usize & 0xffff;
    query.edns.size = (word >> 16) as usize & 0xffff;
    query.edns.options_len = (word >> 32) as usize & 0xffff;
    query.name.hash = scratch.parked[2].get();
}

/// As [`park`].
#[inline(always)]
pub(crate) fn park_body(scratch: &Scratch, body: &Body) {
    let words = body.words();
    scratch.parked[3].set(words[0]);
    scratch.parked[4].set(words[1]);
}

/// As [`unpark`].
#[inline(always)]
pub(crate) fn unpark_body(scratch: &Scratch) -> Body {
    Body::from_words([scratch.parked[3].get(), scratch.parked[4].get()])
}

/// The name's sum, in the last word of what is parked for signing; before it lie what was signed and the rate.
const PARKED_SUM: u64 = 0xffff;

/// As [`park`], with what else [`Answer::taken_over`] wants of a query.
#[inline(always)]
pub(crate) fn park_for_signing(scratch: &Scratch, datagram: &Datagram, query: &Query) {
    park(scratch, datagram, query);
    scratch.parked[5].set(u64::from(query.name.sum.fold()));
}

/// Notes that the answer is over a rate that only counts.
#[inline(always)]
pub(crate) fn note_dry_run(scratch: &Scratch) {
    scratch.parked[5].set(scratch.parked[5].get() & PARKED_SUM | u64::from(RATE_DRY) << 16);
}
