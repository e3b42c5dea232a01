//! S4-3A-305: malformed messages are answered as they ought to be or not at all, and never crash.

use proptest::prelude::*;

use super::{BALANCER, BOTH, Bench, ask, show};

/// Compares an answer to raw bytes.
#[track_caller]
fn check(description: &str, query: &[u8], expected: &str) {
    let bench = Bench::new(BOTH);
    let answer = bench.udp(query).map_or("dropped".into(), |answer| show(query, &answer));
    assert_eq!(answer, expected, "{description}");
}

/// "app.com A", with `change` made to it.
fn changed(question: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut query = ask(question);
    change(&mut query);
    query
}

const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
const DATA: &str = "NOERROR aa | app.com 0 A 192.0.2.10 |  | ";

#[test]
fn unanswered() {
    let query = ask("app.com A");
    for len in 0..12 {
        check("shorter than a header", &query[..len], "dropped");
    }
    check("a response", &changed("app.com A", |q| q[2] |= 0x80), "dropped");
    check("a response that is malformed", &changed("app.com A", |q| (q[2], q[5]) = (0x80, 9)), "dropped");
}

#[test]
fn headers() {
    check(
        "TC, AA, RA, Z, AD, CD and an rcode mean nothing",
        &changed("app.com A", |q| (q[2], q[3]) = (0x06, 0xff)),
        DATA,
    );
    check("RD", &changed("app.com A", |q| q[2] = 1), DATA);
}

#[test]
fn opcodes() {
    for opcode in [1, 2, 3, 6, 7, 15] {
        let query = changed("app.com A +do", |q| q[2] = opcode << 3 | 1);
        check("not implemented", &query, "NOTIMP |  |  |  | opt 1232 do");
        check("header only", &[0, 7, opcode << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], "NOTIMP |  |  | ");
        check("with counts of what is not there", &[0, 7, opcode << 3, 0, 0, 1, 0, 2, 0, 3, 0, 4], "NOTIMP |  |  | ");
    }
    check("NOTIFY", &changed("app.com SOA", |q| q[2] = 4 << 3), "REFUSED |  |  | ");
    check("UPDATE", &changed("app.com SOA", |q| q[2] = 5 << 3), "REFUSED |  |  | ");
}

