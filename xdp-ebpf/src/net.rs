//! Ethernet, VLAN, IPv4, IPv6 and UDP: from the first byte to the DNS message.
//!
//! ```text
//!  Ethernet          0..2 VLAN tags       IPv4 (20) or IPv6 (40)        UDP
//! +--------+--------+------+------+-----+-----------------------------+----+----+-----+-----+--
//! | dst 6  | src 6  | TPID | TCI  | typ | header without options      |sprt|dprt| len | sum | DNS
//! +--------+--------+------+------+-----+-----------------------------+----+----+-----+-----+--
//! ^ 0                              l3 -> ^                              ^ udp                 ^ dns
//! ```

use core::net::IpAddr;

use crate::{
    frame::Frame,
    layout::{Control, LISTEN_MAX, MAC_MAX, VLAN_BITS},
    reason::Reason,
    sum::Sum,
};

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Length of a VLAN tag.
pub const VLAN_TAG: usize = 4;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of an IPv6 header.
pub const IPV6: usize = 40;
/// Length of a UDP header.
pub const UDP: usize = 8;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100_u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8_u16.to_be();
const MAC_MASK: u64 = 0x0000_ffff_ffff_ffff;

/// A UDP datagram to a served address and port, of consistent lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Datagram {
    /// Offset of the IP header: 14, 18 or 22.
    pub l3: usize,
    /// IPv6, not IPv4.
    pub v6: bool,
    /// Offset of the DNS message.
    pub dns: usize,
    /// Length of the DNS message in bytes.
    pub dns_len: usize,
    /// Sum of the pseudo header: addresses, protocol, UDP length.
    pub pseudo: Sum,
    /// Sum of the UDP header without its checksum field.
    pub header: Sum,
    /// The UDP checksum field.
    pub checksum: u16,
}

/// Reads the headers of a frame.
#[inline(always)]
pub fn parse(frame: Frame, control: &Control) -> Result<Datagram, Reason> {
    let ethernet = frame.claim::<ETHERNET>(0).ok_or(Reason::PassTruncated)?;
    let mut ethertype = ethernet.u16::<12>();
    let mut l3 = ETHERNET;
    if is_vlan(ethertype) {
        // At a place that is not known: a claim at a known one makes the verifier's range of the frame's start longer. That range is
        // kept to the end, so each number of tags would be a way of its own through the whole program.
        let tag = frame.claim::<VLAN_TAG>(control.forget::<0x1f>(l3)).ok_or(Reason::PassTruncated)?;
        let outer = vlan_number(tag.u16::<0>());
        ethertype = tag.u16::<2>();
        l3 += VLAN_TAG;
        if is_vlan(ethertype) {
            let tag = frame.claim::<VLAN_TAG>(control.forget::<0x1f>(l3)).ok_or(Reason::PassTruncated)?;
            let inner = vlan_number(tag.u16::<0>());
            ethertype = tag.u16::<2>();
            l3 += VLAN_TAG;
            if is_vlan(ethertype) || !control.has_vlan_pair(outer, inner) {
                return Err(Reason::PassVlan);
            }
        } else if !control.has_vlan(outer) {
            return Err(Reason::PassVlan);
        }
    }
    let l3 = control.forget::<0x1f>(l3);
    let datagram = match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, l3, control)?,
        ETHERTYPE_IPV6 => ipv6(frame, l3, control)?,
        _ => return Err(Reason::PassEthertype),
    };
    if !is_our_mac(u64::from_le(ethernet.u64::<0>()) & MAC_MASK, control) {
        return Err(Reason::PassMac);
    }
    // From here on the verifier follows both families as one.
    let v6 = control.forget::<1>(usize::from(datagram.v6)) != 0;
    let (dns, dns_len) = (control.forget::<0x7f>(datagram.dns), control.forget::<0xffff>(datagram.dns_len));
    Ok(Datagram { v6, dns, dns_len, ..datagram })
}

