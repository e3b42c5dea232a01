//! A simulation of least-load: Sites whose load follows the answers late, and the agent's own assessor and planner.
//!
//! Real are the load store, the assessment, the planner, the tables. Made up, and the same in every run, are clients that
//! come in unevenly, resolvers that keep an answer for some seconds, sessions that last, reports that are late, a Site's
//! death, its return, and one whose capacity shrinks. Nothing sleeps: time is a number.
#![expect(clippy::cast_sign_loss, reason = "seconds since the beginning")]

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use zerottl_config as config;
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    model::{Family, Model, NameId, SiteId},
    plan::{Before, Choice, Plan, Planner},
    saved_state::SavedState,
    status::{Assessment, Health, Verdicts},
};
use zerottl_inputs::load::{LoadStore, Report};

/// The length of a simulation, seconds.
pub const SECONDS: usize = 600;
/// The second in which a burst comes.
pub const BURST: usize = 120;
/// Site 0 dies at this second.
pub const DEATH: usize = 150;
/// Site 0 returns.
pub const RETURN: usize = 270;
/// Site 1's capacity falls to a fourth.
pub const SHRINKS: usize = 390;
/// Site 1's capacity is whole again.
pub const GROWS: usize = 480;
/// The capacity of each Site, sessions.
pub const CAPACITIES: [f64; 4] = [1000.0, 800.0, 600.0, 400.0];
/// Planning rounds in a second.
const ROUNDS: usize = 10;
/// The first of [`seeds`].
const SEED: u64 = 0x7a65_726f_7474_6c04;

/// The parameters that are varied.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// `max_step` of the pool.
    pub max_step: f64,
    /// `load_per_answer` of the Sites; learned where none.
    pub per_answer: Option<f64>,
    /// `policy` of the pool.
    pub policy: &'static str,
    /// Sessions that all Sites together have in the long run.
    pub demand: f64,
    /// Seconds that a session lasts in the mean.
    pub session_s: f64,
    /// Seconds that resolvers keep an answer, though its TTL is 0.
    pub cached_s: f64,
    /// Seconds from one report of a Site to the next.
    pub report_every_s: f64,
    /// Seconds that a report is late.
    pub report_late_s: f64,
    /// Sessions that come all at once, within one second.
    pub burst: f64,
    /// The seed of what clients and resolvers do by chance.
    pub seed: u64,
}

/// Returns a setup with each of so many seeds.
pub fn seeds(setup: Setup, count: u64) -> impl Iterator<Item = Setup> {
    (0..count).map(move |i| Setup { seed: SEED + i, ..setup })
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_step: 0.02,
            per_answer: None,
            policy: "least-load",
            demand: 1400.0,
            session_s: 20.0,
            cached_s: 3.0,
            report_every_s: 2.0,
            report_late_s: 3.0,
            burst: 0.0,
            seed: SEED,
        }
    }
}

/// One second of a simulation, by Site.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Load over capacity.
    pub utilisation: [f64; 4],
    /// Share of the pool's A answers.
    pub share: [f64; 4],
}

/// Clients behind one resolver.
#[derive(Clone, Copy, Debug, Default)]
struct Resolver {
    /// The answer that it keeps, until when.
    kept: Option<(usize, f64)>,
}

