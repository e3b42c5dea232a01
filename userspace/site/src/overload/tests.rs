//! Each limit by itself, then what holds for all of them.

use std::{
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use zerottl_inputs::load::report;

/// Limits, and the milliseconds of their clock.
fn limits(config: &BusyConfig) -> (OverloadLimits, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&clock);
    (OverloadLimits::with_clock(config, move || Duration::from_millis(read.load(Relaxed))), clock)
}

fn none() -> BusyConfig {
    BusyConfig { in_flight: 0, latency: 0.0, sessions: 0, ..BusyConfig::default() }
}

const NEWCOMER: Ask = Ask { share: 1.0, returns: false, sessions: 0, reserved: 0, client: None, client_sessions: 0 };

fn begin(limits: &OverloadLimits, count: usize) -> Vec<Guard> {
    (0..count).map(|_| limits.begin(None)).collect()
}

/// One client fills its share of a limit and no more: others have the rest, and itself is turned away.
#[test]
fn s4_5b_550_one_client_does_not_fill_a_limit() {
    let (limits, _) = limits(&BusyConfig { in_flight: 8, sessions: 100, client_share: 0.5, ..none() });
    let of = |net: &str| Ask { client: net.parse().ok(), ..NEWCOMER };
    let (hog, other) = (of("198.51.100.0/24"), of("203.0.113.0/24"));
    let many: Vec<Guard> = (0..500).map(|_| limits.begin(hog.client)).collect();
    assert_eq!((limits.in_flight(), limits.beyond_shares()), (500, 496));
    assert!(limits.is_busy(hog) && !limits.is_busy(other));
    assert_eq!(limits.report(0)["current"], 4.0);
    // With what others do, the Site is as full as it is: half, and half.
    let rest: Vec<Guard> = (0..4).map(|_| limits.begin(other.client)).collect();
    assert!(limits.is_busy(other) && limits.is_busy(NEWCOMER));
    drop(many);
    assert_eq!((limits.in_flight(), limits.beyond_shares()), (4, 0));
    drop(rest);
    assert!(!limits.is_busy(hog) && !limits.is_busy(other));
    assert!(limits.is_busy(Ask { client_sessions: 50, ..hog }) && !limits.is_busy(Ask { client_sessions: 49, ..hog }));
}

#[test]
fn s4_5b_550_without_limits_it_is_never_too_busy() {
    let (limits, _) = limits(&none());
    let _under_way = begin(&limits, 100_000);
    assert!(!limits.is_busy(Ask { sessions: u64::MAX, reserved: u32::MAX, share: 1e-9, ..NEWCOMER }));
}

/// S4-5B-550: at the limit, then until it has fallen below `resume` of it.
#[test]
fn s4_5b_550_requests_under_way() {
    let (limits, _) = limits(&BusyConfig { in_flight: 10, resume: 0.8, ..none() });
    let mut under_way = begin(&limits, 9);
    let mut check = |count: usize, is: bool| {
        under_way.truncate(count);
        under_way.extend(begin(&limits, count - under_way.len()));
        assert_eq!(limits.in_flight(), count as u64);
        assert_eq!(limits.is_busy(NEWCOMER), is, "with {count} under way");
    };
    check(9, false);
    check(10, true);
    check(9, true);
    check(8, true);
    check(9, true);
    check(7, false);
    check(9, false);
    check(12, true);
    check(0, false);
}

#[test]
fn s4_5b_550_sessions() {
    let (limits, _) = limits(&BusyConfig { sessions: 100, resume: 0.5, ..none() });
    let check = |sessions, is: bool| {
        assert_eq!(limits.is_busy(Ask { sessions, ..NEWCOMER }), is, "with {sessions} sessions");
    };
    check(0, false);
    check(99, false);
    check(100, true);
    check(50, true);
    check(49, false);
    check(99, false);
}

/// A second's responses, one after the other.
fn second(limits: &OverloadLimits, clock: &AtomicU64, responses: u64, latency_ms: u64) {
    for _ in 0..responses {
        let mut guard = limits.begin(None);
        clock.fetch_add(latency_ms, Relaxed);
        guard.responded();
        // What comes after the response's begin is the client's pace.
        clock.fetch_add((1000 / responses).saturating_sub(latency_ms), Relaxed);
    }
}

