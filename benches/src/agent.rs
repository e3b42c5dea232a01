//! (c) The agent's side: how long a plan takes to make, to lay out and to publish.
//!
//! What can be repeated at once is measured by criterion. A status change cannot: its publication needs the grace period of
//! an earlier one, which a loop would measure instead. So those are made one at a time with a pause between.

use std::{
    hint::black_box,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ::tests::kernel::planned::Planned;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, measurement::WallTime};
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    model::Model,
    nets::Nets,
    plan::{Before, Planner},
    saved_state::SavedState,
    status::{Assessment, Health},
};
use zerottl_inputs::load::store::LoadStore;
use zerottl_kernel::{
    Fastpath,
    image::{Bank, Image, Layout},
};

use crate::{error::BenchError, kinds::NETS, scene, stats::Quartiles};

/// Between publications: several grace periods (8 to 16 ms each).
const PAUSE: Duration = Duration::from_millis(50);

/// From one Site that changes to the next; a prime, so that all of them come up.
const STRIDE: usize = 7_919;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct PlanEffort {
    /// Numbers of names.
    pub names: Vec<usize>,
    /// Criterion's time for one figure, after a third of it to warm up.
    pub time: Duration,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The work that was done.
    pub what: &'static str,
    /// Names configured.
    pub names: usize,
    /// Microseconds.
    pub us: Quartiles,
}

/// The cost of a status change.
#[derive(Clone, Debug)]
pub struct StatusChanges {
    /// The scene.
    pub what: &'static str,
    /// Names configured.
    pub names: usize,
    /// Sites configured.
    pub sites: usize,
    /// By [`STEPS`], of each change, microseconds.
    pub us: [Vec<f64>; 4],
}

/// The steps of a status change.
pub const STEPS: [&str; 4] = ["assess all Sites", "plan", "publish", "status change to published plan"];

/// Measures status changes, `count` in each scene.
pub fn changes(names: &[usize], count: usize) -> Result<Vec<StatusChanges>, BenchError> {
    let mut all = Vec::new();
    for names in names.iter().copied() {
        all.push(changes_of("30 Sites in 30 threes", &scene::model(names, scene::PLANS_FEW), count)?);
        all.push(changes_of("3 Sites of its own for each pool", &scene::own_sites_model(names), count)?);
        all.push(changes_of("30 Sites in all their threes", &scene::model(names, scene::PLANS_MANY), count)?);
    }
    Ok(all)
}

/// Measures all but [`changes`].
///
/// # Panics
/// If the scene is one that the maps refuse; those of the benchmarks are not.
pub fn measure(effort: &PlanEffort) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    let mut criterion = Criterion::default()
        .sample_size(11)
        .nresamples(1_001)
        .warm_up_time(effort.time / 3)
        .measurement_time(effort.time);
    for names in effort.names.iter().copied() {
        let mut group = criterion.benchmark_group("plan");
        group.sampling_mode(SamplingMode::Flat);
        let model = scene::model(names, scene::PLANS_MANY);
        let planned = scene::planned(Arc::clone(&model));
        let plan = planned.plan(1);
        let Planned { planner, zones, status, .. } = planned;
        let layout = Layout::new(&planner);
        let mut add = |what, us| figures.push(Figure { what, names, us });
        let what = "prepare a configuration: Planner::new";
        add(what, timed(&mut group, what, names, || Planner::new(Arc::clone(&model))));
        let what = "prepare a configuration: Image::new (name table, SOAs)";
        add(what, timed(&mut group, what, names, || Image::new(&planner, &plan, &zones, &[]).expect("the scene fits")));
        let what = "a whole plan: Planner::plan";
        add(what, timed(&mut group, what, names, || planner.plan(&status, 1)));
        let what = "a whole plan: Bank::new";
        add(what, timed(&mut group, what, names, || Bank::new(&layout, &plan)));
        group.finish();
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

/// A Site goes down or comes back, another one each time: from the probes' verdict to the plan that is answered from, by
/// the steps of the agent's round.
fn changes_of(what: &'static str, model: &Arc<Model>, count: usize) -> Result<StatusChanges, BenchError> {
    let Planned { planner, zones, .. } = scene::planned(Arc::clone(model));
    let mut verdicts = Assessment::unknown(model).health;
    verdicts.iter_mut().for_each(|site| site.fill(Health::Up));
    let (store, first) = (LoadStore::new(model), Instant::now());
    let mut assessor = Assessor::new(Arc::clone(model), &SavedState::default(), None, first);
    let mut status = assessor.assess(first, &verdicts, LoadInputs { entries: &store.read(), answers: &[] });
    let mut plan = planner.plan(&status, 1);
    let mut loaded = Fastpath::load(&planner, &plan, &zones, &[])?;
    loaded.publisher.publish(&plan);
    let mut steps: [Vec<f64>; 4] = Default::default();
    let sites = model.sites.len();
    for turn in 0..count {
        std::thread::sleep(PAUSE);
        // Goes down and comes back before the next one does.
        let site = turn / 2 * STRIDE % sites;
        verdicts[site].fill(if turn % 2 == 0 { Health::Down } else { Health::Up });
        let begun = Instant::now();
        let seen = verdicts.clone();
        let entries = if store.is_used() { store.read() } else { Vec::new() };
        let next = assessor.assess(begun, &seen, LoadInputs { entries: &entries, answers: &[] });
        let is_same = next.decides_as(&status, false);
        let assessed = Instant::now();
        let from = Before { shares: &plan.shares, plan: Some(&plan), elapsed: PAUSE };
        let next_plan = planner.follow(&next, plan.generation + 1, Some(from));
        let followed = Instant::now();
        loaded.publisher.publish(&next_plan);
        let published = Instant::now();
        assert!(!is_same, "a change that changes nothing");
        for (step, time) in
            steps.iter_mut().zip([assessed - begun, followed - assessed, published - followed, published - begun])
        {
            step.push(micros(time));
        }
        (status, plan) = (next, next_plan);
    }
    Ok(StatusChanges { what, names: model.names.len(), sites, us: steps })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
