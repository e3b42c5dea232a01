//! A director whose servers are processes of `zerottl site`, and a Site's load as DNS sees it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Signal, kill_process};
use tests::{
    agent::binary,
    director::{DirectorScene, PATIENCE, PLACE, PLACE_V6},
    lab::can_load,
    process::eventually,
    server::{HttpClient, application},
    walk::unix_now,
};

const BACKEND: &str = "127.0.0.1:9090";
const HEALTH: &str = "/health";

/// The configuration of a Site's front as two processes, with more keys of both.
fn front(server: &str, web: &str) -> String {
    format!(
        "drain_timeout = \"5s\"\n[[director.server]]\nname = \"site\"\nkind = \"site\"\ncount = 2\n{server}\n[web]\n\
         backends = [\"http://{BACKEND}\"]\npeers = \"none\"\nclean_url = false\nsession = {{ key = \"key\" }}\n{web}\n"
    )
}

fn both() -> String {
    format!("listen = [\"{PLACE}\", \"{PLACE_V6}\"]")
}

/// Makes the machines, the application, and the key of sessions.
fn scene(server: &str, web: &str) -> DirectorScene {
    let scene = DirectorScene::new("").unwrap();
    fs::write(scene.beside("key"), [7; 32]).unwrap();
    application(&scene.machine, BACKEND.parse().unwrap()).unwrap();
    scene.write(&front(server, web)).unwrap();
    scene
}

/// Asks a process through the director.
fn of_site(scene: &DirectorScene, name: &str, page: &str) -> io::Result<String> {
    scene.machine.read("curl", &["-sSf", &format!("http://127.0.0.1:8054/servers/{name}/{page}")])
}

