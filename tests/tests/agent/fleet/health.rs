//! Health from outside in a fleet: stated at one front, known at all.

use std::time::Instant;

use tests::{config::Config, process::eventually};

use super::{IN_FORCE, PATIENCE, alarms, clients, config, page, start, until};

/// F-FILE: a statement at any front is in the answers of all within a second, and ends at all; a front that was away for it learns
/// it, and so do the others what was stated while etcd was away.
#[test]
fn f_file_health_stated_at_one_front_is_known_at_all() {
    let site_keys = "probe = { kind = \"external\", when_expired = \"up\" }".to_owned();
    let config = Config { probe: None, site_keys, ..config() };
    let Some(mut scene) = start("F-FILE: health stated in a fleet", &config) else { return };
    let clients = clients(&scene);
    let state = |scene: &tests::fleet::FleetScene, front: usize, site: &str, state: &str, for_s: u64| {
        let body = format!(r#"{{"site":"{site}","state":"{state}","for_s":{for_s},"by":"cron","reason":"disk"}}"#);
        scene.agents[front].post("/v1/health", &body).unwrap_or_else(|e| panic!("{body}: {e}"));
    };
    until(&scene, &clients, "geneva boston chicago");
    state(&scene, 1, "boston", "down", 300);
    assert!(until(&scene, &clients, "geneva chicago").iter().all(|took| *took < IN_FORCE));
    let text = scene.agents[2].zerottl(&["explain", "boston.app.com", "--admin", "127.0.0.1:8053"]).expect("explain");
    assert!(text.contains("stated to be down by cron (127.0.0.1) at ns2"), "{text}");
    state(&scene, 2, "boston", "up", 300);
    assert!(until(&scene, &clients, "geneva boston chicago").iter().all(|took| *took < IN_FORCE));
    let stated = Instant::now();
    state(&scene, 0, "boston", "down", 2);
    until(&scene, &clients, "geneva chicago");
    until(&scene, &clients, "geneva boston chicago");
    assert!(stated.elapsed().as_secs_f64() > 1.9, "{:?}", stated.elapsed());

    scene.agents[1].kill();
    state(&scene, 0, "chicago", "down", 300);
    scene.agents[1].restart(&[]).expect("restarted");
    until(&scene, &clients, "geneva boston");

    for node in 0..3 {
        scene.etcd.kill(node);
    }
    assert!(eventually(PATIENCE, || alarms(&scene, 0).contains("fleet-away")), "{}", page(&scene, 0));
    state(&scene, 0, "chicago", "up", 300);
    until(&scene, &clients[..1], "geneva boston chicago");
    until(&scene, &clients[1..], "geneva boston");
    for node in 0..3 {
        scene.etcd.start_alone(node).expect("started");
    }
    until(&scene, &clients, "geneva boston chicago");
}
