//! How sessions stand, as people and Prometheus see it: `zerottl session`, metrics, `/v1/site`.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    director::{DirectorScene, PLACE, PLACE_V6},
    lab::{can_load, can_run},
    netns::Netns,
    process::{Process, eventually},
    program::binary,
    scratch::find_tool,
    server::application,
    session_lab::SessionLab,
};
use zerottl_core::session_id::SessionId;

const PATIENCE: Duration = Duration::from_secs(20);
const BACKEND: &str = "127.0.0.1:9090";

fn id(number: u8) -> SessionId {
    SessionId([number; 16])
}

/// Runs a command: whether it succeeded, what it said, and what it complained of.
fn zerottl(machine: &Netns, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments);
    let output = machine.output(command).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn said(machine: &Netns, arguments: &[&str]) -> String {
    let (good, out, errors) = zerottl(machine, arguments);
    assert!(good, "{arguments:?}: {out}{errors}");
    out
}

fn json(machine: &Netns, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(machine, &[arguments, &["--json"]].concat())).unwrap()
}

fn curl(machine: &Netns, method: &str, at: SocketAddr, id: SessionId, data: &str) -> String {
    let url = format!("http://{at}/v1/session/{id}");
    machine.read("curl", &["-sS", "-X", method, "--data-binary", data, "-w", "%{http_code}", &url]).unwrap()
}

fn page(machine: &Netns, at: SocketAddr, path: &str) -> String {
    machine.read("curl", &["-sSf", &format!("http://{at}{path}")]).unwrap()
}

/// One of two session servers stops: all sessions have too few copies, what waits for it waits longer and longer, and each of the
/// pages says so; once it goes on, all is as before.
#[test]
fn a_session_server_that_has_stopped_is_seen() {
    if !can_run("the state of sessions") {
        return;
    }
    let session = "copies = 2\nwrite = \"ack-one\"\nlease = \"1s\"\ntimeout = \"200ms\"\n";
    let mut lab = SessionLab::start(1, 2, session).unwrap();
    let (machine, worker) = (lab.client.clone(), lab.workers[0].at());
    for number in 0..5 {
        assert_eq!(curl(&machine, "PUT", worker, id(number), "cart"), "204");
    }
    let place = worker.to_string();
    let status = || json(&machine, &["session", "status", "--at", &place])["workers"][0].clone();
    let is_well = |page: &Value| {
        page["under_replicated"] == 0
            && page["lag_s"] == 0.0
            && page["has_lease"] == true
            && page["servers"][1]["copies"] == 5
    };
    assert!(eventually(PATIENCE, || is_well(&status())), "{:#}", status());
    let well = status();
    assert_eq!((&well["hosted"], &well["bytes"]), (&5.into(), &20.into()));
    // More where a busy machine has had it lose its lease meanwhile.
    assert!(well["claims"].as_u64() >= Some(5), "{well:#}");
    // By the configuration, on its own machine.
    let file = lab.workers[0].file().display().to_string();
    let text = said(&lab.workers[0].machine, &["session", "status", "--config", &file, "--as", "boston"]);
    assert!(text.contains(": 5 sessions, 2 copies of each, write ack-one\n"), "{text}");
    assert!(text.contains("20 bytes; all have all their copies\n"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("10.8.0.101:6379  up     5       0 ")), "{text}");

    lab.servers[1].signal(Signal::STOP).unwrap();
    for number in 0..5 {
        assert_eq!(curl(&machine, "PUT", worker, id(number), "more"), "204");
    }
    let is_seen = || {
        let page = status();
        page["servers"][1]["state"] == "down" && page["under_replicated"] == 5 && page["lag_s"].as_f64() > Some(0.5)
    };
    assert!(eventually(PATIENCE, is_seen), "{:#}", status());
    let text = said(&machine, &["session", "status", "--at", &place]);
    assert!(text.contains("5 have FEWER COPIES than they are to have; the oldest change waits for "), "{text}");
    assert!(text.contains("\n10.8.0.101:6379  DOWN "), "{text}");
    // Metrics are about a second old.
    std::thread::sleep(Duration::from_millis(1200));
    let metrics = page(&machine, worker, "/metrics");
    for line in [
        "zerottl_site_session_hosted 5",
        "zerottl_site_session_under_replicated 5",
        "zerottl_site_session_has_lease 1.0",
        "zerottl_site_session_server_state{server=\"10.8.0.101:6379\",state=\"down\"} 1.0",
        "zerottl_site_session_server_state{server=\"10.8.0.100:6379\",state=\"up\"} 1.0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\nis not in\n{metrics}");
    }
    let short: Value = serde_json::from_str(&page(&machine, worker, "/v1/site")).unwrap();
    let sessions = &short["sessions"];
    assert_eq!((&sessions["hosted"], &sessions["servers_down"]), (&5.into(), &1.into()), "{short:#}");

    lab.servers[1].signal(Signal::CONT).unwrap();
    let is_over = || {
        let page = status();
        page["under_replicated"] == 0 && page["lag_s"] == 0.0 && page["servers"][1]["behind"] == 0
    };
    assert!(eventually(PATIENCE, is_over), "{:#}", status());
}

