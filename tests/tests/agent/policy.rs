//! Which Site is chosen: round robin, random, sticky; groups; Site Names.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use domain::base::Rtype;
use tests::{
    client::{Client, Pinned},
    config::Config,
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
    shares::{CHI_SQUARE_LIMIT_3, check_cycles, check_windows, chi_square},
};

fn with_policy(policy: &str) -> Config {
    Config { policy: policy.into(), ..Config::default() }
}

fn question(name: &str, rtype: Rtype) -> ClientQuestion {
    ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL)).expect("a legal name")
}

/// The addresses of a family with their Sites' weights.
fn weights(scene: &Scene, keys: &[&str], v6: bool) -> Vec<(IpAddr, u32)> {
    keys.iter().map(|key| (scene.address(key, v6), scene.site(key).weight)).collect()
}

const ALL: [&str; 3] = ["geneva", "boston", "chicago"];

/// S4-3A-320, S4-A-LBNS: weighted round robin gives each Site its weight in every cycle, give or take one, whatever else
/// is asked in between: the other family, HTTPS as browsers do, another name. Cursors are per name, family and CPU, so
/// the client stays on one CPU.
#[test]
fn weighted_round_robin_holds_its_cycle_under_any_alternation() {
    let config = with_policy("weighted-round-robin");
    let Some(scene) = Scene::start("S4-3A-320: weighted round robin", config) else { return };
    let _pinned = Pinned::new().expect("pin");
    for over_v6 in [false, true] {
        let client = scene.client(over_v6);
        let app = |rtype| (question("app.com", rtype), ALL.as_slice());
        let americas = |rtype| (question("americas.app.com", rtype), &ALL[1..]);
        for (what, asked) in [
            ("A alone", vec![app(Rtype::A)]),
            ("AAAA alone", vec![app(Rtype::AAAA)]),
            ("A, AAAA", vec![app(Rtype::A), app(Rtype::AAAA)]),
            ("A, AAAA, HTTPS", vec![app(Rtype::A), app(Rtype::AAAA), app(Rtype::HTTPS)]),
            ("two names", vec![app(Rtype::A), americas(Rtype::A)]),
            (
                "two names, both families",
                vec![app(Rtype::A), app(Rtype::AAAA), americas(Rtype::A), americas(Rtype::AAAA)],
            ),
        ] {
            let mut answers: Vec<Vec<IpAddr>> = vec![vec![]; asked.len()];
            for _ in 0..400 {
                for ((question, _), answers) in asked.iter().zip(&mut answers) {
                    let answer = client.ask(question).expect("answer");
                    if question.rtype == Rtype::HTTPS {
                        answer.negative().expect("NODATA");
                    } else {
                        answers.push(answer.address().expect("an address"));
                    }
                }
            }
            for ((question, keys), answers) in asked.iter().zip(&answers) {
                if question.rtype != Rtype::HTTPS {
                    let weights = weights(&scene, keys, question.rtype == Rtype::AAAA);
                    check_cycles(answers, &weights).unwrap_or_else(|e| panic!("{what}: {}: {e}", question.rtype));
                }
            }
        }
    }
}

/// S4-3A-320, S4-A-LBNS: a Site that is down has no share, and the others' cycle goes on without it.
#[test]
fn a_dead_site_has_no_share() {
    let config = with_policy("weighted-round-robin");
    let Some(scene) = Scene::start("S4-3A-320: never a down Site", config) else { return };
    let _pinned = Pinned::new().expect("pin");
    scene.lab.site("geneva").kill();
    scene.wait_for(&[("geneva", false), ("boston", true), ("chicago", true)]);
    let client = scene.client(false);
    let question = question("app.com", Rtype::A);
    let answers: Vec<_> = (0..600).map(|_| client.address(&question).expect("answer")).collect();
    check_windows(&answers, &weights(&scene, &ALL[1..], false)).expect("two to one");
    // Thirds do not fit into the table's 32 slots: off by no more than one slot.
    let boston = answers.iter().filter(|answer| **answer == scene.address("boston", false)).count();
    assert!((600 * 20 / 32..=600 * 22 / 32).contains(&boston), "{boston} of 600, two thirds");
}

/// S4-3A-320, S4-A-LBNS: weighted random follows the weights (chi-square), per family, also under strict A, AAAA
/// alternation.
#[test]
fn weighted_random_follows_the_weights() {
    let Some(scene) = Scene::start("S4-3A-320: weighted random", with_policy("weighted-random")) else { return };
    let client = scene.client(false);
    let questions = [question("app.com", Rtype::A), question("app.com", Rtype::AAAA)];
    let mut counts = [HashMap::new(), HashMap::new()];
    let mut repeats = 0;
    let mut last = None;
    for _ in 0..8000 {
        for (question, counts) in questions.iter().zip(&mut counts) {
            let address = client.address(question).expect("answer");
            *counts.entry(address).or_insert(0_u64) += 1;
            if address.is_ipv4() {
                repeats += u32::from(last.replace(address) == Some(address));
            }
        }
    }
    for (counts, v6) in counts.iter().zip([false, true]) {
        let weights = weights(&scene, &ALL, v6);
        let off = chi_square(counts, &weights);
        assert!(counts.len() == 3 && off < CHI_SQUARE_LIMIT_3, "chi-square {off}: {counts:?}");
    }
    // 3/8 of random pairs repeat (1/16 + 1/4 + 1/16); a round robin's cycle b g b c never does.
    assert!((2700..3300).contains(&repeats), "{repeats} of 8000 repeat the answer before");
}

