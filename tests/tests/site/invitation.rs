//! Application servers by invitation (seed 000), with real workers, real application servers, and a real session server.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    invite::{InviteBrowser, InviteScene, InviteWorker, NotingServer, PATIENCE, local},
    lab::can_run,
    process::{Process, eventually},
    scratch::find_tool,
};

const APP: u16 = 9000;
const SCREEN: u16 = 9001;

/// Reads a number of a worker's invitations.
fn number(scene: &InviteScene, worker: &InviteWorker, key: &str) -> u64 {
    scene.page(worker).unwrap()["invite"][key].as_u64().unwrap()
}

/// Reads a key of its only application server.
fn of_server(scene: &InviteScene, worker: &InviteWorker, key: &str) -> Option<u64> {
    scene.page(worker).unwrap()["invite"]["servers"][0][key].as_u64()
}

#[track_caller]
fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(eventually(PATIENCE, is_so), "{what}");
}

/// S0-1, S0-2, S0-13, S0-19: a worker sends nothing to an application server before that has said that it is ready, and no more
/// than it has said. Who waits does so in a bounded number, for a bounded time. All of it by curl.
#[test]
fn s0_2_nothing_is_sent_without_a_signal() {
    if !can_run("S0-2: application servers by invitation") {
        return;
    }
    let scene = InviteScene::new(false).unwrap();
    let worker = scene.worker(1, "", "stall = \"20s\"\nwaiting = 2\npatience = \"3s\"\n").unwrap();
    let app = NotingServer::default();
    app.start(&scene.machine, "app", local(APP)).unwrap();
    let first = scene.begin(worker.at, "/free/1", "").unwrap();
    until("it waits", || number(&scene, &worker, "waiting") == 1);
    let (_channel, channel) = scene.channel(&worker, "app-1", local(APP), 0).unwrap();
    let second = scene.begin(worker.at, "/free/2", "").unwrap();
    until("two wait", || number(&scene, &worker, "waiting") == 2);
    let begun = Instant::now();
    let third = scene.get(worker.at, "/free/3", "").unwrap();
    assert_eq!((third.status, begun.elapsed() < Duration::from_secs(1)), (503, true), "no place to wait");
    assert!(!first.is_answered_within(Duration::from_millis(300)).unwrap());
    assert_eq!(app.notes(), Vec::<String>::new(), "not even a connection");
    let (status, answer) = scene.signal(&worker, &channel, "{\"ready\": 1}").unwrap();
    assert_eq!((status, &*answer), (200, "{\"credits\":0}"));
    assert_eq!(first.answer().unwrap().status, 200);
    assert_eq!(app.requests(), ["app GET /free/1 HTTP/1.1"]);
    assert_eq!(second.answer().unwrap().status, 503, "nobody was ready for it in time");
    assert_eq!(app.requests().len(), 1);
    scene.signal(&worker, &channel, "{\"ready\": 2}").unwrap();
    for _ in 0..2 {
        assert_eq!(scene.get(worker.at, "/free/4", "").unwrap().status, 200);
    }
    assert_eq!((app.requests().len(), of_server(&scene, &worker, "credits")), (3, Some(0)));
    let metrics = scene.get_own(worker.admin, "/metrics").unwrap().body;
    for line in [
        "zerottl_site_invited_servers 1",
        "zerottl_site_invite_requests_total{outcome=\"granted\"} 3",
        "zerottl_site_invite_requests_total{outcome=\"expired\"} 1",
        "zerottl_site_invite_requests_total{outcome=\"full\"} 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    let (status, answer) = scene.signal(&worker, &channel, "{\"raedy\": 1}").unwrap();
    assert!(status == 422 && answer.contains("raedy"), "{status}: {answer}");
    assert_eq!(scene.signal(&worker, "0000000000000000", "{\"beat\": true}").unwrap().0, 404);
}

/// S0-3, S0-4, S0-5: a worker watches an application server over the channel that it has opened: one that is silent, or has closed it, is
/// asked no more.
#[test]
fn s0_3_a_worker_watches_its_application_servers() {
    if !can_run("S0-3: application servers are watched") {
        return;
    }
    let scene = InviteScene::new(false).unwrap();
    let worker = scene.worker(1, "", "stall = \"500ms\"\npatience = \"500ms\"\n").unwrap();
    let app = NotingServer::default();
    app.start(&scene.machine, "app", local(APP)).unwrap();
    let (_channel, channel) = scene.channel(&worker, "app-1", local(APP), 10_000).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        assert_eq!(scene.signal(&worker, &channel, "{\"beat\": true}").unwrap().0, 200);
        assert_eq!(scene.get(worker.at, "/free", "").unwrap().status, 200);
    }
    until("it is silent", || of_server(&scene, &worker, "credits").is_none());
    assert_eq!(number(&scene, &worker, "stalls"), 1);
    let asked = app.notes().len();
    assert_eq!(scene.get(worker.at, "/free", "").unwrap().status, 503);
    assert_eq!(app.notes().len(), asked, "credits that it gave do not count any more");
    assert_eq!(scene.signal(&worker, &channel, "{\"ready\": 1}").unwrap().0, 404);
    // One that ends closes its channel, which nobody has to wait for.
    let (mut process, _) = scene.channel(&worker, "app-2", local(APP), 100).unwrap();
    assert_eq!(scene.get(worker.at, "/free", "").unwrap().status, 200);
    process.kill();
    until("it has closed", || of_server(&scene, &worker, "credits").is_none());
    assert_eq!(number(&scene, &worker, "stalls"), 1, "{}", worker.log());
}

