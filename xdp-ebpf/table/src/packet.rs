//! Frames and messages to send: right unless told otherwise, and wrong in whichever way is asked for.

use std::net::IpAddr;

use crate::{
    wire::wire,
    world::{CLIENT_MAC, CLIENT4, CLIENT6, OUR_MAC, OUR4, OUR6},
};

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const HTTPS: u16 = 65;
pub const VLAN: u16 = 0x8100;
pub const QINQ: u16 = 0x88a8;

/// A DNS message.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: u16,
    /// The second pair of header bytes.
    pub flags: u16,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT.
    pub counts: [u16; 4],
    pub name: Vec<u8>,
    pub kind: u16,
    pub class: u16,
    /// The bytes after the question.
    pub rest: Vec<u8>,
}

/// A question for a name in text form, RD set.
pub fn ask(name: &str, kind: u16) -> Message {
    ask_wire(wire(name), kind)
}

/// A question for a name in wire form, RD set.
pub fn ask_wire(name: Vec<u8>, kind: u16) -> Message {
    Message { id: 0x1234, flags: 0x0100, counts: [1, 0, 0, 0], name, kind, class: 1, rest: Vec::new() }
}

/// A question that is answered with [`ONE`](crate::world::ONE)'s IPv4 address.
pub fn www() -> Message {
    ask("www.example", A)
}

/// A question that is answered with [`ONE`](crate::world::ONE)'s IPv6 address.
pub fn www6() -> Message {
    ask("www.example", AAAA)
}

/// An OPT record of these parts (RFC 6891 section 6.1.2); `ttl` holds extended RCODE, version and flags.
pub fn opt(size: u16, ttl: u32, options: &[u8]) -> Vec<u8> {
    let mut opt = vec![0, 0, 41];
    opt.extend_from_slice(&size.to_be_bytes());
    opt.extend_from_slice(&ttl.to_be_bytes());
    opt.extend_from_slice(&(options.len() as u16).to_be_bytes());
    opt.extend_from_slice(options);
    opt
}

impl Message {
    pub fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    pub fn class(self, class: u16) -> Self {
        Self { class, ..self }
    }

    pub fn counts(self, counts: [u16; 4]) -> Self {
        Self { counts, ..self }
    }

    /// Appends bytes that no count announces.
    pub fn trailing(mut self, bytes: &[u8]) -> Self {
        self.rest.extend_from_slice(bytes);
        self
    }

    /// Appends one additional record.
    pub fn additional(mut self, record: &[u8]) -> Self {
        self.counts[3] += 1;
        self.trailing(record)
    }

    /// Appends an OPT record as a resolver sends it.
    pub fn edns(self) -> Self {
        self.additional(&opt(1232, 0, &[]))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [self.id, self.flags].into_iter().chain(self.counts) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.kind.to_be_bytes());
        bytes.extend_from_slice(&self.class.to_be_bytes());
        bytes.extend_from_slice(&self.rest);
        bytes
    }

    pub fn v4(&self) -> TestPacket {
        TestPacket::v4(self.bytes())
    }

    pub fn v6(&self) -> TestPacket {
        TestPacket::v6(self.bytes())
    }
}

/// The contents of the UDP checksum field.
#[derive(Clone, Copy, Debug)]
pub enum Checksum {
    Good,
    /// As a veth sender with offload leaves it: the pseudo header's sum alone.
    Bare,
    /// This value.
    Given(u16),
    /// The good one with these bits flipped.
    Flipped(u16),
}

/// A frame, before it is bytes.
#[derive(Clone, Debug)]
pub struct TestPacket {
    pub destination_mac: [u8; 6],
    pub tags: Vec<(u16, u16)>,
    /// Where it is not the family's own.
    pub ethertype: Option<u16>,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ports: (u16, u16),
    /// IPv4: version and header length. IPv6: version and high half of the traffic class.
    pub first: u8,
    /// IPv4: type of service. IPv6: low half of the traffic class, high half of the flow label's top.
    pub second: u8,
    /// IPv4: identification, flags and offset. IPv6: the flow label's low half, in the second half of the word.
    pub word: u32,
    pub ttl: u8,
    pub protocol: u8,
    /// IPv4 options or IPv6 extension headers.
    pub between: Vec<u8>,
    /// Added to the true IP length, wrapping around.
    pub ip_len_off: i16,
    /// Added to the true UDP length, wrapping around.
    pub udp_len_off: i16,
    pub ip_checksum_flip: u16,
    pub checksum: Checksum,
    pub dns: Vec<u8>,
    /// Behind the IP packet.
    pub padding: Vec<u8>,
}

