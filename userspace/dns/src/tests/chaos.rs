//! Class CH (RFC 4892).

use super::{BOTH, Bench, ask};
use crate::{Transport, respond};
use zerottl_core::model::Chaos;

const REFUSED: &str = "REFUSED |  |  | ";

#[test]
fn the_four_names() {
    let bench = Bench::new(BOTH);
    for (name, text) in [
        ("version.bind", "zerottl 1"),
        ("VERSION.Bind", "zerottl 1"),
        ("version.server", "zerottl 1"),
        ("id.server", "lb1.geneva"),
        ("Hostname.BIND", "lb1.geneva"),
    ] {
        for rtype in ["TXT", "ANY"] {
            let expected = format!("NOERROR aa | {name} 0 TXT \"{text}\" |  | ");
            bench.check("configured", &format!("{name} {rtype} class=3"), &expected);
            bench.check("with EDNS", &format!("{name} {rtype} +do class=3"), &format!("{expected} | opt 1232 do"));
        }
        for rtype in ["A", "SOA", "NS", "AXFR", "TYPE65535"] {
            bench.check("another type", &format!("{name} {rtype} class=3"), REFUSED);
        }
        bench.check("class IN", &format!("{name} TXT"), REFUSED);
        bench.check("class HS", &format!("{name} TXT class=4"), REFUSED);
    }
    for name in ["bind", "server", "x.version.bind", "version.binds", "hostname.server", "id.bind", "app.com", "."] {
        bench.check("another name", &format!("{name} TXT class=3"), REFUSED);
    }
}

/// The record's own class is CH.
#[test]
fn the_record_is_of_class_ch() {
    let bench = Bench::new(BOTH);
    let query = ask("id.server TXT class=3");
    let answer = bench.tcp(&query).unwrap();
    let record = &answer[query.len()..];
    assert_eq!(record[..12], [0xc0, 12, 0, 16, 0, 3, 0, 0, 0, 0, 0, 11], "pointer, TXT, CH, TTL 0, length");
    assert_eq!(record[12..], *b"\x0alb1.geneva");
}

#[test]
fn what_is_not_configured_is_refused() {
    let bench = Bench::with(BOTH, |model, _| model.chaos = Chaos { version: None, id: Some("x".into()) });
    bench.check("no version", "version.bind TXT class=3", REFUSED);
    bench.check("no version", "version.server ANY class=3", REFUSED);
    bench.check("an id", "id.server TXT class=3", "NOERROR aa | id.server 0 TXT \"x\" |  | ");
    let bench = Bench::with(BOTH, |model, _| model.chaos = Chaos::default());
    for name in ["version.bind", "version.server", "id.server", "hostname.bind"] {
        bench.check("nothing", &format!("{name} TXT class=3"), REFUSED);
    }
}

/// The longest text there may be is answered, and invariant 8 holds for it.
#[test]
fn long_texts() {
    let text = "t".repeat(255);
    let bench = Bench::with(BOTH, |model, _| model.chaos.version = Some(text.clone()));
    let expected = format!("NOERROR aa | version.bind 0 TXT \"{text}\" |  | ");
    bench.check("255 bytes", "version.bind TXT class=3", &expected);
    let query = ask("version.bind TXT class=3");
    let client = "198.51.100.9".parse().unwrap();
    let answer = respond(&query, Transport::Udp, client, super::NOW, &bench.zones, &bench.view).unwrap();
    assert_eq!(super::show(&query, &answer), expected, "static, and below 512 bytes");
    assert_eq!(super::show(&query, &bench.tcp(&query).unwrap()), expected);
}
