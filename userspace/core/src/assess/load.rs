//! Loads at one moment: figures with their age, debited answers, and slow starts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::{LoadSource, Model, SiteId, WhenStale},
    site_load::SiteLoad,
    status::{AdminState, Assessment, Load, SelfReport},
};

/// Fewer answers than this beyond the usual say nothing about what one of them weighs.
const LEARN_ANSWERS_MIN: f64 = 8.0;
/// The part of earlier lessons that is left at each report.
const LESSON_KEPT: f64 = 0.9;
/// After so many seconds the usual rate of answers is by two thirds that of these.
const USUAL_S: f64 = 10.0;
/// Answers may be this many times the root of their usual number beyond it by mere chance.
const CHANCE: f64 = 2.0;
/// Of a Site's capacity, the most that one answer can weigh.
const PER_ANSWER_MAX: f64 = 0.1;
/// A slow start goes in this many steps, so that it is not a new plan in every round.
const RAMP_STEPS: f64 = 20.0;

/// The state that one moment's loads need of those before.
#[derive(Clone, Debug)]
pub struct Loads {
    model: Arc<Model>,
    /// When the first moment was: a Site that never said anything is silent since then.
    since: Option<Instant>,
    ledgers: Vec<Ledger>,
    /// The Sites that report their load.
    reporting: Vec<usize>,
}

/// One Site's answers and reports.
#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    /// [`SiteLoad::news`] of the newest report seen.
    news: u64,
    /// Answers when it was seen.
    answers: u64,
    /// The load that it reported.
    current: Option<f64>,
    /// When it came.
    received: Option<Instant>,
    /// Answers a second that have been usual: as many sessions end meanwhile, so they are no burden.
    rate: f64,
    /// Over its reports, sums of growth times answers beyond the usual, and of the latter's squares: by their quotient, the
    /// regression's, chance cancels out. Older ones count less and less.
    lessons: (f64, f64),
    /// The load that one answer adds, as far as is known.
    per_answer: Option<f64>,
}

impl Loads {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self { ledgers: vec![Ledger::default(); model.sites.len()], reporting: reporting(&model), since: None, model }
    }

    /// Carries over what has been seen, for a new configuration: of each Site that was there before, by its key.
    #[must_use]
    pub fn carry_over(&self, model: Arc<Model>) -> Self {
        let old: HashMap<&str, Ledger> =
            self.model.sites.iter().zip(&self.ledgers).map(|(site, ledger)| (site.key.as_str(), *ledger)).collect();
        let ledgers = model.sites.iter().map(|site| old.get(site.key.as_str()).copied().unwrap_or_default());
        Self { ledgers: ledgers.collect(), reporting: reporting(&model), since: self.since, model }
    }

    /// Sets loads and wishes at `now`, which never goes back. `entries` are what Sites said, `answers` how often each was
    /// answered; the latter only ever grows, but for a new start from 0.
    pub fn observe(&mut self, now: Instant, entries: &[SiteLoad], answers: &[u64], status: &mut Assessment) {
        let since = *self.since.get_or_insert(now);
        for i in self.reporting.iter().copied() {
            let (Some(entry), Some(source)) = (entries.get(i), &self.model.sites[i].load) else { continue };
            let answers = answers.get(i).copied().unwrap_or(0);
            let ledger = &mut self.ledgers[i];
            ledger.learn(entry, answers);
            let age = now.saturating_duration_since(entry.received.unwrap_or(since));
            let state = &mut status.sites[i];
            (state.load, state.self_report) = ledger.stand(source, entry, answers, age);
        }
    }
}

fn reporting(model: &Model) -> Vec<usize> {
    (0..model.sites.len()).filter(|site| model.sites[*site].load.is_some()).collect()
}

impl Ledger {
    /// Sees whether there is a new report, and what answers have added since the one before.
    fn learn(&mut self, entry: &SiteLoad, answers: u64) {
        // The counts began anew.
        self.answers = self.answers.min(answers);
        if self.news == entry.news {
            return;
        }
        self.news = entry.news;
        let given = float(answers - self.answers);
        self.answers = answers;
        let Some(Load { current, capacity, .. }) = entry.load else { return };
        let (before, since) = (self.current.replace(current), std::mem::replace(&mut self.received, entry.received));
        let (Some(before), Some(since), Some(received)) = (before, since, entry.received) else { return };
        let seconds = received.saturating_duration_since(since).as_secs_f64();
        let beyond = given - self.rate * seconds;
        if beyond.abs() >= LEARN_ANSWERS_MIN {
            let (growth, answers) = self.lessons;
            self.lessons =
                (growth * LESSON_KEPT + (current - before) * beyond, answers * LESSON_KEPT + beyond * beyond);
            let (growth, answers) = self.lessons;
            self.per_answer = Some((growth / answers).clamp(0.0, capacity * PER_ANSWER_MAX));
        }
        if seconds > 0.0 {
            let kept = (-seconds / USUAL_S).exp();
            self.rate = self.rate * kept + given / seconds * (1.0 - kept);
        }
    }

