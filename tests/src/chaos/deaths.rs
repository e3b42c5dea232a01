//! Agents that die and come back.

use std::{thread, time::Duration};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{checker::Pace, config::Config, losses::Drops, scene::Scene, under_load::under_load};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "kill-9",
    promise: "An agent that is killed and started again loses no answer: the program answers by itself meanwhile, the next agent takes over what is pinned, and the counters go on",
    alone: true,
    run: killed,
}];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 20_000, duration: Duration::from_mins(10), sockets: 8 };

/// Invariant 5.
fn killed(length: Length) -> ChaosOutcome {
    let times: u64 = length.of(3, 100);
    let mut scene = Scene::start("kill -9 under load", Config::default()).expect("root");
    let before = scene.kernel_answers();
    let dropped = Drops::read(&scene.lab.client, scene.agent.pid()).expect("counters");
    let (report, without) = under_load(&mut scene, PACE, |agent, lab, _| {
        let mut without = 0;
        for _ in 0..times {
            let link = |agent: &crate::agent::Agent| agent.attached("eth0").expect("ip link").map(|(_, mode)| mode);
            let mode = link(agent);
            agent.kill();
            thread::sleep(Duration::from_millis(200));
            without += u64::from(crate::agent::attached(&lab.fronts[0], "eth0").expect("ip link").is_none());
            agent.restart(&[]).expect("started again");
            assert_eq!(link(agent), mode, "attached as before");
        }
        without
    });
    let dropped = Drops::read(&scene.lab.client, scene.agent.pid()).expect("counters").since(dropped);
    let counted = scene.kernel_answers() - before;
    let figure = format!(
        "{} × kill -9 under {} queries: {} lost, {} wrong, {} counted in the kernel, {without} times without a program{}",
        times,
        count(report.sent),
        report.lost,
        report.wrong,
        count(counted),
        if report.is_clean() { String::new() } else { format!("; {dropped}") },
    );
    ChaosOutcome::held_if(report.is_clean() && counted == report.sent && without == 0, figure)
}
