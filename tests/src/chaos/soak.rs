//! A long time in which everything changes.

use std::{
    fmt::Write as _,
    io,
    time::{Duration, Instant},
};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::Agent, checker::Pace, config::Config, lab::Lab, scene::Scene, under_load::under_load, usage::Usage,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "soak",
    promise: "An hour of queries in which Sites die and return, words and load reports come, commands ask and configurations are reloaded loses no answer, and the agent's memory and descriptors do not grow",
    alone: false,
    run: soak,
}];

/// Queries a second.
const RATE: u64 = 5_000;
/// Rounds in the first half of which one Site is cut off.
const CUT_OFF: u64 = 10;
/// Memory that it may have gained for each hour, by the line that fits its samples best, KiB, if that is seen for long enough.
const GAINED_MAX: f64 = 2_048.0;
/// Memory that it may have gained between the second sample and the last, KiB.
const KEPT_MAX: u64 = 4 << 10;

/// One round of changes, a few seconds long: those that have an end.
fn round(agent: &mut Agent, lab: &Lab, config: &Config, number: u64) -> io::Result<()> {
    let sites = ["geneva", "boston", "chicago"];
    // A Site that is cut off for long enough to be thought down, and returns.
    let cut_off = sites[(number / CUT_OFF % 3) as usize];
    match number % CUT_OFF {
        0 => lab.plug_site(cut_off, false)?,
        turn if turn == CUT_OFF / 2 => lab.plug_site(cut_off, true)?,
        _ => {}
    }
    for word in ["drain", "ready"] {
        agent.post(
            "/v1/sites/word",
            &format!(r#"{{"sites":"{}","word":"{word}"}}"#, sites[(number as usize + 1) % 3]),
        )?;
        for page in ["/v1/status", "/metrics", "/v1/config"] {
            // A page that there is not is asked for as well.
            drop(agent.get(page));
        }
    }
    let mut config = config.clone();
    config.sites.iter_mut().for_each(|site| site.weight = 1 + (number % 3) as u32);
    config.write(agent.folder())?;
    // It waits for the end: one under way has its memory and descriptors beside those in force.
    for arguments in [&["reload"][..], &["status"], &["explain", "app.com"], &["check"], &["top", "--once"]] {
        agent.output(arguments)?;
    }
    Ok(())
}

/// Returns the slope of the line that fits samples best, by their times in hours.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = f64::from(u32::try_from(samples.len()).unwrap_or(u32::MAX));
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let over: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    let under: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

fn soak(length: Length) -> ChaosOutcome {
    let duration = Duration::from_secs(length.of(8, 3_600));
    let mut scene = Scene::start("soak", Config::default()).expect("root");
    let pace = Pace { rate: RATE, duration: duration * 2, sockets: 8 };
    let (report, done) = under_load(&mut scene, pace, |agent, lab, config| {
        let (begun, mut samples, mut rounds) = (Instant::now(), Vec::new(), 0);
        while begun.elapsed() < duration || rounds < 3 {
            round(agent, lab, config, rounds)?;
            let usage = Usage::read(agent.pid())?;
            samples.push((begun.elapsed().as_secs_f64() / 3600.0, usage));
            rounds += 1;
        }
        Ok::<_, io::Error>(samples)
    });
    let samples = match done {
        Ok(samples) => samples,
        Err(error) => return ChaosOutcome::broken(error.to_string()),
    };
    // What is made once and kept has been made by then.
    let warm = &samples[samples.len() / 4..];
    let of = |of: fn(&Usage) -> u64| -> Vec<(f64, f64)> {
        let value = |usage| f64::from(u32::try_from(of(usage)).unwrap_or(u32::MAX));
        warm.iter().map(|(hours, usage)| (*hours, value(usage))).collect()
    };
    let (memory, descriptors) = (slope(&of(|usage| usage.memory)), slope(&of(|usage| usage.descriptors)));
    let (first, last) = (samples[1].1, samples[samples.len() - 1].1);
    let mut figure = format!(
        "{} queries, {} rounds of changes in {:.0} min: {} lost, {} wrong; memory {} KiB, then {} KiB; descriptors {}, then {}",
        count(report.sent),
        samples.len(),
        samples[samples.len() - 1].0 * 60.0,
        report.lost,
        report.wrong,
        count(first.memory),
        count(last.memory),
        first.descriptors,
        last.descriptors,
    );
    // Of seconds, a slope says nothing.
    let is_long = length == Length::Long;
    if is_long {
        let _ = write!(figure, "; by the hour {memory:+.0} KiB and {descriptors:+.2} descriptors");
    }
    let grows = is_long && (memory > GAINED_MAX || descriptors > 1.0);
    // A probe under way has one for a moment.
    let few = last.descriptors <= first.descriptors + 4;
    let held = report.is_clean() && !grows && few && last.memory <= first.memory + KEPT_MAX;
    if held { ChaosOutcome::held(figure) } else { ChaosOutcome::broken(format!("{figure}; {report}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_has_a_slope_and_noise_has_none() {
        let line: Vec<_> =
            (0..60_u32).map(|minute| (f64::from(minute) / 60.0, 7.0 + 2.0 * f64::from(minute))).collect();
        assert!((slope(&line) - 120.0).abs() < 1e-6);
        let noise: Vec<_> = (0..60_u32).map(|minute| (f64::from(minute) / 60.0, f64::from(minute % 2))).collect();
        assert!(slope(&noise).abs() < 0.1);
        assert!(slope(&[(1.0, 1.0)]).abs() < 1e-9);
    }
}
