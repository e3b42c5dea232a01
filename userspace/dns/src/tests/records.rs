//! Records files: what is taken, and what is refused with its line.

use std::path::Path;

use proptest::prelude::*;

use super::{BALANCER, BOTH, Bench, FAILOVER, model, name, plan};
use crate::{ZoneError, Zones};
use zerottl_core::model::Roles;

fn load(roles: Roles, records: &str) -> Result<Zones, ZoneError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("z"), records).unwrap();
    Zones::load(&model(roles, Some(Path::new("z"))), dir.path()).map_err(|mut error| {
        // The folder's name changes with every run.
        error.file = error.file.map(|file| file.strip_prefix(dir.path()).unwrap().into());
        error
    })
}

#[track_caller]
fn refused(records: &str, expected: &str) {
    let error = load(BOTH, records).expect_err(records).to_string();
    assert!(error.contains(expected), "{records:?}: {error:?} does not say {expected:?}");
}

#[test]
fn every_refusal_names_the_line_and_the_mend() {
    refused("x A 192.0.2.1\n\n@ SOA ns1 h 1 2 3 4 5\n", "z:3: SOA at app.com: the SOA is made from [zone]");
    refused("@ NS ns2\n", "z:1: NS at app.com: the apex NS set is made from [zone] `nameservers`");
    refused("@ CNAME x\n", "z:1: CNAME at app.com: a CNAME cannot stand at the apex");
    refused("; comment\nboston A 192.0.2.1\n", "z:2: A at boston.app.com: a Pool, Group or Site Name");
    refused("BOSTON AAAA ::1\n", "z:1: AAAA at BOSTON.app.com: a Pool, Group or Site Name");
    refused("europe CNAME x\n", "z:1: CNAME at europe.app.com: a Pool");
    refused("@ HTTPS 1 .\n", "z:1: HTTPS at app.com: a Pool");
    refused("boston NS ns.example.net.\n", "z:1: NS at boston.app.com: a Pool, Group or Site Name cannot be delegated");
    refused("x.example.net. A 192.0.2.1\n", "z:1: A at x.example.net lies outside the zone app.com");
    refused("a CNAME b\na A 192.0.2.1\n", "z:2: a.app.com has a CNAME and other data");
    refused("a A 192.0.2.1\nA CNAME b\n", "z:2: A.app.com has a CNAME and other data");
    refused("a CNAME b\na CNAME c\n", "z:2: a.app.com has two CNAMEs");
    refused("a 60 A 192.0.2.1\na 61 A 192.0.2.2\n", "z:2: A at a.app.com: TTL 61, but 60 before");
    refused("*.a NS b\n", "z:1: NS at *.a.app.com: a wildcard cannot be delegated");
    refused("a TYPE255 \\# 0\n", "z:1: ANY at a.app.com: this type has no data in a zone");
    refused("a A \\# 3 010203\n", "z:1: A at a.app.com: the data does not have that type's form");
    refused("a 2147483648 A 192.0.2.1\n", "z:1: A at a.app.com: the TTL is over");
    refused("a CH TXT x\n", "z:1: different class");
    refused("a A 192.0.2.1\na A nonsense\n", "z:2: expected IPv4 address");
    refused("a A\n", "z:1: unexpected end of entry");
    refused("a A 192.0.2.1\na TXT ( \"x\"\n", "z:2: the parenthesis is not closed");
    refused("a A 192.0.2.1\na TXT x ; ((\n)", "z:3: a parenthesis is closed that was not opened");
    refused("a TXT \"\\\"\n(\n", "z:1: the quote is not closed");
    refused("a A 192.0.2.1\na HINFO x\n", "z:2: unexpected end of entry");
    refused("a A 192.0.2.1\n$GENERAT 1-2 a$ A 192.0.2.$\n", "z:2: unknown control: $GENERAT");
    refused("a SINK 1\n", "z:1: unexpected end of entry: a number up to 255 is missing");
    refused(
        "a NXT x A\n",
        "z:1: NXT at a.app.com: there is no text form for this type here (write its data as TYPE30 \\#",
    );
    refused("a TXT \"\\256\"\n", "z:1: a backslash is followed by three digits up to 255");
    refused("a A 192.0.2.1 x\n", "z:1: trailing tokens");
    refused("a AFSDB 1 b x\n", "z:1: there is more than this type has");
    refused("a 60 60 A 192.0.2.1\n", "z:1: `60` is no record type");
    refused(" A 192.0.2.1\n", "z:1: no owner");
    refused("sub SOA ns1 h 1 2 3 4 5\n", "z:1: SOA at sub.app.com: an SOA stands at the zone's apex alone");
    refused("ns1 CNAME x\n", "the name server ns1.app.com is a CNAME");
    refused("a TXT (\n \"x\"\n \"y\" )\nb CNAME c\nb TXT z\n", "z:5: b.app.com has a CNAME and other data");
    refused(&format!("{}a CNAME b\n", "a TXT \"x\"\n".repeat(3)), "z:4: a.app.com has a CNAME");
}

#[test]
fn a_missing_file_is_named() {
    let error = Zones::load(&model(BOTH, Some(Path::new("missing.zone"))), Path::new("/nonexistent")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/missing.zone: cannot be read: "), "{error}");
}

#[test]
fn a_set_too_long_for_any_answer_is_refused() {
    let text = format!("\"{}\"", "t".repeat(250));
    let records: String = (0..300).fold(String::new(), |records, i| records + &format!("a TXT \"{i}\" {text}\n"));
    let error = load(BOTH, &records).unwrap_err();
    assert!(error.to_string().contains("over 64000 bytes"), "{error}");
}

#[test]
fn a_delegation_does_not_hide_a_configured_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("z"), "eu NS ns.example.net.\n").unwrap();
    let mut model = model(BOTH, Some(Path::new("z")));
    model.names[1].name = name("pool.eu.app.com.");
    let error = Zones::load(&model, dir.path()).unwrap_err().to_string();
    assert!(error.contains("pool.eu.app.com is configured, but hidden by the delegation of eu.app.com"), "{error}");
}