#[test]
fn questions() {
    check("none", &[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "FORMERR |  |  | ");
    check(
        "two",
        &changed("app.com A", |q| {
            let again = q[12..].to_vec();
            q[5] = 2;
            q.extend(again);
        }),
        "FORMERR |  |  | ",
    );
    // RFC 6891 section 7: also this FORMERR has an OPT, wherever the query's can be read.
    let several = |count: u8, first: &str, others: &str| {
        changed(first, |q| {
            let at = ask(first.split(' ').take(2).collect::<Vec<_>>().join(" ").as_str()).len();
            let other = ask(others)[12..].to_vec();
            q[5] = count;
            q.splice(at..at, other.repeat(usize::from(count) - 1));
        })
    };
    let fault = "FORMERR |  |  |  | opt 1232";
    check("two and an OPT", &several(2, "app.com A +opt", "app.com A"), fault);
    check("two others and DO", &several(2, "app.com A +do", "www.app.com AAAA"), "FORMERR |  |  |  | opt 1232 do");
    check("two, and options", &several(2, "app.com A +o=3: +o=10:2464c4abcf10c957", "app.com A"), fault);
    check("two and another version: FORMERR goes first", &several(2, "app.com A +version=1", "app.com A"), fault);
    check("two and a broken option", &several(2, "app.com A +o=8:00032000", "app.com A"), fault);
    check("16", &several(16, "app.com A +opt", "app.com A"), fault);
    check("17", &several(17, "app.com A +opt", "app.com A"), fault);
    check("255 and DO", &several(255, "app.com A +do", "app.com A"), "FORMERR |  |  |  | opt 1232 do");
    check("255 without one", &several(255, "app.com A", "app.com A"), "FORMERR |  |  | ");
    let two = several(2, "app.com A +opt", "app.com A");
    for len in two.len() - 11..two.len() {
        let expected = if len < two.len() - 8 { "FORMERR |  |  | " } else { fault };
        check("two, and an OPT cut short", &two[..len], expected);
    }
    let pointer = [&two[..two.len() - 11 - 13], b"\xc0\x0c\0\x01\0\x01", OPT].concat();
    check("two, the second a pointer to the first", &pointer, "FORMERR |  |  | ");

    let whole = ask("app.com A");
    for len in 12..whole.len() {
        check("cut short", &whole[..len], "FORMERR |  |  | ");
    }
    check("trailing bytes", &changed("app.com A", |q| q.extend([1, 2, 3])), DATA);
    let question = |name: &[u8]| [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
    check("a pointer", &question(b"\x03www\xc0\x0c"), "FORMERR |  |  | ");
    check("label type 0x40", &question(b"\x41aapp\0"), "FORMERR |  |  | ");
    check("label type 0x80", &question(b"\x81aapp\0"), "FORMERR |  |  | ");
    let name = |last: usize| {
        [
            &b"\x3f"[..],
            &[b'a'; 63],
            b"\x3f",
            &[b'a'; 63],
            b"\x3f",
            &[b'a'; 63],
            &[last as u8][..],
            &vec![b'a'; last],
            b"\0",
        ]
        .concat()
    };
    check("255 bytes", &question(&name(61)), "REFUSED |  |  | ");
    check("256 bytes", &question(&name(62)), "FORMERR |  |  | ");
    check("the root, 17 bytes", &question(b"\0"), "REFUSED |  |  | ");
    let deep = [b"\x01a".repeat(123), b"\x03app\x03com\0".to_vec()].concat();
    let shown = {
        let query = question(&deep);
        show(&query, &Bench::new(BOTH).udp(&query).unwrap())
    };
    assert!(shown.starts_with("NXDOMAIN aa |  | app.com 5 SOA"), "125 labels and 255 bytes: {shown}");
}

#[test]
fn records_in_queries() {
    let with = |counts: [u8; 3], records: &[u8]| {
        changed("app.com A", |q| {
            (q[7], q[9], q[11]) = (counts[0], counts[1], counts[2]);
            q.extend(records);
        })
    };
    let a = b"\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
    let opt_data = format!("{DATA} | opt 1232");
    let fault = "FORMERR |  |  |  | opt 1232";
    check("OPT", &with([0, 0, 1], OPT), &opt_data);
    check("OPT last", &with([0, 0, 2], &[&a[..], OPT].concat()), &opt_data);
    check("OPT first", &with([0, 0, 2], &[OPT, &a[..]].concat()), &opt_data);
    check("records in other sections", &with([1, 1, 1], &[&a[..], &a[..], OPT].concat()), &opt_data);
    check("two OPTs", &with([0, 0, 2], &[OPT, OPT].concat()), fault);
    check("OPT as an answer", &with([1, 0, 0], OPT), fault);
    check("OPT not at the root", &with([0, 0, 1], &[b"\x01x", OPT].concat()), fault);
    for len in 3..OPT.len() {
        check("OPT cut short", &with([0, 0, 1], &OPT[..len]), fault);
    }
    check("an option longer than the OPT", &with([0, 0, 1], b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0a\0\x08"), fault);
    check("unknown options", &with([0, 0, 1], b"\0\0\x29\x04\xd0\0\0\0\0\0\x06\xff\xf0\0\x02hi"), &opt_data);
    check("record missing", &with([0, 0, 1], b""), "FORMERR |  |  | ");
    check("record cut short", &with([0, 0, 1], &a[..14]), "FORMERR |  |  | ");
    check("record missing after an OPT", &with([0, 0, 2], OPT), fault);
    check("too many", &with([0, 0, 17], &a.repeat(17)), "FORMERR |  |  | ");
    check("16", &with([0, 0, 16], &a.repeat(16)), DATA);
    check("too many, the OPT among them", &with([0, 0, 17], &[&a.repeat(15), OPT, a].concat()), fault);
    // RFC 6891 section 7: however many are before it.
    check("the OPT is the 17th", &with([0, 0, 17], &[&a.repeat(16), OPT].concat()), fault);
    check("the OPT is the 100th of 200", &with([0, 0, 200], &[&a.repeat(99), OPT, &a.repeat(100)].concat()), fault);
    check("the 60th, behind answers", &with([40, 19, 1], &[&a.repeat(59), OPT].concat()), fault);
    check("as an answer, the 20th", &with([20, 0, 0], &[&a.repeat(19), OPT].concat()), fault);
    check("two, the second too late", &with([0, 0, 18], &[OPT, &a.repeat(16), OPT].concat()), fault);
    check(
        "the 18th, the 17th being cut short",
        &with([0, 0, 18], &[&a.repeat(16), &a[..12]].concat()),
        "FORMERR |  |  | ",
    );
    check("the 17th, cut short", &with([0, 0, 17], &[&a.repeat(16), &OPT[..9]].concat()), fault);
    // Each name a chain that nobody follows.
    let chained = b"\x01x\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
    check("behind compressed names", &with([0, 0, 31], &[&chained.repeat(30), OPT].concat()), fault);
    check(
        "behind a label of no kind",
        &with([0, 0, 18], &[&a.repeat(16), &b"\x80\0\x01"[..], OPT].concat()),
        "FORMERR |  |  | ",
    );
    check(
        "DO is copied",
        &with([0, 0, 17], &[&a.repeat(16), &b"\0\0\x29\x10\0\0\0\x80\0\0\0"[..]].concat()),
        "FORMERR |  |  |  | opt 1232 do",
    );
    check("OPT 16th of 16", &with([0, 0, 16], &[&a.repeat(15), OPT].concat()), &opt_data);
    for at in 0..3 {
        let mut records = [&a[..]; 3];
        records[at] = OPT;
        check("OPT anywhere in additional", &with([0, 0, 3], &records.concat()), &opt_data);
        check(
            "behind records of other sections",
            &with([1, 2, 3], &[&a.repeat(3), &records.concat()[..]].concat()),
            &opt_data,
        );
        let mut records = [&a[..], OPT, OPT];
        records.rotate_right(at);
        check("two OPTs anywhere", &with([0, 0, 3], &records.concat()), fault);
    }
    let opt_do = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
    let version_1 = b"\0\0\x29\x04\xd0\0\x01\0\0\0\0";
    check("two OPTs, the first with DO", &with([0, 0, 2], &[&opt_do[..], OPT].concat()), fault);
    check("two OPTs of version 1: FORMERR goes first", &with([0, 0, 2], &version_1.repeat(2)), fault);
    check("an OPT as an answer and one in its place", &with([1, 0, 1], &[OPT, OPT].concat()), fault);
    check("OPT in authority", &with([0, 1, 0], OPT), fault);
    check("an OPT behind a record cut short", &with([0, 0, 2], b"\0\0\x01\0\x01\0\0\0\0\0\xff"), "FORMERR |  |  | ");
    check("half an option", &with([0, 0, 1], b"\0\0\x29\x04\xd0\0\0\0\0\0\x03\0\x0a\0"), fault);
    check(
        "broken, with two questions",
        &changed("app.com A", |q| {
            let again = q[12..].to_vec();
            (q[5], q[11]) = (2, 1);
            q.extend(again);
            q.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x03\0\x0a\0");
        }),
        fault,
    );
    check("a name that points to itself", &with([0, 0, 1], b"\xc0\x19\0\x01\0\x01\0\0\0\0\0\0"), "FORMERR |  |  | ");
}

/// RFC 8945 section 5.2.1: no key is known.
#[test]
fn signed() {
    let tsig = b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x1f\x0bhmac-sha256\0\0\0\0\0\0\x05\x01\x2c\0\x02ab\x99\x99\0\0\0\0";
    assert_eq!(usize::from(tsig[14]), tsig.len() - 15, "the record is well formed");
    let signed = |more: &[u8], count: u8| {
        changed("app.com A", |q| {
            q[11] = count;
            q.extend_from_slice(tsig);
            q.extend_from_slice(more);
        })
    };
    let query = signed(b"", 1);
    let answer = Bench::new(BOTH).udp(&query).unwrap();
    let shown = show(&query, &answer);
    assert!(shown.starts_with("NOTAUTH |  |  | key 0 TSIG hmac-sha256"), "{shown}");
    assert_eq!(answer[answer.len() - 8..], [0, 0, 0x12, 0x34, 0, 17, 0, 0], "no MAC, our ID, BADKEY, no other data");
    check("TSIG is last", &signed(OPT, 2), "FORMERR |  |  |  | opt 1232");
}

/// Checks what holds for any bytes that are answered: `show` reads the answer to its end, and it is no longer than
/// allowed.
fn holds(bench: &Bench, query: &[u8]) {
    if let Some(answer) = bench.udp(query) {
        show(query, &answer);
        assert!(answer.len() <= 512 || answer.len() <= 1232 && answer.len() + 28 <= 3 * (query.len() + 28));
    }
    if let Some(answer) = bench.tcp(query) {
        show(query, &answer);
    }
}

const QUESTIONS: [&str; 11] = [
    "app.com A +do",
    "www.app.com AAAA +opt",
    "a.b.wild.app.com A",
    "large.app.com TXT",
    "x.sub.app.com A +size=512",
    "boston.app.com ANY +version=0",
    "loop-a.app.com A",
    "nothing.app.com MX +opt",
    "app.com A +o=3: +o=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480 +o=8:00011800cb0071",
    "app.com AAAA +o=8:0002380020010db8000100 +o=10:2464c4abcf10c957 +o=3:6c6f",
    "version.bind TXT +o=10:2464c4abcf10c957 class=3",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        thread_local!(static BENCH: Bench = Bench::new(BOTH));
        BENCH.with(|bench| holds(bench, &bytes));
    }

    #[test]
    fn mutated_queries(
        question in prop::sample::select(&QUESTIONS[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        thread_local!(static BENCHES: [Bench; 2] = [Bench::new(BOTH), Bench::new(BALANCER)]);
        let mut query = ask(question);
        for (at, byte) in edits {
            let at = at.index(query.len());
            query[at] = byte;
        }
        if let Some(cut) = cut {
            query.truncate(cut.index(query.len() + 1));
        }
        query.extend(tail);
        BENCHES.with(|benches| benches.iter().for_each(|bench| holds(bench, &query)));
    }

    /// Case never matters, and is always echoed.
    #[test]
    fn any_case(question in prop::sample::select(&QUESTIONS[..]), flips in any::<u64>()) {
        thread_local!(static BENCH: Bench = Bench::new(BOTH));
        let plain = ask(question);
        let mut query = plain.clone();
        let name_end = 12 + plain[12..].iter().position(|&byte| byte == 0).unwrap();
        for (at, byte) in query[12..name_end].iter_mut().enumerate() {
            if byte.is_ascii_lowercase() && flips >> (at % 64) & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        BENCH.with(|bench| {
            let answers = [&plain, &query].map(|q| show(q, &bench.tcp(q).unwrap()).to_ascii_lowercase());
            prop_assert_eq!(&answers[0], &answers[1]);
            Ok(())
        })?;
    }
}
