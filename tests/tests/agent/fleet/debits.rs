//! Debits: answers of all fronts count for a Site's load.

use std::time::{Duration, Instant};

use tests::{client::Client, config::Config, fleet::FleetScene, process::eventually, turn::alone};

use super::{PATIENCE, fronts};

/// Of the Sites of the burst.
const CAPACITIES: [(&str, u32); 3] = [("geneva", 500), ("boston", 1_000_000), ("chicago", 1_000_000)];

/// Answers of 5,000 queries over some seconds, asked of so many fronts in turn, that go to a Site with room for 500.
fn burst(count: usize, fleet: &str) -> Option<usize> {
    let loads = CAPACITIES
        .map(|(key, _)| format!("[site.{key}.load]\nkind = \"push\"\nstale_after = \"1h\"\nload_per_answer = 1.0\n"));
    let mut config = Config {
        policy: "least-load".into(),
        pool: "max_step = 0.0".into(),
        groups: vec![],
        fleet: fleet.into(),
        more: loads.concat(),
        ..Config::default()
    };
    config.sites.iter_mut().for_each(|site| site.weight = 1);
    let scene = FleetScene::start("F-LOAD", count, 1, &config)?;
    if !fleet.is_empty() {
        assert!(eventually(PATIENCE, || (0..count).all(|front| fronts(&scene, front).len() == count)));
    }
    let clients: Vec<Client> = (0..count).map(|front| scene.client(front, false)).collect();
    for agent in &scene.agents {
        for (key, capacity) in CAPACITIES {
            let report = format!("{{\"site\": \"{key}\", \"current\": 0, \"capacity\": {capacity}}}");
            agent.post("/v1/load", &report).expect("taken");
        }
    }
    let geneva = scene.lab.site("geneva").config.addresses.clone();
    let (began, mut given) = (Instant::now(), 0);
    for queries in 1..=500_u32 {
        for _ in 0..10 {
            let client = &clients[queries as usize % count];
            let address = client.lookup("app.com", false).unwrap_or_else(|e| panic!("{e}"));
            given += usize::from(geneva.contains(&address));
        }
        let due = began + Duration::from_millis(10) * queries;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Some(given)
}

/// F-LOAD: a Site that two fronts hand clients to is handed as many as one alone would hand it, not twice as many.
#[test]
fn f_load_a_burst_over_two_fronts_is_debited() {
    let _alone = alone();
    let fleet = "[fleet]\nkind = \"etcd\"\nfront = \"{front}\"\nendpoints = {endpoints}\n";
    let Some(one) = burst(1, fleet) else { return };
    let two = burst(2, fleet).expect("as before");
    let apart = burst(2, "").expect("as before");
    eprintln!(
        "of 5,000, to a Site with room for 500: {one} by one front, {two} by two, {apart} by two that know nothing of each other"
    );
    // A round or two late, on a busy machine.
    assert!(one < 800 && two < 800, "{one} by one, {two} by two");
    assert!(apart > two && apart > 900, "{apart} by two that know nothing of each other");
}
