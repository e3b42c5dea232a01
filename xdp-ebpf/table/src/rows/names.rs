//! Which name is which, and what each answers.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, TestPacket, ask, www},
    row::{Row, answers, answers_for, bare, nodata, truncated},
    wire::wire,
    world::{self, DOWN, FOUR, ONE, SIX, Says, TTL_SET, TWO, name_of_len},
};

pub fn rows() -> Vec<Row> {
    let mut rows = says();
    rows.extend(negative());
    rows.extend(lengths());
    rows
}

/// Every configured name with one answer, both types, over both families.
///
/// S4-3A-310, S4-3A-315, S4-3A-325; for Site Names S4-3B-355/360/365/370: the named Site's own address, or where it is
/// down the one it fails over to.
fn says() -> Vec<Row> {
    let servfail = |description, packet: TestPacket| bare(description, packet, 2, Reason::AnswerServfail);
    let mut rows = Vec::new();
    let zones = world::zones();
    for entry in world::entries() {
        let name = &entry.name;
        let zone = zones.iter().find(|zone| world::is_within(name, zone.apex)).unwrap();
        for (kind, says) in [A, AAAA].into_iter().zip(&entry.says) {
            let message = ask(name, kind);
            let short =
                if name.len() > 40 { format!("{}… of {}", &name[..12], wire(name).len()) } else { name.clone() };
            for (family, packet) in [("IPv4", message.clone().edns().v4()), ("IPv6", message.edns().v6())] {
                let description = format!("{short}, type {kind}, over {family}");
                rows.extend(match says {
                    Says::Addresses(list) if list.len() > 1 => None,
                    Says::Addresses(list) => Some(answers_for(description, packet, &list[0].to_string(), entry.ttl)),
                    // Too big for such short questions; the sizes' rows have longer ones.
                    Says::Https(_) => None,
                    Says::NoData if zone.apex == "big.test" => Some(truncated(description, packet, 0)),
                    Says::NoData => Some(nodata(description, packet, zone.apex)),
                    Says::Servfail => Some(bare(description, packet, 2, Reason::AnswerServfail)),
                });
            }
        }
    }
    rows.extend([
        answers("a Pool Name", www().v4(), ONE[0]).near(Reason::AnswerAaaa),
        answers("a Pool Name, AAAA", ask("www.example", AAAA).v4(), ONE[1]).near(Reason::AnswerA),
        answers("the apex as Pool Name", ask("example", A).v4(), ONE[0]),
        answers_for("TTL as configured", ask("ttl.example", A).v4(), ONE[0], TTL_SET),
        answers_for("TTL as configured, AAAA", ask("ttl.example", AAAA).v6(), ONE[1], TTL_SET),
        answers("a Site Name", ask("site-two.example", A).v4(), TWO[0]),
        answers("a Site Name, AAAA", ask("site-two.example", AAAA).v6(), TWO[1]),
        answers("a Site that is down: the next of its pool", ask("site-lost.example", A).v4(), ONE[0]),
        answers("a pool of one down and one live Site", ask("pair.example", A).v4(), ONE[0]),
        answers("all down, fail-open", ask("open.example", A).v4(), DOWN[0]).near(Reason::AnswerServfail),
        answers("all down, fail-open, AAAA", ask("open.example", AAAA).v4(), DOWN[1]).near(Reason::AnswerServfail),
        servfail("all down, servfail", ask("servfail.example", A).v4()),
        servfail("all down, servfail, AAAA, IPv6", ask("servfail.example", AAAA).v6()),
        servfail("all down, servfail, RD 0, EDNS", ask("SERVfail.example", A).flags(0).edns().v6()),
        nodata("all down, servfail: another type", ask("servfail.example", 16).v4(), "example")
            .near(Reason::AnswerServfail),
    ]);
    rows
}

/// NODATA: the zone's SOA, whatever parts of its names lie in the zone (RFC 2308).
fn negative() -> Vec<Row> {
    let mut rows = vec![
        nodata("no AAAA", ask("four.example", AAAA).v4(), "example").near(Reason::AnswerAaaa),
        nodata("no A", ask("six.example", A).v4(), "example").near(Reason::AnswerA),
        answers("the other family", ask("four.example", A).v4(), FOUR).near(Reason::AnswerNodata),
        answers("the other family, AAAA", ask("six.example", AAAA).v6(), SIX).near(Reason::AnswerNodata),
        nodata("two labels above the apex", ask("deep.under.example", AAAA).v6(), "example"),
        nodata("mixed case", ask("DEEP.Under.eXample", AAAA).v4(), "example"),
        nodata("no AAAA of a Site Name", ask("site-four.example", AAAA).v4(), "example"),
    ];
    for zone in ["odd.test", "self.test", "abroad.test", "plain.test", "half.test"] {
        let apex = if zone == "self.test" { "v6.self.test" } else { zone };
        for (family, packet) in [("IPv4", ask(apex, A).v4()), ("IPv6", ask(apex, A).v6())] {
            rows.push(nodata(format!("{apex} over {family}"), packet, zone));
        }
        let below = format!("v4.{zone}");
        rows.push(nodata(format!("{below}, EDNS"), ask(&below, AAAA).edns().v6(), zone));
        rows.push(nodata(below.clone(), ask(&below, AAAA).v4(), zone));
    }
    rows
}

/// S4-3A-310: every length that a name can have, in either case, with EDNS and without.
fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for len in 1..=255 {
        for (letter, kind, address) in [('a', A, FOUR), ('b', AAAA, SIX)] {
            let Some(name) = name_of_len(len, letter) else { continue };
            let other = A + AAAA - kind;
            let zone = if name.ends_with("zz") { "zz" } else { "z" };
            let upper = name.to_uppercase();
            let (plain, shouted) = (ask(&name, kind), ask(&upper, kind));
            rows.extend([
                answers(format!("{len} bytes"), plain.v4(), address).near(Reason::AnswerNxdomain),
                answers(format!("{len} bytes, IPv6"), plain.v6(), address),
                answers(format!("{len} bytes, upper case, EDNS"), shouted.clone().edns().v4(), address),
                answers(format!("{len} bytes, upper case"), shouted.v6(), address),
                nodata(format!("{len} bytes, NODATA"), ask(&name, other).v4(), zone),
                nodata(format!("{len} bytes, NODATA, EDNS"), ask(&upper, other).edns().v6(), zone),
            ]);
        }
    }
    rows
}
