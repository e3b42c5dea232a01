//! The minimums of a pool, which no deliberate cause may take away: `min_sites` and `min_capacity`.
//!
//! | what would undershoot the minimum | what is done |
//! |---|---|
//! | an override, or a new configuration | refused ([`refused`]), unless forced; the plan stays as it is |
//! | a cause that comes by itself: a hold-down, stale load figures that count as `drain` | given way to nothing: [`guard`] lifts it, and the tables say `minimum` |
//! | Sites that are down | taken out all the same (invariant 3) |
//!
//! Whatever is left below the minimum is an [`Alarm`](crate::alarms::Alarm) for as long as it lasts.

use std::{cell::LazyCell, collections::HashMap, fmt, sync::Arc};

use crate::{
    model::{Model, Pool, PoolId, PoolSettings, SiteId},
    plan::n_minus_one::capacities,
    status::{AdminState, Assessment, SiteState},
};

/// A pool with less than its minimum.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortfall {
    /// The Pool Name.
    pub pool: String,
    /// Sites that may be answered.
    pub sites: usize,
    /// `min_sites`.
    pub min_sites: usize,
    /// Of the capacity of all Sites of the pool, what those have: 0 to 1.
    pub capacity: f64,
    /// `min_capacity`.
    pub min_capacity: f64,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, sites, min_sites, capacity, min_capacity } = self;
        if sites < min_sites {
            let word = if *sites == 1 { "Site" } else { "Sites" };
            return write!(f, "pool {pool} would have {sites} {word} to answer, and min_sites is {min_sites}");
        }
        let capacity = capacity * 100.0;
        write!(f, "pool {pool} would have {capacity:.0} % of its capacity, and min_capacity is {min_capacity}")
    }
}

/// Whether enough of the pool's Sites may be answered.
fn has_sites(model: &Model, status: &Assessment, pool: &Pool) -> bool {
    let eligible = pool.sites.iter().filter(|site| status.is_eligible(model, **site));
    // Asked of every pool in every round, where most want one Site and have it.
    eligible.take(pool.minimum.sites).count() == pool.minimum.sites
}

/// Whether the Sites that may be answered have enough of the pool's capacity.
fn has_capacity(model: &Model, status: &Assessment, pool: &Pool) -> bool {
    // Shares are sums of quotients: two halves may come to a hair less than one.
    pool.minimum.capacity <= 0.0 || capacity_left(model, status, pool) >= pool.minimum.capacity - 1e-9
}

fn is_short(model: &Model, status: &Assessment, pool: &Pool) -> bool {
    !(has_sites(model, status, pool) && has_capacity(model, status, pool))
}

/// The pool's shortfall, if it has one.
#[must_use]
pub(crate) fn shortfall(model: &Model, status: &Assessment, pool: &Pool) -> Option<Shortfall> {
    is_short(model, status, pool).then(|| Shortfall {
        pool: pool.name.to_string(),
        sites: sites_left(model, status, pool),
        min_sites: pool.minimum.sites,
        capacity: capacity_left(model, status, pool),
        min_capacity: pool.minimum.capacity,
    })
}

/// The Sites and the settings of a pool: a million pools may share them, and all with the same have the same figures.
type Alike = (*const SiteId, *const PoolSettings);

fn alike(pool: &Pool) -> Alike {
    (pool.sites.as_ptr(), Arc::as_ptr(&pool.settings))
}

/// The pools that have a shortfall, in the model's order. Makes no sentences: there may be a million of them.
pub fn short_pools<'a>(model: &'a Model, status: &'a Assessment) -> impl Iterator<Item = PoolId> + 'a {
    let mut known = HashMap::<Alike, bool>::new();
    let is_short = move |(_, pool): &(usize, &Pool)| {
        if !has_sites(model, status, pool) {
            return true;
        }
        // Most ask for no capacity, and for them there is nothing to keep.
        pool.minimum.capacity > 0.0 && *known.entry(alike(pool)).or_insert_with(|| !has_capacity(model, status, pool))
    };
    model.pools.iter().enumerate().filter(is_short).map(|(id, _)| PoolId(id))
}

/// How many of a pool's Sites may be answered.
fn sites_left(model: &Model, status: &Assessment, pool: &Pool) -> usize {
    pool.sites.iter().filter(|site| status.is_eligible(model, **site)).count()
}

