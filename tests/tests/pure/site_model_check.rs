//! S4-5A-TERM: operation 500 in all small worlds. Every layout of a pool, every set of Sites that are down or too busy, clocks
//! that are apart, every proper group, every URL that a client may begin with; names resolved as DNS would, all answers
//! followed.
//!
//! `ZEROTTL_SITE_WORLDS=all cargo test --release --package tests --test pure site_model_check::` takes more of them.

use std::{
    collections::HashMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tests::site_world::{
    Explorer, LIFETIME, Mark, SITES_MAX, SKEW, SiteSet, StartUrl, Weather, WorldEnds, WorldLayout, WorldName,
};

/// A clock that is as far off as is provided for, and one that is beyond what any marker lives.
const NEAR: i64 = SKEW.cast_signed();
const FAR: i64 = (LIFETIME + 2 * SKEW).cast_signed() + 1;
/// No second passes between requests; a marker expires on its second hop; every marker expires on its first.
const PACES: [u64; 3] = [0, 40, 90];

/// Which worlds.
#[derive(Clone, Debug)]
struct Part {
    layouts: Vec<WorldLayout>,
    clocks: Vec<[i64; SITES_MAX]>,
    paces: &'static [u64],
}

/// Counts of what was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    worlds: u64,
    states: u64,
    starts: u64,
    redirects: u32,
    despite: u64,
    busy: u64,
    nowhere: u64,
}

/// All ways for so many clocks to be one of these.
fn clocks(sites: usize, offsets: &[i64]) -> Vec<[i64; SITES_MAX]> {
    let mut all = vec![[0; SITES_MAX]];
    for site in 0..sites {
        all = all
            .iter()
            .flat_map(|clocks| {
                offsets.iter().map(move |offset| {
                    let mut clocks = *clocks;
                    clocks[site] = *offset;
                    clocks
                })
            })
            .collect();
    }
    all
}

/// Layouts of four Sites that differ in kind: none, one, disjoint, overlapping, nested and crossed groups.
fn four() -> Vec<WorldLayout> {
    let groups: [&[&[usize]]; 9] = [
        &[],
        &[&[0, 1, 2, 3]],
        &[&[3, 1, 0, 2]],
        &[&[0, 1], &[2, 3]],
        &[&[0, 1, 2], &[3]],
        &[&[0, 1, 2], &[2, 3]],
        &[&[0, 1, 2, 3], &[3, 1]],
        &[&[0, 1, 2], &[2, 1, 0], &[3, 0]],
        &[&[0, 1], &[1, 2], &[2, 3, 0]],
    ];
    let layout =
        |groups: &&[&[usize]]| WorldLayout { sites: 4, groups: groups.iter().map(|group| group.to_vec()).collect() };
    groups.iter().map(layout).collect()
}

fn parts() -> Vec<Part> {
    let small: Vec<WorldLayout> = (1..=2).flat_map(|sites| WorldLayout::all(sites, 2)).collect();
    let every = [0, NEAR, -NEAR, FAR, -FAR];
    if env::var("ZEROTTL_SITE_WORLDS").is_ok_and(|which| which == "all") {
        return vec![
            Part { layouts: small, clocks: clocks(2, &every), paces: &PACES },
            Part { layouts: WorldLayout::all(3, 2), clocks: clocks(3, &every), paces: &PACES },
            Part { layouts: four(), clocks: clocks(4, &[0, NEAR, -FAR]), paces: &PACES },
        ];
    }
    // Only differences between clocks count, so that one of them may be right.
    let apart = vec![[0; SITES_MAX], [0, NEAR, -NEAR, 0], [0, FAR, 0, 0], [FAR, 0, -FAR, 0]];
    vec![
        Part { layouts: small, clocks: clocks(2, &every), paces: &PACES },
        Part { layouts: WorldLayout::all(3, 2), clocks: apart.clone(), paces: &[0] },
        Part { layouts: WorldLayout::all(3, 1), clocks: apart.clone(), paces: &PACES },
        Part { layouts: four(), clocks: apart, paces: &[0, 40] },
    ]
}

