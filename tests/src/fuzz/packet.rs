//! Frames through the shared packet code.

use std::{net::IpAddr, sync::Arc};

use domain::base::{Message, Rtype};
use etherparse::{IpNumber, Ipv6Header, NetSlice, SlicedPacket, TransportSlice, UdpHeader};
use kernel_table::{
    host_maps::{self, Grow, HostMaps},
    verify,
    world::World,
};
use xdp_ebpf::{cookie::Secret, layout::Cursor, reason::Action};
use zerottl_core::model::{CookieSecrets, EdnsConfig};
use zerottl_dns::{Transport, Zones, respond, view::View};

use super::bytes::split;
use crate::kernel::{maps, planned::Planned};

/// No valid answer over UDP is longer.
const DNS_LEN_MAX: usize = 1232;
const ETHERNET: usize = 14;
/// Bytes of an OPT without options.
const OPT_LEN: usize = 11;

/// [`frame`]'s first byte: the checksums are mended first, or hardly any change of a frame would get past them.
pub(super) const MENDED: u8 = 1;
/// [`frame`]'s first byte: EDNS options are answered, and the socket path is asked the same.
pub(super) const WITH_OPTIONS: u8 = 2;

/// A frame, as the kernel's program sees it.
pub fn frame(data: &[u8]) {
    thread_local!(static HELD: HostMaps = maps::held(World::Full));
    let (how, bytes) = split(data);
    let mut frame = bytes.to_vec();
    if how & MENDED != 0 {
        mend(&mut frame);
    }
    if how & WITH_OPTIONS != 0 {
        thread_local!(static BESIDE: Beside = Beside::new());
        BESIDE.with(|beside| beside.compare(&frame));
        return;
    }
    HELD.with(|held| {
        let [at_tail, at_head] = [Grow::Tail, Grow::Head].map(|grow| {
            // The same turn for both.
            held.cursors.borrow_mut().fill(Cursor::default());
            held.random.set(1);
            host_maps::run(held, &frame, grow)
        });
        assert_eq!(at_tail, at_head, "where a frame grows is not to be seen");
        let ran = at_head;
        assert_eq!(ran.reason.action(), ran.action);
        match ran.action {
            Action::Answer => {
                verify::well_formed(&frame, &ran.frame).unwrap_or_else(|fault| panic!("{fault}"));
                small(&frame, &ran.frame);
            }
            Action::Pass | Action::Drop => assert_eq!(ran.frame, frame, "{}", ran.reason.name()),
            Action::Abort => panic!("{}: whole maps, so this is a bug", ran.reason.name()),
        }
    });
}

/// The maps with every option turned on, and what the socket path answers from.
struct Beside {
    held: HostMaps,
    zones: Zones,
    view: View,
}

impl Beside {
    fn new() -> Self {
        let planned = Planned::world_with(World::Full, |model| {
            let cookies = Some(CookieSecrets {
                present: Secret::new([7; 16]),
                previous: Some(Secret::new([8; 16])),
                is_shared: false,
            });
            model.edns = EdnsConfig { cookies, nsid: Some("fuzz".to_owned()), client_subnet: true, signed_bytes: 0 };
        });
        let held = maps::held_by(&planned, World::Full);
        let view = View::new(Arc::clone(planned.planner.model()), planned.plan(1));
        Self { held, zones: planned.zones, view }
    }

    /// Whatever is answered has the socket path's header and OPT, byte for byte (invariant 7). The host's program lives at
    /// second 0, so that is the time of the cookies.
    fn compare(&self, frame: &[u8]) {
        let ran = host_maps::run(&self.held, frame, Grow::Tail);
        match ran.action {
            Action::Answer => {
                small(frame, &ran.frame);
                let query = message(frame).expect("it was answered");
                let answer = message(&ran.frame).expect("it is well-formed");
                let client = source(frame).expect("it was answered");
                let said = respond(query, Transport::Udp, client, 0, &self.zones, &self.view).expect("an answer");
                assert_eq!(answer[..12], said[..12], "the header, {}", ran.reason.name());
                let opts = [answer, &said].map(|message| opt(message, query));
                assert_eq!(opts[0], opts[1], "the OPT record, {}", ran.reason.name());
            }
            Action::Pass | Action::Drop => assert_eq!(ran.frame, frame, "{}", ran.reason.name()),
            Action::Abort => panic!("{}: whole maps, so this is a bug", ran.reason.name()),
        }
    }
}

