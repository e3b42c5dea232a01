//! The others' votes, positions as in the model, and what comes of them with this front's own.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use zerottl_core::{
    model::{Model, Quorum},
    status::{Assessment, Verdicts},
    votes::{self, VoteOutcome},
};

use crate::{inner::lock, member::Fleet};

/// The votes of one model.
#[derive(Debug)]
pub struct VoteTally {
    model: Arc<Model>,
    blank: Verdicts,
    quorums: Vec<Quorum>,
    /// By front: which of its changes are in its verdicts.
    others: BTreeMap<String, (u64, Arc<Verdicts>)>,
    decided: Option<(Verdicts, VoteOutcome)>,
    /// The newest outcome.
    before: Option<Verdicts>,
}

impl VoteTally {
    /// Nobody has voted.
    #[must_use]
    pub fn new(model: &Arc<Model>) -> Self {
        let blank = Assessment::unknown(model).health;
        let (quorums, others) = (votes::quorums(model), BTreeMap::new());
        Self { model: Arc::clone(model), blank, quorums, others, decided: None, before: None }
    }

    /// Counts this front's verdicts with those of the others that live, as the fleet knows them by now.
    pub fn decide(&mut self, fleet: &Fleet, own: &Verdicts) -> &VoteOutcome {
        self.refresh(fleet);
        if self.decided.as_ref().is_none_or(|(of, _)| of != own) {
            let others: Vec<&Verdicts> = self.others.values().map(|(_, verdicts)| &**verdicts).collect();
            let outcome = votes::decide(&self.quorums, own, &others, self.before.as_ref());
            self.before = Some(outcome.verdicts.clone());
            self.decided = Some((own.clone(), outcome));
        }
        let decided =
            self.decided.get_or_insert_with(|| (own.clone(), VoteOutcome { verdicts: own.clone(), is_cut_off: false }));
        &decided.1
    }

    fn refresh(&mut self, fleet: &Fleet) {
        let view = lock(&fleet.inner.view);
        let voters = if view.is_fresh(Instant::now(), fleet.inner.patience) { view.voters() } else { Vec::new() };
        let before = self.others.len();
        self.others.retain(|front, _| voters.iter().any(|(voter, _)| voter == front));
        let mut is_new = self.others.len() != before;
        for (front, change) in voters {
            if self.others.get(front).is_none_or(|(known, _)| *known != change) {
                let verdicts = Arc::new(view.verdicts(front, &self.model, &self.blank));
                self.others.insert(front.to_owned(), (change, verdicts));
                is_new = true;
            }
        }
        if is_new {
            self.decided = None;
        }
    }

    /// The others whose votes count, in order of their names, with their verdicts.
    pub fn others(&self) -> impl Iterator<Item = (&str, &Arc<Verdicts>)> {
        self.others.iter().map(|(front, (_, verdicts))| (front.as_str(), verdicts))
    }
}
