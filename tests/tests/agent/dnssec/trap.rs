//! The trap: a proof that something is missing must not deny what is live, or what may come back.

use std::time::Instant;

use tests::{process::eventually, validator::Validator};

use super::scene::{KEPT_MAX, NAMES, NEGATIVE_TTL, Signed, TYPES, config, only_with_v6};

/// Missing names, just before a name in canonical order, just behind it and below it.
fn neighbours(name: &str) -> Vec<String> {
    let below = ["\\000", "0", "zz"].map(|label| format!("{label}.{name}"));
    let Some((label, "app.com")) = name.split_once('.').filter(|(_, zone)| *zone == "app.com") else {
        return below.into();
    };
    let (short, last) = label.split_at(label.len() - 1);
    let earlier = char::from(last.as_bytes()[0] - 1);
    let beside = [
        format!("{short}{earlier}~"),
        format!("{short}.x"),
        format!("{label}0"),
        format!("{label}-"),
        format!("{label}~~"),
    ];
    below.into_iter().chain(beside.map(|label| format!("{label}.app.com"))).collect()
}

/// Asks for missing neighbours of a name.
fn ask_for_neighbours(resolver: &Validator, name: &str) {
    for neighbour in neighbours(name) {
        for rtype in ["A", "AAAA", "HTTPS", "TXT"] {
            let answer = resolver.ask(&neighbour, rtype);
            resolver.expect(&answer, answer.is_authentic() && answer.records().is_empty());
        }
    }
}

/// Asks for what a name has not.
fn ask_for_types(resolver: &Validator, name: &str) {
    for rtype in ["SRV", "SVCB", "CNAME", "DS", "TYPE1234", "ANY"] {
        let answer = resolver.ask(name, rtype);
        resolver.expect(&answer, answer.is_authentic() || (name == "app.com" && rtype == "DS"));
    }
}

/// Asks for what is live now: whatever was denied before, it is answered and validates.
fn live_is_answered(signed: &Signed, resolver: &Validator, v6: &[&str], situation: &str) {
    for (name, _) in NAMES {
        for rtype in TYPES {
            if rtype == "AAAA" && !v6.contains(&name) {
                continue;
            }
            let answer = resolver.ask(name, rtype);
            let right = answer.is_authentic() && answer.has(rtype);
            assert!(right, "{situation}: {:?}: {name} {rtype}\n{}", resolver.kind, answer.text());
            if rtype == "AAAA" {
                resolver.expect(&answer, signed.is_of(&answer, rtype, &["boston"]));
            }
        }
    }
}

/// D-TRAP: after questions for missing neighbours of each name and for types that it has not, every live record is
/// answered: by unbound, named and the recursor, all of which answer from the proofs that they keep.
#[test]
fn a_missing_neighbour_denies_no_live_name() {
    let config = only_with_v6(config(), "boston");
    let Some(signed) = Signed::start("D-TRAP: missing neighbours", config) else { return };
    let v6 = ["app.com", "americas.app.com", "boston.app.com"];
    for resolver in signed.resolvers() {
        for (name, _) in NAMES {
            // The types first: a resolver that has the right proof already may not look at another.
            ask_for_types(&resolver, name);
            live_is_answered(&signed, &resolver, &v6, &format!("after types that {name} has not"));
            ask_for_neighbours(&resolver, name);
            live_is_answered(&signed, &resolver, &v6, &format!("after missing neighbours of {name}"));
        }
        // And after NODATA of a family.
        for name in ["europe.app.com", "geneva.app.com", "chicago.app.com"] {
            resolver.no_data(name, "AAAA");
            live_is_answered(&signed, &resolver, &v6, &format!("after NODATA of {name}"));
        }
    }
}

/// D-TRAP: what was missing may come back. While Boston is dead its name leads to Chicago, which has no IPv6; what was asked
/// meanwhile of its neighbours, and of other types, denies nothing; its AAAA that was denied is answered when the
/// negative answer has run out.
#[test]
fn what_comes_back_is_answered() {
    let config = only_with_v6(config(), "boston");
    let Some(signed) = Signed::start("D-TRAP: IPv6 comes back", config) else { return };
    let resolvers = signed.resolvers();
    let site = signed.scene.lab.site("boston");
    // Once without a question for the AAAA itself, so that there is nothing to run out.
    for asked in [false, true] {
        site.kill();
        signed.scene.wait_for(&[("boston", false)]);
        std::thread::sleep(KEPT_MAX);
        // Nobody with IPv6 is up, so the pool goes by the rule for all down; a Site Name goes by its Site.
        let v6 = ["app.com", "americas.app.com"];
        for resolver in &resolvers {
            if asked {
                resolver.no_data("boston.app.com", "AAAA");
            }
            ask_for_types(resolver, "boston.app.com");
            live_is_answered(&signed, resolver, &v6, "Boston dead, after types that it has not");
            ask_for_neighbours(resolver, "boston.app.com");
            live_is_answered(&signed, resolver, &v6, "Boston dead, after missing neighbours");
        }
        site.restart().expect("restart");
        signed.scene.wait_for(&[("boston", true)]);
        let since = Instant::now();
        let within = if asked { NEGATIVE_TTL + KEPT_MAX } else { KEPT_MAX };
        for resolver in &resolvers {
            let back = || resolver.ask("boston.app.com", "AAAA").has("AAAA");
            let left = within.saturating_sub(since.elapsed());
            let answered = eventually(left, back);
            assert!(answered, "{:?}: not back after {:?}, asked before: {asked}", resolver.kind, since.elapsed());
            live_is_answered(&signed, resolver, &["app.com", "americas.app.com", "boston.app.com"], "Boston back");
        }
    }
    // A name whose Site has no IPv6 gets it from the next Site when its own dies.
    for resolver in &resolvers {
        resolver.no_data("chicago.app.com", "AAAA");
        ask_for_types(resolver, "chicago.app.com");
        ask_for_neighbours(resolver, "chicago.app.com");
    }
    signed.scene.lab.site("chicago").kill();
    signed.scene.wait_for(&[("chicago", false)]);
    for resolver in &resolvers {
        signed.follows(resolver, "chicago.app.com", "AAAA", &["boston"], NEGATIVE_TTL + KEPT_MAX);
        signed.follows(resolver, "chicago.app.com", "A", &["boston"], KEPT_MAX);
    }
}
