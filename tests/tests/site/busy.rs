//! Overflow end to end: requests that do not end keep Sites busy, and what becomes of those who come then.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use tests::{
    config::Config,
    process::eventually,
    scene::Scene,
    site::LabSite,
    walk::{Curl, Held, Walk, unix_now},
};

/// Each redirect is counted, so there are none that only tidy URLs.
const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nclean_url = false\n";

fn config(web: &str) -> Config {
    Config { more: format!("{WEB}{web}"), ..Config::default() }
}

/// A new client that DNS has just sent to a Site.
fn newcomer(scene: &Scene, key: &str) -> Walk {
    Curl::new(&scene.lab).go(&format!("http://{key}.app.com/a/distrib={}?b", unix_now()))
}

/// The marker of a walk's redirect: what stands after the time, and the time.
fn marker(location: &str) -> (u64, &str) {
    let text = location.split_once("/distrib=").expect("a marker").1.trim_end_matches("?b");
    let (at, rest) = text.split_once('+').unwrap_or((text, ""));
    (at.parse().expect("a time"), rest)
}

/// S4-5B-590, S4-5B-BYPASS, S4-5B-DEFER: a busy Site sends newcomers on to the next of its group, which takes them without
/// balancing them again; its own sessions it goes on serving. Once there is room it takes newcomers again.
#[test]
fn s4_5b_590_a_busy_site_sends_newcomers_to_the_next() {
    let Some(scene) =
        Scene::with_fronts("S4-5B-590: overflow", config("busy = { client_share = 1.0, in_flight = 2 }\n"))
    else {
        return;
    };
    let boston = scene.lab.site("boston");
    let bound = Curl::new(&scene.lab);
    assert_eq!(bound.go(&format!("http://boston.app.com/distrib={}", unix_now())).site(), "boston");
    let mut held = Held::new(&scene.lab, boston, 2);
    for _ in 0..3 {
        let began = unix_now();
        let walk = newcomer(&scene, "boston");
        // In the end, a URL that may be kept (C18).
        assert_eq!((walk.statuses(), walk.hosts()), (vec![302, 303, 303, 200], vec!["chicago.app.com"]), "{walk:?}");
        assert_eq!((walk.site(), walk.url.as_str()), ("chicago", "http://chicago.app.com/a?b"));
        let (at, rest) = marker(walk.locations()[0]);
        assert!((began..=unix_now()).contains(&at), "{walk:?}");
        assert_eq!(rest, "boston.app.com+americas.app.com+1", "{walk:?}");
    }
    for looks in 2..5 {
        let again = bound.go("http://boston.app.com/");
        assert_eq!((again.statuses(), again.looks()), (vec![200], looks), "in session, it is let in");
    }
    held.end_one(boston);
    assert_eq!((newcomer(&scene, "boston").statuses(), newcomer(&scene, "boston").site()), (vec![200], "boston"));
}

/// S4-5B-570, S4-5B-575: n busy Sites make n − 1 redirects, and then a page that says when to return. Here n is 1 (geneva,
/// alone in its group) and 2 (boston and chicago).
#[test]
fn s4_5b_570_busy_groups_say_so() {
    let Some(scene) = Scene::with_fronts(
        "S4-5B-570: busy groups",
        config("busy = { client_share = 1.0, in_flight = 1, retry = \"7s\" }\n"),
    ) else {
        return;
    };
    let [geneva, boston, chicago] = ["geneva", "boston", "chicago"].map(|key| scene.lab.site(key));
    let _held = [geneva, boston, chicago].map(|site| Held::new(&scene.lab, site, 1));
    for (key, via) in [("geneva", vec![]), ("boston", vec!["chicago.app.com"]), ("chicago", vec!["boston.app.com"])] {
        let walk = newcomer(&scene, key);
        assert_eq!((walk.hosts(), walk.status()), (via, 503), "{key}: {walk:?}");
        let page = walk.hops.last().expect("a response");
        let seconds: u64 = page.field("retry-after").next().and_then(|text| text.parse().ok()).expect("Retry-After");
        assert!((7..60).contains(&seconds), "{page:?}");
        assert_eq!(page.field("cache-control").collect::<Vec<_>>(), ["no-store"]);
        let (wait, back) = walk.refresh().expect("it goes on by itself");
        assert_eq!((wait, walk.body.contains("<script")), (seconds, false));
        let at = walk.host();
        assert!(
            back.starts_with(&format!("http://{at}/a/distrib=")) && back.contains('!') && back.ends_with("?b"),
            "{back}"
        );
        let head = Curl::new(&scene.lab).ask(&["-I", "-L", &format!("http://{key}.app.com/distrib={}", unix_now())]);
        assert_eq!(head.expect("curl").status(), 503);
    }
    // The Sites are as healthy as before, so DNS goes on answering with them; and who came by the Pool Name is told the same.
    let walk = Curl::new(&scene.lab).go("http://app.com/");
    assert_eq!(walk.status(), 503, "{walk:?}");
    scene.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)]);
}

