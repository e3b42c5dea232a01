//! Signatures and proofs of an answer that has been decided: DNSSEC (RFC 4035 section 3.1) without a key.
//!
//! Everything that may ever be answered was signed before. The program that decides puts its answer away, and this
//! code, in a program of its own, picks the signature that belongs to the address that was picked.
//!
//! ```text
//! answer:     address or HTTPS | RRSIG
//! authority:  SOA | RRSIG | NSEC | RRSIG                   NODATA: the name's own, or of the gap around an empty name
//!             SOA | RRSIG | NSEC | RRSIG | NSEC | RRSIG    NXDOMAIN: the gap, and the gap of the wildcard
//!
//! RRSIG       owner |46|IN|TTL|length | covered|algorithm|labels|TTL|expiration|inception|tag | signer | signature (64)
//! NSEC        labels, pointer to the apex |47|IN|TTL|length | next name | types
//! ```

use crate::{
    decision::{Answer, AnswerRecord, RATE_BYTES},
    frame::Frame,
    layout::{
        BLOCK_SLOTS, Control, NET_DIVIDED, NET_ENDS, choice_of,
        signed::{
            CHILD_STEPS_MAX, LABEL_WORDS, PROOF_ROOM, PROOF_STARTS, Proof, SIGNER_ROOM, SignedName, Signer, UNSIGNED,
        },
    },
    maps::{LoopStep, Maps},
    name::OFFSET_MASK,
    net,
    nets::borrow,
    packet::Packet,
    query::{CLASS_IN, HEADER, POINTER, RECORD_FIXED},
    reason::Reason,
    rtype::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_NSEC, TYPE_RRSIG, TYPE_SOA},
    scratch::Scratch,
    sum::Sum,
};

/// An RRSIG up to its signer: the record's head and 18 bytes.
const RRSIG_FIXED: usize = RECORD_FIXED + 18;
/// Bytes of a signature.
const SIGNATURE: usize = 64;
/// [`Scratch::sought_word`]: the gap is found.
const FOUND: u32 = u32::MAX;

/// Takes over the answer that was put away, with room for its signatures, or truncated where it may not be so long.
///
/// A signed answer may be what the client takes, and 3.2 times its query where it is positive, counted as IP packets. Its bytes
/// are metered by client network unless a cookie proves the client (invariant 8).
#[inline(always)]
pub fn resume<M: Maps>(frame: Frame, maps: &M) -> Result<Answer, Reason> {
    let control = maps.control().ok_or(Reason::Internal)?;
    let scratch = maps.scratch().ok_or(Reason::Internal)?;
    let answer = signed(frame, maps, control, scratch)?;
    answer.put_away(scratch);
    Ok(answer)
}

#[inline(always)]
fn signed<M: Maps>(frame: Frame, maps: &M, control: &Control, scratch: &Scratch) -> Result<Answer, Reason> {
    let mut answer = Answer::taken_over(scratch);
    let name = maps.signed_name(scratch.owner.get()).ok_or(Reason::PassStatic)?;
    if name.is_signed == 0 {
        return Err(Reason::PassStatic);
    }
    let signer = maps.signer(name.signer.into()).ok_or(Reason::Internal)?;
    let rrsig = RRSIG_FIXED + signer_len(signer) + SIGNATURE;
    let is_negative = answer.body.record == AnswerRecord::SOA;
    let (len, records) = if is_negative {
        has_signatures(maps, signer.soa_cohort, signer.soa_line)?;
        let [first, second] = proofs(maps, control, scratch, &answer, name)?;
        scratch.proofs[0].set(first);
        scratch.proofs[1].set(second);
        let second_len = if second == first { 0 } else { proof_len(maps, second)? + rrsig };
        let records = if second_len == 0 { 3 } else { 5 };
        (rrsig + proof_len(maps, first)? + rrsig + second_len, records)
    } else {
        let line = line_of(maps, control, &answer, name)?;
        has_signatures(maps, name.cohort, line)?;
        scratch.line.set(line);
        (rrsig, 1_usize)
    };
    answer.signed_len = control.forget::<OFFSET_MASK>(len);
    answer.signed_records = control.forget::<7>(records) as u16;
    let headers = net::UDP + if answer.datagram.v6 { net::IPV6 } else { net::IPV4 };
    let dns_len = answer.dns_len();
    let is_amplified = !is_negative && 10 * (headers + dns_len) > 32 * (headers + answer.datagram.dns_len);
    if dns_len > answer.query.size_max() || is_amplified {
        return Ok(answer.held_back(control, 0));
    }
    if !answer.known && control.signed_bytes.interval != 0 && !meter(frame, maps, control, &answer, dns_len)? {
        return Ok(answer.held_back(control, RATE_BYTES));
    }
    Ok(answer)
}

