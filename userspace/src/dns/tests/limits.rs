//! How long an answer may be.

use std::{fmt::Write as _, net::IpAddr};

use super::{BOTH, Bench, NOW, ask, show};
use crate::dns::{Transport, respond};

fn padded(question: &str, len: usize) -> Vec<u8> {
    let mut query = ask(question);
    query.resize(query.len().max(len), 0);
    query
}

/// RFC 2181 section 9: a set is whole or not there.
#[test]
fn what_does_not_fit_the_client_is_truncated() {
    let bench = Bench::new(BOTH);
    let model = crate::dns::tests::model(BOTH, Some("records".as_ref()));
    let dir = tempfile::tempdir().unwrap();
    let text = format!("\"{}\"", "t".repeat(200));
    let mut records = String::from("mail 300 A 192.0.2.25\n");
    for (owner, strings) in [("t400", 2), ("t600", 3), ("t1400", 7)] {
        writeln!(records, "{owner} 300 TXT {}", vec![text.as_str(); strings].join(" ")).unwrap();
    }
    std::fs::write(dir.path().join("records"), records).unwrap();
    let bench = Bench { zones: crate::dns::Zones::load(&model, dir.path()).unwrap(), view: bench.view };
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

/// Invariant 8, at every length around the border, in both families.
#[test]
fn no_answer_amplifies() {
    let bench = Bench::new(BOTH);
    let questions = [
        "large.app.com TXT",
        "large.app.com TXT +do",
        "app.com NS",
        "sub.app.com A",
        "nothing.app.com A",
        "alias.app.com A +do",
        "app.com A",
    ];
    for client in ["198.51.100.9", "2001:db8::9"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let headers = if client.is_ipv4() { 28 } else { 48 };
        for question in questions {
            let mut whole = 0;
            for len in 0..300 {
                let query = padded(question, len);
                let answer = respond(&query, Transport::Udp, client, NOW, &bench.zones, &bench.view).unwrap();
                let shown = show(&query, &answer);
                let positive = !shown.contains("aa |  |") && shown.contains("aa |");
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
    let bench = Bench::new(BOTH);
    let mut seen = [false; 2];
    for len in 0..100 {
        let query = padded("wide.app.com A", len);
        let shown = show(&query, &bench.udp(&query).unwrap());
        let whole = shown.contains("2001:db8::62");
        assert_ne!(whole, shown.contains(" tc"), "{shown}");
        seen[usize::from(whole)] = true;
    }
    assert_eq!(seen, [true, true], "both sides of the border were met");
}
