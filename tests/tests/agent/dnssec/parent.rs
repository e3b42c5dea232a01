//! As a new user would: a zone is signed, its DS goes to the parent, and whoever trusts the parent alone validates; also while
//! the key is rolled.

use std::time::Instant;

use tests::{
    bind::{BindZone, serve},
    lab::front_v4,
    resolver::{ResolverKind, ResolverSetup, launch},
    validator::Delv,
};

use super::{
    roll::{PATIENCE, Rolling},
    scene::ds,
};

/// The parent's server, and the resolver, on the resolver's machine.
const PARENT: &str = "198.51.100.78";
const RESOLVER: &str = "127.0.0.5";

/// The parent's zone, with the DS records that it was given.
fn text(ds: &[String]) -> String {
    let (front, ds) = (front_v4(0), ds.join("\n"));
    format!(
        "$TTL 5\n@ SOA ns host 1 3600 600 86400 5\n@ NS ns\nns A {PARENT}\napp NS ns1.app\nns1.app A {front}\n{}\n",
        ds.replace(" 3600 ", " 5 ")
    )
}

/// D-KEYS: delv trusts the key of `com` alone, and validates all of app.com from the first DS on, at each step of a roll.
#[test]
fn a_parent_vouches_for_the_zone() {
    let Some(zone) = Rolling::start("a parent's DS", "") else { return };
    let lab = &zone.scene.lab;
    let machine = lab.resolver.as_ref().expect("the lab has a resolver");
    machine.ip(&format!("addr add {PARENT}/32 dev lo")).expect("ip");
    machine.ip(&format!("addr add {RESOLVER}/8 dev lo")).expect("ip");
    let folder = lab.folder("parent").expect("folder");
    let old = ds(&zone.scene, "app.com");
    let com = BindZone::signed(&folder, "com", &text(&old)).expect("signed");
    let served = || serve(machine, &folder, &[PARENT.parse().expect("an address")], &[&com]).expect("named");
    let mut parent = served();
    let stub = format!("\nstub-zone:\n name: \"com\"\n stub-addr: {PARENT}\n");
    let setup = ResolverSetup { listen: RESOLVER, zones: &[], anchors: &[], more: &stub };
    let _unbound = launch(lab, machine, ResolverKind::Unbound, &setup);
    let delv = Delv::new(lab, machine, RESOLVER.parse().expect("an address"), "com", &com.ds);
    let validates = || {
        for (name, rtype) in [("app.com", "A"), ("boston.app.com", "AAAA"), ("mail.app.com", "A"), ("app.com", "HTTPS")]
        {
            let _ = delv.secure(name, rtype);
        }
        delv.negative("nothing.app.com", "A");
    };
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            validates();
            assert!(began.elapsed() < PATIENCE, "not {what}: {}", zone.status());
        }
    };
    validates();
    zone.dnssec(&["roll", "app.com"]);
    let asks_the_parent = || zone.status()["roll"]["waits_for"].as_str().is_some_and(|text| text.contains("parent"));
    until("signed by the new key", &asks_the_parent);
    let new = ds(&zone.scene, "app.com");
    assert_ne!(new, old);
    drop(parent);
    com.sign_again(&text(&new)).expect("signed");
    parent = served();
    validates();
    zone.dnssec(&["ds-seen", "app.com"]);
    until("rolled", &|| zone.step() == 0);
    validates();
    drop(parent);
}