/// Of the capacity of all Sites, what the eligible ones have, 0 to 1.
fn capacity_left(model: &Model, status: &Assessment, pool: &Pool) -> f64 {
    let capacities = capacities(model, status, pool);
    let all: f64 = capacities.iter().sum();
    let eligible = pool.sites.iter().zip(&capacities).filter(|(site, _)| status.is_eligible(model, **site));
    eligible.map(|(_, capacity)| capacity).sum::<f64>() / all
}

/// Shortfalls that are told one by one where a change is refused.
pub const TOLD_MAX: usize = 100;

/// The pools that a change would leave with less than their minimum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Undershoot {
    /// The first of them, at most [`TOLD_MAX`].
    pub first: Vec<Shortfall>,
    /// How many more there are.
    pub more: usize,
}

impl Undershoot {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl fmt::Display for Undershoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, shortfall) in self.first.iter().enumerate() {
            write!(f, "{}{shortfall}", if at == 0 { "" } else { "; " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more pools would have less than their minimum"),
        }
    }
}

/// Returns what speaks against a change: the pools that would have less than their minimum, and less than they have
/// before it. Pools are the same if they have the same name; a pool that is new is measured by itself.
///
/// `before` and `after` are a model and a status of it, not [guarded](guard): for a word, the same model twice; for a new
/// configuration, the old one and the new one.
#[must_use]
pub fn refused(before: (&Model, &Assessment), after: (&Model, &Assessment)) -> Undershoot {
    let known: LazyCell<HashMap<&[u8], &Pool>, _> =
        LazyCell::new(|| before.0.pools.iter().map(|pool| (pool.name.as_slice(), pool)).collect());
    let is_same_model = std::ptr::eq(before.0, after.0);
    let is_worse = |pool: &Pool, old: Option<&Pool>| {
        old.is_none_or(|old| sites_left(after.0, after.1, pool) < sites_left(before.0, before.1, old))
            || old
                .is_none_or(|old| capacity_left(after.0, after.1, pool) < capacity_left(before.0, before.1, old) - 1e-9)
    };
    let (mut refused, mut worse) = (Undershoot::default(), HashMap::<(Alike, Option<Alike>), bool>::new());
    for pool in short_pools(after.0, after.1).map(|id| &after.0.pools[id.0]) {
        let old = if is_same_model { Some(pool) } else { known.get(pool.name.as_slice()).copied() };
        if !*worse.entry((alike(pool), old.map(alike))).or_insert_with(|| is_worse(pool, old)) {
            continue;
        }
        if refused.first.len() < TOLD_MAX {
            refused.first.extend(shortfall(after.0, after.1, pool));
        } else {
            refused.more += 1;
        }
    }
    refused
}