/// A request on a connection of its own; returns the whole answer.
fn ask(scene: &DirectorScene, path: &str, fields: &str) -> io::Result<String> {
    let at: SocketAddr = PLACE.parse().map_err(io::Error::other)?;
    let mut stream = scene.client.run(move || TcpStream::connect(at))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: boston.app.com\r\n{fields}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// S2-1B: two processes serve a Site's addresses; the death of one ends no connection of the other, nobody is refused, and a
/// session that one began is one for the other.
#[test]
fn s2_1b_a_sites_processes_share_its_addresses() {
    if !can_load("a director of a Site's processes") {
        return;
    }
    let mut scene = scene("handover = true\nhang_after = \"2s\"", &both());
    scene.start().unwrap();
    let mut clients: Vec<HttpClient> = (0..20).map(|_| scene.connect().unwrap()).collect();
    for client in &mut clients {
        let own = client.address().unwrap().ip();
        let head = client.get(HEALTH).unwrap();
        assert!(head.to_lowercase().contains(&format!("x-forwarded-for: {own}")), "{head}");
    }
    let live = ["site-1", "site-2"].map(|name| scene.figure(name, "live").unwrap());
    assert_eq!(live, [10, 10]);
    for name in ["site-1", "site-2"] {
        let metrics = of_site(&scene, name, "metrics").unwrap();
        assert!(metrics.contains("zerottl_site_"), "{metrics}");
        let page: serde_json::Value = serde_json::from_str(&of_site(&scene, name, "v1/site").unwrap()).unwrap();
        assert_eq!(page["connections"], 10, "{page:#}");
    }
    // A session of one is one of the other: connections come to both in turn.
    let begun = ask(&scene, &format!("/distrib={}", unix_now()), "").unwrap();
    let cookie = begun.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let cookie = name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next())??;
        cookie.starts_with("ZSESSION=").then(|| cookie.to_owned())
    });
    let cookie = cookie.unwrap_or_else(|| panic!("no session: {begun}\n{}", scene.log()));
    for _ in 0..6 {
        let answer = ask(&scene, "/", &format!("Cookie: {cookie}\r\n")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(ask(&scene, "/", "").unwrap().starts_with("HTTP/1.1 302 "), "without one it is told to go elsewhere");

    let before = scene.pid("site-1").unwrap();
    kill_process(before, Signal::KILL).unwrap();
    for _ in 0..40 {
        let answer = ask(&scene, HEALTH, "").unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let living = clients.iter_mut().filter_map(|client| client.get(HEALTH).ok()).count();
    assert_eq!(living, 10, "{}", scene.log());
    scene
        .wait_for("it is there again", |page| {
            page["servers"][0]["state"] == "ready" && page["servers"][0]["restarts"] == 1
        })
        .unwrap();
    assert_ne!(scene.pid("site-1").unwrap(), before);
    assert!(of_site(&scene, "site-1", "metrics").unwrap().contains("zerottl_site_"));
    drop(clients);
    scene.stop().unwrap();
}

/// Where the kernel does not choose, the director hands a Site's processes their connections, or relays them, for all of
/// its addresses.
#[test]
fn sites_without_the_kernel() {
    if !can_load("a Site's processes without the kernel") {
        return;
    }
    for handover in [true, false] {
        let mut scene = scene("", &both());
        let server = format!("handover = {handover}\nmax_connections = 2");
        scene.write(&format!("pins = \"/run/zerottl-no-bpffs\"\n{}", front(&server, &both()))).unwrap();
        scene.start().unwrap();
        assert_eq!(scene.page().unwrap()["kernel"], false);
        let mut clients: Vec<_> = [PLACE, PLACE, PLACE_V6, PLACE_V6].map(|at| scene.connect_to(at).unwrap()).into();
        for client in &mut clients {
            let own = client.address().unwrap().ip();
            let head = client.get(HEALTH).unwrap_or_else(|error| panic!("{error}\n{}", scene.log())).to_lowercase();
            let seen = if handover { own.to_string() } else { "127.0.0.1".to_owned() };
            assert!(head.contains(&format!("x-forwarded-for: {seen}")), "{head}");
        }
        assert_eq!(["site-1", "site-2"].map(|name| scene.figure(name, "live").unwrap()), [2, 2]);
        let mut waiting = scene.connect().unwrap();
        waiting.ask(HEALTH).unwrap();
        scene.wait_for("it waits", |page| page["waiting"]["now"] == 1).unwrap();
        drop(clients);
        waiting.answer().unwrap();
        scene.wait_for("one is left", |page| page["servers"][0]["live"].as_u64() < Some(2)).unwrap();
        assert_eq!(scene.figure("site-1", "restarts").unwrap(), 0, "{}", scene.log());
        scene.stop().unwrap();
    }
}

/// SIGHUP reaches the processes, which read the file themselves, and SIGUSR1, which reopens their logs, ends nobody.
#[test]
fn a_reload_reaches_the_sites() {
    if !can_load("a reload of a Site's processes") {
        return;
    }
    let web = format!("{}\naccess_log = \"access.log\"", both());
    let mut scene = scene("hang_after = \"2s\"", &web);
    scene.start().unwrap();
    let worker = scene.worker().unwrap();
    let pids = ["site-1", "site-2"].map(|name| scene.pid(name).unwrap());
    scene.keeper().signal(Signal::HUP).unwrap();
    let reloaded = || scene.log().lines().filter(|line| line.contains("reloaded")).count();
    assert!(eventually(PATIENCE, || reloaded() == 2), "{}", scene.log());
    // As logrotate does: each process begins the file anew.
    fs::rename(scene.beside("access.log"), scene.beside("access.log.1")).unwrap();
    scene.keeper().signal(Signal::USR1).unwrap();
    let lines = || fs::read_to_string(scene.beside("access.log")).unwrap_or_default().lines().count();
    let is_written = || {
        let before = lines();
        // Connections come to both in turn.
        (0..2).for_each(|_| _ = ask(&scene, HEALTH, "").unwrap());
        eventually(std::time::Duration::from_secs(1), || lines() == before + 2)
    };
    assert!(eventually(PATIENCE, is_written), "{}", scene.log());
    scene.keeper().signal(Signal::USR2).unwrap();
    assert!(eventually(PATIENCE, || scene.log().contains("SIGUSR2 means nothing")), "{}", scene.log());
    assert_eq!(["site-1", "site-2"].map(|name| scene.pid(name).unwrap()), pids, "{}", scene.log());
    assert_eq!(scene.worker().unwrap(), worker);
    scene.stop().unwrap();
}

/// Processes of another user than the director's are asked all the same, and HTTPS is theirs, too.
#[test]
fn sites_of_another_user_with_https() {
    if !can_load("a Site's processes of another user") {
        return;
    }
    let program = binary().unwrap();
    let test = ["-u", "nobody", "--", "test", "-x"].map(str::to_owned);
    let readable = Command::new("runuser").args(test).arg(&program).status();
    if !readable.is_ok_and(|status| status.success()) {
        return eprintln!("NOT TESTED: {} is not for the user nobody", program.display());
    }
    let web = format!("listen = [\"{PLACE_V6}\"]\ntls = {{ listen = [\"{PLACE}\"], certificates = \".\" }}");
    let mut scene = scene("user = \"nobody\"\nhang_after = \"2s\"", &web);
    let names = ["app.com", "*.app.com"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    fs::write(scene.beside("app.com.pem"), cert.pem() + &signing_key.serialize_pem()).unwrap();
    for (path, mode) in [("", 0o755), ("key", 0o644), ("app.com.pem", 0o644)] {
        rustix::fs::chmod(scene.beside(path), mode.into()).unwrap();
    }
    scene.start().unwrap();
    for name in ["site-1", "site-2"] {
        let status = fs::read_to_string(format!("/proc/{}/status", scene.pid(name).unwrap())).unwrap();
        assert!(!status.contains("Uid:\t0"), "{status}");
        assert!(of_site(&scene, name, "metrics").unwrap().contains("zerottl_site_"), "{}", scene.log());
    }
    for _ in 0..4 {
        let url = format!("https://boston.app.com:8080{HEALTH}");
        let resolve = "boston.app.com:8080:10.7.0.1";
        let head = scene.client.read("curl", &["-sSfk", "--resolve", resolve, &url]).unwrap();
        assert!(head.to_lowercase().contains("x-forwarded-proto: https"), "{head}");
    }
    scene.connect_to(PLACE_V6).unwrap().get(HEALTH).unwrap();
    scene.stop().unwrap();
}
