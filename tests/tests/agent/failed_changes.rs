//! Changes that fail: whatever is wrong with a new configuration, and however it comes, the program in force goes on
//! answering by the plan that it has, no query is lost, and the error names the cause.
//!
//! Each of these wants the machine to itself.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};

use rustix::process::Signal;
use tests::{
    agent::{Agent, attached},
    checker::Pace,
    client::Client,
    config::Config,
    lab::{Lab, LabSpec, can_run},
    process::eventually,
    scene::Scene,
    turn::alone,
    under_load::under_load,
};

/// The load goes on until `meanwhile` is done; this is only its bound.
const PACE: Pace = Pace { rate: 2_000, duration: Duration::from_mins(2), sockets: 8 };
/// Where agents pin, in each front's own bpffs.
const PINS: &str = "/sys/fs/bpf/zerottl";
/// An address of the front that this test listens on.
const TAKEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const TAKEN_PORT: u16 = 8_099;

/// Something wrong with a configuration.
struct Fault {
    what: &'static str,
    config: Config,
    /// Text at the end of the file.
    end: String,
    /// Words that the error has to have, where a start can fail for it at all.
    words: Option<&'static str>,
    /// Words that it has to have where a running agent reloads.
    reload_words: Option<&'static str>,
}

fn faults(good: &Config) -> Vec<Fault> {
    let fault =
        |what, words, config| Fault { what, config, end: String::new(), words: Some(words), reload_words: Some(words) };
    let interfaces = |bad: &str| vec!["eth0".to_owned(), bad.to_owned()];
    let mut addresses = good.addresses.clone();
    addresses.push(IpAddr::from(TAKEN));
    let admin = format!("listen = \"127.0.0.1:{TAKEN_PORT}\"");
    let same = |what: &'static str| Some(what);
    vec![
        fault("interface name", "nowhere0", Config { interfaces: interfaces("nowhere0"), ..good.clone() }),
        fault("mode", "br9", Config { interfaces: interfaces("br9"), ..good.clone() }),
        fault("address", "127.0.0.9", Config { addresses, ..good.clone() }),
        Fault {
            reload_words: same("[admin] `listen`"),
            ..fault("admin port", "8099", Config { admin, ..good.clone() })
        },
        fault("file", "nonsense", Config { more: "[nonsense]\n".into(), ..good.clone() }),
        Fault {
            reload_words: same("[agent] `pins`"),
            ..fault(
                "pins",
                "no bpffs",
                Config { more: "[agent]\npins = \"/run/zerottl/pins\"\n".into(), ..good.clone() },
            )
        },
        Fault {
            // A warning is all there is to a start without one.
            words: None,
            reload_words: same("[state] `directory`"),
            ..fault("state directory", "", Config { state: Some("/proc/zerottl".into()), ..good.clone() })
        },
        Fault { end: long_line(), words: None, reload_words: None, ..fault("long line", "", good.clone()) },
    ]
}

/// A fault far to the right, as in a generated list.
fn long_line() -> String {
    format!("\n[site.far]\nname = \"{}\" nonsense\n", "a".repeat(70_000))
}

fn write(config: &Config, end: &str, folder: &Path) {
    let file = config.write(folder).expect("written");
    let text = fs::read_to_string(&file).expect("read") + end;
    fs::write(&file, text).expect("written");
}

/// Returns the part of the log that is new.
fn said(agent: &Agent, before: usize) -> String {
    agent.log().get(before..).unwrap_or_default().to_owned()
}

/// Checks what holds after a failed change: the program is the one before, and nothing is on the other interface.
fn is_as_before(lab: &Lab, before: &(u64, String), row: &str) {
    let front = &lab.fronts[0];
    assert_eq!(attached(front, "eth0").expect("ip link").as_ref(), Some(before), "{row}: the program on eth0");
    assert_eq!(attached(front, "br9").expect("ip link"), None, "{row}: nothing on the other interface");
}

