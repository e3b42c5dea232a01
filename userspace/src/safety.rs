//! What no deliberate cause may take away from a pool: `min_sites` and `min_capacity`.
//!
//! | what would undershoot the minimum | what is done |
//! |---|---|
//! | the operator's word, or a new configuration | refused ([`refused`]), unless forced; the plan stays as it is |
//! | a cause that comes by itself: a hold-down | given way to nothing: [`guard`] lifts it, and the tables say `minimum` |
//! | Sites that are down | taken out all the same (invariant 3) |
//!
//! Whatever is left below the minimum is an [`Alarm`] for as long as it lasts.

use std::fmt;

use crate::{
    model::{Model, Pool, PoolId, SiteId},
    plan::n_minus_one::capacities,
    status::Status,
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

/// What somebody should look at, for as long as it lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// A pool has less than its minimum, and nothing is left to be lifted.
    BelowMinimum(Shortfall),
    /// A Site is answered although a cause of its own would bar it, so that its pool keeps its minimum.
    Overridden {
        /// The Pool Name.
        pool: String,
        /// The Site's key.
        site: String,
    },
}

impl Alarm {
    /// The kind, as in metrics and JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BelowMinimum(_) => "below-minimum",
            Self::Overridden { .. } => "overridden",
        }
    }

    /// The Pool Name.
    #[must_use]
    pub fn pool(&self) -> &str {
        match self {
            Self::BelowMinimum(shortfall) => &shortfall.pool,
            Self::Overridden { pool, .. } => pool,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMinimum(shortfall) => f.write_str(&shortfall.to_string().replacen("would have", "has", 1)),
            Self::Overridden { pool, site } => {
                write!(f, "Site {site} is answered although it keeps flapping, so that pool {pool} keeps its minimum")
            }
        }
    }
}

/// The pool's shortfall, if it has one.
#[must_use]
pub fn shortfall(model: &Model, status: &Status, pool: &Pool) -> Option<Shortfall> {
    let is_eligible = |site: &&SiteId| status.is_eligible(model, **site);
    let sites = pool.sites.iter().filter(is_eligible).count();
    let capacity = capacity_left(model, status, pool);
    let minimum = pool.minimum;
    // Shares are sums of quotients: two halves may come to a hair less than one.
    let enough = sites >= minimum.sites && capacity >= minimum.capacity - 1e-9;
    (!enough).then(|| Shortfall {
        pool: pool.name.to_string(),
        sites,
        min_sites: minimum.sites,
        capacity,
        min_capacity: minimum.capacity,
    })
}

/// Of the capacity of all Sites, what the eligible ones have, 0 to 1.
fn capacity_left(model: &Model, status: &Status, pool: &Pool) -> f64 {
    let capacities = capacities(model, status, pool);
    let all: f64 = capacities.iter().sum();
    let eligible = pool.sites.iter().zip(&capacities).filter(|(site, _)| status.is_eligible(model, **site));
    eligible.map(|(_, capacity)| capacity).sum::<f64>() / all
}

/// What speaks against a change: pools that would have less than their minimum, and less than they have before it.
/// Pools are the same if they have the same name; a pool that is new is measured by itself.
///
/// `before` and `after` are a model and a status of it, not [guarded](guard): for a word, the same model twice; for a new
/// configuration, the old one and the new one.
#[must_use]
pub fn refused(before: (&Model, &Status), after: (&Model, &Status)) -> Vec<Shortfall> {
    let of = |pool: &Pool| {
        let old = before.0.pools.iter().find(|old| old.name == pool.name);
        let eligible = |old: &Pool| old.sites.iter().filter(|site| before.1.is_eligible(before.0, **site)).count();
        (old.map(eligible), old.map(|old| capacity_left(before.0, before.1, old)))
    };
    let worse = |pool: &&Pool, shortfall: &Shortfall| {
        let (sites, capacity) = of(pool);
        sites.is_none_or(|sites| shortfall.sites < sites)
            || capacity.is_none_or(|capacity| shortfall.capacity < capacity - 1e-9)
    };
    let short = after.0.pools.iter().filter_map(|pool| Some((pool, shortfall(after.0, after.1, pool)?)));
    short.filter(|(pool, shortfall)| worse(pool, shortfall)).map(|(_, shortfall)| shortfall).collect()
}

/// Lifts causes that came by themselves, one Site at a time in the pool's order, until each pool has its minimum or
/// nothing is left to lift; and says what to look at. Pure, and done after everything else in an assessment.
pub fn guard(model: &Model, status: &mut Status) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (id, pool) in model.pools.iter().enumerate() {
        for site in &pool.sites {
            if shortfall(model, status, pool).is_none() {
                break;
            }
            if status.sites[site.0].held && status.site_is_up(model, *site) {
                status.sites[site.0].held = false;
                status.sites[site.0].overridden = true;
            }
        }
        let overridden = pool.sites.iter().filter(|site| status.sites[site.0].overridden);
        let of_here = overridden.filter(|site| model.sites[site.0].pool == PoolId(id));
        alarms.extend(
            of_here
                .map(|site| Alarm::Overridden { pool: pool.name.to_string(), site: model.sites[site.0].key.clone() }),
        );
        alarms.extend(shortfall(model, status, pool).map(Alarm::BelowMinimum));
    }
    alarms
}
