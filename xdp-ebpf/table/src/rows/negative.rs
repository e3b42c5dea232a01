//! Queries that the kernel says no to: missing names, types that a name has not, names that are not ours; and those
//! that it leaves to the socket path, which may know more.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, Message, TestPacket, ask, ask_wire, opt},
    row::{Row, answers, nodata, nxdomain, pass, refused, truncated},
    wire::wire,
    world::{self, FOUR, ONE, OPAQUE, SIX, STATIC, World, name_of_127_labels, name_of_len, text_of_len},
};

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const DS: u16 = 43;
const HTTPS: u16 = 65;

pub fn rows() -> Vec<Row> {
    let mut rows = missing();
    rows.extend(by_one_byte());
    rows.extend(deep());
    rows.extend(empty());
    rows.extend(types());
    rows.extend(records());
    rows.extend(signed());
    rows.extend(wildcards());
    rows.extend(opaque());
    rows.extend(not_ours());
    rows.extend(sizes());
    rows
}

/// Over both families, with EDNS and without.
fn four(description: &str, message: &Message, row: impl Fn(String, TestPacket) -> Row) -> Vec<Row> {
    let edns = message.clone().edns();
    vec![
        row(format!("{description}, IPv4"), message.v4()),
        row(format!("{description}, IPv6"), message.v6()),
        row(format!("{description}, IPv4, EDNS"), edns.v4()),
        row(format!("{description}, IPv6, EDNS"), edns.v6()),
    ]
}

/// S4-3A-330: NXDOMAIN with the zone's SOA (RFC 2308 section 3).
fn missing() -> Vec<Row> {
    let mut rows = Vec::new();
    for zone in world::zones().iter().filter(|zone| zone.apex != "big.test") {
        for (below, kind) in [("none", A), ("NONE", AAAA), ("a.b.none", TXT), ("*", A), ("*.none", HTTPS)] {
            let name = format!("{below}.{}", zone.apex);
            rows.extend(four(&format!("missing: {name}"), &ask(&name, kind), |description, packet| {
                nxdomain(description, packet, zone.apex)
            }));
        }
    }
    let names = [
        "ww.example",
        "wwww.example",
        "xwww.example",
        "www-.example",
        "a.www.example",
        "www.www.example",
        "example.example",
        "a.b.c.www.example",
        "a.site-one.example",
        "a.ns1.example",
        "ns2.example",
        "a.static.example",
        "NoNe.exAMPLE",
        "com.example",
        "wildx.example",
        "aliasx.example",
        "xsub.example",
    ];
    for name in names {
        rows.extend(four(&format!("missing: {name}"), &ask(name, A), |description, packet| {
            nxdomain(description, packet, "example").near(Reason::AnswerA)
        }));
    }
    rows.extend([
        nxdomain("missing, RD 0", ask("none.example", A).flags(0).v4(), "example"),
        nxdomain("missing, DO", ask("none.example", A).additional(&opt(4096, 0x8000, &[])).v6(), "example"),
        nxdomain("missing, trailing bytes", ask("none.example", A).trailing(&[7; 9]).v4(), "example"),
        nxdomain("255 bytes, missing", ask(&text_of_len(255, "example", 'c'), A).v4(), "example")
            .near(Reason::PassName),
        nxdomain("254 bytes, missing, EDNS", ask(&text_of_len(254, "example", 'c'), A).edns().v6(), "example"),
        nxdomain("in the other zone", ask("v5.odd.test", A).v4(), "odd.test").near(Reason::AnswerRefused),
        nxdomain("below a Site Name that is referred", ask("a.site-one.example", A).v4(), "example")
            .on(World::BalanceOnly)
            .near(Reason::PassReferral),
        nodata("an empty non-terminal before the first plan", ask("under.example", A).v4(), "example")
            .on(World::NoPlan)
            .near(Reason::PassNoPlan),
        nodata("another type before the first plan", ask("www.example", HTTPS).v4(), "example").on(World::NoPlan),
    ]);
    rows
}

