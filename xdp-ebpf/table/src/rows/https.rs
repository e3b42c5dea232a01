//! HTTPS records of dynamic names (RFC 9460): of the chosen Site, where the pool has them.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, HTTPS, ask},
    row::{Row, answers_for, bare, https, nodata, pass, truncated},
    world::{self, HTTPS_LEN, Says, World},
};

const SVCB: u16 = 64;

pub fn rows() -> Vec<Row> {
    let mut rows = records();
    rows.extend(sizes());
    rows.extend([
        nodata("HTTPS of a pool without", ask("www.example", HTTPS).v4(), "example").near(Reason::AnswerHttps),
        nodata("SVCB of a pool with HTTPS", ask("https-four.example", SVCB).v4(), "example").near(Reason::AnswerHttps),
        nodata("HTTPS of a Site whose pool has none", ask("site-one.example", HTTPS).v4(), "example"),
        bare("HTTPS while all are down", ask("https-down.example", HTTPS).v4(), 2, Reason::AnswerServfail),
        // A pool with HTTPS answers its other types as any.
        nodata("AAAA beside HTTPS", ask("https-four.example", 28).v6(), "example"),
    ]);
    rows
}

/// Every name that has one record alone, over both families, with EDNS.
fn records() -> Vec<Row> {
    let mut rows = Vec::new();
    for entry in world::entries() {
        let Says::Https(records) = &entry.says[2] else { continue };
        let [record] = &records[..] else { continue };
        let message = ask(&entry.name, HTTPS).edns();
        for (family, packet) in [("IPv4", message.v4()), ("IPv6", message.v6())] {
            let description = format!("HTTPS of {}, {family}", entry.name);
            rows.push(https(&description, packet, record.clone(), entry.ttl));
        }
        let packet = ask(&entry.name, HTTPS).edns().v4();
        let description = format!("HTTPS of {}, load balancing alone", entry.name);
        rows.push(if entry.is_site {
            pass(description, packet, Reason::PassReferral).on(World::BalanceOnly).near(Reason::AnswerHttps)
        } else {
            https(description, packet, record.clone(), entry.ttl).on(World::BalanceOnly)
        });
    }
    rows
}

/// At most twice its query, as any positive answer (invariant 8): with a name of n bytes over IPv4 the record may have
/// n + 32.
fn sizes() -> Vec<Row> {
    let of = |name: &str| {
        let entry = world::entries().into_iter().find(|entry| entry.name == name).expect("a name of the world");
        let Says::Https(records) = &entry.says[2] else { panic!("no HTTPS at {name}") };
        assert_eq!(records[0].len(), HTTPS_LEN);
        records[0].clone()
    };
    // 20 and 21 bytes in wire form, and a question's case does not matter.
    let (short, long) = ("https-over.example", "https-exact.example");
    assert!(short.len() + 2 + 32 < HTTPS_LEN && long.len() + 2 + 32 >= HTTPS_LEN);
    vec![
        truncated("HTTPS of over twice its query", ask(short, HTTPS).v4(), 0).near(Reason::AnswerHttps),
        https("HTTPS of over twice its query but for IPv6", ask(short, HTTPS).v6(), of(short), world::TTL_SET),
        https("HTTPS of twice its query", ask(long, HTTPS).v4(), of(long), world::TTL_SET),
        https("HTTPS of twice its query, mixed case", ask("HTTPS-EXact.example", HTTPS).v4(), of(long), world::TTL_SET),
        answers_for("A beside HTTPS", ask(short, A).v4(), world::ONE[0], world::TTL_SET),
    ]
}
