//! Zones and what their files say: seconds with units, odd name servers, records files' faults, what would be forgotten.

use std::{fs, path::Path, time::Instant};

use super::*;
use zerottl_core::{
    saved_state::{SavedOverride, SavedSite, SavedState},
    status::AdminState,
};
use zerottl_host::state::file;

const ZONE: &str = "contact = \"hostmaster@app.com\"\n";

fn zone(more: &str) -> String {
    changed(ZONE, &format!("{ZONE}{more}\n"))
}

/// Returns what is said of [`BASE`] with these lines in its zone, and a records file next to it.
fn beside(more: &str, records: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("z"), records).expect("written");
    let text = zone(&format!("records = \"z\"\n{more}"));
    let problems = match parse("f", &text, folder.path()) {
        Ok(loaded) => loaded.warnings,
        Err(error) => error.problems().to_vec(),
    };
    let base = format!("{}/", folder.path().display());
    problems.iter().map(|problem| problem.line().replace(&base, "")).collect()
}

#[test]
fn seconds_may_have_units() {
    let text = zone(
        "refresh = \"1h30m\"\nretry = \"90s\"\nexpire = \"2w\"\nnegative_ttl = \"1m\"\nsoa_ttl = \"2d\"\nns_ttl = 7",
    );
    let model = parse("f", &text.replace("ttl = 0", "ttl = \"20s\""), &examples()).expect("valid").model;
    let zone = &model.zones[0];
    assert_eq!((zone.refresh, zone.retry, zone.expire), (5_400, 90, 1_209_600));
    assert_eq!((zone.negative_ttl, zone.soa_ttl, zone.ns_ttl, model.pools[0].ttl), (60, 172_800, 7, 20));
    check(
        "ttl = 0",
        "ttl = \"500ms\"",
        &[
            r#"f:15:7: error: [pool."app.com"]: `ttl` is "500ms", which is no number of seconds (give whole seconds, as a number or as a text with units: 30, "30s", "5m", "1h30m", "1d")"#,
        ],
    );
    check(
        ZONE,
        &format!("{ZONE}serial = \"now\"\n"),
        &[
            r#"f:12:10: error: [zone."app.com"]: `serial` is "now" (give a number, or "auto": the time of the newest of the zone's files, never going back)"#,
        ],
    );
}

/// A file that was signed elsewhere is not signed once more; unsigned, such records are data as others are.
#[test]
fn what_a_signed_zone_makes_itself_is_refused() {
    let records = "@ DNSKEY 257 3 13 AA==\n@ CDS 1 13 2 00\nx NSEC y A\nx NSEC3PARAM 1 0 0 -\n\
        x RRSIG A 13 3 300 20300101000000 20200101000000 1 app.com. AA==\nx A 192.0.2.1\n";
    let said = beside("dnssec = true", records);
    let refused = |line: &String| line.contains("error: ") && line.contains("gets this type from `dnssec`; remove it");
    assert_eq!(said.iter().filter(|line| refused(line)).count(), 5, "{said:?}");
    assert_eq!(said.len(), 5, "{said:?}");
    assert_eq!(beside("", records), Vec::<String>::new());
}

#[test]
fn the_soa_is_sayable() {
    let text = zone("primary = \"hidden.example.net\"\nserial = \"auto\"").replace("\"ns1.app.com\"", "\".\"");
    let model = parse("f", &text, &examples()).expect("valid").model;
    let first = &model.zones[0];
    assert_eq!(first.primary.as_ref().map(ToString::to_string).as_deref(), Some("hidden.example.net"));
    assert!(first.auto_serial && first.nameservers[0].is_root());
    assert_eq!(first.soa_ttl, first.negative_ttl);
    assert_eq!(
        beside("", "@ SOA a b 1 2 3 4 5\n"),
        ["z:1:3: error: SOA at app.com: the SOA is made from [zone]: `contact`; remove it, or that key and its like: \
             `contact`, `primary`, `serial`, `refresh`, `retry`, `expire`, `negative_ttl`, `soa_ttl`"]
    );
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("z"), "@ SOA a b 1 2 3 4 5\n@ NS ns.example.net.\n").expect("written");
    let own = zone("records = \"z\"").replace(ZONE, "").replace("nameservers = [\"ns1.app.com\"]\n", "");
    parse("f", &own, folder.path()).expect("the file has both");
    fs::write(folder.path().join("z"), "").expect("written");
    let missing = parse("f", &own, folder.path()).expect_err("neither is there").plain();
    assert!(
        missing.contains("zone app.com has no name servers") && missing.contains("zone app.com has no SOA"),
        "{missing}"
    );
}

#[test]
fn zones_may_lie_within_each_other() {
    let inner = "[zone.\"eu.app.com\"]\nnameservers = [\"ns.example.net\"]\ncontact = \"a@app.com\"\n\
        [zone.\".\"]\nnameservers = [\"ns.example.net\"]\ncontact = \".\"\n[zone.\"app.com\"]";
    let text = changed("[zone.\"app.com\"]", inner)
        .replace("[pool.\"app.com\"]", "[pool.\"www.eu.app.com\"]")
        .replace("pool = \"app.com\"", "pool = \"www.eu.app.com\"");
    let model = parse("f", &text, &examples()).expect("valid").model;
    let zone_of = |name: &str| {
        let name = model.names.iter().find(|entry| entry.name.to_string() == name).expect(name);
        model.zones[name.zone.0].apex.to_string()
    };
    assert_eq!((zone_of("www.eu.app.com"), zone_of("boston.app.com")), ("eu.app.com".into(), "app.com".into()));
}

