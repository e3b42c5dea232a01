//! The decision: from a frame and the maps to an answer, or the reason why not.
//!
//! ```text
//! frame ─ net ─ query ─> name ─> NameEntry ─> Service[bank] ─> choice[type] ─ policy ─> slot ─> Endpoint, Rdata
//!                          │        │            │  ^ Control::word, read once
//!                          │        │            └ client nets ─> Chosen ─> Service[bank], of a group
//!                          │        └ no record of that type: NODATA
//!                          └ missing: walk ─> NXDOMAIN, REFUSED
//! ```

use crate::{
    frame::Frame,
    layout::{
        BANKS, BLOCK_DISPLACEMENTS, BLOCK_SLOTS, CHOICE_CURSOR, CHOICE_NODATA, CHOICE_ONE, CHOICE_RANDOM,
        CHOICE_SERVFAIL, CHOICE_STICKY, CHOICES, ChoiceEntry, Control, NAME_ABOVE, NAME_HAS_HTTPS, NAME_INLINE,
        NAME_IS_SIGNED, NAME_OPAQUE, NAME_REFERRED, NAME_SERVED, NameEntry, STALE_BANK, ServiceEntry, choice_of,
        type_bit,
    },
    limit::Class,
    maps::Maps,
    name::{self, OFFSET_MASK},
    net::{self, Datagram},
    nets, options,
    query::{self, HEADER, Query, RECORD_FIXED},
    reason::Reason,
    rtype::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_OPT},
    scratch::Scratch,
    sum::Sum,
    walk::{self, Missing},
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
    rate: u32,
}

/// Within its client network's rate, or not limited.
const RATE_KEPT: u32 = 0;
/// Over it, and sent truncated.
const RATE_SLIP: u32 = 1;
/// Over it in a dry run, and sent.
const RATE_DRY: u32 = 2;
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
const AA: u16 = 0x0400;
/// TC, as a header's flag.
const TC: u16 = 0x0200;
/// RCODEs.
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

impl Body {
    /// No record.
    #[inline(always)]
    const fn bare(flags: u16) -> Self {
        Self { record: AnswerRecord::NONE, flags, apex: 0, extended_rcode: 0, record_len: 0, index: 0, ttl: 0 }
    }

    /// One address.
    #[inline(always)]
    const fn address(aaaa: bool, index: u32, ttl: u32) -> Self {
        let record_len = RECORD_FIXED + if aaaa { 16 } else { 4 };
        Self { record: AnswerRecord::ADDRESS, record_len, index, ttl, ..Self::bare(AA) }
    }

    /// NODATA or NXDOMAIN with the zone's SOA (RFC 2308).
    #[inline(always)]
    fn negative<M: Maps>(maps: &M, index: u16, apex: u8, rcode: u16) -> Result<Self, Reason> {
        let index = u32::from(index);
        let rdata = maps.rdata(index).ok_or(Reason::Internal)?;
        let record_len = RECORD_FIXED + usize::from(rdata.len);
        Ok(Self { record: AnswerRecord::SOA, apex, record_len, index, ttl: rdata.ttl, ..Self::bare(AA | rcode) })
    }

