//! The fleet at one moment.

use std::sync::Arc;

use zerottl_core::{
    model::SiteId,
    status::{Health, Verdicts},
};
use zerottl_fleet::{FleetView, VoteTally};

/// The votes of all fronts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetVotes {
    /// This front's verdicts; none before the first round.
    own: Option<Verdicts>,
    /// The others' that count, by front.
    others: Vec<(String, Arc<Verdicts>)>,
    /// Whether this front is cut off: its own do not count.
    pub is_cut_off: bool,
}

impl FleetVotes {
    /// As a tally has them.
    #[must_use]
    pub fn new(own: &Verdicts, tally: &VoteTally, is_cut_off: bool) -> Self {
        let others = tally.others().map(|(front, verdicts)| (front.to_owned(), Arc::clone(verdicts))).collect();
        Self { own: Some(own.clone()), others, is_cut_off }
    }

    /// Whether these are still a tally's.
    #[must_use]
    pub fn is_of(&self, own: &Verdicts, tally: &VoteTally, is_cut_off: bool) -> bool {
        self.is_cut_off == is_cut_off
            && self.own.as_ref() == Some(own)
            && self.others.len() == tally.others().count()
            && self
                .others
                .iter()
                .zip(tally.others())
                .all(|((one, is), (other, are))| one == other && Arc::ptr_eq(is, are))
    }

    /// Votes on one address, this front's first: who, what, and whether it counts.
    #[must_use]
    pub fn on(&self, front: &str, site: SiteId, address: usize) -> Vec<(String, Health, bool)> {
        let own = self.own.iter().map(|own| (front.to_owned(), own[site.0][address], !self.is_cut_off));
        let others = self.others.iter().map(|(front, verdicts)| (front.clone(), verdicts[site.0][address], true));
        own.chain(others).collect()
    }
}

/// The fleet, and its votes.
#[derive(Clone, Debug)]
pub struct FleetSnapshot {
    /// The view that the fronts share.
    pub view: FleetView,
    /// The votes of all fronts.
    pub votes: Arc<FleetVotes>,
    /// The digest of this front's configuration.
    pub digest: String,
}
