//! The dashboard's data: the last ten minutes of shares, states and packets, few enough to send.
//!
//! Once a [`STEP`] the newest plan, the status and the counters are looked at. Steps between which nothing but counters
//! has changed are one [`Run`], so quiet hours cost nothing; the busiest ten minutes are bounded by the constants here,
//! whatever the configuration.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sources::AdminSources;
use crate::observe::{
    labels::{kind_word, site_state},
    shares::ShareCounter,
};
use zerottl_core::model::{Family, NameId, NameKind, SiteId};

/// How often is looked.
pub const STEP: Duration = Duration::from_secs(1);
/// Steps kept: ten minutes.
pub const STEPS_MAX: usize = 600;
/// Pool and Group Names followed, the first of the configuration.
pub(crate) const NAMES_MAX: usize = 32;
/// Sites followed, the first of the configuration; shares of others go together, under no key.
pub const SITES_MAX: usize = 64;

/// `/v1/history`: the past, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct HistoryPage {
    /// Seconds between two looks.
    pub step_s: f64,
    /// Seconds that are kept at most.
    pub span_s: f64,
    /// The Sites followed, by key.
    pub sites: Vec<String>,
    /// The names followed.
    pub names: Vec<HistoryName>,
    /// Stretches in which neither shares nor states changed.
    pub runs: Vec<Run>,
    /// Packets and queries by what was done, one entry per step; ends now, as the last of `runs` does.
    pub traffic: Vec<Traffic>,
}

/// A name of [`HistoryPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct HistoryName {
    /// The name.
    pub name: String,
    /// `pool` or `group`.
    pub kind: String,
}

/// A stretch of [`HistoryPage`] in which nothing changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// How long it lasts, in steps.
    pub steps: u32,
    /// How long ago it began, seconds.
    pub began_s: f64,
    /// By position in `sites`: the word for each Site's state, as in `/v1/status`.
    pub states: Vec<String>,
    /// By position in `names`: the shares of the name's A answers, or of AAAA where it has no A, by Site key.
    pub shares: Vec<BTreeMap<String, f64>>,
    /// Shares of the name's AAAA answers; empty where it has none.
    #[serde(default)]
    pub shares_aaaa: Vec<BTreeMap<String, f64>>,
}

/// Counts of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Traffic {
    /// Answered by the XDP program.
    pub answered: u64,
    /// Dropped by it.
    pub dropped: u64,
    /// Passed up by it, most of which is not DNS.
    pub passed: u64,
    /// Queries that the socket path received.
    pub socket: u64,
}

/// Totals, of which a [`Traffic`] is a difference. A counter that went back began anew.
impl Traffic {
    fn since(self, before: Self) -> Self {
        let of = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            answered: of(self.answered, before.answered),
            dropped: of(self.dropped, before.dropped),
            passed: of(self.passed, before.passed),
            socket: of(self.socket, before.socket),
        }
    }
}

/// Keeps what [`HistoryPage`] shows.
#[derive(Debug, Default)]
pub(crate) struct History {
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    sites: Vec<String>,
    names: Vec<HistoryName>,
    runs: VecDeque<Known>,
    /// Of the newest look.
    totals: Option<Traffic>,
    traffic: VecDeque<Traffic>,
}

#[derive(Debug)]
struct Known {
    steps: u32,
    began: Instant,
    generation: u64,
    /// By Site followed.
    states: Box<[&'static str]>,
    shares: Box<[DrawnShare]>,
}

/// A share that is drawn. Each of [`STEPS_MAX`] may have some thousands of them, all in one piece: names and keys of their own would be
/// several times as large, and so many small pieces would hold the pages of memory that they lie in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct DrawnShare {
    /// Position among the names followed.
    name: u8,
    curve: Curve,
    /// Position among the Sites followed; all others go together.
    site: Option<u8>,
    share: f64,
}

/// The curve of a name that a share belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    /// Of A, or of AAAA where there is no A.
    First,
    /// Of AAAA.
    Aaaa,
}

