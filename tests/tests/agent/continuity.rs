//! Answers go on where an agent cannot start, where none runs any more, and over an interface that changes. That agents are killed,
//! reloaded and replaced under load are scenarios of `chaos.rs`.
//!
//! Each of these wants the machine to itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{
    agent::{Agent, attached},
    config::Config,
    process::eventually,
    scene::Scene,
    turn::alone,
};

/// A start that fails leaves the agent that serves: a second agent, a bad file, an agent without the right to load programs.
#[test]
fn what_cannot_start_changes_nothing() {
    let _alone = alone();
    let Some(mut scene) = Scene::start("a second agent, and bad ones", Config::default()) else { return };
    let program = scene.agent.attached("eth0").expect("ip link").expect("attached");
    let refused = Agent::start(&scene.lab, 0, &scene.config).expect_err("the first one runs").to_string();
    assert!(refused.contains("another agent (process") && refused.contains("--take-over"), "{refused}");
    assert!(refused.contains(&scene.agent.pid().to_string()), "{refused}");
    let bad = Config { more: "[nonsense]\n".into(), ..scene.config.clone() };
    Agent::start(&scene.lab, 0, &bad).expect_err("a bad file");
    assert_eq!(scene.agent.attached("eth0").expect("ip link"), Some(program.clone()));
    // A reload of a bad file is refused with the place, and of what cannot change.
    for (more, said) in
        [("[nonsense]\n", "nonsense"), ("[agent]\npins = \"/sys/fs/bpf/two\"\n", "a reload cannot change it")]
    {
        let config = Config { more: more.into(), ..scene.config.clone() };
        config.write(scene.agent.folder()).expect("written");
        scene.agent.signal(Signal::HUP).expect("told");
        assert!(eventually(Duration::from_secs(10), || scene.agent.log().contains(said)), "{}", scene.agent.log());
    }
    assert_eq!(scene.agent.attached("eth0").expect("ip link"), Some(program));
    scene.client(false).lookup("app.com", false).expect("answered as before");
}

/// `on_stop = "keep"` and SIGUSR1 leave the program answering; `status` says what goes on without an agent and how old its
/// plan is; `detach` ends it and leaves nothing.
#[test]
fn a_program_that_is_left() {
    let _alone = alone();
    for (more, signal) in [("[agent]\non_stop = \"keep\"\n", Signal::TERM), ("", Signal::USR1)] {
        let config = Config { probe: None, more: more.into(), ..Config::default() };
        let Some(mut scene) = Scene::start("on_stop = keep", config) else { return };
        scene.agent.end(signal).unwrap_or_else(|e| panic!("{e}"));
        scene.client(false).lookup("app.com", false).expect("answered without an agent");
        let status = scene.agent.output(&["status"]).expect("run");
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(!status.status.success() && said.contains("no agent runs"), "{said}");
        assert!(said.contains("eth0: native") && said.contains("plan 1, confirmed"), "{said}");
        assert!(said.contains("answer-a"), "{said}");
        let said = scene.agent.zerottl(&["detach"]).expect("detached");
        assert!(said.starts_with("detached from eth0"), "{said}");
        assert_eq!(attached(&scene.lab.fronts[0], "eth0").expect("ip link"), None);
        let said = scene.agent.zerottl(&["detach"]).expect("nothing to do");
        assert!(said.contains("nothing is there"), "{said}");
        assert!(scene.client(false).lookup("app.com", false).is_err(), "nobody answers");
    }
}

/// An interface that goes down and up, is renamed and renamed back, has its MTU changed: answering within a second of its return.
#[test]
fn an_interface_that_changes() {
    let _alone = alone();
    let Some(scene) = Scene::start("an interface that changes", Config { probe: None, ..Config::default() }) else {
        return;
    };
    let front = &scene.lab.fronts[0];
    let answers = |what: &str| {
        let since = Instant::now();
        let client = scene.client(false);
        client.give_up_after(Duration::from_millis(50)).expect("a time-out");
        let before = scene.kernel_answers();
        let answered = || client.lookup("app.com", false).is_ok() && scene.kernel_answers() > before;
        assert!(eventually(Duration::from_secs(1), answered), "{what}: not answered after {:?}", since.elapsed());
    };
    answers("as it was");
    let addresses = front.read("ip", &["-br", "address", "show", "eth0"]).expect("ip");
    front.ip("link set eth0 down\nlink set eth0 up").expect("down and up");
    // IPv6 addresses go with the link, which is the kernel's doing.
    println!("{addresses}");
    answers("down and up");
    front.ip("link set eth0 mtu 1400").expect("MTU");
    answers("a smaller MTU");
    front.ip("link set eth0 mtu 1500").expect("MTU");
    answers("the MTU as before");
    front.ip("link set eth0 down\nlink set eth0 name other\nlink set other up").expect("renamed");
    let gone = || attached(front, "other").expect("ip link").is_none();
    assert!(eventually(Duration::from_secs(2), gone), "off an interface that bears no configured name");
    front.ip("link set other down\nlink set other name eth0\nlink set eth0 up").expect("renamed back");
    answers("renamed and back");
    let log = scene.agent.log();
    assert!(log.contains("the interface is gone"), "{log}");
}