/// URLs that a client may begin with: by hand, from a bookmark, from a redirect of before, forged.
fn starts(layout: &WorldLayout) -> Vec<StartUrl> {
    let fresh = Mark::aged(1);
    let mut marks = vec![
        None,
        Some(fresh),
        Some(Mark::aged(1000)),
        Some(Mark::aged(-1000)),
        Some(Mark { initial: Some(None), group: Some(None), ..fresh }),
        Some(Mark { initial: Some(Some(0)), ..Mark::aged(1000) }),
        Some(Mark { age: None, hops: 1, ..fresh }),
        Some(Mark { age: None, hops: 9999, ..fresh }),
        Some(Mark { hops: 9999, ..fresh }),
    ];
    marks.extend((0..layout.sites).map(|site| Some(Mark { initial: Some(Some(site)), hops: 1, ..fresh })));
    marks.extend((0..=layout.groups.len()).map(|group| {
        // Beyond the groups is the pool.
        let initial = layout.groups.get(group).map_or(Some(0), |sites| sites.last().copied());
        Some(Mark { initial: Some(initial), group: Some(Some(group)), ..fresh })
    }));
    let names = layout.names();
    names.iter().flat_map(|name| marks.iter().map(|mark| StartUrl { name: *name, mark: *mark })).collect()
}

/// Checks what must hold of one start in one world.
fn judge(
    layout: &WorldLayout,
    weather: &Weather,
    proper: Option<usize>,
    start: StartUrl,
    found: WorldEnds,
) -> Result<(), &'static str> {
    let ends = found.admitting != 0 || found.busy || found.refused || found.nowhere;
    if !ends {
        return Err("no end");
    }
    let is_up = |site: &usize| !weather.down.has(*site);
    let is_led = |name: WorldName| !tests::site_world::resolve(layout, weather.down, name).is_empty();
    if found.nowhere && weather.is_known && is_led(start.name) {
        return Err("sent to a name that leads nowhere");
    }
    let up: Vec<i64> = (0..layout.sites).filter(is_up).map(|site| weather.clocks[site]).collect();
    let apart = up.iter().max().zip(up.iter().min()).map_or(0, |(most, least)| most - least);
    let is_calm = weather.is_known && weather.pace == 0 && apart <= NEAR;
    if !is_calm || start.mark.is_some() || start.name != WorldName::Pool {
        return Ok(());
    }
    // From the Pool Name, with clocks that agree: into the proper group, and the busy page only when all of it is busy.
    if found.despite {
        return Err("admitted as lost though clocks agree");
    }
    let alive = proper.filter(|group| layout.groups[*group].iter().any(is_up));
    if let Some(group) = alive
        && (0..layout.sites).any(|site| found.admitting >> site & 1 == 1 && !layout.groups[group].contains(&site))
    {
        return Err("admitted outside of the proper group");
    }
    let in_question: Option<Vec<usize>> = match alive {
        Some(group) => Some(layout.groups[group].clone()),
        None if layout.groups.is_empty() => Some((0..layout.sites).collect()),
        None => None,
    };
    let is_free = |site: &usize| is_up(site) && !weather.busy.has(*site);
    if let Some(group) = in_question
        && found.busy == group.iter().any(is_free)
        && !up.is_empty()
    {
        return Err("busy though one of the group is not, or not busy though all are");
    }
    Ok(())
}

/// All weathers and proper groups of one layout.
fn check(part: &Part, layout: &WorldLayout) -> Result<Sum, String> {
    let explorer = Explorer::new(layout.clone());
    let starts = starts(layout);
    let mut seen = HashMap::new();
    let mut sum = Sum::default();
    let propers: Vec<Option<usize>> = [None].into_iter().chain((0..layout.groups.len()).map(Some)).collect();
    for down in SiteSet::subsets(layout.sites) {
        // What is down decides nothing: neither its load nor its clock counts.
        for busy in SiteSet::subsets(layout.sites).filter(|busy| busy.0 & down.0 == 0) {
            let tells = |clocks: &&[i64; SITES_MAX]| (0..layout.sites).all(|site| !down.has(site) || clocks[site] == 0);
            let everywhere = down.0 == 0;
            for clocks in part.clocks.iter().filter(|clocks| everywhere || part.clocks.len() <= 4 || tells(clocks)) {
                for (&pace, is_known) in part.paces.iter().flat_map(|pace| [(pace, true), (pace, false)]) {
                    if !is_known && down.0 == 0 {
                        continue;
                    }
                    let weather = Weather { down, busy, clocks: *clocks, pace, is_known };
                    for &proper in &propers {
                        let found = explorer.explore(&weather, proper, &starts, &mut seen);
                        let world = || format!("{layout:?} {weather:?} proper {proper:?}");
                        let found = found.map_err(|fault| format!("{fault:?} in {}", world()))?;
                        sum.worlds += 1;
                        sum.states += seen.len() as u64;
                        for (start, found) in starts.iter().zip(found) {
                            judge(layout, &weather, proper, *start, found)
                                .map_err(|fault| format!("{fault}: {start:?} {found:?} in {}", world()))?;
                            sum.starts += 1;
                            sum.redirects = sum.redirects.max(found.redirects);
                            sum.despite += u64::from(found.despite);
                            sum.busy += u64::from(found.busy);
                            sum.nowhere += u64::from(found.nowhere);
                        }
                    }
                }
            }
        }
    }
    Ok(sum)
}