    /// Returns what answers have added to the load in the `age` of the newest report.
    fn debit(&self, per_answer: f64, answers: f64, age: Duration) -> f64 {
        let usual = self.rate * age.as_secs_f64();
        let usual = per_answer * (usual + CHANCE * usual.sqrt());
        // What ends meanwhile is at most what there was.
        let ends = usual.min(self.current.unwrap_or(0.0));
        (per_answer * answers - ends).max(0.0)
    }

    /// Returns what counts of a Site's report.
    fn stand(&self, source: &LoadSource, entry: &SiteLoad, answers: u64, age: Duration) -> (Option<Load>, SelfReport) {
        let is_stale = age.saturating_sub(entry.untried) > source.stale_after;
        let mut report = SelfReport {
            admin_state: entry.state_in_force(),
            factor: entry.factor.unwrap_or(1.0),
            stale: is_stale,
            per_answer: source.per_answer.or(self.per_answer).unwrap_or(0.0),
            debit: 0.0,
            sessions: entry.sessions,
        };
        let mut load = entry.load;
        match (is_stale, source.when_stale) {
            // Answers since then are not debited: without reports there is nobody to end it.
            (true, WhenStale::Hold) => {}
            (true, WhenStale::Equal) => (load, report.factor) = (None, 1.0),
            (true, WhenStale::Drain) => report.admin_state = report.admin_state.max(AdminState::Drain),
            (false, _) => {
                report.debit = self.debit(report.per_answer, float(answers - self.answers), age);
                load = load.map(|load| Load { current: load.current + report.debit, ..load });
            }
        }
        (load, report)
    }
}

/// Which Sites have come back, and when.
#[derive(Clone, Debug)]
pub struct Returns {
    model: Arc<Model>,
    sites: Vec<Past>,
    /// By Site: its pool's.
    slow_starts: Vec<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Past {
    /// Never in service so far: its first time is no return.
    #[default]
    Never,
    InService,
    Away,
    Back(Instant),
}

impl Returns {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self { sites: vec![Past::Never; model.sites.len()], slow_starts: slow_starts(&model), model }
    }

    /// Carries over what has been seen, for a new configuration: of each Site that was there before, by its key.
    #[must_use]
    pub fn carry_over(&self, model: Arc<Model>) -> Self {
        let old: HashMap<&str, Past> =
            self.model.sites.iter().zip(&self.sites).map(|(site, past)| (site.key.as_str(), *past)).collect();
        let sites = model.sites.iter().map(|site| old.get(site.key.as_str()).copied().unwrap_or_default()).collect();
        Self { sites, slow_starts: slow_starts(&model), model }
    }

    /// Sets each Site's ramp at `now`, once all else is known of it.
    pub fn observe(&mut self, now: Instant, status: &mut Assessment) {
        for (i, (past, slow_start)) in self.sites.iter_mut().zip(&self.slow_starts).enumerate() {
            let slow_start = *slow_start;
            let state = &status.sites[i];
            let takes =
                state.admin_state_in_force() == AdminState::Ready && !state.held && state.self_report.factor > 0.0;
            let in_service = takes && status.site_is_up(&self.model, SiteId(i));
            let over = |since: Instant| now.saturating_duration_since(since) >= slow_start;
            *past = match (*past, in_service) {
                (Past::Never, false) => Past::Never,
                (_, false) => Past::Away,
                (Past::Away, true) if !slow_start.is_zero() => Past::Back(now),
                (Past::Back(since), true) if !over(since) => Past::Back(since),
                (_, true) => Past::InService,
            };
            if let Past::Back(since) = *past {
                status.sites[i].ramp = ramp(now.saturating_duration_since(since), slow_start);
            }
        }
    }
}

fn slow_starts(model: &Model) -> Vec<Duration> {
    model.sites.iter().map(|site| model.pools[site.pool.0].steering.slow_start).collect()
}

/// Of its weight, what a Site gets this long after its return; over 0, up to 1.
fn ramp(since: Duration, slow_start: Duration) -> f64 {
    let steps = (since.as_secs_f64() / slow_start.as_secs_f64() * RAMP_STEPS).floor();
    ((steps + 1.0) / RAMP_STEPS).min(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "answers between two reports, far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