/// A session is explained by whomever is asked: by its host, by another worker, which names the host; and by the session servers
/// once the host has died.
#[test]
fn a_session_is_explained_whoever_is_asked() {
    if !can_run("a session explained") {
        return;
    }
    let mut lab = SessionLab::start(2, 3, "copies = 2\nwrite = \"ack-all\"\nlease = \"1s\"\n").unwrap();
    let (machine, one, two) = (lab.client.clone(), lab.workers[0].at(), lab.workers[1].at());
    assert_eq!(curl(&machine, "PUT", one, id(1), "cart"), "204");
    let (own, at_one, at_two) = (id(1).to_string(), one.to_string(), two.to_string());
    let explain = |at: &str, id: &str| json(&machine, &["session", "explain", id, "--at", at]);
    let hosted = explain(&at_one, &own);
    assert_eq!((&hosted["state"], &hosted["number"], &hosted["bytes"]), (&"hosted".into(), &1.into(), &4.into()));
    let copies = hosted["copies"].as_array().unwrap();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy["has_newest"] == true), "{hosted:#}");
    let by_another = explain(&at_two, &own);
    assert_eq!(by_another["reach"], format!("http://{one}"));
    assert_eq!((&by_another["worker"], &by_another["tag"]), (&hosted["worker"], &hosted["tag"]));
    let text = said(&machine, &["session", "explain", &own, "--at", &at_two]);
    assert!(
        text.starts_with(&format!("{own}: hosted by ")) && text.contains(&format!(", at http://{one}\n")),
        "{text}"
    );
    assert_eq!(text.matches(" has the newest state").count(), 2, "{text}");

    let (good, out, errors) = zerottl(&machine, &["session", "explain", &id(9).to_string(), "--at", &at_one]);
    assert!(!good && out.is_empty() && errors == "zerottl: no session server knows the session\n", "{out}{errors}");
    let (good, _, errors) = zerottl(&machine, &["session", "explain", "short", "--at", &at_one]);
    assert!(!good && errors.contains("22 characters of base64url"), "{errors}");

    lab.workers[0].kill();
    // For a moment it is nobody's; then it is asked for, or adopted.
    let is_another = || explain(&at_two, &own)["state"] != "elsewhere";
    assert!(eventually(PATIENCE, is_another), "{:#}", explain(&at_two, &own));
    assert_eq!(curl(&machine, "GET", two, id(1), ""), "cart200");
    let moved = explain(&at_two, &own);
    assert!(moved["epoch"].as_u64() > hosted["epoch"].as_u64() && moved["number"] == 1, "{moved:#}");
    assert_eq!(moved["tag"], hosted["tag"]);
    assert_eq!(curl(&machine, "DELETE", two, id(1), ""), "204");
    let text = said(&machine, &["session", "explain", &own, "--at", &at_two]);
    assert!(text.contains(": ended for good"), "{text}");

    lab.workers[1].kill();
    let (good, out, errors) = zerottl(&machine, &["session", "status", "--at", &at_two]);
    assert!(!good && out.is_empty() && errors.starts_with("zerottl: nothing answers at "), "{out}{errors}");
}

/// Where a director runs the processes of a Site, all of them are asked through its socket.
#[test]
fn a_directors_processes_are_asked_through_it() {
    if !can_load("sessions of a director's processes") {
        return;
    }
    let mut scene = DirectorScene::new("").unwrap();
    fs::write(scene.beside("key"), [7; 32]).unwrap();
    application(&scene.machine, BACKEND.parse().unwrap()).unwrap();
    let mut redis = Command::new(find_tool("redis-server").unwrap());
    redis.args(["--bind", "127.0.0.1", "--port", "6379", "--save", "", "--dir"]).arg(scene.beside(""));
    redis.stdout(std::process::Stdio::null());
    let _redis = Process::new(scene.machine.spawn(redis).unwrap());
    let site = "[[director.server]]\nname = \"site\"\nkind = \"site\"\ncount = 2\n";
    let web =
        format!("[web]\nlisten = [\"{PLACE}\", \"{PLACE_V6}\"]\nbackends = [\"http://{BACKEND}\"]\npeers = \"none\"\n");
    let session = "[web.session]\nkey = \"key\"\nservers = [\"redis://127.0.0.1:6379\"]\n";
    scene.write(&format!("drain_timeout = \"5s\"\n{site}{web}{session}")).unwrap();
    scene.start().unwrap();
    let file = scene.file().display().to_string();
    let asked = ["session", "status", "--config", &file, "--as", "boston"];
    let has_leases = || {
        let page = json(&scene.machine, &asked);
        let workers = page["workers"].as_array().unwrap().clone();
        workers.len() == 2 && workers.iter().all(|worker| worker["has_lease"] == true)
    };
    assert!(eventually(PATIENCE, has_leases), "{:#}\n{}", json(&scene.machine, &asked), scene.log());
    let page = json(&scene.machine, &asked);
    let token = |at: usize| page["workers"][at]["worker"].as_str().unwrap().to_owned();
    assert!(token(0).starts_with("site-1.") && token(1).starts_with("site-2."), "{page:#}");
    assert_eq!(page["unanswered"], Value::Array(Vec::new()));

    let lease = format!("zerottl:boston.app.com:w:{}", token(1));
    let lease = scene.machine.read("redis-cli", &["--raw", "GET", &lease]).unwrap();
    let reach: Value = serde_json::from_str(&lease).unwrap();
    let socket = reach["reach"].as_str().unwrap();
    assert!(Path::new(socket).is_absolute(), "{lease}");
    let url = format!("http://localhost/v1/session/{}", id(1));
    let put = ["-sSf", "--unix-socket", socket, "-T", "-", &url];
    scene.machine.read("curl", &put).unwrap();
    let own = id(1).to_string();
    let explained = json(&scene.machine, &["session", "explain", &own, "--config", &file, "--as", "boston"]);
    assert_eq!((&explained["state"], &explained["worker"]), (&"hosted".into(), &token(1).into()), "{explained:#}");
    // A session's data is had from whichever process hosts it, not by a process's name.
    let data = format!("http://127.0.0.1:8054/servers/site-2/v1/session/{own}");
    let code = scene.machine.read("curl", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", &data]).unwrap();
    assert_eq!(code, "404");
    scene.stop().unwrap();
}