/// S4-5B-570, S4-5B-585, S4-5B-DEFER: without groups all three are tried, by two redirects of which the second leaves the time of
/// the first as it was; then the key that was given goes first. Before its time it is told to wait, and keeps its place; when it is
/// due and there is room for one, a newcomer is not let in, but who brings the key is, and nobody twice.
#[test]
fn s4_5b_defer_the_key_goes_first_when_there_is_room() {
    let config = Config { groups: vec![], ..config("busy = { client_share = 1.0, in_flight = 2, retry = \"6s\" }\n") };
    let Some(scene) = Scene::with_fronts("S4-5B-DEFER: keys", config) else { return };
    let [geneva, boston, chicago] = ["geneva", "boston", "chicago"].map(|key| scene.lab.site(key));
    let mut held = [geneva, boston, chicago].map(|site| Held::new(&scene.lab, site, 2));
    let client = Curl::new(&scene.lab);
    let walk = client.go(&format!("http://boston.app.com/a/distrib={}?b", unix_now()));
    assert_eq!((walk.statuses(), walk.hosts()), (vec![302, 302, 503], vec!["chicago.app.com", "geneva.app.com"]));
    let markers: Vec<_> = walk.locations().into_iter().map(marker).collect();
    assert_eq!(markers[0].0, markers[1].0, "S4-5B-595: {walk:?}");
    assert_eq!([markers[0].1, markers[1].1], ["boston.app.com++1", "boston.app.com++2"]);
    let (wait, back) = walk.refresh().map(|(wait, back)| (wait, back.to_owned())).expect("it goes on by itself");
    let due = Instant::now() + Duration::from_secs(wait);

    let early = client.go(&back);
    let (left, same) = early.refresh().expect("it goes on by itself");
    assert_eq!((early.statuses(), same), (vec![503], back.as_str()), "{early:?}");
    assert!((1..=wait).contains(&left), "{left} of {wait}");

    // It holds for six seconds from when it is due.
    thread::sleep(due.saturating_duration_since(Instant::now()) + Duration::from_millis(200));
    held[0].end_one(geneva);
    let other = newcomer(&scene, "geneva");
    assert_eq!(other.status(), 503, "the room is kept for the key: {other:?}");
    let admitted = client.go(&back);
    assert_eq!((admitted.statuses(), admitted.site(), admitted.looks()), (vec![200], "geneva", 1), "{admitted:?}");
    assert_eq!(admitted.shown("asked"), "geneva.app.com/a");
    assert_eq!(client.go("http://geneva.app.com/").looks(), 2);
    // The key is used up, and nothing is kept for it any more.
    held[0].end_one(geneva);
    let _full = Held::new(&scene.lab, geneva, 2);
    assert_eq!(Curl::new(&scene.lab).go(&back).status(), 503);
}

/// S4-5B-DEFER: a class with a share of ½ is turned away at half of the limit; others are not.
#[test]
fn s4_5b_defer_lower_classes_are_turned_away_first() {
    let class = "[[web.class]]\nname = \"guests\"\nheader = \"x-tier: guest\"\nshare = 0.5\n";
    let config = config(&format!("busy = {{ client_share = 1.0, in_flight = 4 }}\n{class}"));
    let Some(scene) = Scene::with_fronts("S4-5B-DEFER: classes", config) else { return };
    let geneva = scene.lab.site("geneva");
    let _held = Held::new(&scene.lab, geneva, 2);
    let url = format!("http://geneva.app.com/distrib={}", unix_now());
    assert_eq!(Curl::new(&scene.lab).with(&["-H", "x-tier: guest"]).go(&url).status(), 503);
    assert_eq!(Curl::new(&scene.lab).go(&url).statuses(), [200]);
}

/// S4-5B-550, S4-3A-320: a Site's own report of its load, at `/load` of its port 80, reaches the agent, and under `least-load`
/// DNS sends few there before operation 500 has to turn anybody away.
#[test]
fn s4_5b_550_the_load_report_moves_shares() {
    let mut config = Config {
        policy: "least-load".into(),
        pool: "max_step = 0.0\n".into(),
        groups: vec![],
        site_keys: "load = { kind = \"http\", port = 80, path = \"/load\", interval = \"200ms\", timeout = \"150ms\" }"
            .into(),
        ..config("busy = { client_share = 1.0, in_flight = 20 }\n")
    };
    config.sites.iter_mut().for_each(|site| site.weight = 1);
    let Some(scene) = Scene::with_fronts("S4-5B-550: the load report", config) else { return };
    let shares = || -> BTreeMap<String, f64> {
        scene.agent.status().map(|report| report.shares("app.com").into_iter().collect()).unwrap_or_default()
    };
    let comes_to = |what: &str, fits: &dyn Fn(f64) -> bool| {
        let is_so = eventually(Duration::from_secs(15), || shares().get("boston").copied().is_some_and(fits));
        assert!(is_so, "{what}: {:?}\n{}", shares(), scene.agent.log());
    };
    comes_to("all idle", &|share| (share - 1.0 / 3.0).abs() < 0.05);
    let held = Held::new(&scene.lab, scene.lab.site("boston"), 15);
    comes_to("boston is three quarters full", &|share| share < 0.2);
    assert!(scene.agent.get("/metrics").expect("metrics").contains("zerottl_site_load{site=\"boston\"} 15"));
    drop(held);
    comes_to("boston is idle again", &|share| (share - 1.0 / 3.0).abs() < 0.05);
}

