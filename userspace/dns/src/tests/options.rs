//! EDNS options other than cookies: which are read, what they change, how long answers get.

use std::{net::IpAddr, sync::Arc};

use super::{BOTH, Bench, NOW, ask, show};
use crate::{Transport, Zones, respond, view::View};
use zerottl_core::{
    model::{EdnsConfig, NSID_LEN_MAX, Policy},
    plan::{Basis, Choice, Table},
};

const DATA: &str = "NOERROR aa | app.com 0 A 192.0.2.10 |  |  | opt 1232";
const MALFORMED: &str = "FORMERR |  |  |  | opt 1232";
/// A client subnet that breaks its format.
const BAD_SUBNET: &str = "8:00032000";

#[track_caller]
fn check(description: &str, options: &str, expected: &str) {
    let bench = Bench::new(BOTH);
    let options = options.split_whitespace().map(|option| format!(" +o={option}")).collect::<Vec<_>>().concat();
    assert_eq!(bench.shown(&ask(&format!("app.com A{options}")), "198.51.100.9", NOW), expected, "{description}");
}

/// RFC 7871 section 6: family, prefix lengths, exactly the bytes the prefix needs, and nothing behind it.
#[test]
fn client_subnets_that_are_well_formed() {
    for (description, sent, answered) in [
        ("198.51.100.0/24", "00011800c63364", "00011800c63364"),
        ("198.51.100.128/25", "00011900c6336480", "00011900c6336480"),
        ("/32", "00012000c6336409", "00012000c6336409"),
        ("/1", "0001010080", "0001010080"),
        ("/7", "00010700c6", "00010700c6"),
        ("0.0.0.0/0", "00010000", "00010000"),
        ("::/0", "00020000", "00020000"),
        ("2001:db8::/32", "0002200020010db8", "0002200020010db8"),
        ("/127", "00027f0020010db80000000000000000000000fe", "00027f0020010db80000000000000000000000fe"),
        ("/128", "0002800020010db80000000000000000000000ff", "0002800020010db80000000000000000000000ff"),
        ("family 0", "00000000", "00000000"),
    ] {
        check(description, &format!("8:{sent}"), &format!("{DATA} 8:{answered}"));
    }
}

/// RFC 7871 section 7.2.1: what breaks that is FORMERR, with an OPT (RFC 6891 section 7).
#[test]
fn client_subnets_that_are_malformed() {
    for (description, sent) in [
        ("empty", ""),
        ("1 byte", "00"),
        ("2 bytes", "0001"),
        ("3 bytes", "000118"),
        ("address missing", "00011800"),
        ("address cut short", "00011800c633"),
        ("address too long", "00011800c6336400"),
        ("address where there is no prefix", "0001000000"),
        ("/33", "00012100c633640900"),
        ("/33 in four bytes", "00012100c6336409"),
        ("/255", "0001ff00c6336409"),
        ("host bits", "00011700c63365"),
        ("host bits of /1", "00010100c0"),
        ("host bits of /25", "00011900c63364c0"),
        ("IPv6 /129", "0002810020010db80000000000000000000000ff00"),
        ("IPv6 /129 in 16 bytes", "0002810020010db80000000000000000000000ff"),
        ("IPv6 host bits", "0002210020010db840"),
        ("IPv6 host bits of /127", "00027f0020010db80000000000000000000000ff"),
        ("family 3", "00032000c6336409"),
        ("family 3, /0", "00030000"),
        ("family 256", "01000000"),
        ("family 0 with a prefix", "0000080001"),
        ("family 0 with an address", "0000000001"),
        ("scope", "00011818c63364"),
        ("scope 1", "00010001"),
        ("scope of family 0", "00000001"),
    ] {
        check(description, &format!("8:{sent}"), MALFORMED);
        check(description, &format!("3: 8:{sent} 10:0102030405060708"), MALFORMED);
    }
}