impl History {
    /// Looks at the agent now.
    pub fn sample(&self, state: &AdminSources) {
        let (model, plan, status) = (&*state.view.model, state.view.plan(), state.status.borrow().clone());
        let followed = model.sites.len().min(SITES_MAX);
        let sites: Vec<String> = model.sites[..followed].iter().map(|site| site.key.clone()).collect();
        let names = || {
            let spread = model.names.iter().enumerate().filter(|(_, entry)| !matches!(entry.kind, NameKind::Site(_)));
            spread.map(|(index, entry)| (NameId(index), entry)).take(NAMES_MAX)
        };
        let followed_names: Vec<HistoryName> = names()
            .map(|(_, entry)| HistoryName { name: entry.name.to_string(), kind: kind_word(entry.kind).into() })
            .collect();
        let words = (0..followed).map(|site| site_state(model, &status, SiteId(site))).collect();
        let mut recorded = self.lock();
        if recorded.sites != sites || recorded.names != followed_names {
            // Another configuration: what was drawn by the old one's names would be misread.
            *recorded = Recorded { sites, names: followed_names, totals: recorded.totals, ..Recorded::default() };
        }
        let shares = match recorded.runs.back() {
            Some(last) if last.generation == plan.generation => last.shares.clone(),
            _ => {
                let mut counter = ShareCounter::new(model, &plan);
                let mut drawn = Vec::new();
                // At most `NAMES_MAX`.
                for (name, (id, _)) in (0_u8..).zip(names()) {
                    let [a, aaaa] = [Family::V4, Family::V6].map(|family| counter.sites(id, family));
                    for (curve, shares) in [(Curve::First, if a.is_empty() { &aaaa } else { &a }), (Curve::Aaaa, &aaaa)]
                    {
                        let shares = few(&recorded.sites, shares).into_iter();
                        drawn.extend(shares.map(|(site, share)| DrawnShare { name, curve, site, share }));
                    }
                }
                drawn.into()
            }
        };
        recorded.push(Instant::now(), plan.generation, words, shares);
        recorded.count(totals(state));
    }