/// Takes an answer's bytes from its client network's; false where they are used up.
#[inline(always)]
fn meter<M: Maps>(frame: Frame, maps: &M, control: &Control, answer: &Answer, len: usize) -> Result<bool, Reason> {
    let [address, _] = answer.datagram.source(frame).ok_or(Reason::Internal)?;
    let key = control.signed_bytes.key(answer.datagram.v6, control.forget_word(address), 0);
    let buckets = maps.byte_buckets(key.block).ok_or(Reason::Internal)?;
    Ok(control.signed_bytes.admit_many(buckets, key, len as u32, maps.ticks(), |i| control.forget::<7>(i)))
}

/// Bytes of a zone's name, 1 to 255.
#[inline(always)]
fn signer_len(signer: &Signer) -> usize {
    usize::from(signer.len) & (SIGNER_ROOM - 1)
}

/// Makes sure that a signature is there, which must be known before the packet is changed.
#[inline(always)]
fn has_signatures<M: Maps>(maps: &M, cohort: u32, line: u32) -> Result<(), Reason> {
    let region = maps.region(cohort).ok_or(Reason::PassStatic)?;
    let signature = maps.signature(region.first + line).ok_or(Reason::Internal)?;
    // It comes into the cache while the packet is made ready.
    // SAFETY: a reference to an aligned u64.
    unsafe { core::ptr::read_volatile(&raw const signature.0[0]) };
    Ok(())
}

/// The line of a positive answer's signature within a region.
#[inline(always)]
fn line_of<M: Maps>(maps: &M, control: &Control, answer: &Answer, name: &SignedName) -> Result<u32, Reason> {
    let which = control.forget::<3>(choice_of(answer.query.rtype));
    let (Some(first), Some(ordinals)) = (name.answers.get(which), name.ordinals.get(which)) else {
        return Err(Reason::Internal);
    };
    let at = ordinals.wrapping_add(answer.body.index);
    let block = maps.ordinals(at / BLOCK_SLOTS as u32).ok_or(Reason::PassStatic)?;
    let ordinal = block.0[at as usize % BLOCK_SLOTS];
    if ordinal == UNSIGNED { Err(Reason::PassStatic) } else { Ok(first + u32::from(ordinal)) }
}

/// The proofs of a negative answer, twice the same where one is enough: positions in `PROOFS`.
#[inline(always)]
fn proofs<M: Maps>(
    maps: &M,
    control: &Control,
    scratch: &Scratch,
    answer: &Answer,
    name: &SignedName,
) -> Result<[u32; 2], Reason> {
    if answer.body.is_nxdomain() {
        let gap = gap(maps, scratch, name)?;
        return Ok([gap, name.wildcard]);
    }
    // A number is computed, and nothing is decided: the verifier follows one way.
    let which = choice_of(answer.query.rtype) as u32;
    let is_dynamic = u32::from(matches!(answer.query.rtype, TYPE_A | TYPE_AAAA | TYPE_HTTPS));
    let is_narrow = (u32::from(name.narrow) >> which) & is_dynamic & 1;
    let proof = control.forget_word(u64::from(name.nsec + is_narrow * (1 + which))) as u32;
    Ok([proof, proof])
}

/// The proof of the gap that the missing name lies in: the walk has found the label that is not there.
#[inline(always)]
fn gap<M: Maps>(maps: &M, scratch: &Scratch, name: &SignedName) -> Result<u32, Reason> {
    if name.children == 0 {
        // Nothing stands below its closest encloser.
        return Ok(name.nsec);
    }
    scratch.sought.set(scratch.start(scratch.next.get() as usize) as u32);
    scratch.sought_word.set(0);
    scratch.sought_in.set(name.children);
    maps.repeat::<Seek>(CHILD_STEPS_MAX);
    if scratch.sought_word.get() == FOUND { Ok(scratch.gap.get()) } else { Err(Reason::Internal) }
}

/// Goes one node down in the tree over a name's children.
struct Seek;

