//! (c) The agent's side: how long a plan takes to make, to lay out and to publish.
//!
//! What can be repeated at once is measured by criterion. A publication cannot: each needs the grace period of an earlier
//! one, which a loop would measure instead. So those are made one at a time with a pause between.

use std::{
    hint::black_box,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, measurement::WallTime};
use zerottl::{
    kernel::{
        Fastpath,
        image::{Bank, Image},
    },
    nets::Nets,
    plan::Planner,
    status::{Health, Status},
};

use crate::{Failure, kinds::NETS, scene, stats::Quartiles};

/// Between publications: several grace periods (8 to 16 ms each).
const PAUSE: Duration = Duration::from_millis(50);

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Numbers of names.
    pub names: Vec<usize>,
    /// Criterion's time for one figure, after a third of it to warm up.
    pub time: Duration,
    /// Single publications.
    pub publications: usize,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was done.
    pub what: &'static str,
    /// Names configured.
    pub names: usize,
    /// Microseconds.
    pub us: Quartiles,
}

/// Measures all.
///
/// # Panics
/// If the scene is one that the maps refuse; those of the benchmarks are not.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let mut criterion = Criterion::default()
        .sample_size(11)
        .nresamples(1_001)
        .warm_up_time(effort.time / 3)
        .measurement_time(effort.time);
    for names in effort.names.iter().copied() {
        let mut group = criterion.benchmark_group("plan");
        group.sampling_mode(SamplingMode::Flat);
        let (planner, plan) = scene::planned(names, scene::PLANS_MANY);
        let model = Arc::clone(planner.model());
        let zones = scene::zones(&planner);
        let status = Status::unknown(&model);
        let mut bank = Bank::default();
        let mut add = |what, us| figures.push(Figure { what, names, us });
        let what = "prepare a configuration: Planner::new";
        add(what, timed(&mut group, what, names, || Planner::new(Arc::clone(&model))));
        let what = "prepare a configuration: Image::new (name table, SOAs)";
        add(what, timed(&mut group, what, names, || Image::new(&planner, &plan, &zones).expect("the scene fits")));
        let what = "each round: Planner::plan";
        add(what, timed(&mut group, what, names, || planner.plan(&status, 1)));
        let what = "each round: Bank::lay_out";
        add(what, timed(&mut group, what, names, || bank.lay_out(&plan)));
        group.finish();
        for (what, us) in publications(&planner, effort.publications)? {
            add(what, us);
        }
    }
    let mut group = criterion.benchmark_group("nets");
    group.sampling_mode(SamplingMode::Flat);
    let names = NETS;
    let rules = scene::client_nets(NETS);
    let nets = Nets::build(&rules)?;
    let mut add = |what, us| figures.push(Figure { what, names, us });
    let what = "so many client nets: Nets::build";
    add(what, timed(&mut group, what, names, || Nets::build(&rules).map(|nets| nets.ranges())));
    let what = "so many client nets: Nets::find, random client";
    add(what, timed(&mut group, what, names, || nets.find(IpAddr::from(rand::random::<[u8; 4]>()))));
    group.finish();
    Ok(figures)
}

/// By criterion; the samples' quartiles, µs.
fn timed<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    what: &str,
    names: usize,
    mut routine: impl FnMut() -> T,
) -> Quartiles {
    let mut samples = Vec::new();
    group.bench_function(BenchmarkId::new(what.replace(": ", " "), names), |bencher| {
        bencher.iter_custom(|iterations| {
            let begun = Instant::now();
            for _ in 0..iterations {
                black_box(routine());
            }
            let elapsed = begun.elapsed();
            samples.push(micros(elapsed) / iterations as f64);
            elapsed
        });
    });
    Quartiles::of(samples)
}

/// A Site goes down or comes back: from the changed status to the plan that is answered from.
fn publications(planner: &Planner, count: usize) -> Result<[(&'static str, Quartiles); 2], Failure> {
    let mut status = Status::unknown(planner.model());
    let mut loaded = Fastpath::load(planner, &planner.plan(&status, 1), &scene::zones(planner))?;
    let (mut publish, mut whole) = (Vec::new(), Vec::new());
    for generation in 1..=count as u64 {
        std::thread::sleep(PAUSE);
        let health = if generation % 2 == 0 { Health::Up } else { Health::Down };
        let begun = Instant::now();
        status.health[0].fill(health);
        let plan = planner.plan(&status, generation);
        let publishing = Instant::now();
        loaded.publisher.publish(&plan);
        publish.push(micros(publishing.elapsed()));
        whole.push(micros(begun.elapsed()));
    }
    Ok([
        ("each round: Publisher::publish", Quartiles::of(publish)),
        ("status change to published plan", Quartiles::of(whole)),
    ])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
