//! The minimums of a pool, which no deliberate cause may take away: `min_sites` and `min_capacity`.
//!
//! | what would undershoot the minimum | what is done |
//! |---|---|
//! | an override, or a new configuration | refused ([`refused`]), unless forced; the plan stays as it is |
//! | a cause that comes by itself: a hold-down, stale load figures that count as `drain` | given way to nothing: [`guard`] lifts it, and the tables say `minimum` |
//! | Sites that are down | taken out all the same (invariant 3) |
//!
//! Whatever is left below the minimum is an [`Alarm`] for as long as it lasts.

use std::{collections::HashMap, fmt};

use crate::{
    model::{Model, Pool, PoolId, SiteId},
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

/// A condition that somebody should look at, for as long as it lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// A pool has less than its minimum, and nothing is left to be lifted.
    BelowMinimum(Shortfall),
    /// A Site is answered although a cause of its own would exclude it, so that its pool keeps its minimum.
    Overridden {
        /// The Pool Name.
        pool: String,
        /// The Site's key.
        site: String,
    },
}

/// The kinds of [`Alarm`], as in metrics and JSON.
pub const KINDS: [&str; 2] = ["below-minimum", "overridden"];

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

impl Alarm {
    /// Returns what it is about, which together with [`kind`](Self::kind) tells one alarm from another, whatever its
    /// figures are.
    #[must_use]
    pub fn subject(&self) -> (&str, &str) {
        match self {
            Self::BelowMinimum(shortfall) => (&shortfall.pool, ""),
            Self::Overridden { pool, site } => (pool, site),
        }
    }

    /// That it is over, as a sentence.
    fn over(&self) -> String {
        match self {
            Self::BelowMinimum(shortfall) => format!("pool {} has its minimum again", shortfall.pool),
            Self::Overridden { pool, site } => {
                format!("pool {pool} no longer needs Site {site} for its minimum")
            }
        }
    }
}

/// A change of an alarm from one look to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was none of this kind and subject.
    Begun,
    /// There was, with other figures.
    Changed,
    /// There is none any more.
    Over,
}

/// Compares the alarms of two looks and returns each change as a sentence. Pure.
#[must_use]
pub fn turns(before: &[Alarm], now: &[Alarm]) -> Vec<(Turn, String)> {
    fn by_subject(alarms: &[Alarm]) -> HashMap<(&'static str, (&str, &str)), &Alarm> {
        alarms.iter().map(|alarm| ((alarm.kind(), alarm.subject()), alarm)).collect()
    }
    let (old, new) = (by_subject(before), by_subject(now));
    let is_there = now.iter().filter_map(|alarm| match old.get(&(alarm.kind(), alarm.subject())) {
        None => Some((Turn::Begun, alarm.to_string())),
        Some(same) if *same != alarm => Some((Turn::Changed, alarm.to_string())),
        Some(_) => None,
    });
    let is_gone = before.iter().filter(|alarm| !new.contains_key(&(alarm.kind(), alarm.subject())));
    is_there.chain(is_gone.map(|alarm| (Turn::Over, alarm.over()))).collect()
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMinimum(shortfall) => f.write_str(&shortfall.to_string().replacen("would have", "has", 1)),
            Self::Overridden { pool, site } => {
                write!(
                    f,
                    "Site {site} is answered although it is held back or its load figures are stale, so that pool {pool} keeps its minimum"
                )
            }
        }
    }
}

/// The pool's shortfall, if it has one.
#[must_use]
pub(crate) fn shortfall(model: &Model, status: &Assessment, pool: &Pool) -> Option<Shortfall> {
    let minimum = pool.minimum;
    let eligible = || pool.sites.iter().filter(|site| status.is_eligible(model, **site));
    // Asked of every pool in every round, where most want one Site and have it.
    let has_sites = eligible().take(minimum.sites).count() == minimum.sites;
    if has_sites && minimum.capacity <= 0.0 {
        return None;
    }
    let capacity = capacity_left(model, status, pool);
    // Shares are sums of quotients: two halves may come to a hair less than one.
    let enough = has_sites && capacity >= minimum.capacity - 1e-9;
    (!enough).then(|| Shortfall {
        pool: pool.name.to_string(),
        sites: eligible().count(),
        min_sites: minimum.sites,
        capacity,
        min_capacity: minimum.capacity,
    })
}

/// Of the capacity of all Sites, what the eligible ones have, 0 to 1.
fn capacity_left(model: &Model, status: &Assessment, pool: &Pool) -> f64 {
    let capacities = capacities(model, status, pool);
    let all: f64 = capacities.iter().sum();
    let eligible = pool.sites.iter().zip(&capacities).filter(|(site, _)| status.is_eligible(model, **site));
    eligible.map(|(_, capacity)| capacity).sum::<f64>() / all
}

