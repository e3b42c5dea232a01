//! The records at an apex, whoever gives them: the SOA's parts, the root, zones within zones, serials.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{BOTH, Bench, model, name, plan};
use crate::{Zones, view::View};
use zerottl_core::model::{ApexSettings, Model, ZoneConfig};

fn zones(records: &str, change: impl FnOnce(&mut Model)) -> Result<Zones, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("z"), records).unwrap();
    let mut model = model(BOTH, Some(Path::new("z")));
    change(&mut model);
    Zones::load(&model, dir.path()).map_err(|error| error.message)
}

fn bench(records: &str, change: impl FnOnce(&mut Model)) -> Bench {
    let zones = zones(records, change).unwrap();
    Bench { zones, view: Arc::new(View::new(Arc::new(model(BOTH, None)), plan())) }
}

/// Without what `[zone]` says of SOA and NS.
fn silent(model: &mut Model) {
    model.zones[0].apex_settings = ApexSettings::default();
    model.zones[0].nameservers.clear();
}

#[test]
fn a_records_file_brings_its_own_soa_and_ns() {
    let bench = bench(
        "@ 600 SOA ns.example.net. h.example.net. 99 1 2 3 90000\n@ 700 NS x\n@ 700 NS ns.example.net.\n\
        x A 192.0.2.7\n",
        silent,
    );
    bench.check(
        "SOA",
        "app.com SOA",
        "NOERROR aa | app.com 600 SOA ns.example.net. h.example.net. 99 1 2 3 90000 |  | ",
    );
    bench.check(
        "NS",
        "app.com NS",
        "NOERROR aa | app.com 700 NS x.app.com., app.com 700 NS ns.example.net. |  | x.app.com 700 A 192.0.2.7",
    );
    bench.check(
        "a negative answer lives as long as the SOA at most",
        "none.app.com A",
        "NXDOMAIN aa |  | app.com 600 SOA ns.example.net. h.example.net. 99 1 2 3 90000 | ",
    );
    let refused = |records: &str, change: fn(&mut Model), expected: &str| {
        let error = zones(records, change).unwrap_err();
        assert!(error.contains(expected), "{records:?}: {error}");
    };
    refused("", silent, "has no name servers");
    refused("@ NS x\nx A 192.0.2.7\n", silent, "has no SOA: give `contact`, or an SOA record");
    refused("@ SOA a b 1 2 3 4 5\n@ SOA a b 2 2 3 4 5\n@ NS b\n", silent, "has two SOAs");
    refused("@ SOA a b 1 2 3 4 5\n", |_| {}, "the SOA is made from [zone]: `contact`; remove it");
}

#[test]
fn every_part_of_the_soa_can_be_said() {
    let bench = bench("", |model| {
        let zone = &mut model.zones[0];
        zone.primary = Some(name("hidden.example.net."));
        (zone.negative_ttl, zone.soa_ttl) = (90_000, 172_800);
        zone.nameservers = vec![name(".")];
    });
    let soa = "SOA hidden.example.net. hostmaster.app.com. 7 3600 600 86400 90000";
    bench.check("its TTL", "app.com SOA", &format!("NOERROR aa | app.com 172800 {soa} |  | "));
    bench.check("MINIMUM", "none.app.com A", &format!("NXDOMAIN aa |  | app.com 90000 {soa} | "));
    bench.check("NS", "app.com NS", "NOERROR aa | app.com 3600 NS . |  | ");
}

fn inner(model: &mut Model, apex: &str) {
    let nameservers = vec![name("ns.inner.example.")];
    model.zones.push(ZoneConfig { apex: name(apex), nameservers, records: None, serial: 3, ..model.zones[0].clone() });
}