/// S0-15: a request is screened first: one that may not pass reaches no application server and takes no credit; then it waits for one
/// that is ready, and only then is anything sent.
#[test]
fn s0_15_a_request_is_screened_first() {
    if !can_run("S0-15: screening") {
        return;
    }
    let scene = InviteScene::new(false).unwrap();
    let web = format!("screen = \"http://127.0.0.1:{SCREEN}/auth?x=1\"\nlimits = {{ response_timeout = \"500ms\" }}\n");
    let worker = scene.worker(1, &web, "stall = \"20s\"\n").unwrap();
    let notes = NotingServer::default();
    notes.start(&scene.machine, "app", local(APP)).unwrap();
    let (_channel, channel) = scene.channel(&worker, "app-1", local(APP), 2).unwrap();
    // Nobody screens: nothing passes.
    assert_eq!(scene.get(worker.at, "/free/200", "").unwrap().status, 503);
    notes.start(&scene.machine, "screen", local(SCREEN)).unwrap();
    for (target, status, body) in [
        ("/free/401", 401, "screen says 401\n"),
        ("/free/403", 403, "screen says 403\n"),
        ("/free/500", 503, "503: the application is down\n"),
        ("/free/302", 503, "503: the application is down\n"),
        ("/free/hang", 503, "503: the application is down\n"),
    ] {
        let answer = scene
            .get(worker.at, target, "Authorization: Basic abc\r\nCookie: a=1\r\nX-Original-URI: /free\r\n")
            .unwrap();
        assert_eq!((answer.status, &*answer.body), (status, body), "{target}");
        let challenge: Vec<_> = answer.fields("www-authenticate").collect();
        assert_eq!(challenge, if status == 401 { &["Basic realm=\"x\""][..] } else { &[] }, "{answer:?}");
        assert!(!answer.head.contains("ecret"), "{answer:?}");
        let seen = notes.notes();
        for field in ["authorization: Basic abc", "cookie: a=1", "host: boston.app.com", "x-original-method: GET"] {
            assert!(seen.contains(&format!("screen field {field}")), "{field}: {seen:?}");
        }
        assert!(seen.contains(&format!("screen GET /auth?x=1 HTTP/1.1 {target}")), "{seen:?}");
    }
    assert!(!notes.notes().iter().any(|note| note.starts_with("app")), "{:?}", notes.notes());
    assert_eq!(of_server(&scene, &worker, "credits"), Some(2), "a refused request takes no credit");
    let before = notes.requests().len();
    assert_eq!(scene.get(worker.at, "/free/200", "").unwrap().body, "app says 200\n");
    let order = notes.requests().split_off(before);
    assert_eq!(order, ["screen GET /auth?x=1 HTTP/1.1 /free/200", "app GET /free/200 HTTP/1.1"]);
    // Ready comes after the screen: one that may pass has been screened when it waits.
    scene.get(worker.at, "/free/200", "").unwrap();
    let before = notes.requests().len();
    let waits = scene.begin(worker.at, "/free/200", "").unwrap();
    until("it waits", || number(&scene, &worker, "waiting") == 1);
    assert_eq!(notes.requests().split_off(before), ["screen GET /auth?x=1 HTTP/1.1 /free/200"]);
    scene.signal(&worker, &channel, "{\"ready\": 1}").unwrap();
    assert_eq!(waits.answer().unwrap().status, 200);
    let metrics = scene.get_own(worker.admin, "/metrics").unwrap().body;
    for line in ["{result=\"passed\"} 3", "{result=\"refused\"} 2", "{result=\"failed\"} 4"] {
        assert!(metrics.contains(&format!("zerottl_site_screened_total{line}")), "{line}: {metrics}");
    }
}

