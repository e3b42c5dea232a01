//! Configurations that change under load, good ones and bad ones.

use std::{fs, time::Duration};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{agent::Agent, checker::Pace, config::Config, scene::Scene, under_load::under_load, usage::Usage};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "reloads",
    promise: "Reloads of good and bad files in turn lose no answer: a good one is in force when it is said to be, a bad one is refused and leaves the program that there was, and the agent keeps neither memory nor descriptors",
    alone: true,
    run: reloads,
}];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 10_000, duration: Duration::from_hours(1), sockets: 8 };
/// Reloads after which everything that is kept for good has been made.
const WARM: u32 = 8;
/// Memory that may come on top over all reloads: allocators keep some of what they had. KiB.
const KEPT_MAX: u64 = 4 << 10;

/// Lines that make a file bad, and words that the refusal has to have.
const BAD: [(&str, &str); 5] = [
    ("[nonsense]\n", "nonsense"),
    ("[agent]\npins = \"/sys/fs/bpf/two\"\n", "a reload cannot change it"),
    ("[pool.\"else.app.com\"]\nsites = [\"nobody\"]\n", "nobody"),
    ("[site.far]\nname = \"far.app.com\" nonsense\n", "nonsense"),
    ("[site.far]\nname = \"far.app.com\"\naddresses = [\"192.0.2.300\"]\n", "192.0.2.300"),
];

/// One reload; why it was not as it should be, if so.
fn reload(agent: &Agent, config: &Config, number: u32) -> Result<(), String> {
    let mut config = config.clone();
    // Weights change what is answered how often, and nothing that the checker would call wrong.
    config.sites.iter_mut().for_each(|site| site.weight = 1 + number % 3);
    let file = config.write(agent.folder()).map_err(|error| error.to_string())?;
    let bad = (number % 2 == 1).then(|| BAD[number as usize / 2 % BAD.len()]);
    if let Some((lines, _)) = bad {
        let text = fs::read_to_string(&file).and_then(|text| fs::write(&file, text + lines));
        text.map_err(|error| error.to_string())?;
    }
    let program = |when: &str| agent.attached("eth0").ok().flatten().ok_or_else(|| format!("{when}: no program"));
    let before = program("before")?;
    let output = agent.output(&["reload"]).map_err(|error| error.to_string())?;
    let (after, said) = (program("after")?, String::from_utf8_lossy(&output.stderr).into_owned());
    match bad {
        None if output.status.success() && after != before => Ok(()),
        Some((_, words)) if !output.status.success() && after == before && said.contains(words) => Ok(()),
        _ => {
            Err(format!("reload {number}, bad: {bad:?}: {}, program {before:?}, then {after:?}: {said}", output.status))
        }
    }
}

fn reloads(length: Length) -> ChaosOutcome {
    let times: u32 = length.of(20, 1_000);
    let mut scene = Scene::start("reloads under load", Config::default()).expect("root");
    let (report, done) = under_load(&mut scene, PACE, |agent, _, config| {
        let usage = |agent: &Agent| Usage::read(agent.pid()).expect("it runs");
        (0..WARM).try_for_each(|number| reload(agent, config, number))?;
        let before = usage(agent);
        (WARM..times).try_for_each(|number| reload(agent, config, number))?;
        Ok::<_, String>((before, usage(agent)))
    });
    let (before, after) = match done {
        Ok(usage) => usage,
        Err(why) => return ChaosOutcome::broken(why),
    };
    let figure = format!(
        "{} reloads, half of them of bad files, under {} queries: {} lost, {} wrong; each was as it should be; memory {:.1} MB, \
         then {:.1} MB; descriptors {}, then {}",
        count(times.into()),
        count(report.sent),
        report.lost,
        report.wrong,
        mega(before.memory),
        mega(after.memory),
        before.descriptors,
        after.descriptors,
    );
    ChaosOutcome::held_if(report.is_clean() && after.is_flat_since(before, KEPT_MAX), figure)
}

fn mega(kibibytes: u64) -> f64 {
    f64::from(u32::try_from(kibibytes).unwrap_or(u32::MAX)) * 1.024 / 1000.0
}
