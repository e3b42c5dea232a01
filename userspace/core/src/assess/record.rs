//! The record that one assessment needs of those before it: overrides, flaps, and what a restart remembers. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    dependencies::Dependencies,
    event::AssessorEvent,
    remarks::{Hold, RefusedOverride, Remarks},
};
use crate::{
    alarms::Alarm,
    damping::{Flaps, Proven},
    minimums,
    model::{Damping, Model, SiteId},
    overrides::{Override, OverrideError, OverrideRequest, OverrideValue},
    saved_state::{SavedFlaps, SavedHealth, SavedOverride, SavedSite, SavedState, ms},
    status::{AdminState, Assessment, Health, Verdicts},
};

/// Health that is older than this when a restart reads it counts for nothing.
pub const HEALTH_AGE_MAX: Duration = Duration::from_mins(2);
/// A refusal is shown for this long.
const REFUSAL_SHOWN: Duration = Duration::from_mins(10);

/// Overrides, flaps and recalled health, by Site of one model.
#[derive(Clone, Debug)]
pub struct AssessmentRecord {
    states: BTreeMap<SiteId, Override<AdminState>>,
    weights: BTreeMap<SiteId, Override<u32>>,
    flaps: Vec<Flaps>,
    /// By Site, where it is probed.
    dampings: Vec<Option<Damping>>,
    /// By Site and address: what was known before the restart, and as of when. Forgotten once the probes know better.
    recalled: BTreeMap<(usize, usize), (Health, Instant)>,
    holds: BTreeMap<SiteId, Hold>,
    refusal: Option<RefusedOverride>,
    refusals: u64,
    /// Counts what a restart must know at once.
    revision: u64,
    /// Events since they were last taken.
    pub(super) events: Vec<AssessorEvent>,
}

impl AssessmentRecord {
    /// Takes over what `memory`, which is `age` old at `now`, says of the model's Sites. Where its age is not known its
    /// overrides hold as if no time had passed, and its health counts for nothing.
    #[must_use]
    pub fn new(model: &Model, memory: &SavedState, age: Option<Duration>, now: Instant) -> Self {
        let old = age.unwrap_or_default();
        let mut record = Self {
            states: BTreeMap::new(),
            weights: BTreeMap::new(),
            flaps: vec![Flaps::default(); model.sites.len()],
            dampings: model.sites.iter().map(|site| site.is_probed().then_some(site.damping)).collect(),
            recalled: BTreeMap::new(),
            holds: BTreeMap::new(),
            refusal: None,
            refusals: 0,
            revision: 0,
            events: Vec::new(),
        };
        // Since the machine's start at most; where that is too short, all ages are as old as can be told.
        let ago = |age_ms: u64| now.checked_sub(old.saturating_add(Duration::from_millis(age_ms)));
        for (id, site) in model.sites.iter().enumerate() {
            let Some(memory) = memory.sites.get(&site.key) else { continue };
            record.states.extend(memory.word.as_ref().and_then(|word| Some((SiteId(id), recall(word, old, now)?))));
            record
                .weights
                .extend(memory.weight.as_ref().and_then(|weight| Some((SiteId(id), recall(weight, old, now)?))));
            if let Some(flaps) = memory.flaps {
                let up_since = flaps.up_ms.map(|up_ms| ago(up_ms).unwrap_or(now));
                record.flaps[id] = Flaps { in_a_row: flaps.in_a_row, up_since };
            }
            let probed = age.is_some() && site.is_probed();
            for (index, address) in site.addresses.iter().enumerate().filter(|_| probed) {
                let Some(health) = memory.health.get(&address.answer) else { continue };
                let age = old.saturating_add(Duration::from_millis(health.age_ms));
                if age <= HEALTH_AGE_MAX
                    && let Some(at) = now.checked_sub(age)
                {
                    let verdict = if health.up { Health::Up } else { Health::Down };
                    record.recalled.insert((id, index), (verdict, at));
                }
            }
        }
        record
    }

    /// The verdicts, and for addresses without one what was known before the restart.
    #[must_use]
    pub fn recall(&mut self, now: Instant, verdicts: &Verdicts) -> Verdicts {
        let mut health = verdicts.clone();
        self.recalled.retain(|(site, address), (recalled, at)| {
            let verdict = &mut health[*site][*address];
            let counts = *verdict == Health::Unknown && now.saturating_duration_since(*at) <= HEALTH_AGE_MAX;
            if counts {
                *verdict = *recalled;
            }
            counts
        });
        health
    }

