//! Sites that stay out once they have gone down, until somebody says `ready` of them: `failback = "manual"`. Pure.
//!
//! A Site has gone down when its probes, or statements of its health, have proven it up and then down. That it was told so
//! outlives reloads and restarts. It is held as one that keeps flapping is, so it gives way to the pool's minimum, and
//! where no other Site is live.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::event::AssessorEvent;
use crate::{
    damping::Proven,
    model::{Failback, Model, SiteId},
    saved_state::{SavedFailback, SavedState, ms},
    status::Assessment,
};

/// The Sites of one model that wait for `ready`.
#[derive(Clone, Debug, Default)]
pub struct Failbacks {
    /// By Site that does not come back by itself: whether it was proven up since it last went down.
    was_up: BTreeMap<usize, bool>,
    /// By Site that stays out: since when.
    out: BTreeMap<usize, Instant>,
    revision: u64,
}

impl Failbacks {
    /// Takes over what `memory`, which is `age` old at `now`, says of the model's Sites.
    #[must_use]
    pub fn new(model: &Model, memory: &SavedState, age: Option<Duration>, now: Instant) -> Self {
        let mut all = Self { was_up: manual(model), ..Self::default() };
        for (id, site) in model.sites.iter().enumerate().filter(|(_, site)| site.failback == Failback::Manual) {
            let Some(saved) = memory.sites.get(&site.key).and_then(|memory| memory.failback) else { continue };
            let age = age.unwrap_or_default().saturating_add(Duration::from_millis(saved.age_ms));
            all.out.insert(id, now.checked_sub(age).unwrap_or(now));
        }
        all
    }

    /// Creates those of another model: what is known of a Site stays with its key, if it still does not come back by itself.
    #[must_use]
    pub fn carried(&self, from: &Model, to: &Model) -> Self {
        let old: HashMap<&str, usize> = from.sites.iter().zip(0..).map(|(site, id)| (site.key.as_str(), id)).collect();
        let mut all = Self { was_up: manual(to), out: BTreeMap::new(), revision: self.revision + 1 };
        for (id, was_up) in &mut all.was_up {
            let Some(before) = old.get(to.sites[*id].key.as_str()) else { continue };
            *was_up = self.was_up.get(before).is_some_and(|was_up| *was_up);
            all.out.extend(self.out.get(before).map(|since| (*id, *since)));
        }
        all
    }

    /// Sees which Sites have gone down, and holds those that stay out.
    pub fn apply(
        &mut self,
        model: &Model,
        now: Instant,
        proven: impl Fn(SiteId, &Assessment) -> Proven,
        status: &mut Assessment,
        events: &mut Vec<AssessorEvent>,
    ) {
        for (site, was_up) in &mut self.was_up {
            match proven(SiteId(*site), status) {
                Proven::Up => *was_up = true,
                Proven::Down if std::mem::take(was_up) => {
                    self.revision += 1;
                    if self.out.insert(*site, now).is_none() {
                        events.push(AssessorEvent::StaysOut { site: model.sites[*site].key.clone() });
                    }
                }
                Proven::Down | Proven::Nothing => {}
            }
            if self.out.contains_key(site) {
                status.sites[*site].held = true;
            }
        }
    }

    /// Lets Sites come back: somebody has said `ready` of them.
    pub fn ready(&mut self, sites: &[SiteId]) {
        for site in sites {
            self.revision += u64::from(self.out.remove(&site.0).is_some());
        }
    }

    /// Returns the Sites that stay out, and since when, for people.
    #[must_use]
    pub fn remarks(&self) -> BTreeMap<usize, Instant> {
        self.out.clone()
    }

    /// Goes up with everything that a restart should know at once.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds what a restart should know.
    pub fn save(&self, model: &Model, now: Instant, state: &mut SavedState) {
        for (site, since) in &self.out {
            let age_ms = ms(now.saturating_duration_since(*since));
            let saved = state.sites.entry(model.sites[*site].key.clone()).or_default();
            saved.failback = Some(SavedFailback { age_ms });
        }
    }
}

