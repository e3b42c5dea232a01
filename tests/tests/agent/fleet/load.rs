//! A fleet under load: how fast words are in force, and that no answer is lost or wrong whatever becomes of the engine.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    agent::Agent,
    checker::{self, CheckReport, CheckTarget, Pace},
    config::Config,
    etcd::Etcd,
    fleet::FleetScene,
    lab::{Lab, front_addresses},
    process::eventually,
    turn::alone,
};

use super::{IN_FORCE, PATIENCE, alarms, config, fronts, page, say, start};

/// Queries a second to each front, and words: unless `ZEROTTL_FLEET_RATE` and `ZEROTTL_FLEET_WORDS` say.
const RATE: u64 = 5_000;
const WORDS: usize = 6;
/// Longer than the lease of 2 s.
const LEASES: Duration = Duration::from_secs(4);
/// Before and after a word.
const BESIDE: Duration = Duration::from_millis(500);

fn told(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The pool's addresses, asked of each front at that rate while something is done.
fn under_load<T>(lab: &Lab, config: &Config, work: impl FnOnce() -> T) -> (Vec<CheckReport>, T) {
    let all = config.targets(false);
    let targets: Vec<CheckTarget> = all.into_iter().filter(|target| target.name == "app.com").collect();
    let pace = Pace { rate: told("ZEROTTL_FLEET_RATE", RATE), duration: Duration::from_mins(3), sockets: 4 };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let run = |front: usize| {
            let (targets, stop) = (&targets, &stop);
            scope.spawn(move || checker::run(&lab.client, &front_addresses(front)[..1], targets, pace, stop))
        };
        let running: Vec<_> = (0..lab.fronts.len()).map(run).collect();
        thread::sleep(BESIDE);
        let done = work();
        thread::sleep(BESIDE);
        stop.store(true, Ordering::Relaxed);
        let reports = running.into_iter().map(|thread| thread.join().expect("no panic").expect("it asks"));
        (reports.collect(), done)
    })
}

#[track_caller]
fn is_clean(what: &str, reports: &[CheckReport]) {
    for (front, report) in reports.iter().enumerate() {
        assert!(report.is_clean(), "{what}: front {front}: {report}");
    }
}

/// F-WORD: under load, words at one front are in force at all within a second of being said, and no answer is lost or wrong.
#[test]
fn f_word_under_load() {
    let _alone = alone();
    let Some(scene) = start("F-WORD: under load", &config()) else { return };
    let boston = scene.lab.site("boston").config.addresses[0];
    let words = usize::try_from(told("ZEROTTL_FLEET_WORDS", WORDS as u64)).expect("a few");
    let (mut took, mut sent) = (Vec::new(), 0);
    for number in 0..words {
        let (reports, said) = under_load(&scene.lab, &scene.configs[0], || {
            let said = Instant::now();
            say(&scene, number % 3, "drain", "boston", "");
            said
        });
        is_clean("a drain", &reports);
        sent += reports.iter().map(|report| report.sent).sum::<u64>();
        took.extend(reports.iter().map(|report| {
            let last = report.last_answer_of(boston).expect("it was answered before");
            last.saturating_duration_since(said)
        }));
        say(&scene, number % 3, "ready", "boston", "");
        let is_ready = || {
            (0..3).all(|front| {
                page(&scene, front)["fronts"].as_array().expect("fronts").iter().all(|of| of["is_current"] == true)
            })
        };
        assert!(eventually(PATIENCE, is_ready), "{}", page(&scene, 0));
    }
    took.sort_unstable();
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    eprintln!(
        "{words} words at one of three fronts, {} times until in force at a front: p50 {:?}, p99 {:?}, at most {:?}; {sent} answers, none lost or wrong",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(100) < IN_FORCE, "{took:?}");
}

/// F-AWAY: under load, whatever becomes of etcd: all of it killed and started again, its leader killed, a node that hangs, an agent
/// that is killed and restarted meanwhile, garbage and 10 MB: no answer is lost or wrong, and all is well afterwards.
#[test]
fn f_away_loses_no_answer() {
    let _alone = alone();
    let Some(mut scene) = start("F-AWAY: under load", &config()) else { return };
    let garbage =
        [("word/boston", vec![0xff; 100]), ("config/ns9", b"[]".to_vec()), ("word/geneva", vec![b'x'; 10 << 20])];
    check("all of etcd is killed", &mut scene, |_, etcd| {
        (0..3).for_each(|node| etcd.kill(node));
        thread::sleep(LEASES);
        (0..3).for_each(|node| etcd.start_alone(node).expect("started"));
    });
    check("its leader is killed", &mut scene, |_, etcd| {
        let leader = etcd.leader().expect("a leader");
        etcd.kill(leader);
        thread::sleep(LEASES);
        etcd.restart(leader).expect("restarted");
    });
    check("a node hangs", &mut scene, |_, etcd| {
        etcd.signal(0, Signal::STOP).expect("stopped");
        thread::sleep(LEASES);
        etcd.signal(0, Signal::CONT).expect("goes on");
    });
    check("a front is with no node, and restarts meanwhile", &mut scene, |agents, etcd| {
        etcd.signal(1, Signal::STOP).expect("stopped");
        agents[1].kill();
        agents[1].restart(&[]).expect("restarted");
        thread::sleep(LEASES);
        etcd.signal(1, Signal::CONT).expect("goes on");
    });
    check("garbage, and 10 MB", &mut scene, |_, etcd| {
        for (key, value) in &garbage {
            etcd.put(0, &format!("zerottl/{key}"), value).expect("put");
        }
        thread::sleep(LEASES);
        for (key, _) in &garbage {
            etcd.delete(0, &format!("zerottl/{key}")).expect("deleted");
        }
    });
}

/// Asks all fronts while `work` is done, and then waits until all is well.
#[track_caller]
fn check(what: &str, scene: &mut FleetScene, work: impl FnOnce(&mut [Agent], &mut Etcd)) {
    let FleetScene { agents, etcd, lab, configs } = scene;
    let (reports, ()) = under_load(lab, &configs[0], || work(agents, etcd));
    is_clean(what, &reports);
    eprintln!("{what}: {} answers, none lost or wrong", reports.iter().map(|report| report.sent).sum::<u64>());
    let is_well = || (0..3).all(|front| fronts(scene, front).len() == 3 && alarms(scene, front).is_empty());
    assert!(eventually(PATIENCE, is_well), "{what}: {}", page(scene, 0));
}