/// One row of the matrix; what was said.
fn change(agent: &mut Agent, lab: &Lab, way: &str, fault: &Fault) -> String {
    let folder = agent.folder().to_owned();
    let before = agent.attached("eth0").expect("ip link").expect("attached");
    match way {
        "restart after kill -9" => agent.kill(),
        "restart after SIGUSR1" => agent.end(Signal::USR1).expect("left"),
        _ => {}
    }
    write(&fault.config, &fault.end, &folder);
    let (start, pid) = (agent.log().len(), agent.pid());
    let row = format!("{way}, {}", fault.what);
    let words = if way == "reload" { fault.reload_words } else { fault.words };
    let failed = match way {
        "reload" => {
            let output = agent.output(&["reload"]).expect("run");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            if let Some(words) = words {
                assert!(told.contains(words), "{row}: who asked is told: {told}");
            }
            (!output.status.success()).then_some(told)
        }
        "take-over" => agent.restart(&["--take-over"]).err().map(|_| said(agent, start)),
        _ => agent.restart(&[]).err().map(|_| said(agent, start)),
    };
    if let Some(words) = words {
        let told = failed.clone().unwrap_or_else(|| panic!("{row}: it must not go well"));
        assert!(told.contains(words), "{row}: {words} is not named in: {told}");
    }
    if failed.is_some() {
        is_as_before(lab, &before, &row);
        if way == "reload" || way == "take-over" {
            assert!(agent.runs() && agent.pid() == pid, "{row}: the agent in force runs on");
            assert!(agent.status().is_ok(), "{row}: and says so");
        }
    }
    failed.unwrap_or_else(|| "went well".into())
}

/// Every way that a configuration comes by, with everything that can be wrong with it, under load: 0 lost, and the error names
/// the cause.
#[test]
fn whatever_is_wrong_the_old_one_answers_on() {
    let _alone = alone();
    let good = Config { probe: None, ..Config::default() };
    let Some(mut scene) = Scene::start("changes that fail, under load", good.clone()) else { return };
    let front = &scene.lab.fronts[0];
    front.ip("link add br9 type bridge\nlink set br9 up").expect("an interface without native XDP");
    let taken = front.run(|| {
        let udp = UdpSocket::bind((TAKEN, 53)).expect("bound");
        (udp, TcpListener::bind((Ipv4Addr::LOCALHOST, TAKEN_PORT)).expect("bound"))
    });
    let _taken = taken.expect("a thread");
    let mut table = Vec::new();
    for way in ["restart after kill -9", "restart after SIGUSR1", "reload", "take-over"] {
        for fault in faults(&good) {
            let (report, told) = under_load(&mut scene, PACE, |agent, lab, _| change(agent, lab, way, &fault));
            let first = told.lines().find(|line| line.contains("rror")).or(told.lines().last()).unwrap_or_default();
            let first: String = first.chars().take(100).collect();
            table.push(format!(
                "{way:22} {:16} {:6} {:5} {:5}  {first}",
                fault.what, report.sent, report.lost, report.wrong
            ));
            println!("{}", table.last().expect("pushed"));
            assert!(report.is_clean(), "{way}, {}: {report}\n{told}", fault.what);
            // The next row begins with an agent again, with the right file.
            good.write(scene.agent.folder()).expect("written");
            if scene.agent.runs() {
                scene
                    .agent
                    .zerottl(&["reload"])
                    .or_else(|_| scene.agent.restart(&["--take-over"]).map(|()| String::new()))
            } else {
                scene.agent.restart(&[]).map(|()| String::new())
            }
            .unwrap_or_else(|error| panic!("{way}, {}: the right file: {error}", fault.what));
        }
    }
    println!("{:22} {:16} {:>6} {:>5} {:>5}  said\n{}", "way", "fault", "sent", "lost", "wrong", table.join("\n"));
}

