//! The load of the other Sites if one dies: "if boston dies, chicago reaches 118 %".
//!
//! Two moments matter. Immediately, a dead Site's clients are those that its Site Name had pinned, and the name takes
//! them all to the next Site of its failover order. In time, as sessions end, they are spread over the pool by weight.

use std::collections::HashMap;

use crate::{
    model::{Model, Pool, PoolId, SiteId},
    status::Assessment,
};

/// The effect of one Site's death on the one it hits hardest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The Site that dies.
    pub dies: SiteId,
    /// The one its clients go to at once.
    pub takes: SiteId,
    /// The load that this one comes to, as a part of its capacity: 1 is full.
    pub at_once: f64,
    /// The fullest once the load is spread over the pool by weight, and how full it is.
    pub spread: (SiteId, f64),
}

/// The capacity of each Site of a pool, in its order: as they report it; where one does not, all as configured; where one
/// is not, their weights as configured. Never of two kinds, since they could not be compared.
#[must_use]
pub fn capacities(model: &Model, status: &Assessment, pool: &Pool) -> Vec<f64> {
    let of = |each: &dyn Fn(&SiteId) -> Option<f64>| pool.sites.iter().map(each).collect::<Option<Vec<f64>>>();
    of(&|site| Some(status.sites[site.0].load?.capacity))
        .or_else(|| of(&|site| model.sites[site.0].capacity))
        .unwrap_or_else(|| pool.sites.iter().map(|site| f64::from(model.sites[site.0].weight)).collect())
}

/// The load of each Site of a pool, in units of [`capacities`]: as reported, where all do; else as if the pool were as full
/// as its weights let it be, which is one Site full and none over. None where no capacity is known.
fn loads(model: &Model, status: &Assessment, pool: &Pool, capacities: &[f64]) -> Option<Vec<f64>> {
    let reported: Option<Vec<f64>> = pool.sites.iter().map(|site| Some(status.sites[site.0].load?.current)).collect();
    if reported.is_some() {
        return reported;
    }
    pool.sites.iter().all(|site| model.sites[site.0].capacity.is_some()).then(|| {
        let weight = |site: &SiteId| {
            let of = &status.sites[site.0];
            if status.is_eligible(model, *site) { f64::from(of.weight) } else { 0.0 }
        };
        let weights: Vec<f64> = pool.sites.iter().map(weight).collect();
        let fullest = weights.iter().zip(capacities).map(|(weight, capacity)| weight / capacity).fold(0.0, f64::max);
        weights.iter().map(|weight| if fullest > 0.0 { weight / fullest } else { 0.0 }).collect()
    })
}

/// Works out the effect of the death of each eligible Site of a pool; empty where no capacity is known, or no other
/// Site is.
#[must_use]
pub fn losses(model: &Model, status: &Assessment, pool: PoolId) -> Vec<Loss> {
    let pool = &model.pools[pool.0];
    let capacities = capacities(model, status, pool);
    let Some(loads) = loads(model, status, pool, &capacities) else { return Vec::new() };
    let at = |site: SiteId| pool.sites.iter().position(|other| *other == site);
    let is_eligible = |site: &SiteId| status.is_eligible(model, *site);
    let loss = |(dying, dies): (usize, &SiteId)| {
        let others = pool.sites.iter().enumerate().filter(|(i, site)| *i != dying && is_eligible(site));
        let weight = |site: SiteId| f64::from(status.sites[site.0].weight);
        let total: f64 = others.clone().map(|(_, site)| weight(*site)).sum();
        let full = |i: usize, more: f64| (loads[i] + more) / capacities[i];
        let spread = others.clone().map(|(i, site)| (*site, full(i, loads[dying] * weight(*site) / total)));
        let spread = spread.max_by(|a, b| a.1.total_cmp(&b.1))?;
        // A Site Name whose failover order has no other Site has its clients asked to come back by the Pool Name.
        let order = model.sites[dies.0].failover.iter().filter(|next| *next != dies && is_eligible(next));
        let next = order.copied().find_map(|next| Some((next, at(next)?)));
        let (takes, at_once) = next.map_or(spread, |(next, i)| (next, full(i, loads[dying])));
        Some(Loss { dies: *dies, takes, at_once, spread })
    };
    pool.sites.iter().enumerate().filter(|(_, site)| is_eligible(site)).filter_map(loss).collect()
}

/// The losses of all pools, as far as there is room for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorstLosses {
    /// All in the model's order; if there are more than were asked for, the worst, the worst first.
    pub losses: Vec<(PoolId, Loss)>,
    /// How many are left out.
    pub omitted: usize,
}