    /// One HTTPS record (RFC 9460).
    #[inline(always)]
    fn https<M: Maps>(maps: &M, index: u32, ttl: u32) -> Result<Self, Reason> {
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
    fn forgotten(self, control: &Control) -> Self {
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
    const fn new(datagram: Datagram, query: Query, options_len: usize, body: Body, known: bool) -> Self {
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
    fn class(&self) -> Class {
        match self.body.record {
            AnswerRecord::ADDRESS | AnswerRecord::HTTPS => Class::Data,
            AnswerRecord::SOA if self.body.is_nxdomain() => Class::Nxdomain,
            AnswerRecord::SOA => Class::Nodata,
            _ => Class::Other,
        }
    }

    /// Without its record, and TC.
    #[inline(always)]
    fn truncated(self, control: &Control) -> Self {
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

    /// Puts the answer away for the program that signs, or for [`taken_over`](Self::taken_over) there.
    #[inline(always)]
    pub fn hand_over(&self, scratch: &Scratch) {
        park(scratch, &self.datagram, &self.query);
        park_body(scratch, &self.body);
        let sum = u64::from(self.query.name.sum.fold());
        let rest = (self.options_len as u64) << 16 | u64::from(self.known) << 24 | u64::from(self.rate) << 25;
        let signed = (self.signed_len as u64) << 32 | u64::from(self.signed_records) << 48;
        scratch.parked[5].set(sum | rest | signed);
    }

    /// The answer that was put away. Read anew where it is needed, it takes no place on the stack between.
    #[inline(always)]
    #[must_use]
    pub fn taken_over(scratch: &Scratch) -> Self {
        let (mut datagram, mut query) = (Datagram::default(), Query::default());
        unpark(scratch, &mut datagram, &mut query);
        let word = scratch.parked[5].get();
        query.name.sum = Sum::of(word as u16);
        Self {
            datagram,
            query,
            options_len: (word >> 16) as usize & 0x7f,
            body: unpark_body(scratch),
            signed_len: (word >> 32) as usize & OFFSET_MASK,
            signed_records: (word >> 48) as u16 & 7,
            known: word >> 24 & 1 != 0,
            rate: (word >> 25) as u32 & 3,
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
    fn is_too_big(&self) -> bool {
        let headers = net::UDP + if self.datagram.v6 { net::IPV6 } else { net::IPV4 };
        let len = self.dns_len();
        let halves = if self.body.record == AnswerRecord::HTTPS { 4 } else { 5 };
        len > self.query.size_max() || 2 * (headers + len) > halves * (headers + self.datagram.dns_len)
    }
}

/// Decides what becomes of a frame. Writes nothing but the scratch area.
#[inline(always)]
pub fn decide<M: Maps>(frame: Frame, maps: &M) -> Result<Answer, Reason> {
    let control = maps.control().ok_or(Reason::Internal)?;
    let answer = answer(frame, maps, control)?;
    // A constant until here in some ways, which may not be followed back either: see `park`.
    let is_known = control.forget::<1>(usize::from(answer.known)) != 0;
    let rate = if control.limits.interval == 0 || is_known { RATE_KEPT } else { rate(frame, maps, control, &answer)? };
    let rate = control.forget::<3>(rate as usize) as u32;
    Ok(Answer { rate, ..if rate == RATE_SLIP { answer.truncated(control) } else { answer } })
}

/// Limits an answer by its client network's rate: one of the `RATE_` constants, or the reason to drop it.
#[inline(always)]
fn rate<M: Maps>(frame: Frame, maps: &M, control: &Control, answer: &Answer) -> Result<u32, Reason> {
    let (limits, datagram) = (&control.limits, &answer.datagram);
    let [address, _] = datagram.source(frame).ok_or(Reason::Internal)?;
    let v6 = control.forget::<1>(usize::from(datagram.v6)) != 0;
    let class = control.forget::<3>(answer.class() as usize);
    let key = limits.key(v6, control.forget_word(address), class as u32);
    let buckets = maps.buckets(key.block).ok_or(Reason::Internal)?;
    if limits.admit(buckets, key, maps.ticks(), |i| control.forget::<7>(i)) {
        return Ok(RATE_KEPT);
    }
    if limits.dry_run != 0 {
        return Ok(RATE_DRY);
    }
    if limits.slip == 0 || !maps.random().is_multiple_of(limits.slip) {
        return Err(Reason::DropLimited);
    }
    Ok(RATE_SLIP)
}

/// The answer, whoever asks how often.
#[inline(always)]
fn answer<M: Maps>(frame: Frame, maps: &M, control: &Control) -> Result<Answer, Reason> {
    // Looked up before it is known to be of use: later, or once for each use, is 250,000 instructions more to the verifier of
    // Linux 6.1.
    let scratch = maps.scratch().ok_or(Reason::Internal)?;
    let mut datagram = net::parse(frame, control)?;
    let mut query = query::parse(frame, &datagram, control)?;
    if !datagram.checksum_is_good(query.sum) {
        return Err(Reason::PassUdpChecksum);
    }
    if query.edns.version != 0 {
        let body = Body { extended_rcode: 1, ..Body::bare(0) }.forgotten(control);
        return Ok(Answer::new(datagram, query, 0, body, false));
    }
    // 128 to 255 are questions and message parts, 0 is reserved (RFC 6895 section 3.1); OPT is one as well.
    if query.rtype == 0 || query.rtype & 0xff80 == 0x80 || query.rtype == TYPE_OPT {
        return Err(Reason::PassType);
    }
    if query.edns.options_len != 0 {
        let at = datagram.dns + HEADER + query.name_len + query::QUESTION_FIXED + query::OPT;
        park(scratch, &datagram, &query);
        options::read(frame, maps, control, &datagram, at, query.edns.options_len)?;
        unpark(scratch, &mut datagram, &mut query);
    }
    let has_options = control.forget::<1>(usize::from(query.edns.options_len != 0)) != 0;
    let (body, scope) = body(frame, maps, control, &mut datagram, &mut query, has_options)?;
    let (mut body, scope) = (body.forgotten(control), control.forget::<0xff>(usize::from(scope)));
    let (mut options_len, mut known) = (0, false);
    if has_options {
        park(scratch, &datagram, &query);
        park_body(scratch, &body);
        options_len = options::compose(maps, scope as u32)?;
        unpark(scratch, &mut datagram, &mut query);
        body = unpark_body(scratch);
        known = options::knows_client(scratch);
    }
    let options_len = control.forget::<0x7f>(options_len);
    let answer = Answer::new(datagram, query, options_len, body, known);
    // One that is to be signed is measured with its signatures.
    let is_whole = body.record == AnswerRecord::ADDRESS || body.record == AnswerRecord::NONE;
    if is_whole || scratch.is_signed.get() != 0 || !answer.is_too_big() {
        return Ok(answer);
    }
    Ok(answer.truncated(control))
}

/// Puts away what is known of the query while steps are taken, for [`unpark`].
///
/// Before Linux 6.8 the verifier cannot follow a number back over a call of `bpf_loop`: if it has to, to know where in the
/// packet something lies, it gives up telling what matters from what does not, and then follows every way there is to such
/// a call on its own, far over its limit. What comes back from a map is new to it, so nothing is followed back.
#[inline(always)]
fn park(scratch: &Scratch, datagram: &Datagram, query: &Query) {
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
fn unpark(scratch: &Scratch, datagram: &mut Datagram, query: &mut Query) {
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
fn park_body(scratch: &Scratch, body: &Body) {
    let words = body.words();
    scratch.parked[3].set(words[0]);
    scratch.parked[4].set(words[1]);
}

/// As [`unpark`].
#[inline(always)]
fn unpark_body(scratch: &Scratch) -> Body {
    Body::from_words([scratch.parked[3].get(), scratch.parked[4].get()])
}

/// Finds the contents of the answer, and the scope of a client subnet it depends on.
#[inline(always)]
fn body<M: Maps>(
    frame: Frame,
    maps: &M,
    control: &Control,
    datagram: &mut Datagram,
    query: &mut Query,
    has_options: bool,
) -> Result<(Body, u8), Reason> {
    let Some((index, entry)) = find(frame, maps, control, datagram, query)? else {
        let scratch = maps.scratch().ok_or(Reason::Internal)?;
        park(scratch, datagram, query);
        let missing = walk::missing(frame, maps, control, datagram.dns + HEADER, query.name_len)?;
        unpark(scratch, datagram, query);
        scratch.is_signed.set(scratch.is_signed.get() * u32::from(query.edns.dnssec_ok));
        return match missing {
            Missing::NoZone => Ok((Body::bare(REFUSED), 0)),
            Missing::InZone { soa, apex } => Ok((Body::negative(maps, soa, apex, NXDOMAIN)?, 0)),
        };
    };
    let scratch = maps.scratch().ok_or(Reason::Internal)?;
    scratch.owner.set(index);
    scratch.is_signed.set(u32::from(entry.flags & NAME_IS_SIGNED != 0) * u32::from(query.edns.dnssec_ok));
    match entry.kind {
        NAME_SERVED if query.rtype == TYPE_A || query.rtype == TYPE_AAAA => {}
        NAME_SERVED if query.rtype == TYPE_HTTPS && entry.flags & NAME_HAS_HTTPS != 0 => {}
        NAME_REFERRED => return Err(Reason::PassReferral),
        NAME_OPAQUE => return Err(Reason::PassStatic),
        NAME_ABOVE => return Ok((Body::bare(REFUSED), 0)),
        _ if entry.types & type_bit(query.rtype) != 0 => return Err(Reason::PassStatic),
        _ => return Ok((Body::negative(maps, entry.soa, entry.apex, 0)?, 0)),
    }
    // The one read of the generation: everything below is of this bank (invariant 4).
    // SAFETY: a reference to an aligned u64; volatile because the agent stores to it while we run.
    let word = unsafe { core::ptr::read_volatile(&raw const control.word) };
    if word == 0 {
        return Err(Reason::PassNoPlan);
    }
    let is_stale = control.age_max != 0 && plan_is_stale(maps, control);
    let bank = if is_stale { STALE_BANK } else { word as u32 % BANKS };
    // Else all that follows would be followed for a bank that is known and for one that is not.
    let bank = control.forget::<7>(bank as usize) as u32;
    let bank_services = bank * control.bank_services;
    let mut service = maps.service(bank_services + entry.service).ok_or(Reason::Internal)?;
    let (mut whose, mut scope) = (index, 0);
    if service.chosen != 0 {
        let (v6, address) = client(frame, maps, control, datagram, has_options).ok_or(Reason::Internal)?;
        let forget = |word| control.forget_word(word);
        let range = nets::find(|at| maps.net(at), forget, control.net_roots, v6, address).ok_or(Reason::Internal)?;
        let chosen = maps.chosen(service.chosen + range.set).ok_or(Reason::Internal)?;
        service = maps.service(bank_services + chosen.service).ok_or(Reason::Internal)?;
        whose = chosen.name;
        if has_options {
            scope = range.scope();
        }
    }
    // Of what follows, the verifier sees one type.
    let which = control.forget::<{ CHOICES - 1 }>(choice_of(query.rtype));
    let choice = &service.choice[which];
    let turn = match choice.kind {
        CHOICE_CURSOR => {
            let behind = if which == 2 { control.slot_mask + 1 } else { 0 };
            maps.turn(whose + behind, which & 1).ok_or(Reason::Internal)?
        }
        CHOICE_RANDOM => maps.random(),
        CHOICE_STICKY => {
            let (turn, prefix) =
                sticky(frame, maps, control, datagram, has_options, service).ok_or(Reason::Internal)?;
            scope = scope.max(prefix);
            turn
        }
        CHOICE_ONE => 0,
        CHOICE_NODATA => return Ok((Body::negative(maps, entry.soa, entry.apex, 0)?, 0)),
        CHOICE_SERVFAIL => return Ok((Body::bare(SERVFAIL), 0)),
        _ => return Err(Reason::Internal),
    };
    let slot = if choice.kind == CHOICE_ONE {
        choice.block
    } else {
        slot(maps, bank * control.bank_blocks, choice, turn).ok_or(Reason::Internal)?
    };
    if which == 2 {
        return Ok((Body::https(maps, slot, service.ttl)?, scope));
    }
    // Read where the answer is written; that it is there must be known before the packet is changed.
    maps.endpoint(slot).ok_or(Reason::Internal)?;
    Ok((Body::address(which == 1, slot, service.ttl), scope))
}

/// Whether the agent has not said for too long that the plan is right. A confirmation that is later than now is of now: the
/// clock was read before.
#[inline(always)]
fn plan_is_stale<M: Maps>(maps: &M, control: &Control) -> bool {
    // SAFETY: a reference to an aligned u64; volatile because the agent stores to it while we run.
    let confirmed = unsafe { core::ptr::read_volatile(&raw const control.confirmed) };
    maps.boot_ns().saturating_sub(confirmed) >= control.age_max
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
    let index = name::position(hash, displacement, control.slot_mask);
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

#[inline(always)]
fn slot<M: Maps>(maps: &M, bank: u32, choice: &ChoiceEntry, turn: u32) -> Option<u32> {
    let index = turn & u32::from(choice.mask);
    let block = maps.slots(bank + choice.block + index / BLOCK_SLOTS as u32)?;
    Some(u32::from(block.0[index as usize % BLOCK_SLOTS]))
}

/// Whom an answer may depend on, as in the packet: the client subnet where the query has one, else its source. And
/// whether that is IPv6.
#[inline(always)]
fn client<M: Maps>(
    frame: Frame,
    maps: &M,
    control: &Control,
    datagram: &Datagram,
    has_options: bool,
) -> Option<(bool, [u64; 2])> {
    let subnet = if has_options { options::subnet(maps.scratch()?) } else { None };
    let (v6, address) = match subnet {
        Some(subnet) => subnet,
        None => (datagram.v6, datagram.source(frame)?),
    };
    Some((control.forget::<1>(usize::from(v6)) != 0, address.map(|word| control.forget_word(word))))
}

/// The client's prefix as a turn, and that prefix's length.
#[inline(always)]
fn sticky<M: Maps>(
    frame: Frame,
    maps: &M,
    control: &Control,
    datagram: &Datagram,
    has_options: bool,
    service: &ServiceEntry,
) -> Option<(u32, u8)> {
    let (v6, address) = client(frame, maps, control, datagram, has_options)?;
    Some(if v6 {
        (sticky_turn([address[0] & service.mask6[0], address[1] & service.mask6[1]]), service.prefix[1])
    } else {
        (sticky_turn([address[0] & u64::from(service.mask4), 0]), service.prefix[0])
    })
}

/// The turn of a masked client address, as in the packet. Unkeyed, so that every front end agrees; without the family
/// asked for, so that A and AAAA agree (sticky needs no secrecy: a client can only choose its own Site). The last round
/// lets an address's last byte reach the bits that choose a slot.
#[inline(always)]
#[must_use]
pub const fn sticky_turn(prefix: [u64; 2]) -> u32 {
    (name::mix(name::mix(name::mix(prefix[0], 0), prefix[1]), 0) >> 16) as u32
}
