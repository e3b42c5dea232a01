//! The engine slow, dead, or answering nonsense: answers go on, and every state is said.

use std::time::Duration;

use rustix::process::Signal;
use tests::{config::Config, fleet::FleetScene, process::eventually};

use super::{PATIENCE, alarms, answered, clients, config, fronts, page, say, start, until};

/// F-AWAY: all nodes killed: answers and words go on at each front, which says so; what was said meanwhile is told once they
/// are back, and what was said before still holds.
#[test]
fn f_away_without_any_node() {
    let Some(mut scene) = start("F-AWAY: etcd is killed", &config()) else { return };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    say(&scene, 0, "drain", "boston", "");
    until(&scene, &clients, "geneva chicago");
    for node in 0..3 {
        scene.etcd.kill(node);
    }
    let is_said = || (0..3).all(|front| alarms(&scene, front).contains("fleet-away"));
    assert!(eventually(PATIENCE, is_said), "{}", page(&scene, 0));
    let told = say(&scene, 1, "drain", "geneva", "");
    assert!(told["fleet"]["not_told_because"].is_string(), "{told}");
    until(&scene, &clients[1..2], "chicago");
    assert_eq!(answered(&scene, &clients[0]), "geneva chicago");
    // Its own probes are what each front goes by.
    scene.lab.plug_site("chicago", false).expect("unplugged");
    until(&scene, &clients[..1], "geneva");
    scene.lab.plug_site("chicago", true).expect("plugged");
    until(&scene, &clients[..1], "geneva chicago");
    for node in 0..3 {
        scene.etcd.start_alone(node).expect("started");
    }
    until(&scene, &clients, "chicago");
    let is_well = || (0..3).all(|front| alarms(&scene, front).is_empty());
    assert!(eventually(PATIENCE, is_well), "{}", page(&scene, 0));
}

/// F-AWAY: the leader killed, a node stopped, a front with the minority: words go on as soon as there is a majority.
#[test]
fn f_away_leader_slow_node_and_minority() {
    let Some(mut scene) = start("F-AWAY: a node", &config()) else { return };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    let mut leader = None;
    let is_led = || {
        leader = scene.etcd.leader();
        leader.is_some()
    };
    assert!(eventually(PATIENCE, is_led), "no node leads");
    let leader = leader.expect("a leader");
    scene.etcd.kill(leader);
    say(&scene, 0, "drain", "boston", "");
    eprintln!("a drain as the leader was killed: {:?}", until(&scene, &clients, "geneva chicago"));
    scene.etcd.restart(leader).expect("restarted");
    // Every front asks the first node unless it has lost it.
    scene.etcd.signal(0, Signal::STOP).expect("stopped");
    std::thread::sleep(Duration::from_secs(1));
    say(&scene, 2, "ready", "boston", "");
    eprintln!("with a node stopped: {:?}", until(&scene, &clients, "geneva boston chicago"));
    scene.etcd.signal(0, Signal::CONT).expect("goes on");
    scene.lab.join_front_to_peers(1, false).expect("cut");
    assert!(eventually(PATIENCE, || alarms(&scene, 1).contains("fleet-away")), "{}", page(&scene, 1));
    assert!(eventually(PATIENCE, || fronts(&scene, 0).len() == 2), "{}", page(&scene, 0));
    say(&scene, 0, "drain", "boston", "");
    until(&scene, &[scene.client(0, false), scene.client(2, false)], "geneva chicago");
    assert_eq!(answered(&scene, &clients[1]), "geneva boston chicago");
    scene.lab.join_front_to_peers(1, true).expect("joined");
    until(&scene, &clients, "geneva chicago");
}

