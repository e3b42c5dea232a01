//! A machine whose clock jumps, that stalls, or has no more of something.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::Agent,
    checker::{CheckReport, Pace},
    config::Config,
    lab::{Lab, LabSpec},
    many::crowd,
    process::{eventually, memory_kib},
    program::WallClock,
    scene::{HEALTH_PATIENCE, Scene},
    under_load::under_load,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clock-steps",
        promise: "Steps of the time of day by a day, forward and back, take no Site down, change no plan and lose no answer",
        alone: false,
        run: clock_steps,
    },
    Scenario {
        name: "two-agents",
        promise: "Of two agents on a machine the second is refused, or takes over where it is told to, also from one that is stopped, which then ends by itself; no answer is lost",
        alone: false,
        run: two_agents,
    },
    Scenario {
        name: "over-the-bounds",
        promise: "A reload of more Sites than there may be is refused with the bound and its place; the plan before goes on, and a right file is taken",
        alone: false,
        run: over_the_bounds,
    },
    Scenario {
        name: "no-memory",
        promise: "An agent that gets no more memory loses no answer: the program goes on, and the agent or the next one takes the file once there is memory",
        alone: false,
        run: no_memory,
    },
    Scenario {
        name: "state-read-only",
        promise: "A state directory that turns read-only costs no answer: whoever says a word is told that it is not kept, and why; once it can be written all is kept",
        alone: false,
        run: state_read_only,
    },
    Scenario {
        name: "state-disk-full",
        promise: "The same for a disk that is full",
        alone: false,
        run: state_disk_full,
    },
    Scenario {
        name: "no-descriptors",
        promise: "An agent without descriptors takes no Site and no interface for gone, and all goes on when there are some again",
        alone: false,
        run: no_descriptors,
    },
];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 500, duration: Duration::from_mins(10), sockets: 4 };
const PATIENCE: Duration = Duration::from_secs(10);

fn told(report: &CheckReport) -> String {
    format!("{} answers, {} lost, {} wrong", count(report.right), report.lost, report.wrong)
}

fn unprobed(what: &str) -> Scene {
    Scene::start(what, Config { probe: None, ..Config::default() }).expect("root")
}