/// A first start that fails leaves nothing: no program on either interface, no folder.
#[test]
fn a_failed_start_leaves_nothing() {
    let _alone = alone();
    if !can_run("starts that fail") {
        return;
    }
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).expect("lab");
    let front = &lab.fronts[0];
    front.ip("link add br9 type bridge\nlink set br9 up").expect("an interface without native XDP");
    let taken = front.run(|| {
        let udp = UdpSocket::bind((TAKEN, 53)).expect("bound");
        (udp, TcpListener::bind((Ipv4Addr::LOCALHOST, TAKEN_PORT)).expect("bound"))
    });
    let _taken = taken.expect("a thread");
    let good = Config { probe: None, ..Config::default() };
    let deep = Config {
        interfaces: vec!["eth0".into(), "br9".into()],
        more: format!("[agent]\npins = \"{PINS}/one/two\"\n"),
        ..good.clone()
    };
    let deep = Fault { what: "deep pins", config: deep, end: String::new(), words: Some("br9"), reload_words: None };
    for fault in faults(&good).into_iter().chain([deep]) {
        let Some(words) = fault.words else { continue };
        let refused = Agent::start(&lab, 0, &fault.config).expect_err(fault.what).to_string();
        println!("start, {}: {}", fault.what, refused.lines().last().unwrap_or_default());
        assert!(refused.contains(words), "{}: {words} is not named: {refused}", fault.what);
        for interface in ["eth0", "br9"] {
            assert_eq!(attached(front, interface).expect("ip link"), None, "{}: {interface}", fault.what);
        }
        let is_left = front.run(|| Path::new(PINS).exists()).expect("a thread");
        assert!(!is_left, "{}: a folder is left", fault.what);
    }
}

/// `xdp = "off"` after a program was left: it is taken off, and the sockets answer everything without a gap.
#[test]
fn off_is_off() {
    let _alone = alone();
    for way in ["SIGUSR1", "kill -9"] {
        let good = Config { probe: None, ..Config::default() };
        let Some(mut scene) = Scene::start("a restart with xdp = off", good.clone()) else { return };
        let off = Config { xdp: "off".into(), ..good };
        let (report, ()) = under_load(&mut scene, PACE, |agent, _, _| {
            off.write(agent.folder()).expect("written");
            if way == "SIGUSR1" {
                agent.end(Signal::USR1).expect("left");
            } else {
                agent.kill();
            }
            agent.restart(&[]).unwrap_or_else(|error| panic!("{error}"));
        });
        println!("off after {way}: {report}");
        assert!(report.is_clean(), "{way}: {report}");
        assert_eq!(attached(&scene.lab.fronts[0], "eth0").expect("ip link"), None, "{way}");
        assert!(!scene.lab.fronts[0].run(|| Path::new(PINS).exists()).expect("a thread"), "{way}: a folder is left");
        scene.agent.kill();
        assert!(scene.client(false).lookup("app.com", false).is_err(), "{way}: nobody answers");
    }
}

/// A mode that an interface does not take, where the program sits on it in the other: it is put back as it was.
#[test]
fn a_mode_that_fails_is_taken_back() {
    let _alone = alone();
    let spec = LabSpec { mtu: 9000, sites: vec![], ..LabSpec::default() };
    let generic = Config { xdp: "generic".into(), probe: None, ..Config::default() };
    let Some(mut scene) = Scene::in_lab("a mode that fails", &spec, generic.clone()) else { return };
    let before = scene.agent.attached("eth0").expect("ip link").expect("attached");
    scene.agent.kill();
    Config { xdp: "native".into(), ..generic.clone() }.write(scene.agent.folder()).expect("written");
    let refused = scene.agent.restart(&[]).expect_err("beyond native's MTU").to_string();
    assert!(refused.contains("mtu 1500"), "{refused}");
    assert_eq!(attached(&scene.lab.fronts[0], "eth0").expect("ip link"), Some(before), "the program before");
    scene.client(false).lookup("app.com", false).expect("it answers without an agent");
    generic.write(scene.agent.folder()).expect("written");
    scene.agent.restart(&[]).expect("taken over");
    scene.client(true).lookup("app.com", true).expect("answered");
}

