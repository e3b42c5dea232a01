//! The DNS header and question.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, VLAN, ask, ask_wire, opt, www, www6},
    row::{Out, Row, answers, check, drops, nodata, nxdomain, pass, refused},
    wire::wire,
    world::{FOUR, ONE, name_of_127_labels, name_of_len, text_of_len},
};
use xdp_ebpf::reason::Action;

pub fn rows() -> Vec<Row> {
    let mut rows = header();
    rows.extend(counts());
    rows.extend(names());
    rows.extend(types_and_classes());
    rows.extend(behind_the_question());
    rows.extend(golden());
    rows
}

fn header() -> Vec<Row> {
    let mut rows = vec![
        answers("QR 0", www().flags(0).v4(), ONE[0]).near(Reason::DropResponse),
        drops("QR 1", www().flags(0x8000).v4(), Reason::DropResponse),
        drops("QR 1, RD, IPv6", www().flags(0x8100).v6(), Reason::DropResponse),
        drops("QR 1, every other bit", www().flags(0xffff).v6(), Reason::DropResponse),
        drops("a response with an answer", www().flags(0x8580).counts([1, 1, 0, 0]).v4(), Reason::DropResponse),
        answers("RD 0", www().flags(0).v6(), ONE[0]),
        answers("RD 1", www6().flags(0x0100).v4(), ONE[1]),
        answers("ID 0", www().id(0).v4(), ONE[0]),
        answers("ID 65535", www().id(0xffff).v6(), ONE[0]),
        answers("every ignored bit set", www().flags(0x07ff).edns().v4(), ONE[0]).near(Reason::PassOpcode),
    ];
    for (name, bits) in [("AA", 0x0400), ("TC", 0x0200), ("RA", 0x0080), ("Z", 0x0040), ("AD", 0x0020), ("CD", 0x0010)]
    {
        rows.push(answers(format!("{name} in a query"), www().flags(bits | 0x0100).v4(), ONE[0]));
        rows.push(answers(format!("{name} in a query, RD 0"), www6().flags(bits).edns().v6(), ONE[1]));
    }
    for rcode in 1..16 {
        rows.push(answers(format!("RCODE {rcode} in a query"), www().flags(0x0100 | rcode).v4(), ONE[0]));
    }
    for opcode in 1..16 {
        rows.push(pass(format!("opcode {opcode}"), www().flags(opcode << 11).v4(), Reason::PassOpcode));
        rows.push(drops(
            format!("opcode {opcode}, QR 1"),
            www().flags(0x8000 | opcode << 11).v4(),
            Reason::DropResponse,
        ));
        // Header-only, as an unknown opcode may be.
        let mut bare = www().flags(opcode << 11).counts([0; 4]).v6();
        bare.dns.truncate(12);
        rows.push(pass(format!("opcode {opcode}, a header alone"), bare, Reason::PassOpcode));
    }
    rows
}

fn counts() -> Vec<Row> {
    let two = |second: &[u8]| www().counts([2, 0, 0, 0]).trailing(second).v4();
    let again = &www().bytes()[12..];
    let mut rows = vec![
        answers("QDCOUNT 1", www().v4(), ONE[0]).near(Reason::PassCounts),
        answers("QDCOUNT 1, ARCOUNT 1", www().edns().v4(), ONE[0]).near(Reason::PassCounts),
        pass("QDCOUNT 2, two questions", two(again), Reason::PassCounts),
        pass("QDCOUNT 2, one question", two(&[]), Reason::PassCounts),
        pass("QDCOUNT 0 and a question", www().counts([0; 4]).v4(), Reason::PassCounts),
        pass(
            "QDCOUNT 0 and a cookie",
            {
                let mut packet = ask_wire(Vec::new(), 0).counts([0; 4]).v6();
                packet.dns.truncate(12);
                packet.dns[11] = 1;
                packet.dns.extend_from_slice(&opt(1232, 0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]));
                packet
            },
            Reason::PassCounts,
        ),
        pass("QDCOUNT 256", www().counts([256, 0, 0, 0]).v4(), Reason::PassCounts),
        pass("QDCOUNT 257", www().counts([257, 0, 0, 0]).v6(), Reason::PassCounts),
        pass("QDCOUNT 65535", www().counts([65_535, 0, 0, 0]).v6(), Reason::PassCounts),
        pass("ARCOUNT 2", www().counts([1, 0, 0, 1]).edns().v4(), Reason::PassCounts),
        pass("ARCOUNT 3", www().counts([1, 0, 0, 2]).edns().v4(), Reason::PassCounts),
        pass("ARCOUNT 257", www().counts([1, 0, 0, 256]).edns().v4(), Reason::PassCounts),
    ];
    for (at, name) in [(1, "ANCOUNT"), (2, "NSCOUNT"), (3, "ARCOUNT")] {
        for count in [1, 2, 256, 0x8000, 65_535] {
            if (name, count) == ("ARCOUNT", 1) {
                continue;
            }
            for (with, mut message) in [("", www()), (", EDNS", www().edns())] {
                message.counts[at] = count;
                rows.push(pass(format!("{name} {count}{with}"), message.v4(), Reason::PassCounts));
            }
        }
    }
    rows.push(
        pass("ARCOUNT 1 without a record", www().counts([1, 0, 0, 1]).v4(), Reason::PassAdditional)
            .near(Reason::PassCounts),
    );
    rows
}

