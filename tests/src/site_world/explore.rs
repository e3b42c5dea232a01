//! Every way that a client can be sent in a world, through the real decision.
//!
//! A state is a URL (its host and marker) that the client is about to ask. Time is counted from each request: what matters of
//! a marker is its age, so that worlds with a pace have finitely many states, too. All Sites that the host may lead to are
//! tried. A state that leads back to itself is a loop, and a fault.

use std::collections::HashMap;

use http::Version;
use zerottl_site::{
    decide::{Decision, Facts, Rules, Stage, decide},
    marker::{Marker, MarkerCarrier, Markers},
    topology::{Topology, TopologyGroup},
};

use super::{POOL_NAME, Weather, WorldLayout, WorldName, resolve};

/// The true time of every request, Unix seconds.
const NOW: i64 = 1_800_000_000;
/// Seconds that a marker holds.
pub const LIFETIME: u64 = 60;
/// How far clocks may be apart, seconds.
pub const SKEW: u64 = 5;
/// From this age on all markers are alike, seconds: older than any clock that is wrong here makes up for.
const AGE_MAX: i64 = 10_000;
/// A name that no Site and no group has.
const NOBODY: &str = "gone.app.com";

/// A marker, by what matters of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Seconds since it was made, by the true time; none is a marker without a time.
    pub age: Option<i64>,
    /// The Site at which overflow began; `Some(None)` is somebody that is not there.
    pub initial: Option<Option<usize>>,
    /// The group whose order it goes through, likewise; one more than there are is the pool.
    pub group: Option<Option<usize>>,
    /// Its count.
    pub hops: u32,
}

impl Mark {
    /// One of this age and nothing else.
    #[must_use]
    pub const fn aged(age: i64) -> Self {
        Self { age: Some(age), initial: None, group: None, hops: 0 }
    }
}

/// A URL that the client is about to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StartUrl {
    /// Its host.
    pub name: WorldName,
    /// Its marker.
    pub mark: Option<Mark>,
}

/// The ends that lie ahead of a state, over all ways.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one kind of end was seen")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldEnds {
    /// Redirects at most.
    pub redirects: u32,
    /// Sites that admit at the end of some way.
    pub admitting: u8,
    /// Whether some way ends in an admission for having been sent round too often.
    pub despite: bool,
    /// Whether some way ends in the busy page.
    pub busy: bool,
    /// Whether some way ends in a refusal.
    pub refused: bool,
    /// Whether some way ends at a name none of whose Sites is up.
    pub nowhere: bool,
}

impl WorldEnds {
    fn join(&mut self, other: Self) {
        self.redirects = self.redirects.max(other.redirects);
        self.admitting |= other.admitting;
        self.despite |= other.despite;
        self.busy |= other.busy;
        self.refused |= other.refused;
        self.nowhere |= other.nowhere;
    }
}

/// A fault that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorldFault {
    /// The last of these URLs leads back to one before it.
    Loop(Vec<StartUrl>),
    /// A Site sends on to one that it knows to be down.
    ToTheDead(StartUrl, usize),
}

/// Explores one layout's worlds.
pub struct Explorer {
    layout: WorldLayout,
    places: Vec<Topology>,
    markers: Markers,
    sites: Vec<String>,
    /// And the Pool Name.
    orders: Vec<String>,
}

/// One world, while it is explored.
struct Walk<'a> {
    explorer: &'a Explorer,
    weather: &'a Weather,
    proper: Option<usize>,
    up: Vec<bool>,
    seen: &'a mut HashMap<StartUrl, WorldEnds>,
    under_way: Vec<StartUrl>,
}

/// The result of one Site's decision on a URL.
enum Step {
    On(StartUrl, Stage),
    End(WorldEnds),
}

impl Explorer {
    /// Of a layout.
    #[must_use]
    pub fn new(layout: WorldLayout) -> Self {
        let sites: Vec<String> = (0..layout.sites).map(|site| WorldName::Site(site).host()).collect();
        let groups = (0..layout.groups.len()).map(WorldName::Group);
        let orders: Vec<String> = groups.chain([WorldName::Pool]).map(WorldName::host).collect();
        let places = (0..layout.sites).map(|own| {
            let parts = orders.iter().zip(&layout.groups);
            let parts = parts.map(|(name, sites)| TopologyGroup { name: name.clone(), sites: sites.clone() }).collect();
            let primary = layout.groups.iter().position(|group| group.contains(&own));
            Topology::new(POOL_NAME, sites.clone(), parts, own, primary, &[WorldName::Alias.host()])
        });
        Self { places: places.collect(), markers: Markers::new(MarkerCarrier::Path, None), sites, orders, layout }
    }

    /// Explores what lies ahead of each start in a world.
    pub fn explore(
        &self,
        weather: &Weather,
        proper: Option<usize>,
        starts: &[StartUrl],
        seen: &mut HashMap<StartUrl, WorldEnds>,
    ) -> Result<Vec<WorldEnds>, WorldFault> {
        seen.clear();
        let up = (0..self.layout.sites).map(|site| !weather.is_known || !weather.down.has(site)).collect();
        let mut walk = Walk { explorer: self, weather, proper, up, seen, under_way: Vec::new() };
        starts.iter().map(|start| walk.from(*start)).collect()
    }

