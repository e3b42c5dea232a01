//! The agent's log while Sites die, speak for themselves and come back.

use std::time::Duration;

use tests::{config::Config, process::eventually, scene::Scene, site::AgentCheck, turn::alone};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the log has a line with all of these.
#[track_caller]
fn says(scene: &Scene, words: &[&str]) {
    let is_there = || scene.agent.log().lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(eventually(PATIENCE, is_there), "no line with {words:?} in\n{}", scene.agent.log());
}

/// Sites that go up and down, by their probes or by their own report, with the reason; plans by what they change; the begin and
/// the end of answers by fail-open; and one alarm that changes until it is over.
#[test]
fn the_log_says_what_happened_and_why() {
    let _alone = alone();
    let load = "[site.boston.load]\nkind = \"agent-check\"\nport = 9999\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
                stale_after = \"1h\"\n[site.geneva.load]\nkind = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
                capacity = 9\nstale_after = \"1h\"\n";
    let config = Config {
        pool: "min_sites = 2".into(),
        site_keys: "hold_down = \"0s\"".into(),
        groups: vec![],
        more: load.into(),
        ..Config::default()
    };
    let Some(scene) = Scene::start("the log", config) else { return };
    let page = scene.agent.zerottl(&["status"]).expect("a status");
    assert!(page.contains(", published ") && !page.contains("not yet published"), "{page}");
    let check = AgentCheck::start(&scene.lab.site("boston").machine, 9999, "up\n").expect("a listener");

    // A line of words, then figures: the words are over.
    scene.lab.site("geneva").report(Some("drain # full of guests")).expect("written");
    says(&scene, &["WARN", "Site geneva gets no new clients: it says drain (full of guests)"]);
    says(&scene, &["plan published: geneva out of app.com"]);
    scene.lab.site("geneva").report(Some("{\"current\": 3}")).expect("written");
    says(&scene, &["INFO", "Site geneva gets new clients again"]);
    says(&scene, &["plan published: geneva into app.com"]);

    check.say("stopped # new disks\n");
    says(&scene, &["WARN", "Site boston is down: it says stopped (new disks)"]);
    for name in ["app.com", "boston.app.com"] {
        let page = scene.agent.zerottl(&["explain", name]).expect("a page");
        assert!(page.contains("it says stopped (new disks)"), "{page}");
    }
    scene.lab.site("chicago").kill();
    says(&scene, &["WARN", "Site chicago is down: 192.0.2.20: "]);
    says(&scene, &["ERROR", "alarm: pool app.com has 1 Site to answer"]);
    scene.lab.site("geneva").kill();
    says(&scene, &["ERROR", "alarm changed: pool app.com has 0 Sites to answer"]);
    says(&scene, &["WARN", "answered by fail-open from now on: app.com"]);
    assert!(!scene.agent.log().contains("alarm over"), "{}", scene.agent.log());

    check.say("up\n");
    says(&scene, &["INFO", "Site boston is up"]);
    says(&scene, &["INFO", "no longer answered by fail-open: app.com"]);
    scene.lab.site("chicago").restart().expect("restarted");
    says(&scene, &["INFO", "Site chicago is up"]);
    says(&scene, &["INFO", "alarm over: pool app.com has its minimum again"]);
}