/// S4-5B-550: latency against what is usual.
#[test]
fn s4_5b_550_latency() {
    let new = || limits(&BusyConfig { latency: 3.0, resume: 0.9, ..none() });
    let (early, clock) = new();
    let _long = early.begin(None);
    for _ in 0..7 {
        second(&early, &clock, 20, 10);
    }
    while early.0.latency.windows.load(Relaxed) < WINDOWS_MIN {
        assert!(!early.is_busy(Ask { share: 1e-6, ..NEWCOMER }), "too few windows to know");
        second(&early, &clock, 20, 50);
    }
    assert!(early.is_busy(Ask { share: 0.4, ..NEWCOMER }), "enough of them");

    let (limits, clock) = new();
    let _long = limits.begin(None);
    let is_busy = |share| limits.is_busy(Ask { share, ..NEWCOMER });
    for _ in 0..30 {
        second(&limits, &clock, 20, 10);
        assert!(!is_busy(1e-6), "as usual");
    }
    let mut seconds = 0;
    while !is_busy(1.0) {
        second(&limits, &clock, 20, 50);
        seconds += 1;
        assert!(seconds < 10, "five times as slow is too slow");
    }
    assert!(is_busy(0.5));
    let mut seconds = 0;
    while is_busy(1.0) {
        second(&limits, &clock, 20, 10);
        seconds += 1;
        assert!(seconds < 10, "as quick as before is quick enough");
    }
    assert!(seconds > 0);
}

#[test]
fn s4_5b_550_latency_that_is_not_known_counts_for_nothing() {
    let slow = || {
        let (limits, clock) = limits(&BusyConfig { latency: 2.0, ..none() });
        for latency in [10; 20].into_iter().chain([50; 5]) {
            second(&limits, &clock, 20, latency);
        }
        (limits, clock)
    };
    let (limits, clock) = slow();
    assert!(!limits.is_busy(NEWCOMER), "nothing is under way");
    let under_way = limits.begin(None);
    assert!(limits.is_busy(NEWCOMER));
    clock.fetch_add(STALE_MS + 1, Relaxed);
    assert!(!limits.is_busy(NEWCOMER), "nothing has been answered for long");
    drop(under_way);
    let (limits, _) = slow();
    let mut under_way = begin(&limits, 100);
    under_way.truncate(1);
    assert!(limits.is_busy(NEWCOMER), "requests that were cut short have no latency");
}

#[test]
fn latencies_below_a_millisecond_are_alike() {
    let latency = Latency::default();
    for window in 0..20 {
        for _ in 0..RESPONSES_MIN {
            latency.add((window + 1) * WINDOW_MS, if window < 15 { 0 } else { 900 });
        }
    }
    assert_eq!(latency.windows.load(Relaxed), 20);
    assert!(latency.excess(20 * WINDOW_MS) == 0.0);
}

/// S4-5B-DEFER: those who return with a key go first; newcomers find what is left.
#[test]
fn s4_5b_defer_keys_that_are_due_go_first() {
    let (limits, _) = limits(&BusyConfig { in_flight: 10, sessions: 1000, resume: 1.0, ..none() });
    let check = |reserved, newcomer: bool, returner: bool| {
        let ask = Ask { reserved, ..NEWCOMER };
        assert_eq!(limits.is_busy(ask), newcomer, "a newcomer with {reserved} keys due");
        assert_eq!(limits.is_busy(Ask { returns: true, ..ask }), returner, "a returner with {reserved} keys due");
    };
    let mut under_way = begin(&limits, 8);
    check(0, false, false);
    check(1, false, false);
    check(2, true, false);
    check(100, true, false);
    under_way.extend(begin(&limits, 2));
    check(0, true, true);
    under_way.truncate(4);
    check(5, false, false);
    check(100_000, false, false);
    under_way.extend(begin(&limits, 1));
    check(100_000, true, false);
}