fn manual(model: &Model) -> BTreeMap<usize, bool> {
    let sites = model.sites.iter().enumerate();
    sites.filter(|(_, site)| site.failback == Failback::Manual).map(|(id, _)| (id, false)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        alarms::Alarm,
        assess::{Assessor, LoadInputs},
        fixture,
        overrides::{OverrideRequest, OverrideValue},
        status::{AdminState, Health},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn model() -> Model {
        let mut model = fixture::appendix_a();
        model.sites[0].failback = Failback::Manual;
        model
    }

    /// An assessment where Boston's probes say so, and the others' that they are up.
    fn look(assessor: &mut Assessor, model: &Model, now: Instant, boston: Health) -> Assessment {
        let of = |(id, site): (usize, &crate::model::Site)| {
            std::iter::repeat_n(if id == 0 { boston } else { Health::Up }, site.addresses.len())
        };
        assessor.assess(now, &model.sites.iter().enumerate().map(of).collect(), LoadInputs::default())
    }

    fn held(status: &Assessment) -> Vec<bool> {
        status.sites.iter().map(|site| site.held).collect()
    }

    fn say(assessor: &mut Assessor, now: Instant, word: AdminState, status: &Assessment) {
        let request = OverrideRequest {
            target: "boston".into(),
            value: OverrideValue::State(word),
            by: "alice".into(),
            reason: None,
            lasts: None,
            force: false,
            at_wall_ms: 0,
        };
        assessor.set_override(now, &request, &[SiteId(0)], status).expect("done");
    }

    /// A Site that has gone down stays out until `ready`, over a reload and a restart; one that was never up does not.
    #[test]
    fn a_site_that_went_down_stays_out_until_ready() {
        let (model, start) = (model(), Instant::now() + 1_000 * SECOND);
        let at = |second: u32| start + second * SECOND;
        let mut assessor = Assessor::new(Arc::new(model.clone()), &SavedState::default(), None, start);
        look(&mut assessor, &model, at(0), Health::Down);
        assert_eq!(held(&look(&mut assessor, &model, at(1), Health::Up)), [false; 3], "its first time is no return");
        let revision = assessor.revision();
        look(&mut assessor, &model, at(2), Health::Down);
        assert!(assessor.revision() > revision, "written at once");
        let status = look(&mut assessor, &model, at(3), Health::Up);
        assert_eq!((held(&status), status.is_eligible(&model, SiteId(0))), (vec![true, false, false], false));
        assert_eq!(assessor.remarks(at(3), &status, true).out, BTreeMap::from([(0, at(2))]));
        let told: Vec<String> = assessor.take_events().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["has gone down: stays out until somebody says `ready` of it"]);

        let verdicts = status.health.clone();
        let mut carried = assessor.carried(Arc::new(model.clone()), at(4), &verdicts);
        assert_eq!(held(&look(&mut carried, &model, at(4), Health::Up)), [true, false, false], "after a reload");
        let memory = assessor.saved_state(at(4), &verdicts);
        let said = memory.sites["boston"].said().expect("it is something to lose");
        assert!(said.ends_with("its staying out until `ready`"), "{said}");
        let mut after = Assessor::new(Arc::new(model.clone()), &memory, Some(SECOND), at(100));
        let status = look(&mut after, &model, at(100), Health::Unknown);
        assert_eq!(held(&status), [true, false, false], "after a restart, before its first probe");
        assert_eq!(after.remarks(at(100), &status, true).out[&0], at(97), "2 s, and 1 s between");
        let mut other = model.clone();
        other.sites[0].failback = Failback::Auto;
        let mut other_one = Assessor::new(Arc::new(other.clone()), &memory, Some(SECOND), at(100));
        assert_eq!(held(&look(&mut other_one, &other, at(100), Health::Up)), [false; 3]);

        say(&mut assessor, at(5), AdminState::Drain, &status);
        assert_eq!(held(&look(&mut assessor, &model, at(5), Health::Up)), [true, false, false]);
        say(&mut assessor, at(6), AdminState::Ready, &status);
        assert_eq!(held(&look(&mut assessor, &model, at(6), Health::Up)), [false; 3]);
        look(&mut assessor, &model, at(7), Health::Down);
        assert_eq!(held(&look(&mut assessor, &model, at(8), Health::Up)), [true, false, false], "again");
    }

    /// It goes down between two looks of which another model has the second.
    #[test]
    fn going_down_amid_a_reload_counts() {
        let (model, start) = (model(), Instant::now());
        let mut assessor = Assessor::new(Arc::new(model.clone()), &SavedState::default(), None, start);
        let status = look(&mut assessor, &model, start, Health::Up);
        let mut carried = assessor.carried(Arc::new(model.clone()), start, &status.health);
        look(&mut carried, &model, start, Health::Down);
        assert_eq!(held(&look(&mut carried, &model, start, Health::Up)), [true, false, false]);
    }

    /// The pool's minimum goes before it, as before a hold-down.
    #[test]
    fn it_gives_way_to_the_minimum() {
        let (mut model, start) = (model(), Instant::now());
        model.pools[0].minimum.sites = 3;
        let mut assessor = Assessor::new(Arc::new(model.clone()), &SavedState::default(), None, start);
        look(&mut assessor, &model, start, Health::Up);
        look(&mut assessor, &model, start, Health::Down);
        let status = look(&mut assessor, &model, start, Health::Up);
        assert!(!status.sites[0].held && status.sites[0].overridden);
        let alarms = assessor.remarks(start, &status, true).alarms;
        assert!(matches!(&alarms[..], [Alarm::Overridden { site, .. }] if site == "boston"), "{alarms:?}");
    }
}
