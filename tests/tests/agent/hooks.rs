//! F-HOOK: events reach hooks once, signed, bounded and retried, and a dead hook holds nothing up.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    config::Config,
    lab::{LabSpec, peer_v4},
    process::eventually,
    receiver::{Received, Receiver},
    scene::Scene,
};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A scene with a machine beside the front, where receivers are. The files lie outside of the lab, which is not there yet.
fn scene(what: &str, hooks: &str, pool: &str) -> Option<Scene> {
    let config = Config { pool: pool.into(), groups: vec![], more: hooks.into(), ..Config::default() };
    let spec = LabSpec { peers: 1, sites: config.sites.clone(), ..LabSpec::default() };
    Scene::in_lab(what, &spec, config)
}

/// A script that writes what it gets into a file, a line each.
fn script(folder: &Path) -> (PathBuf, PathBuf) {
    let (script, out) = (folder.join("hook.sh"), folder.join("out"));
    let text = format!(
        "#!/bin/sh\nread -r event\necho \"$ZEROTTL_EVENT $ZEROTTL_SITE $ZEROTTL_SITES_UP $event\" >>{}\n",
        out.display()
    );
    fs::write(&script, text).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
    (script, out)
}

fn events_of(out: &Path) -> Vec<String> {
    let text = fs::read_to_string(out).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(" {")).map(|(words, _)| words.trim_end().to_owned()).collect()
}

/// Another implementation's signature of a request.
fn signature(request: &Received) -> String {
    let code = "import sys,hmac,hashlib,base64\n\
                key=base64.b64decode(sys.argv[1].removeprefix('whsec_'))\n\
                print('v1,'+base64.b64encode(hmac.new(key,sys.stdin.buffer.read(),hashlib.sha256).digest()).decode())";
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
    let mut python = Command::new("python3");
    python.args(["-c", code, SECRET]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("python3");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), signed.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its end");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn sample(scene: &Scene, line: &str) -> Option<u64> {
    let page = scene.agent.get("/metrics").expect("metrics");
    page.lines().find_map(|sample| sample.strip_prefix(line)?.trim().parse().ok())
}

/// F-HOOK: a Site's death and return, an alarm and a word reach a URL and a command once each, in order; the POSTs carry a
/// signature that another implementation makes, too; and what is answered by 500 comes again with the same id.
#[test]
fn events_reach_hooks_once_and_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, out) = script(folder.path());
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET).expect("written");
    let hooks = format!(
        "[hook.pager]\nurl = \"http://{}:8080/a/b?c=d\"\nsecret_file = {secret:?}\n\n[hook.script]\ncommand = [{script:?}]\n",
        peer_v4(0)
    );
    let Some(scene) = scene("hooks", &hooks, "min_sites = 3") else { return };
    let receiver = Receiver::start(&scene.lab.peers[0], (peer_v4(0), 8080).into()).expect("a receiver");
    receiver.answer(&[Some(500), None, Some(204)]);

    scene.lab.site("boston").kill();
    let has = |count: usize| eventually(PATIENCE, || receiver.taken().len() >= count && events_of(&out).len() >= count);
    assert!(has(2), "{:?}\n{:?}\n{}", receiver.received(), events_of(&out), scene.agent.log());
    scene.lab.site("boston").restart().expect("again");
    assert!(has(4), "{:?}\n{}", receiver.received(), scene.agent.log());
    scene.agent.zerottl(&["drain", "boston", "--force", "--reason", "new disks", "--by", "eve"]).expect("drained");
    assert!(has(6), "{:?}", receiver.received());
    // What came twice would be there by now.
    std::thread::sleep(Duration::from_secs(2));

    let taken = receiver.taken();
    let words = |event: &Value| event["event"].as_str().expect("a word").to_owned();
    let mut kinds: Vec<_> = taken.iter().map(words).collect();
    // Of one round the order is not said.
    kinds.chunks_mut(2).for_each(<[_]>::sort);
    assert_eq!(kinds, ["alarm", "site-down", "alarm-over", "site-up", "alarm", "word"], "{taken:#?}");
    let of = |kind: &str| taken.iter().find(|event| event["event"] == kind).expect("among them");
    let down = of("site-down");
    assert_eq!((&down["site"], &down["details"]["sites_up"]), (&"boston".into(), &2.into()));
    assert!(down["text"].as_str().is_some_and(|text| text.starts_with("Site boston is down: 192.0.2.10: ")), "{down}");
    let word = &of("word")["details"];
    assert_eq!((&word["word"], &word["reason"], &word["turn"]), (&"drain".into(), &"new disks".into(), &"said".into()));
    assert!(word["by"].as_str().is_some_and(|by| by.starts_with("eve")), "{word}");
    let mut own = events_of(&out);
    own.chunks_mut(2).for_each(<[_]>::sort);
    assert_eq!(own, ["alarm", "site-down boston 2", "alarm-over", "site-up boston 3", "alarm", "word boston"]);

    // The first was answered by 500, then not at all: three attempts of one id, each signed anew.
    let requests = receiver.received();
    let ids: Vec<_> = requests.iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!(requests.len(), 8, "{ids:?}");
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
    for request in &requests {
        assert_eq!(request.line, "POST /a/b?c=d HTTP/1.1");
        assert_eq!(request.headers["webhook-signature"], signature(request));
        assert_eq!(request.json()["id"].as_str(), Some(&*request.headers["webhook-id"]));
    }
    assert_eq!(sample(&scene, "zerottl_hook_events_total{hook=\"pager\",outcome=\"delivered\"}"), Some(6));
    assert_eq!(sample(&scene, "zerottl_hook_failures_total{hook=\"pager\"}"), Some(2));
    assert_eq!(sample(&scene, "zerottl_hook_events_total{hook=\"script\",outcome=\"delivered\"}"), Some(6));
}