#[test]
fn the_report_is_one_that_the_agent_reads() {
    let under_way = |config: BusyConfig, count: usize, sessions: u64| {
        let (limits, _) = limits(&config);
        let _under_way = begin(&limits, count);
        let report = limits.report(sessions);
        report::json(report.to_string().as_bytes()).expect("a report")
    };
    let figures = |report: &report::Report| (report.current, report.target, report.capacity, report.sessions);
    let all = under_way(BusyConfig { in_flight: 10, sessions: 100, latency: 2.0, resume: 0.5, ..none() }, 3, 20);
    assert_eq!(figures(&all), (Some(3.0), Some(5.0), Some(10.0), Some(20.0)));
    assert!(all.at.is_some_and(|at| at > 1.7e9));
    let by_sessions = under_way(BusyConfig { in_flight: 10, sessions: 100, resume: 0.5, ..none() }, 3, 90);
    assert_eq!(figures(&by_sessions), (Some(9.0), Some(5.0), Some(10.0), Some(90.0)));
    let sessions = under_way(BusyConfig { sessions: 100, resume: 1.0, ..none() }, 3, 90);
    assert_eq!(figures(&sessions), (Some(90.0), Some(100.0), Some(100.0), Some(90.0)));
    let latency = under_way(BusyConfig { latency: 2.0, resume: 1e-9, ..none() }, 3, 0);
    assert_eq!(figures(&latency), (Some(0.0), Some(0.1), Some(100.0), Some(0.0)));
    assert_eq!(figures(&under_way(none(), 3, 7)), (Some(3.0), None, None, Some(7.0)));
    assert_eq!(under_way(BusyConfig { sessions: 1, ..none() }, 0, u64::MAX).current, Some(FIGURE_MAX));
}

#[test]
fn every_begin_has_an_end() {
    let limits = OverloadLimits::new(&BusyConfig { latency: 1.5, ..none() });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let mut guard = limits.begin(None);
                    guard.responded();
                    let _other = limits.begin(None);
                    assert!(limits.in_flight() >= 2);
                }
            });
        }
    });
    assert_eq!(limits.in_flight(), 0);
    assert_eq!(limits.0.latency.responses.load(Relaxed), 4000, "a response begins once");
}

proptest! {
    /// S4-5B-550, S4-5B-DEFER: whatever happens, the shares that are turned away are the lowest ones; each is from its
    /// limit on, until below `resume` of it.
    #[test]
    fn s4_5b_defer_lowest_shares_first_with_hysteresis(
        resume in 0.1_f64..=1.0,
        loads in prop::collection::vec(0_u64..150, 1..40),
        shares in prop::collection::vec(0.01_f64..=1.0, 1..8),
    ) {
        let (limits, _) = limits(&BusyConfig { sessions: 100, resume, ..none() });
        let mut held = vec![false; shares.len()];
        for sessions in loads {
            let used = number(sessions) / 100.0;
            let mut highest: Option<f64> = None;
            let mut lowest_free: Option<f64> = None;
            for (share, held) in shares.iter().zip(&mut held) {
                // One latch for each share by itself, as the documentation has it.
                *held = used >= *share || (*held && used / resume >= *share);
                let is_busy = limits.is_busy(Ask { share: *share, sessions, ..NEWCOMER });
                prop_assert_eq!(is_busy, *held, "share {} with {} sessions", share, sessions);
                if is_busy {
                    highest = Some(highest.map_or(*share, |other| other.max(*share)));
                } else {
                    lowest_free = Some(lowest_free.map_or(*share, |other| other.min(*share)));
                }
            }
            if let (Some(highest), Some(lowest_free)) = (highest, lowest_free) {
                prop_assert!(highest < lowest_free);
            }
        }
    }

    /// S4-5B-550: around the limit it turns once, not with every request.
    #[test]
    fn s4_5b_550_no_flapping_at_the_limit(noise in prop::collection::vec(0_u64..10, 100)) {
        let (limits, _) = limits(&BusyConfig { sessions: 100, resume: 0.9, ..none() });
        let mut turns = 0;
        let mut was_busy = false;
        for noise in noise {
            let is_busy = limits.is_busy(Ask { sessions: 91 + noise, ..NEWCOMER });
            turns += u32::from(is_busy != was_busy);
            was_busy = is_busy;
        }
        prop_assert!(turns <= 1);
    }
}