    /// Applies overrides and flaps to a status that has its health.
    pub fn apply(&mut self, model: &Model, now: Instant, status: &mut Assessment) {
        self.lapse(model, now);
        for (site, in_force) in &self.states {
            status.sites[site.0].admin_state = in_force.value;
        }
        for (site, in_force) in &self.weights {
            status.sites[site.0].weight = in_force.value;
        }
        let told = std::mem::take(&mut self.holds);
        for (id, (flaps, damping)) in self.flaps.iter_mut().zip(&self.dampings).enumerate() {
            let Some(damping) = *damping else { continue };
            let before = flaps.in_a_row;
            flaps.observe(damping, proven(model, status, SiteId(id)), now);
            if flaps.in_a_row != before {
                self.revision += 1;
            }
            if let Some(until) = flaps.held_until(damping, now) {
                if told.get(&SiteId(id)).is_none_or(|hold| hold.failures != flaps.in_a_row) {
                    let site = model.sites[id].key.clone();
                    self.events.push(AssessorEvent::HeldBack { site, failures: flaps.in_a_row });
                }
                status.sites[id].held = true;
                self.holds.insert(SiteId(id), Hold { until, failures: flaps.in_a_row });
            }
        }
    }

    /// Takes in a request that has been [checked](crate::overrides::checked), for these Sites, unless it would take from a
    /// pool more than its minimum allows of what it has by `current`, the newest status. Returns the Sites' keys.
    pub fn set_override(
        &mut self,
        model: &Model,
        now: Instant,
        request: &OverrideRequest,
        sites: &[SiteId],
        current: &Assessment,
    ) -> Result<Vec<String>, OverrideError> {
        let mut forced = false;
        if let OverrideValue::State(word) = request.value {
            let mut after = current.clone();
            for site in sites {
                after.sites[site.0].admin_state = word;
            }
            Dependencies::new(model).apply(model, &mut after);
            let shortfalls = minimums::refused((model, current), (model, &after));
            forced = !shortfalls.is_empty();
            if forced && !request.force {
                let refused = OverrideError::BelowMinimum(shortfalls);
                let text = format!("{} {} by {}: {refused}", word.as_str(), request.target, request.by);
                self.refusal = Some(RefusedOverride { at: now, text });
                self.refusals += 1;
                return Err(refused);
            }
        }
        for site in sites {
            match request.value {
                OverrideValue::State(AdminState::Ready) => {
                    self.states.remove(site);
                    self.flaps[site.0].in_a_row = 0;
                }
                OverrideValue::State(word) => drop(self.states.insert(*site, new_override(word, request, forced, now))),
                OverrideValue::Weight(Some(weight)) => {
                    drop(self.weights.insert(*site, new_override(weight, request, forced, now)));
                }
                OverrideValue::Weight(None) => drop(self.weights.remove(site)),
            }
        }
        self.revision += 1;
        Ok(sites.iter().map(|site| model.sites[site.0].key.clone()).collect())
    }

    /// For people.
    #[must_use]
    pub fn remarks(&self, now: Instant, alarms: Arc<[Alarm]>) -> Remarks {
        let is_fresh = |refusal: &&RefusedOverride| now.saturating_duration_since(refusal.at) < REFUSAL_SHOWN;
        Remarks {
            states: self.states.iter().map(|(site, in_force)| (site.0, in_force.clone())).collect(),
            weights: self.weights.iter().map(|(site, in_force)| (site.0, in_force.clone())).collect(),
            holds: self.holds.iter().map(|(site, hold)| (site.0, *hold)).collect(),
            recalled: self.recalled.keys().copied().collect(),
            alarms,
            statements: Arc::default(),
            out: BTreeMap::new(),
            refusal: self.refusal.as_ref().filter(is_fresh).cloned(),
            refusals: self.refusals,
        }
    }

