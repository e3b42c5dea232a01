//! DNS messages through the socket path, and traced packets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use domain::{
    base::{Message, ParsedName},
    rdata::AllRecordData,
};
use xdp_ebpf::{layout::EVENT_FRAME, reason::Reason};
use zerottl_core::{
    plan::Planner,
    status::{Assessment, Health},
};
use zerottl_dns::{Transport, Zones, respond, view::View};
use zerottl_kernel::trace::line;

use super::{bytes::split, files, packet};

const CLIENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7));
/// IP and UDP headers.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;
/// Bytes of time, reason and length, after which comes what the program keeps of a frame.
const EVENT_HEADER: usize = 16;

/// A DNS message, over UDP and over TCP. The first byte's lowest bit chooses the client's family.
pub fn socket(data: &[u8]) {
    thread_local!(static SERVED: (Zones, View) = served());
    let (how, query) = split(data);
    let (client, headers) = if how & 1 == 0 { (CLIENT_V4, HEADERS_V4) } else { (CLIENT_V6, HEADERS_V6) };
    SERVED.with(|(zones, view)| {
        let udp = respond(query, Transport::Udp, client, 1_000_000, zones, view);
        let tcp = respond(query, Transport::Tcp, client, 1_000_000, zones, view);
        assert_eq!(udp.is_some(), tcp.is_some(), "answered over one transport only");
        if let Some(answer) = tcp {
            assert!(u16::try_from(answer.len()).is_ok(), "{} bytes", answer.len());
            readable(query, &answer);
        }
        if let Some(answer) = udp {
            readable(query, &answer);
            // Whatever it is that is asked: the plan's answers are far below 512 bytes here.
            let (asked, said) = (headers + query.len(), headers + answer.len());
            let is_bound = answer.len() <= 512 || said <= 3 * asked;
            assert!(answer.len() <= 1232 && is_bound, "{said} bytes for {asked}");
        }
    });
}

/// Every record of an answer, also its data, can be read, nothing stands behind the last, and it answers this query.
fn readable(query: &[u8], answer: &[u8]) {
    let message = Message::from_octets(answer).expect("a header");
    assert_eq!(answer[..2], query[..2], "the ID");
    let header = message.header();
    assert!(header.qr() && !header.ra() && !header.z() && !header.ad(), "{header:?}");
    assert_eq!((header.rd(), header.opcode().to_int()), (query[2] & 1 == 1, query[2] >> 3 & 15));
    for question in message.question() {
        question.expect("a question");
    }
    let (_, answers, authorities, additional) = message.sections().expect("sections");
    for section in [answers, authorities, additional] {
        for record in section {
            let record = record.expect("a record");
            record.to_record::<AllRecordData<_, ParsedName<_>>>().expect("a record's data");
        }
    }
    let counts = message.header_counts();
    assert!(counts.qdcount() <= 1, "one question at most");
    if counts.qdcount() == 1 {
        let end = question_end(answer);
        assert_eq!(answer[12..end], query[12..end], "the question as it came");
    }
}

fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

/// The zone of [`files::FILE`] with its records, every Site up.
fn served() -> (Zones, View) {
    let loaded = files::valid(files::RECORDS.as_bytes());
    let planner = Planner::new(Arc::new(loaded.model));
    let mut status = Assessment::unknown(planner.model());
    for health in status.health.iter_mut() {
        health.fill(Health::Up);
    }
    let plan = planner.plan(&status, 1);
    (loaded.zones, View::new(Arc::clone(planner.model()), plan))
}

/// A traced packet: the program's record with these bytes as the frame, and the bytes as the whole record.
pub fn trace(data: &[u8]) {
    let _ = line(data);
    let (reason, frame) = split(data);
    let mut event = vec![0; size_of::<xdp_ebpf::layout::Event>()];
    event[8..12].copy_from_slice(&(u32::from(reason) % Reason::ALL.len() as u32).to_ne_bytes());
    event[12..EVENT_HEADER].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    let kept = frame.len().min(event.len() - EVENT_HEADER);
    event[EVENT_HEADER..EVENT_HEADER + kept].copy_from_slice(&frame[..kept]);
    let line = line(&event).expect("a whole record");
    assert_eq!(line.len as usize, frame.len());
    if let Some(name) = packet::plain_name(frame).filter(|_| frame.len() < EVENT_FRAME) {
        assert_eq!(line.name, Some(name), "the question's name");
        assert!(line.client.is_some() && line.qtype.is_some(), "{line:?}");
    }
}