/// A connection from the lab's client to a Site.
fn connect(scene: &Scene, key: &str) -> TcpStream {
    let address = scene.address(key, false);
    let stream =
        scene.lab.client.run(move || TcpStream::connect((address, 80))).expect("the client").expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream
}

/// Writes requests, all at once, and gives what comes back once there are so many responses.
fn ask_at_once(stream: &TcpStream, requests: &str, count: usize) -> String {
    thread::scope(|scope| {
        let (mut writer, mut reader) = (stream, stream);
        let written = scope.spawn(move || writer.write_all(requests.as_bytes()));
        let (mut text, mut bytes, mut found) = (String::new(), vec![0; 65_536], 0);
        while found < count {
            let read = reader.read(&mut bytes).expect("responses");
            assert!(read > 0, "closed after {found} of {count}");
            // Heads alone are looked for, but for those that come in two pieces.
            let from = text.len().saturating_sub("HTTP/1.1".len());
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            found += text[from..].matches("HTTP/1.1 ").count();
        }
        written.join().expect("a thread").expect("written");
        text
    })
}

/// Of a client at the Site itself: the status of a new session.
fn another(site: &LabSite, address: &str) -> String {
    let url = format!("http://{address}/distrib={}", unix_now());
    let arguments =
        ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "-H", "Host: geneva.app.com", &url];
    site.machine.read("curl", &arguments).expect("curl")
}

/// S4-5B-550: one client turns no newcomer away, neither by 10,000 sessions that it begins and leaves, nor by 1,000 that it
/// comes back to, nor by the requests that it keeps open. Its own newcomers are turned away.
#[test]
fn s4_5b_550_one_client_turns_nobody_away() {
    let config = config("busy = { in_flight = 100, sessions = 100 }\n");
    let Some(scene) = Scene::with_fronts("S4-5B-550: one client", config) else { return };
    let geneva = scene.lab.site("geneva");
    let address = scene.address("geneva", false).to_string();
    let metric = |name: &str| -> u64 {
        let text = geneva.machine.read("curl", &["-sf", "http://127.0.0.1:8054/metrics"]).expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("zerottl_site_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    let marked = |method: &str, more: &str| {
        format!("{method} /a/distrib={} HTTP/1.1\r\nHost: geneva.app.com\r\n{more}\r\n", unix_now())
    };

    let (stream, began) = (connect(&scene, "geneva"), Instant::now());
    let answers = ask_at_once(&stream, &marked("HEAD", "").repeat(10_000), 10_000);
    let admitted = answers.matches("HTTP/1.1 200").count();
    println!(
        "{admitted} of 10000 HEADs admitted in {:?}; {} active sessions",
        began.elapsed(),
        metric("active_sessions")
    );
    assert!(metric("active_sessions") <= 1 && admitted > 9000);
    assert_eq!(another(geneva, &address), "200");

    let sessions: Vec<&str> =
        answers.split("ZSESSION=").skip(1).filter_map(|rest| rest.split(';').next()).take(1000).collect();
    let back: String = sessions.iter().map(|id| marked("HEAD", &format!("Cookie: ZSESSION={id}\r\n"))).collect();
    ask_at_once(&stream, &back, sessions.len());
    println!("{} cookies have come back: {} active sessions", sessions.len(), metric("active_sessions"));
    assert!((25..=30).contains(&metric("active_sessions")), "a quarter, and the others'");
    assert_eq!(another(geneva, &address), "200");
    let own = ask_at_once(&stream, &marked("HEAD", ""), 1);
    assert!(own.starts_with("HTTP/1.1 503"), "{own}");

    let body = format!("Cookie: ZSESSION={}\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n", sessions[0]);
    let held: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&scene, "geneva");
            write!(stream, "{}note=", marked("POST", &body).replace("/a/", "/note/")).expect("written");
            stream
        })
        .collect();
    let all = eventually(Duration::from_secs(20), || metric("requests_in_flight") == 200);
    println!(
        "{} requests held open, {} beyond its share",
        metric("requests_in_flight"),
        metric("requests_beyond_share")
    );
    assert!(all && metric("requests_beyond_share") == 175, "{}", geneva.log());
    for _ in 0..10 {
        assert_eq!(another(geneva, &address), "200");
    }
    drop(held);
    assert!(eventually(Duration::from_secs(20), || metric("requests_in_flight") == 0));
}
