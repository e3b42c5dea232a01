//! The runner on a paused clock, with attempts whose outcome and length the test decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{
    Probes, Reports,
    attempt::{Attempt, Running},
    report::ProbeId,
    runner,
};
use crate::{
    http_check::{CheckStage, Failure},
    load::LoadStore,
    probe,
};
use zerottl_core::fixture;
use zerottl_core::{
    model::{Model, SiteId},
    status::Health,
};
use zerottl_host::resources::AgentShare;

type Outcome = Result<(), Failure>;

/// The only probe of a Site with one address.
fn id(site: usize) -> ProbeId {
    ProbeId { site: SiteId(site), address: 0, probe: 0 }
}

/// An attempt by a closure: given the time since the start, how long it takes and how it ends.
struct Fake<F>(Instant, F);

impl<F: Fn(Duration) -> (Duration, Outcome) + Send + Sync> Attempt for Fake<F> {
    fn run(&self) -> Running<'_> {
        Box::pin(async {
            let (length, outcome) = (self.1)(self.0.elapsed());
            sleep(length).await;
            outcome
        })
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn refused() -> Outcome {
    Err(Failure::Connect(rustix::io::Errno::CONNREFUSED.into()))
}

/// A model of one Site with one address, probed as given.
fn one(interval: Duration, limit: Duration, rise: u32, fall: u32) -> Arc<Model> {
    Arc::new(fixture::model(&[("boston", &["192.0.2.10"], Some(fixture::tcp(interval, limit, rise, fall)))]))
}

fn start<F>(model: &Arc<Model>, outcome: F) -> (Probes, CancellationToken)
where
    F: Fn(Duration) -> (Duration, Outcome) + Send + Sync + 'static,
{
    let cancel = CancellationToken::new();
    let fake: Arc<dyn Attempt> = Arc::new(Fake(Instant::now(), outcome));
    (runner::start(model, vec![(id(0), fake)], Reports::new(model), cancel.clone()), cancel)
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// S4-2C: whenever the Site dies, and whether it refuses or hangs, it is down within the bound that the docs state;
    /// S4-3B-BACK: and when it comes back it is up within the same bound made of `rise`.
    #[test]
    fn s4_2c_detection_bound_holds_whenever_the_site_dies(
        interval in 20_u64..2000, limit_share in 0.1_f64..=1.0, rise in 1_u32..4, fall in 1_u32..4,
        dies_after in 5.0_f64..9.0, hangs: bool,
    ) {
        let interval = ms(interval);
        let limit = interval.mul_f64(limit_share);
        let dies = interval.mul_f64(dies_after) + Duration::from_secs(1);
        let returns = dies + interval * 10;
        // The runtime's timer counts whole milliseconds and rounds up, once for the start and once for the length.
        let slack = ms(3);
        paused().block_on(async {
            let begun = Instant::now();
            let (mut probes, cancel) = start(&one(interval, limit, rise, fall), move |now| {
                match (now >= dies && now < returns, hangs) {
                    (false, _) => (ms(0), Ok(())),
                    (true, false) => (ms(0), refused()),
                    (true, true) => (limit, Err(Failure::Timeout { after: limit, stage: CheckStage::Connect })),
                }
            });
            for (expect, from, count) in
                [(Health::Up, ms(1000), rise), (Health::Down, dies, fall), (Health::Up, returns, rise)]
            {
                probes.verdicts.changed().await.expect("the runner lives");
                let took = begun.elapsed();
                let health = probes.verdicts.borrow_and_update()[0][0];
                assert_eq!(health, expect);
                assert!(took <= from + interval * count + limit + slack, "{expect:?} after {took:?}, from {from:?}");
                assert!(expect != Health::Down || took >= dies, "down before it died");
            }
            cancel.cancel();
            probes.task.await.expect("the runner ends");
        });
    }
}

/// S4-DNS-STATUS: planners wake on changes of health and on nothing else, and have the new state when they do.
#[tokio::test(start_paused = true)]
async fn s4_dns_status_wakes_on_transitions_alone() {
    let (mut probes, _cancel) = start(&one(ms(100), ms(50), 2, 3), |now| {
        (ms(1), if (now.as_millis() / 1000).is_multiple_of(2) { Ok(()) } else { refused() })
    });
    let mut wakes = Vec::new();
    let begun = Instant::now();
    while let Ok(changed) = timeout(ms(3990).saturating_sub(begun.elapsed()), probes.verdicts.changed()).await {
        changed.expect("the runner lives");
        wakes.push(probes.verdicts.borrow_and_update()[0][0]);
    }
    assert_eq!(wakes, [Health::Up, Health::Down, Health::Up, Health::Down]);
    let report = probes.reports.get(SiteId(0), 0);
    assert!((38..=40).contains(&report.attempts), "one attempt per interval: {report:?}");
    assert_eq!(report.health, Health::Down);
    assert_eq!(report.last_error.as_deref(), Some("connect: connection refused"));
    assert_eq!(report.last_latency, Some(ms(1)));
    assert!((18..=20).contains(&report.failures), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn first_attempt_is_prompt_with_a_long_interval() {
    let (probes, _cancel) = start(&one(Duration::from_hours(1), ms(500), 1, 1), |_| (ms(0), Ok(())));
    sleep(ms(1010)).await;
    assert_eq!(probes.reports.get(SiteId(0), 0).attempts, 1);
    assert_eq!(probes.verdicts.borrow()[0][0], Health::Up);
}

/// A checker cannot die silently: a panicking probe is restarted on its schedule and says so, and the others go on.
#[tokio::test(start_paused = true)]
async fn panicking_probe_is_restarted_and_reported() {
    let probe = || Some(fixture::tcp(ms(100), ms(50), 2, 2));
    let model = Arc::new(fixture::model(&[("boston", &["192.0.2.10"], probe()), ("geneva", &["192.0.2.20"], probe())]));
    let begun = Instant::now();
    let bad: Arc<dyn Attempt> = Arc::new(Fake(begun, |now| {
        assert!(now < ms(1000) || now > ms(2001), "a bug in the checker");
        (ms(0), Ok(()))
    }));
    let good: Arc<dyn Attempt> = Arc::new(Fake(begun, |_| (ms(0), Ok(()))));
    let cancel = CancellationToken::new();
    let probes = runner::start(&model, vec![(id(0), bad), (id(1), good)], Reports::new(&model), cancel.clone());

    sleep(ms(1995)).await;
    let report = probes.reports.get(SiteId(0), 0);
    assert!((9..=11).contains(&report.restarts), "one restart per interval, no busy loop: {report:?}");
    assert_eq!(report.last_error.as_deref(), Some("the checker failed: panic: a bug in the checker"));
    assert_eq!(report.health, Health::Up, "a bug of ours is no verdict");
    assert_eq!(probes.reports.get(SiteId(1), 0).restarts, 0);

    sleep(ms(500)).await;
    let report = probes.reports.get(SiteId(0), 0);
    assert_eq!((report.last_error.as_deref(), report.health), (None, Health::Up), "it works again");
    let other = probes.reports.get(SiteId(1), 0).attempts;
    assert!(report.attempts.abs_diff(other) <= 1, "{report:?} against {other}");
    cancel.cancel();
    probes.task.await.expect("the runner ends");
}

#[tokio::test(start_paused = true)]
async fn what_this_machine_could_not_try_is_no_verdict() {
    let (probes, _cancel) = start(&one(ms(100), ms(50), 1, 1), |now| {
        let exhausted = Failure::Local(rustix::io::Errno::MFILE.into());
        let starved = Failure::Starved(ms(60));
        let untried = if (now.as_millis() / 100).is_multiple_of(2) { exhausted } else { starved };
        (ms(0), if now < ms(1000) { Ok(()) } else { Err(untried) })
    });
    sleep(ms(3000)).await;
    let report = probes.reports.get(SiteId(0), 0);
    assert_eq!((report.health, report.failures), (Health::Up, 0));
    assert!(report.not_tried >= 19, "{report:?}");
    assert!(report.last_error.is_some_and(|why| why.starts_with("not tried")));
}

#[tokio::test(start_paused = true)]
async fn attempts_at_once_are_bounded_and_all_get_their_turn() {
    struct Counted(Arc<[AtomicUsize; 2]>);
    impl Attempt for Counted {
        fn run(&self) -> Running<'_> {
            Box::pin(async {
                let now = self.0[0].fetch_add(1, Ordering::Relaxed) + 1;
                self.0[1].fetch_max(now, Ordering::Relaxed);
                sleep(ms(10)).await;
                self.0[0].fetch_sub(1, Ordering::Relaxed);
                Ok(())
            })
        }
    }
    let addresses: Vec<String> =
        (0..AgentShare::now().probes * 2).map(|n| format!("192.0.{}.{}", n / 256, n % 256)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let probe = fixture::tcp(ms(1), ms(1), 1, 1);
    let model = Arc::new(fixture::model(&[("boston", &addresses, Some(probe))]));
    let count = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let attempts = (0..addresses.len())
        .map(|a| (ProbeId { address: a, ..id(0) }, Arc::new(Counted(Arc::clone(&count))) as Arc<dyn Attempt>));
    let probes = runner::start(&model, attempts.collect(), Reports::new(&model), CancellationToken::new());
    sleep(ms(200)).await;
    assert_eq!(count[1].load(Ordering::Relaxed), AgentShare::now().probes);
    let least = (0..addresses.len()).map(|a| probes.reports.get(SiteId(0), a).attempts).min();
    assert!(least >= Some(8), "the semaphore is fair: {least:?}");
    probes.task.abort();
}

#[tokio::test(start_paused = true)]
async fn unprobed_site_is_up_and_its_status_channel_stays_open() {
    let model = Arc::new(fixture::model(&[("boston", &["192.0.2.10"], None)]));
    let cancel = CancellationToken::new();
    let mut probes =
        probe::start(&model, Reports::new(&model), &LoadStore::new(&model), cancel.clone()).expect("starts");
    assert_eq!(probes.verdicts.borrow()[0][0], Health::Up);
    assert_eq!(probes.reports.get(SiteId(0), 0).health, Health::Up);
    assert!(
        timeout(Duration::from_mins(1), probes.verdicts.changed()).await.is_err(),
        "neither a change nor a closed channel"
    );
    cancel.cancel();
    probes.task.await.expect("the runner ends");
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_attempts_that_are_under_way() {
    let (probes, cancel) = start(&one(ms(100), ms(100), 1, 1), |_| (Duration::from_hours(1), Ok(())));
    sleep(ms(500)).await;
    cancel.cancel();
    timeout(ms(10), probes.task).await.expect("in time").expect("without a panic");
}

/// Two probes, of which one must find the address well: either keeps it up, both failing take it down, and what fails is named. A
/// reload that takes one of them away goes on from what is known of the other.
#[tokio::test(start_paused = true)]
async fn several_probes_have_one_verdict() {
    let model = |min_healthy: usize| {
        let probe = || fixture::tcp(ms(100), ms(50), 2, 3);
        let mut model = fixture::model(&[("boston", &["192.0.2.10"], Some(probe()))]);
        model.sites[0].probes.push(fixture::http(80));
        model.sites[0].probes[1] = zerottl_core::model::Probe { kind: fixture::http(80).kind, ..probe() };
        model.sites[0].min_healthy = min_healthy;
        Arc::new(model)
    };
    // The first probe fails from 1 s to 4 s, the second from 2 s to 3 s.
    let begun = Instant::now();
    let start = |min_healthy: usize| {
        let during = |from: u64, to: u64| -> Arc<dyn Attempt> {
            Arc::new(Fake(begun, move |now: Duration| {
                (ms(1), if (ms(from)..ms(to)).contains(&now) { refused() } else { Ok(()) })
            }))
        };
        let model = model(min_healthy);
        let second = ProbeId { probe: 1, ..id(0) };
        let attempts = vec![(id(0), during(1000, 4000)), (second, during(2000, 3000))];
        runner::start(&model, attempts, Reports::new(&model), CancellationToken::new())
    };
    let (mut one, mut all) = (start(1), start(2));
    let mut seen = [Vec::new(), Vec::new()];
    while begun.elapsed() < ms(6000) {
        tokio::select! {
            _ = one.verdicts.changed() => seen[0].push((one.verdicts.borrow_and_update()[0][0], begun.elapsed().as_secs())),
            _ = all.verdicts.changed() => seen[1].push((all.verdicts.borrow_and_update()[0][0], begun.elapsed().as_secs())),
            () = sleep(ms(100)) => {}
        }
        if begun.elapsed() < ms(1900) && begun.elapsed() > ms(1500) {
            let report = one.reports.get(SiteId(0), 0);
            assert_eq!(report.last_error.as_deref(), Some("tcp on port 1: connect: connection refused"));
            assert_eq!(report.health, Health::Up);
        }
    }
    assert_eq!(seen[0], [(Health::Up, 0), (Health::Down, 2), (Health::Up, 3)]);
    assert_eq!(seen[1], [(Health::Up, 0), (Health::Down, 1), (Health::Up, 4)]);
    let reports = one.reports.carried_over(&model(1), &one_of(&model(1)));
    let (before, after) = (one.reports.get(SiteId(0), 0), reports.get(SiteId(0), 0));
    assert_eq!((after.health, after.attempts), (Health::Up, before.attempts));
    one.task.abort();
    all.task.abort();
}

/// The model with the second probe alone.
fn one_of(model: &Model) -> Model {
    let mut model = model.clone();
    model.sites[0].probes.remove(0);
    model.sites[0].min_healthy = 1;
    model
}