impl TestPacket {
    pub fn v4(dns: Vec<u8>) -> Self {
        Self {
            destination_mac: OUR_MAC,
            tags: Vec::new(),
            ethertype: None,
            source: CLIENT4.into(),
            destination: OUR4.into(),
            ports: (40_000, 53),
            first: 0x45,
            second: 0,
            word: 0xbeef_0000,
            ttl: 57,
            protocol: 17,
            between: Vec::new(),
            ip_len_off: 0,
            udp_len_off: 0,
            ip_checksum_flip: 0,
            checksum: Checksum::Good,
            dns,
            padding: Vec::new(),
        }
    }

    pub fn v6(dns: Vec<u8>) -> Self {
        let (source, destination) = (CLIENT6.into(), OUR6.into());
        Self { source, destination, first: 0x60, word: 0, ..Self::v4(dns) }
    }

    pub fn source(self, source: &str) -> Self {
        Self { source: source.parse().unwrap(), ..self }
    }

    pub fn destined(self, destination: &str, port: u16) -> Self {
        Self { destination: destination.parse().unwrap(), ports: (self.ports.0, port), ..self }
    }

    pub fn at_mac(self, destination_mac: [u8; 6]) -> Self {
        Self { destination_mac, ..self }
    }

    pub fn tag(mut self, protocol: u16, control: u16) -> Self {
        self.tags.push((protocol, control));
        self
    }

    pub fn checksum(self, checksum: Checksum) -> Self {
        Self { checksum, ..self }
    }

    pub fn padding(self, padding: &[u8]) -> Self {
        Self { padding: padding.to_vec(), ..self }
    }

    fn udp(&self) -> Vec<u8> {
        let len = (8 + self.dns.len() as u16).wrapping_add_signed(self.udp_len_off);
        let mut udp = Vec::new();
        for word in [self.ports.0, self.ports.1, len, 0] {
            udp.extend_from_slice(&word.to_be_bytes());
        }
        udp.extend_from_slice(&self.dns);
        let pseudo = pseudo_sum(self.source, self.destination, len);
        let good = match !sum(pseudo, &udp) {
            0 => 0xffff,
            good => good,
        };
        let checksum = match self.checksum {
            Checksum::Good => good,
            Checksum::Bare => sum(pseudo, &[]),
            Checksum::Given(checksum) => checksum,
            Checksum::Flipped(bits) => good ^ bits,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        udp
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.destination_mac.to_vec();
        bytes.extend_from_slice(&CLIENT_MAC);
        for (protocol, control) in &self.tags {
            bytes.extend_from_slice(&protocol.to_be_bytes());
            bytes.extend_from_slice(&control.to_be_bytes());
        }
        let own = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend_from_slice(&self.ethertype.unwrap_or(own).to_be_bytes());
        let udp = self.udp();
        let payload = ((self.between.len() + udp.len()) as u16).wrapping_add_signed(self.ip_len_off);
        let mut ip = vec![self.first, self.second];
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ip.extend_from_slice(&payload.wrapping_add(20).to_be_bytes());
                ip.extend_from_slice(&self.word.to_be_bytes());
                ip.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
                ip.extend_from_slice(&source.octets());
                ip.extend_from_slice(&destination.octets());
                ip.extend_from_slice(&self.between);
                let checksum = !sum(0, &ip) ^ self.ip_checksum_flip;
                ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ip.extend_from_slice(&(self.word as u16).to_be_bytes());
                ip.extend_from_slice(&payload.to_be_bytes());
                ip.extend_from_slice(&[self.protocol, self.ttl]);
                ip.extend_from_slice(&source.octets());
                ip.extend_from_slice(&destination.octets());
                ip.extend_from_slice(&self.between);
            }
            _ => panic!("source and destination of two families"),
        }
        bytes.extend_from_slice(&ip);
        bytes.extend_from_slice(&udp);
        bytes.extend_from_slice(&self.padding);
        bytes
    }
}

/// The Internet checksum's sum, byte by byte in network order: another way than the code under test goes.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for (i, byte) in bytes.iter().enumerate() {
        sum += if i % 2 == 0 { u32::from(*byte) << 8 } else { u32::from(*byte) };
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn pseudo_sum(source: IpAddr, destination: IpAddr, udp_len: u16) -> u32 {
    let addresses = [source, destination].map(|address| match address {
        IpAddr::V4(address) => u32::from(sum(0, &address.octets())),
        IpAddr::V6(address) => u32::from(sum(0, &address.octets())),
    });
    u32::from(sum(addresses[0] + addresses[1] + 17, &udp_len.to_be_bytes()))
}
