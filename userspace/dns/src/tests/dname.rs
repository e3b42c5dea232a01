//! DNAME (RFC 6672).

use super::{BOTH, Bench, model, name};
use crate::Zones;
use zerottl_core::model::{Forward, Model};

/// A zone of these records; dynamic names and name servers as in Appendix A.
fn load(records: &str, change: impl FnOnce(&mut Model)) -> Result<Zones, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.com.zone"), format!("$TTL 300\n{records}")).unwrap();
    let mut model = model(BOTH, Some("app.com.zone".as_ref()));
    change(&mut model);
    Zones::load(&model, dir.path()).map_err(|error| error.message)
}

fn bench(records: &str) -> Bench {
    let zones = load(records, |_| {}).unwrap();
    Bench { zones, ..Bench::new(BOTH) }
}

#[track_caller]
fn refused(records: &str, message: &str) {
    assert_eq!(load(records, |_| {}).map(drop).unwrap_err(), message, "{records}");
}

#[test]
fn names_below_a_dname_are_redirected() {
    let bench = bench(
        "old 60 DNAME new\nold TXT here\nhost.new A 192.0.2.1\nout DNAME example.net.\nweb CNAME host.old\n\
         *.wild.new A 192.0.2.2\nto-site DNAME app.com.",
    );
    bench.check(
        "the DNAME first, then the CNAME with its TTL",
        "Host.OLD.app.com A",
        "NOERROR aa | OLD.app.com 60 DNAME new.app.com., Host.OLD.app.com 60 CNAME Host.new.app.com., \
         Host.new.app.com 300 A 192.0.2.1 |  | ",
    );
    bench.check("the owner is no alias", "old.app.com TXT", "NOERROR aa | old.app.com 300 TXT \"here\" |  | ");
    bench.check("it can be asked for", "old.app.com DNAME", "NOERROR aa | old.app.com 60 DNAME new.app.com. |  | ");
    bench.check(
        "out of the zone",
        "a.b.out.app.com A",
        "NOERROR aa | out.app.com 300 DNAME example.net., a.b.out.app.com 300 CNAME a.b.example.net. |  | ",
    );
    bench.check(
        "a CNAME into it",
        "web.app.com A",
        "NOERROR aa | web.app.com 300 CNAME host.old.app.com., old.app.com 60 DNAME new.app.com., \
         host.old.app.com 60 CNAME host.new.app.com., host.new.app.com 300 A 192.0.2.1 |  | ",
    );
    bench.check(
        "a CNAME asked for is made, and not followed",
        "host.old.app.com CNAME",
        "NOERROR aa | old.app.com 60 DNAME new.app.com., host.old.app.com 60 CNAME host.new.app.com. |  | ",
    );
    bench.check(
        "to a wildcard",
        "x.wild.old.app.com A",
        "NOERROR aa | old.app.com 60 DNAME new.app.com., x.wild.old.app.com 60 CNAME x.wild.new.app.com., \
         x.wild.new.app.com 300 A 192.0.2.2 |  | ",
    );
    bench.check(
        "to a dynamic name",
        "boston.to-site.app.com A",
        "NOERROR aa | to-site.app.com 300 DNAME app.com., boston.to-site.app.com 300 CNAME boston.app.com., \
         boston.app.com 0 A 192.0.2.10 |  | ",
    );
    bench.check(
        "the last name's rcode",
        "none.old.app.com A",
        "NXDOMAIN aa | old.app.com 60 DNAME new.app.com., none.old.app.com 60 CNAME none.new.app.com. | \
         app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5 | ",
    );
}

/// RFC 6672 section 2.2: YXDOMAIN, and the DNAME that made it so; a byte less is an answer.
#[test]
fn a_name_that_gets_too_long_is_yxdomain() {
    let label = "x".repeat(63);
    let bench = bench(&format!("s DNAME longer.{label}.{label}\n"));
    // From 11 bytes of `s.app.com.` to 144 bytes.
    let asked = |len: usize| format!("{}.{}.s.app.com", "a".repeat(len - 65), "b".repeat(63));
    let head = format!("| s.app.com 300 DNAME longer.{label}.{label}.app.com.");
    bench.check("256 bytes", &format!("{} A +opt", asked(112)), &format!("YXDOMAIN aa {head} |  |  | opt 1232"));
    let shown = bench.shown(&super::ask(&format!("{} A +opt", asked(111))), "198.51.100.9", super::NOW);
    assert!(shown.starts_with(&format!("NXDOMAIN aa {head}, ")), "{shown}");
}

/// Chains end, and what they gave by then is the answer.
#[test]
fn loops_are_cut() {
    let bench = bench("a DNAME b\nb DNAME a\n");
    let shown = bench.shown(&super::ask("x.a.app.com A"), "198.51.100.9", super::NOW);
    assert_eq!(shown.matches(" DNAME ").count(), 9, "{shown}");
    assert_eq!(shown.matches(" CNAME ").count(), 9, "{shown}");
}

#[test]
fn what_cannot_stand_there() {
    refused("*.x DNAME y\n", "DNAME at *.x.app.com: a wildcard cannot own a DNAME (RFC 4592 section 4.4); remove it");
    refused("boston DNAME y\n", "DNAME at boston.app.com: a Pool, Group or Site Name cannot own a DNAME; remove it");
    refused("x DNAME y\nx DNAME z\n", "x.app.com has two DNAMEs (RFC 6672 section 2.4)");
    refused("x DNAME y\nx CNAME z\n", "x.app.com has a CNAME and other data (RFC 1034 section 3.6.2)");
    let message = |records, change: fn(&mut Model)| load(records, change).map(drop).unwrap_err();
    let dynamic = message("x DNAME y\n", |model| model.names[3].name = name("boston.x.app.com."));
    assert_eq!(dynamic, "boston.x.app.com is hidden by the DNAME of x.app.com (RFC 6672 section 2.4)");
    let forward = message("x DNAME y\n", |model| {
        model.forwards = vec![Forward {
            name: name("f.x.app.com."),
            upstreams: vec![],
            timeout: std::time::Duration::ZERO,
            attempts: 1,
            clients: vec![],
        }];
    });
    assert_eq!(forward, "f.x.app.com is hidden by the DNAME of x.app.com (RFC 6672 section 2.4)");
}

/// RFC 6672 section 2.3: at the apex, where nothing else lies below.
#[test]
fn the_apex_may_own_one() {
    let zones = load("@ DNAME example.net.\n@ TXT apex\n", |model| {
        model.names.clear();
        model.zones[0].nameservers = vec![name("ns.example.net.")];
        model.zones[0].failover_nameservers.clear();
    });
    let hidden = load("@ DNAME example.net.\n", |model| model.names.clear()).map(drop);
    assert_eq!(hidden.unwrap_err(), "ns1.app.com is hidden by the DNAME of app.com (RFC 6672 section 2.4)");
    let bench = Bench { zones: zones.unwrap(), ..Bench::new(BOTH) };
    bench.check("the apex itself", "app.com TXT", "NOERROR aa | app.com 300 TXT \"apex\" |  | ");
    bench.check(
        "below",
        "www.app.com A",
        "NOERROR aa | app.com 300 DNAME example.net., www.app.com 300 CNAME www.example.net. |  | ",
    );
}
