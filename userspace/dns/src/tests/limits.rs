//! How long an answer may be.

use std::{fmt::Write as _, net::IpAddr};

use super::{BOTH, Bench, NOW, ask, show};
use crate::{Transport, respond};

fn padded(question: &str, len: usize) -> Vec<u8> {
    let mut query = ask(question);
    query.resize(query.len().max(len), 0);
    query
}

/// RFC 2181 section 9: a set is whole or not there.
#[test]
fn what_does_not_fit_the_client_is_truncated() {
    let bench = Bench::new(BOTH);
    let model = crate::tests::model(BOTH, Some("records".as_ref()));
    let dir = tempfile::tempdir().unwrap();
    let text = format!("\"{}\"", "t".repeat(200));
    let mut records = String::from("mail 300 A 192.0.2.25\n");
    for (owner, strings) in [("t400", 2), ("t600", 3), ("t1400", 7)] {
        writeln!(records, "{owner} 300 TXT {}", vec![text.as_str(); strings].join(" ")).unwrap();
    }
    std::fs::write(dir.path().join("records"), records).unwrap();
    let bench = Bench { zones: crate::Zones::load(&model, dir.path()).unwrap(), view: bench.view };
    for (question, fits) in [
        ("t400.app.com TXT", true),
        ("t600.app.com TXT", false),
        ("t400.app.com TXT +size=0", true),
        ("t600.app.com TXT +size=512", false),
        ("t600.app.com TXT +size=800", true),
        ("t1400.app.com TXT +size=4096", false),
    ] {
        let query = padded(question, 2000);
        let answer = bench.udp(&query).unwrap();
        let shown = show(&query, &answer);
        assert_eq!(shown.contains("ttt"), fits, "{question}: {shown}");
        if !fits {
            let opt = if question.contains("size") { " | opt 1232" } else { "" };
            assert_eq!(shown, format!("NOERROR aa tc |  |  | {opt}"), "{question}");
        }
        let whole = show(&query, &bench.tcp(&query).unwrap());
        assert!(whole.contains("ttt") && !whole.contains("tc"), "TCP has it whole: {whole}");
    }
}

/// Records as everybody has them.
const EVERYDAY: &str = r#"
$TTL 300
@     MX 10 mail-relay-one.hosting-company.example.
@     MX 20 mail-relay-two.hosting-company.example.
mail  A 192.0.2.25
t     TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDh9cVrFvKqoTBBFJ0m3hfYb9x8Bx3dWkYp1x7W6o9wPq1b"
c     CNAME a-rather-long-name.of-a-content-network.example.
srv   SRV 0 5 5060 sip-one.hosting-company.example.
srv   SRV 0 5 5060 sip-two.other-company.example.
d     NS ns-one.hosting-company.example.
d     NS ns-two.another-company.example.
d     NS ns-three.third-company.example.
many  A 192.0.2.101
many  A 192.0.2.102
many  A 192.0.2.103
many  A 192.0.2.104
many  A 192.0.2.105
to-us CNAME boston
e     TXT "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
"#;

fn bench_of(records: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("records"), records).unwrap();
    let model = crate::tests::model(BOTH, Some("records".as_ref()));
    let zones = crate::Zones::load(&model, dir.path()).unwrap_or_else(|error| panic!("{error}"));
    Bench { zones, view: Bench::new(BOTH).view }
}

/// Invariant 8: what records files say in 512 bytes is said to everybody at once, as by every other server.
#[test]
fn everyday_static_answers_are_whole() {
    let bench = bench_of(EVERYDAY);
    for question in [
        "app.com MX",
        "t.app.com TXT",
        "c.app.com A",
        "c.app.com CNAME",
        "srv.app.com SRV",
        "d.app.com A",
        "x.d.app.com MX",
        "many.app.com A",
        "to-us.app.com A",
        "e.app.com TXT",
        "e.app.com ANY",
        "app.com NS",
        "app.com SOA",
    ] {
        for options in ["", " +opt", " +do", " +size=512", " +o=3:", " +o=10:2464c4abcf10c957"] {
            let query = ask(&format!("{question}{options}"));
            for client in ["198.51.100.9", "2001:db8::9"] {
                let answer = respond(&query, Transport::Udp, client.parse().unwrap(), NOW, &bench.zones, &bench.view);
                let shown = show(&query, &answer.unwrap());
                assert!(shown.starts_with("NOERROR") && !shown.contains(" tc"), "{question}{options}: {shown}");
            }
        }
    }
}

