//! Questions, each from one number.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::PacketBuilder;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::machine::MACS;

/// Names that mean something to the configuration, and some that nearly do.
const NAMES: [&str; 52] = [
    "nets.app.example",
    "nets.app.example",
    "nets.app.example",
    "far.app.example",
    "app.example",
    "app.example",
    "random.app.example",
    "sticky.app.example",
    "sticky.app.example",
    "servfail.app.example",
    "servfail.app.example",
    "open.app.example",
    "deep.er.and.deep.er.b.c.test",
    "b.c.test",
    "one.app.example",
    "two.app.example",
    "four.app.example",
    "six.b.c.test",
    "down.app.example",
    "ns1.app.example",
    "mail.app.example",
    "www.app.example",
    "out.app.example",
    "host.of.ents.app.example",
    "of.ents.app.example",
    "ents.app.example",
    "wild.app.example",
    "a.wild.app.example",
    "a.b.wild.app.example",
    "*.wild.app.example",
    "x.wild.app.example",
    "y.x.wild.app.example",
    "sub.app.example",
    "ns.sub.app.example",
    "deeper.sub.app.example",
    "caa.app.example",
    "odd.app.example",
    "svc.app.example",
    "er.b.c.test",
    "c.test",
    "test",
    "example",
    "com",
    "",
    "app.example.com",
    "xapp.example",
    "given.away.app.example",
    "x.given.away.app.example",
    "away.app.example",
    "x.inner.given",
    "moved.app.example",
    "x.moved.app.example",
];

const TYPES: [u16; 25] =
    [1, 1, 1, 28, 28, 65, 65, 64, 2, 5, 6, 12, 15, 16, 33, 35, 39, 43, 48, 52, 257, 255, 252, 65_280, 65_535];

/// One question.
pub struct Asked {
    pub message: Vec<u8>,
    pub client: IpAddr,
    v6: bool,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}: ", self.client)?;
        self.message.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Asked {
    pub fn frame(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(MACS[1], MACS[0]);
        let builder = match self.client {
            IpAddr::V4(client) => link.ipv4(client.octets(), [203, 0, 113, 53], 64),
            IpAddr::V6(client) => {
                link.ipv6(client.octets(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53).octets(), 64)
            }
        };
        debug_assert_eq!(self.v6, self.client.is_ipv6());
        let mut frame = Vec::new();
        builder.udp(40_000, 53).write(&mut frame, &self.message).unwrap();
        frame
    }
}

/// The question of a seed.
pub fn question(seed: u64) -> Asked {
    let random = &mut StdRng::seed_from_u64(seed);
    let v6 = random.random();
    let client = if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, random.random(), random.random(), 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(198, 18 + random.random_range(0..2), random.random(), random.random_range(1..255)).into()
    };
    let mut message = header(random);
    message.extend(name(random));
    let rtype = if random.random_ratio(1, 10) { random.random() } else { TYPES[random.random_range(0..TYPES.len())] };
    message.extend(rtype.to_be_bytes());
    let class: u16 =
        if random.random_ratio(1, 40) { *[0, 3, 254, 255].get(random.random_range(0..4)).unwrap() } else { 1 };
    message.extend(class.to_be_bytes());
    if random.random_ratio(2, 3) {
        message[11] = 1;
        message.extend(opt(random));
    }
    if random.random_ratio(1, 20) {
        message.extend((0..random.random_range(0..40)).map(|_| random.random::<u8>()));
    }
    if random.random_ratio(1, 12) {
        mutate(random, &mut message);
    }
    Asked { message, client, v6 }
}

/// A question with an OPT that holds these options.
pub fn asked(client: IpAddr, name: &[u8], rtype: u16, options: &[u8]) -> Asked {
    let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend(name);
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8]);
    message.extend(options);
    Asked { message, client, v6: client.is_ipv6() }
}

/// An A question for a name, from an IPv4 client.
pub fn plain(name: &str) -> Asked {
    let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    Asked { message, client: Ipv4Addr::new(198, 18, 7, 9).into(), v6: false }
}

/// An A question with this cookie.
pub fn with_cookie(v6: bool, cookie: &[u8]) -> Asked {
    let client =
        if v6 { Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).into() } else { Ipv4Addr::new(198, 18, 7, 9).into() };
    let option = [&[0, 10, 0, cookie.len() as u8], cookie].concat();
    asked(client, b"\x03app\x07example\0", 1, &option)
}

