//! Loads that real Sites report, and what becomes of them in the kernel's answers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tests::{client::Client, config::Config, process::eventually, scene::Scene, site::AgentCheck, turn::alone};

/// A report comes, is assessed and planned within this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// One weight for all, least-load at once, and `more` for the end of the file.
fn config(pool: &str, more: &str) -> Config {
    let mut config = Config {
        policy: "least-load".into(),
        pool: format!("max_step = 0.0\n{pool}"),
        groups: vec![],
        more: more.into(),
        ..Config::default()
    };
    config.sites.iter_mut().for_each(|site| site.weight = 1);
    config
}

/// How many of so many answers were each Site's.
fn ask(scene: &Scene, client: &Client, queries: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..queries {
        let address = client.lookup("app.com", false).unwrap_or_else(|e| panic!("{e}"));
        *counts.entry(scene.site_at(address).to_owned()).or_default() += 1;
    }
    counts
}

/// Waits until status says these shares of A answers, in per cent, and sees that the kernel's answers are so.
#[track_caller]
fn comes_to(scene: &Scene, client: &Client, what: &str, expect: &[(&str, f64)]) {
    let as_told = |share: f64, due: f64| (share * 100.0 - due).abs() < 1.5;
    let is_so = || {
        let shares: BTreeMap<String, f64> =
            scene.agent.status().map(|report| report.shares("app.com").into_iter().collect()).unwrap_or_default();
        shares.len() == expect.iter().filter(|(_, due)| *due > 0.0).count()
            && expect.iter().all(|(key, due)| as_told(shares.get(*key).copied().unwrap_or(0.0), *due))
    };
    assert!(
        eventually(PATIENCE, is_so),
        "{what}: {:?}\n{}",
        scene.agent.status().map(|report| report.shares("app.com")),
        scene.agent.log()
    );
    let before = scene.kernel_answers();
    let counts = ask(scene, client, 400);
    assert!(scene.kernel_answers() >= before + 400, "{what}: answered in the kernel");
    for (key, due) in expect {
        let got = f64::from(u32::try_from(counts.get(*key).copied().unwrap_or(0)).expect("400 at most")) / 4.0;
        // Cursors are per CPU, and 400 answers are not whole rounds of a table.
        let is_none = !counts.contains_key(*key);
        assert!((got - due).abs() < 4.0 && (*due > 0.0 || is_none), "{what}: {counts:?}, due {expect:?}");
    }
}

fn explained(scene: &Scene) -> String {
    scene.agent.get("/v1/explain?name=app.com").unwrap_or_else(|e| panic!("{e}"))
}