/// Invariant 8: static answers over 512 bytes and over 3 times their query are for those who have shown a cookie of ours.
#[test]
fn large_static_answers_need_a_cookie() {
    let text = |count: usize| vec![format!("\"{}\"", "x".repeat(99)); count].join(" ");
    let bench = bench_of(&format!("$TTL 300\nmail A 192.0.2.25\nl4 TXT {}\nl9 TXT {}\n", text(4), text(9)));
    let client: IpAddr = "198.51.100.100".parse().unwrap();
    let answer_to = |query: &[u8]| respond(query, Transport::Udp, client, NOW, &bench.zones, &bench.view).unwrap();
    let is_whole = |query: &[u8]| !show(query, &answer_to(query)).contains(" tc");
    let valid = "10:2464c4abcf10c957010000005cf79f111f8130c3eee29480";
    let forged = "10:2464c4abcf10c957010000005cf79f111f8130c3eee29481";
    for (question, whole) in [
        ("l4.app.com TXT".to_owned(), true),
        ("l9.app.com TXT +opt".to_owned(), false),
        ("l9.app.com TXT +o=10:2464c4abcf10c957".to_owned(), false),
        (format!("l9.app.com TXT +o={forged}"), false),
        (format!("l9.app.com TXT +o={valid}"), true),
        (format!("l9.app.com TXT +size=900 +o={valid}"), false),
        (format!("l9.app.com TXT +size=4096 +o={valid}"), true),
    ] {
        assert_eq!(is_whole(&ask(&question)), whole, "{question}");
    }
    // 3 times, as IP packets.
    let whole_len = bench.tcp(&ask("l9.app.com TXT +opt")).unwrap().len();
    for len in 100..600 {
        let query = padded("l9.app.com TXT +opt", len);
        assert_eq!(is_whole(&query), whole_len + 28 <= 3 * (query.len() + 28), "{len}");
    }
}

/// Invariant 8, at every length around the border, in both families.
#[test]
fn no_answer_of_the_plan_or_negative_one_amplifies() {
    let bench = Bench::new(BOTH);
    let questions = ["nothing.app.com A", "mail.app.com MX", "app.com A", "boston.app.com AAAA +do", "app.com HTTPS"];
    for client in ["198.51.100.9", "2001:db8::9"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let headers = if client.is_ipv4() { 28 } else { 48 };
        for question in questions {
            let mut whole = 0;
            for len in 0..300 {
                let query = padded(question, len);
                let answer = respond(&query, Transport::Udp, client, NOW, &bench.zones, &bench.view).unwrap();
                let shown = show(&query, &answer);
                let positive = answer[6..8] != [0, 0];
                let (asked, said) = (query.len() + headers, answer.len() + headers);
                let factor_times_2 = if positive { 4 } else { 5 };
                assert!(2 * said <= factor_times_2 * asked, "{question}, {len}: {asked} bytes asked, {said} said");
                whole += usize::from(!shown.contains("tc"));
            }
            assert!(whole > 0, "{question} is answered at some length");
        }
    }
}

/// Plain queries, as resolvers send them, get plain answers: compression keeps them within invariant 8.
#[test]
fn ordinary_answers_fit() {
    let bench = Bench::new(BOTH);
    for question in
        ["app.com A", "app.com AAAA", "app.com HTTPS", "app.com SOA", "app.com NS", "x.app.com A", "alias.app.com A"]
    {
        for options in ["", " +opt", " +do"] {
            let query = ask(&format!("{question}{options}"));
            let shown = show(&query, &bench.udp(&query).unwrap());
            assert!(!shown.contains(" tc"), "{question}{options}: {shown}");
        }
    }
}

/// Addresses that only save a question never cost the answer.
#[test]
fn extra_addresses_are_left_out_first() {
    let bench = Bench::new(BOTH);
    let query = ask("app.com NS");
    let shown = show(&query, &bench.udp(&query).unwrap());
    assert_eq!(shown, "NOERROR aa | app.com 3600 NS ns1.app.com., app.com 3600 NS ns.example.net. |  | ");
}

/// RFC 9471: glue that the referral needs is not left out.
#[test]
fn a_referral_without_its_glue_is_truncated() {
    let servers = (0..14).map(|n| format!("wide NS server-{n:02}.wide\nserver-{n:02}.wide AAAA 2001:db8::{n}\n"));
    let bench = bench_of(&format!("$TTL 300\nmail A 192.0.2.25\n{}", servers.collect::<Vec<_>>().concat()));
    let mut seen = [false; 2];
    for len in (0..400).step_by(4) {
        let query = padded("wide.app.com A +opt", len);
        let shown = show(&query, &bench.udp(&query).unwrap());
        let whole = shown.contains("AAAA 2001:db8::13");
        assert_ne!(whole, shown.contains(" tc"), "{shown}");
        seen[usize::from(whole)] = true;
    }
    assert_eq!(seen, [true, true], "both sides of the border were met");
}
