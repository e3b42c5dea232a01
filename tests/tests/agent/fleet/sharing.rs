//! Shared probing: each address has as many fronts that probe it as are wanted, and another where one leaves.

use std::{collections::BTreeMap, thread, time::Duration};

use tests::{
    config::Config,
    fleet::{BY_ETCD, FleetScene},
    process::eventually,
};

use super::{PATIENCE, answered, clients, page, start, until};

/// Long against the tests' interval.
const WHILE: Duration = Duration::from_secs(2);

/// By address: the fronts that probe it now.
fn probers(scene: &FleetScene, fronts: &[usize]) -> BTreeMap<String, Vec<usize>> {
    let attempts = |front: usize| -> BTreeMap<String, u64> {
        let status = scene.agents[front].status().expect("status").0;
        let sites = status["sites"].as_array().expect("sites").clone();
        let addresses = sites.iter().flat_map(|site| site["addresses"].as_array().expect("addresses").clone());
        let of = |address: serde_json::Value| {
            (address["answer"].as_str().expect("text").to_owned(), address["attempts"].as_u64().expect("a number"))
        };
        addresses.map(of).collect()
    };
    let before: Vec<_> = fronts.iter().map(|front| attempts(*front)).collect();
    thread::sleep(WHILE);
    let mut probers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (front, before) in fronts.iter().zip(before) {
        for (address, count) in attempts(*front) {
            let by = probers.entry(address.clone()).or_default();
            // One that was under way counts for nobody.
            if count > before[&address] + 1 {
                by.push(*front);
            }
        }
    }
    probers
}

/// F-PROBE: of three fronts two probe each address; when one leaves the others have all; verdicts go on, and a Site that dies
/// leaves every front's answers; and all is well again when it comes back.
#[test]
fn f_probe_two_of_three_probe_each_address() {
    let fleet = format!("{BY_ETCD}probes = \"shared\"\nprobers = 2\n");
    let Some(mut scene) = start("F-PROBE", &Config { fleet, ..Config::default() }) else { return };
    let clients = clients(&scene);
    let all = "geneva boston chicago";
    until(&scene, &clients, all);
    let is_two = |scene: &FleetScene, fronts: &[usize]| probers(scene, fronts).values().all(|by| by.len() == 2);
    assert!(
        eventually(PATIENCE, || is_two(&scene, &[0, 1, 2])),
        "{:?} {}",
        probers(&scene, &[0, 1, 2]),
        page(&scene, 0)
    );
    scene.lab.plug_site("boston", false).expect("unplugged");
    until(&scene, &clients, "geneva chicago");
    scene.lab.plug_site("boston", true).expect("plugged");
    until(&scene, &clients, all);
    scene.agents[1].kill();
    let is_handed_over = eventually(PATIENCE, || {
        for client in [&clients[0], &clients[2]] {
            assert_eq!(answered(&scene, client), all);
        }
        is_two(&scene, &[0, 2])
    });
    assert!(is_handed_over, "{:?}", probers(&scene, &[0, 2]));
    scene.agents[1].restart(&[]).expect("restarted");
    assert!(eventually(PATIENCE, || is_two(&scene, &[0, 1, 2])), "{:?}", probers(&scene, &[0, 1, 2]));
    for client in &clients {
        assert_eq!(answered(&scene, client), all);
    }
}
