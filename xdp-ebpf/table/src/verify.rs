//! Whether an outcome is what its row says. Answers are composed anew by etherparse and read by `domain`.

use std::{
    fmt::{Debug, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use domain::{
    base::{Message, Rtype, iana::Rcode},
    rdata::{A, Aaaa, Https, Soa},
};
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket, TransportSlice, UdpHeader,
};

use crate::{
    packet::{A as A_TYPE, AAAA as AAAA_TYPE, HTTPS},
    row::{Out, Ran, Row},
    world::{self, WorldZone},
};

/// The shortest frame, without its check sequence.
const FRAME_MIN: usize = 60;

type Checked = Result<(), String>;

#[expect(clippy::needless_pass_by_value, reason = "callers compare what they have just made")]
fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

fn same_bytes(what: &str, found: &[u8], expected: &[u8]) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    Err(format!("{what} differs at byte {at}:\n  found    {}\n  expected {}", hex(found), hex(expected)))
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Returns what is wrong with an outcome; none if nothing is.
pub fn fault(row: &Row, ran: &Ran) -> Option<String> {
    check(row, ran).err()
}

fn check(row: &Row, ran: &Ran) -> Checked {
    same("the reason", ran.reason, row.reason)?;
    same("the action", ran.action, row.action)?;
    match &row.out {
        Out::Unmodified => same_bytes("the frame", &ran.frame, &row.frame),
        Out::Golden(golden) => {
            same_bytes("the frame", &ran.frame, &unhex(golden))?;
            well_formed(&row.frame, &ran.frame)
        }
        Out::Address(address, ttl) => {
            let query = Datagram::of(&row.frame)?;
            let dns = address_message(&query.dns, *address, *ttl)?;
            same_bytes("the frame", &ran.frame, &reply(&row.frame, &query, &dns))?;
            well_formed(&row.frame, &ran.frame)?;
            small(&query, &dns, 4)?;
            address_is(&dns, *address, *ttl)
        }
        Out::Https(rdata, ttl) => {
            let query = Datagram::of(&row.frame)?;
            let dns = record_message(&query.dns, HTTPS, rdata, *ttl)?;
            same_bytes("the frame", &ran.frame, &reply(&row.frame, &query, &dns))?;
            well_formed(&row.frame, &ran.frame)?;
            small(&query, &dns, 4)?;
            https_is_read(&dns)
        }
        Out::NoData(apex) | Out::NxDomain(apex) => {
            let query = Datagram::of(&row.frame)?;
            let dns = Datagram::of(&ran.frame)?.dns;
            same_bytes("the frame", &ran.frame, &reply(&row.frame, &query, &dns))?;
            well_formed(&row.frame, &ran.frame)?;
            let zones = world::zones();
            let zone = zones.iter().find(|zone| zone.apex == *apex).ok_or("no such zone")?;
            small(&query, &dns, 5)?;
            let rcode = if matches!(row.out, Out::NxDomain(_)) { Rcode::NXDOMAIN } else { Rcode::NOERROR };
            soa_is(&query.dns, &dns, zone, rcode)
        }
        Out::Bare { rcode, aa, tc } => {
            let query = Datagram::of(&row.frame)?;
            let dns = bare_message(&query.dns, *rcode, *aa, *tc)?;
            same_bytes("the frame", &ran.frame, &reply(&row.frame, &query, &dns))?;
            well_formed(&row.frame, &ran.frame)?;
            small(&query, &dns, 5)
        }
    }
}

/// A UDP datagram as etherparse reads it, its lengths and checksums true.
struct Datagram {
    /// Ethertype offset's end: where the IP header begins.
    l3: usize,
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    dns: Vec<u8>,
}

impl Datagram {
    fn of(frame: &[u8]) -> Result<Self, String> {
        let sliced = SlicedPacket::from_ethernet(frame).map_err(|error| format!("no frame: {error}"))?;
        let (source, destination) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            _ => return Err("no IP".to_owned()),
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { return Err("no UDP".to_owned()) };
        let ports = (udp.source_port(), udp.destination_port());
        Ok(Self { l3: 14 + 4 * sliced.link_exts.len(), source, destination, ports, dns: udp.payload().to_vec() })
    }
}

/// The frame that carries `dns` back to where `query` came from.
fn reply(query_frame: &[u8], query: &Datagram, dns: &[u8]) -> Vec<u8> {
    let mut frame = [&query_frame[6..12], &query_frame[..6], &query_frame[12..query.l3]].concat();
    let (source_port, destination_port) = (query.ports.1, query.ports.0);
    let udp = match (query.destination, query.source) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip =
                Ipv4Header::new(8 + dns.len() as u16, 64, IpNumber::UDP, source.octets(), destination.octets())
                    .expect("short enough");
            ip.dont_fragment = true;
            ip.header_checksum = ip.calc_header_checksum();
            frame.extend_from_slice(&ip.to_bytes());
            UdpHeader::with_ipv4_checksum(source_port, destination_port, &ip, dns)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 8 + dns.len() as u16,
                next_header: IpNumber::UDP,
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
            };
            frame.extend_from_slice(&ip.to_bytes());
            UdpHeader::with_ipv6_checksum(source_port, destination_port, &ip, dns)
        }
        _ => unreachable!("etherparse gave two families"),
    };
    frame.extend_from_slice(&udp.expect("short enough").to_bytes());
    frame.extend_from_slice(dns);
    // Ethernet's least, the padding zero (RFC 1042).
    frame.resize(frame.len().max(FRAME_MIN), 0);
    frame
}

