//! `[fleet]`, and `quorum` of pools.

use std::time::Duration;

use super::*;
use zerottl_core::model::{FleetEngine, Quorum};

/// The least that a fleet needs.
const FLEET: &str = "[fleet]\nkind = \"etcd\"\nfront = \"ns1\"\nendpoints = [\"http://192.0.2.21\", \"http://[2001:db8::22]:23790/\"]\n";

fn faults(section: &str) -> Vec<String> {
    let error = parse("f", &format!("{BASE}{section}"), &examples()).expect_err("refused");
    error.plain().lines().map(str::to_owned).collect()
}

#[test]
fn the_least_there_is() {
    let model = parse("f", &format!("{BASE}{FLEET}"), &examples()).expect("valid").model;
    let fleet = model.fleet.expect("a fleet");
    let FleetEngine::Etcd(etcd) = &fleet.engine else { panic!("by etcd") };
    let at: Vec<String> = etcd.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(at, ["192.0.2.21:2379", "[2001:db8::22]:23790"]);
    assert_eq!((etcd.prefix.as_str(), etcd.lease, &etcd.tls), ("zerottl/", Duration::from_secs(10), &None));
    assert_eq!((fleet.front.as_str(), fleet.probers, model.pools[0].quorum), ("ns1", None, Quorum::HALF));
    assert!(parse("f", BASE, &examples()).expect("valid").model.fleet.is_none());
}

/// F-DRIFT: the digest is of what all fronts should have alike, however the file is laid out.
#[test]
fn f_drift_the_digest_is_of_what_is_shared() {
    let digest = |text: &str| parse("f", text, &examples()).expect("valid").model.fleet.expect("a fleet").digest;
    let base = digest(&format!("{BASE}{FLEET}"));
    let other_front = BASE.replace("203.0.113.53", "203.0.113.54") + &FLEET.replace("ns1", "ns2");
    assert_eq!(digest(&other_front), base);
    let (front, rest) = BASE.split_at(BASE.find("[site.boston]").expect("it is there"));
    let (boston, geneva) = rest.split_at(rest.find("[site.geneva]").expect("it is there"));
    assert_eq!(digest(&format!("{front}# another order\n{geneva}{boston}{FLEET}")), base);
    assert_ne!(digest(&format!("{}{FLEET}", changed("weight = 2", "weight = 3"))), base);
}

#[test]
fn quorums() {
    for (text, quorum) in [("any", Quorum::ANY), ("half", Quorum::HALF), ("18%", Quorum(18)), ("100%", Quorum(100))] {
        let file = changed("ttl = 0", &format!("ttl = 0\nquorum = \"{text}\"")) + FLEET;
        assert_eq!(parse("f", &file, &examples()).expect("valid").model.pools[0].quorum, quorum);
    }
    check(
        "ttl = 0",
        "ttl = 0\nquorum = \"0%\"",
        &[
            "f:16:10: error: [pool.\"app.com\"]: `0%` is not a quorum (give \"any\", \"half\", or a part of the fronts, such as \"20%\")",
            "f:16:10: warning: [pool.\"app.com\"]: `quorum` has no use without [fleet] (add [fleet], or take it out)",
        ],
    );
    let two = changed("ttl = 0", "ttl = 0\nquorum = \"any\"") + FLEET;
    let two = format!("{two}[pool.\"two.app.com\"]\nsites = [\"boston\"]\n");
    let error = parse("f", &two, &examples()).expect_err("refused").plain();
    assert!(error.contains("Site boston is up by `quorum` half here and by any in another pool"), "{error}");
}

#[test]
fn faults_are_told() {
    assert_eq!(
        faults("[fleet]\n"),
        [
            "f:31:1: error: [fleet] has no `kind` (add `kind = \"etcd\"`)",
            "f:31:1: error: [fleet] has no `front` (add `front = \"ns1\"`)"
        ]
    );
    let odd = "[fleet]\nkind = \"etcd\"\nfront = \"a/b\"\nendpoints = [\"192.0.2.1\", \"http://192.0.2.1\", \"https://192.0.2.2\", \
               \"http://name\"]\nca = \"nowhere.pem\"\nlease = \"1s\"\nprefix = \"x\"\nuser = \"u\"\nprobers = 3\n";
    let said = faults(odd);
    for (line, words) in [
        ("f:33:9", "`a/b` cannot be a front's name"),
        ("f:34:14", "`192.0.2.1` is not an endpoint"),
        ("f:34:47", "http and https side by side"),
        ("f:34:68", "`name` is neither an address nor an address and a port"),
        ("f:35:6", "`ca` has no use with http endpoints"),
        ("f:36:9", "`lease` is 1s, out of range"),
        ("f:37:10", "`x` cannot be the beginning of keys"),
        ("f:38:8", "`user` and `password_file` go together"),
        ("f:39:11", "`probers` without `probes = \"shared\"`"),
    ] {
        assert!(said.iter().any(|said| said.starts_with(line) && said.contains(words)), "{line} {words}: {said:#?}");
    }
    assert_eq!(said.len(), 9, "{said:#?}");
}