fn names() -> Vec<Row> {
    let raw = |name: &[u8]| ask_wire(name.to_vec(), A).v4();
    let label = |len: usize| [&[len as u8][..], &vec![b'a'; len]].concat();
    let long = |last: usize| [label(63), label(63), label(63), label(last), vec![0]].concat();
    let mut rows = vec![
        answers("a name", www().v4(), ONE[0]).near(Reason::PassName),
        pass("a pointer to the header", raw(&[0xc0, 12]), Reason::PassName),
        pass("a pointer to itself behind a label", raw(b"\x03www\xc0\x0c"), Reason::PassName),
        pass("a pointer beyond the message", raw(b"\x03www\xff\xff"), Reason::PassName),
        pass("label type 0x40 (RFC 2673)", raw(b"\x41\x08\xaa\x07example\x00"), Reason::PassName),
        pass("label type 0x80", raw(b"\x80www\x07example\x00"), Reason::PassName),
        pass("label type 0x40 behind a label", raw(b"\x03www\x40example\x00"), Reason::PassName),
        nxdomain("a label of 63 bytes", raw(&[label(63), wire("z")].concat()), "z").near(Reason::PassName),
        pass("a label of 64 bytes", raw(&[label(64), wire("z")].concat()), Reason::PassName),
        pass("a label of 65 bytes", raw(&[label(65), wire("z")].concat()), Reason::PassName),
        pass("a label of 255 bytes", raw(&[label(255), wire("z")].concat()), Reason::PassName),
        refused("255 bytes, not ours", raw(&long(61))).near(Reason::PassName),
        pass("256 bytes", raw(&long(62)), Reason::PassName),
        pass("257 bytes", raw(&long(63)), Reason::PassName),
        pass("256 bytes in short labels", raw(&[b"\x01q".repeat(126), label(2), vec![0]].concat()), Reason::PassName),
        pass("128 labels", raw(&[b"\x01q".repeat(128), vec![0]].concat()), Reason::PassName),
        pass("200 labels", raw(&[b"\x01q".repeat(200), vec![0]].concat()), Reason::PassName),
        refused("127 labels, not ours", raw(&[b"\x01r".repeat(127), vec![0]].concat())).near(Reason::PassName),
        answers("127 labels", ask(&name_of_127_labels(), A).v4(), ONE[0]).near(Reason::PassName),
        answers("127 labels, IPv6, EDNS", ask(&name_of_127_labels(), AAAA).edns().v6(), ONE[1]),
        answers("255 bytes", ask(&name_of_len(255, 'a').unwrap(), A).v6(), FOUR).near(Reason::PassName),
        nxdomain("255 bytes of another letter", ask(&text_of_len(255, "z", 'c'), A).v6(), "z"),
        refused("the root: 17 bytes in all", ask("", A).v4()).near(Reason::PassName),
        refused("the root, IPv6, EDNS", ask("", AAAA).edns().v6()),
        nxdomain("a zero byte in a label", raw(b"\x04w\x00ww\x07example\x00"), "example"),
        refused("a dot in a label", raw(b"\x0bwww.example\x00")),
        pass("a label's length one more", raw(b"\x04www\x07example\x00"), Reason::PassName),
        pass(
            "the name ends with the message",
            {
                let mut packet = www().v4();
                packet.dns.truncate(12 + 13);
                packet
            },
            Reason::PassName,
        ),
        pass(
            "without a class",
            {
                let mut packet = www().v6();
                packet.dns.truncate(12 + 13 + 3);
                packet
            },
            Reason::PassName,
        ),
        pass(
            "a message that ends within a name that the padding ends",
            {
                let mut packet = www().v4();
                let rest = packet.dns.split_off(20);
                packet.padding(&rest)
            },
            Reason::PassName,
        ),
        pass(
            "a class in the padding",
            {
                let mut packet = www().v4();
                let rest = packet.dns.split_off(27);
                packet.padding(&[&rest[..], &[0; 64]].concat())
            },
            Reason::PassName,
        ),
    ];
    for text in ["WWW.EXAMPLE", "wWw.eXaMpLe", "Www.examplE"] {
        rows.push(answers(format!("mixed case: {text}"), ask(text, A).v4(), ONE[0]).near(Reason::AnswerNxdomain));
        rows.push(answers(format!("mixed case: {text}, AAAA, IPv6"), ask(text, AAAA).edns().v6(), ONE[1]));
    }
    // What is no letter has no other case, though it differs from a configured byte by bit 5 alone.
    for (text, other) in [("site-one.example", "site\ronE.example"), ("site-one.example", "site-one\u{1}.example")] {
        assert_ne!(text, other);
        rows.push(nxdomain(format!("{other:?} for {text}"), ask(other, A).v4(), "example"));
    }
    rows
}

