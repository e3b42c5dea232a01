//! Frames through the shared packet code.

use std::net::IpAddr;

use etherparse::{Ipv6Header, NetSlice, SlicedPacket, TransportSlice, UdpHeader};
use xdp_ebpf::reason::Action;

use super::{maps, split};
use crate::table::{
    held::{self, Grow, Held},
    verify,
    world::World,
};

/// No valid answer over UDP is longer.
const DNS_LEN_MAX: usize = 1232;
const ETHERNET: usize = 14;

/// A frame, as the kernel's program sees it. With an odd first byte its checksums are mended first, or hardly any change
/// of a frame would get past them.
pub fn frame(data: &[u8]) {
    thread_local!(static HELD: Held = maps::held(World::Full));
    let (how, bytes) = split(data);
    let mut frame = bytes.to_vec();
    if how & 1 == 1 {
        mend(&mut frame);
    }
    HELD.with(|held| {
        let [at_tail, at_head] = [Grow::Tail, Grow::Head].map(|grow| {
            // The same turn for both.
            held.cursors.borrow_mut().fill([1, 2]);
            held.random.set(1);
            held::run(held, &frame, grow)
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

/// What becomes of an input of [`frame`] whose checksums are not mended.
#[must_use]
pub fn reason(data: &[u8]) -> &'static str {
    let held = maps::held(World::Full);
    held::run(&held, split(data).1, Grow::Tail).reason.name()
}
