//! The reply's bytes, written over the query.
//!
//! The frame has its final length before this begins, so nothing here can fail but a bug (invariant 1).
//!
//! ```text
//!              question as it came        answer: one address, or HTTPS  or authority: the zone's SOA, or nothing
//! +--------+--------------------------+------------------------------+ +-------------------------------+---------+
//! | header | QNAME | QTYPE | QCLASS   | C00C |type|IN|TTL|len| addr  | | C0xx | 6 |IN|TTL|len|  RDATA  | OPT (11)|
//! +--------+--------------------------+------------------------------+ +-------------------------------+---------+
//! ```

use crate::{
    decision::{Answer, AnswerRecord},
    frame::Frame,
    layout::{FIXUP_APEX, FIXUP_NONE},
    maps::Maps,
    name::OFFSET_MASK,
    net::{ETHERNET, IPV4, IPV6, PROTOCOL_UDP, UDP},
    packet::Packet,
    query::{CLASS_IN, HEADER, OPT, POINTER, QUESTION_FIXED, RECORD_FIXED, SIZE_EDNS},
    rtype::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_OPT, TYPE_SOA},
    scratch::SAID_MAX,
    sign,
    sum::Sum,
};

/// The shortest frame, without its check sequence (IEEE 802.3).
const FRAME_MIN: usize = 60;

impl Answer {
    /// Length of the frame that holds this answer: Ethernet's 60 bytes at least.
    #[inline(always)]
    #[must_use]
    pub fn frame_len(&self) -> usize {
        (self.datagram.dns + self.dns_len()).max(FRAME_MIN)
    }

    /// Where the question ends: what must be moved when the frame grows at its head.
    #[inline(always)]
    #[must_use]
    pub fn question_end(&self) -> usize {
        self.datagram.dns + HEADER + self.query.name_len + QUESTION_FIXED
    }
}

/// Makes the query in `packet`, already of the answer's length, the answer; `SIGNED` says that it may have signatures.
/// `None` is a bug.
#[inline(always)]
#[must_use]
pub fn write<const SIGNED: bool, P: Packet, M: Maps>(packet: &P, maps: &M, answer: &Answer) -> Option<()> {
    let answer = &again::<SIGNED, M>(maps, answer)?;
    let at = answer.question_end() & OFFSET_MASK;
    let sum = match answer.body.record {
        AnswerRecord::ADDRESS => write_address(packet, maps, answer, at)?,
        AnswerRecord::NONE => write_nothing(packet, answer, at)?,
        _ => write_rdata(packet, maps, answer, at)?,
    };
    // From here on the verifier follows all kinds of records as one.
    let sum = Sum::of(maps.control()?.forget::<0xffff>(usize::from(sum.fold())) as u16);
    let (mut sum, mut len) = (sum, answer.body.record_len);
    if SIGNED {
        let answer = again::<SIGNED, M>(maps, answer)?;
        let signed = sign::write(packet, maps, &answer, (at + len) & OFFSET_MASK)?;
        let signed = Sum::of(maps.control()?.forget::<0xffff>(usize::from(signed.fold())) as u16);
        sum = sum.add_at(len, signed);
        len += answer.signed_len;
    }
    let answer = &again::<SIGNED, M>(maps, answer)?;
    let opt = if answer.query.has_edns {
        let opt = write_opt(packet, maps, answer, (at + len) & OFFSET_MASK)?;
        Sum::of(maps.control()?.forget::<0xffff>(usize::from(opt.fold())) as u16)
    } else {
        Sum::ZERO
    };
    let records = Sum::ZERO.add(sum).add_at(len, opt);
    let message = write_header(packet.frame(), answer, records)?;
    write_link(packet.frame())?;
    if answer.datagram.v6 {
        write_ipv6(packet.frame(), answer, message)
    } else {
        write_ipv4(packet.frame(), answer, message)
    }
}

/// The answer, anew from where it was put away if it was.
#[inline(always)]
fn again<const SIGNED: bool, M: Maps>(maps: &M, answer: &Answer) -> Option<Answer> {
    Some(if SIGNED { Answer::taken_over(maps.scratch()?) } else { *answer })
}

/// One address, its name a pointer to the question. Returns the record's sum from an even offset.
#[inline(always)]
fn write_address<P: Packet, M: Maps>(packet: &P, maps: &M, answer: &Answer, at: usize) -> Option<Sum> {
    let (address, ttl) = (&maps.endpoint(answer.body.index)?.address, answer.body.ttl);
    let aaaa = answer.query.rtype == TYPE_AAAA;
    let kind = if aaaa { TYPE_AAAA } else { TYPE_A };
    let rdlen: usize = if aaaa { 16 } else { 4 };
    let words = [(POINTER | HEADER as u16).to_be(), kind.to_be(), CLASS_IN.to_be(), (rdlen as u16).to_be()];
    let mut sum = Sum::ZERO.u16(words[0]).u16(words[1]).u16(words[2]).u32(ttl).u16(words[3]).u32(address[0]);
    if aaaa {
        let record = packet.frame().claim::<{ RECORD_FIXED + 16 }>(at)?;
        record.set_u32::<16>(address[1]);
        record.set_u32::<20>(address[2]);
        record.set_u32::<24>(address[3]);
        sum = sum.u32(address[1]).u32(address[2]).u32(address[3]);
    }
    let record = packet.frame().claim::<{ RECORD_FIXED + 4 }>(at)?;
    record.set_u16::<0>(words[0]);
    record.set_u16::<2>(words[1]);
    record.set_u16::<4>(words[2]);
    record.set_u32::<6>(ttl);
    record.set_u16::<10>(words[3]);
    record.set_u32::<12>(address[0]);
    Some(sum)
}

