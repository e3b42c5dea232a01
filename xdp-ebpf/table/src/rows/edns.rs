//! The OPT record, and answers' sizes.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, TestPacket, ask, opt, www, www6},
    row::{Row, answers, bare, nodata, pass, truncated},
    world::{FOUR, ONE, World, text_of_len},
};

pub fn rows() -> Vec<Row> {
    let mut rows = records();
    rows.extend(options());
    rows.extend(sizes());
    rows
}

fn records() -> Vec<Row> {
    let with = |record: &[u8]| www().additional(record);
    let changed = |at: usize, byte: u8| {
        let mut record = opt(1232, 0, &[]);
        record[at] = byte;
        record
    };
    let badvers = |description, packet: TestPacket| bare(description, packet, 16, Reason::AnswerBadvers);
    let mut rows = vec![
        answers("OPT", www().edns().v4(), ONE[0]).near(Reason::PassAdditional),
        answers("OPT, DO", with(&opt(1232, 0x8000, &[])).v4(), ONE[0]),
        answers("OPT, DO, IPv6, AAAA", www6().additional(&opt(4096, 0x8000, &[])).v6(), ONE[1]),
        answers("OPT, every flag but DO", with(&opt(1232, 0x7fff, &[])).v4(), ONE[0]),
        answers("OPT, every flag", with(&opt(1232, 0xffff, &[])).v6(), ONE[0]),
        answers("OPT, extended RCODE set", with(&opt(1232, 0xff00_0000, &[])).v4(), ONE[0]).near(Reason::AnswerBadvers),
        nodata("OPT, DO, NODATA", ask("four.example", AAAA).additional(&opt(1232, 0x8000, &[])).v6(), "example"),
        nodata("OPT, every flag, NODATA", ask("six.example", A).additional(&opt(1232, 0xffff, &[])).v4(), "example"),
        badvers("OPT, version 1", with(&opt(1232, 0x0001_0000, &[])).v4()),
        badvers("OPT, version 255", with(&opt(1232, 0x00ff_0000, &[])).v6()),
        badvers("OPT, version 1, DO, RD 0", with(&opt(1232, 0x0001_8000, &[])).flags(0).v4()),
        badvers("OPT, version 1, every flag", with(&opt(1232, 0x0001_ffff, &[])).v6()),
        badvers("OPT, version 1, extended RCODE set", with(&opt(1232, 0xff01_0000, &[])).v4()),
        badvers("OPT, version 1, options", with(&opt(1232, 0x0001_0000, &[0, 3, 0, 0])).v4()),
        // The version comes before whatever the question is (RFC 6891 section 6.1.3).
        badvers("OPT, version 128, a missing name", ask("none.example", A).additional(&opt(0, 0x0080_0000, &[])).v4()),
        badvers("OPT, version 1, not ours", ask("com", A).additional(&opt(1232, 0x0001_0000, &[])).v6()),
        badvers("OPT, version 1, ANY", ask("www.example", 255).additional(&opt(1232, 0x0001_0000, &[])).v4()),
        badvers("OPT, version 1, all down", ask("servfail.example", A).additional(&opt(1232, 0x0001_0000, &[])).v6()),
        badvers("OPT, version 1, no plan", with(&opt(1232, 0x0001_0000, &[])).v4()).on(World::NoPlan),
        badvers("OPT, version 1, the root", ask("", A).additional(&opt(1232, 0x0001_0000, &[])).v4()),
        pass("OPT, version 1, cut short", with(&opt(1232, 0x0001_0000, &[])[..10]).v4(), Reason::PassAdditional)
            .near(Reason::AnswerBadvers),
        pass(
            "OPT, its owner not the root",
            with(&[&[1, b'a'][..], &opt(1232, 0, &[])].concat()).v4(),
            Reason::PassAdditional,
        ),
        pass(
            "OPT, its owner a pointer",
            with(&[&[0xc0, 12][..], &opt(1232, 0, &[])[1..]].concat()).v4(),
            Reason::PassAdditional,
        ),
        pass("OPT, owner byte 1", with(&changed(0, 1)).v4(), Reason::PassAdditional),
        pass("OPT's type with a high byte", with(&changed(1, 1)).v4(), Reason::PassAdditional),
        pass("type 40", with(&changed(2, 40)).v6(), Reason::PassAdditional),
        pass(
            "an A record as additional",
            with(&[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]).v4(),
            Reason::PassAdditional,
        ),
        pass(
            "TSIG as additional",
            with(&[&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 16][..], &[7; 16]].concat()).v6(),
            Reason::PassAdditional,
        ),
        pass("OPT, RDLENGTH one too long", with(&changed(10, 1)).v4(), Reason::PassAdditional),
        pass("OPT, RDLENGTH 256", with(&changed(9, 1)).v4(), Reason::PassAdditional),
        pass(
            "OPT, RDLENGTH 65535",
            {
                let mut record = opt(1232, 0, &[]);
                record[9..11].fill(0xff);
                with(&record).v6()
            },
            Reason::PassAdditional,
        ),
        pass(
            "OPT, RDLENGTH beyond the message, within the padding",
            with(&changed(10, 4)).v4().padding(&[0; 40]),
            Reason::PassAdditional,
        ),
        answers(
            "OPT, RDLENGTH short, bytes behind it",
            with(&changed(10, 4)).trailing(&[0, 3, 0, 0, 9, 9, 9]).v4(),
            ONE[0],
        )
        .near(Reason::PassAdditional),
        answers("OPT, RDLENGTH to the end", with(&changed(10, 4)).trailing(&[0, 3, 0, 0]).v6(), ONE[0])
            .near(Reason::PassAdditional),
        pass("OPT, RDLENGTH one beyond", with(&changed(10, 5)).trailing(&[0, 3, 0, 0]).v6(), Reason::PassAdditional),
        // No count announces it, so it is no record.
        answers("an OPT behind the message, ARCOUNT 0", www().trailing(&opt(1232, 0, &[])).v4(), ONE[0]),
        pass("two OPTs", www().edns().edns().v4(), Reason::PassCounts).near(Reason::PassAdditional),
        pass(
            "an OPT among the answers",
            www().counts([1, 1, 0, 0]).trailing(&opt(1232, 0, &[])).v4(),
            Reason::PassCounts,
        )
        .near(Reason::PassAdditional),
    ];
    for len in 0..11 {
        let message = www().counts([1, 0, 0, 1]).trailing(&opt(1232, 0, &[])[..len]);
        rows.push(pass(format!("the first {len} bytes of an OPT"), message.v4(), Reason::PassAdditional));
        let padded = message.v6().padding(&[0; 32]);
        rows.push(pass(format!("the first {len} bytes, the rest padding"), padded, Reason::PassAdditional));
    }
    rows
}