/// Servers that names are referred to need addresses, and never get this machine's.
#[test]
fn servers_of_other_roles_need_addresses() {
    let error = load(BALANCER, "x A 192.0.2.1\n").unwrap_err().to_string();
    assert!(error.contains("`failover_nameservers` names mail.app.com"), "{error}");
    load(BALANCER, "mail A 192.0.2.1\n").unwrap();
    load(FAILOVER, "x A 192.0.2.1\n").unwrap();
    let mut without = model(FAILOVER, None);
    without.zones[0].balance_nameservers.clear();
    let error = Zones::load(&without, Path::new("")).unwrap_err().to_string();
    assert!(error.contains("need `balance_nameservers`"), "{error}");
}

#[test]
fn what_a_file_may_hold() {
    load(BOTH, "").unwrap();
    load(BOTH, "a A 192.0.2.1").unwrap();
    load(BOTH, "a A 192.0.2.1\r\nb TXT \"x;y\" ; comment\r\n").unwrap();
    load(BOTH, "a 60 A 192.0.2.1\na 60 A 192.0.2.1\n").unwrap();
    load(BOTH, "a A \\# 4 01020304\nb CNAME \\# 3 016100\n").unwrap();
    load(BOTH, "@ CAA 0 issue \"ca.example\"\n_x._tcp SRV 0 0 443 a\na A 192.0.2.1\n").unwrap();
}

#[test]
fn includes_are_read_from_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("z"), "$INCLUDE sub/more inner\na A 192.0.2.1\n").unwrap();
    std::fs::write(dir.path().join("sub/more"), "b A 192.0.2.2\n$INCLUDE again\n").unwrap();
    std::fs::write(dir.path().join("sub/again"), "c CNAME d\nc CNAME e\n").unwrap();
    let model = model(BOTH, Some(Path::new("z")));
    let error = Zones::load(&model, dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("sub/again:2: c.inner.app.com has two CNAMEs (RFC 2181 section 10.1)"), "{error}");
    std::fs::write(dir.path().join("sub/again"), "$INCLUDE again\n").unwrap();
    let error = Zones::load(&model, dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("sub/again:1: $INCLUDE goes deeper than 8 files"), "{error}");
}

/// RFC 1035 section 5.1, and what BIND's files have: `@` in data, `$ORIGIN` changing it, TTLs with units.
#[test]
fn the_origin_in_data_and_ttls_with_units() {
    let dir = tempfile::tempdir().unwrap();
    let records = "$TTL 1h30m\n\
        www CNAME @ ; @\n\
        mx MX ( 10 ; where to\n @ )\n\
        srv 1d IN SRV 0 0 443 @\n\
        text TXT @ \"@\"\n\
        odd CNAME \\@\n\
        $ORIGIN sub\n\
        @ IN 90s MX 20 @\n\
        a CNAME @\n\
        $INCLUDE more @\n\
        $ORIGIN .\n\
        mx.app.com MX 30 @\n";
    std::fs::write(dir.path().join("z"), records).unwrap();
    std::fs::write(dir.path().join("more"), "b 60 CNAME @\n").unwrap();
    let model = std::sync::Arc::new(model(BOTH, Some(Path::new("z"))));
    let zones = Zones::load(&model, dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let bench = Bench { zones, view: std::sync::Arc::new(crate::view::View::new(model, plan())) };
    for (question, answer) in [
        ("www.app.com CNAME", "www.app.com 5400 CNAME app.com."),
        ("mx.app.com MX", "mx.app.com 5400 MX 10 app.com., mx.app.com 5400 MX 30 ."),
        ("srv.app.com SRV", "srv.app.com 86400 SRV 0 0 443 app.com"),
        ("text.app.com TXT", "text.app.com 5400 TXT \"@\" \"@\""),
        ("odd.app.com CNAME", "odd.app.com 5400 CNAME @.app.com."),
        ("sub.app.com MX", "sub.app.com 90 MX 20 sub.app.com."),
        ("a.sub.app.com CNAME", "a.sub.app.com 5400 CNAME sub.app.com."),
        ("b.sub.app.com CNAME", "b.sub.app.com 60 CNAME sub.app.com."),
    ] {
        bench.check("records", question, &format!("NOERROR aa | {answer} |  | "));
    }
    refused("@ MX 10 ( ;\n@ )\na 1h A nonsense\n", "z:3: expected IPv4 address");
    refused("@ MX 10 @\na 1h30 A 192.0.2.1\n", "z:2: ");
}

const LINES: &str = "a 60 IN A 192.0.2.1\nb CNAME a\n@ MX 10 (a ; comment\n)\n$ORIGIN c\nd TXT \"x y\" \\032\n e TYPE65400 \\# 2 0102\nf 1h MX 10 @\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing an operator types makes loading panic.
    #[test]
    fn damaged_files_are_refused_or_read(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"\"\\();\n\t $@#.0a\xff"[..]), any::<bool>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut text = LINES.as_bytes().to_vec();
        for (at, byte, insert) in edits {
            let at = at.index(text.len());
            if insert { text.insert(at, byte) } else { text[at] = byte }
        }
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("z"), &text).unwrap();
        if let Err(error) = Zones::load(&model(BOTH, Some(Path::new("z"))), dir.path()) {
            let lines = text.split(|&byte| byte == b'\n').count();
            prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}: {text:?}");
        }
    }
}
