//! Words and weights: said at one front, in force at all.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{fleet::FleetScene, process::eventually};
use zerottl_core::{
    model::{EtcdConfig, FleetConfig, FleetEngine},
    overrides::{OverrideRequest, OverrideValue},
    status::AdminState,
};
use zerottl_fleet::{EngineLink, Fleet};

use super::{IN_FORCE, PATIENCE, alarms, clients, config, fronts, page, say, start, until};
use tests::config::Config;

/// F-WORD: a drain that is given to any front is in every front's answers within a second, and `ready` takes it back; who,
/// why and since when is shown at all; `--wait` returns once all have it.
#[test]
fn f_word_a_drain_is_in_force_everywhere() {
    let Some(scene) = start("F-WORD", &config()) else { return };
    let clients = clients(&scene);
    let all = "geneva boston chicago";
    until(&scene, &clients, all);
    for front in 0..3 {
        let told = say(&scene, front, "drain", "boston", ",\"by\":\"alice\",\"reason\":\"disks\"");
        assert!(told["fleet"]["revision"].as_i64().is_some_and(|revision| revision > 0), "{told}");
        let took = until(&scene, &clients, "geneva chicago");
        eprintln!("a drain at front {front}: {took:?}");
        assert!(took.iter().all(|took| *took < IN_FORCE), "{took:?}");
        for agent in &scene.agents {
            let status = agent.status().expect("status").0;
            let site = status["sites"].as_array().expect("sites").iter().find(|site| site["key"] == "boston").cloned();
            let word = &site.expect("boston")["word"];
            assert!(word["by"].as_str().is_some_and(|by| by.starts_with("alice")), "{word}");
            assert_eq!((&word["what"], &word["reason"]), (&"drain".into(), &"disks".into()));
        }
        say(&scene, (front + 1) % 3, "ready", "boston", "");
        until(&scene, &clients, all);
    }
    let said = scene.agents[1].zerottl(&["maint", "geneva", "--wait", "--admin", "127.0.0.1:8053"]).expect("said");
    assert!(said.contains("in force at ns1, ns2, ns3"), "{said}");
    assert!(until(&scene, &clients, "boston chicago").iter().all(|took| *took < IN_FORCE));
    assert!((0..3).all(|front| alarms(&scene, front).is_empty()));
    // One that ends in order leaves at once, and not with its lease.
    let FleetScene { mut agents, etcd, .. } = scene;
    let ended = Instant::now();
    agents[2].end(Signal::TERM).expect("in order");
    eprintln!("a front has left after {:?}", ended.elapsed());
    assert_eq!(etcd.keys(0, "zerottl/config/").expect("keys"), ["zerottl/config/ns1", "zerottl/config/ns2"]);
}