/// Near misses by one byte, in each place of names within and beyond what an entry holds itself.
fn by_one_byte() -> Vec<Row> {
    let mut rows = Vec::new();
    for len in [13, 24, 47, 48, 49, 56, 57, 64, 65, 200, 255] {
        let name = wire(&name_of_len(len, 'a').unwrap());
        // Letters alone: a label's length is another matter, and none of these looks like one.
        for at in (0..len).filter(|at| name[*at].is_ascii_alphabetic()) {
            // Another bit than the case's.
            let mut near = name.clone();
            near[at] ^= 0x01;
            let description = format!("a name of {len} bytes but for byte {at}");
            let packet = ask_wire(near, A).v4();
            // The last letter is the apex itself.
            let row = if at == len - 2 { refused(description, packet) } else { nxdomain(description, packet, "z") };
            rows.push(row.near(Reason::AnswerA));
        }
    }
    rows
}

/// The walk at every depth: where all is missing, and where it stops right below the last name that exists.
fn deep() -> Vec<Row> {
    let mut rows = Vec::new();
    for labels in 1..=126 {
        let missing = format!("{}z", "r.".repeat(labels));
        let below = format!("r.{}z", "Q.".repeat(labels - 1));
        for name in [missing, below] {
            let (plain, edns) = (ask(&name, A), ask(&name, AAAA).edns());
            let short = &name[..name.len().min(6)];
            rows.push(nxdomain(format!("{labels} labels below the apex: {short}…"), plain.v4(), "z"));
            rows.push(nxdomain(format!("{labels} labels below the apex: {short}…, IPv6"), edns.v6(), "z"));
        }
        let outside = format!("{}y", "q.".repeat(labels));
        rows.push(refused(format!("{labels} labels below what is no apex"), ask(&outside, A).v4()));
    }
    // Labels of all lengths, so that suffixes begin at every offset within a word.
    for len in 1..=63 {
        let name = format!("{}.{}.under.example", "x".repeat(len), "y".repeat(64 - len));
        rows.push(nxdomain(format!("labels of {len} and {} bytes", 64 - len), ask(&name, A).v4(), "example"));
    }
    rows
}

/// Empty non-terminals exist (RFC 8020, RFC 4592 section 2.2.2).
fn empty() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in ["under.example", "UNDER.example", "two.three.example", "three.example", "wild.example"] {
        for kind in [A, AAAA, NS, TXT, HTTPS] {
            rows.extend(four(&format!("empty: {name}, type {kind}"), &ask(name, kind), |description, packet| {
                nodata(description, packet, "example").near(Reason::AnswerNxdomain)
            }));
        }
    }
    for labels in 1..126 {
        let name = format!("{}z", "q.".repeat(labels));
        rows.push(nodata(format!("empty: {labels} labels below the apex"), ask(&name, A).edns().v4(), "z"));
    }
    rows.extend([
        answers("the name below empty ones", ask(&name_of_127_labels(), A).v4(), ONE[0]).near(Reason::AnswerNodata),
        nxdomain("beside an empty one", ask("undes.example", A).v4(), "example").near(Reason::AnswerNodata),
        nxdomain("below an empty one", ask("a.two.three.example", A).v4(), "example").near(Reason::AnswerNodata),
    ]);
    rows
}