    /// The Sites that overflow goes through from a URL on, until the busy page; none if it ends otherwise.
    #[must_use]
    pub fn overflow(&self, weather: &Weather, proper: Option<usize>, start: StartUrl) -> Option<Vec<usize>> {
        let up = vec![true; self.layout.sites];
        let mut seen = HashMap::new();
        let walk = Walk { explorer: self, weather, proper, up, seen: &mut seen, under_way: Vec::new() };
        let (mut at, mut tried) = (start, Vec::new());
        while let [site] = resolve(&self.layout, weather.down, at.name)[..] {
            tried.push(site);
            match walk.step(site, at) {
                Step::On(next, Stage::ToNext) if tried.len() <= 2 * self.layout.sites => at = next,
                Step::End(WorldEnds { busy: true, .. }) => return Some(tried),
                _ => return None,
            }
        }
        None
    }

    fn text(&self, mark: &Mark) -> String {
        let name = |names: &'_ [String], at: Option<usize>| at.map_or(NOBODY.to_owned(), |at| names[at].clone());
        let initial = mark.initial.map(|at| name(&self.sites, at));
        let group = mark.group.map(|at| name(&self.orders, at));
        let at = mark.age.map_or(0, |age| (NOW - age).cast_unsigned());
        let marker = Marker { at, initial: initial.as_deref(), group: group.as_deref(), hops: mark.hops, key: None };
        self.markers.add("/", &marker)
    }
}

impl Walk<'_> {
    fn from(&mut self, start: StartUrl) -> Result<WorldEnds, WorldFault> {
        if let Some(found) = self.seen.get(&start) {
            return Ok(*found);
        }
        if self.under_way.contains(&start) {
            let mut way = self.under_way.clone();
            way.push(start);
            return Err(WorldFault::Loop(way));
        }
        let sites = resolve(&self.explorer.layout, self.weather.down, start.name);
        let mut found = WorldEnds { nowhere: sites.is_empty(), ..WorldEnds::default() };
        self.under_way.push(start);
        for site in sites {
            match self.step(site, start) {
                Step::End(end) => found.join(end),
                Step::On(next, stage) => {
                    if stage == Stage::ToNext
                        && self.weather.is_known
                        && matches!(next.name, WorldName::Site(to) if self.weather.down.has(to))
                    {
                        return Err(WorldFault::ToTheDead(start, site));
                    }
                    let ahead = self.from(next)?;
                    found.join(WorldEnds { redirects: ahead.redirects + 1, ..ahead });
                }
            }
        }
        self.under_way.pop();
        self.seen.insert(start, found);
        Ok(found)
    }

    fn step(&self, site: usize, at: StartUrl) -> Step {
        let Explorer { places, markers, .. } = self.explorer;
        let host = at.name.host();
        let target = at.mark.as_ref().map_or_else(|| "/".to_owned(), |mark| self.explorer.text(mark));
        let read = markers.find(&target, None);
        let facts = Facts {
            in_session: false,
            version: Version::HTTP_11,
            authority: Some(&host),
            server_name: None,
            found: &read,
            by_cookie: false,
            now: (NOW + self.weather.clocks[site]).cast_unsigned(),
            proper: self.proper,
            busy: self.weather.busy.has(site),
            waiting: false,
            up: &self.up,
        };
        let rules = Rules { lifetime: LIFETIME, skew: SKEW, overflow: true };
        let (decision, path) = decide(&places[site], &rules, &facts);
        match decision {
            Decision::Redirect(redirect) => {
                // Written and read again by the next step.
                let mark = redirect.marker.map(|marker| self.mark(&marker));
                let name = WorldName::of(redirect.host).unwrap_or_else(|| panic!("sent to {}", redirect.host));
                Step::On(StartUrl { name, mark }, path.end().unwrap_or(Stage::Receive))
            }
            Decision::Admit { despite } => {
                Step::End(WorldEnds { admitting: 1 << site, despite, ..WorldEnds::default() })
            }
            Decision::Busy => Step::End(WorldEnds { busy: true, ..WorldEnds::default() }),
            Decision::Refuse(_) => Step::End(WorldEnds { refused: true, ..WorldEnds::default() }),
            Decision::Bypass => panic!("there is no session"),
        }
    }

    /// By the time of the client's next request.
    fn mark(&self, marker: &Marker<'_>) -> Mark {
        let at = |names: &[String], name: &str| names.iter().position(|other| other == name);
        let age = NOW - marker.at.cast_signed() + self.weather.pace.cast_signed();
        Mark {
            age: (marker.at > 0).then_some(age.min(AGE_MAX)),
            initial: marker.initial.map(|name| at(&self.explorer.sites, name)),
            group: marker.group.map(|name| at(&self.explorer.orders, name)),
            hops: marker.hops,
        }
    }
}