#[test]
fn a_zone_may_lie_within_another() {
    let outer = "eu NS ns.eu\nns.eu A 192.0.2.1\neu DS 1 8 2 00\nx.eu TXT outer\nto CNAME www.eu\n";
    let bench = bench(outer, |model| {
        inner(model, "eu.app.com.");
        inner(model, "deep.b.app.com.");
    });
    let soa = |apex: &str| format!("{apex} 5 SOA ns.inner.example. hostmaster.app.com. 3 3600 600 86400 5");
    bench.check("the innermost answers", "x.eu.app.com TXT", &format!("NXDOMAIN aa |  | {} | ", soa("eu.app.com")));
    bench.check("its apex", "eu.app.com NS", "NOERROR aa | eu.app.com 3600 NS ns.inner.example. |  | ");
    bench.check("DS is the outer one's", "eu.app.com DS", "NOERROR aa | eu.app.com 3600 DS 1 8 2 00 |  | ");
    bench.check(
        "an alias is not followed into it",
        "to.app.com A",
        "NOERROR aa | to.app.com 3600 CNAME www.eu.app.com. |  | ",
    );
    let outer = "app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5";
    bench.check("above it is no NXDOMAIN", "b.app.com A", &format!("NOERROR aa |  | {outer} | "));
    bench.check("nor is DS there", "deep.b.app.com DS", &format!("NOERROR aa |  | {outer} | "));
    bench.check("it answers", "q.deep.b.app.com A", &format!("NXDOMAIN aa |  | {} | ", soa("deep.b.app.com")));
}

#[test]
fn the_root_is_a_zone_like_others() {
    let bench = bench("", |model| inner(model, "."));
    bench.check(
        "outside all others",
        "example.net A",
        "NXDOMAIN aa |  |  5 SOA ns.inner.example. hostmaster.app.com. 3 3600 600 86400 5 | ",
    );
    bench.check(
        "itself",
        ". NS",
        "NOERROR aa |  3600 NS ns.inner.example. |  | ns.inner.example 3600 A 203.0.113.53, \
         ns.inner.example 3600 AAAA 2001:db8::53",
    );
    bench.check(
        "com is not NXDOMAIN",
        "com A",
        "NOERROR aa |  |  5 SOA ns.inner.example. hostmaster.app.com. 3 3600 600 86400 5 | ",
    );
    bench.check(
        "the other zone",
        "none.app.com A",
        "NXDOMAIN aa |  | app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5 | ",
    );
}

#[test]
fn serials_make_themselves_or_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("z");
    let load = |records: &str, at: u64, serial: Option<u32>| {
        std::fs::write(&file, records).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(at);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let mut model = model(BOTH, Some(Path::new("z")));
        model.zones[0].auto_serial = serial.is_none();
        model.zones[0].serial = serial.unwrap_or(1);
        model.zones[0].apex_settings.serial = true;
        let read = Zones::read(&model, dir.path(), Some(UNIX_EPOCH + Duration::from_secs(1_000)));
        assert_eq!(read.faults.errors, []);
        (read.zones, model)
    };
    let serial =
        |zones: &Zones| zones.iter().next().unwrap().soa().data[0].to_string().split(' ').nth(2).unwrap().to_owned();
    let after = |before: &Zones, (mut zones, model): (Zones, Model)| {
        let warnings = zones.follow(before, &model);
        (serial(&zones), warnings, zones)
    };
    let (first, _) = load("a A 192.0.2.1\n", 2_000, None);
    assert_eq!(serial(&first), "2000", "the newest file's time");
    let (newer, warnings, first) = after(&first, load("a A 192.0.2.2\n", 3_000, None));
    assert_eq!((newer.as_str(), warnings.len()), ("3000", 0));
    let (raised, _, raised_zones) = after(&first, load("a A 192.0.2.3\n", 2_500, None));
    assert_eq!(raised, "3001", "an older file that differs");
    let (kept, _, _) = after(&raised_zones, load("a A 192.0.2.3\n", 2_500, None));
    assert_eq!(kept, "3001", "the same data");
    let (config, _) = load("", 500, None);
    assert_eq!(serial(&config), "1000", "the configuration's own time");

    let (fixed, _) = load("a A 192.0.2.1\na A 192.0.2.2\n", 1, Some(5));
    for (records, number, expected) in [
        ("a A 192.0.2.2\na A 192.0.2.1\n", 5, None),
        ("a A 192.0.2.1\n", 5, Some("its data has changed, and its serial 5 has not")),
        ("a A 192.0.2.1\n", 6, None),
        ("a A 192.0.2.1\n", 4, Some("its serial is 4 after 5, which is not higher")),
        ("a A 192.0.2.1\n", 5 + (1 << 31), Some("which is not higher")),
        ("a A 192.0.2.1\n", 4 + (1 << 31), None),
    ] {
        let (_, warnings, _) = after(&fixed, load(records, 2, Some(number)));
        let told = warnings.first().map(String::as_str);
        assert!(
            told.is_some_and(|told| expected.is_some_and(|e| told.contains(e))) || told == expected,
            "{number}: {told:?}"
        );
    }
}