/// Every type of a name without records of its own, and of one with TXT and MX.
fn types() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in (0..=300).chain([0x011c, 0x1c00, 0x0100, 0x4100, 32_768, 65_280, 65_281, 65_534, 65_535]) {
        let of = |name: &str| ask(name, kind).edns().v4();
        let names = [("www.example", ONE[0]), ("mail.example", FOUR), ("kept.example", ONE[0])];
        for (name, address) in names {
            let description = format!("type {kind} of {name}");
            let has = match name {
                "mail.example" => matches!(kind, MX | TXT),
                // All the types that have no bit of their own share one.
                "kept.example" => !BITS.contains(&kind),
                _ => false,
            };
            rows.push(match kind {
                0 | 41 | 128..=255 => pass(description, of(name), Reason::PassType),
                A => answers(description, of(name), address),
                AAAA if address == FOUR => nodata(description, of(name), "example"),
                AAAA => answers(description, of(name), ONE[1]),
                _ if has => pass(description, of(name), Reason::PassStatic),
                _ => nodata(description, of(name), "example").near(Reason::PassStatic),
            });
        }
        let description = format!("type {kind} of a missing name");
        let packet = ask("none.example", kind).v6();
        rows.push(match kind {
            0 | 41 | 128..=255 => pass(description, packet, Reason::PassType),
            _ => nxdomain(description, packet, "example").near(Reason::PassType),
        });
    }
    rows
}

/// Types that have a bit of their own.
const BITS: [u16; 15] = [A, NS, CNAME, SOA, 12, MX, TXT, AAAA, 33, 35, DS, 52, 64, HTTPS, 257];

/// Records of the records file go up, the same names' other types do not.
fn records() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, types) in STATIC {
        let is_dynamic = ["mail.example", "kept.example"].contains(&name);
        for kind in BITS.into_iter().chain([65_279]) {
            let shares = !BITS.contains(&kind) && types.iter().any(|own| !BITS.contains(own));
            let message = ask(name, kind);
            let description = format!("type {kind} of {name}");
            if types.contains(&kind) || shares {
                rows.extend(four(&description, &message, |text, packet| pass(text, packet, Reason::PassStatic)));
            } else if !is_dynamic || !matches!(kind, A | AAAA) {
                let row = |text, packet| nodata(text, packet, "example").near(Reason::PassStatic);
                rows.extend(four(&description, &message, row));
            }
        }
        for own in types {
            let upper = name.to_uppercase();
            rows.push(pass(format!("{upper}, type {own}"), ask(&upper, *own).v4(), Reason::PassStatic));
        }
    }
    for zone in world::zones().iter().filter(|zone| zone.apex != "big.test") {
        for kind in [NS, SOA] {
            let of = format!("type {kind} of the apex {}", zone.apex);
            rows.push(pass(of, ask(zone.apex, kind).v4(), Reason::PassStatic));
        }
        for kind in [CNAME, TXT, DS, HTTPS] {
            let of = format!("type {kind} of the apex {}", zone.apex);
            rows.push(nodata(of, ask(zone.apex, kind).v6(), zone.apex).near(Reason::PassStatic));
        }
        if world::is_within(&zone.mname, zone.apex) {
            for (kind, name) in [(A, &zone.mname), (AAAA, &zone.mname)] {
                let of = format!("type {kind} of the name server {name}");
                rows.push(pass(of, ask(name, kind).v4(), Reason::PassStatic));
            }
            let of = format!("TXT of the name server {}", zone.mname);
            rows.push(nodata(of, ask(&zone.mname, TXT).edns().v6(), zone.apex));
        }
    }
    rows
}