impl LoopStep for Seek {
    #[inline(always)]
    fn step<M: Maps>(maps: &M, control: &Control, scratch: &Scratch) -> bool {
        let Some(node) = maps.child(scratch.sought_in.get()) else { return true };
        let word = scratch.sought_word.get();
        let key = label_word(scratch, scratch.sought.get() as usize, word as usize & (LABEL_WORDS - 1));
        let (mut below, mut i) = (0, 0);
        while i < NET_ENDS {
            below += borrow(node.ends[i], key);
            i += 1;
        }
        let i = (control.forget_word(below) & 0xf) as usize;
        let Some(value) = node.values.get(i) else { return true };
        if node.child != 0 {
            scratch.sought_in.set(node.child + i as u32);
            return false;
        }
        if value & NET_DIVIDED == 0 {
            scratch.gap.set(*value);
            scratch.sought_word.set(FOUND);
            return true;
        }
        scratch.sought_in.set(value & !NET_DIVIDED);
        scratch.sought_word.set(word + 1);
        false
    }
}

/// A word of the key of the label that begins at `at`: see [`LABEL_WORDS`].
#[inline(always)]
fn label_word(scratch: &Scratch, at: usize, word: usize) -> u64 {
    let len = usize::from(scratch.name_byte(at)) & 63;
    let bytes = scratch.name_word(at + 1, word).to_be();
    let bits = (8 * len).saturating_sub(64 * word).min(64) as u32;
    let mask = if bits == 0 { 0 } else { u64::MAX << (64 - bits) };
    let end = if word == LABEL_WORDS - 1 { len as u64 } else { 0 };
    bytes & mask | end
}

/// Bytes of a proof without its signature.
#[inline(always)]
fn proof_len<M: Maps>(maps: &M, index: u32) -> Result<usize, Reason> {
    let proof = maps.proof(index).ok_or(Reason::PassStatic)?;
    maps.proof_bytes(proof.chunk).ok_or(Reason::Internal)?;
    has_signatures(maps, proof.cohort, proof.line)?;
    Ok(usize::from(proof.len) & (PROOF_ROOM - 1))
}

/// An RRSIG but for what its cohort and its zone say.
struct RrsigHead {
    /// A pointer (be).
    owner: u16,
    covered: u16,
    labels: u8,
    /// TTL of the record, and of the set as it was signed (be).
    ttls: [u32; 2],
    cohort: u32,
    line: u32,
}

/// Writes signatures and proofs at `at`, behind the answer's record. Returns their sum from an even offset.
#[inline(always)]
pub(crate) fn write<P: Packet, M: Maps>(packet: &P, maps: &M, answer: &Answer, at: usize) -> Option<Sum> {
    if answer.signed_records == 0 {
        return Some(Sum::ZERO);
    }
    let (control, scratch) = (maps.control()?, maps.scratch()?);
    let name = maps.signed_name(scratch.owner.get())?;
    let signer = maps.signer(name.signer.into())?;
    let ttl = answer.body.ttl;
    if answer.body.record != AnswerRecord::SOA {
        let line = scratch.line.get();
        let (owner, covered) = ((POINTER | HEADER as u16).to_be(), answer.query.rtype);
        let head = RrsigHead { owner, covered, labels: name.labels, ttls: [ttl, ttl], cohort: name.cohort, line };
        return write_rrsig(packet, maps, signer, at, &head);
    }
    let apex = (POINTER | (HEADER as u16 + u16::from(answer.body.apex))).to_be();
    let head = RrsigHead {
        owner: apex,
        covered: TYPE_SOA,
        labels: signer.labels,
        ttls: [ttl, signer.soa_ttl],
        cohort: signer.soa_cohort,
        line: signer.soa_line,
    };
    let sum = write_rrsig(packet, maps, signer, at, &head)?;
    let rrsig = RRSIG_FIXED + signer_len(signer) + SIGNATURE;
    let proof = write_proof(packet, maps, answer, signer, (at + rrsig) & OFFSET_MASK, scratch.proofs[0].get())?;
    let (mut sum, len) = (sum.add_at(rrsig, proof.0), control.forget::<OFFSET_MASK>(rrsig + proof.1));
    if answer.signed_records > 3 {
        let proof = write_proof(packet, maps, answer, signer, (at + len) & OFFSET_MASK, scratch.proofs[1].get())?;
        sum = sum.add_at(len, proof.0);
    }
    Some(sum)
}