fn types_and_classes() -> Vec<Row> {
    let mut rows = vec![
        answers("type A", www().v4(), ONE[0]).near(Reason::PassType),
        answers("type AAAA", www6().v4(), ONE[1]).near(Reason::PassType),
        answers("class IN", www6().v6(), ONE[1]).near(Reason::PassClass),
    ];
    for class in [0, 2, 3, 4, 254, 255, 256, 257, 0x0101, 0x8001, 65_535] {
        rows.push(pass(format!("class {class}"), www().class(class).v4(), Reason::PassClass));
        rows.push(pass(format!("class {class}, EDNS"), www6().class(class).edns().v6(), Reason::PassClass));
    }
    // OPT, and the questions and message parts from TKEY to ANY; whatever else there is, there is none of it here.
    for kind in [0, 41, 128, 249, 250, 251, 252, 255] {
        rows.push(pass(format!("type {kind}"), ask("www.example", kind).v4(), Reason::PassType));
        rows.push(pass(format!("type {kind}, not ours"), ask("none.test", kind).edns().v6(), Reason::PassType));
    }
    for kind in [2, 5, 6, 12, 15, 16, 27, 29, 33, 40, 42, 64, 65, 127, 256, 257, 0x1c00, 0x011c, 65_535] {
        let of = format!("type {kind}");
        rows.push(nodata(of.clone(), ask("www.example", kind).v4(), "example").near(Reason::PassType));
        rows.push(refused(format!("{of}, not ours"), ask("none.test", kind).edns().v6()).near(Reason::PassType));
    }
    rows.push(pass(
        "a TXT question of class CH for version.bind",
        ask("version.bind", 16).class(3).v4(),
        Reason::PassClass,
    ));
    rows.push(pass("type A, class CH", ask("id.server", A).class(3).v4(), Reason::PassClass));
    rows
}

/// S4-3A-305: whatever stands behind the message is no part of it, up to a limit.
fn behind_the_question() -> Vec<Row> {
    let junk = |len: usize| (0..len).map(|i| (i * 7 + 3) as u8).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for len in (1..=24).chain([63, 64, 65, 255, 256, 257, 503, 504, 505, 506, 507, 508, 509, 510, 511, 512]) {
        let near = |row: Row| if len >= 511 { row.near(Reason::PassLong) } else { row };
        rows.push(near(answers(format!("{len} bytes behind the message"), www().trailing(&junk(len)).v4(), ONE[0])));
        let four = ask("four.example", A).trailing(&junk(len));
        rows.push(near(answers(format!("{len} bytes behind it, even name, IPv6"), four.v6(), FOUR)));
        let deepest = ask(&name_of_127_labels(), AAAA).trailing(&junk(len));
        rows.push(answers(format!("{len} bytes behind the longest name"), deepest.v6(), ONE[1]));
        if len <= 501 {
            let edns = www6().edns().trailing(&junk(len));
            rows.push(answers(format!("{len} bytes behind the OPT"), edns.v6(), ONE[1]));
        }
    }
    for len in [513, 514, 520, 600, 1_000, 1_024, 1_400] {
        rows.push(pass(format!("{len} bytes behind the message"), www().trailing(&junk(len)).v4(), Reason::PassLong));
        let edns = www().edns().trailing(&junk(len - 11));
        rows.push(pass(format!("{len} bytes behind the question, EDNS"), edns.v6(), Reason::PassLong));
    }
    rows
}

