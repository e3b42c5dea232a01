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
    plan::{Before, Plan, Planner},
    saved_state::SavedState,
    status::{Assessment, Health, Verdicts},
};
use zerottl_inputs::load::store::LoadStore;
use zerottl_kernel::{
    Fastpath, FastpathParts,
    image::{Bank, Image, Layout},
};

use crate::{error::BenchError, kinds::NETS, scene, stats::Quartiles};

/// Between publications: several grace periods (8 to 16 ms each).
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

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

/// Measures the status changes of a scene.
fn changes_of(what: &'static str, model: &Arc<Model>, count: usize) -> Result<StatusChanges, BenchError> {
    let mut agent = ChangedAgent::new(model)?;
    let mut us: [Vec<f64>; STEPS.len()] = Default::default();
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        agent.rest();
        us.iter_mut().zip(agent.change()).for_each(|(us, step)| us.push(step));
    }
    Ok(StatusChanges { what, names: model.names.len(), sites: model.sites.len(), us })
}

/// An agent's parts, for Sites that go down and come back: from the probes' verdict to the plan that is answered from, by the
/// steps of the agent's round.
pub(crate) struct ChangedAgent {
    planner: Planner,
    loaded: FastpathParts,
    store: LoadStore,
    assessor: Assessor,
    sites: usize,
    verdicts: Verdicts,
    status: Assessment,
    plan: Plan,
    turn: usize,
}

impl ChangedAgent {
    /// All Sites are up, and the plan is published.
    pub(crate) fn new(model: &Arc<Model>) -> Result<Self, BenchError> {
        let Planned { planner, zones, signed, .. } = scene::planned(Arc::clone(model)).sign();
        let mut verdicts = Assessment::unknown(model).health;
        verdicts.iter_mut().for_each(|site| site.fill(Health::Up));
        let (store, first) = (LoadStore::new(model), Instant::now());
        let mut assessor = Assessor::new(Arc::clone(model), &SavedState::default(), None, first);
        let status = assessor.assess(first, &verdicts, LoadInputs { entries: &store.read(), answers: &[] });
        let plan = planner.plan(&status, 1);
        let mut loaded = Fastpath::load(&planner, &plan, &zones, &signed)?;
        loaded.publisher.publish(&plan);
        Ok(Self { planner, loaded, store, assessor, sites: model.sites.len(), verdicts, status, plan, turn: 0 })
    }

    /// A round in which nothing changes.
    pub(crate) fn rest(&mut self) {
        self.loaded.publisher.prepare(&self.plan);
    }

    /// Has a Site go down, or come back before the next one goes down; returns what each of [`STEPS`] took, microseconds.
    pub(crate) fn change(&mut self) -> [f64; STEPS.len()] {
        let (site, is_down) = (self.turn / 2 * STRIDE % self.sites, self.turn.is_multiple_of(2));
        self.verdicts[site].fill(if is_down { Health::Down } else { Health::Up });
        self.turn += 1;
        let begun = Instant::now();
        let seen = self.verdicts.clone();
        let entries = if self.store.is_used() { self.store.read() } else { Vec::new() };
        let next = self.assessor.assess(begun, &seen, LoadInputs { entries: &entries, answers: &[] });
        let is_same = next.decides_as(&self.status, false);
        let assessed = Instant::now();
        let from = Before { shares: &self.plan.shares, plan: Some(&self.plan), elapsed: PAUSE };
        let next_plan = self.planner.follow(&next, self.plan.generation + 1, Some(from));
        let followed = Instant::now();
        self.loaded.publisher.publish(&next_plan);
        let published = Instant::now();
        assert!(!is_same, "a change that changes nothing");
        (self.status, self.plan) = (next, next_plan);
        [assessed - begun, followed - assessed, published - followed, published - begun].map(micros)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