#[test]
fn others() {
    check("NSID (RFC 5001 section 2.1)", "3:", &format!("{DATA} 3:6c6231"));
    check("NSID with a payload", "3:0102", &format!("{DATA} 3:6c6231"));
    check("unknown", "65520:6869", DATA);
    check("keepalive over UDP", "11:", DATA);
    check("keepalive with a value", "11:0001", DATA);
    check("padding", "12:000000000000", DATA);
    check("EDE", "15:0001", DATA);
    check("the first of two subnets", "8:00010000 8:00011800c63364", &format!("{DATA} 8:00010000"));
    check("the first of two subnets, malformed", "8:01 8:00010000", MALFORMED);
    check("a malformed second subnet", &format!("8:00010000 {BAD_SUBNET}"), &format!("{DATA} 8:00010000"));
    check("two NSIDs", "3: 3:", &format!("{DATA} 3:6c6231"));
    check("a second cookie", "10:2464c4abcf10c957 10:01", &{
        let shown = Bench::new(BOTH).shown(&ask("app.com A +o=10:2464c4abcf10c957"), "198.51.100.9", NOW);
        assert!(shown.contains("10:2464c4abcf10c95701"), "{shown}");
        shown
    });
}

/// RFC 7828: over TCP, and only to whom asks, in units of 100 ms.
#[test]
fn keepalive_is_for_streams() {
    let bench = Bench::new(BOTH);
    for (sent, answered) in [
        ("", ""),
        ("+o=11:", " 11:0064"),
        ("+o=3: +o=11:", " 3:6c6231 11:0064"),
        ("+o=11: +o=8:00010000", " 8:00010000 11:0064"),
        ("+o=11: +o=11:0001", " 11:0064"),
    ] {
        let query = ask(&format!("app.com A +opt {sent}"));
        let shown = show(&query, &bench.tcp(&query).unwrap());
        assert_eq!(shown, format!("{DATA}{answered}"), "{sent}");
    }
    // Section 3.2.1: a client names no time, and an option of another length is none.
    for malformed in ["11:0064", "11:00", "11:006400", "11:0000", "11:0064 +o=11:"] {
        let query = ask(&format!("app.com A +o=3: +o={malformed}"));
        assert_eq!(show(&query, &bench.tcp(&query).unwrap()), MALFORMED, "{malformed}");
        assert!(!bench.shown(&query, "198.51.100.9", NOW).contains(" 11:"), "{malformed} over UDP");
    }
    let query = ask("example.org A +o=11:");
    assert_eq!(show(&query, &bench.tcp(&query).unwrap()), "REFUSED |  |  |  | opt 1232 11:0064", "a refusal, too");
    let query = ask("app.com A +version=1 +o=11:");
    assert_eq!(show(&query, &bench.tcp(&query).unwrap()), "BADVERS |  |  |  | opt 1232");
}

