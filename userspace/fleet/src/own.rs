//! The news that this front tells the others: what it wants to stand in the engine, and the changes from what stands there. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use zerottl_core::{
    model::Model,
    site_load::Report,
    status::{Health, Verdicts},
};

use crate::{
    gateway::Change,
    keys::{Key, VotePlace},
    values::{Ack, Answers, LearnedReport, Presence, ToldStatement},
};

/// Changes of one transaction, at most (etcd takes 128).
const CHANGES_MAX: usize = 100;

/// The values that this front wants to stand in the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub presence: Presence,
    pub ack: Ack,
    pub votes: Option<(Arc<Model>, Arc<Verdicts>)>,
    /// Answers by Site that are not told yet.
    pub answers: BTreeMap<String, u64>,
    /// Load reports that are not told yet, by Site, with when they were made, milliseconds since 1970.
    pub reports: BTreeMap<String, (u64, Report)>,
    /// Statements of health that are not told yet.
    pub statements: BTreeMap<VotePlace, ToldStatement>,
}

/// The values that it has written under its lease.
#[derive(Debug, Default)]
pub(crate) struct Written {
    presence: Option<Presence>,
    ack: Option<Ack>,
    votes: HashMap<VotePlace, bool>,
    /// The votes that [`Self::votes`] was last compared with.
    compared: Option<Arc<Verdicts>>,
    seq: u64,
}

/// Some changes, and what is written once they are made.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub changes: Vec<Change>,
    pub presence: Option<Presence>,
    ack: Option<Ack>,
    votes: Vec<(VotePlace, Option<bool>)>,
    compared: Option<Arc<Verdicts>>,
    answers: Option<BTreeMap<String, u64>>,
    /// Reports that are told by it.
    reports: Vec<(String, u64)>,
    statements: Vec<(VotePlace, ToldStatement)>,
}

impl Written {
    /// The next changes; none where all stands as it should. A new generation alone waits for `is_second`.
    pub fn step(&self, front: &str, own: &Own, is_second: bool) -> Step {
        let mut step = Step::default();
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        let mut presence = own.presence.clone();
        if let Some(written) = self.presence.as_ref().filter(|_| !is_second) {
            presence.generation = written.generation;
        }
        if self.presence.as_ref() != Some(&presence) {
            step.changes.push(Change::Put(Key::Config(front.into()).to_string(), json(serde_json::to_vec(&presence))));
            step.presence = Some(presence);
        }
        if self.ack.as_ref() != Some(&own.ack) {
            step.changes.push(Change::Put(Key::Ack(front.into()).to_string(), json(serde_json::to_vec(&own.ack))));
            step.ack = Some(own.ack.clone());
        }
        if !own.answers.is_empty() {
            let answers = Answers { seq: self.seq + 1, sites: own.answers.clone() };
            step.changes.push(Change::Put(Key::Load(front.into()).to_string(), json(serde_json::to_vec(&answers))));
            step.answers = Some(answers.sites);
        }
        for (site, (at_ms, report)) in own.reports.iter().take(CHANGES_MAX - step.changes.len()) {
            let learned = LearnedReport { front: front.into(), at_ms: *at_ms, report: report.clone() };
            step.changes.push(Change::Put(Key::Report(site.clone()).to_string(), json(serde_json::to_vec(&learned))));
            step.reports.push((site.clone(), *at_ms));
        }
        for (place, told) in own.statements.iter().take(CHANGES_MAX - step.changes.len()) {
            step.changes.push(Change::Keep(Key::Health(place.clone()).to_string(), json(serde_json::to_vec(told))));
            step.statements.push((place.clone(), told.clone()));
        }
        self.votes_step(front, own, &mut step);
        step
    }