/// F-AWAY: garbage, values that are too large, and keys that are none of ours are alarms, and change no answer; a front that
/// restarts meanwhile comes up all the same.
#[test]
fn f_away_values_that_are_none() {
    let Some(mut scene) = start("F-AWAY: garbage", &config()) else { return };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    let huge = vec![b'x'; 10 << 20];
    for (key, value) in [
        ("word/boston", &b"\xff{"[..]),
        ("word/chicago", br#"{"state":{"id":1,"what":"explode","by":"","at_ms":0}}"#),
        ("vote/ns1/geneva/192.0.2.1", b"perhaps"),
        ("config/ns9", b"[]"),
        ("load/ns1", b"{\"seq\":1,\"sites\":{\"boston\":-1}}"),
        ("nonsense", b"1"),
        ("word/geneva", &huge),
    ] {
        scene.etcd.put(0, &format!("zerottl/{key}"), value).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    let is_said = |scene: &FleetScene| (0..3).all(|front| alarms(scene, front).contains("fleet-value"));
    assert!(eventually(PATIENCE, || is_said(&scene)), "{}", page(&scene, 0));
    scene.agents[2].kill();
    scene.agents[2].restart(&[]).expect("restarted");
    assert!(eventually(PATIENCE, || is_said(&scene)), "{}", page(&scene, 2));
    for client in &clients {
        assert_eq!(answered(&scene, client), "geneva boston chicago");
    }
    // Words go on beside it, and over it.
    say(&scene, 0, "drain", "boston", "");
    until(&scene, &clients, "geneva chicago");
    for key in ["vote/ns1/geneva/192.0.2.1", "config/ns9", "load/ns1", "nonsense", "word/geneva", "word/chicago"] {
        scene.etcd.delete(1, &format!("zerottl/{key}")).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    let is_well = || (0..3).all(|front| alarms(&scene, front).is_empty());
    assert!(eventually(PATIENCE, is_well), "{}", page(&scene, 0));
}

/// F-AWAY: an etcd that has lost all, and begins anew: the words that are in force are told to it again, and `--wait` goes by what it
/// says; the fleet's alarms reach hooks.
#[test]
fn f_away_an_engine_that_has_lost_all() {
    let folder = tests::scratch::folder().expect("a folder");
    let file = folder.path().join("events");
    let line = format!("echo $ZEROTTL_FRONT $ZEROTTL_EVENT >> {}", file.display());
    let more =
        format!("[hook.note]\ncommand = [\"/bin/sh\", \"-c\", \"{line}\"]\nevents = [\"alarm\", \"alarm-over\"]\n");
    let Some(mut scene) = start("F-AWAY: etcd loses its data", &Config { more, ..config() }) else { return };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    for _ in 0..5 {
        say(&scene, 0, "drain", "boston", "");
        say(&scene, 0, "ready", "boston", "");
    }
    // One word of two Sites.
    say(&scene, 0, "drain", "*o*", "");
    until(&scene, &clients, "geneva");
    for node in 0..3 {
        scene.etcd.kill(node);
    }
    assert!(eventually(PATIENCE, || (0..3).all(|front| alarms(&scene, front).contains("fleet-away"))));
    for node in 0..3 {
        scene.etcd.forget(node).expect("forgotten");
    }
    for node in 0..3 {
        scene.etcd.start_alone(node).expect("started");
    }
    let is_told = |site| scene.etcd.get(0, &format!("zerottl/word/{site}")).is_ok_and(|word| word.is_some());
    assert!(
        eventually(PATIENCE, || is_told("boston") && is_told("chicago")),
        "{:?}",
        scene.etcd.keys(0, "zerottl/word/")
    );
    until(&scene, &clients, "geneva");
    let said = scene.agents[1].zerottl(&["ready", "*o*", "--wait", "--admin", "127.0.0.1:8053"]).expect("said");
    assert!(said.contains("in force at ns1, ns2, ns3"), "{said}");
    for client in &clients {
        assert_eq!(answered(&scene, client), "geneva boston chicago");
    }
    let told = || std::fs::read_to_string(&file).unwrap_or_default();
    let has_all = || {
        let told = told();
        (1..=3).all(|front| ["alarm", "alarm-over"].iter().all(|event| told.contains(&format!("ns{front} {event}\n"))))
    };
    assert!(eventually(PATIENCE, has_all), "{}", told());
}