/// A source address in the client's network number `subnet`: `198.18.0.0/15` by /24, `2001:db8:c::/48` by /56.
fn source(subnet: u8, host: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, u16::from(subnet) << 8 | 0x42, 0, 0, 0, u16::from(host)).into()
    } else {
        Ipv4Addr::new(198, 18, subnet, host).into()
    }
}

/// S4-3A-320, S4-A-LBNS: sticky: a client network stays with its Site, whatever host or family asks; when a Site goes,
/// only its own networks move, and they come back with it.
#[test]
fn sticky_stays_and_only_the_dead_sites_clients_move() {
    let Some(scene) = Scene::start("S4-3A-320: sticky", with_policy("sticky")) else { return };
    let ask = |subnet: u8, host: u8, over_v6: bool, v6: bool| -> String {
        let client: Client = scene.client_from(over_v6, Some(source(subnet, host, over_v6)));
        scene.site_at(client.lookup("app.com", v6).expect("answer")).to_owned()
    };
    for over_v6 in [false, true] {
        let all = || (0..128).map(|subnet| ask(subnet, 1, over_v6, false)).collect::<Vec<_>>();
        let at_first = all();
        for (key, least) in [("geneva", 10), ("boston", 30), ("chicago", 10)] {
            let share = at_first.iter().filter(|site| *site == key).count();
            assert!(share >= least, "{key} has {share} of 128 networks");
        }
        for subnet in 0..128 {
            for (host, v6) in [(77, false), (200, true), (1, true)] {
                assert_eq!(ask(subnet, host, over_v6, v6), at_first[usize::from(subnet)], "network {subnet}");
            }
        }
        scene.lab.site("geneva").kill();
        scene.wait_for(&[("geneva", false)]);
        for (before, now) in at_first.iter().zip(all()) {
            assert!(now != "geneva" && (before == "geneva" || *before == now), "{before} became {now}");
        }
        scene.lab.site("geneva").restart().expect("restart");
        scene.wait_for(&[("geneva", true)]);
        assert_eq!(all(), at_first);
    }
}

/// S4-2B, S4-3B-355, S4-3B-360, S4-3B-365, S4-3B-370: 1000 lookups of a Site Name, one address, whatever else the client asks.
#[test]
fn a_site_name_pins() {
    let Some(scene) = Scene::start("S4-2B: 1000 lookups, one address", Config::default()) else { return };
    for v6 in [false, true] {
        let client = scene.client(v6);
        let rtype = if v6 { Rtype::AAAA } else { Rtype::A };
        let (site, pool) = (question("boston.app.com", rtype), question("app.com", rtype));
        for round in 0..1000 {
            assert_eq!(client.address(&site).expect("answer"), scene.address("boston", v6));
            if round % 3 == 0 {
                client.address(&pool).expect("answer");
            }
        }
    }
}

/// S4-4C, S4-A-GROUP, S4-C9, S4-C10, S4-C24, S4-C25: a Group Name gives its own group's Sites and no other, all of them;
/// the Site Name of the one given then pins.
#[test]
fn a_group_name_gives_only_its_groups_sites_and_a_site_name_then_pins() {
    let Some(scene) = Scene::start("S4-4C: groups", Config::default()) else { return };
    for v6 in [false, true] {
        let client = scene.client(v6);
        for (group, sites) in &scene.config.groups {
            let mut seen = HashMap::new();
            for _ in 0..200 {
                let address = client.lookup(group, v6).expect("answer");
                *seen.entry(scene.site_at(address)).or_insert(0) += 1;
            }
            let mut keys: Vec<_> = seen.keys().copied().collect();
            let mut members: Vec<_> = sites.iter().map(String::as_str).collect();
            keys.sort_unstable();
            members.sort_unstable();
            assert_eq!(keys, members, "{group}: {seen:?}");
            for key in keys {
                for _ in 0..20 {
                    let pinned = client.lookup(&scene.site(key).name, v6).expect("answer");
                    assert_eq!(pinned, scene.address(key, v6));
                }
            }
        }
    }
}

/// S4-A-OVERLAP: Chicago in both groups, as in Appendix A's second example: each Group Name gives its own list.
#[test]
fn a_site_may_be_in_two_groups() {
    let mut config = Config::default();
    config.groups[0].1.push("chicago".into());
    let Some(scene) = Scene::start("S4-A-OVERLAP: a Site in two groups", config) else { return };
    let client = scene.client(false);
    for (group, members) in [("europe.app.com", ["chicago", "geneva"]), ("americas.app.com", ["boston", "chicago"])] {
        let answers = (0..100).map(|_| client.lookup(group, false).expect("answer"));
        let mut seen: Vec<_> = answers.map(|address| scene.site_at(address)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, members, "{group}");
    }
}