/// F-HOOK: three hooks are dead, each in its way. Words are in force as quickly as ever, answers go on, the hook that lives gets
/// every event, and what does not fit into the queues is dropped and counted.
#[test]
fn a_dead_hook_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, out) = script(folder.path());
    let dead = "events = [\"word\"]\ntimeout = \"1m\"\nqueue = 4\n";
    let hooks = format!(
        "[hook.silent]\nurl = \"http://{peer}:8080/\"\n{dead}\n[hook.hanging]\ncommand = [\"/bin/sleep\", \"1234\"]\n{dead}\n\
         [hook.gone]\nurl = \"http://{peer}:8081/\"\n{dead}attempts = 100\n\n[hook.script]\ncommand = [{script:?}]\nevents = [\"word\"]\n",
        peer = peer_v4(0)
    );
    let Some(mut scene) = scene("dead hooks", &hooks, "") else { return };
    let receiver = Receiver::start(&scene.lab.peers[0], (peer_v4(0), 8080).into()).expect("a receiver");
    receiver.answer(&[None]);

    let client = scene.client(false);
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let command = if number % 2 == 0 { "drain" } else { "ready" };
        let begun = Instant::now();
        scene.agent.zerottl(&[command, "boston"]).expect("said");
        longest = longest.max(begun.elapsed());
        let answers: Vec<_> = (0..8).map(|_| client.lookup("app.com", false).expect("an answer")).collect();
        let has_boston = answers.contains(&scene.address("boston", false));
        assert_eq!(has_boston, number % 2 == 1, "{number}: {answers:?}");
    }
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(eventually(PATIENCE, || events_of(&out).len() == 20), "{:?}", events_of(&out));
    for hook in ["silent", "hanging", "gone"] {
        // One is tried, four wait.
        let of = |what: &str| sample(&scene, &format!("zerottl_hook_{what}"));
        assert_eq!(of(&format!("waiting{{hook=\"{hook}\"}}")), Some(5), "{hook}");
        assert_eq!(of(&format!("events_total{{hook=\"{hook}\",outcome=\"dropped\"}}")), Some(15), "{hook}");
        assert_eq!(of(&format!("events_total{{hook=\"{hook}\",outcome=\"delivered\"}}")), Some(0), "{hook}");
    }
    let page = scene.agent.zerottl(&["status"]).expect("status");
    assert!(page.contains("hook gone: 5 events wait, 0 given up, 15 dropped: connect: connection refused"), "{page}");
    // Nor does it hold up the end, and what has not been delivered is said.
    let begun = Instant::now();
    scene.agent.end(rustix::process::Signal::TERM).expect("its end");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let left = scene.lab.fronts[0].read("pgrep", &["-f", "^/bin/sleep 1234$"]);
    assert!(left.is_err(), "a command has outlived the agent: {left:?}");
    assert!(
        scene.agent.log().contains("hook silent: 5 events are not delivered before the end"),
        "{}",
        scene.agent.log()
    );
}