/// Returns the message that a frame carries back to where the query came from, right in all else.
pub fn carried(query_frame: &[u8], answer_frame: &[u8]) -> Result<Vec<u8>, String> {
    let (query, answer) = (Datagram::of(query_frame)?, Datagram::of(answer_frame)?);
    same_bytes("the frame", answer_frame, &reply(query_frame, &query, &answer.dns))?;
    Ok(answer.dns)
}

/// Checks what must hold for every answer to a query, whatever it says. The property test asks for it, too.
pub fn well_formed(query_frame: &[u8], answer_frame: &[u8]) -> Checked {
    let (query, answer) = (Datagram::of(query_frame)?, Datagram::of(answer_frame)?);
    same_bytes("the frame", answer_frame, &reply(query_frame, &query, &answer.dns))?;
    same("under 60 bytes", answer_frame.len() < FRAME_MIN, false)?;
    let sliced = SlicedPacket::from_ethernet(answer_frame).map_err(|error| format!("no frame: {error}"))?;
    if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
        let header = ip.header();
        let end = answer.l3 + usize::from(header.total_len());
        same("the frame's length", answer_frame.len(), end.max(FRAME_MIN))?;
        same("TTL, DF, MF", (header.ttl(), header.dont_fragment(), header.more_fragments()), (64, true, false))?;
        same("the fragment's offset", header.fragments_offset(), IpFragOffset::ZERO)?;
        same("the IP checksum", header.header_checksum(), header.to_header().calc_header_checksum())?;
    }
    let asked = Message::from_octets(&query.dns).map_err(|error| format!("the query: {error}"))?;
    let message = Message::from_octets(&answer.dns).map_err(|error| format!("the answer: {error}"))?;
    let (header, counts) = (message.header(), message.header_counts());
    same("the ID", header.id(), asked.header().id())?;
    same("RD", header.rd(), asked.header().rd())?;
    let flags = (header.qr(), header.ra(), header.z(), header.ad(), header.cd(), header.opcode().to_int());
    same("QR, RA, Z, AD, CD, opcode", flags, (true, false, false, false, false, 0))?;
    same("QDCOUNT", counts.qdcount(), 1)?;
    let end = question_end(&query.dns)?;
    same_bytes("the question", answer.dns.get(12..end).unwrap_or_default(), &query.dns[12..end])?;
    let has_opt = asked.header_counts().arcount() == 1;
    same("ARCOUNT", counts.arcount(), u16::from(has_opt))?;
    same("the OPT record", message.opt().is_some(), has_opt)?;
    let (mut limit, mut extended, mut version) = (512, 0, 0);
    if let (true, Some(ours)) = (has_opt, message.opt()) {
        // By hand: `domain` gives no OPT whose options are malformed, and those are skipped.
        let theirs = &query.dns[end..end + 11];
        limit = u16::from_be_bytes([theirs[3], theirs[4]]).clamp(512, 1232);
        same("our buffer", ours.udp_payload_size(), 1232)?;
        same("the EDNS version", ours.version(), 0)?;
        same("options", ours.opt().len(), 0)?;
        // Extended RCODE, version and flags are the record's TTL: no flag but DO.
        let ttl = &answer.dns[answer.dns.len() - 6..answer.dns.len() - 2];
        same_bytes("version and flags", &ttl[1..], &[0, theirs[7] & 0x80, 0])?;
        (extended, version) = (ttl[0], theirs[6]);
    }
    // AA is set wherever the zone's data speaks (RFC 1035 section 4.1.1), and TC only where it had to be left out.
    let said = (u16::from(extended) << 4 | u16::from(header.rcode().to_int()), header.aa(), header.tc());
    let sections = (counts.ancount(), counts.nscount());
    let known = match said {
        (0, true, false) => matches!(sections, (1, 0) | (0, 1)),
        (3, true, false) => sections == (0, 1),
        (0 | 3, true, true) | (2 | 5 | 16, false, false) => sections == (0, 0),
        _ => false,
    };
    same(&format!("RCODE, AA and TC {said:?} with answers and authorities {sections:?}"), known, true)?;
    same("BADVERS", said.0 == 16, version != 0)?;
    same("fits the client's buffer", answer.dns.len() <= usize::from(limit), true)
}

