//! Agents that take over from others, and some that fail at it.

use std::{
    fs, io,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::{Agent, attached},
    checker::Pace,
    config::Config,
    lab::Lab,
    process::Process,
    program::{binary, under, until_ready},
    scene::Scene,
    under_load::under_load,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "upgrades",
    promise: "An upgrade, a rollback and a take-over from an agent that hangs lose no answer; nor does an upgrade that is refused its configuration, exits, crashes, has no descriptors, or is killed at any moment of its start",
    alone: true,
    run: upgrades,
}];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 20_000, duration: Duration::from_hours(1), sockets: 8 };
/// The time of a start, within which its death comes.
const START: Duration = Duration::from_millis(400);

/// Takes over, and checks that another program is on the same link.
fn take_over(agent: &mut Agent, how: &str) {
    let program = |agent: &Agent| agent.attached("eth0").expect("ip link").expect("attached").0;
    let before = program(agent);
    agent.restart(&["--take-over"]).unwrap_or_else(|error| panic!("{how}: {error}"));
    assert_ne!(before, program(agent), "{how}: another program, on the same link");
}

/// Starts an agent that must not come to be ready, under another program, and checks that nothing has changed.
fn fails(agent: &mut Agent, lab: &Lab, how: &str, wrapper: &[&str]) {
    let before = agent.attached("eth0").expect("ip link");
    let wrapper: Vec<String> = wrapper.iter().map(ToString::to_string).collect();
    let mut command = under(&wrapper).expect("programs");
    command.arg("run").arg("--config").arg(agent.folder().join("zerottl.toml")).arg("--take-over");
    let started = until_ready(&lab.fronts[0], agent.folder(), command);
    assert!(started.is_err(), "{how}: it must not start");
    assert!(agent.runs(), "{how}: the one before goes on\n{}", agent.log());
    assert_eq!(agent.attached("eth0").expect("ip link"), before, "{how}: the program that there was");
}

/// Starts an agent that is to take over, and kills it after a while.
fn dies(agent: &mut Agent, lab: &Lab, after: Duration) -> io::Result<()> {
    let mut command = Command::new(binary()?);
    command.arg("run").arg("--config").arg(agent.folder().join("zerottl.toml")).arg("--take-over");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process::new(lab.fronts[0].spawn(command)?);
    thread::sleep(after);
    process.kill();
    assert!(attached(&lab.fronts[0], "eth0")?.is_some(), "killed after {after:?}: no program");
    // Whoever is there, or nobody, the next one takes over.
    agent.restart(&["--take-over"])
}

fn upgrades(length: Length) -> ChaosOutcome {
    let (rounds, deaths): (u32, u32) = length.of((1, 2), (25, 10));
    let mut scene = Scene::start("upgrades under load", Config::default()).expect("root");
    let before = scene.kernel_answers();
    let (report, ()) = under_load(&mut scene, PACE, |agent, lab, config| {
        for round in 0..rounds {
            take_over(agent, "upgrade");
            take_over(agent, "rollback");
            // It neither answers nor leaves.
            agent.signal(Signal::STOP).expect("stopped");
            take_over(agent, "hung");
            fails(agent, lab, "a binary that exits", &["false"]);
            fails(agent, lab, "a binary that crashes, for want of memory", &["prlimit", "--as=20000000"]);
            fails(agent, lab, "no descriptors", &["prlimit", "--nofile=12"]);
            let file = config.write(agent.folder()).expect("written");
            let good = fs::read_to_string(&file).expect("read");
            fs::write(&file, format!("{good}\n[nonsense]\n")).expect("written");
            fails(agent, lab, "a configuration that it refuses", &[]);
            fs::write(&file, good).expect("written");
            for death in 0..deaths {
                // Other moments in each round.
                let after = START * (death * rounds + round) / (deaths * rounds);
                dies(agent, lab, after).unwrap_or_else(|error| panic!("killed after {after:?}: {error}"));
            }
        }
    });
    let counted = scene.kernel_answers() - before;
    let figure = format!(
        "{} take-overs, {} upgrades that fail, {} killed at moments of their start, under {} queries: {} lost, {} wrong, {} \
         counted in the kernel",
        3 * rounds,
        4 * rounds,
        deaths * rounds,
        count(report.sent),
        report.lost,
        report.wrong,
        count(counted),
    );
    ChaosOutcome::held_if(report.is_clean() && counted == report.sent, figure)
}