/// Returns the losses of all pools, at most `max`. Those of pools with the same Sites are the same, and are worked out once:
/// there may be a million pools.
#[must_use]
pub fn worst(model: &Model, status: &Assessment, max: usize) -> WorstLosses {
    let by_at_once = |one: &(PoolId, Loss), other: &(PoolId, Loss)| other.1.at_once.total_cmp(&one.1.at_once);
    let (mut known, mut kept, mut count) = (HashMap::new(), Vec::new(), 0);
    // What is not over it has no place among so many.
    let mut floor = f64::NEG_INFINITY;
    for (id, pool) in model.pools.iter().enumerate().map(|(id, pool)| (PoolId(id), pool)) {
        let losses: &Vec<Loss> = known.entry(pool.sites.as_ptr()).or_insert_with(|| losses(model, status, id));
        count += losses.len();
        kept.extend(losses.iter().filter(|loss| loss.at_once > floor).map(|loss| (id, *loss)));
        if kept.len() > 2 * max {
            kept.sort_by(by_at_once);
            kept.truncate(max);
            floor = kept.last().map_or(f64::INFINITY, |(_, loss)| loss.at_once);
        }
    }
    if count > max {
        kept.sort_by(by_at_once);
        kept.truncate(max);
    }
    WorstLosses { omitted: count - kept.len(), losses: kept }
}

/// The loss as a sentence.
#[must_use]
pub fn sentence(model: &Model, loss: &Loss) -> String {
    let key = |site: SiteId| &model.sites[site.0].key;
    let (fullest, spread) = loss.spread;
    format!(
        "if {} dies, {} reaches {:.0} % at first; spread over the pool, {} reaches {:.0} %",
        key(loss.dies),
        key(loss.takes),
        loss.at_once * 100.0,
        key(fullest),
        spread * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::status::{AdminState, Load};

    fn sentences(model: &Model, status: &Assessment) -> Vec<String> {
        losses(model, status, PoolId(0)).iter().map(|loss| sentence(model, loss)).collect()
    }

    fn load(current: f64, capacity: f64) -> Load {
        Load { current, target: capacity, capacity }
    }

    /// From live figures, in the seed's own words.
    #[test]
    fn if_boston_dies_chicago_reaches_118_percent() {
        let model = fixture::appendix_a();
        let mut status = Assessment::unknown(&model);
        for (site, current) in [(0, 60.0), (1, 58.0), (2, 40.0)] {
            status.sites[site].load = Some(load(current, 100.0));
        }
        assert_eq!(
            sentences(&model, &status),
            [
                "if boston dies, chicago reaches 118 % at first; spread over the pool, chicago reaches 88 %",
                "if chicago dies, geneva reaches 98 % at first; spread over the pool, boston reaches 99 %",
                "if geneva dies, boston reaches 100 % at first; spread over the pool, boston reaches 87 %",
            ]
        );
        // Who takes no clients is passed over.
        status.sites[1].admin_state = AdminState::Drain;
        assert_eq!(
            sentences(&model, &status)[0],
            "if boston dies, geneva reaches 100 % at first; spread over the pool, geneva reaches 100 %"
        );
    }

    /// From configured capacities alone: as full as the weights let the pool be.
    #[test]
    fn from_the_configuration_alone() {
        let mut model = fixture::appendix_a();
        let status = Assessment::unknown(&model);
        assert!(losses(&model, &status, PoolId(0)).is_empty(), "no capacity is known");
        for (site, capacity) in [(0, 200.0), (1, 100.0), (2, 50.0)] {
            model.sites[site].capacity = Some(capacity);
        }
        // Geneva is full at 50, boston has 100 of 200 then, chicago 50 of 100.
        assert_eq!(
            sentences(&model, &status)[0],
            "if boston dies, chicago reaches 150 % at first; spread over the pool, geneva reaches 200 %"
        );
    }

    /// Nobody is left to take anything: nothing is claimed.
    #[test]
    fn one_site_has_no_other() {
        let mut model = fixture::model(&[("boston", &["192.0.2.10"], None)]);
        model.sites[0].capacity = Some(1.0);
        assert!(losses(&model, &Assessment::unknown(&model), PoolId(0)).is_empty());
    }

    /// Of many, the worst, as if all had been made and put in order.
    #[test]
    fn the_worst_of_many() {
        let mut model = fixture::appendix_a();
        for (site, capacity) in [(0, 200.0), (1, 100.0), (2, 50.0)] {
            model.sites[site].capacity = Some(capacity);
        }
        let orders = [vec![0, 1, 2], vec![1, 2], vec![0], vec![2, 0]];
        let orders = orders.map(|sites| sites.into_iter().map(SiteId).collect::<crate::model::SiteOrder>());
        let like = model.pools[0].clone();
        let status = Assessment::unknown(&model);
        for pools in 1..40 {
            // Equal lists are shared, or not.
            let sites = |pool: usize| {
                let order = &orders[pool * 7 % 4];
                if pool.is_multiple_of(3) { order.to_vec().into() } else { order.clone() }
            };
            model.pools = (0..pools).map(|pool| Pool { sites: sites(pool), ..like.clone() }).collect();
            let all: Vec<(PoolId, Loss)> = (0..pools)
                .map(PoolId)
                .flat_map(|id| losses(&model, &status, id).into_iter().map(move |loss| (id, loss)))
                .collect();
            for max in 0..=all.len() + 1 {
                let found = worst(&model, &status, max);
                if max < all.len() {
                    let mut sorted = all.clone();
                    sorted.sort_by(|one, other| other.1.at_once.total_cmp(&one.1.at_once));
                    assert_eq!(found.losses, sorted[..max], "{max} of {pools} pools");
                } else {
                    assert_eq!(found.losses, all, "{max} of {pools} pools");
                }
                assert_eq!(found.omitted, all.len().saturating_sub(max));
            }
        }
    }
}