#[inline(always)]
fn is_vlan(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// A tag's VLAN, without its priority (IEEE 802.1Q clause 9.6).
#[inline(always)]
fn vlan_number(control: u16) -> u16 {
    u16::from_be(control) & ((1 << VLAN_BITS) - 1)
}

#[inline(always)]
fn is_our_mac(mac: u64, control: &Control) -> bool {
    let mut i = 0;
    while i < MAC_MAX {
        let ours = control.mac[i];
        if ours == 0 {
            return false;
        }
        if ours == mac {
            return true;
        }
        i += 1;
    }
    false
}

/// RFC 791 section 3.1.
#[inline(always)]
fn ipv4(frame: Frame, l3: usize, control: &Control) -> Result<Datagram, Reason> {
    let ip = frame.claim::<IPV4>(l3).ok_or(Reason::PassTruncated)?;
    let version_ihl = ip.u8::<0>();
    if version_ihl >> 4 != 4 {
        return Err(Reason::PassVersion);
    }
    if version_ihl != 0x45 {
        return Err(Reason::PassIpv4Options);
    }
    // More-fragments or a fragment offset; the don't-fragment bit may be either.
    if u16::from_be(ip.u16::<6>()) & 0x3fff != 0 {
        return Err(Reason::PassFragment);
    }
    if ip.u8::<9>() != PROTOCOL_UDP {
        return Err(Reason::PassProtocol);
    }
    let udp = frame.claim::<UDP>(l3 + IPV4).ok_or(Reason::PassTruncated)?;
    let (source, destination) = (ip.u32::<12>(), ip.u32::<16>());
    let port = udp.u16::<2>();
    let mut ours = false;
    let mut from_us = false;
    let mut i = 0;
    while i < LISTEN_MAX && i < control.listen4_len as usize {
        let listen = &control.listen4[i];
        ours |= listen.address == destination && listen.port == port;
        from_us |= listen.address == source;
        i += 1;
    }
    if !ours {
        return Err(Reason::PassNotOurs);
    }
    let total = u16::from_be(ip.u16::<2>()) as usize;
    if total < IPV4 + UDP || l3 + total > frame.len() {
        return Err(Reason::PassIpLength);
    }
    let sum = Sum::ZERO.u32(ip.u32::<0>()).u32(ip.u32::<4>()).u32(ip.u32::<8>()).u32(source).u32(destination);
    if sum.fold() != 0xffff {
        return Err(Reason::PassIpChecksum);
    }
    let octet = u32::from_be(source) >> 24;
    // 0/8, 127/8, 224/4 and the limited broadcast are no hosts' addresses (RFC 1122 section 3.2.1.3).
    if from_us || octet == 0 || octet == 127 || octet >> 4 == 0xe || source == u32::MAX {
        return Err(Reason::DropSource);
    }
    let pseudo = Sum::ZERO.u32(source).u32(destination);
    datagram(Datagram { v6: false, pseudo, ..udp_header(l3, IPV4, udp) }, total - IPV4, udp)
}

/// RFC 8200 section 3.
#[inline(always)]
fn ipv6(frame: Frame, l3: usize, control: &Control) -> Result<Datagram, Reason> {
    let ip = frame.claim::<IPV6>(l3).ok_or(Reason::PassTruncated)?;
    if ip.u8::<0>() >> 4 != 6 {
        return Err(Reason::PassVersion);
    }
    if ip.u8::<6>() != PROTOCOL_UDP {
        return Err(Reason::PassProtocol);
    }
    let udp = frame.claim::<UDP>(l3 + IPV6).ok_or(Reason::PassTruncated)?;
    let source = [ip.u64::<8>(), ip.u64::<16>()];
    let destination = [ip.u64::<24>(), ip.u64::<32>()];
    let port = udp.u16::<2>();
    let mut ours = false;
    let mut from_us = false;
    let mut i = 0;
    while i < LISTEN_MAX && i < control.listen6_len as usize {
        let listen = &control.listen6[i];
        ours |= listen.address[0] == destination[0] && listen.address[1] == destination[1] && listen.port == port;
        from_us |= listen.address[0] == source[0] && listen.address[1] == source[1];
        i += 1;
    }
    if !ours {
        return Err(Reason::PassNotOurs);
    }
    let payload = u16::from_be(ip.u16::<4>()) as usize;
    if payload < UDP || l3 + IPV6 + payload > frame.len() {
        return Err(Reason::PassIpLength);
    }
    let (high, low) = (u64::from_be(source[0]), u64::from_be(source[1]));
    // ::, ::1, IPv4-mapped and ff00::/8 are no hosts' addresses on the wire (RFC 4291 section 2.5, RFC 6890).
    let special = high == 0 && (low <= 1 || low >> 32 == 0xffff);
    if from_us || special || high >> 56 == 0xff {
        return Err(Reason::DropSource);
    }
    let pseudo = Sum::ZERO.u64(source[0]).u64(source[1]).u64(destination[0]).u64(destination[1]);
    datagram(Datagram { v6: true, pseudo, ..udp_header(l3, IPV6, udp) }, payload, udp)
}

#[inline(always)]
fn udp_header(l3: usize, ip: usize, udp: crate::frame::Bytes<UDP>) -> Datagram {
    Datagram {
        l3,
        v6: false,
        dns: l3 + ip + UDP,
        dns_len: 0,
        pseudo: Sum::ZERO,
        header: Sum::ZERO.u32(udp.u32::<0>()).u16(udp.u16::<4>()),
        checksum: udp.u16::<6>(),
    }
}

/// RFC 768; the checks that both families share.
#[inline(always)]
fn datagram(so_far: Datagram, payload: usize, udp: crate::frame::Bytes<UDP>) -> Result<Datagram, Reason> {
    if u16::from_be(udp.u16::<4>()) as usize != payload {
        return Err(Reason::PassUdpLength);
    }
    if udp.u16::<0>() == 0 {
        return Err(Reason::DropSourcePort);
    }
    let pseudo = so_far.pseudo.u16(u16::from(PROTOCOL_UDP).to_be()).u16(udp.u16::<4>());
    Ok(Datagram { dns_len: payload - UDP, pseudo, ..so_far })
}

/// An address as [`Datagram::source`] gives it.
#[must_use]
pub const fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()) as u64, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [((bits >> 64) as u64).to_be(), (bits as u64).to_be()]
        }
    }
}

impl Datagram {
    /// The source address as in the packet; IPv4 in the first four bytes.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, frame: Frame) -> Option<[u64; 2]> {
        if self.v6 {
            let source = frame.claim::<16>(self.l3 + 8)?;
            return Some([source.u64::<0>(), source.u64::<8>()]);
        }
        Some([u64::from(frame.claim::<4>(self.l3 + 12)?.u32::<0>()), 0])
    }

    /// Whether the UDP checksum is one that a receiver accepts, given the sum of the DNS message.
    ///
    /// A valid one, none over IPv4 (RFC 768), or the bare pseudo-header sum: that is what a local veth or virtio sender
    /// leaves for its device to complete, and XDP sees no metadata that would say so.
    #[inline(always)]
    #[must_use]
    pub(crate) fn checksum_is_good(&self, message: Sum) -> bool {
        if self.checksum == 0 {
            return !self.v6;
        }
        let pseudo = self.pseudo.fold();
        self.checksum == pseudo || Sum::of(pseudo).add(self.header).u16(self.checksum).add(message).fold() == 0xffff
    }
}