/// Runs a simulation.
///
/// # Panics
/// If its configuration is at fault.
#[must_use]
pub fn run(setup: &Setup) -> Vec<Second> {
    let model = model(setup);
    let (store, planner) = (LoadStore::new(&model), Planner::new(Arc::clone(&model)));
    let (begin, mut random) = (Instant::now(), SmallRng::seed_from_u64(setup.seed));
    let mut assessor = Assessor::new(Arc::clone(&model), &SavedState::default(), None, begin);
    let mut world = World::new(setup);
    let mut plan = planner.plan(&Assessment::unknown(&model), 1);
    let mut seconds = Vec::with_capacity(SECONDS);
    for tick in 0..SECONDS * ROUNDS {
        let (at_s, step_s) = (number(tick) / number(ROUNDS), 1.0 / number(ROUNDS));
        let now = begin + Duration::from_secs_f64(at_s);
        let second = tick / ROUNDS;
        let dead = (DEATH..RETURN).contains(&second);
        let mut capacities = CAPACITIES;
        if (SHRINKS..GROWS).contains(&second) {
            capacities[1] /= 4.0;
        }
        world.pass(setup, step_s, at_s, dead, &table(&plan), &mut random);
        for (site, report) in world.reports(setup, at_s, &capacities, dead) {
            store.report(SiteId(site), now, Ok(report));
        }
        let mut verdicts: Verdicts = [[Health::Up]; 4].into_iter().collect();
        // Two seconds for the probes to notice.
        if (DEATH + 2..RETURN + 2).contains(&second) {
            verdicts[0][0] = Health::Down;
        }
        let loads = LoadInputs { entries: &store.read(), answers: &world.answers };
        let status = assessor.assess(now, &verdicts, loads);
        let before = Before { shares: &plan.shares, plan: Some(&plan), elapsed: Duration::from_secs_f64(step_s) };
        plan = planner.follow(&status, plan.generation + 1, Some(before));
        if tick % ROUNDS == ROUNDS - 1 {
            let share = shares(&plan);
            let utilisation = [0, 1, 2, 3].map(|site| world.sessions[site] / capacities[site]);
            seconds.push(Second { utilisation, share });
        }
    }
    seconds
}

fn model(setup: &Setup) -> Arc<Model> {
    let mut text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"h@app.com\"\n\
         [pool.\"app.com\"]\nsites = [\"s0\", \"s1\", \"s2\", \"s3\"]\npolicy = \"{}\"\nmax_step = {:?}\n\
         slow_start = \"20s\"\n",
        setup.policy, setup.max_step
    );
    for site in 0..4 {
        let per_answer = setup.per_answer.map(|load| format!(", load_per_answer = {load:?}")).unwrap_or_default();
        let _ = write!(
            text,
            "[site.s{site}]\nname = \"s{site}.app.com\"\naddresses = [\"192.0.2.{}\"]\n\
             probe = {{ kind = \"tcp\", port = 80 }}\nload = {{ kind = \"push\"{per_answer} }}\n",
            site + 1
        );
    }
    let loaded = config::parse("simulation", &text, Path::new("")).unwrap_or_else(|e| panic!("{}", e.plain()));
    Arc::new(loaded.model)
}

/// The Sites in the slots of the pool's table.
fn table(plan: &Plan) -> Vec<usize> {
    match plan.choice(NameId(0), Family::V4) {
        Choice::Table(table) => table.slots.iter().map(|slot| usize::from(*slot)).collect(),
        Choice::NoData | Choice::Servfail => Vec::new(),
    }
}

fn shares(plan: &Plan) -> [f64; 4] {
    let slots = table(plan);
    [0, 1, 2, 3].map(|site| number(slots.iter().filter(|slot| **slot == site).count()) / number(slots.len()))
}

/// Clients, resolvers and Sites.
struct World {
    sessions: [f64; 4],
    /// Those of a dead Site, who come back.
    lost: f64,
    answers: Vec<u64>,
    resolvers: Vec<Resolver>,
    cursor: usize,
    /// Sessions in each round so far, for reports that are late.
    history: Vec<[f64; 4]>,
    next_report_s: [f64; 4],
}

impl World {
    fn new(setup: &Setup) -> Self {
        Self {
            sessions: [0.0; 4],
            lost: 0.0,
            answers: vec![0; 4],
            resolvers: vec![Resolver::default(); 60],
            cursor: 0,
            history: Vec::new(),
            // Each at a time of its own.
            next_report_s: [0.0, 0.23, 0.51, 0.77].map(|part| part * setup.report_every_s),
        }
    }

