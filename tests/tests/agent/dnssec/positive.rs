//! Addresses and HTTPS records of dynamic names, whichever is chosen, through failover, restart and reload.

use std::collections::HashSet;

use tests::config::Config;

use super::scene::{KEPT_MAX, NAMES, Signed, TYPES, config, ds, honours_ttl_0};

/// D-POS: Pool, Group and Site Names have A, AAAA and HTTPS records that validate, whichever Site was chosen: by three
/// resolvers and by delv.
fn every_choice_validates(policy: &str) {
    let config = Config { policy: policy.into(), ..config() };
    let Some(signed) = Signed::start(&format!("D-POS: {policy}"), config) else { return };
    for resolver in signed.resolvers() {
        for rtype in TYPES {
            let mut seen = HashSet::new();
            for _ in 0..24 {
                let answer = resolver.secure("app.com", rtype);
                resolver.expect(&answer, signed.is_of(&answer, rtype, NAMES[0].1));
                seen.extend(answer.records());
            }
            // A resolver is one client for each of its two addresses, and keeps its Site where clients do.
            let expected = if policy == "sticky" { 1..=2 } else { 3..=3 };
            let met = expected.contains(&seen.len()) || !honours_ttl_0(resolver.kind);
            assert!(met, "{:?} {rtype}: {seen:?}", resolver.kind);
            for (name, keys) in NAMES {
                for _ in 0..4 {
                    let answer = resolver.secure(name, rtype);
                    resolver.expect(&answer, signed.is_of(&answer, rtype, keys));
                }
            }
        }
        // So AD is no habit.
        resolver.refuses("broken.secure.app.com", "A");
    }
    let delv = signed.delv();
    for (name, _) in NAMES {
        for rtype in TYPES {
            for _ in 0..4 {
                let _ = delv.secure(name, rtype);
            }
        }
    }
}

/// See [`every_choice_validates`] (D-POS).
#[test]
fn every_choice_by_round_robin_validates() {
    every_choice_validates("weighted-round-robin");
}

/// See [`every_choice_validates`] (D-POS).
#[test]
fn every_random_choice_validates() {
    every_choice_validates("weighted-random");
}

/// See [`every_choice_validates`] (D-POS).
#[test]
fn every_sticky_choice_validates() {
    every_choice_validates("sticky");
}

/// D-POS: with Ed25519 keys as well, and the DS record says so.
#[test]
fn ed25519_validates() {
    let config = Config { zone: "dnssec = { algorithm = \"ed25519\" }".into(), ..config() };
    let Some(signed) = Signed::start("D-POS: Ed25519", config) else { return };
    assert!(signed.ds.iter().all(|line| line.contains(" IN DS ") && line.contains(" 15 2 ")), "{:?}", signed.ds);
    for resolver in signed.resolvers() {
        for (name, _) in NAMES {
            for rtype in TYPES {
                let _ = resolver.secure(name, rtype);
            }
        }
        resolver.no_name("nothing.app.com", "A");
        resolver.no_data("mail.app.com", "AAAA");
    }
    let _ = signed.delv().secure("app.com", "A");
}

/// D-POS: a Site dies and its name moves, and comes back: every answer meanwhile validates.
#[test]
fn answers_validate_during_failover() {
    let Some(signed) = Signed::start("D-POS: failover", config()) else { return };
    let resolvers = signed.resolvers();
    let expect = |key: &str, pool: &[&str]| {
        for resolver in &resolvers {
            for rtype in TYPES {
                signed.follows(resolver, "boston.app.com", rtype, &[key], KEPT_MAX);
                for _ in 0..8 {
                    signed.follows(resolver, "app.com", rtype, pool, KEPT_MAX);
                }
            }
        }
    };
    expect("boston", &["geneva", "boston", "chicago"]);
    signed.scene.lab.site("boston").kill();
    signed.scene.wait_for(&[("boston", false)]);
    expect("chicago", &["geneva", "chicago"]);
    let delv = signed.delv();
    for rtype in TYPES {
        let _ = delv.secure("boston.app.com", rtype);
    }
    signed.scene.lab.site("chicago").kill();
    signed.scene.lab.site("geneva").kill();
    signed.scene.wait_for(&[("geneva", false), ("chicago", false)]);
    // All down: answered as if all were up, and a Site Name by its own Site.
    expect("boston", &["geneva", "boston", "chicago"]);
    for key in ["geneva", "boston", "chicago"] {
        signed.scene.lab.site(key).restart().expect("restart");
    }
    signed.scene.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)]);
    expect("boston", &["geneva", "boston", "chicago"]);
}

/// D-POS: the key outlives the agent: what resolvers trust validates after kill -9 and a new start, and the DS record is
/// printed without an agent.
#[test]
fn answers_validate_after_kill_and_restart() {
    let Some(mut signed) = Signed::start("D-POS: kill -9 and restart", config()) else { return };
    signed.scene.agent.kill();
    assert_eq!(ds(&signed.scene, "app.com"), signed.ds, "without an agent");
    signed.scene.agent.restart(&[]).expect("started again");
    assert_eq!(ds(&signed.scene, "app.com"), signed.ds);
    all_validates(&signed);
}

/// D-POS: a reload that adds a static record: it is found, after a time in which it was denied, and all else goes on.
#[test]
fn answers_validate_after_a_reload() {
    let Some(mut signed) = Signed::start("D-POS: reload", config()) else { return };
    all_validates(&signed);
    let mut config = signed.scene.config.clone();
    config.records += "fresh A 192.0.2.230\nbostonn TXT \"a new neighbour\"\n";
    signed.reload(config);
    all_validates(&signed);
    for resolver in signed.resolvers() {
        let _ = resolver.secure("fresh.app.com", "A");
        let _ = resolver.secure("bostonn.app.com", "TXT");
        resolver.no_name("fresher.app.com", "A");
    }
}

fn all_validates(signed: &Signed) {
    for resolver in signed.resolvers() {
        for (name, keys) in NAMES {
            for rtype in TYPES {
                let answer = resolver.secure(name, rtype);
                resolver.expect(&answer, signed.is_of(&answer, rtype, keys));
            }
        }
        let _ = resolver.secure("mail.app.com", "A");
        resolver.no_data("mail.app.com", "AAAA");
        resolver.no_data("boston.app.com", "MX");
        resolver.no_name("fresher.app.com", "A");
    }
}