/// Invariant 8, counted as IP packets: at most so many halves of the query.
fn small(query: &Datagram, dns: &[u8], halves: usize) -> Checked {
    let headers = if query.source.is_ipv4() { 28 } else { 48 };
    let (asked, said) = (headers + query.dns.len(), headers + dns.len());
    same(&format!("{said} bytes for {asked}: too many"), 2 * said > halves * asked, false)
}

fn question_end(dns: &[u8]) -> Result<usize, String> {
    let mut at = 12;
    while let Some(length) = dns.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(*length);
    }
    if at + 5 > dns.len() { Err("a question cut short".to_owned()) } else { Ok(at + 5) }
}

/// The message that answers a query with one address, byte by byte.
fn address_message(query: &[u8], address: IpAddr, ttl: u32) -> Result<Vec<u8>, String> {
    let (kind, data) = match address {
        IpAddr::V4(address) => (A_TYPE, address.octets().to_vec()),
        IpAddr::V6(address) => (AAAA_TYPE, address.octets().to_vec()),
    };
    record_message(query, kind, &data, ttl)
}

/// The message that answers a query with one record of its name, byte by byte.
fn record_message(query: &[u8], kind: u16, data: &[u8], ttl: u32) -> Result<Vec<u8>, String> {
    let end = question_end(query)?;
    let has_opt = query[11] == 1;
    let mut message = query[..2].to_vec();
    message.extend_from_slice(&[0x84 | query[2] & 1, 0, 0, 1, 0, 1, 0, 0, 0, u8::from(has_opt)]);
    message.extend_from_slice(&query[12..end]);
    message.extend_from_slice(&[0xc0, 12, 0, kind as u8, 0, 1]);
    message.extend_from_slice(&ttl.to_be_bytes());
    message.extend_from_slice(&[0, data.len() as u8]);
    message.extend_from_slice(data);
    if has_opt {
        // Type 41, size 1232, DO where the query's OPT has it.
        message.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, query[end + 7] & 0x80, 0, 0, 0]);
    }
    Ok(message)
}

