//! Start, end and the commands beside `run`.

use std::{net::IpAddr, time::Duration};

use aya::programs::loaded_programs;
use rustix::process::Signal;
use serde_json::Value;
use tests::{
    agent::{Agent, attached},
    client::Client,
    config::Config,
    lab::{Lab, LabSpec, can_run, front_addresses},
    process::eventually,
    scene::Scene,
};

fn is_loaded(program: u64) -> bool {
    loaded_programs().flatten().any(|info| u64::from(info.id()) == program)
}

fn start(lab: &Lab, config: &Config) -> Agent {
    Agent::start(lab, 0, config).unwrap_or_else(|e| panic!("{e}"))
}

fn bare_lab() -> Lab {
    Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).expect("lab")
}

/// SIGTERM and SIGINT detach the program, free it and end with success; the interface is as it was, and a new agent
/// can take it.
#[test]
fn a_signal_detaches_cleanly() {
    if !can_run("clean detach on SIGTERM and SIGINT") {
        return;
    }
    let lab = bare_lab();
    for xdp in ["native", "generic"] {
        let config = Config { xdp: xdp.into(), probe: None, ..Config::default() };
        for signal in [Signal::TERM, Signal::INT] {
            let agent = start(&lab, &config);
            let (program, mode) = agent.attached("eth0").expect("ip link").expect("attached");
            assert!(mode == xdp && is_loaded(program));
            let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("client");
            client.lookup("app.com", false).expect("answer");
            agent.stop(signal).unwrap_or_else(|e| panic!("{signal:?}: {e}"));
            assert_eq!(attached(&lab.fronts[0], "eth0").expect("ip link"), None, "{signal:?}");
            // The kernel frees a program after a grace period.
            assert!(
                eventually(Duration::from_secs(5), || !is_loaded(program)),
                "{signal:?}: program {program} is left"
            );
            let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("client");
            assert!(client.lookup("app.com", false).is_err(), "nobody answers");
        }
    }
}

/// After SIGKILL, which leaves no time to clean up, the next agent starts on the same interface and answers.
#[test]
fn an_agent_starts_where_another_was_killed() {
    if !can_run("a start after SIGKILL") {
        return;
    }
    let lab = bare_lab();
    let config = Config { probe: None, ..Config::default() };
    for _ in 0..2 {
        // Dropping an agent kills it.
        let agent = start(&lab, &config);
        let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("client");
        client.lookup("app.com", false).expect("answer");
        drop(agent);
    }
    let agent = start(&lab, &config);
    let before = agent.status().expect("status").kernel_answers();
    let client = Client::new(&lab.client, None, front_addresses(0)[1]).expect("client");
    client.lookup("app.com", true).expect("answer");
    assert_eq!(agent.status().expect("status").kernel_answers() - before, 1);
    agent.stop(Signal::TERM).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(attached(&lab.fronts[0], "eth0").expect("ip link"), None);
}

/// An interface that goes is told in the status; one that comes back under its name gets the program again.
#[test]
fn an_interface_that_goes_and_comes_back() {
    if !can_run("an interface that goes and comes back") {
        return;
    }
    let lab = bare_lab();
    let front = &lab.fronts[0];
    let add = "link add spare0 type veth peer name spare1";
    front.ip(add).expect("a second interface");
    let interfaces = vec!["eth0".into(), "spare0".into()];
    let agent = start(&lab, &Config { probe: None, interfaces, ..Config::default() });
    let told = |mode: &str, note: &str| {
        eventually(Duration::from_secs(10), || {
            let page = agent.status().expect("status").0;
            let spare = &page["front"]["attach"][1];
            spare["mode"] == mode && spare["note"].as_str().is_some_and(|text| text.contains(note))
        })
    };
    let first = agent.attached("spare0").expect("ip link").expect("attached");
    for _ in 0..2 {
        front.ip("link del spare0").expect("gone");
        assert!(told("off", "the interface is gone"), "{:?}", agent.status());
        front.ip(add).expect("back");
        assert!(told("native", ""), "{:?}", agent.status());
        assert_eq!(agent.attached("spare0").expect("ip link").as_ref(), Some(&first), "the same program");
    }
    let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("client");
    client.lookup("app.com", false).expect("the other interface never minded");
    front.ip("link del spare0").expect("gone");
    agent.stop(Signal::TERM).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(attached(front, "eth0").expect("ip link"), None);
}

/// `check`, `status`, `explain`, `/metrics`: they run where the agent runs and say what is so.
#[test]
fn the_commands_beside_run() {
    let Some(scene) = Scene::start("check, status, explain, /metrics", Config::default()) else { return };
    let file = scene.agent.folder().join("zerottl.toml");
    let file = file.to_str().expect("a path in ASCII");
    scene.agent.zerottl(&["check", "--config", file]).expect("a valid file");
    let text = scene.agent.zerottl(&["status", "--json"]).expect("status");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["sites"].as_array().map(Vec::len), Some(3));
    let text = scene.agent.zerottl(&["status"]).expect("status");
    assert!(["geneva", "boston", "chicago", "native"].iter().all(|word| text.contains(word)), "{text}");

    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let text = scene.agent.zerottl(&["explain", "boston.app.com"]).expect("explain");
    let chicago = scene.address("chicago", false).to_string();
    assert!(text.contains("boston") && text.contains(&chicago), "says who answers instead:\n{text}");
    let text = scene.agent.zerottl(&["explain", "app.com", "--client", "198.51.100.10", "--json"]).expect("explain");
    let _: Value = serde_json::from_str(&text).expect("JSON");

    let before = scene.kernel_answers();
    scene.client(false).lookup("app.com", false).expect("answer");
    assert_eq!(scene.kernel_answers() - before, 1);
    let metrics = scene.agent.get("/metrics").expect("metrics");
    let names = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut count = 0;
    for line in names {
        assert!(line.starts_with("zerottl_"), "{line}");
        count += 1;
    }
    assert!(count > 10, "{metrics}");
}

/// A bad file is refused with the place, and nothing is attached.
#[test]
fn a_bad_file_is_refused() {
    if !can_run("a bad configuration file") {
        return;
    }
    let lab = bare_lab();
    let config = Config { probe: None, more: "[nonsense]\n".into(), ..Config::default() };
    let refused = Agent::start(&lab, 0, &config).expect_err("it must not start").to_string();
    assert!(refused.contains("nonsense") && refused.contains("zerottl.toml"), "{refused}");
    let addresses = vec![IpAddr::from([203, 0, 113, 99])];
    let taken = Config { probe: None, addresses, front: "freebind = false".into(), ..Config::default() };
    let refused = Agent::start(&lab, 0, &taken).expect_err("not an address of this machine").to_string();
    assert!(refused.contains("203.0.113.99"), "{refused}");
    assert_eq!(attached(&lab.fronts[0], "eth0").expect("ip link"), None);
}