/// The zone's SOA, its owner a pointer to the apex within the question, or an HTTPS record, whose owner is the whole
/// name. Returns as [`write_address`] does.
#[inline(always)]
fn write_rdata<P: Packet, M: Maps>(packet: &P, maps: &M, answer: &Answer, at: usize) -> Option<Sum> {
    let (rdata, apex, ttl) = (maps.rdata(answer.body.index)?, answer.body.apex, answer.body.ttl);
    let kind = if answer.body.record == AnswerRecord::SOA { TYPE_SOA } else { TYPE_HTTPS };
    let len = usize::from(rdata.len);
    let rdata_at = at + RECORD_FIXED;
    packet.store(rdata_at, &raw const rdata.bytes, len)?;
    let apex_pointer = POINTER | (HEADER as u16 + u16::from(apex));
    // Within the message, for pointers into RDATA itself.
    let rdata_in_message = (rdata_at - answer.datagram.dns) as u16;
    let mut sum = Sum::of(rdata.sum);
    let mut i = 0;
    while i < rdata.fixups.len() {
        let fixup = rdata.fixups[i];
        if fixup.at != FIXUP_NONE {
            let pointer =
                if fixup.target == FIXUP_APEX { apex_pointer } else { POINTER | (rdata_in_message + fixup.target) }
                    .to_be();
            packet.frame().claim::<2>((rdata_at + usize::from(fixup.at)) & OFFSET_MASK)?.set_u16::<0>(pointer);
            sum = sum.add_at(usize::from(fixup.at), Sum::of(pointer));
        }
        i += 1;
    }
    let words = [apex_pointer.to_be(), kind.to_be(), CLASS_IN.to_be(), rdata.len.to_be()];
    let record = packet.frame().claim::<RECORD_FIXED>(at)?;
    record.set_u16::<0>(words[0]);
    record.set_u16::<2>(words[1]);
    record.set_u16::<4>(words[2]);
    record.set_u32::<6>(ttl);
    record.set_u16::<10>(words[3]);
    Some(sum.u16(words[0]).u16(words[1]).u16(words[2]).u32(ttl).u16(words[3]))
}

/// No record, but a frame's padding: only the question for the root without EDNS over IPv4 leaves room, of one byte.
#[inline(always)]
fn write_nothing<P: Packet>(packet: &P, answer: &Answer, at: usize) -> Option<Sum> {
    if answer.datagram.dns + answer.dns_len() < FRAME_MIN {
        packet.frame().claim::<2>(at - 1)?.set_u8::<1>(0);
    }
    Some(Sum::ZERO)
}

/// Our OPT record: DO copied, every other flag zero (RFC 6891 section 6.1.3).
#[inline(always)]
fn write_opt<P: Packet, M: Maps>(packet: &P, maps: &M, answer: &Answer, at: usize) -> Option<Sum> {
    let len = answer.options_len;
    let mut options = Sum::ZERO;
    if len != 0 {
        let said = &maps.scratch()?.options;
        packet.store(at + OPT, said.said(), len)?;
        let mut i = 0;
        while i < SAID_MAX / 8 {
            if 8 * i >= len {
                break;
            }
            options = options.u64(said.said_word(i));
            i += 1;
        }
    }
    let opt = packet.frame().claim::<OPT>(at)?;
    let rcode = answer.body.extended_rcode;
    let flags: u8 = if answer.query.edns.dnssec_ok { 0x80 } else { 0 };
    let size = SIZE_EDNS as u16;
    opt.set_u8::<0>(0);
    opt.set_u16::<1>(TYPE_OPT.to_be());
    opt.set_u16::<3>(size.to_be());
    opt.set_u8::<5>(rcode);
    opt.set_u8::<6>(0);
    opt.set_u8::<7>(flags);
    opt.set_u8::<8>(0);
    let len = (len as u16).to_be();
    opt.set_u16::<9>(len);
    // The record's first byte stands alone, so everything behind it is at an odd offset.
    let behind = Sum::ZERO.u16(TYPE_OPT.to_be()).u16(size.to_be());
    let behind = behind.u16(u16::from_le(u16::from(rcode))).u16(u16::from_le(u16::from(flags))).u16(len).add(options);
    Some(Sum::ZERO.add_at(1, behind))
}