    /// The page of a moment.
    #[must_use]
    pub fn page(&self, now: Instant) -> HistoryPage {
        let recorded = self.lock();
        let run = |known: &Known| Run {
            steps: known.steps,
            began_s: now.saturating_duration_since(known.began).as_secs_f64(),
            states: known.states.iter().map(ToString::to_string).collect(),
            shares: recorded.shares(known, Curve::First),
            shares_aaaa: recorded.shares(known, Curve::Aaaa),
        };
        HistoryPage {
            step_s: STEP.as_secs_f64(),
            span_s: STEP.as_secs_f64() * f64::from(u32::try_from(STEPS_MAX).unwrap_or(u32::MAX)),
            sites: recorded.sites.clone(),
            names: recorded.names.clone(),
            runs: recorded.runs.iter().map(run).collect(),
            traffic: recorded.traffic.iter().copied().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // Each change leaves it whole enough to draw.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// A run's shares of one curve: by name followed, by Site key.
    fn shares(&self, known: &Known, curve: Curve) -> Vec<BTreeMap<String, f64>> {
        let mut by_name = vec![BTreeMap::new(); self.names.len()];
        for drawn in known.shares.iter().filter(|drawn| drawn.curve == curve) {
            let key = drawn.site.map_or("", |site| &self.sites[usize::from(site)]);
            by_name[usize::from(drawn.name)].insert(key.to_owned(), drawn.share);
        }
        by_name
    }

    fn push(&mut self, now: Instant, generation: u64, states: Box<[&'static str]>, shares: Box<[DrawnShare]>) {
        match self.runs.back_mut() {
            Some(last) if last.states == states && last.shares == shares => {
                last.steps += 1;
                last.generation = generation;
            }
            _ => self.runs.push_back(Known { steps: 1, began: now, generation, states, shares }),
        }
        let mut surplus = self.runs.iter().map(|run| run.steps as usize).sum::<usize>().saturating_sub(STEPS_MAX);
        while surplus > 0
            && let Some(first) = self.runs.front_mut()
        {
            if first.steps as usize > surplus {
                first.steps -= u32::try_from(surplus).unwrap_or(u32::MAX);
                first.began += STEP * u32::try_from(surplus).unwrap_or(u32::MAX);
                break;
            }
            surplus -= first.steps as usize;
            self.runs.pop_front();
        }
    }

    fn count(&mut self, now: Traffic) {
        if let Some(before) = self.totals.replace(now) {
            self.traffic.push_back(now.since(before));
        }
        while self.traffic.len() > STEPS_MAX {
            self.traffic.pop_front();
        }
    }
}

/// The shares of the Sites followed by their positions, and of all others together.
fn few(sites: &[String], shares: &BTreeMap<String, f64>) -> Vec<(Option<u8>, f64)> {
    let (mut drawn, mut others) = (Vec::new(), 0.0);
    for (key, share) in shares {
        // At most `SITES_MAX`.
        match (0_u8..).zip(sites).find(|(_, site)| *site == key) {
            Some((site, _)) => drawn.push((Some(site), *share)),
            None => others += share,
        }
    }
    if others > 0.0 {
        drawn.push((None, others));
    }
    drawn
}

fn totals(state: &AdminSources) -> Traffic {
    let mut totals = Traffic { socket: state.counters.socket().queries.values().sum(), ..Traffic::default() };
    for (_, action, count) in state.counters.reasons() {
        match action {
            "answer" => totals.answered += count,
            "drop" => totals.dropped += count,
            _ => totals.passed += count,
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(share: f64) -> Box<[DrawnShare]> {
        Box::new([DrawnShare { name: 0, curve: Curve::First, site: Some(0), share }])
    }

    #[test]
    fn runs_grow_while_nothing_changes_and_the_oldest_steps_go() {
        let (mut recorded, start) = (Recorded::default(), Instant::now());
        let states = || Box::from(["up"]);
        let at = |step: u32| start + STEP * step;
        for step in 0..500 {
            recorded.push(at(step), 1, states(), one(1.0));
        }
        for step in 500..700 {
            recorded.push(at(step), 2, states(), one(0.5));
        }
        let runs: Vec<_> = recorded.runs.iter().map(|run| (run.steps, run.began - start)).collect();
        assert_eq!(runs, [(400, STEP * 100), (200, STEP * 500)]);
        // Every step another: still bounded.
        for step in 700..2_000 {
            recorded.push(at(step), u64::from(step), states(), one(f64::from(step)));
        }
        assert_eq!(recorded.runs.len(), STEPS_MAX);
        assert_eq!(recorded.runs.iter().map(|run| run.steps as usize).sum::<usize>(), STEPS_MAX);
    }

    #[test]
    fn traffic_is_what_was_added_and_survives_counters_that_begin_anew() {
        let mut recorded = Recorded::default();
        for answered in [100, 130, 130, 7] {
            recorded.count(Traffic { answered, ..Traffic::default() });
        }
        assert_eq!(recorded.traffic.iter().map(|step| step.answered).collect::<Vec<_>>(), [30, 0, 7]);
        for answered in 0..2_000 {
            recorded.count(Traffic { answered, ..Traffic::default() });
        }
        assert_eq!(recorded.traffic.len(), STEPS_MAX);
    }

    #[test]
    fn sites_that_are_not_followed_are_one() {
        let sites = ["boston".to_owned()];
        let shares = BTreeMap::from([("boston".to_owned(), 0.5), ("a".to_owned(), 0.25), ("b".to_owned(), 0.25)]);
        assert_eq!(few(&sites, &shares), [(Some(0), 0.5), (None, 0.5)]);
        let [a, aaaa] = [(Curve::First, None, 0.5), (Curve::Aaaa, Some(0), 1.0)]
            .map(|(curve, site, share)| DrawnShare { name: 1, curve, site, share });
        let [first, second] =
            ["app.com", "b.app.com"].map(|name| HistoryName { name: name.into(), kind: "pool".into() });
        let recorded = Recorded { sites: sites.into(), names: vec![first, second], ..Recorded::default() };
        let shares = [DrawnShare { site: Some(0), ..a }, a, aaaa].into();
        let known = Known { steps: 1, began: Instant::now(), generation: 1, states: Box::default(), shares };
        let map = |shares: &[(&str, f64)]| shares.iter().map(|(key, share)| ((*key).to_owned(), *share)).collect();
        assert_eq!(recorded.shares(&known, Curve::First), [map(&[]), map(&[("boston", 0.5), ("", 0.5)])]);
        assert_eq!(recorded.shares(&known, Curve::Aaaa), [map(&[]), map(&[("boston", 1.0)])]);
    }
}