#[test]
fn odd_names_and_addresses_are_warned_of() {
    check(
        "[\"203.0.113.53\"]",
        "[\"fd00:7::53:8053\", \"2001:db8::53\", \"2001:db8:1::1\"]",
        &[
            r#"f:3:14: warning: [front]: `fd00:7::53:8053` is an address as a whole, and has port 53 (write "[fd00:7::53]:8053" for port 8053, or "[fd00:7::53:8053]:53" if it is meant so)"#,
        ],
    );
    check(
        "nameservers = [\"ns1.app.com\"]",
        "nameservers = [\"ns9\", \"com.\"]",
        &[
            r#"f:10:16: warning: [zone."app.com"]: `ns9` is the name ns9. as a whole, not one in the zone (write "ns9.app.com", or "ns9." if it is meant so)"#,
        ],
    );
    check(
        "nameservers = [\"ns1.app.com\"]",
        "nameservers = [\"ns1.app.com\", \"nsb.app.com\"]",
        &[
            r#"f:9:7: warning: [zone."app.com"]: zone app.com: the name server ns1.app.com has no address in `records`, and gets those of this machine (give its A and AAAA records in `records`, also where they are this machine's)"#,
            r#"f:9:7: warning: [zone."app.com"]: zone app.com: the name server nsb.app.com has no address in `records`, and gets those of this machine (give its A and AAAA records in `records`, also where they are this machine's)"#,
        ],
    );
}

#[test]
fn records_files_are_told_of_as_this_file_is() {
    assert_eq!(
        beside("", "; \u{e4}\na A 192.0.2.1\nb  MX ten b\nd\tA x\nb TXT \"\u{e4}\" \"open\nc FOO\n"),
        [
            "z:3:7: error: expected decimal number",
            "z:4:5: error: expected IPv4 address",
            "z:5:11: error: the quote is not closed",
        ]
    );
    assert_eq!(
        beside("", "s NS ns.x.\nz.s TXT \"x\"\n"),
        ["z:2:1: warning: TXT at z.s.app.com is hidden by the delegation of s.app.com: it is kept, and not answered"]
    );
    let many = (0..100).fold(String::new(), |many, i| many + &format!("h{i} A x\n"));
    let told = beside("", &many);
    assert_eq!(told.len(), 21);
    assert!(told.iter().any(|line| line.contains("and 80 more faults in `records` files")), "{told:?}");
    // In a file of a hundred thousand faults, too, none is looked for from the start.
    let since = Instant::now();
    let many = (0..100_000).fold(String::new(), |many, i| many + &format!("h{i} A x\n"));
    assert_eq!(beside("", &many).len(), 21);
    assert!(since.elapsed().as_secs() < 60, "{:?}", since.elapsed());
}

/// All of a file of trust anchors is read, as by who uses it.
#[test]
fn trust_anchors_are_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    for part in ["probe = { kind = \"https\", ca = \"ca\" }", "load = { kind = \"https\", ca = \"ca\" }"] {
        let text = changed("probe = { kind = \"http\" }\nweight", &format!("{part}\nweight"));
        let told = parse("f", &text, folder.path()).expect_err(part).plain();
        assert!(told.contains("`ca` cannot be used: certificate 1 in it is none"), "{told}");
        assert!(told.contains(&format!("[site.boston.{}]", &part[..part.find(' ').unwrap_or(0)])), "{told}");
    }
}

#[test]
fn what_would_be_forgotten_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let order = |what| SavedOverride {
        what,
        by: "alice".into(),
        reason: None,
        age_ms: 0,
        at_wall_ms: 0,
        left_ms: None,
        forced: false,
    };
    let word = |word| SavedSite { word: Some(order(word)), ..SavedSite::default() };
    let sites = [
        ("bostom".to_owned(), word(AdminState::Drain)),
        ("geneva".to_owned(), word(AdminState::Maint)),
        ("healthy".to_owned(), SavedSite::default()),
    ];
    file::write(&folder.path().join("state"), SavedState { sites: sites.into() }).expect("written");
    let text = format!("{BASE}[state]\ndirectory = \"state\"\n");
    let path = folder.path().join("f");
    fs::write(&path, &text).expect("written");
    let told: Vec<_> =
        load(&path).expect("valid").warnings.iter().map(|warning| warning.message().to_owned()).collect();
    assert_eq!(told, ["the override `drain` (by alice) of Site `bostom` is forgotten: the file has no such Site"]);
    fs::write(&path, text.replace("boston", "bostom")).expect("written");
    assert_eq!(load(&path).expect("valid").warnings.len(), 0);
    assert!(parse("f", &text, Path::new("/nonexistent")).is_ok_and(|loaded| loaded.warnings.is_empty()), "no file");
}