    /// Goes up with everything that a restart should know at once.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns what a restart, or another model, should know; `verdicts` are the probes' own.
    #[must_use]
    pub fn saved_state(&self, model: &Model, now: Instant, verdicts: &Verdicts) -> SavedState {
        let since = |then: Instant| ms(now.saturating_duration_since(then));
        let site = |(id, site): (usize, &crate::model::Site)| {
            let health = site.addresses.iter().enumerate().filter_map(|(index, address)| {
                let (health, age_ms) = match (verdicts[id][index], self.recalled.get(&(id, index))) {
                    (Health::Unknown, Some((health, at))) => (*health, since(*at)),
                    (Health::Unknown, None) => return None,
                    (health, _) => (health, 0),
                };
                Some((address.answer, SavedHealth { up: health == Health::Up, age_ms }))
            });
            let flaps = self.flaps[id];
            let flaps = SavedFlaps { in_a_row: flaps.in_a_row, up_ms: flaps.up_since.map(since) };
            let memory = SavedSite {
                health: if site.is_probed() { health.collect() } else { BTreeMap::new() },
                word: self.states.get(&SiteId(id)).map(|in_force| remember(in_force, now)),
                weight: self.weights.get(&SiteId(id)).map(|in_force| remember(in_force, now)),
                flaps: (flaps.in_a_row > 0).then_some(flaps),
                ..SavedSite::default()
            };
            (memory != SavedSite::default()).then(|| (site.key.clone(), memory))
        };
        SavedState { sites: model.sites.iter().enumerate().filter_map(site).collect() }
    }

    /// The record for another model: what was said and known of a Site stays with its key, its health with its address.
    #[must_use]
    pub fn carried(&self, from: &Model, to: &Model, now: Instant, verdicts: &Verdicts) -> Self {
        let memory = self.saved_state(from, now, verdicts);
        let keys: HashSet<&str> = to.sites.iter().map(|site| site.key.as_str()).collect();
        let is_lost = |(key, site): &(&String, &SavedSite)| {
            (site.word.is_some() || site.weight.is_some()) && !keys.contains(key.as_str())
        };
        let lost = memory.sites.iter().filter(is_lost);
        Self {
            events: lost.map(|(key, _)| AssessorEvent::Forgotten { site: key.clone() }).collect(),
            refusal: self.refusal.clone(),
            refusals: self.refusals,
            revision: self.revision + 1,
            ..Self::new(to, &memory, Some(Duration::ZERO), now)
        }
    }

    fn lapse(&mut self, model: &Model, now: Instant) {
        let has_lapsed = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let mut note = |site: &SiteId, what| {
            self.events.push(AssessorEvent::Lapsed { site: model.sites[site.0].key.clone(), what });
        };
        let before = self.states.len() + self.weights.len();
        self.states.retain(|site, in_force| {
            let lapsed = has_lapsed(in_force.until);
            if lapsed {
                note(site, in_force.value.as_str());
            }
            !lapsed
        });
        self.weights.retain(|site, in_force| {
            let lapsed = has_lapsed(in_force.until);
            if lapsed {
                note(site, "the weight");
            }
            !lapsed
        });
        self.revision += u64::from(self.states.len() + self.weights.len() < before);
    }
}

/// Returns what the probes have proven of a Site.
pub(super) fn proven(model: &Model, status: &Assessment, site: SiteId) -> Proven {
    let health = &status.health[site.0];
    if health.contains(&Health::Up) {
        Proven::Up
    } else if health.contains(&Health::Down) && !status.site_is_up(model, site) {
        Proven::Down
    } else {
        Proven::Nothing
    }
}

fn new_override<T>(value: T, request: &OverrideRequest, forced: bool, now: Instant) -> Override<T> {
    Override {
        value,
        by: request.by.clone(),
        reason: request.reason.clone(),
        at: now,
        at_wall_ms: request.at_wall_ms,
        until: request.lasts.and_then(|lasts| now.checked_add(lasts)),
        forced,
    }
}

/// Returns what a restart should know of an override that is in force.
fn remember<T: Copy>(in_force: &Override<T>, now: Instant) -> SavedOverride<T> {
    SavedOverride {
        what: in_force.value,
        by: in_force.by.clone(),
        reason: in_force.reason.clone(),
        age_ms: ms(now.saturating_duration_since(in_force.at)),
        at_wall_ms: in_force.at_wall_ms,
        left_ms: in_force.until.map(|until| ms(until.saturating_duration_since(now))),
        forced: in_force.forced,
    }
}