/// D-DO: with DO the names of a signed zone go up while the kernel has no signatures; without, and in other zones, nothing
/// changes.
fn signed() -> Vec<Row> {
    let with_do = |name: &str, rtype| ask(name, rtype).additional(&opt(1232, 0x8000, &[]));
    let up = |description: &str, name: &str, rtype| pass(description, with_do(name, rtype).v4(), Reason::PassStatic);
    let is_signed = |row: Row| row.near(Reason::PassStatic);
    vec![
        up("signed, A with DO", "v4.half.test", A),
        up("signed, NODATA with DO", "v4.half.test", AAAA),
        up("signed, HTTPS with DO", "v4.half.test", HTTPS),
        up("signed, letters of both cases", "V4.hAlf.test", A),
        up("signed, the apex with DO", "half.test", AAAA),
        up("signed, a missing name with DO", "none.half.test", A),
        up("signed, a missing name below one that is there", "a.b.v4.half.test", TXT),
        up("signed, a static name with DO", "half.test", TXT),
        pass("signed, over IPv6", with_do("half.test", AAAA).v6(), Reason::PassStatic),
        pass(
            "signed, with options",
            ask("half.test", AAAA).additional(&opt(1232, 0x8000, &[0, 3, 0, 0])).v6(),
            Reason::PassStatic,
        ),
        is_signed(answers("signed, without DO", ask("v4.half.test", A).additional(&opt(1232, 0, &[])).v4(), FOUR)),
        is_signed(answers(
            "signed, every flag but DO",
            ask("v4.half.test", A).additional(&opt(1232, 0x7fff, &[])).v4(),
            FOUR,
        )),
        is_signed(answers("signed, without OPT", ask("half.test", AAAA).v6(), SIX)),
        is_signed(nodata("signed, NODATA without DO", ask("v4.half.test", AAAA).v4(), "half.test")),
        is_signed(nxdomain("signed, a missing name without DO", ask("none.half.test", A).v4(), "half.test")),
        is_signed(answers("another zone with DO", with_do("v4.plain.test", A).v4(), FOUR)),
        is_signed(nxdomain("a missing name of another zone with DO", with_do("none.plain.test", A).v4(), "plain.test")),
        pass("the chain's own records without DO", ask("v4.half.test", 47).v4(), Reason::PassStatic),
        pass("the keys without DO", ask("half.test", 48).v4(), Reason::PassStatic),
    ]
}

/// RFC 4592: what a wildcard may stand for goes up, unless an existing name is nearer.
fn wildcards() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in
        ["a.wild.example", "a.b.wild.example", "A.Wild.Example", "q.w.e.r.t.wild.example", "besidf.wild.example"]
    {
        for kind in [A, AAAA, TXT, HTTPS] {
            let up = |text, packet| pass(text, packet, Reason::PassWildcard);
            rows.extend(four(&format!("{name}, type {kind}"), &ask(name, kind), up));
        }
    }
    let long = text_of_len(255, "wild.example", 'w');
    rows.push(pass("255 bytes below a wildcard's parent", ask(&long, A).v4(), Reason::PassWildcard));
    for name in ["a.beside.wild.example", "a.b.beside.wild.example", "a.*.wild.example", "a.wilf.example"] {
        rows.extend(four(name, &ask(name, TXT), |text, packet| {
            nxdomain(text, packet, "example").near(Reason::PassWildcard)
        }));
    }
    rows.push(nodata("an existing name beside a wildcard", ask("beside.wild.example", A).v4(), "example"));
    rows
}

/// An alias or a delegation: the name and all below go up, whatever is asked for.
fn opaque() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, _) in OPAQUE {
        for below in ["", "a.", "ns.", "a.b.c."] {
            let name = format!("{below}{name}");
            for kind in BITS.into_iter().chain([65_280]) {
                let up = |text, packet| pass(text, packet, Reason::PassStatic);
                rows.extend(four(&format!("{name}, type {kind}"), &ask(&name, kind), up));
            }
        }
        let long = text_of_len(255, name, 'o');
        rows.push(pass(format!("255 bytes below {name}"), ask(&long, A).v6(), Reason::PassStatic));
    }
    rows.extend([
        pass("a name of its own below an alias", ask("child.alias.example", TXT).v4(), Reason::PassStatic),
        pass("missing below a name below an alias", ask("a.child.alias.example", A).v4(), Reason::PassStatic),
        nxdomain("beside an alias", ask("alia.example", A).v4(), "example").near(Reason::PassStatic),
        nxdomain("beside a delegation", ask("sua.example", A).v4(), "example").near(Reason::PassStatic),
        nxdomain("a delegation's labels turned around", ask("sub.ns.example", A).v4(), "example"),
    ]);
    rows
}

