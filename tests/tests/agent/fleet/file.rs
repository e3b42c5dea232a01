//! Fleets without an engine: each front watches a file, which something else brings to all of them.

use std::{fs, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tests::{config::Config, fleet::FleetScene, process::eventually, scratch::folder};

use super::{PATIENCE, alarms, clients, say, until};

/// Brings one file to all fronts, as a configuration management tool would: written beside it, and renamed.
fn bring(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).expect("written");
    fs::rename(&beside, file).expect("renamed");
}

fn word(scene: &FleetScene, front: usize, site: &str) -> Value {
    let status = scene.agents[front].status().expect("status").0;
    let sites = status["sites"].as_array().expect("sites");
    sites.iter().find(|of| of["key"] == site).expect("the Site")["word"].clone()
}

/// F-FILE, F-WORD, F-OWN: words and weights of the file are in force at every front while their lines stand, also over a reload and
/// a restart, and end with their time; a front refuses by its own minimum; what is said by hand afterwards holds until the line
/// changes.
#[test]
fn f_file_words_are_in_force_while_their_lines_stand() {
    let folder = folder().expect("a folder");
    let file = folder.path().join("fleet.states");
    let fleet = format!("[fleet]\nkind = \"file\"\nfront = \"{{front}}\"\nfile = \"{}\"\n", file.display());
    bring(&file, "# nothing yet\n");
    let config = Config { fleet, ..Config::default() };
    let Some(mut scene) = FleetScene::start("F-FILE: a fleet by a file", 2, 0, &config) else { return };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    bring(&file, "boston => DRAIN # disks\ngeneva => WEIGHT=7\nchicago => MAINT/3600\n");
    until(&scene, &clients, "geneva");
    for front in 0..2 {
        assert_eq!(
            (&word(&scene, front, "boston")["what"], &word(&scene, front, "boston")["by"]),
            (&"drain".into(), &"fleet.states, line 1".into())
        );
        let left = word(&scene, front, "chicago")["left_s"].as_f64().expect("it ends");
        assert!((3000.0..3600.0).contains(&left), "{left}");
    }
    // A half-written line takes nobody's word back.
    bring(&file, "boston =>\ngeneva => WEIGHT=7\nchicago => MAINT/3600\n");
    let has = |scene: &FleetScene, front, kind| eventually(PATIENCE, || alarms(scene, front).contains(kind));
    assert!((0..2).all(|front| has(&scene, front, "health-file-lines")));
    std::thread::sleep(Duration::from_millis(1_500));
    until(&scene, &clients, "geneva");
    assert_eq!(word(&scene, 0, "boston")["what"], "drain");
    bring(&file, "boston => DRAIN # disks\ngeneva => WEIGHT=7\nchicago => MAINT/3600\n");
    assert!(eventually(PATIENCE, || (0..2).all(|front| alarms(&scene, front).is_empty())));
    // By hand, at one front: it holds, though the file is looked at each second.
    say(&scene, 0, "ready", "boston", "");
    until(&scene, &clients[..1], "geneva boston");
    std::thread::sleep(Duration::from_millis(2_500));
    until(&scene, &clients[..1], "geneva boston");
    until(&scene, &clients[1..], "geneva");
    // A line that goes while an agent is away is taken back when it starts; the others stand.
    scene.agents[1].kill();
    bring(&file, "geneva => WEIGHT=7\nchicago => MAINT/3600\n");
    scene.agents[1].restart(&[]).expect("restarted");
    until(&scene, &clients, "geneva boston");
    scene.agents[0].signal(Signal::HUP).expect("reloaded");
    bring(&file, "geneva => WEIGHT=7\nchicago => MAINT/2\n");
    until(&scene, &clients, "geneva boston chicago");
    bring(&file, "geneva => UP\nchicago => READY\nboston => DRAIN\nnowhere => DRAIN\n");
    until(&scene, &clients, "geneva chicago");
    assert!((0..2).all(|front| has(&scene, front, "health-file-lines")), "one is no Site");
    let careful = Config { pool: "min_sites = 2".into(), ..scene.configs[1].clone() };
    careful.write(scene.agents[1].folder()).expect("written");
    scene.agents[1].zerottl(&["reload", "--admin", "127.0.0.1:8053"]).expect("reloaded");
    bring(&file, "boston => DRAIN\nchicago => DRAIN\n");
    until(&scene, &clients[..1], "geneva");
    assert!(has(&scene, 1, "fleet-refused"), "{:?}", scene.agents[1].status());
    until(&scene, &clients[1..], "geneva chicago");
    assert!(alarms(&scene, 0).is_empty());
    bring(&file, "");
    until(&scene, &clients, "geneva boston chicago");
    let is_well = || (0..2).all(|front| alarms(&scene, front).is_empty());
    assert!(eventually(PATIENCE, is_well), "{:?}", scene.agents[1].status());
}