/// Returns what speaks against a change: the pools that would have less than their minimum, and less than they have
/// before it. Pools are the same if they have the same name; a pool that is new is measured by itself.
///
/// `before` and `after` are a model and a status of it, not [guarded](guard): for a word, the same model twice; for a new
/// configuration, the old one and the new one.
#[must_use]
pub fn refused(before: (&Model, &Assessment), after: (&Model, &Assessment)) -> Vec<Shortfall> {
    let known: HashMap<&[u8], &Pool> = before.0.pools.iter().map(|pool| (pool.name.as_slice(), pool)).collect();
    let of = |pool: &Pool| {
        let old = known.get(pool.name.as_slice()).copied();
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
            if shortfall(model, status, pool).is_none() {
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

/// Returns the alarms in a [guarded](guard) status.
#[must_use]
pub fn alarms(model: &Model, status: &Assessment) -> Vec<Alarm> {
    let of_pool = |(id, pool): (usize, &Pool)| {
        let own = |site: &&SiteId| status.sites[site.0].overridden && model.sites[site.0].pool == PoolId(id);
        let overridden = pool.sites.iter().filter(own).map(|site| model.sites[site.0].key.clone());
        let mut alarms: Vec<_> =
            overridden.map(|site| Alarm::Overridden { pool: pool.name.to_string(), site }).collect();
        alarms.extend(shortfall(model, status, pool).map(Alarm::BelowMinimum));
        alarms
    };
    model.pools.iter().enumerate().flat_map(of_pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::{
        model::Minimum,
        status::{AdminState, Health},
    };

    /// boston (weight 2), chicago, geneva.
    fn model(sites: usize, capacity: f64) -> Model {
        let mut model = fixture::appendix_a();
        model.pools[0].minimum = Minimum { sites, capacity };
        model
    }

    /// By Site: `x` down, `d`rained, `m`aint, `h`eld; anything else is eligible.
    fn status(model: &Model, sites: &str) -> Assessment {
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
        let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
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
        assert_eq!(refused((&old, &before), (&new, &status(&new, "u"))).len(), 1);
        new.pools[0].minimum.sites = 1;
        assert!(refused((&old, &before), (&new, &status(&new, "u"))).is_empty());
        new.pools[0].name = fixture::name("other.app.com");
        assert_eq!(refused((&old, &before), (&new, &status(&new, "x"))).len(), 1, "a new pool by itself");
    }

    #[track_caller]
    fn check_guard(sites: usize, before: &str, expect: &str) {
        let model = model(sites, 0.0);
        let mut status = status(&model, before);
        guard(&model, &mut status);
        let alarms: Vec<String> = alarms(&model, &status).iter().map(ToString::to_string).collect();
        let lifted: String = status.sites.iter().map(|site| if site.overridden { '!' } else { '.' }).collect();
        assert_eq!(format!("{lifted} {}", alarms.join("; ")), expect, "{before}");
        for site in &status.sites {
            assert!(!(site.overridden && site.held));
        }
    }

    /// Hold-downs are lifted as far as the minimum asks; overrides are not, and the dead stay dead.
    #[test]
    fn hold_downs_give_way_to_the_minimum() {
        let lifted = |site: &str| {
            format!(
                "Site {site} is answered although it is held back or its load figures are stale, so that pool app.com keeps its minimum"
            )
        };
        check_guard(2, "uuu", "... ");
        check_guard(2, "huu", "... ");
        check_guard(2, "hhu", &format!("!.. {}", lifted("boston")));
        check_guard(2, "xhu", &format!(".!. {}", lifted("chicago")));
        check_guard(2, "ddu", "... pool app.com has 1 Site to answer, and min_sites is 2");
        let both = format!("!.. {}; pool app.com has 1 Site to answer, and min_sites is 2", lifted("boston"));
        check_guard(2, "hxm", &both);
        check_guard(1, "xxx", "... pool app.com has 0 Sites to answer, and min_sites is 1");
        check_guard(0, "hhh", "... ");
    }

    #[track_caller]
    fn check_turns(before: &str, now: &str, expect: &[(Turn, &str)]) {
        let model = model(2, 0.0);
        let alarms = |sites: &str| {
            let mut status = status(&model, sites);
            guard(&model, &mut status);
            alarms(&model, &status)
        };
        let told = turns(&alarms(before), &alarms(now));
        let told: Vec<(Turn, &str)> = told.iter().map(|(turn, text)| (*turn, text.as_str())).collect();
        assert_eq!(told, expect, "{before} to {now}");
    }

    /// An alarm is what its kind and subject are: another figure is no other alarm, and ends none.
    #[test]
    fn alarms_begin_change_and_end() {
        let (one, none) = (
            "pool app.com has 1 Site to answer, and min_sites is 2",
            "pool app.com has 0 Sites to answer, and min_sites is 2",
        );
        check_turns("uuu", "uxu", &[]);
        check_turns("uxu", "xxu", &[(Turn::Begun, one)]);
        check_turns("xxu", "xxx", &[(Turn::Changed, none)]);
        check_turns("xxx", "xux", &[(Turn::Changed, one)]);
        check_turns("xxu", "xux", &[]);
        check_turns("xxu", "uxu", &[(Turn::Over, "pool app.com has its minimum again")]);
        let over = "pool app.com no longer needs Site boston for its minimum";
        check_turns("hxu", "uxu", &[(Turn::Over, over)]);
        check_turns("hxu", "xxu", &[(Turn::Begun, one), (Turn::Over, over)]);
    }
}