/// Two workers with a session server, `invited.py` at the first.
struct Takeover {
    first: InviteWorker,
    second: InviteWorker,
    app: Process,
    log: std::path::PathBuf,
    scene: InviteScene,
}

impl Takeover {
    fn new(invite: &str) -> Self {
        let scene = InviteScene::new(true).unwrap();
        let (first, second) = (scene.worker(1, "", invite).unwrap(), scene.worker(2, "", invite).unwrap());
        let (app, log) = scene.python("app-1", APP, &first).unwrap();
        let this = Self { first, second, app, log, scene };
        until("the application server has invited", || this.said("welcome worker=http://127.0.0.1:8301"));
        this
    }

    fn app_log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn said(&self, words: &str) -> bool {
        self.app_log().contains(words)
    }
}

/// S0-6, S0-7: an application server watches the worker that it has invited: one that stalls is as good as dead, and another one is
/// told. S0-X-FENCE: revived, it does not change a session that goes on elsewhere.
#[test]
fn s0_6_an_application_server_watches_its_worker() {
    if !can_run("S0-6: workers are watched") {
        return;
    }
    let mut takeover = Takeover::new("stall = \"500ms\"\n");
    let mut browser = InviteBrowser::default();
    for count in 1..=3 {
        let answer = browser.go(&takeover.scene, takeover.first.at).unwrap();
        assert_eq!(answer.body, format!("app-1 {count}\n"), "{answer:?} {}", takeover.app_log());
    }
    let target = format!("/v1/session/{}", browser.session());
    let known = takeover.scene.get_own(takeover.first.admin, &target).unwrap();
    assert_eq!(known.body, "3");
    takeover.first.process.signal(Signal::STOP).unwrap();
    until("it has noticed", || takeover.said("stopped worker=http://127.0.0.1:8301"));
    let named = format!("named session={} worker=http://127.0.0.1:8302 status=200", browser.session());
    until("another worker has the session", || takeover.said(&named));
    assert_eq!(browser.go(&takeover.scene, takeover.second.at).unwrap().body, "app-1 4\n");
    let scene = &takeover.scene;
    let before = scene.get_own(takeover.second.admin, &target).unwrap();
    takeover.first.process.signal(Signal::CONT).unwrap();
    // By what it knows, the session is at 3.
    let old = format!("If-Match: {}\r\n", known.fields("etag").next().unwrap());
    for _ in 0..5 {
        let written = scene.ask_own(takeover.first.admin, "PUT", &target, &old, "99").unwrap();
        assert!([412, 421, 503].contains(&written.status), "{written:?}");
    }
    let after = scene.get_own(takeover.second.admin, &target).unwrap();
    assert_eq!((&*after.body, after.fields("etag").next()), ("4", before.fields("etag").next()));
    let read = scene.get_own(takeover.first.admin, &target).unwrap();
    assert!(read.status != 200 || read.body == "4", "{read:?}");
    assert_eq!(browser.go(scene, takeover.second.at).unwrap().body, "app-1 5\n");
}