/// Flags mostly as resolvers set them; those of answers are to be ignored.
fn header(random: &mut StdRng) -> Vec<u8> {
    let mut header = random.random::<u16>().to_be_bytes().to_vec();
    let flags: u16 = match random.random_range(0..10) {
        0 => random.random::<u16>() & 0x87ff,
        1 => random.random::<u16>() & 0x07ff,
        2..6 => 0x0100,
        _ => 0,
    };
    header.extend((flags & 0x7fff).to_be_bytes());
    header.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    header
}

fn name(random: &mut StdRng) -> Vec<u8> {
    let mut labels: Vec<Vec<u8>> = NAMES[random.random_range(0..NAMES.len())]
        .split('.')
        .filter(|label| !label.is_empty())
        .map(|label| label.as_bytes().to_vec())
        .collect();
    match random.random_range(0..12) {
        0 | 1 => {
            for _ in 0..random.random_range(1..4) {
                let len = random.random_range(1..20);
                labels.insert(0, (0..len).map(|_| random.random_range(b'a'..=b'z')).collect());
            }
        }
        2 => (0..100).for_each(|_| labels.insert(0, vec![b'q'])),
        3 if !labels.is_empty() => {
            let label = random.random_range(0..labels.len());
            let byte = random.random_range(0..labels[label].len());
            labels[label][byte] ^= 1;
        }
        4 if !labels.is_empty() => {
            labels.remove(random.random_range(0..labels.len()));
        }
        5 => labels.iter_mut().for_each(|label| label.make_ascii_uppercase()),
        _ => {}
    }
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend(label);
    }
    wire.push(0);
    wire
}

fn opt(random: &mut StdRng) -> Vec<u8> {
    let mut options = Vec::new();
    if random.random_ratio(1, 2) {
        for _ in 0..random.random_range(1..4) {
            options.extend(option(random));
        }
    }
    let size: u16 = match random.random_range(0..4) {
        0 => random.random_range(0..700),
        1 => 4096,
        _ => 1232,
    };
    let version = if random.random_ratio(1, 15) { random.random() } else { 0_u8 };
    let flags: u16 = match random.random_range(0..4) {
        0 => 0x8000,
        1 => random.random(),
        _ => 0,
    };
    let mut opt = vec![0, 0, 41];
    opt.extend(size.to_be_bytes());
    opt.extend([0, version]);
    opt.extend(flags.to_be_bytes());
    opt.extend((options.len() as u16).to_be_bytes());
    opt.extend(options);
    opt
}

fn option(random: &mut StdRng) -> Vec<u8> {
    let (code, data): (u16, Vec<u8>) = match random.random_range(0..8) {
        0..3 => {
            let len = *[8, 8, 8, 24, 24, 16, 40, 7, 9, 15, 41].get(random.random_range(0..11)).unwrap();
            (10, (0..len).map(|_| random.random()).collect())
        }
        3 => (3, if random.random() { Vec::new() } else { vec![1, 2] }),
        4 | 5 => (8, subnet(random)),
        6 => (11, vec![]),
        _ => (random.random_range(20..100), (0..random.random_range(0..12)).map(|_| random.random()).collect()),
    };
    let mut option = code.to_be_bytes().to_vec();
    option.extend((data.len() as u16).to_be_bytes());
    option.extend(data);
    option
}

fn subnet(random: &mut StdRng) -> Vec<u8> {
    let (family, bits): (u8, u8) = if random.random() { (1, 32) } else { (2, 128) };
    let source = random.random_range(0..=bits);
    let mut data = vec![0, family, source, 0];
    let mut address: Vec<u8> = (0..source.div_ceil(8)).map(|_| random.random()).collect();
    if let (Some(last), true) = (address.last_mut(), source % 8 != 0) {
        *last &= 0xff << (8 - source % 8);
    }
    data.extend(address);
    if random.random_ratio(1, 10) {
        mutate(random, &mut data);
    }
    data
}

/// Changes a byte, or the length.
fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>) {
    match random.random_range(0..4) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 => bytes.push(random.random()),
        _ if bytes.is_empty() => {}
        _ => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
    }
}
