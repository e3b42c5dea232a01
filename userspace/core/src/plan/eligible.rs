//! The Sites of a name that are answered, and the basis: see [`exclusion`](crate::exclusion). Pure.

use super::{Basis, site_inputs::SiteInputs};
use crate::{
    exclusion::Exclusion,
    model::{AllDown, SiteId},
};

/// The state of a Site that a Pool or Group Name may answer, as far as it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct CandidateState {
    /// Whether it has a live address of the type.
    pub live: bool,
    /// The cause that excludes it.
    pub exclusion: Exclusion,
    /// Whether an exclusion of its own was lifted for the pool's minimum.
    pub overridden: bool,
    /// Its weight, for `up_threshold`.
    pub weight: f64,
}

impl CandidateState {
    /// Live, and nothing excludes it.
    pub fn is_eligible(&self) -> bool {
        self.live && self.exclusion == Exclusion::None
    }
}

/// The condition for a Site to be answered.
pub(super) type Picked = fn(&CandidateState) -> bool;

/// Which of the Sites a Pool or Group Name answers; none is SERVFAIL. Never an empty set, unless `stands` is.
pub(super) fn balance<'a>(
    stands: &(impl Iterator<Item = &'a CandidateState> + Clone),
    up_threshold: f64,
    all_down: AllDown,
) -> Option<(Picked, Basis)> {
    let pick = |who: Picked, basis| stands.clone().any(who).then_some((who, basis));
    let weight = |who: Picked| stands.clone().filter(|stand| who(stand)).fold(0.0, |sum, stand| sum + stand.weight);
    // Who was taken out on purpose says nothing of how many have died.
    let is_in_use: Picked = |stand| stand.exclusion <= Exclusion::Held;
    let live = weight(CandidateState::is_eligible);
    if live > 0.0 {
        if live < up_threshold * weight(is_in_use) {
            return pick(is_in_use, Basis::UpThreshold);
        }
        let overridden = stands.clone().any(|stand| stand.is_eligible() && stand.overridden);
        return pick(CandidateState::is_eligible, if overridden { Basis::Minimum } else { Basis::Live });
    }
    pick(|stand| stand.live && stand.exclusion == Exclusion::Held, Basis::Held)
        .or_else(|| pick(|stand| stand.live && stand.exclusion == Exclusion::Drained, Basis::Drained))
        .or_else(|| match all_down {
            AllDown::Servfail => None,
            AllDown::FailOpen => pick(|stand| stand.exclusion < Exclusion::Maint, Basis::FailOpen)
                .or_else(|| pick(|_| true, Basis::FailOpen)),
        })
}

/// Which Site a Site Name answers, of its failover order `sites`, itself first; none if none is live.
pub(super) fn fail_over(sites: impl Iterator<Item = SiteId>, site_inputs: &[SiteInputs]) -> Option<(SiteId, Basis)> {
    let live = |overridden| if overridden { Basis::Minimum } else { Basis::Live };
    let (mut held, mut drained) = (None, None);
    for (i, site) in sites.enumerate().filter(|(_, site)| site_inputs[site.0].is_up) {
        let SiteInputs { exclusion, overridden, .. } = site_inputs[site.0];
        match exclusion {
            // Itself also while drained: its clients stay with it.
            Exclusion::None => return Some((site, live(overridden))),
            Exclusion::Drained if i == 0 => return Some((site, live(overridden))),
            Exclusion::Held => held = held.or(Some((site, Basis::Held))),
            Exclusion::Drained => drained = drained.or(Some((site, Basis::Drained))),
            Exclusion::Maint => {}
        }
    }
    held.or(drained)
}

/// Of a failover order that has no live Site, the one that stands for it: the first not in maint, else the first.
pub(super) fn stand_in(
    sites: impl Iterator<Item = SiteId> + Clone,
    site_inputs: &[SiteInputs],
    has: impl Fn(SiteId) -> bool,
) -> Option<SiteId> {
    let of_type = sites.filter(|site| has(*site));
    of_type.clone().find(|site| site_inputs[site.0].exclusion < Exclusion::Maint).or_else(|| of_type.clone().next())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A Site by its letters: `u`p or down (`x`), then its exclusion: none, `h`eld, `d`rained, `m`aint; `!` is overridden.
    fn stand(word: &str) -> CandidateState {
        let has = |letter| word.contains(letter);
        let exclusion = if has('m') {
            Exclusion::Maint
        } else if has('d') {
            Exclusion::Drained
        } else if has('h') {
            Exclusion::Held
        } else {
            Exclusion::None
        };
        CandidateState { live: has('u'), exclusion, overridden: has('!'), weight: 1.0 }
    }

    #[track_caller]
    fn check(sites: &str, up_threshold: f64, expect: &str) {
        let words: Vec<&str> = sites.split(' ').collect();
        let stands: Vec<CandidateState> = words.iter().map(|word| stand(word)).collect();
        let answered = balance(&stands.iter(), up_threshold, AllDown::FailOpen);
        let (is_picked, basis) = answered.expect("fail-open always answers");
        let picked: Vec<&str> =
            words.iter().zip(&stands).filter(|(_, stand)| is_picked(stand)).map(|(word, _)| *word).collect();
        assert_eq!(format!("{} {basis:?}", picked.join(" ")), expect, "{sites}");
    }

    #[test]
    fn s4_3a_alldown_bars_give_way_in_order() {
        check("u u x", 0.0, "u u Live");
        check("u ud um uh x", 0.0, "u Live");
        check("x ud um uh", 0.0, "uh Held");
        check("x ud um xh", 0.0, "ud Drained");
        check("x xd um xh", 0.0, "x xd xh FailOpen");
        check("um xm um", 0.0, "um xm um FailOpen");
        check("u u! x", 0.0, "u u! Minimum");
        check("u x! x", 0.0, "u Live");
    }

    /// `up_threshold` is about deaths: who was taken out on purpose counts neither way, and is not brought back by it.
    #[test]
    fn the_panic_threshold_counts_sites_in_use() {
        check("u x x", 0.5, "u x x UpThreshold");
        check("u x", 0.5, "u Live");
        check("u ud um", 0.9, "u Live");
        check("u x x ud um", 0.5, "u x x UpThreshold");
        check("u uh uh", 0.5, "u uh uh UpThreshold");
    }

    proptest! {
        /// Never an empty set, never a Site in maint while another will do, and never one that is down while an eligible
        /// one is up (invariant 3).
        #[test]
        fn s4_3a_alldown_never_an_empty_set(sites in prop::collection::vec((any::<bool>(), 0..4_u8), 1..6)) {
            let bars = [Exclusion::None, Exclusion::Held, Exclusion::Drained, Exclusion::Maint];
            let stands: Vec<CandidateState> = sites
                .iter()
                .map(|(live, exclusion)| CandidateState { live: *live, exclusion: bars[usize::from(*exclusion)], overridden: false, weight: 1.0 })
                .collect();
            let answered = balance(&stands.iter(), 0.0, AllDown::FailOpen);
            let (is_picked, basis) = answered.expect("fail-open always answers");
            let picked: Vec<&CandidateState> = stands.iter().filter(|stand| is_picked(stand)).collect();
            prop_assert!(!picked.is_empty());
            if stands.iter().any(CandidateState::is_eligible) {
                prop_assert!(picked.iter().all(|stand| stand.is_eligible()) && basis == Basis::Live);
            }
            if stands.iter().any(|stand| stand.exclusion < Exclusion::Maint) {
                prop_assert!(picked.iter().all(|stand| stand.exclusion < Exclusion::Maint));
            }
        }
    }
}
