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
    decision::{
        Answer, AnswerRecord, Body, NXDOMAIN, RATE_DRY, RATE_KEPT, RATE_SLIP, REFUSED, SERVFAIL, note_dry_run, park,
        park_body, park_for_signing, unpark, unpark_body,
    },
    frame::Frame,
    layout::{
        BANKS, BLOCK_DISPLACEMENTS, BLOCK_SLOTS, CHOICE_CURSOR, CHOICE_NODATA, CHOICE_ONE, CHOICE_RANDOM,
        CHOICE_SERVFAIL, CHOICE_STICKY, CHOICES, ChoiceEntry, Control, NAME_ABOVE, NAME_HAS_HTTPS, NAME_INLINE,
        NAME_OPAQUE, NAME_REFERRED, NAME_SERVED, NameEntry, STALE_BANK, ServiceEntry, choice_of, type_bit,
    },
    maps::Maps,
    name,
    net::{self, Datagram},
    nets, options,
    query::{self, HEADER, Query},
    reason::Reason,
    rtype::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_OPT},
    walk::{self, Missing},
};

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
        note_dry_run(maps.scratch().ok_or(Reason::Internal)?);
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
    if query.edns.dnssec_ok {
        // For the program that signs. Here, where there are few ways yet.
        park_for_signing(scratch, &datagram, &query);
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
    // In any case, as it may have to be signed: a branch for that would be followed from here with all that lives.
    park_body(scratch, &body);
    if has_options {
        park(scratch, &datagram, &query);
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
        scratch.is_signed.set(walk::is_to_sign(control, scratch.is_signed.get() as u8, query.edns.dnssec_ok));
        return match missing {
            Missing::NoZone => Ok((Body::bare(REFUSED), 0)),
            Missing::InZone { soa, apex } => Ok((Body::negative(maps, soa, apex, NXDOMAIN)?, 0)),
        };
    };
    let scratch = maps.scratch().ok_or(Reason::Internal)?;
    scratch.owner.set(index);
    scratch.is_signed.set(walk::is_to_sign(control, entry.flags, query.edns.dnssec_ok));
    // A number that is computed: branches here are 500,000 instructions more to the verifier of Linux 6.1.
    match control.forget::<7>(usize::from(entry.kind)) as u8 {
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
        CHOICE_CURSOR => maps.turn(whose, which).ok_or(Reason::Internal)?,
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
    let index = name::position(hash, displacement, control.names);
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