/// The override again, from a file that is `old` as of `now`; none once it has lapsed.
fn recall<T: Copy>(memory: &SavedOverride<T>, old: Duration, now: Instant) -> Option<Override<T>> {
    let until = match memory.left_ms {
        None => None,
        Some(left_ms) => {
            let left = Duration::from_millis(left_ms).checked_sub(old).filter(|left| !left.is_zero())?;
            Some(now.checked_add(left)?)
        }
    };
    let age = old.saturating_add(Duration::from_millis(memory.age_ms));
    Some(Override {
        value: memory.what,
        by: memory.by.clone(),
        reason: memory.reason.clone(),
        // The monotonic clock begins with the machine: what is older than that is as old as it can say.
        at: now.checked_sub(age).unwrap_or(now),
        at_wall_ms: memory.at_wall_ms,
        until,
        forced: memory.forced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, overrides::checked};

    const SECOND: Duration = Duration::from_secs(1);

    fn before(moment: Instant, seconds: u32) -> Instant {
        moment.checked_sub(seconds * SECOND).expect("since boot")
    }

    fn model() -> Model {
        let mut model = fixture::appendix_a();
        model.sites[2].probes.clear();
        model
    }

    fn fresh(model: &Model, now: Instant) -> AssessmentRecord {
        AssessmentRecord::new(model, &SavedState::default(), None, now)
    }

    fn request(target: &str, value: OverrideValue, lasts: Option<Duration>) -> OverrideRequest {
        let (by, reason) = ("alice".into(), Some(" disks ".into()));
        let (target, force, at_wall_ms) = (target.into(), false, 1_763_725_200_000);
        checked(OverrideRequest { target, value, by, reason, lasts, force, at_wall_ms }).expect("a sound request")
    }

    /// The Sites of a target that is a key, or `app.com` for all.
    fn sites(model: &Model, target: &str) -> Vec<SiteId> {
        let all = model.sites.iter().enumerate();
        all.filter(|(_, site)| target == "app.com" || site.key == target).map(|(id, _)| SiteId(id)).collect()
    }

    fn set(
        record: &mut AssessmentRecord,
        model: &Model,
        now: Instant,
        request: &OverrideRequest,
        current: &Assessment,
    ) -> Vec<String> {
        record.set_override(model, now, request, &sites(model, &request.target), current).expect("done")
    }

    fn verdicts(model: &Model, health: Health) -> Verdicts {
        model.sites.iter().map(|site| vec![health; site.addresses.len()]).collect()
    }

    /// One assessment without the guard.
    fn assess(record: &mut AssessmentRecord, model: &Model, now: Instant, verdicts: &Verdicts) -> Assessment {
        let health = record.recall(now, verdicts);
        let mut status = Assessment::of(model, health);
        record.apply(model, now, &mut status);
        status
    }

    #[test]
    fn words_and_weights_hold_until_they_lapse_or_are_taken_back() {
        let (model, start) = (model(), Instant::now());
        let up = verdicts(&model, Health::Up);
        let mut record = fresh(&model, start);
        let mut status = assess(&mut record, &model, start, &up);
        let mut say = |record: &mut AssessmentRecord, now, request: OverrideRequest| {
            let said = set(record, &model, now, &request, &status);
            status = assess(record, &model, now, &up);
            said
        };
        assert_eq!(
            say(&mut record, start, request("boston", OverrideValue::State(AdminState::Drain), None)),
            ["boston"]
        );
        say(&mut record, start, request("chicago", OverrideValue::State(AdminState::Maint), Some(30 * SECOND)));
        say(&mut record, start, request("geneva", OverrideValue::Weight(Some(7)), Some(10 * SECOND)));
        let words = |record: &mut AssessmentRecord, after: u32| {
            let status = assess(record, &model, start + after * SECOND, &up);
            let of = |site: &crate::status::SiteState| format!("{} {}", site.admin_state.as_str(), site.weight);
            status.sites.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(words(&mut record, 9), "drain 2, maint 1, ready 7");
        assert_eq!(words(&mut record, 10), "drain 2, maint 1, ready 1");
        assert_eq!(words(&mut record, 29), "drain 2, maint 1, ready 1");
        assert_eq!(words(&mut record, 30), "drain 2, ready 1, ready 1");
        let remarks = record.remarks(start + 30 * SECOND, Arc::default());
        let in_force = &remarks.states[&0];
        assert_eq!((in_force.by.as_str(), in_force.reason.as_deref(), in_force.until), ("alice", Some("disks"), None));
        let ready = request("app.com", OverrideValue::State(AdminState::Ready), None);
        set(&mut record, &model, start, &ready, &Assessment::unknown(&model));
        assert_eq!(words(&mut record, 31), "ready 2, ready 1, ready 1");
    }

    #[test]
    fn requests_at_fault_are_told_so() {
        let wrong = |change: &dyn Fn(&mut OverrideRequest)| {
            let (target, value) = ("boston".into(), OverrideValue::State(AdminState::Drain));
            let mut request = OverrideRequest {
                target,
                value,
                by: "a".into(),
                reason: None,
                lasts: None,
                force: false,
                at_wall_ms: 0,
            };
            change(&mut request);
            checked(request).expect_err("at fault").to_string()
        };
        assert!(wrong(&|r| r.reason = Some("x".repeat(501))).contains("500"));
        assert!(wrong(&|r| r.reason = Some("a\u{1b}[2J".into())).contains("control"));
        assert!(wrong(&|r| r.by = "y".repeat(101)).contains("100"));
        assert!(wrong(&|r| r.value = OverrideValue::Weight(Some(0))).contains("1 to 65535"));
        assert!(wrong(&|r| r.value = OverrideValue::Weight(Some(65_536))).contains("1 to 65535"));
        assert!(wrong(&|r| r.lasts = Some(Duration::ZERO)).contains("1s to 366 days"));
        assert!(
            wrong(&|r| (r.value, r.lasts) = (OverrideValue::State(AdminState::Ready), Some(SECOND)))
                .contains("duration")
        );
    }

    /// A restart has words with what is left of them, weights, hold-downs and health; what is too old, or of an address
    /// that is no longer there, counts for nothing.
    #[test]
    fn a_restart_goes_on_where_the_last_run_was() {
        let (model, start) = (model(), Instant::now() + 1_000 * SECOND);
        let mut record = fresh(&model, start);
        let mut health = verdicts(&model, Health::Up);
        health[1][0] = Health::Down;
        let status = assess(&mut record, &model, start, &health);
        for (target, what, lasts) in [
            ("boston", OverrideValue::State(AdminState::Drain), Some(100)),
            ("chicago", OverrideValue::State(AdminState::Maint), None),
            ("geneva", OverrideValue::Weight(Some(3)), None),
        ] {
            let lasts = lasts.map(|seconds| seconds * SECOND);
            set(&mut record, &model, start, &request(target, what, lasts), &status);
        }
        record.flaps[0] = Flaps { in_a_row: 4, up_since: Some(start) };
        let memory = record.saved_state(&model, start + 10 * SECOND, &health);

        let unknown = Assessment::unknown(&model).health;
        let later = start + 500 * SECOND;
        let mut after = AssessmentRecord::new(&model, &memory, Some(30 * SECOND), later);
        let recalled = assess(&mut after, &model, later, &unknown);
        assert!(recalled.health.iter().eq([&[Health::Up, Health::Up][..], &[Health::Down], &[Health::Up]]));
        let words: Vec<_> = recalled.sites.iter().map(|site| (site.admin_state, site.weight)).collect();
        assert_eq!(words, [(AdminState::Drain, 2), (AdminState::Maint, 1), (AdminState::Ready, 3)]);
        assert_eq!(after.states[&SiteId(0)].until, Some(later + 60 * SECOND), "100 s, less 10 before and 30 after");
        assert_eq!(after.states[&SiteId(0)].at, before(later, 40));
        assert_eq!(after.flaps[0], Flaps { in_a_row: 4, up_since: Some(before(later, 40)) });
        assert_eq!(after.remarks(later, Arc::default()).recalled, [(0, 0), (0, 1), (1, 0)]);

        // The probes' own verdict counts at once; what is recalled counts for two minutes since it was known.
        let mut one = unknown.clone();
        one[1][0] = Health::Up;
        assert_eq!(assess(&mut after, &model, later, &one).health[1], [Health::Up]);
        let edge = later + (HEALTH_AGE_MAX.saturating_sub(30 * SECOND));
        assert_eq!(assess(&mut after, &model, edge, &unknown).health[0], [Health::Up, Health::Up]);
        assert_eq!(assess(&mut after, &model, edge + SECOND, &unknown).health[0], [Health::Unknown; 2]);

        let mut old = AssessmentRecord::new(&model, &memory, Some(HEALTH_AGE_MAX + SECOND), later);
        let old = assess(&mut old, &model, later, &unknown);
        assert_eq!(old.health, unknown, "too old");
        assert_eq!(
            (old.sites[0].admin_state, old.sites[1].admin_state),
            (AdminState::Ready, AdminState::Maint),
            "lapsed meanwhile, and not"
        );
        let mut unknown_age = AssessmentRecord::new(&model, &memory, None, later);
        let status = assess(&mut unknown_age, &model, later, &unknown);
        assert_eq!((status.health, status.sites[0].admin_state), (unknown, AdminState::Drain), "of unknown age");
    }

    /// Recalled health that is written again does not become younger by it.
    #[test]
    fn restarts_in_a_row_do_not_refresh_health() {
        let (model, start) = (model(), Instant::now() + 1_000 * SECOND);
        let memory = fresh(&model, start).saved_state(&model, start, &verdicts(&model, Health::Down));
        let unknown = Assessment::unknown(&model).health;
        let mut record = AssessmentRecord::new(&model, &memory, Some(60 * SECOND), start);
        assert_eq!(assess(&mut record, &model, start, &unknown).health[1], [Health::Down]);
        let again = record.saved_state(&model, start + 30 * SECOND, &unknown);
        let mut third = AssessmentRecord::new(&model, &again, Some(29 * SECOND), start);
        assert_eq!(assess(&mut third, &model, start, &unknown).health[1], [Health::Down]);
        let mut third = AssessmentRecord::new(&model, &again, Some(31 * SECOND), start);
        assert_eq!(assess(&mut third, &model, start, &unknown).health[1], [Health::Unknown]);
    }

    /// A new configuration keeps what is known by Site key and address, wherever they now stand.
    #[test]
    fn another_model_keeps_what_is_known_by_key() {
        let (model, now) = (model(), Instant::now() + 1_000 * SECOND);
        let mut record = fresh(&model, now);
        let down = verdicts(&model, Health::Down);
        let status = assess(&mut record, &model, now, &down);
        for target in ["boston", "chicago"] {
            let drain = request(target, OverrideValue::State(AdminState::Drain), None);
            set(&mut record, &model, now, &drain, &status);
        }
        let probe = || Some(fixture::http(80));
        let other =
            fixture::model(&[("geneva", &["192.0.2.30"], None), ("chicago", &["192.0.2.99", "192.0.2.20"], probe())]);
        let mut carried = record.carried(&model, &other, now, &down);
        let status = assess(&mut carried, &other, now, &Assessment::unknown(&other).health);
        assert_eq!((status.sites[0].admin_state, status.sites[1].admin_state), (AdminState::Ready, AdminState::Drain));
        assert!(status.health.iter().eq([&[Health::Up][..], &[Health::Unknown, Health::Down]]));
        assert_eq!(carried.states.len(), 1);
        // The new one tells of what is lost, and no other: of one that never comes into force, nothing is told.
        assert_eq!(record.events, []);
        assert_eq!(carried.events, [AssessorEvent::Forgotten { site: "boston".into() }]);
    }

    /// S4-3B-BACK: a Site that keeps failing is held, and the operator's `ready` lets it go.
    #[test]
    fn s4_3b_back_ready_ends_a_hold_down() {
        let (model, start) = (model(), Instant::now());
        let mut record = fresh(&model, start);
        let (up, down) = (verdicts(&model, Health::Up), verdicts(&model, Health::Down));
        for second in 0..3 {
            let _ = assess(&mut record, &model, start + 2 * second * SECOND, &up);
            let _ = assess(&mut record, &model, start + (2 * second + 1) * SECOND, &down);
        }
        let back = start + 6 * SECOND;
        let status = assess(&mut record, &model, back, &up);
        assert_eq!(
            status.sites.iter().map(|site| site.held).collect::<Vec<_>>(),
            [true, true, false],
            "unprobed never"
        );
        assert_eq!(record.remarks(back, Arc::default()).holds[&0], Hold { until: back + 10 * SECOND, failures: 3 });
        let ready = request("boston", OverrideValue::State(AdminState::Ready), None);
        set(&mut record, &model, back, &ready, &status);
        let status = assess(&mut record, &model, back, &up);
        assert_eq!((status.sites[0].held, status.sites[1].held), (false, true));
        assert!(!assess(&mut record, &model, back + 10 * SECOND, &up).sites[1].held);
    }
}