/// NSID, COOKIE, CLIENT-SUBNET: the kernel's order too.
#[test]
fn the_order_of_answers_is_fixed() {
    let parts = ["3:", "8:00010000", "10:2464c4abcf10c957", "12:0000"];
    let bench = Bench::new(BOTH);
    let mut seen = None;
    for turn in 0..4 {
        let options = [0, 1, 2, 3].map(|i| format!(" +o={}", parts[(i + turn) % 4])).concat();
        let shown = bench.shown(&ask(&format!("app.com A{options}")), "198.51.100.9", NOW);
        let found: Vec<_> = shown.strip_prefix(DATA).unwrap().split_whitespace().map(str::to_owned).collect();
        let codes: Vec<_> = found.iter().map(|option| option.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(codes, ["3", "10", "8"], "{shown}");
        assert_eq!(*seen.get_or_insert(found.clone()), found);
    }
}

/// Options of another EDNS version may mean anything (RFC 6891 section 6.1.3), and those of a broken message too.
#[test]
fn badvers_and_formerr_carry_none() {
    let bench = Bench::new(BOTH);
    let all = "+o=3: +o=10:2464c4abcf10c957 +o=8:00010000";
    bench.check("BADVERS", &format!("app.com A +version=1 {all}"), "BADVERS |  |  |  | opt 1232");
    bench.check("malformed", &format!("app.com A +version=1 +o={BAD_SUBNET}"), "BADVERS |  |  |  | opt 1232");
    let mut query = ask(&format!("app.com A {all}"));
    query[11] = 2;
    let len = query.len();
    assert_eq!(show(&query, &bench.udp(&query[..len]).unwrap()), MALFORMED, "a record is missing");
    query[11] = 1;
    // The last option's length: one byte more than the OPT has.
    query[len - 5] += 1;
    assert_eq!(show(&query, &bench.udp(&query).unwrap()), MALFORMED, "an option cut short");
}

/// An option that is turned off is ignored, whatever it holds.
#[test]
fn turned_off() {
    let bench = Bench::with(BOTH, |model, _| model.edns = EdnsConfig::default());
    for options in ["+o=3:", "+o=8:00011800c63364", &format!("+o={BAD_SUBNET}"), "+o=10:01", "+o=10:2464c4abcf10c957"] {
        bench.check("off", &format!("app.com A {options}"), DATA);
    }
}

/// A bench whose app.com is sticky over 16 addresses, so that an answer tells its slot.
fn sticky() -> Bench {
    Bench::with(BOTH, |_, plan| {
        let base = u16::try_from(plan.endpoints.len()).unwrap();
        let more = (0..16).map(|slot| IpAddr::from([192, 0, 2, 100 + slot]));
        plan.endpoints = plan.endpoints.iter().copied().chain(more).collect();
        let table = Table { slots: (base..base + 16).collect(), basis: Basis::Live };
        plan.services[0].policy = Policy::Sticky;
        plan.services[0].sticky_prefix = (20, 56);
        plan.services[0].choice[0] = Choice::Table(table);
    })
}

/// S4-3A-320: a subnet takes the client's place, and the scope says how much of it counted.
#[test]
fn sticky_by_client_subnet() {
    let bench = sticky();
    let service = bench.view.plan().services[0].clone();
    let check = |description: &str, client: &str, subnet: Option<&str>, decides: &str, answered: Option<&str>| {
        let option = subnet.map(|subnet| format!(" +o=8:{subnet}")).unwrap_or_default();
        let shown = bench.shown(&ask(&format!("app.com A +opt{option}")), client, NOW);
        let slot = service.sticky_turn(decides.parse().unwrap()) & 15;
        let option = answered.map(|data| format!(" 8:{data}")).unwrap_or_default();
        let expected = format!("NOERROR aa | app.com 0 A 192.0.2.{} |  |  | opt 1232{option}", 100 + slot);
        assert_eq!(shown, expected, "{description}");
    };
    for net in 0..64_u8 {
        let client = format!("198.51.{net}.9");
        check("no subnet", &client, None, &client, None);
        let nets = format!("00011814cb00{net:02x}");
        let sent = format!("00011800cb00{net:02x}");
        let decides = format!("203.0.{net}.0");
        check("longer than the pool's prefix", &client, Some(&sent), &decides, Some(&nets));
        check("of an IPv6 client", "2001:db8::1", Some(&sent), &decides, Some(&nets));
        let short = format!("00010814{:02x}", net + 1);
        check("shorter", &client, Some(&short.replace("0814", "0800")), &format!("{}.0.0.0", net + 1), Some(&short));
        let sent = format!("0002380020010db80000{net:02x}");
        let decides = format!("2001:db8:0:{net:02x}00::");
        check("IPv6", &client, Some(&sent), &decides, Some(&sent.replace("3800", "3838")));
        // RFC 7871 section 7.2.1: no bits are no subnet, and the resolver's own address decides; for nobody else.
        let six = format!("2001:db8:0:{net:02x}00::1");
        for none in ["00010000", "00020000", "00000000"] {
            check("no bits", &client, Some(none), &client, Some(none));
            check("no bits, by IPv6", &six, Some(none), &six, Some(none));
        }
    }
    let slots: std::collections::HashSet<_> =
        (0..64).map(|net: u8| service.sticky_turn(IpAddr::from([203, 0, net, 0])) & 15).collect();
    assert!(slots.len() > 1, "the subnets differ in their slots");
}

/// RFC 7871 sections 7.2.1 and 7.4: 0 where the subnet did not count.
#[test]
fn the_scope_is_honest() {
    let bench = sticky();
    let subnet = "8:00011800c63364";
    for question in [
        // Not sticky.
        "europe.app.com A",
        "boston.app.com TXT",
        "app.com HTTPS",
        "app.com SOA",
        "app.com ANY",
        // Negative, refused, a referral, static, SERVFAIL.
        "europe.app.com AAAA",
        "nothing.app.com A",
        "example.org A",
        "x.sub.app.com A",
        "mail.app.com A",
        "chicago.app.com A",
        "id.server TXT class=3",
    ] {
        let shown = bench.shown(&ask(&format!("{question} +o={subnet}")), "198.51.100.9", NOW);
        assert!(shown.ends_with(&format!("opt 1232 {subnet}")), "{question}: {shown}");
    }
    let alias = bench.shown(&ask(&format!("www.app.com A +o={subnet}")), "198.51.100.9", NOW);
    assert!(alias.ends_with("opt 1232 8:00011814c63364"), "behind an alias: {alias}");
}

/// Invariant 8 with options: an answer is whole exactly where it is within its limit, options included.
#[test]
fn options_count_in_every_limit() {
    let bench = Bench::new(BOTH);
    let all = "+o=3: +o=10:2464c4abcf10c957 +o=8:0002380020010db8000000";
    for client in ["198.51.100.9", "2001:db8::9"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let headers = if client.is_ipv4() { 28 } else { 48 };
        for (question, halves) in [
            ("app.com A", 4),
            ("boston.app.com AAAA", 4),
            ("nothing.app.com A", 5),
            ("mail.app.com MX", 5),
            // Static ones of over 512 bytes.
            ("huge.app.com TXT", 6),
        ] {
            for options in ["+o=3:", "+o=10:2464c4abcf10c957", all] {
                let query = ask(&format!("{question} {options}"));
                let ask_by = |transport, query: &[u8]| {
                    respond(query, transport, client, NOW, &bench.zones, &bench.view).unwrap()
                };
                // All but what only saves a question, which MX and SOA answers have none of.
                let whole_len = ask_by(Transport::Tcp, &query).len();
                for len in query.len()..query.len() + 400 {
                    let mut query = query.clone();
                    query.resize(len, 0);
                    let answer = ask_by(Transport::Udp, &query);
                    let shown = show(&query, &answer);
                    let fits = 2 * (whole_len + headers) <= halves * (len + headers);
                    assert_eq!(answer.len() == whole_len, fits, "{question} {options}, {len}: {shown}");
                    assert_eq!(shown.contains(" tc"), !fits, "{question} {options}, {len}: {shown}");
                    assert!(2 * (answer.len() + headers) <= halves * (len + headers), "{question} {options}, {len}");
                }
            }
        }
    }
}

/// The client's size is for the whole message: an option may be what makes an answer too long.
#[test]
fn options_count_in_the_clients_size() {
    let dir = tempfile::tempdir().unwrap();
    let long = "t".repeat(200);
    let records = (1..80).map(|n| format!("t{n:02} TXT {long} {long} {}\n", "t".repeat(n)));
    let records = records.collect::<Vec<_>>().concat();
    std::fs::write(dir.path().join("records"), format!("$TTL 300\nmail A 192.0.2.25\n{records}")).unwrap();
    let mut model = super::model(BOTH, Some("records".as_ref()));
    model.edns.nsid = Some("n".repeat(NSID_LEN_MAX));
    let zones = Zones::load(&model, dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let bench = Bench { zones, view: Arc::new(View::new(Arc::new(model), super::plan())) };
    for (options, longest) in [("", 57), ("+o=3:", 57 - 28), ("+o=8:00011800c63364", 57 - 11)] {
        for n in 1..80 {
            let mut query = ask(&format!("t{n:02}.app.com TXT +size=512 {options}"));
            query.resize(1000, 0);
            let (answer, whole) = (bench.udp(&query).unwrap(), bench.tcp(&query).unwrap());
            assert_eq!(whole.len() <= 512, n <= longest, "{options}, {n}: {}", whole.len());
            assert_eq!(answer == whole, n <= longest, "{options}, {n}");
            assert!(answer.len() <= 512);
        }
    }
}
