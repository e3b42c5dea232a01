//! The checking client at 20,000 queries a second: nothing lost, nothing wrong, also while Sites die.
//!
//! Each of these wants the machine to itself.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tests::{
    checker::{self, CheckReport, Pace},
    config::{Config, PROBE, ProbeConfig},
    lab::front_addresses,
    scene::Scene,
    turn::alone,
};

const PACE: Pace = Pace { rate: 20_000, duration: Duration::from_secs(10), sockets: 8 };

/// Runs the checker, and beside it `meanwhile`.
fn check<T>(scene: &Scene, pace: Pace, meanwhile: impl FnOnce() -> T) -> (CheckReport, T) {
    let (targets, stop) = (scene.targets(), AtomicBool::new(false));
    thread::scope(|scope| {
        let checker = scope.spawn(|| checker::run(&scene.lab.client, &front_addresses(0), &targets, pace, &stop));
        let result = meanwhile();
        (checker.join().expect("the checker's thread").expect("checker"), result)
    })
}

/// Ends the threads that watch a flag, also when the test fails in between.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// At least three quarters of the pace were sent, or the run proves nothing; and the kernel answered each.
fn is_whole(report: &CheckReport, pace: Pace, counted: u64) {
    assert!(report.is_clean(), "{report}");
    assert!(report.sent >= pace.rate * pace.duration.as_secs() * 3 / 4, "too slow to tell: {report}");
    assert_eq!(counted, report.sent, "kernel counters reconciled: {report}");
}

/// S4-3A-325, S4-3A-310: 20,000 queries a second for 10 s over all names, types and both transports: 0 lost, 0 wrong,
/// and the kernel's counters agree.
#[test]
fn nothing_is_lost_or_wrong() {
    let _alone = alone();
    let Some(scene) = Scene::start("20,000 queries a second", Config::default()) else { return };
    let before = scene.kernel_answers();
    let (report, ()) = check(&scene, PACE, || ());
    is_whole(&report, PACE, scene.kernel_answers() - before);
    for site in &scene.config.sites {
        for address in &site.addresses {
            assert!(report.last_answer_of(*address).is_some(), "{address} was answered");
        }
    }
}

/// S4-2C, S4-DNS-STATUS: a Site is killed during it: 0 lost, 0 wrong, and its addresses are answered no later than
/// fall × interval + timeout + 100 ms after the kill.
#[test]
fn a_killed_site_is_not_answered_after_the_bound() {
    let _alone = alone();
    let Some(scene) = Scene::start("S4-2C: the bound after a Site's death", Config::default()) else { return };
    let before = scene.kernel_answers();
    let (report, killed) = check(&scene, PACE, || {
        thread::sleep(Duration::from_secs(3));
        scene.lab.site("boston").kill()
    });
    is_whole(&report, PACE, scene.kernel_answers() - before);
    for v6 in [false, true] {
        let last = report.last_answer_of(scene.address("boston", v6)).expect("it was answered while it lived");
        let late = last.saturating_duration_since(killed);
        assert!(last > killed && late <= PROBE.dead_after(), "last answered {late:?} after the kill");
        for key in ["geneva", "chicago"] {
            let last = report.last_answer_of(scene.address(key, v6)).expect("answered");
            assert!(last.saturating_duration_since(killed) > Duration::from_secs(6), "{key} goes on");
        }
    }
}

/// S4-2C, S4-DNS-STATUS: the same for a Site that hangs: it takes the timeout, and no more than the bound.
#[test]
fn a_hung_site_is_not_answered_after_the_bound() {
    let _alone = alone();
    let Some(scene) = Scene::start("S4-2C: the bound after a Site hangs", Config::default()) else { return };
    let pace = Pace { rate: 5000, duration: Duration::from_secs(6), sockets: 4 };
    let before = scene.kernel_answers();
    let (report, hung) = check(&scene, pace, || {
        thread::sleep(Duration::from_secs(2));
        let hung = Instant::now();
        scene.lab.site("geneva").hang(true).expect("stop");
        hung
    });
    is_whole(&report, pace, scene.kernel_answers() - before);
    // geneva.app.com itself has nowhere to go and stays, by the all-down rule; the pool's name does not.
    let pool: Vec<_> = scene.targets().iter().map(|target| target.name == "app.com").collect();
    let last =
        report.last_seen.iter().filter(|((target, address), _)| pool[*target] && scene.site_at(*address) == "geneva");
    let last = last.map(|(_, when)| *when).max().expect("it was answered while it lived");
    let late = last.saturating_duration_since(hung);
    assert!(late <= PROBE.dead_after(), "last answered {late:?} after it hung");
}

/// S4-DNS-STATUS, invariant 4: Sites flap as fast as probes can tell, while every answer is checked: none lost, none
/// torn (each is right for its own name), generations only go forward.
#[test]
fn flapping_sites_tear_no_answer() {
    let _alone = alone();
    let probe = ProbeConfig { interval_ms: 100, timeout_ms: 80, rise: 1, fall: 1 };
    // Every change has to count here: none is held back.
    let config = Config { probe: Some(probe), site_keys: "hold_down = \"0s\"".into(), ..Config::default() };
    let Some(scene) = Scene::start("S4-DNS-STATUS: churn", config) else { return };
    let before = scene.kernel_answers();
    let over = AtomicBool::new(false);
    let (report, generations) = thread::scope(|scope| {
        let _end = SetWhenDropped(&over);
        for key in ["geneva", "boston", "chicago"] {
            let (scene, over) = (&scene, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    scene.lab.site(key).hang(true).expect("stop");
                    thread::sleep(Duration::from_millis(rand::random_range(150..400)));
                    scene.lab.site(key).hang(false).expect("go on");
                    thread::sleep(Duration::from_millis(rand::random_range(150..400)));
                }
            });
        }
        check(&scene, PACE, || {
            let mut generations = vec![];
            for _ in 0..30 {
                generations.push(scene.agent.status().expect("status").generation());
                thread::sleep(Duration::from_millis(300));
            }
            generations
        })
    });
    is_whole(&report, PACE, scene.kernel_answers() - before);
    assert!(generations.is_sorted(), "{generations:?}");
    let changes = generations[generations.len() - 1] - generations[0];
    assert!(changes >= 10, "plans were published meanwhile: {generations:?}");
}

/// dnsperf, as operators run it, loses nothing either.
#[test]
fn dnsperf_loses_nothing() {
    let _alone = alone();
    let Some(scene) = Scene::start("dnsperf", Config::default()) else { return };
    let queries = scene.lab.folder("dnsperf").expect("folder").join("queries");
    std::fs::write(&queries, scene.config.dnsperf_queries()).expect("write");
    for server in front_addresses(0) {
        let before = scene.kernel_answers();
        let mut dnsperf = Command::new("dnsperf");
        dnsperf.args(["-s", &server.ip().to_string(), "-l", "3", "-Q", "5000", "-c", "4", "-e", "-d"]).arg(&queries);
        let output = scene.lab.client.output(dnsperf).expect("dnsperf");
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name));
            let figure = line.and_then(|line| line.split_once(':')).map(|(_, rest)| rest.trim());
            figure.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok())
        };
        let sent = figure("Queries sent").unwrap_or_else(|| panic!("dnsperf: {text}"));
        assert!(sent > 10_000, "{text}");
        assert_eq!((figure("Queries completed"), figure("Queries lost")), (Some(sent), Some(0)), "{text}");
        assert!(text.contains(&format!("NOERROR {sent} (100.00%)")), "{text}");
        assert_eq!(scene.kernel_answers() - before, sent);
    }
}