/// Writes an NSEC and its signature at `at`. Returns their sum from an even offset, and their length.
#[inline(always)]
fn write_proof<P: Packet, M: Maps>(
    packet: &P,
    maps: &M,
    answer: &Answer,
    signer: &Signer,
    at: usize,
    index: u32,
) -> Option<(Sum, usize)> {
    let control = maps.control()?;
    let proof: &Proof = maps.proof(index)?;
    let bytes = (&raw const maps.proof_bytes(proof.chunk)?.0).cast::<u8>();
    let len = usize::from(proof.len) & (PROOF_ROOM - 1);
    // Below the chunk's end, wherever it begins.
    let from = bytes.wrapping_add(usize::from(proof.offset) & (PROOF_STARTS - 1)).cast::<[u8; PROOF_ROOM]>();
    packet.store(at, from, len)?;
    let apex = (POINTER | (HEADER as u16 + u16::from(answer.body.apex))).to_be();
    let pointer = usize::from(proof.pointer) & (PROOF_ROOM - 1);
    packet.frame().claim::<2>((at + pointer) & OFFSET_MASK)?.set_u16::<0>(apex);
    let head = RrsigHead {
        owner: (POINTER | (at - answer.datagram.dns) as u16).to_be(),
        covered: TYPE_NSEC,
        labels: proof.labels,
        ttls: [signer.proof_ttl; 2],
        cohort: proof.cohort,
        line: proof.line,
    };
    let rrsig = write_rrsig(packet, maps, signer, (at + len) & OFFSET_MASK, &head)?;
    let sum = Sum::of(proof.sum).add_at(pointer, Sum::of(apex)).add_at(len, rrsig);
    // The verifier would follow each length of a proof from here on.
    let sum = Sum::of(control.forget::<0xffff>(usize::from(sum.fold())) as u16);
    Some((sum, len + RRSIG_FIXED + signer_len(signer) + SIGNATURE))
}

/// Writes a zone's name at `at`, and up to 7 bytes behind it, over which the signature is written next. A call to store so few
/// bytes takes longer than all of an address.
#[inline(always)]
fn write_signer<P: Packet>(packet: &P, signer: &Signer, at: usize, len: usize) -> Option<()> {
    let mut i = 0;
    while i < SIGNER_ROOM / 8 {
        if 8 * i >= len {
            break;
        }
        packet.frame().claim::<8>((at + 8 * i) & OFFSET_MASK)?.set_u64::<0>(signer.apex[i]);
        i += 1;
    }
    Some(())
}

/// Writes an RRSIG at `at`. Returns its sum from an even offset.
#[inline(always)]
fn write_rrsig<P: Packet, M: Maps>(packet: &P, maps: &M, signer: &Signer, at: usize, head: &RrsigHead) -> Option<Sum> {
    // The one read of which region the cohort has: key, times and signature are of this one.
    let region = maps.region(head.cohort)?;
    let signature = &maps.signature(region.first + head.line)?.0;
    let len = signer_len(signer);
    write_signer(packet, signer, at + RRSIG_FIXED, len)?;
    let end = packet.frame().claim::<SIGNATURE>((at + RRSIG_FIXED + len) & OFFSET_MASK)?;
    end.set_u64::<0>(signature[0]);
    end.set_u64::<8>(signature[1]);
    end.set_u64::<16>(signature[2]);
    end.set_u64::<24>(signature[3]);
    end.set_u64::<32>(signature[4]);
    end.set_u64::<40>(signature[5]);
    end.set_u64::<48>(signature[6]);
    end.set_u64::<56>(signature[7]);
    let behind = Sum::ZERO.u64(signature[0]).u64(signature[1]).u64(signature[2]).u64(signature[3]);
    let behind = behind.u64(signature[4]).u64(signature[5]).u64(signature[6]).u64(signature[7]);
    let rdlen = ((RRSIG_FIXED - RECORD_FIXED + len + SIGNATURE) as u16).to_be();
    let (kind, class, covered) = (TYPE_RRSIG.to_be(), CLASS_IN.to_be(), head.covered.to_be());
    let ways = u16::from_be_bytes([region.algorithm, head.labels]).to_be();
    let record = packet.frame().claim::<RRSIG_FIXED>(at)?;
    record.set_u16::<0>(head.owner);
    record.set_u16::<2>(kind);
    record.set_u16::<4>(class);
    record.set_u32::<6>(head.ttls[0]);
    record.set_u16::<10>(rdlen);
    record.set_u16::<12>(covered);
    record.set_u16::<14>(ways);
    record.set_u32::<16>(head.ttls[1]);
    record.set_u32::<20>(region.expiration);
    record.set_u32::<24>(region.inception);
    record.set_u16::<28>(region.tag);
    let sum = Sum::ZERO.u16(head.owner).u16(kind).u16(class).u32(head.ttls[0]).u16(rdlen).u16(covered).u16(ways);
    let sum = sum.u32(head.ttls[1]).u32(region.expiration).u32(region.inception).u16(region.tag);
    Some(sum.add(Sum::of(signer.sum)).add_at(len, behind))
}
