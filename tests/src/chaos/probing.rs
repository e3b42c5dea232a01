//! Probes that fail, are lost, hang or contradict each other.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::Agent,
    checker::{CheckReport, Pace},
    client::Client,
    config::{Config, PROBE, ProbeConfig},
    lab::{Lab, LabSpec, front_addresses},
    many::{CROWD_NET, crowd},
    pass,
    process::{cpu_ticks, descriptors, memory_kib},
    scene::{HEALTH_PATIENCE, Scene},
    target::{Manner, Target},
    under_load::under_load,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "all-probes-fail",
        promise: "Sites that are all down are answered as if all were up, an alarm says so, and no answer is lost",
        alone: false,
        run: all_probes_fail,
    },
    Scenario {
        name: "probe-network-cut",
        promise: "An agent that reaches no Site, as its own interface is down or its cable is cut farther on, loses no answer, and all Sites are back when the network is",
        alone: false,
        run: probe_network_cut,
    },
    Scenario {
        name: "slow-targets",
        promise: "Probe targets that answer a byte a second, with heads or bodies without end, interim responses for ever, or a TLS handshake that hangs, delay nobody else's probes and cost a bounded share of memory and descriptors",
        alone: false,
        run: slow_targets,
    },
    Scenario {
        name: "hanging-targets",
        promise: "Probes that all hang at once, also more of them than may run at a time (512), delay others' by less than a timeout, and the Sites that are well stay up",
        alone: false,
        run: hanging_targets,
    },
    Scenario {
        name: "flapping-site",
        promise: "A Site that goes up and down each second is held back: it moves clients a few times, and then no more",
        alone: false,
        run: flapping_site,
    },
    Scenario {
        name: "probe-loss",
        promise: "With one in a hundred packets to the Sites lost no Site is taken for down",
        alone: false,
        run: probe_loss,
    },
];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 500, duration: Duration::from_mins(10), sockets: 4 };
/// Appendix A's Sites, by key.
const KEYS: [&str; 3] = ["geneva", "boston", "chicago"];