/// Whole frames, written down: nothing here is computed by code of ours.
fn golden() -> Vec<Row> {
    let row =
        |description, packet, reason, bytes| check(description, packet, Action::Answer, Out::Golden(bytes), reason);
    vec![
        row(
            "golden: A over IPv4",
            www().v4(),
            Reason::AnswerA,
            "0210203040500200000000010800 \
             45000049000040004011d433cb007135c6336407 \
             00359c400035715a \
             123485000001000100000000 \
             03777777076578616d706c650000010001 \
             c00c00010001000000000004 \
             c000020a",
        ),
        row(
            "golden: AAAA over IPv6 with a VLAN tag, EDNS, DO, mixed case",
            ask("wWw.Example", AAAA).additional(&opt(4096, 0x8000, &[0, 3, 0, 0])).v6().tag(VLAN, 0x2007),
            Reason::AnswerAaaa,
            "0210203040500200000000018100200786dd \
             60000000004c114020010db800000000000000000000005320010db8000c00000000000000000007 \
             00359c40004c157f \
             123485000001000100000001 \
             03775777074578616d706c6500001c0001 \
             c00c001c0001000000000010 \
             20010db8000100000000000000000010 \
             00002904d0000080000000",
        ),
        row(
            "golden: NODATA over IPv4",
            ask("four.example", AAAA).flags(0).v4(),
            Reason::AnswerNodata,
            "0210203040500200000000010800 \
             4500006d000040004011d40fcb007135c6336407 \
             00359c40005990ba \
             123484000001000000010000 \
             04666f7572076578616d706c6500001c0001 \
             c01100060001000000050027 \
             036e7331c0110a686f73746d6173746572c011 \
             78c2765b00000e100000025800093a8000000005",
        ),
        row(
            "golden: NODATA over IPv6, EDNS, names outside the zone",
            ask("abroad.test", A).edns().v6(),
            Reason::AnswerNodata,
            "02102030405002000000000186dd \
             600000000068114020010db800000000000000000000005320010db8000c00000000000000000007 \
             00359c400068be63 \
             123485000001000000010001 \
             066162726f616404746573740000010001 \
             c00c0006000100000005002c \
             026e730870726f7669646572036e65740004726f6f74c02c \
             78c2765b00000e100000025800093a8000000005 \
             00002904d0000000000000",
        ),
        row(
            "golden: NXDOMAIN over IPv4",
            ask("none.example", A).v4(),
            Reason::AnswerNxdomain,
            "0210203040500200000000010800 \
             4500006d000040004011d40fcb007135c6336407 \
             00359c4000599cd1 \
             123485030001000000010000 \
             046e6f6e65076578616d706c650000010001 \
             c01100060001000000050027 \
             036e7331c0110a686f73746d6173746572c011 \
             78c2765b00000e100000025800093a8000000005",
        ),
        row(
            "golden: BADVERS over IPv4, DO",
            www().additional(&opt(1232, 0x0001_8000, &[])).v4(),
            Reason::AnswerBadvers,
            "0210203040500200000000010800 \
             45000044000040004011d438cb007135c6336407 \
             00359c4000300ced \
             123481000001000000000001 \
             03777777076578616d706c650000010001 \
             00002904d0010080000000",
        ),
        row(
            "golden: REFUSED for the root over IPv4, padded",
            ask("", A).v4(),
            Reason::AnswerRefused,
            "0210203040500200000000010800 \
             4500002d000040004011d44fcb007135c6336407 \
             00359c400019679b \
             123481050001000000000000 \
             0000010001 \
             00",
        ),
    ]
}