/// Options that are turned off, and unknown ones, are skipped whatever they hold, but they must be whole. What is turned on
/// is compared with the socket path (`tests/tests/kernel/differential.rs`).
fn options() -> Vec<Row> {
    let client = [1, 2, 3, 4, 5, 6, 7, 8];
    let cookie = [&[0, 10, 0, 8][..], &client].concat();
    let cookies = [&[0, 10, 0, 24][..], &client, &[1, 0, 0, 0], &[9; 12]].concat();
    let nsid = vec![0, 3, 0, 0];
    let subnet = vec![0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100];
    let options: [(&str, Vec<u8>); 10] = [
        ("dig's COOKIE", cookie.clone()),
        ("a whole COOKIE", cookies),
        ("a COOKIE of 7 bytes", vec![0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7]),
        ("NSID", nsid.clone()),
        ("NSID with a payload", vec![0, 3, 0, 1, 0xff]),
        ("client subnet", subnet.clone()),
        ("client subnet, IPv6", [&[0, 8, 0, 11, 0, 2, 56, 0][..], &[0x20, 1, 0xd, 0xb8, 0, 0, 0]].concat()),
        ("COOKIE, NSID and client subnet", [cookie, nsid, subnet].concat()),
        ("padding", [&[0, 12, 0, 100][..], &[0; 100]].concat()),
        ("an unknown option", vec![0xff, 0xfe, 0, 2, 1, 2]),
    ];
    let mut rows = Vec::new();
    for (name, bytes) in [
        ("half an option", vec![0, 10, 0]),
        ("an option that is one longer than RDATA", vec![0, 10, 0, 2, 1]),
        ("a long option behind a whole one", vec![0, 3, 0, 0, 0, 10, 0xff, 0xff, 1]),
        ("a byte behind a whole option", vec![0, 3, 0, 0, 0]),
    ] {
        let message = www().additional(&opt(1232, 0, &bytes));
        rows.push(pass(format!("OPT with {name}"), message.v4(), Reason::PassAdditional));
        rows.push(pass(format!("OPT with {name}, IPv6"), message.v6(), Reason::PassAdditional).near(Reason::AnswerA));
    }
    for (name, bytes) in options {
        let record = opt(1232, 0, &bytes);
        rows.push(answers(format!("OPT with {name}"), www().additional(&record).v4(), ONE[0]));
        rows.push(answers(format!("OPT with {name}, IPv6, AAAA"), www6().additional(&record).v6(), ONE[1]));
        let message = ask("four.example", AAAA).additional(&record);
        rows.push(nodata(format!("OPT with {name}, NODATA"), message.v4(), "example"));
    }
    rows
}

