//! Conditions that somebody should look at: what is below a pool's minimum, and what was lifted to keep it.
//!
//! The death of a few Sites may leave a million pools without any. Of each kind [`NAMED_MAX`] alarms are told one by one, and
//! one more of the kind counts the others. Whoever has been named stays so for as long as it lasts, whatever else begins:
//! that an alarm is over is said of nobody for whom it is not.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use crate::{
    minimums::{Shortfall, short_pools, shortfall},
    model::{Model, Name, PoolId, SiteId},
    status::Assessment,
};

/// Alarms of a kind that are told one by one.
pub const NAMED_MAX: usize = 1_000;

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
    /// More of a kind than are named.
    More {
        /// The kind, one of [`KINDS`].
        kind: &'static str,
        /// How many more.
        count: usize,
    },
}

/// The kinds of [`Alarm`], as in metrics and JSON.
pub const KINDS: [&str; 2] = ["below-minimum", "overridden"];

impl Alarm {
    /// The kind, as in metrics and JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BelowMinimum(_) => KINDS[0],
            Self::Overridden { .. } => KINDS[1],
            Self::More { kind, .. } => kind,
        }
    }

    /// The Pool Name; empty for those that are counted.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.subject().0
    }

    /// Returns what it is about, which together with [`kind`](Self::kind) tells one alarm from another, whatever its
    /// figures are.
    #[must_use]
    pub fn subject(&self) -> (&str, &str) {
        match self {
            Self::BelowMinimum(shortfall) => (&shortfall.pool, ""),
            Self::Overridden { pool, site } => (pool, site),
            Self::More { .. } => ("", ""),
        }
    }

    /// How many conditions it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        if let Self::More { count, .. } = self { *count } else { 1 }
    }

    /// That it is over, as a sentence.
    fn over(&self) -> String {
        match self {
            Self::BelowMinimum(shortfall) => format!("pool {} has its minimum again", shortfall.pool),
            Self::Overridden { pool, site } => {
                format!("pool {pool} no longer needs Site {site} for its minimum")
            }
            Self::More { kind, .. } if *kind == KINDS[0] => {
                "every pool that has less than its minimum is named again".to_owned()
            }
            Self::More { .. } => "every Site that is answered for a pool's minimum is named again".to_owned(),
        }
    }
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
            Self::More { kind, count } if *kind == KINDS[0] => {
                write!(f, "and {count} more pools have less than their minimum")
            }
            Self::More { count, .. } => {
                write!(f, "and {count} more Sites are answered so that their pools keep their minimum")
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
fn turns(before: &[Alarm], now: &[Alarm]) -> Vec<(Turn, String)> {
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

/// The alarms of one look, and whom they name, for the next.
#[derive(Clone, Debug, Default)]
pub struct AlarmWatch {
    alarms: Arc<[Alarm]>,
    /// Pools that are named as having less than their minimum, ascending.
    short: Vec<PoolId>,
    /// Sites that are named as answered for a minimum, ascending.
    overridden: Vec<SiteId>,
}

impl AlarmWatch {
    /// The alarms of the newest look.
    #[must_use]
    pub fn alarms(&self) -> Arc<[Alarm]> {
        Arc::clone(&self.alarms)
    }

    /// Raises the alarms that a [guarded](crate::minimums::guard) status gives cause for, and returns what has become of
    /// them as sentences.
    pub fn look(&mut self, model: &Model, status: &Assessment) -> Vec<(Turn, String)> {
        let (short, more_short) = named(&self.short, short_pools(model, status));
        let lifted = (0..model.sites.len()).map(SiteId).filter(|site| status.sites[site.0].overridden);
        let (overridden, more_overridden) = named(&self.overridden, lifted);
        // By pool, each with its Sites in its own order, before what it is short of.
        let of_site = |site: &SiteId| {
            let own = model.sites[site.0].pool;
            let pool = &model.pools[own.0];
            let position = pool.sites.iter().position(|other| other == site)?;
            let alarm = Alarm::Overridden { pool: pool.name.to_string(), site: model.sites[site.0].key.clone() };
            Some(((own, position), alarm))
        };
        let of_pool = |id: &PoolId| {
            let pool = &model.pools[id.0];
            Some(((*id, pool.sites.len()), Alarm::BelowMinimum(shortfall(model, status, pool)?)))
        };
        let mut alarms: Vec<_> =
            overridden.iter().filter_map(of_site).chain(short.iter().filter_map(of_pool)).collect();
        alarms.sort_by_key(|(place, _)| *place);
        let more = [(KINDS[0], more_short), (KINDS[1], more_overridden)].into_iter().filter(|(_, count)| *count > 0);
        let more = more.map(|(kind, count)| Alarm::More { kind, count });
        let alarms: Arc<[Alarm]> = alarms.into_iter().map(|(_, alarm)| alarm).chain(more).collect();
        let turns = turns(&self.alarms, &alarms);
        *self = Self { alarms, short, overridden };
        turns
    }

    /// Goes on with another model, by the pools' names and the Sites' keys.
    #[must_use]
    pub fn carried(&self, old: &Model, new: &Model) -> Self {
        let pools: HashSet<&Name> = self.short.iter().map(|id| &old.pools[id.0].name).collect();
        let keys: HashSet<&str> = self.overridden.iter().map(|id| old.sites[id.0].key.as_str()).collect();
        // Where nobody is named, a million names need not be looked at.
        let new_pools = new.pools.iter().enumerate().filter(|_| !pools.is_empty());
        let new_sites = new.sites.iter().enumerate().filter(|_| !keys.is_empty());
        Self {
            alarms: self.alarms(),
            short: new_pools.filter(|(_, pool)| pools.contains(&pool.name)).map(|(id, _)| PoolId(id)).collect(),
            overridden: new_sites
                .filter(|(_, site)| keys.contains(site.key.as_str()))
                .map(|(id, _)| SiteId(id))
                .collect(),
        }
    }
}

/// How many alarms of a kind a pool has in a status, whether it is named or counted.
#[must_use]
pub fn alarms_of(model: &Model, status: &Assessment, id: PoolId, kind: &str) -> usize {
    let pool = &model.pools[id.0];
    if kind == KINDS[0] {
        return usize::from(shortfall(model, status, pool).is_some());
    }
    let is_own = |site: &&SiteId| status.sites[site.0].overridden && model.sites[site.0].pool == id;
    pool.sites.iter().filter(is_own).count()
}

/// Chooses who is named of all that there are, ascending: those that were before, then the first of the others. Returns how
/// many are not, too.
fn named<Id: Copy + Ord>(before: &[Id], all: impl Iterator<Item = Id>) -> (Vec<Id>, usize) {
    let (mut before, mut count) = (before.iter().copied().peekable(), 0);
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for id in all {
        count += 1;
        while before.next_if(|known| *known < id).is_some() {}
        if before.next_if(|known| *known == id).is_some() {
            kept.push(id);
        } else if others.len() < NAMED_MAX {
            others.push(id);
        }
    }
    others.truncate(NAMED_MAX.saturating_sub(kept.len()));
    kept.extend(others);
    kept.sort_unstable();
    let more = count - kept.len();
    (kept, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture,
        minimums::{
            guard,
            tests::{model, status},
        },
        model::Pool,
        status::Health,
    };

    /// The alarms of a first look.
    fn alarms(model: &Model, status: &Assessment) -> Vec<String> {
        let mut watch = AlarmWatch::default();
        watch.look(model, status);
        watch.alarms().iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check_guard(sites: usize, before: &str, expect: &str) {
        let model = model(sites, 0.0);
        let mut status = status(&model, before);
        guard(&model, &mut status);
        let lifted: String = status.sites.iter().map(|site| if site.overridden { '!' } else { '.' }).collect();
        assert_eq!(format!("{lifted} {}", alarms(&model, &status).join("; ")), expect, "{before}");
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
        let mut watch = AlarmWatch::default();
        let mut look = |sites: &str| {
            let mut status = status(&model, sites);
            guard(&model, &mut status);
            watch.look(&model, &status)
        };
        look(before);
        let told = look(now);
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

    /// Pools in the order of these Sites, one each; all want one Site.
    fn many(sites: &[usize]) -> Model {
        let mut model = fixture::appendix_a();
        let pool = |(id, site): (usize, &usize)| Pool {
            name: fixture::name(&format!("p{id}.app.com")),
            sites: vec![SiteId(*site)].into(),
            ..model.pools[0].clone()
        };
        model.pools = sites.iter().enumerate().map(pool).collect();
        model.pools.iter_mut().for_each(|pool| pool.minimum.sites = 1);
        model
    }

    fn lines(told: &[(Turn, String)]) -> Vec<&str> {
        told.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// However many pools lose their Sites: so many are named, and the others are a sentence.
    #[test]
    fn alarms_are_bounded() {
        for extra in [0, 1, 2_500] {
            let model = many(&vec![0; NAMED_MAX + extra]);
            let mut watch = AlarmWatch::default();
            let told = watch.look(&model, &status(&model, "xuu"));
            assert_eq!(told.len(), NAMED_MAX + usize::from(extra > 0), "{extra}");
            assert_eq!(told[0].1, "pool p0.app.com has 0 Sites to answer, and min_sites is 1");
            if extra > 0 {
                let more = format!("and {extra} more pools have less than their minimum");
                assert_eq!(told[NAMED_MAX], (Turn::Begun, more));
            }
            let counted: usize = watch.alarms().iter().map(Alarm::count).sum();
            assert_eq!(counted, NAMED_MAX + extra);
            assert_eq!(watch.look(&model, &status(&model, "xuu")), [], "nothing has changed");
            let over = watch.look(&model, &status(&model, "uuu"));
            assert_eq!(over.len(), NAMED_MAX + usize::from(extra > 0));
            assert!(over.iter().all(|(turn, _)| *turn == Turn::Over) && watch.alarms().is_empty());
        }
    }

    /// Nobody's alarm is over because others have begun, nor because the configuration has been read again.
    #[test]
    fn whoever_is_named_stays_named() {
        // The first two go by chicago; boston's fill the list.
        let mut model = many(&[&[1, 1][..], &vec![0; NAMED_MAX]].concat());
        let mut watch = AlarmWatch::default();
        assert_eq!(watch.look(&model, &status(&model, "xuu")).len(), NAMED_MAX);
        assert_eq!(
            lines(&watch.look(&model, &status(&model, "xxu"))),
            ["and 2 more pools have less than their minimum"]
        );
        let old = model.clone();
        model.pools.reverse();
        watch = watch.carried(&old, &model);
        assert_eq!(watch.look(&model, &status(&model, "xxu")), [], "the same in another order");
        let told = watch.look(&model, &status(&model, "uxu"));
        let begun = told.iter().filter(|(turn, _)| *turn == Turn::Begun).count();
        assert_eq!((begun, told.len()), (2, NAMED_MAX + 3), "those left are named, and the count is over");
        assert_eq!(told.last().map(|(turn, _)| *turn), Some(Turn::Over));
    }

    /// Sites that are answered for a minimum are bounded alike.
    #[test]
    fn overridden_sites_are_bounded() {
        let keys: Vec<String> = (0..NAMED_MAX + 5).map(|n| format!("s{n}")).collect();
        let addresses: Vec<[String; 1]> = (0..keys.len()).map(|n| [format!("10.0.{}.{}", n / 250, n % 250)]).collect();
        let addresses: Vec<[&str; 1]> = addresses.iter().map(|one| [one[0].as_str()]).collect();
        let sites: Vec<_> = keys.iter().zip(&addresses).map(|(key, at)| (key.as_str(), &at[..], None)).collect();
        let model = fixture::model(&sites);
        let mut status = Assessment::unknown(&model);
        status.health.iter_mut().for_each(|site| site.fill(Health::Up));
        status.sites.iter_mut().for_each(|site| site.overridden = true);
        let mut watch = AlarmWatch::default();
        let told = watch.look(&model, &status);
        assert_eq!(told.len(), NAMED_MAX + 1);
        assert_eq!(told[NAMED_MAX].1, "and 5 more Sites are answered so that their pools keep their minimum");
    }
}