/// F-WORD: two that are said at once do not overwrite each other: state and weight of one Site, and words of many Sites by
/// all fronts at a time.
#[test]
fn f_word_two_at_once_both_hold() {
    let Some(scene) = start("F-WORD: at once", &config()) else { return };
    for round in 0..5 {
        std::thread::scope(|scope| {
            scope.spawn(|| say(&scene, 0, "drain", "boston", ""));
            scope.spawn(|| {
                scene.agents[1].post("/v1/sites/weight", r#"{"sites":"boston","weight":7}"#).expect("weight")
            });
            scope.spawn(|| say(&scene, 2, "drain", "chicago", ""));
        });
        let holds = |front: usize| {
            let status = scene.agents[front].status().expect("status").0;
            let site = |key: &str| {
                status["sites"]
                    .as_array()
                    .expect("sites")
                    .iter()
                    .find(|site| site["key"] == key)
                    .expect("there")
                    .clone()
            };
            let (boston, chicago) = (site("boston"), site("chicago"));
            boston["word"]["what"] == "drain" && boston["weight_now"] == 7 && chicago["word"]["what"] == "drain"
        };
        assert!(eventually(PATIENCE, || (0..3).all(holds)), "round {round}: {}", page(&scene, 0));
        for front in 0..3 {
            say(&scene, front, "ready", "*", "");
        }
        scene.agents[0].post("/v1/sites/weight", r#"{"sites":"boston","weight":null}"#).expect("weight");
        let is_clear = |front: usize| {
            let status = scene.agents[front].status().expect("status").0;
            let sites = status["sites"].as_array().expect("sites");
            sites.iter().all(|site| site["word"].is_null() && site["weight_now"] == site["weight"])
        };
        assert!(eventually(PATIENCE, || (0..3).all(is_clear)), "round {round}: {}", page(&scene, 0));
    }
}

/// F-OWN: a front whose own minimum forbids it does not do what is said elsewhere; every front shows that, `--wait` names it,
/// and it does it once it may.
#[test]
fn f_own_a_front_refuses_by_its_own_minimum() {
    let Some(mut scene) = start("F-OWN", &config()) else { return };
    let careful = Config { pool: "min_sites = 3".into(), ..scene.configs[2].clone() };
    careful.write(scene.agents[2].folder()).expect("written");
    scene.agents[2].restart(&["--take-over"]).expect("restarted");
    scene.wait_for(2, true);
    assert!(eventually(PATIENCE, || fronts(&scene, 0).len() == 3), "{}", page(&scene, 0));
    let clients = clients(&scene);
    let output = scene.agents[0].output(&["drain", "boston", "--wait", "--admin", "127.0.0.1:8053"]).expect("ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("ns3 does not do it of boston"), "{said}");
    until(&scene, &clients[..2], "geneva chicago");
    until(&scene, &clients[2..], "geneva boston chicago");
    for front in 0..3 {
        assert!(eventually(PATIENCE, || alarms(&scene, front).contains("fleet-refused")), "{}", page(&scene, front));
        // F-DRIFT: its file is another.
        assert!(alarms(&scene, front).contains("fleet-drift"), "{}", page(&scene, front));
    }
    scene.configs[2].write(scene.agents[2].folder()).expect("written");
    scene.agents[2].zerottl(&["reload", "--admin", "127.0.0.1:8053"]).expect("reloaded");
    until(&scene, &clients[2..], "geneva chicago");
    let is_well = |front: usize| alarms(&scene, front).is_empty();
    assert!(eventually(PATIENCE, || (0..3).all(is_well)), "{:?} {}", alarms(&scene, 0), page(&scene, 0));
}

/// F-WORD: what could not be told when it was said is told although the connection has held all the time. (Without a leader a
/// word fails, and etcd answers the lease once there is one again.)
#[test]
fn f_word_what_waits_is_told_by_a_connection_that_holds() {
    let Some(scene) = start("F-WORD: a word that waits", &config()) else { return };
    let endpoints: Vec<SocketAddr> =
        scene.etcd.endpoints().iter().map(|url| url.trim_start_matches("http://").parse().expect("a URL")).collect();
    let etcd =
        EtcdConfig { endpoints, tls: None, user: None, prefix: "zerottl/".into(), lease: Duration::from_secs(10) };
    let config =
        FleetConfig { front: "ns9".into(), engine: FleetEngine::Etcd(etcd), digest: String::new(), probers: None };
    let request = OverrideRequest {
        target: "boston".into(),
        value: OverrideValue::State(AdminState::Drain),
        by: "alice".into(),
        reason: None,
        lasts: None,
        force: false,
        at_wall_ms: 1,
    };
    let tell = async move {
        let (fleet, _task) = Fleet::start(&config).expect("started");
        let mut changes = fleet.changes();
        while !matches!(fleet.report().link, EngineLink::Connected(_)) {
            changes.changed().await.expect("it runs");
        }
        // The session has done what it begins with.
        tokio::time::sleep(Duration::from_millis(500)).await;
        fleet.tell_later(7, &["boston".to_owned()], &request);
        let told = async {
            while fleet.report().pending > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.is_ok()
    };
    let is_told = scene.lab.fronts[0].run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(tell)
    });
    assert!(is_told.expect("it ran"), "it waits for the end of the session");
    until(&scene, &clients(&scene), "geneva chicago");
}