/// Ones that go well: from native to generic and back, and interfaces that come.
#[test]
fn a_mode_that_changes() {
    let _alone = alone();
    let native = Config { probe: None, ..Config::default() };
    let Some(mut scene) = Scene::start("a mode that changes", native.clone()) else { return };
    let front = std::sync::Arc::clone(&scene.lab.fronts[0]);
    front.ip("link add spare0 type veth peer name spare1").expect("a second interface");
    for (xdp, arguments) in [("generic", &[][..]), ("native", &["--take-over"]), ("generic", &["--take-over"])] {
        let interfaces = vec!["eth0".to_owned(), "spare0".to_owned()];
        Config { xdp: xdp.into(), interfaces, ..native.clone() }.write(scene.agent.folder()).expect("written");
        if arguments.is_empty() {
            scene.agent.end(Signal::USR1).expect("left");
        }
        scene.agent.restart(arguments).unwrap_or_else(|error| panic!("{xdp}: {error}"));
        for interface in ["eth0", "spare0"] {
            let now = attached(&front, interface).expect("ip link").map(|(_, mode)| mode);
            assert_eq!(now.as_deref(), Some(xdp), "{interface}");
        }
        scene.client(false).lookup("app.com", false).expect("answered");
    }
    scene.agent.end(Signal::TERM).expect("ended");
    assert_eq!(attached(&front, "spare0").expect("ip link"), None);
    assert!(!front.run(|| Path::new(PINS).exists()).expect("a thread"), "a folder is left");
}

/// `auto` on a veth is generic, which reaches any other end; `native` is told.
#[test]
fn veth_is_generic_unless_told() {
    let _alone = alone();
    for (xdp, mode) in [("auto", "generic"), ("native", "native")] {
        let config = Config { xdp: xdp.into(), probe: None, ..Config::default() };
        let Some(scene) = Scene::start("xdp = auto on a veth", config) else { return };
        assert_eq!(scene.agent.attached("eth0").expect("ip link").expect("attached").1, mode);
        let status = scene.agent.zerottl(&["status"]).expect("status");
        assert!(status.contains("veth") && status.contains(mode), "{status}");
        assert!(scene.agent.log().contains("veth"), "{}", scene.agent.log());
        let client = scene.client(false);
        client.lookup("app.com", false).expect("answered");
        assert_eq!(scene.kernel_answers(), 1);
    }
}

/// An address that comes after the agent is answered on; until then a warning says so.
#[test]
fn an_address_that_comes_late() {
    let _alone = alone();
    let late = IpAddr::from([203, 0, 113, 77]);
    let mut config = Config { probe: None, ..Config::default() };
    config.addresses.push(late);
    config.addresses.push("2001:db8::77".parse().expect("an address"));
    let Some(scene) = Scene::start("an address that comes late", config) else { return };
    let warned =
        || scene.agent.zerottl(&["status"]).is_ok_and(|status| status.contains("warning: [front]: 203.0.113.77"));
    assert!(warned(), "{:?}", scene.agent.zerottl(&["status"]));
    assert!(scene.agent.log().contains("203.0.113.77 is on no interface"), "{}", scene.agent.log());
    scene.lab.fronts[0].ip("address add 203.0.113.77/32 dev eth0").expect("there");
    scene.lab.client.ip("route add 203.0.113.77 dev front0").expect("the way to it");
    let client = Client::new(&scene.lab.client, None, (late, 53).into()).expect("client");
    client.lookup("app.com", false).expect("answered");
    let tcp = scene.lab.client.read("dig", &["@203.0.113.77", "+tcp", "+short", "+time=2", "app.com", "SOA"]);
    assert!(tcp.expect("dig").contains("hostmaster"), "the sockets are there too");
    assert!(eventually(Duration::from_secs(20), || !warned()), "the warning ends");
    scene.lab.fronts[0]
        .ip("link add other0 type veth peer name other1\naddress add 203.0.113.78/32 dev other0")
        .expect("ip");
    let elsewhere = Config { addresses: vec![IpAddr::from([203, 0, 113, 78])], ..scene.config.clone() };
    let folder = scene.lab.folder("elsewhere").expect("a folder");
    let file = elsewhere.write(&folder).expect("written");
    let output = scene.agent.output(&["check", "--config", &file.to_string_lossy()]).expect("run");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("203.0.113.78 is on other0"), "{told}");
    assert!(told.contains("add \"other0\" to `interfaces`"), "{told}");
}