fn clock_steps(length: Length) -> ChaosOutcome {
    let Some(clock) = WallClock::new("clock steps") else {
        return ChaosOutcome::held("not tried: libfaketime is not installed");
    };
    let lab = Lab::start(&LabSpec::default()).unwrap_or_else(|e| panic!("lab: {e}"));
    let config =
        Config { more: "[agent]\nmax_plan_age = \"2s\"\non_stale = \"servfail\"\n".into(), ..Config::default() };
    let agent = Agent::start_with(&lab, 0, &config, &clock.environment()).unwrap_or_else(|e| panic!("{e}"));
    let mut scene = Scene { agent, lab, config };
    let up = [("geneva", true), ("boston", true), ("chicago", true)];
    scene.wait_for(&up);
    // What it says of the time shows that the steps reach it.
    let said_at = |agent: &Agent| {
        agent.post("/v1/sites/word", r#"{"sites":"boston","word":"ready"}"#).expect("said");
        agent.post("/v1/sites/word", r#"{"sites":"boston","word":"drain"}"#).expect("said");
        let status = agent.status().expect("status").0;
        status["sites"][1]["word"]["at_ms"].as_f64().expect("said at")
    };
    let first = said_at(&scene.agent);
    clock.step("+1d");
    let days = (said_at(&scene.agent) - first) / 86_400_000.0;
    scene.agent.post("/v1/sites/word", r#"{"sites":"boston","word":"ready"}"#).expect("said");
    let (before, generation) = (scene.agent.log().len(), scene.agent.status().expect("status").generation());
    let steps: Vec<_> = ["-1d", "+1d", "+0"].into_iter().cycle().take(length.of(3, 30)).collect();
    let (report, ()) = under_load(&mut scene, PACE, |_, _, _| {
        for step in &steps {
            clock.step(step);
            thread::sleep(length.of(Duration::from_millis(700), Duration::from_secs(3)));
        }
    });
    let status = scene.agent.status().expect("status");
    let downs = scene.agent.log()[before..].lines().filter(|line| line.contains("is down")).count();
    let plans = status.generation() - generation;
    let figure = format!("{} steps of 1 or 2 days: {}, {downs} Sites down, {plans} plans", steps.len(), told(&report));
    let held = report.is_clean() && downs == 0 && plans == 0 && (0.99..1.01).contains(&days);
    ChaosOutcome::held_if(held && scene.agent.wait_for(&up, Duration::ZERO).is_ok(), figure)
}

/// Invariant 5.
fn two_agents(length: Length) -> ChaosOutcome {
    let rounds = length.of(1, 20);
    let mut scene = unprobed("two agents, one stopped");
    let (report, (refused, ended)) = under_load(&mut scene, PACE, |agent, _, _| {
        let (mut refused, mut ended) = (0, 0);
        for _ in 0..rounds {
            agent.signal(Signal::STOP).expect("stopped");
            thread::sleep(Duration::from_millis(300));
            let words = agent.beside(&[]).err().map(|error| error.to_string()).unwrap_or_default();
            refused += u32::from(words.contains("another agent (process") && words.contains("--take-over"));
            let new = agent.beside(&["--take-over"]).unwrap_or_else(|e| panic!("{e}"));
            let mut old = std::mem::replace(agent, new);
            // It may be gone already: whoever takes over from one that does not answer sends it away by force.
            old.signal(Signal::CONT).expect("goes on");
            ended += u32::from(eventually(PATIENCE, || !old.runs()));
            assert!(agent.status().is_ok(), "{}", agent.log());
        }
        (refused, ended)
    });
    let figure = format!(
        "the first stopped {rounds} times: {}; a second refused {refused} times, one that takes over took over {rounds} times, and the first ended {ended} times",
        told(&report)
    );
    ChaosOutcome::held_if(report.is_clean() && refused == rounds && ended == rounds, figure)
}

/// Sites that a pool may have.
const SITES_MAX: u16 = 8_192;

/// The configuration with so many Sites more, in a pool of their own.
fn with(good: &Config, sites: u16) -> Config {
    Config { more: crowd(sites, |_| String::new()), ..good.clone() }
}

/// Writes a file and reloads it; the error's words where it is refused.
fn reload(agent: &Agent, config: &Config) -> Result<(), String> {
    config.write(agent.folder()).expect("written");
    let output = agent.output(&["reload"]).expect("run");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn over_the_bounds(length: Length) -> ChaosOutcome {
    let rounds = length.of(1, 20);
    let mut scene = unprobed("more than there may be");
    let good = scene.config.clone();
    let (report, words) = under_load(&mut scene, PACE, |agent, _, _| {
        let mut words = Vec::new();
        for _ in 0..rounds {
            words.push(reload(agent, &with(&good, SITES_MAX + 1)).expect_err("too many"));
            reload(agent, &good).unwrap_or_else(|e| panic!("{e}"));
        }
        words
    });
    let named = words.iter().filter(|words| words.contains("8192") && words.contains("zerottl.toml")).count();
    let figure = format!(
        "{rounds} times {} Sites: refused with the bound and its place {named} times, {}",
        SITES_MAX + 1,
        told(&report)
    );
    ChaosOutcome::held_if(report.is_clean() && named == rounds, figure + if named == 0 { &words[0] } else { "" })
}

/// Sets a limit of a running process; the hard one stays.
fn limit(pid: u32, resource: Resource, current: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    let maximum = getrlimit(resource).maximum;
    // Who has ended has none.
    let _ = prlimit(pid, resource, Rlimit { current, maximum });
}

fn no_memory(length: Length) -> ChaosOutcome {
    let (rounds, sites, bits): (u32, u16, u32) = length.of((2, 1_000, 2), (20, 4_000, 6));
    let mut scene = unprobed("no more memory");
    let good = scene.config.clone();
    let (report, (refused, died)) = under_load(&mut scene, PACE, |agent, _, _| {
        let (mut refused, mut died) = (0, 0);
        for round in 0..rounds {
            // From too little for anything to nearly enough.
            let room = 1 << (round * bits / rounds);
            let size = memory_kib(agent.pid(), "VmSize").expect("it runs") + room * 1024;
            limit(agent.pid(), Resource::As, Some(size * 1024));
            let words = reload(agent, &with(&good, sites)).err();
            limit(agent.pid(), Resource::As, None);
            // The connection ends a moment before the process does.
            let has_ended = words.is_some() && eventually(Duration::from_millis(300), || !agent.runs());
            if has_ended {
                died += 1;
                good.write(agent.folder()).expect("written");
                agent.restart(&[]).unwrap_or_else(|e| panic!("{e}"));
            } else {
                refused += u32::from(words.is_some());
                reload(agent, &good).unwrap_or_else(|e| panic!("{e}"));
            }
        }
        (refused, died)
    });
    let figure = format!(
        "{rounds} reloads of {} Sites more with 1 to {} MiB to spare: {refused} refused, {died} ended the agent, after which the next one took over, {} taken; {}",
        count(sites.into()),
        1 << ((rounds - 1) * bits / rounds),
        rounds - refused - died,
        told(&report)
    );
    ChaosOutcome::held_if(report.is_clean() && refused + died > 0, figure)
}

fn state_read_only(length: Length) -> ChaosOutcome {
    let remount = |front: &crate::netns::Netns, at: &Path, how: &str| {
        front.read("mount", &["-o", &format!("remount,{how}"), &at.to_string_lossy()]).expect("mount");
    };
    state_disk(length, "Read-only file system", |lab, at, is_bad| {
        remount(&lab.fronts[0], at, if is_bad { "ro" } else { "rw" });
    })
}

fn state_disk_full(length: Length) -> ChaosOutcome {
    let fill = |filler: &Path| -> io::Result<()> {
        let mut file = File::create(filler)?;
        loop {
            file.write_all(&[0; 4096])?;
        }
    };
    state_disk(length, "No space left on device", move |lab, at, is_bad| {
        let filler = at.join("filler");
        let done = lab.fronts[0].run(move || if is_bad { fill(&filler) } else { fs::remove_file(filler) });
        assert_eq!(done.expect("a thread").is_err(), is_bad, "filled to the end");
    })
}

/// Whether the metric that the alert of a state which is not kept goes by has this value.
fn is_kept(agent: &Agent, kept: bool) -> bool {
    let metrics = agent.get("/metrics").unwrap_or_default();
    let value = metrics.lines().find_map(|line| line.strip_prefix("zerottl_state_kept ")?.parse::<f64>().ok());
    value.is_some_and(|value| (value > 0.0) == kept)
}

/// Says words while the state's disk is bad, and when it is good again.
fn state_disk(length: Length, why: &str, set_bad: impl Fn(&Lab, &Path, bool)) -> ChaosOutcome {
    let rounds = length.of(1, 20);
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).unwrap_or_else(|e| panic!("lab: {e}"));
    let disk: PathBuf = lab.folder("disk").expect("a folder");
    // The mount goes with the front's own view of the file system.
    lab.fronts[0].read("mount", &["-t", "tmpfs", "-o", "size=256k", "state", &disk.to_string_lossy()]).expect("a disk");
    let config = Config { probe: None, state: Some(disk.join("state")), ..Config::default() };
    let agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
    let mut scene = Scene { agent, lab, config };
    let word = |agent: &Agent, word: &str| -> Value {
        let body = format!(r#"{{"sites":"boston","word":"{word}"}}"#);
        let said = agent.post("/v1/sites/word", &body).unwrap_or_else(|e| panic!("{e}"));
        serde_json::from_str(&said).expect("JSON")
    };
    let (report, (named, alarmed, kept)) = under_load(&mut scene, PACE, |agent, lab, _| {
        let (mut named, mut alarmed, mut kept) = (0, 0, Duration::ZERO);
        for _ in 0..rounds {
            assert_eq!(word(agent, "drain")["kept"], true, "{}", agent.log());
            set_bad(lab, &disk, true);
            let said = word(agent, "ready");
            let is_named = said["not_kept_because"].as_str().is_some_and(|words| words.contains(why));
            named += u32::from(said["kept"] == false && is_named && agent.log().contains(why));
            alarmed += u32::from(eventually(PATIENCE, || is_kept(agent, false)));
            set_bad(lab, &disk, false);
            let since = Instant::now();
            assert!(eventually(PATIENCE, || word(agent, "maint")["kept"] == true), "{}", agent.log());
            kept = kept.max(since.elapsed());
            word(agent, "ready");
            assert!(eventually(PATIENCE, || is_kept(agent, true)), "{}", agent.log());
        }
        (named, alarmed, kept)
    });
    let figure = format!(
        "{rounds} times: said {named} times, in the metrics {alarmed} times, kept again {} ms after the cause had gone; {}",
        kept.as_millis(),
        told(&report)
    );
    ChaosOutcome::held_if(report.is_clean() && named == rounds && alarmed == rounds, figure)
}

fn no_descriptors(length: Length) -> ChaosOutcome {
    let rounds = length.of(2, 20);
    let mut scene = Scene::start("no descriptors left", Config::default()).expect("root");
    let log = scene.agent.log().len();
    let (report, back) = under_load(&mut scene, PACE, |agent, _, _| {
        let program = agent.attached("eth0").expect("ip link");
        let mut back = Duration::ZERO;
        for _ in 0..rounds {
            // Those that are open stay; the next would have to be below this.
            limit(agent.pid(), Resource::Nofile, Some(3));
            thread::sleep(Duration::from_millis(length.of(1_200, 3_000)));
            assert_eq!(agent.attached("eth0").expect("ip link"), program);
            limit(agent.pid(), Resource::Nofile, Some(4096));
            let since = Instant::now();
            assert!(eventually(PATIENCE, || agent.status().is_ok()), "{}", agent.log());
            back = back.max(since.elapsed());
        }
        back
    });
    let new = scene.agent.log()[log..].to_owned();
    let blamed = new.lines().filter(|line| line.contains("is gone") || line.contains("to=Down")).count();
    let lines = new.lines().count();
    let page = scene.agent.status().expect("status").0;
    let is_on = page["front"]["attach"][0]["mode"] == "native";
    let up = scene.agent.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)], HEALTH_PATIENCE).is_ok();
    scene.agent.zerottl(&["reload"]).expect("reloaded");
    scene.survives_a_kill();
    let figure = format!(
        "{rounds} times: {}, {blamed} Sites or interfaces taken for gone, {lines} lines in the log, asked again within {} ms",
        told(&report),
        back.as_millis()
    );
    ChaosOutcome::held_if(report.is_clean() && blamed == 0 && is_on && up, figure)
}