/// Lifts causes that came by themselves, one Site at a time in the pool's order, until each pool has its minimum or
/// nothing is left to lift. Pure, and done after everything else in an assessment.
pub fn guard(model: &Model, status: &mut Assessment) {
    // Nobody knows what a silent Site wants; that it should count as drained was this side's own caution.
    let is_silent = |site: &SiteState| {
        site.self_report.stale
            && site.self_report.admin_state == AdminState::Drain
            && site.admin_state == AdminState::Ready
    };
    let is_liftable = |site: &SiteState| site.held || is_silent(site);
    if !status.sites.iter().any(is_liftable) {
        return;
    }
    for pool in &model.pools {
        for site in &pool.sites {
            if !is_liftable(&status.sites[site.0]) || !status.site_is_up(model, *site) {
                continue;
            }
            if !is_short(model, status, pool) {
                break;
            }
            let state = &mut status.sites[site.0];
            if is_silent(state) {
                state.self_report.admin_state = AdminState::Ready;
                state.overridden = true;
            }
            if state.held {
                state.held = false;
                state.overridden = true;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fixture;
    use crate::{
        model::Minimum,
        status::{AdminState, Health},
    };

    /// boston (weight 2), chicago, geneva.
    pub(crate) fn model(sites: usize, capacity: f64) -> Model {
        let mut model = fixture::appendix_a();
        model.pools[0].minimum = Minimum { sites, capacity };
        model
    }

    /// By Site: `x` down, `d`rained, `m`aint, `h`eld; anything else is eligible.
    pub(crate) fn status(model: &Model, sites: &str) -> Assessment {
        let mut status = Assessment::unknown(model);
        for (id, letter) in sites.chars().enumerate() {
            status.health[id].fill(if letter == 'x' { Health::Down } else { Health::Up });
            status.sites[id].held = letter == 'h';
            status.sites[id].admin_state = match letter {
                'd' => AdminState::Drain,
                'm' => AdminState::Maint,
                _ => AdminState::Ready,
            };
        }
        status
    }

    #[track_caller]
    fn check_refused((sites, capacity): (usize, f64), before: &str, after: &str, expect: &[&str]) {
        let model = model(sites, capacity);
        let refused = refused((&model, &status(&model, before)), (&model, &status(&model, after)));
        let refused: Vec<_> = refused.first.iter().map(ToString::to_string).collect();
        assert_eq!(refused, expect, "{before} to {after}");
    }

    /// An override that would go below the minimum is refused; a shortfall that was there before him is not
    /// his doing.
    #[test]
    fn a_word_that_would_undershoot_the_minimum_is_refused() {
        let two = "pool app.com would have 1 Site to answer, and min_sites is 2";
        check_refused((2, 0.0), "uuu", "duu", &[]);
        check_refused((2, 0.0), "duu", "ddu", &[two]);
        check_refused((2, 0.0), "xuu", "xmu", &[two]);
        // Undershot already: what takes no more away may be said.
        check_refused((2, 0.0), "xxu", "mxu", &[]);
        check_refused((2, 0.0), "xdu", "xmu", &[]);
        check_refused((2, 0.0), "xdd", "xdu", &[]);
        check_refused((0, 0.0), "duu", "ddd", &[]);
        let none = "pool app.com would have 0 Sites to answer, and min_sites is 1";
        check_refused((1, 0.0), "xxu", "xxd", &[none]);
    }

    #[test]
    fn capacity_counts_by_weight_where_nobody_says() {
        let half = "pool app.com would have 50 % of its capacity, and min_capacity is 0.6";
        check_refused((0, 0.6), "uuu", "udu", &[]);
        check_refused((0, 0.6), "uuu", "duu", &[half]);
        check_refused((0, 0.5), "uuu", "duu", &[]);
        check_refused((0, 0.6), "uuu", "uuu", &[]);
    }

    /// A new configuration is measured against the old one by the pools' names.
    #[test]
    fn a_new_configuration_is_measured_too() {
        let (old, mut new) = (model(2, 0.0), model(2, 0.0));
        new.sites.truncate(1);
        new.pools[0].sites = vec![SiteId(0)].into();
        let before = status(&old, "uuu");
        assert_eq!(refused((&old, &before), (&new, &status(&new, "u"))).first.len(), 1);
        new.pools[0].minimum.sites = 1;
        assert!(refused((&old, &before), (&new, &status(&new, "u"))).is_empty());
        new.pools[0].name = fixture::name("other.app.com");
        assert_eq!(refused((&old, &before), (&new, &status(&new, "x"))).first.len(), 1, "a new pool by itself");
    }

    /// However many pools a word would leave short: some are named, and the others are counted.
    #[test]
    fn a_refusal_is_bounded() {
        let mut model = model(3, 0.0);
        model.pools = vec![model.pools[0].clone(); TOLD_MAX];
        let text = |model: &Model| refused((model, &status(model, "uuu")), (model, &status(model, "duu"))).to_string();
        let one = "pool app.com would have 2 Sites to answer, and min_sites is 3";
        assert_eq!(text(&model), [one; TOLD_MAX].join("; "));
        model.pools = vec![model.pools[0].clone(); TOLD_MAX + 7];
        assert!(text(&model).ends_with(&format!("{one}; and 7 more pools would have less than their minimum")));
        // By their names, where the models are two.
        let old = model.clone();
        model.pools[0].name = fixture::name("other.app.com");
        let refused = refused((&old, &status(&old, "duu")), (&model, &status(&model, "duu")));
        assert_eq!((refused.first.len(), refused.more), (1, 0), "{refused}: what was there before is nobody's doing");
    }
}