/// Redirects from any start to its end, at most: those that a client is sent round by markers that do not hold, each with the
/// name it is sent to and the Site Name it is bound to there, and an overflow's.
fn bound(sites: usize) -> u32 {
    let hops = sites.max(2) as u32;
    3 * hops + 2
}

/// S4-5A-TERM: every way ends in a session, the busy page or a refusal within the bound; or, where nobody is up, nowhere.
/// Nobody is ever sent to a Site that is known to be down.
#[test]
fn s4_5a_term_every_start_ends_in_every_small_world() {
    let parts = parts();
    let work: Vec<(&Part, &WorldLayout)> =
        parts.iter().flat_map(|part| part.layouts.iter().map(move |layout| (part, layout))).collect();
    let (next, sums) = (AtomicUsize::new(0), Mutex::new((vec![Sum::default(); SITES_MAX + 1], Vec::<String>::new())));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((part, layout)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let checked = check(part, layout);
                    let mut sums = sums.lock().unwrap();
                    match checked {
                        Ok(sum) => sums.0[layout.sites].add(sum),
                        Err(fault) => sums.1.push(fault),
                    }
                }
            });
        }
    });
    let (sums, mut faults) = sums.into_inner().unwrap();
    faults.sort_by_key(String::len);
    assert!(faults.is_empty(), "{} layouts at fault; the smallest: {}", faults.len(), faults[0]);
    for (sites, sum) in sums.iter().enumerate().skip(1) {
        println!(
            "{sites} Sites: {} worlds, {} states, {} starts; {} redirects at most (bound {}); ways that end in the busy page {}, \
             in being served for having been sent round too often {}, nowhere {}",
            sum.worlds,
            sum.states,
            sum.starts,
            sum.redirects,
            bound(sites),
            sum.busy,
            sum.despite,
            sum.nowhere
        );
        assert!(sum.redirects <= bound(sites), "{} redirects", sum.redirects);
        assert!(sum.worlds > 0 && sum.busy > 0 && sum.despite > 0 && sum.nowhere > 0, "nothing happened: {sum:?}");
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.states += other.states;
        self.starts += other.starts;
        self.redirects = self.redirects.max(other.redirects);
        self.despite += other.despite;
        self.busy += other.busy;
        self.nowhere += other.nowhere;
    }
}

/// S4-5B-575/580/585: n busy Sites of a group of n are tried once each, by exactly n - 1 redirects, and then it is the busy
/// page. Which group that is: the one that the marker carries, the proper one, the Site's primary one.
#[test]
fn s4_5b_585_n_busy_sites_are_n_minus_1_redirects() {
    let (mut cycles, mut longest) = (0, 0);
    let layouts = (1..=3).flat_map(|sites| WorldLayout::all(sites, 2)).chain(four());
    for layout in layouts {
        let explorer = Explorer::new(layout.clone());
        let all = SiteSet(u8::MAX);
        let weather = Weather { down: SiteSet(0), busy: all, clocks: [0; SITES_MAX], pace: 1, is_known: true };
        for own in 0..layout.sites {
            for proper in [None].into_iter().chain((0..layout.groups.len()).map(Some)) {
                let start = StartUrl { name: WorldName::Site(own), mark: Some(Mark::aged(1)) };
                let member = proper.filter(|group| layout.groups[*group].contains(&own));
                let mut order = member.map_or_else(|| layout.primary(own), |group| layout.groups[group].clone());
                let at = order.iter().position(|site| *site == own).unwrap();
                order.rotate_left(at);
                let tried = explorer.overflow(&weather, proper, start);
                assert_eq!(tried.as_deref(), Some(&order[..]), "from {own}, proper {proper:?}, in {layout:?}");
                cycles += 1;
                longest = longest.max(order.len());
            }
        }
    }
    println!("{cycles} overflows through up to {longest} busy Sites, each tried once");
    assert_eq!(longest, SITES_MAX);
}