fn all(up: bool) -> [(&'static str, bool); 3] {
    KEYS.map(|key| (key, up))
}

/// Probes that tell soon, where no more is asked than that they tell.
fn quick() -> Config {
    let probe = ProbeConfig { interval_ms: 200, timeout_ms: 150, rise: 1, fall: 2 };
    Config { probe: Some(probe), ..Config::default() }
}

fn wait_for(agent: &Agent, up: bool) {
    agent.wait_for(&all(up), HEALTH_PATIENCE).unwrap_or_else(|e| panic!("{e}"));
}

/// How many times probes have found an address to be down, by what is new in a log.
fn downs(log: &str) -> usize {
    log.lines().filter(|line| line.contains("to=Down")).count()
}

fn told(report: &CheckReport) -> String {
    format!("{} answers, {} lost, {} wrong", count(report.right), report.lost, report.wrong)
}

/// S4-3A-ALLDOWN, under load.
fn all_probes_fail(length: Length) -> ChaosOutcome {
    let rounds = length.of(1, 10);
    let mut scene = Scene::start("all probes fail", quick()).expect("root");
    let (report, seen) = under_load(&mut scene, PACE, |agent, lab, _| {
        let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("a client");
        let mut least = (KEYS.len(), true);
        for _ in 0..rounds {
            lab.sites.iter().for_each(|site| _ = site.kill());
            wait_for(agent, false);
            let is_told = agent.status().expect("status").has_alarm("below-minimum");
            let seen: HashSet<_> = (0..60).map(|_| client.lookup("app.com", false).expect("an answer")).collect();
            least = (least.0.min(seen.len()), least.1 && is_told);
            lab.sites.iter().for_each(|site| site.restart().expect("started again"));
            wait_for(agent, true);
        }
        least
    });
    let figure = format!(
        "all down {rounds} times: {}; {} of {} Sites answered meanwhile, {}",
        told(&report),
        seen.0,
        KEYS.len(),
        if seen.1 { "with an alarm" } else { "without an alarm" }
    );
    ChaosOutcome::held_if(report.is_clean() && seen == (KEYS.len(), true), figure)
}

fn probe_network_cut(length: Length) -> ChaosOutcome {
    let rounds = length.of(1, 5);
    let mut scene = Scene::start("the probes' network is cut", quick()).expect("root");
    let (report, back) = under_load(&mut scene, PACE, |agent, lab, _| {
        let mut back = Duration::ZERO;
        for cut in [Lab::plug_front, Lab::join_front_to_sites].iter().cycle().take(2 * rounds) {
            cut(lab, 0, false).expect("cut");
            wait_for(agent, false);
            cut(lab, 0, true).expect("joined");
            let since = Instant::now();
            wait_for(agent, true);
            back = back.max(since.elapsed());
        }
        back
    });
    let figure =
        format!("cut {} times: {}; all Sites up within {:.1} s", 2 * rounds, told(&report), back.as_secs_f64());
    ChaosOutcome::held_if(report.is_clean(), figure)
}

/// A lab in which the crowd's net is all geneva's machine.
fn lab() -> Lab {
    let lab = Lab::start(&LabSpec::default()).unwrap_or_else(|e| panic!("lab: {e}"));
    let [a, b] = CROWD_NET;
    let geneva = lab.site("geneva");
    geneva.machine.ip(&format!("route add local {a}.{b}.0.0/16 dev lo")).expect("a route");
    let by = geneva.config.address(false).expect("IPv4");
    lab.fronts[0].ip(&format!("route add {a}.{b}.0.0/16 via {by} dev eth1 src 192.0.2.1 onlink")).expect("a route");
    lab
}

/// An agent beside a crowd; Appendix A's Sites are up.
fn scene(lab: Lab, config: Config) -> Scene {
    let agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
    wait_for(&agent, true);
    Scene { agent, lab, config }
}

/// Ports of the targets that are not well, and how they are not.
const MANNERS: [(u16, Manner, &str); 6] = [
    (8001, Manner::ByteASecond, "kind = \"http\""),
    (8002, Manner::Heads, "kind = \"http\""),
    (8003, Manner::Body, "kind = \"http\", expect_body = \"well\""),
    (8004, Manner::Interim, "kind = \"http\""),
    (8005, Manner::Silent, "kind = \"http\""),
    (8005, Manner::Silent, "kind = \"https\", verify = false"),
];

fn slow_targets(length: Length) -> ChaosOutcome {
    beside(&MANNERS, length.of(24, 240), length.of(Duration::from_secs(2), Duration::from_mins(1)))
}

fn hanging_targets(length: Length) -> ChaosOutcome {
    beside(&MANNERS[4..], length.of(200, 1000), length.of(Duration::from_secs(2), Duration::from_mins(1)))
}

/// Probes so many targets of these manners beside ones that are well, whose probes must keep their interval.
fn beside(manners: &[(u16, Manner, &str)], targets: u16, duration: Duration) -> ChaosOutcome {
    let ProbeConfig { interval_ms, timeout_ms, .. } = PROBE;
    let probe = |number: u16| {
        let (port, _, kind) = manners[usize::from(number) % manners.len()];
        format!(
            "probe = {{ {kind}, port = {port}, path = \"/\", interval = \"{interval_ms}ms\", timeout = \"{timeout_ms}ms\" }}"
        )
    };
    let lab = lab();
    let mut ports: Vec<_> = manners.iter().map(|(port, manner, _)| (*port, *manner)).collect();
    ports.dedup();
    let start = |machine, address, manner| Target::start(machine, address, manner).expect("a target");
    let machine = &lab.site("geneva").machine;
    let _slow: Vec<_> = ports.iter().map(|(port, manner)| start(machine, ([0; 4], *port).into(), *manner)).collect();
    let boston = lab.site("boston");
    boston.kill();
    let well: Vec<_> =
        boston.config.addresses.iter().map(|at| start(&boston.machine, (*at, 80).into(), Manner::Well)).collect();
    let mut scene = scene(lab, Config { more: crowd(targets, probe), ..Config::default() });
    let (pid, before) = (scene.agent.pid(), scene.agent.log().len());
    // Whatever is allocated for them all is by now.
    thread::sleep(Duration::from_millis(interval_ms));
    let (memory, open) = (memory_kib(pid, "VmRSS").expect("it runs"), descriptors(pid).expect("it runs"));
    let (ticks, since) = (cpu_ticks(pid).expect("it runs"), Instant::now());
    for target in &well {
        drop(target.intervals());
    }
    let (report, ()) = under_load(&mut scene, PACE, |_, _, _| thread::sleep(duration));
    let mut intervals: Vec<_> = well.iter().flat_map(Target::intervals).collect();
    intervals.sort_unstable();
    let (median, max) = (intervals[intervals.len() / 2], intervals[intervals.len() - 1]);
    let grown = memory_kib(pid, "VmRSS").expect("it runs").saturating_sub(memory) / 1024;
    let opened = descriptors(pid).expect("it runs").saturating_sub(open);
    let cpu = Duration::from_millis(10 * (cpu_ticks(pid).expect("it runs") - ticks)).div_duration_f64(since.elapsed())
        * 100.0;
    let log = scene.agent.log();
    let blamed = KEYS.iter().filter(|key| log[before..].contains(&format!("Site {key} is down"))).count();
    let figure = format!(
        "{targets} such targets beside 3 Sites: a healthy one's interval of {interval_ms} ms was {} ms at the median and {} ms at most, \
         {blamed} healthy Sites taken out; {grown} MiB and {opened} descriptors more, {cpu:.0} % of a core; {}",
        median.as_millis(),
        max.as_millis(),
        told(&report)
    );
    let interval = Duration::from_millis(interval_ms);
    let kept = median < interval * 5 / 4 && max < interval * 3;
    ChaosOutcome::held_if(
        kept && blamed == 0 && grown <= 32 && opened <= usize::from(targets) + 32 && report.is_clean(),
        figure,
    )
}

/// Three failures and the two returns between them, each seen at one address and then at the other.
const MOVES_MAX: usize = 10;

fn flapping_site(length: Length) -> ChaosOutcome {
    let flips = length.of(12, 60);
    let (probe, period) = length.of(
        (ProbeConfig { interval_ms: 100, timeout_ms: 90, rise: 1, fall: 2 }, Duration::from_millis(350)),
        (ProbeConfig { interval_ms: 250, timeout_ms: 200, rise: 1, fall: 2 }, Duration::from_secs(1)),
    );
    let (report, held) = flap(Config { probe: Some(probe), ..Config::default() }, flips, period);
    // Without that it would have been more, which is looked at in the long form alone.
    let free = Config { probe: Some(probe), site_keys: "hold_down = \"0s\"".into(), ..Config::default() };
    let undamped = (length == Length::Long).then(|| flap(free, flips, period).1);
    let figure = format!(
        "{flips} changes of both addresses: {held} plans that move clients{}; {}",
        undamped.map_or(String::new(), |undamped| format!(", {undamped} where nothing is held back")),
        told(&report)
    );
    let is_less = undamped.is_none_or(|undamped| undamped > held);
    ChaosOutcome::held_if(report.is_clean() && (1..=MOVES_MAX).contains(&held) && is_less, figure)
}

/// Has boston change as often, and returns how many new plans moved clients.
fn flap(config: Config, flips: usize, period: Duration) -> (CheckReport, usize) {
    let lab = Lab::start(&LabSpec::default()).unwrap_or_else(|e| panic!("lab: {e}"));
    let boston = lab.site("boston");
    boston.kill();
    let start = |at: &std::net::IpAddr| Target::start(&boston.machine, (*at, 80).into(), Manner::Well);
    let targets: Vec<_> = boston.config.addresses.iter().map(|at| start(at).expect("a target")).collect();
    let mut scene = scene(lab, config);
    let before = scene.agent.log().len();
    let (report, ()) = under_load(&mut scene, PACE, |_, _, _| {
        for manner in [Manner::Unwell, Manner::Well].into_iter().cycle().take(flips) {
            for target in &targets {
                target.behave(manner);
            }
            thread::sleep(period);
        }
    });
    let log = scene.agent.log();
    let moves = log[before..].lines().filter(|line| line.contains("plan published") && line.contains("boston"));
    (report, moves.count())
}

fn probe_loss(length: Length) -> ChaosOutcome {
    let (crowded, duration) = length.of((100, Duration::from_secs(3)), (200, Duration::from_mins(1)));
    let ProbeConfig { interval_ms, timeout_ms, .. } = PROBE;
    let probe = |_| {
        format!(
            "probe = {{ kind = \"http\", path = \"/health\", interval = \"{interval_ms}ms\", timeout = \"{timeout_ms}ms\" }}"
        )
    };
    let mut scene = scene(lab(), Config { more: crowd(crowded, probe), ..Config::default() });
    // All of them are well before the first packet is lost.
    thread::sleep(Duration::from_millis(2 * interval_ms));
    let lossy = scene.lab.hub().run(|| pass::attach_losing("front0", 100)).expect("the hub").expect("attached");
    let (before, attempts) = (scene.agent.log().len(), totals(&scene.agent));
    let (report, ()) = under_load(&mut scene, PACE, |_, _, _| thread::sleep(duration));
    let after = totals(&scene.agent);
    drop(lossy);
    let (made, failed) = (after.0 - attempts.0, after.1 - attempts.1);
    let flips = downs(&scene.agent.log()[before..]);
    let figure =
        format!("{} probes, {} of them failed, {flips} false flips; {}", count(made), count(failed), told(&report));
    ChaosOutcome::held_if(flips == 0 && made > 100 && report.is_clean(), figure)
}

/// Attempts so far, and how many of them failed.
fn totals(agent: &Agent) -> (u64, u64) {
    let metrics = agent.get("/metrics").expect("metrics");
    let sum = |name: &str| {
        let of = |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<u64>().ok();
        metrics.lines().filter_map(of).sum::<u64>()
    };
    (sum("zerottl_probe_attempts_total{"), sum("zerottl_probe_failures_total{"))
}