/// S0-8, S0-9, S0-10, S0-11: another worker takes a session over after its application server's signal, and not before, though another
/// application server is ready there.
#[test]
fn s0_10_a_takeover_waits_for_the_signal() {
    if !can_run("S0-10: a takeover waits for the signal") {
        return;
    }
    let mut takeover = Takeover::new("stall = \"4s\"\npatience = \"15s\"\n");
    let (_other, other) = takeover.scene.python("app-2", APP + 5, &takeover.second).unwrap();
    until("there is another", || fs::read_to_string(&other).unwrap().contains("welcome"));
    let mut browser = InviteBrowser::default();
    for count in 1..=2 {
        assert_eq!(browser.go(&takeover.scene, takeover.first.at).unwrap().body, format!("app-1 {count}\n"));
    }
    let session = browser.session();
    takeover.app.signal(Signal::STOP).unwrap();
    takeover.first.process.kill();
    let waits = takeover.scene.begin(takeover.second.at, &browser.target(), &browser.fields()).unwrap();
    until("it waits", || number(&takeover.scene, &takeover.second, "waiting") == 1);
    // Longer than the dead worker's lease: the session could be had.
    assert!(!waits.is_answered_within(Duration::from_millis(1500)).unwrap(), "{}", takeover.second.log());
    assert_eq!(number(&takeover.scene, &takeover.second, "takeovers"), 0, "nothing was taken over");
    let asked = |log: &str| log.contains("worker=http://127.0.0.1:8302");
    assert!(!asked(&takeover.app_log()) && !asked(&fs::read_to_string(&other).unwrap().replace("welcome worker", "")));
    takeover.app.signal(Signal::CONT).unwrap();
    let answer = waits.answer().unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "app-1 3\n"), "{}", takeover.app_log());
    assert_eq!(number(&takeover.scene, &takeover.second, "takeovers"), 1);
    assert!(!fs::read_to_string(&other).unwrap().contains(&session), "the other one was not asked");
}

/// S0-7, S0-8: the Rust client, in a server with one credit, behind workers that ask for a token. It gives each credit
/// back, that of a client that left, too; when its worker dies, or stops in order, it names its session at the other one.
#[test]
fn s0_8_the_rust_client_goes_on_with_a_session() {
    if !can_run("S0-8: the Rust client") {
        return;
    }
    let scene = InviteScene::new(true).unwrap();
    let token = "a-token-of-invitations";
    fs::write(scene.path("token"), token).unwrap();
    let invite = format!("token = \"{}\"\nstall = \"2s\"\npatience = \"15s\"\n", scene.path("token").display());
    let (mut first, mut second) = (scene.worker(1, "", &invite).unwrap(), scene.worker(2, "", &invite).unwrap());
    let _app = scene.rust("app-1", APP, &first, token).unwrap();
    let mut browser = InviteBrowser::default();
    for count in 1..=3 {
        assert_eq!(browser.go(&scene, first.at).unwrap().body, format!("app-1 {count}\n"), "{}", first.log());
    }
    // One credit is one request at a time.
    until("its credit is back", || of_server(&scene, &first, "credits") == Some(1));
    let slow = scene.begin(first.at, "/sleep?ms=1000", &browser.fields()).unwrap();
    until("its credit is taken", || of_server(&scene, &first, "credits") == Some(0));
    let waits = scene.begin(first.at, "/", &browser.fields()).unwrap();
    until("another one waits", || number(&scene, &first, "waiting") == 1);
    assert_eq!(slow.answer().unwrap().body, "app-1 -\n");
    assert_eq!(waits.answer().unwrap().body, "app-1 4\n");
    until("its credit is back", || of_server(&scene, &first, "credits") == Some(1));
    let leaves = scene.begin(first.at, "/sleep?ms=60000", &browser.fields()).unwrap();
    until("its credit is taken", || of_server(&scene, &first, "credits") == Some(0));
    // It is with the application server when its client leaves.
    thread::sleep(Duration::from_millis(200));
    drop(leaves);
    assert_eq!(browser.go(&scene, first.at).unwrap().body, "app-1 5\n");

    first.process.kill();
    until("the other one has the session", || number(&scene, &second, "takeovers") == 1);
    assert_eq!(browser.go(&scene, second.at).unwrap().body, "app-1 6\n", "{}", second.log());
    assert_eq!(number(&scene, &second, "takeover_failures"), 0);
    // Back again, since this one says that it stops.
    let first = scene.worker(1, "", &invite).unwrap();
    second.process.signal(Signal::TERM).unwrap();
    until("the first one has it again", || number(&scene, &first, "takeovers") == 1);
    assert_eq!(browser.go(&scene, first.at).unwrap().body, "app-1 7\n", "{}", first.log());
}