/// The message that answers a query without records, byte by byte. `rcode` may be an extended one.
fn bare_message(query: &[u8], rcode: u16, aa: bool, tc: bool) -> Result<Vec<u8>, String> {
    let end = question_end(query)?;
    let has_opt = query[11] == 1;
    let flags = 0x80 | u8::from(aa) << 2 | u8::from(tc) << 1 | query[2] & 1;
    let mut message = query[..2].to_vec();
    message.extend_from_slice(&[flags, rcode as u8 & 0xf, 0, 1, 0, 0, 0, 0, 0, u8::from(has_opt)]);
    message.extend_from_slice(&query[12..end]);
    if has_opt {
        let extended = (rcode >> 4) as u8;
        message.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, extended, 0, query[end + 7] & 0x80, 0, 0, 0]);
    }
    Ok(message)
}

fn address_is(dns: &[u8], address: IpAddr, ttl: u32) -> Checked {
    let message = Message::from_octets(dns).map_err(|error| error.to_string())?;
    let question = message.sole_question().map_err(|error| error.to_string())?;
    let record = message.answer().map_err(|e| e.to_string())?.next().ok_or("no record")?.map_err(|e| e.to_string())?;
    same("the owner is the question", record.owner() == *question.qname(), true)?;
    same("the TTL", record.ttl().as_secs(), ttl)?;
    let found: IpAddr = if record.rtype() == Rtype::A {
        let record = record.to_record::<A>().map_err(|e| e.to_string())?.ok_or("no A record")?;
        Ipv4Addr::from(record.data().addr().octets()).into()
    } else {
        let record = record.to_record::<Aaaa>().map_err(|e| e.to_string())?.ok_or("no AAAA record")?;
        Ipv6Addr::from(record.data().addr().octets()).into()
    };
    same("the address", found, address)
}

/// `domain` reads the record, and finds its parameters in order (RFC 9460 section 2.2).
fn https_is_read(dns: &[u8]) -> Checked {
    let message = Message::from_octets(dns).map_err(|error| error.to_string())?;
    let question = message.sole_question().map_err(|error| error.to_string())?;
    let record = message.answer().map_err(|e| e.to_string())?.next().ok_or("no record")?.map_err(|e| e.to_string())?;
    same("the owner is the question", record.owner() == *question.qname(), true)?;
    let record = record.to_record::<Https<_, _>>().map_err(|e| e.to_string())?.ok_or("no HTTPS record")?;
    same("SvcPriority", record.data().priority(), 1)?;
    same("TargetName is the root", record.data().target().is_root(), true)
}

fn soa_is(query: &[u8], dns: &[u8], zone: &WorldZone, rcode: Rcode) -> Checked {
    let message = Message::from_octets(dns).map_err(|error| error.to_string())?;
    same("the RCODE", message.header().rcode(), rcode)?;
    same("AA, TC", (message.header().aa(), message.header().tc()), (true, false))?;
    let counts = message.header_counts();
    same("answers and authorities", (counts.ancount(), counts.nscount()), (0, 1))?;
    let record =
        message.authority().map_err(|e| e.to_string())?.next().ok_or("no record")?.map_err(|e| e.to_string())?;
    // Pointers into the question take its case with them, which RFC 4343 does not mind.
    let text = |name: &dyn ToString| name.to_string().to_ascii_lowercase();
    same("the owner", text(&record.owner()), zone.apex.to_owned())?;
    same("the TTL", record.ttl().as_secs(), zone.negative_ttl)?;
    same("the class", record.class().to_int(), 1)?;
    same("RDLENGTH", usize::from(record.rdlen()), zone.rdlen)?;
    let record = record.to_record::<Soa<_>>().map_err(|e| e.to_string())?.ok_or("no SOA record")?;
    let soa = record.data();
    same("MNAME", text(soa.mname()), zone.mname.clone())?;
    same("RNAME", text(soa.rname()), zone.rname.clone())?;
    let numbers = [soa.refresh(), soa.retry(), soa.expire(), soa.minimum()].map(|ttl| ttl.as_secs());
    same("the serial", soa.serial().into_int(), world::SERIAL)?;
    same("the timers", numbers, [world::REFRESH, world::RETRY, world::EXPIRE, zone.negative_ttl])?;
    let opt = if query[11] == 1 { 11 } else { 0 };
    same("the message's length", dns.len(), question_end(query)? + 12 + zone.rdlen + opt)
}