/// S4-3A-320, S4-A-LBNS: shares in kernel answers follow what Sites say by HTTP, by agent check and by a push; a full Site
/// gets its trickle, a silent one is drained, and `explain`, `status` and `/metrics` say why.
#[test]
fn s4_3a_320_s4_a_lbns_shares_follow_reports() {
    let _alone = alone();
    let loads = "\
[site.geneva.load]\nkind = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nstale_after = \"1s\"\nwhen_stale = \"drain\"\nload_per_answer = 0.0\n\
[site.boston.load]\nkind = \"agent-check\"\nport = 9999\ninterval = \"200ms\"\ntimeout = \"150ms\"\nstale_after = \"1h\"\n\
[site.chicago.load]\nkind = \"push\"\nstale_after = \"1h\"\nload_per_answer = 0.0\n";
    let Some(scene) = Scene::start("S4-3A-320: load figures", config("trickle = 0.3", loads)) else { return };
    let client = scene.client(false);
    let geneva = scene.lab.site("geneva");
    let check = AgentCheck::start(&scene.lab.site("boston").machine, 9999, "up 100%\n").expect("a listener");
    let push = |current: u32| {
        let report = format!("{{\"site\": \"chicago\", \"current\": {current}, \"capacity\": 100}}");
        scene.agent.post("/v1/load", &report).expect("taken");
    };
    geneva.report(Some(r#"{"current": 100, "target": 1000, "capacity": 1000, "sessions": 77}"#)).expect("written");
    push(10);
    comes_to(&scene, &client, "all free", &[("geneva", 33.3), ("boston", 33.3), ("chicago", 33.3)]);
    // Headroom 0.5; boston says nothing of its load, so it has the mean of the others, 0.75.
    geneva.report(Some(r#"{"current": 750, "capacity": 1000, "sessions": 77}"#)).expect("written");
    comes_to(&scene, &client, "geneva is half full", &[("geneva", 22.2), ("boston", 33.3), ("chicago", 44.4)]);
    check.say("50%\n");
    comes_to(&scene, &client, "boston wants half", &[("geneva", 26.7), ("boston", 20.0), ("chicago", 53.3)]);
    check.say("0%\n");
    comes_to(&scene, &client, "boston wants nobody", &[("geneva", 33.3), ("boston", 0.0), ("chicago", 66.7)]);
    assert!(explained(&scene).contains("it wants no new clients"), "{}", explained(&scene));
    push(100);
    // Of its half, the trickle.
    comes_to(&scene, &client, "chicago is full", &[("geneva", 85.0), ("boston", 0.0), ("chicago", 15.0)]);
    assert!(explained(&scene).contains("at capacity: load 100 of 100"), "{}", explained(&scene));
    let metrics = scene.agent.get("/metrics").expect("metrics");
    for line in ["zerottl_site_load{site=\"geneva\"} 750", "zerottl_site_sessions{site=\"geneva\"} 77"] {
        assert!(metrics.contains(line), "{line} is in {metrics}");
    }
    check.say("ready 100%\n");
    geneva.report(None).expect("removed");
    comes_to(&scene, &client, "geneva is silent", &[("geneva", 0.0), ("boston", 85.0), ("chicago", 15.0)]);
    assert!(explained(&scene).contains("its load figures are stale"), "{}", explained(&scene));
}

/// Of the Sites of the burst.
const CAPACITIES: [(&str, u32); 3] = [("geneva", 500), ("boston", 1_000_000), ("chicago", 1_000_000)];

/// Answers of 5,000 queries over some seconds that go to a Site with room for 500, by what one answer is said to add.
fn burst(per_answer: &str) -> Option<usize> {
    let loads = ["geneva", "boston", "chicago"].map(|key| {
        format!("[site.{key}.load]\nkind = \"push\"\nstale_after = \"1h\"\nload_per_answer = {per_answer}\n")
    });
    let scene = Scene::start("S4-3A-320: a burst is debited", config("", &loads.concat()))?;
    let client = scene.client(false);
    let report = |key: &str, capacity: u32| {
        let report = format!("{{\"site\": \"{key}\", \"current\": 0, \"capacity\": {capacity}}}");
        scene.agent.post("/v1/load", &report).expect("taken");
    };
    for (key, capacity) in CAPACITIES {
        report(key, capacity);
    }
    comes_to(&scene, &client, "all free", &[("geneva", 33.3), ("boston", 33.3), ("chicago", 33.3)]);
    for (key, capacity) in CAPACITIES {
        report(key, capacity);
    }
    let (began, mut given) = (Instant::now(), 0);
    for queries in 1..=50_u32 {
        given += ask(&scene, &client, 100).get("geneva").copied().unwrap_or(0);
        // A thousand a second: some hundred in a planning round.
        let due = began + Duration::from_millis(100) * queries;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    // The next report ends the debit.
    report("geneva", 500);
    comes_to(&scene, &client, "after the report", &[("geneva", 33.3), ("boston", 33.3), ("chicago", 33.3)]);
    Some(given)
}

/// S4-3A-320: a Site that was handed what it has room for is handed no more before its next report; without debits it is.
#[test]
fn s4_3a_320_a_burst_is_debited() {
    let _alone = alone();
    let Some(given) = burst("1.0") else { return };
    // It was asked 400 times at least for the first check, so there are some left of its room; the rest is two late rounds.
    assert!(given < 800, "{given} of 5,000 with debits");
    let without = burst("0.0").expect("as before");
    assert!(without > 1500, "{without} of 5,000 without debits");
}