/// QR, AA, TC and the RCODE as the answer says, RD copied, everything else clear. Returns the sum of the whole message.
#[inline(always)]
fn write_header(frame: Frame, answer: &Answer, records: Sum) -> Option<Sum> {
    let header = frame.claim::<HEADER>(answer.datagram.dns)?;
    let question =
        frame.claim::<QUESTION_FIXED>((answer.datagram.dns + HEADER + answer.query.name_len) & OFFSET_MASK)?.u32::<0>();
    let id = header.u16::<0>();
    let one = 1_u16.to_be();
    let (answers, authorities) = match answer.body.record {
        AnswerRecord::ADDRESS | AnswerRecord::HTTPS => ((1 + answer.signed_records).to_be(), 0),
        AnswerRecord::SOA => (0, (1 + answer.signed_records).to_be()),
        _ => (0, 0),
    };
    let flags = (0x8000 | answer.body.flags | (u16::from(header.u8::<2>() & 1) << 8)).to_be();
    let additional = if answer.query.has_edns { one } else { 0 };
    header.set_u16::<2>(flags);
    header.set_u16::<4>(one);
    header.set_u16::<6>(answers);
    header.set_u16::<8>(authorities);
    header.set_u16::<10>(additional);
    let fixed = Sum::ZERO.u16(id).u16(flags).u16(one).u16(answers).u16(authorities).u16(additional);
    Some(fixed.add(answer.query.name.sum).add_at(answer.query.name_len, records.u32(question)))
}

#[inline(always)]
fn write_link(frame: Frame) -> Option<()> {
    let ethernet = frame.claim::<ETHERNET>(0)?;
    let (destination, source) =
        ((ethernet.u32::<0>(), ethernet.u16::<4>()), (ethernet.u32::<6>(), ethernet.u16::<10>()));
    ethernet.set_u32::<0>(source.0);
    ethernet.set_u16::<4>(source.1);
    ethernet.set_u32::<6>(destination.0);
    ethernet.set_u16::<10>(destination.1);
    Some(())
}

/// DF set, TTL 64, the addresses swapped; identification 0 is fine for what is never fragmented (RFC 6864 section 4.1).
#[inline(always)]
fn write_ipv4(frame: Frame, answer: &Answer, message: Sum) -> Option<()> {
    let ip = frame.claim::<{ IPV4 + UDP }>(answer.datagram.l3)?;
    let (source, destination) = (ip.u32::<16>(), ip.u32::<12>());
    let udp_len = UDP + answer.dns_len();
    let first = 0x4500_0000_u32 | (IPV4 + udp_len) as u32;
    let ttl_protocol = 0x4000 | u16::from(PROTOCOL_UDP);
    let fixed = Sum::ZERO.u32(first.to_be()).u32(0x4000_u32.to_be()).u16(ttl_protocol.to_be());
    let addresses = Sum::ZERO.u32(source).u32(destination);
    ip.set_u32::<0>(first.to_be());
    ip.set_u32::<4>(0x4000_u32.to_be());
    ip.set_u16::<8>(ttl_protocol.to_be());
    ip.set_u16::<10>(fixed.add(addresses).checksum());
    ip.set_u32::<12>(source);
    ip.set_u32::<16>(destination);
    let ports = (ip.u16::<22>(), ip.u16::<20>());
    ip.set_u16::<20>(ports.0);
    ip.set_u16::<22>(ports.1);
    ip.set_u16::<24>((udp_len as u16).to_be());
    ip.set_u16::<26>(udp_sum(addresses, ports, udp_len as u16, message));
    Some(())
}

/// Hop limit 64, traffic class and flow label 0, the addresses swapped.
#[inline(always)]
fn write_ipv6(frame: Frame, answer: &Answer, message: Sum) -> Option<()> {
    let ip = frame.claim::<{ IPV6 + UDP }>(answer.datagram.l3)?;
    let source = (ip.u64::<24>(), ip.u64::<32>());
    let destination = (ip.u64::<8>(), ip.u64::<16>());
    let udp_len = (UDP + answer.dns_len()) as u16;
    ip.set_u32::<0>(0x6000_0000_u32.to_be());
    ip.set_u16::<4>(udp_len.to_be());
    ip.set_u16::<6>((u16::from(PROTOCOL_UDP) << 8 | 64).to_be());
    ip.set_u64::<8>(source.0);
    ip.set_u64::<16>(source.1);
    ip.set_u64::<24>(destination.0);
    ip.set_u64::<32>(destination.1);
    let ports = (ip.u16::<42>(), ip.u16::<40>());
    ip.set_u16::<40>(ports.0);
    ip.set_u16::<42>(ports.1);
    ip.set_u16::<44>(udp_len.to_be());
    let addresses = Sum::ZERO.u64(source.0).u64(source.1).u64(destination.0).u64(destination.1);
    ip.set_u16::<46>(udp_sum(addresses, ports, udp_len, message));
    Some(())
}

/// RFC 768 and RFC 8200 section 8.1: pseudo header, header, message.
#[inline(always)]
fn udp_sum(addresses: Sum, ports: (u16, u16), udp_len: u16, message: Sum) -> u16 {
    addresses
        .u16(u16::from(PROTOCOL_UDP).to_be())
        .u16(udp_len.to_be())
        .u16(ports.0)
        .u16(ports.1)
        .u16(udp_len.to_be())
        .add(message)
        .udp_checksum()
}