    /// One round: clients come and go.
    fn pass(&mut self, setup: &Setup, step_s: f64, at_s: f64, dead: bool, table: &[usize], random: &mut SmallRng) {
        for sessions in &mut self.sessions {
            *sessions *= 1.0 - step_s / setup.session_s;
        }
        if dead {
            self.lost += std::mem::take(&mut self.sessions[0]);
        }
        // Who lost a session tries anew, within some five seconds.
        let again = self.lost * step_s / 5.0;
        self.lost -= again;
        let at_once = if at_s as usize == BURST { setup.burst * step_s } else { 0.0 };
        let usual = setup.demand / setup.session_s * step_s + again + at_once;
        let mut coming = usual * random.random_range(0.5..1.5);
        while coming > random.random_range(0.0..1.0) {
            coming -= 1.0;
            let who = random.random_range(0..self.resolvers.len());
            let site = self.ask(who, setup, at_s, table, random);
            if dead && site == 0 {
                self.lost += 1.0;
            } else {
                self.sessions[site] += 1.0;
            }
        }
        self.history.push(self.sessions);
    }

    fn ask(&mut self, who: usize, setup: &Setup, at_s: f64, table: &[usize], random: &mut SmallRng) -> usize {
        if let Some((site, until)) = self.resolvers[who].kept
            && at_s < until
        {
            return site;
        }
        let site = table[self.cursor % table.len()];
        self.cursor += 1;
        self.answers[site] += 1;
        let keeps = setup.cached_s * random.random_range(0.5..1.5);
        self.resolvers[who].kept = Some((site, at_s + keeps));
        site
    }

    /// Reports that arrive in this round.
    fn reports(&mut self, setup: &Setup, at_s: f64, capacities: &[f64; 4], dead: bool) -> Vec<(usize, Report)> {
        let mut reports = Vec::new();
        for (site, due_s) in self.next_report_s.iter_mut().enumerate().filter(|(_, due)| at_s >= **due) {
            *due_s += setup.report_every_s;
            let then = (at_s - setup.report_late_s).max(0.0);
            // Rounds are counted from 0 and times are not negative.
            let then = self.history[((then * number(ROUNDS)) as usize).min(self.history.len() - 1)];
            if !(dead && site == 0) {
                let report = Report {
                    current: Some(then[site]),
                    capacity: Some(capacities[site]),
                    at: Some(at_s),
                    ..Report::default()
                };
                reports.push((site, report));
            }
        }
        reports
    }
}

/// Median and worst of a figure over so many [`seeds`].
///
/// # Panics
/// If there are none.
#[must_use]
pub fn over_seeds(setup: Setup, count: u64, figure: impl Fn(&[Second]) -> f64) -> (f64, f64) {
    let mut figures: Vec<f64> = seeds(setup, count).map(|setup| figure(&run(&setup))).collect();
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[figures.len() - 1])
}

/// How far one Site's share goes up and down in these seconds, the largest of all.
#[must_use]
pub fn swing(seconds: &[Second]) -> f64 {
    let of = |site: usize| {
        let shares = seconds.iter().map(|second| second.share[site]);
        let (low, high) = shares.fold((1.0, 0.0), |(low, high), share: f64| (share.min(low), share.max(high)));
        high - low
    };
    (0..4).map(of).fold(0.0, f64::max)
}

/// How far one Site's utilisation goes up and down in these seconds, the largest of all.
#[must_use]
pub fn utilisation_swing(seconds: &[Second]) -> f64 {
    let of = |site: usize| {
        let loads = seconds.iter().map(|second| second.utilisation[site]);
        let (low, high) = loads.fold((f64::INFINITY, 0.0), |(low, high), load: f64| (load.min(low), load.max(high)));
        high - low
    };
    (0..4).map(of).fold(0.0, f64::max)
}

/// The highest utilisation of any Site in these seconds.
#[must_use]
pub fn peak(seconds: &[Second]) -> f64 {
    seconds.iter().flat_map(|second| second.utilisation).fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "seconds, rounds and slots of one simulation")]
fn number(count: usize) -> f64 {
    count as f64
}
