//! Sessions at processes that a director runs: the death of one is seen by the others at once, and a standby takes over.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};
use tests::{
    director::{DirectorScene, PATIENCE, PLACE, PLACE_V6},
    lab::can_load,
    process::eventually,
    redis::RedisServer,
    server::application,
};

const BACKEND: &str = "127.0.0.1:9090";
const ID: &str = "AAECAwQFBgcICQoLDA0O_w";

/// Two servers of the Site's front, with sessions at three session servers. A lease is far longer than the test.
fn scene(servers: &str) -> (DirectorScene, Vec<RedisServer>) {
    let scene = DirectorScene::new("").unwrap();
    fs::write(scene.beside("key"), [7; 32]).unwrap();
    application(&scene.machine, BACKEND.parse().unwrap()).unwrap();
    let server = |port: u16| {
        // On the loopback of the same machine.
        RedisServer::start_at(([127, 0, 0, 1], port).into(), Some(Arc::clone(&scene.machine))).unwrap()
    };
    let redis: Vec<RedisServer> = [6381, 6382, 6383].map(server).into();
    let urls: Vec<String> = redis.iter().map(|server| format!("\"{}\"", server.url())).collect();
    let director = format!(
        "{servers}\n[web]\nlisten = [\"{PLACE}\", \"{PLACE_V6}\"]\nbackends = [\"http://{BACKEND}\"]\npeers = \"none\"\n\
         [web.session]\nkey = \"key\"\nservers = [{}]\nwrite = \"ack-one\"\nlease = \"30s\"\ntimeout = \"500ms\"\n",
        urls.join(", ")
    );
    scene.write(&director).unwrap();
    (scene, redis)
}

fn data(scene: &DirectorScene, arguments: &[&str]) -> String {
    let url = format!("http://127.0.0.1:8054/v1/session/{ID}");
    scene.machine.read("curl", &[&["-sS", "-w", " %{http_code}"], arguments, &[&url]].concat()).unwrap()
}

fn host(scene: &DirectorScene) -> Option<String> {
    let names: Vec<String> = scene.page().unwrap()["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["name"].as_str().unwrap().to_owned())
        .collect();
    let hosts = |name: &&String| {
        let url = format!("http://127.0.0.1:8054/servers/{name}/v1/sessions");
        let page = scene.machine.read("curl", &["-sS", &url]).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&page).is_ok_and(|page| page["hosted"] == 1)
    };
    names.iter().find(hosts).cloned()
}

/// S1-1A, S1-7, S1-11: whichever process is asked, the one that hosts the session answers; when it is killed another one does at once,
/// although its lease goes on for half a minute.
#[test]
fn s1_7_a_killed_processs_sessions_move_at_once() {
    if !can_load("sessions at a director's processes") {
        return;
    }
    let (mut scene, _redis) = scene("[[director.server]]\nname = \"site\"\nkind = \"site\"\ncount = 3");
    scene.start().unwrap();
    assert_eq!(data(&scene, &["-X", "PUT", "-d", "cart"]), " 204", "{}", scene.log());
    for _ in 0..5 {
        assert_eq!(data(&scene, &[]), "cart 200");
    }
    let before = host(&scene).unwrap();
    kill_process(scene.pid(&before).unwrap(), Signal::KILL).unwrap();
    let begun = Instant::now();
    assert_eq!(data(&scene, &[]), "cart 200");
    println!("served by another {:?} after the death", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "its lease was waited for");
    scene.wait_until_ready().unwrap();
    assert_ne!(host(&scene), Some(before));
    assert_eq!(data(&scene, &["-X", "DELETE"]), " 204");
    assert!(data(&scene, &[]).ends_with(" 410"));
    scene.stop().unwrap();
}

/// S1-12, S1-14, S1-21: a server on standby gets nothing while another serves, and everything when none does.
#[test]
fn s1_12_a_standby_takes_over() {
    if !can_load("a server on standby") {
        return;
    }
    let servers = "[[director.server]]\nname = \"site\"\nkind = \"site\"\n[[director.server]]\nname = \"spare\"\nkind = \"site\"\n\
                   standby = true";
    let (mut scene, _redis) = scene(servers);
    scene.launch().unwrap();
    let states = |one: &str, other: &str| {
        let is = |page: &serde_json::Value| page["servers"][0]["state"] == one && page["servers"][1]["state"] == other;
        scene.wait_for(&format!("{one} and {other}"), is).unwrap();
    };
    states("ready", "standby");
    assert_eq!(data(&scene, &["-X", "PUT", "-d", "cart"]), " 204", "{}", scene.log());
    for _ in 0..20 {
        scene.connect().unwrap().get("/").unwrap();
    }
    assert_eq!(scene.figure("spare-1", "assigned").unwrap(), 0);
    assert_eq!(host(&scene).as_deref(), Some("site-1"));
    scene.act("site-1", "maint").unwrap();
    states("maint", "ready");
    scene.connect().unwrap().get("/").unwrap();
    assert!(scene.figure("spare-1", "assigned").unwrap() > 0);
    // The one that is about to stop answers until it has.
    let moved = || data(&scene, &[]) == "cart 200" && host(&scene).as_deref() == Some("spare-1");
    assert!(eventually(PATIENCE, moved), "{}", scene.log());
    scene.act("site-1", "ready").unwrap();
    states("ready", "standby");
    scene.stop().unwrap();
}