/// The time at which a log's line with these words was written; both logs write UTC.
fn time_of(log: &str, words: &str) -> String {
    let line = log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no `{words}` in\n{log}"));
    let stamp = line.split_whitespace().next().unwrap().trim_end_matches('Z');
    stamp.get(..26).unwrap_or(stamp).to_owned()
}

/// The load-balancing device of claims 14 and 22: `HAProxy`, which gives connections to the workers in turn.
fn balancer(scene: &InviteScene, at: u16) -> Process {
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 500ms\n  timeout client 60s\n  timeout server 60s\n  retries 2\n  option redispatch 1\n\
         listen web\n  bind 127.0.0.1:{at}\n  balance roundrobin\n  server one 127.0.0.1:8101 check inter 100ms\n  \
         server two 127.0.0.1:8102 check inter 100ms backup\n"
    );
    let file = scene.path("haproxy.cfg");
    fs::File::create(&file).unwrap().write_all(config.as_bytes()).unwrap();
    let mut command = Command::new(find_tool("haproxy").unwrap());
    command.args(["-db", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::new(scene.machine.spawn(command).unwrap())
}

/// S0-22: the whole takeover, as claim 22 has it: nine events in order, a browser that notices nothing, and the same session data
/// before and after. With it S0-8, S0-11, S0-14, S0-16, S0-17 and S0-18 in one piece, and S0-12: what the session server keeps on its disk
/// outlives a restart of all.
#[test]
fn s0_22_the_whole_takeover_in_nine_events() {
    if !can_run("S0-22: the whole takeover") {
        return;
    }
    let scene = InviteScene::new(true).unwrap();
    let invite = "stall = \"1s\"\npatience = \"15s\"\n";
    let (mut first, mut second) = (scene.worker(1, "", invite).unwrap(), scene.worker(2, "", invite).unwrap());
    let _balancer = balancer(&scene, 8080);
    until("the device is there", || scene.get(local(8080), "/", "").is_ok());
    let mut browser = InviteBrowser::default();

    // 1. The request is routed to one of the webservers, which receives it.
    let request = scene.begin(local(8080), &browser.target(), "").unwrap();
    until("1: it is received", || number(&scene, &first, "waiting") == 1);
    assert_eq!(number(&scene, &second, "waiting"), 0);
    // 2. The state server monitors the webserver: by a lease that it renews, there and nowhere else.
    let leases = |scene: &InviteScene| scene.redis.as_ref().unwrap().ask("KEYS *").unwrap();
    let before = leases(&scene);
    assert!(before.matches(":w:").count() == 2, "2: the state server knows of the webserver: {before}");
    // 3. The other webservers' identities reach the application server; 4. which signals, and is monitored.
    let (_app, log) = scene.python("app-1", APP, &first).unwrap();
    let app_log = |log: &Path| fs::read_to_string(log).unwrap();
    until("3: it is told", || {
        app_log(&log).contains("welcome worker=http://127.0.0.1:8301 others=http://127.0.0.1:8302")
    });
    let answer = request.answer().unwrap();
    assert_eq!(answer.body, "app-1 1\n", "{answer:?}");
    browser.keep(&answer);
    assert_eq!(browser.go(&scene, local(8080)).unwrap().body, "app-1 2\n");
    assert_eq!(browser.go(&scene, local(8080)).unwrap().body, "app-1 3\n");
    let (session, target) = (browser.session(), format!("/v1/session/{}", browser.session()));
    until("4: beats come", || scene.page(&first).unwrap()["invite"]["servers"][0]["silent_s"].as_f64().unwrap() < 0.3);
    let kept = scene.get_own(first.admin, &target).unwrap();
    assert_eq!(kept.body, "3");
    let owner = |worker: &InviteWorker| {
        let answer = scene.get_own(worker.admin, &format!("{target}/explain")).unwrap();
        let page = serde_json::from_str::<Value>(&answer.body).unwrap();
        (answer.status == 200 && page["state"] == "hosted").then_some(page)
    };
    let of_first = owner(&first).unwrap();
    assert_eq!(owner(&second), None);

    // 5. The webserver has terminated. 6. The application server signals the second one, by its identity. 7. The session's data come
    // from the state server to the second webserver, 8. which the state server monitors from now on.
    first.process.kill();
    let continuing = browser.go(&scene, local(8080)).unwrap();
    // 9. The session continues, and the browser has noticed nothing.
    assert_eq!((continuing.status, &*continuing.body), (200, "app-1 4\n"), "{} {}", app_log(&log), second.log());
    let (app, worker) = (app_log(&log), second.log());
    let events = [
        ("1: received, 3: identities", time_of(&app, "welcome worker=http://127.0.0.1:8301 others=")),
        ("4: a monitoring signal, and its request", time_of(&app, "request target=/ ")),
        ("5: terminated", time_of(&app, "stopped worker=http://127.0.0.1:8301")),
        ("6: the signal to another webserver", time_of(&worker, "an application server invites")),
        ("7, 8: data and ownership", time_of(&worker, "a session goes on here")),
        ("9: continued", time_of(&app, &format!("request target=/ session={session} worker=http://127.0.0.1:8302"))),
    ];
    assert!(events.is_sorted_by_key(|(_, time)| time.clone()), "{events:#?}");
    assert!(worker.contains(&format!("session={session}")) && worker.contains("bytes=1"), "{worker}");
    let of_second = owner(&second).unwrap();
    assert_ne!(of_first["worker"], of_second["worker"], "8: another one has it");
    assert!(of_first["epoch"].as_u64() < of_second["epoch"].as_u64(), "{of_first} {of_second}");
    let named = app.lines().find(|line| line.contains("named session=")).unwrap().to_owned();
    let tag = kept.fields("etag").next().unwrap().trim_matches('"').to_owned();
    assert!(
        named.contains("\"bytes\":1") && named.contains(&format!("\"tag\":\"{tag}\"")),
        "the same data: {named} {tag}"
    );
    assert_eq!(browser.go(&scene, local(8080)).unwrap().body, "app-1 5\n");

    // S0-12: the database behind the state server.
    second.process.kill();
    let mut scene = scene;
    scene.redis.as_mut().unwrap().restart().unwrap();
    let first = scene.worker(1, "", invite).unwrap();
    until("it goes on after a restart of all", || {
        browser.go(&scene, first.at).is_ok_and(|answer| answer.status == 200)
    });
    let answer = browser.go(&scene, first.at).unwrap();
    assert_eq!(answer.body, "app-1 7\n", "{answer:?} {}", app_log(&log));
}
