//! Names of several Sites: what no single row can show.

use std::collections::HashMap;
use std::net::IpAddr;

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, HTTPS, TestPacket, ask},
    runner::Runner,
    verify::well_formed,
    world::{ONE, TWO, World},
};

/// The address that one query is answered with.
pub fn answer(machine: &mut dyn Runner, packet: &TestPacket) -> IpAddr {
    let frame = packet.bytes();
    let ran = machine.run(World::Full, &frame).expect("a whole frame");
    well_formed(&frame, &ran.frame).unwrap();
    match ran.reason {
        Reason::AnswerA => <[u8; 4]>::try_from(&ran.frame[ran.frame.len() - 4..]).unwrap().into(),
        // The last hint of an HTTPS record is IPv6.
        Reason::AnswerAaaa | Reason::AnswerHttps => {
            <[u8; 16]>::try_from(&ran.frame[ran.frame.len() - 16..]).unwrap().into()
        }
        other => panic!("{} for an address question", other.name()),
    }
}

fn addresses(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

/// The sequence of a weighted round robin of 2 to 1: never twice the lighter Site, never three times the heavier one
/// but where the table begins anew. A, AAAA and HTTPS have cursors of their own: alternating, each sees every Site.
pub fn round_robin(machine: &mut dyn Runner) {
    const ROUNDS: usize = 600;
    let mut seen = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        seen[0].push(answer(machine, &ask("rr.example", A).v4()));
        seen[1].push(answer(machine, &ask("rr.example", AAAA).v4()));
        seen[2].push(answer(machine, &ask("rr.example", HTTPS).v4()));
    }
    for (of, seen) in seen.iter().enumerate() {
        let family = of.min(1);
        let (heavy, light) = (addresses(ONE)[family], addresses(TWO)[family]);
        let light_count = seen.iter().filter(|address| **address == light).count();
        assert_eq!(seen.iter().filter(|address| **address == heavy).count() + light_count, ROUNDS);
        assert!(light_count.abs_diff(ROUNDS / 3) <= ROUNDS / 50, "{light_count} of {ROUNDS} for a third");
        let anew = seen.windows(3).filter(|window| window.iter().all(|address| *address == heavy)).count();
        assert!(anew <= ROUNDS / 16, "three times the heavier Site, {anew} times");
        assert!(!seen.windows(3).any(|window| window.iter().all(|address| *address == light)), "only the lighter Site");
    }
}

/// Random slots, by chi-square against the weights at one degree of freedom. The bound is passed by chance once in
/// a hundred million runs.
pub fn random(machine: &mut dyn Runner) {
    const ROUNDS: u32 = 3_000;
    for (kind, family) in [(A, 0), (AAAA, 1)] {
        let mut counts = HashMap::<IpAddr, u32>::new();
        for _ in 0..ROUNDS {
            *counts.entry(answer(machine, &ask("random.example", kind).v6())).or_default() += 1;
        }
        let expected = [(addresses(ONE)[family], 2.0 / 3.0), (addresses(TWO)[family], 1.0 / 3.0)];
        assert_eq!(counts.len(), expected.len(), "{counts:?}");
        let chi_square: f64 = expected
            .map(|(address, share)| {
                let expected = f64::from(ROUNDS) * share;
                let found = f64::from(counts[&address]);
                (found - expected).powi(2) / expected
            })
            .iter()
            .sum();
        // The table's own rounding adds to the deviation: 2^k slots are no multiple of three.
        assert!(chi_square < 36.0, "chi-square {chi_square:.1}: {counts:?}");
    }
}

/// Sticky: the same for every client of a prefix and both types, and not the same for all prefixes. `expected` says
/// which of the two Sites a client must get.
pub fn sticky(machine: &mut dyn Runner, expected: &dyn Fn(IpAddr) -> usize) {
    let mut sites = HashMap::<usize, usize>::new();
    for i in 0..200_u32 {
        // Two addresses of one /20 that differ in its last 12 bits, and of one /44 that differ in its last 84.
        let four = [0x0a00_0000 | i << 12, 0x0a00_0fff | i << 12].map(|bits| IpAddr::V4(bits.into()));
        let high = 0x2001_0db8_0000_0000_0000_0000_0000_0000_u128 + (u128::from(i + 64) << 84);
        let six = [high + 1, high | ((1 << 84) - 1)].map(|bits| IpAddr::V6(bits.into()));
        for clients in [four, six] {
            let site = expected(clients[0]);
            *sites.entry(site).or_default() += 1;
            for client in clients {
                assert_eq!(expected(client), site, "{client}");
                for (family, kind) in [(0, A), (1, AAAA), (1, HTTPS)] {
                    let message = ask("sticky.example", kind);
                    let packet = if client.is_ipv4() { message.v4() } else { message.v6() };
                    let found = answer(machine, &TestPacket { source: client, ..packet });
                    assert_eq!(found, [addresses(ONE), addresses(TWO)][site][family], "{client}, type {kind}");
                }
            }
        }
    }
    assert!(sites.len() == 2 && sites.values().all(|count| *count > 60), "{sites:?}");
}