    fn votes_step(&self, front: &str, own: &Own, step: &mut Step) {
        let Some((model, verdicts)) = &own.votes else { return };
        if self.compared.as_ref().is_some_and(|compared| Arc::ptr_eq(compared, verdicts)) {
            return;
        }
        let key = |place: &VotePlace| Key::Vote(front.into(), place.clone()).to_string();
        let mut wanted = 0;
        for (site, votes) in model.sites.iter().zip(verdicts.iter()) {
            for (address, vote) in site.addresses.iter().zip(votes) {
                let vote = match vote {
                    Health::Unknown => continue,
                    Health::Up => true,
                    Health::Down => false,
                };
                wanted += 1;
                let place = VotePlace { site: site.key.as_str().into(), address: address.answer };
                if self.votes.get(&place) == Some(&vote) {
                    continue;
                }
                if step.changes.len() >= CHANGES_MAX {
                    return;
                }
                let value: &[u8] = if vote { b"up" } else { b"down" };
                step.changes.push(Change::Put(key(&place), value.to_vec()));
                step.votes.push((place, Some(vote)));
            }
        }
        let new = step.votes.iter().filter(|(place, _)| !self.votes.contains_key(place)).count();
        if self.votes.len() + new > wanted {
            // Addresses that are there no longer, or not voted on.
            let sites = model.sites.iter().zip(verdicts.iter());
            let places = sites.flat_map(|(site, votes)| {
                let voted = site.addresses.iter().zip(votes).filter(|(_, vote)| **vote != Health::Unknown);
                voted.map(|(address, _)| VotePlace { site: site.key.as_str().into(), address: address.answer })
            });
            let places: HashSet<VotePlace> = places.collect();
            for place in self.votes.keys().filter(|place| !places.contains(*place)) {
                if step.changes.len() >= CHANGES_MAX {
                    return;
                }
                step.changes.push(Change::Delete(key(place)));
                step.votes.push((place.clone(), None));
            }
        }
        step.compared = Some(Arc::clone(verdicts));
    }

    /// The changes are made.
    pub fn done(&mut self, step: Step, own: &mut Own) {
        self.presence = step.presence.or_else(|| self.presence.take());
        self.ack = step.ack.or_else(|| self.ack.take());
        for (place, vote) in step.votes {
            match vote {
                Some(vote) => drop(self.votes.insert(place, vote)),
                None => drop(self.votes.remove(&place)),
            }
        }
        if step.compared.is_some() {
            self.compared = step.compared;
        }
        for (site, at_ms) in step.reports {
            // One that came meanwhile is still to be told.
            if own.reports.get(&site).is_some_and(|(at, _)| *at == at_ms) {
                own.reports.remove(&site);
            }
        }
        for (place, told) in step.statements {
            if own.statements.get(&place) == Some(&told) {
                own.statements.remove(&place);
            }
        }
        if let Some(told) = step.answers {
            self.seq += 1;
            for (site, count) in told {
                if let Some(left) = own.answers.get_mut(&site) {
                    *left = left.saturating_sub(count);
                }
            }
            own.answers.retain(|_, count| *count > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerottl_core::{fixture, status::Assessment};

    /// Every change is written once; what goes is deleted; and no transaction is too large.
    #[test]
    fn changes_are_written_once() {
        let sites: Vec<String> = (0..250).map(|site| format!("s{site}")).collect();
        let sites: Vec<(&str, &[&str], Option<zerottl_core::model::Probe>)> =
            sites.iter().map(|key| (key.as_str(), &["192.0.2.1", "2001:db8::1"][..], None)).collect();
        let model = Arc::new(fixture::model(&sites));
        let mut verdicts = Assessment::unknown(&model).health;
        verdicts.iter_mut().flatten().for_each(|verdict| *verdict = Health::Up);
        let mut own = Own { votes: Some((Arc::clone(&model), Arc::new(verdicts.clone()))), ..Own::default() };
        let mut written = Written::default();
        let mut all = |own: &mut Own| {
            let mut count = 0;
            loop {
                let step = written.step("ns1", own, true);
                if step.changes.is_empty() {
                    return count;
                }
                assert!(step.changes.len() <= CHANGES_MAX);
                count += step.changes.len();
                written.done(step, own);
            }
        };
        assert_eq!((all(&mut own), all(&mut own)), (502, 0));
        verdicts[3][0] = Health::Down;
        verdicts[4][1] = Health::Unknown;
        own.votes = Some((Arc::clone(&model), Arc::new(verdicts)));
        own.answers.insert("s1".into(), 7);
        assert_eq!((all(&mut own), own.answers.len(), all(&mut own)), (3, 0, 0));
        let fewer = Arc::new(fixture::model(&sites[..249]));
        let mut blank = Assessment::unknown(&fewer).health;
        blank.iter_mut().flatten().for_each(|verdict| *verdict = Health::Unknown);
        own.votes = Some((fewer, Arc::new(blank)));
        assert_eq!((all(&mut own), all(&mut own)), (499, 0));
    }
}
