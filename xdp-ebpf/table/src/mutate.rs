//! Valid packets, changed here and there. Each is made from one number, so that a failure can be run again.

use crate::{
    packet::{A, AAAA, Message, QINQ, TestPacket, VLAN, ask, opt},
    world::{name_of_127_labels, name_of_len},
};

/// `SplitMix64`: every seed is good, and neighbouring seeds have nothing in common.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// The frame of a seed: one in six as it should be, the others changed in the message, in the headers or anywhere.
pub fn frame(seed: u64) -> Vec<u8> {
    let random = &mut Random(seed);
    let mut packet = packet(random);
    let how = random.below(6);
    if matches!(how, 1 | 2) {
        mutate(random, &mut packet.dns);
    }
    if matches!(how, 2 | 3) {
        headers(random, &mut packet);
    }
    let mut frame = packet.bytes();
    if matches!(how, 4 | 5) {
        mutate(random, &mut frame);
    }
    frame
}

fn message(random: &mut Random) -> Message {
    let kind = match random.below(8) {
        0..=2 => A,
        3..=5 => AAAA,
        6 => [2, 6, 15, 16, 43, 65, 255, 257, 65_280][random.below(9)],
        _ => random.next() as u16,
    };
    let name = match random.below(10) {
        0 => name_of_127_labels(),
        1 | 2 => {
            let len = 5 + random.below(251);
            name_of_len(len, if random.below(2) == 0 { 'a' } else { 'b' }).unwrap_or_default()
        }
        other => {
            let names = [
                "www.example",
                "example",
                "FOUR.example",
                "six.example",
                "servfail.example",
                "Sticky.Example",
                "abroad.test",
                "v4.odd.test",
                "big.test",
                "none.example",
                "site-lost.example",
                "a.b.Under.example",
                "under.example",
                "a.wild.example",
                "mail.example",
                "alias.example",
                "a.ns.sub.example",
                "none.big.test",
                "test",
                "www.example.com",
                "r.r.r.q.q.q.z",
                "",
            ];
            names[(other + random.below(21)) % names.len()].to_owned()
        }
    };
    let message = ask(&name, kind).id(random.next() as u16);
    match random.below(4) {
        0 => message,
        1 => message.edns(),
        2 => {
            let size = random.next() as u16;
            let flags = if random.below(2) == 0 { 0x8000 } else { 0 };
            let version = if random.below(8) == 0 { 0x0001_0000 } else { 0 };
            let options = vec![7; random.below(40)];
            message.additional(&opt(size, version | flags, &options))
        }
        _ => {
            let trailing = vec![3; random.below(40)];
            message.edns().trailing(&trailing)
        }
    }
}

fn packet(random: &mut Random) -> TestPacket {
    let message = message(random);
    let packet = if random.below(2) == 0 { message.v4() } else { message.v6() };
    let packet = match random.below(4) {
        0 => packet.tag(VLAN, [1, 7, 100, random.next() as u16][random.next() as usize % 4]),
        1 => packet.tag(QINQ, 1).tag(VLAN, [2, 2, 2, random.next() as u16][random.next() as usize % 4]),
        _ => packet,
    };
    match random.below(4) {
        0 => {
            let padding = vec![0; random.below(50)];
            packet.padding(&padding)
        }
        _ => packet,
    }
}

/// One field of the headers, everything else fitting it.
fn headers(random: &mut Random, packet: &mut TestPacket) {
    let (byte, word) = (random.next() as u8, random.next());
    match random.below(11) {
        0 => packet.first = byte,
        1 => packet.word = 1 << (word % 32),
        2 => packet.protocol = byte,
        3 => packet.ip_len_off = (word % 80) as i16 - 40,
        4 => packet.udp_len_off = (word % 80) as i16 - 40,
        5 => packet.ports.0 = (word % 3) as u16,
        6 => packet.ports.1 = 50 + (word % 6) as u16,
        7 => packet.destination_mac[usize::from(byte) % 6] ^= 1 << (word % 8),
        8 => packet.checksum = crate::packet::Checksum::Given(word as u16),
        9 => {
            packet.source = match packet.source {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::from_bits((word as u32) & 0xff00_0001).into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(u128::from(word) << 120 | 1).into(),
            }
        }
        _ => packet.tags.push((VLAN, word as u16)),
    }
}

/// Up to three changes of bits, bytes or the length.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = [0, 1, 63, 64, 0x7f, 0x80, 0xc0, 0xff][random.below(8)],
            3 => bytes.truncate(at),
            4 => bytes.extend(vec![random.next() as u8; random.below(30)]),
            _ => {
                let byte = random.next() as u8;
                bytes.insert(at, byte);
            }
        }
    }
}
