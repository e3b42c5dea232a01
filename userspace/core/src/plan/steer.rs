//! The effect of loads and of the Sites' own wishes on a name's candidates.
#![expect(clippy::cast_sign_loss, reason = "weights and parts, which are never below 0")]

use std::time::Duration;

use super::{
    Plan, Shares,
    headroom::{self, Taker},
    site_inputs::SiteInputs,
    table::{Candidate, KEEP_ALL},
};
use crate::{
    model::{Model, Policy, PoolId, SiteId, Steering},
    status::Assessment,
};

/// A share of 1 as a weight: fine enough for every table.
const WHOLE: f64 = 1_048_576.0;
/// Weights are made this much finer where Sites want a part of theirs.
const FINER: f64 = 1000.0;

/// The plan before this one: what shares move from.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Its shares.
    pub shares: &'a Shares,
    /// The plan itself, where it is of the same model: what cannot have changed since is taken from it.
    pub plan: Option<&'a Plan>,
    /// How long ago it was made.
    pub elapsed: Duration,
}

/// The inputs by which one name's candidates are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steer<'a> {
    pub status: &'a Assessment,
    pub site_inputs: &'a [SiteInputs],
    pub policy: Policy,
    /// The knobs, where the name goes by load.
    pub steering: Option<&'a Steering>,
    /// Of each Site, what it had before, and how long that is ago.
    pub before: Option<(&'a [(SiteId, f64)], Duration)>,
}

/// The knobs of a pool whose names go by load.
pub(super) fn knobs(model: &Model, pool: Option<PoolId>) -> Option<&Steering> {
    pool.map(|pool| &model.pools[pool.0].steering)
}

impl Steer<'_> {
    /// Sets weights, what is kept of slots, and who takes new clients, of candidates of whom some are live. Returns the
    /// shares in force, where there are any to remember, and whether they are still to move.
    pub(super) fn apply(&self, candidates: &mut [(Candidate, bool)]) -> (Vec<(SiteId, f64)>, bool) {
        let wanted = |candidate: &Candidate| self.site_inputs[candidate.site.0].wanted;
        // Never an empty set: where all want no clients, nobody's wish is heard.
        let heard = candidates.iter().any(|(candidate, live)| *live && wanted(candidate) > 0.0);
        for (candidate, live) in candidates.iter_mut().filter(|_| heard) {
            *live &= wanted(candidate) > 0.0;
        }
        let wanted = |candidate: &Candidate| if heard { wanted(candidate) } else { 1.0 };
        match (self.policy, self.steering) {
            (Policy::LeastLoad, Some(steering)) => self.by_headroom(candidates, steering, wanted),
            (Policy::Sticky, steering) => self.bounded(candidates, steering, wanted),
            _ => {
                let all = candidates.iter().all(|(candidate, live)| !live || (wanted(candidate) - 1.0).abs() < 1e-9);
                for (candidate, _) in candidates.iter_mut().filter(|_| !all) {
                    candidate.weight =
                        (f64::from(candidate.weight) * wanted(candidate) * FINER).round().max(1.0) as u32;
                }
                (Vec::new(), false)
            }
        }
    }

    fn by_headroom(
        &self,
        candidates: &mut [(Candidate, bool)],
        steering: &Steering,
        wanted: impl Fn(&Candidate) -> f64,
    ) -> (Vec<(SiteId, f64)>, bool) {
        let live = candidates.iter().filter(|(_, live)| *live);
        let room = |site: SiteId, debits: f64| {
            let state = &self.status.sites[site.0];
            let load = state.load?;
            let current = load.current - state.self_report.debit * (1.0 - debits);
            Some(headroom::headroom(current, &load, steering))
        };
        let taker = |(candidate, _): &(Candidate, bool)| Taker {
            site: candidate.site,
            weight: f64::from(candidate.weight) * wanted(candidate),
            room: room(candidate.site, 0.0),
        };
        let takers: Vec<Taker> = live.map(taker).collect();
        let goal = headroom::goal(&takers, steering.trickle);
        let (before, elapsed) = self.before.unwrap_or_default();
        let part = self.before.and_then(|_| headroom::part(steering, elapsed));
        let (shares, moving) = headroom::advance(before, &takers, &goal, part);
        let left = takers.iter().map(|taker| match (taker.room, room(taker.site, 1.0)) {
            (Some(reported), Some(debited)) if reported > 0.0 => (debited / reported).max(steering.trickle),
            _ => 1.0,
        });
        let in_force = headroom::debited(&shares, &left.collect::<Vec<_>>());
        let mut each = in_force.iter();
        for (candidate, live) in candidates.iter_mut().filter(|(_, live)| *live) {
            let share = each.next().copied().unwrap_or_default();
            *live = share > 0.0;
            candidate.weight = (share * WHOLE).round().max(1.0) as u32;
        }
        (takers.iter().map(|taker| taker.site).zip(shares).collect(), moving)
    }

    fn bounded(
        &self,
        candidates: &mut [(Candidate, bool)],
        steering: Option<&Steering>,
        wanted: impl Fn(&Candidate) -> f64,
    ) -> (Vec<(SiteId, f64)>, bool) {
        let utilisation =
            |candidate: &Candidate| self.status.sites[candidate.site.0].load.map(|load| load.current / load.capacity);
        let loads =
            || candidates.iter().filter(|(_, live)| *live).filter_map(|(c, _)| Some((c.weight, utilisation(c)?)));
        let weights: f64 = loads().map(|(weight, _)| f64::from(weight)).sum();
        let mean = loads().map(|(weight, load)| f64::from(weight) * load).sum::<f64>() / weights.max(1.0);
        let (before, elapsed) = self.before.unwrap_or_default();
        let was = |site: SiteId| before.iter().find(|(of, _)| *of == site).map_or(1.0, |(_, keep)| *keep);
        let (mut kept, mut moving) = (Vec::new(), false);
        for (candidate, _) in candidates.iter_mut().filter(|(_, live)| *live) {
            let mut keep = 1.0;
            if let (Some(steering), Some(utilisation)) = (steering, utilisation(candidate)) {
                let (after, moves) = headroom::keep(was(candidate.site), utilisation, mean, steering, elapsed);
                keep = after;
                moving |= moves;
                kept.push((candidate.site, keep));
            }
            keep = keep.min(wanted(candidate));
            candidate.keep = (keep * f64::from(KEEP_ALL)).round() as u32;
        }
        (kept, moving)
    }
}