/// Lists rows of sizes that fit and that do not: 512 bytes without EDNS, with it what the client says, at least 512;
/// and 2.5 times the query (invariant 8).
///
/// Besides the name there are 12 and 4 bytes before the records, 12 and 530 in the SOA, and 11 in the OPT.
fn sizes() -> Vec<Row> {
    let long = text_of_len(255, "big.test", 'b');
    // Padded, so that the query is no less than the answer needs.
    let sized = |name: &str, size| ask(name, AAAA).additional(&opt(size, 0, &[0; 300]));
    let plain = |name: &str, len| ask(name, AAAA).trailing(&vec![0; len]);
    let mut rows = vec![
        truncated("an SOA of 542 bytes, no EDNS", plain("big.test", 300).v4(), 0),
        truncated("an SOA of 542 bytes, no EDNS, the longest name", plain(&long, 300).v6(), 0),
        answers("an A record of the same name", ask("big.test", A).v4(), FOUR).near(Reason::AnswerTruncated),
        nodata("a message of 824 bytes, room for 824", sized(&long, 824).v6(), "big.test")
            .near(Reason::AnswerTruncated),
        truncated("a message of 824 bytes, room for 823", sized(&long, 823).v6(), 0),
        nodata("a message of 579 bytes, room for 579", sized("big.test", 579).v4(), "big.test")
            .near(Reason::AnswerTruncated),
        truncated("a message of 579 bytes, room for 578", sized("big.test", 578).v4(), 0),
    ];
    for size in [0, 1, 255, 256, 511, 512, 513, 1_231, 1_232, 1_233, 4_096, 65_535] {
        rows.push(answers(format!("buffer of {size} bytes"), www().additional(&opt(size, 0, &[])).v4(), ONE[0]));
        let message = sized("big.test", size).v6();
        rows.push(if size >= 579 {
            nodata(format!("buffer of {size} bytes, 579 needed"), message, "big.test").near(Reason::AnswerTruncated)
        } else {
            truncated(format!("buffer of {size} bytes, 579 needed"), message, 0)
        });
    }
    // Answers of 582 bytes: 610 as IPv4 packets, 630 as IPv6; 2.5 times 244 and 252. Queries of 40 bytes, and the rest.
    let grown = |rest: usize| ask("bb.big.test", AAAA).edns().trailing(&vec![0; rest]);
    rows.extend([
        nodata("an answer of 2.5 times the query, IPv4", grown(244 - 28 - 40).v4(), "big.test")
            .near(Reason::AnswerTruncated),
        nodata("an answer of 2.5 times the query, IPv6", grown(252 - 48 - 40).v6(), "big.test")
            .near(Reason::AnswerTruncated),
        truncated("an answer of more than 2.5 times the query, IPv4", grown(243 - 28 - 40).v4(), 0),
        truncated("an answer of more than 2.5 times the query, IPv6", grown(251 - 48 - 40).v6(), 0),
        truncated("the query alone counts, not the frame", grown(0).v4().padding(&[0; 300]), 0),
    ]);
    rows
}