/// S4-3A-330: REFUSED above, beside and outside every zone, and for what merely ends in the same letters.
fn not_ours() -> Vec<Row> {
    let mut rows = Vec::new();
    let names = [
        "com",
        "example.com",
        "www.example.com",
        "www",
        "www-example",
        "exampl",
        "examples",
        "www.exampl",
        "www.examples",
        "xexample",
        "example.xexample",
        "www.xexample",
        "example.examplex",
        "test",
        "TEST",
        "other.test",
        "a.other.test",
        "xodd.test",
        "odd.tests",
        "odd.tes",
        "v4.odd.test.com",
        "zzz",
        "a.zzz",
        "y",
    ];
    for name in names {
        for kind in [A, AAAA, TXT, NS, SOA, DS] {
            rows.extend(four(&format!("not ours: {name}, type {kind}"), &ask(name, kind), refused));
        }
    }
    for kind in [A, NS] {
        rows.extend(four(&format!("not ours: the root, type {kind}"), &ask("", kind), refused));
    }
    for zone in world::zones() {
        let alike = format!("x{}", zone.apex);
        if alike != "xz" && alike != "xzz" {
            let near = if zone.apex.contains('.') { Reason::AnswerNxdomain } else { Reason::AnswerNodata };
            rows.push(refused(format!("not ours: {alike}"), ask(&alike, TXT).v4()).near(near));
        }
    }
    rows.extend([
        refused("not ours: the root in 17 bytes, padded", ask("", A).v4().padding(&[0xee; 7])),
        refused("not ours, RD 0", ask("com", A).flags(0).v4()),
        refused("not ours, DO", ask("com", A).additional(&opt(4096, 0x8000, &[])).v6()),
        refused("not ours, 255 bytes", ask(&text_of_len(255, "com", 'c'), A).v4()).near(Reason::AnswerNxdomain),
        refused("not ours before the first plan", ask("com", A).v4()).on(World::NoPlan).near(Reason::PassNoPlan),
    ]);
    rows
}

/// NXDOMAIN where the SOA is too big: for the client's buffer, and for 2.5 times the query (invariant 8).
fn sizes() -> Vec<Row> {
    // Header, question, the SOA record of 542 bytes, OPT: 584 in all; 70 bytes of IPv4 ask for it, 90 of IPv6.
    let name = "none.big.test";
    let sized = |size| ask(name, TXT).additional(&opt(size, 0, &[0; 300]));
    let grown = |rest: usize| ask(name, A).edns().trailing(&vec![0; rest]);
    vec![
        truncated("NXDOMAIN, no EDNS", ask(name, A).trailing(&[0; 300]).v4(), 3),
        truncated("NXDOMAIN, RD 0", ask(name, A).flags(0).v6(), 3),
        truncated("NXDOMAIN of 584 bytes, room for 583", sized(583).v4(), 3),
        truncated("NXDOMAIN of 584 bytes, room for 583, IPv6", sized(583).v6(), 3),
        nxdomain("NXDOMAIN of 584 bytes, room for 584", sized(584).v4(), "big.test").near(Reason::AnswerTruncated),
        nxdomain("NXDOMAIN of 584 bytes, room for 584, IPv6", sized(584).v6(), "big.test"),
        truncated("NXDOMAIN of over 2.5 times the query, IPv4", grown(244 - 70).v4(), 3),
        truncated("NXDOMAIN of over 2.5 times the query, IPv6", grown(252 - 90).v6(), 3),
        nxdomain("NXDOMAIN of 2.5 times the query, IPv4", grown(245 - 70).v4(), "big.test")
            .near(Reason::AnswerTruncated),
        nxdomain("NXDOMAIN of 2.5 times the query, IPv6", grown(253 - 90).v6(), "big.test")
            .near(Reason::AnswerTruncated),
        truncated("NODATA of a short name, no EDNS", ask("big.test", TXT).v4(), 0).near(Reason::AnswerNodata),
    ]
}
