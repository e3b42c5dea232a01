//! Answers go on where an agent cannot start, where none runs any more, and over an interface that changes. That agents are killed,
//! reloaded and replaced under load are scenarios of `chaos.rs`.
//!
//! Each of these wants the machine to itself.

use std::time::Duration;

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
