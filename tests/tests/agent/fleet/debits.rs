//! Debits: answers of all fronts count for a Site's load.

use std::time::{Duration, Instant};

use tests::{
    client::Client,
    config::Config,
    fleet::{BY_ETCD, FleetScene},
    process::eventually,
    site::AgentCheck,
    turn::alone,
};

use super::{PATIENCE, fronts, start};

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
    // In a fleet one of them is told.
    let told = if fleet.is_empty() { &scene.agents[..] } else { &scene.agents[..1] };
    for agent in told {
        for (key, capacity) in CAPACITIES {
            let report = format!("{{\"site\": \"{key}\", \"current\": 0, \"capacity\": {capacity}}}");
            agent.post("/v1/load", &report).expect("taken");
        }
    }
    let knows = |front: usize| {
        scene.agents[front]
            .get("/metrics")
            .expect("metrics")
            .contains("zerottl_site_load_capacity{site=\"geneva\"} 500")
    };
    assert!(eventually(PATIENCE, || (0..count).all(knows)));
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

/// F-LOAD: of three fronts one asks a Site for its load, all go by what it says, and when fronts leave it is asked by who is left.
#[test]
fn f_load_reports_are_asked_once() {
    let more = "[site.boston.load]\nkind = \"agent-check\"\nport = 9999\ninterval = \"200ms\"\ntimeout = \"150ms\"\nstale_after = \"1h\"\n";
    let config = Config {
        policy: "least-load".into(),
        groups: vec![],
        more: more.into(),
        fleet: BY_ETCD.into(),
        ..Config::default()
    };
    let Some(mut scene) = start("F-LOAD: asked once", &config) else { return };
    let check = AgentCheck::start(&scene.lab.site("boston").machine, 9999, "up 100%\n").expect("a listener");
    let goes_by = |scene: &FleetScene, front: usize, says: &str| {
        scene.agents[front].get("/v1/status").expect("status").contains(says)
    };
    let rate = || {
        let (begun, before) = (Instant::now(), check.asked());
        std::thread::sleep(Duration::from_secs(2));
        // In times of an interval.
        let intervals = u64::try_from(begun.elapsed().as_millis() / 200).expect("a few");
        (check.asked() - before, intervals)
    };
    let is_once = || {
        let (asked, intervals) = rate();
        asked > 0 && asked <= intervals + intervals / 3
    };
    assert!(eventually(PATIENCE, is_once), "{:?}", rate());
    check.say("drain\n");
    assert!(
        eventually(PATIENCE, || (0..3).all(|front| goes_by(&scene, front, "\"says\":\"drain\""))),
        "{}",
        scene.agents[0].get("/v1/status").expect("status")
    );
    for front in [0, 1] {
        scene.agents[front].kill();
    }
    check.say("ready\n");
    assert!(eventually(PATIENCE, || !goes_by(&scene, 2, "\"says\":\"drain\"")));
    assert!(eventually(PATIENCE, is_once), "{:?}", rate());
}