/// The OPT record, which is the last of an answer; none without EDNS.
fn opt<'a>(message: &'a [u8], query: &[u8]) -> Option<&'a [u8]> {
    let parsed = Message::from_octets(message).expect("a header");
    let record = parsed.additional().expect("sections").map(|record| record.expect("a record")).last();
    let has_opt = record.as_ref().is_some_and(|record| record.rtype() == Rtype::OPT);
    assert_eq!(has_opt, query[11] == 1, "an OPT for an OPT");
    let len = usize::from(record?.rdlen());
    Some(&message[message.len() - len - OPT_LEN..])
}

fn source(frame: &[u8]) -> Option<IpAddr> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Arp(_) => None,
    }
}

/// Invariant 8: 1232 bytes of DNS; counted as IP packets, twice the query if positive, else 2.5 times.
fn small(query: &[u8], answer: &[u8]) {
    let (asked, _) = ip_and_dns(query).expect("it was answered");
    let (said, dns) = ip_and_dns(answer).expect("it is well-formed");
    let halves = if dns[6..8] == [0, 0] { 5 } else { 4 };
    assert!(dns.len() <= DNS_LEN_MAX, "{} bytes of DNS", dns.len());
    assert!(2 * said <= halves * asked, "{said} bytes for {asked}");
}

/// Length of the IP packet, and the DNS message.
fn ip_and_dns(frame: &[u8]) -> Option<(usize, &[u8])> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let headers = match sliced.net? {
        NetSlice::Ipv4(ip) => ip.header().slice().len(),
        NetSlice::Ipv6(_) => Ipv6Header::LEN,
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { return None };
    Some((headers + UdpHeader::LEN + udp.payload().len(), udp.payload()))
}

/// Sets the IP header's and the UDP checksum to what they should be, if there are any.
fn mend(frame: &mut [u8]) {
    let Some((l3, l4, ip, udp)) = checksums(frame) else { return };
    if let Some(sum) = ip {
        frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame[l4 + 6..l4 + 8].copy_from_slice(&udp.to_be_bytes());
}

/// Where the IP and UDP headers begin, and their checksums.
fn checksums(frame: &[u8]) -> Option<(usize, usize, Option<u16>, u16)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let l3 = ETHERNET + 4 * sliced.link_exts.len();
    let (headers, addresses, ip) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let addresses: (IpAddr, IpAddr) = (header.source_addr().into(), header.destination_addr().into());
            (header.slice().len(), addresses, Some(header.to_header().calc_header_checksum()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (Ipv6Header::LEN, (header.source_addr().into(), header.destination_addr().into()), None)
        }
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { return None };
    let header = udp.to_header();
    let sum = match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), udp.payload())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), udp.payload())
        }
        _ => return None,
    };
    let l4 = l3 + headers;
    (l4 + UdpHeader::LEN <= frame.len()).then_some((l3, l4, ip, sum.ok()?))
}

/// The DNS message in a frame, if there is one.
pub(super) fn message(frame: &[u8]) -> Option<&[u8]> {
    ip_and_dns(frame).map(|(_, message)| message)
}

/// The question's name where a frame is surely a DNS message of the plainest kind: no tags, IP options or extension headers.
pub(super) fn plain_name(frame: &[u8]) -> Option<String> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let plain = match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => ip.header().slice().len() == 20,
        NetSlice::Ipv6(ip) => ip.header().next_header() == IpNumber::UDP,
        NetSlice::Arp(_) => false,
    };
    if !plain || !sliced.link_exts.is_empty() {
        return None;
    }
    Some(Message::from_octets(message(frame)?).ok()?.first_question()?.qname().to_string())
}

/// Returns what becomes of an input of [`frame`] whose checksums are not fixed.
#[must_use]
pub fn reason(data: &[u8]) -> &'static str {
    let held = maps::held(World::Full);
    host_maps::run(&held, split(data).1, Grow::Tail).reason.name()
}
