//! Caching resolvers between the client and the front: unbound, BIND's named, the recursor of `PowerDNS`.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use tests::{
    config::Config,
    lab::LabSpec,
    process::eventually,
    resolver::{ResolverKind, ask, start},
    scene::Scene,
};

/// How long a resolver may keep what has a TTL of 0. `PowerDNS` keeps it for 1 s.
const KEPT_MAX: Duration = Duration::from_secs(2);

fn scene(what: &str) -> Option<Scene> {
    let spec = LabSpec { resolver: true, ..LabSpec::default() };
    // The resolver's wire is a second interface.
    let config = Config { interfaces: vec!["eth0".into(), "eth2".into()], ..Config::default() };
    Scene::in_lab(what, &spec, config)
}

/// S4-2A, S4-2B, S4-2C, S4-3A-325 through a resolver that honours TTL 0: every lookup is a decision of the front, made
/// in the kernel; Site Names pin and move.
#[test]
fn a_resolver_that_honours_ttl_0_passes_every_decision_on() {
    let Some(scene) = scene("S4-2A to S4-2C through unbound") else { return };
    let _unbound = start(&scene, ResolverKind::Unbound, "");
    let before = scene.kernel_answers();
    let mut seen = HashSet::new();
    for _ in 0..24 {
        let addresses = ask(&scene, "app.com", "A");
        assert_eq!(addresses.len(), 1);
        seen.extend(addresses);
    }
    assert_eq!(seen.len(), 3, "each Site is met: {seen:?}");
    assert!(scene.kernel_answers() - before >= 24, "every lookup reached the kernel");
    for (rtype, v6) in [("A", false), ("AAAA", true)] {
        for _ in 0..20 {
            assert_eq!(ask(&scene, "boston.app.com", rtype), [scene.address("boston", v6)]);
        }
    }
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    assert_eq!(ask(&scene, "boston.app.com", "A"), [scene.address("chicago", false)]);
    assert_eq!(ask(&scene, "boston.app.com", "AAAA"), [scene.address("chicago", true)]);
    scene.lab.site("boston").restart().expect("restart");
    scene.wait_for(&[("boston", true)]);
    assert_eq!(ask(&scene, "boston.app.com", "A"), [scene.address("boston", false)]);
}

/// S4-C15: a resolver that keeps answers longer than their TTL of 0 does not break a session: the Site Name goes on
/// giving the Site that the client was sent to, and moves once what the resolver kept has run out.
#[test]
fn a_resolver_that_ignores_ttl_0_breaks_no_session() {
    let Some(scene) = scene("S4-C15: a resolver that ignores TTL 0") else { return };
    let _unbound = start(&scene, ResolverKind::Unbound, "cache-min-ttl: 3");
    let selected = ask(&scene, "app.com", "A");
    let key = scene.site_at(selected[0]).to_owned();
    for _ in 0..10 {
        assert_eq!(ask(&scene, "app.com", "A"), selected, "kept by the resolver");
        assert_eq!(ask(&scene, &scene.site(&key).name, "A"), selected, "the Site Name pins");
    }
    assert_eq!(ask(&scene, "boston.app.com", "A"), [scene.address("boston", false)]);
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let moved =
        eventually(Duration::from_secs(8), || ask(&scene, "boston.app.com", "A") == [scene.address("chicago", false)]);
    assert!(moved, "the name moves when the kept answer has run out");
}

/// S4-2A to S4-2C, S4-4C, S4-C15, S4-3A-330 through each resolver as it is installed: Pool, Group and Site Names resolve; a
/// dead Site is gone from its answers within 2 s of the front's knowing, and back as soon; and nothing that it was denied
/// meanwhile, nor a time in which no Site lives, keeps it from addresses.
fn sees_what_the_front_decides(kind: ResolverKind) {
    let Some(scene) = scene(kind.name()) else { return };
    let _resolver = start(&scene, kind, "");
    // What is denied, first: other types of the names, and names that do not exist beside and below them.
    for (name, rtype) in [("app.com", "HTTPS"), ("boston.app.com", "MX"), ("x.boston.app.com", "A"), ("x.app.com", "A")]
    {
        assert!(ask(&scene, name, rtype).is_empty(), "{name} {rtype}");
    }
    let meets = |name: &str, keys: &[&str]| {
        let mut seen = HashSet::new();
        let met = eventually(Duration::from_secs(20), || {
            seen.extend(ask(&scene, name, "A").into_iter().map(|address| scene.site_at(address).to_owned()));
            seen.len() == keys.len()
        });
        assert!(met && keys.iter().all(|key| seen.contains(*key)), "{name}: {seen:?}");
    };
    meets("app.com", &["geneva", "boston", "chicago"]);
    meets("americas.app.com", &["boston", "chicago"]);
    meets("europe.app.com", &["geneva"]);
    let follows = |name: &str, key: &str| {
        for (rtype, v6) in [("A", false), ("AAAA", true)] {
            let since = Instant::now();
            let followed = eventually(KEPT_MAX, || ask(&scene, name, rtype) == [scene.address(key, v6)]);
            assert!(followed, "{name} {rtype}: not {key} after {:?}", since.elapsed());
        }
    };
    follows("boston.app.com", "boston");
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    follows("boston.app.com", "chicago");
    thread::sleep(KEPT_MAX);
    for _ in 0..20 {
        let addresses = ask(&scene, "app.com", "A");
        assert!(!addresses.is_empty() && !addresses.contains(&scene.address("boston", false)), "{addresses:?}");
    }
    for key in ["geneva", "chicago"] {
        scene.lab.site(key).kill();
    }
    scene.wait_for(&[("geneva", false), ("chicago", false)]);
    for name in ["app.com", "americas.app.com", "boston.app.com", "geneva.app.com"] {
        for _ in 0..5 {
            assert!(!ask(&scene, name, "A").is_empty(), "{name}: all down is no reason to deny");
        }
    }
    for key in ["geneva", "boston", "chicago"] {
        scene.lab.site(key).restart().expect("restart");
    }
    scene.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)]);
    for key in ["geneva", "boston", "chicago"] {
        follows(&scene.site(key).name, key);
    }
}

/// See [`sees_what_the_front_decides`] (S4-C15).
#[test]
fn unbound_sees_what_the_front_decides() {
    sees_what_the_front_decides(ResolverKind::Unbound);
}

/// See [`sees_what_the_front_decides`] (S4-C15).
#[test]
fn named_sees_what_the_front_decides() {
    sees_what_the_front_decides(ResolverKind::Named);
}

/// See [`sees_what_the_front_decides`] (S4-C15).
#[test]
fn the_powerdns_recursor_sees_what_the_front_decides() {
    sees_what_the_front_decides(ResolverKind::Recursor);
}
