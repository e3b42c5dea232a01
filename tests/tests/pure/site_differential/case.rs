//! Requests by chance, each as both sides take them.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use tests::{
    appendix_b,
    site_world::{POOL_NAME, WorldLayout, WorldName},
};
use zerottl_site::{
    marker::{Marker, MarkerCarrier, Markers},
    topology::{Topology, TopologyGroup},
};

/// Unix time of every request: any would do.
pub const NOW: u64 = 1_800_000_000;
/// Seconds that a marker holds.
pub const LIFETIME: u64 = 60;
/// A deferral's key.
pub const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA";

const PATHS: [&str; 14] = [
    "/",
    "//",
    "/shop",
    "/shop/",
    "/a//b",
    "/a%2Fb",
    "/a;b=c",
    "/%2e%2e/x",
    "/distrib",
    "/distrib=/x",
    "/a/distribution=5",
    "/Distrib=1799999990/x",
    "/Distrib=1799999990+s1.app.com/x",
    "/x/Distrib=1/y/",
];
const QUERIES: [&str; 6] = ["", "a=1", "a=?&b=/", "Distrib=5", "u=http://evil.example/", "&"];
/// Beginnings of a marker, in every spelling that counts.
const WORDS: [&str; 3] = ["Distrib=", "distrib=", "DISTRIB="];
/// Markers that make no sense.
const BROKEN: [&str; 6] = ["", "x", "-5", "99999999999999999999", "5+s0.app.com+g0.app.com+x", "5!short"];

/// The host of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// There is none.
    Missing,
    /// A name of the world, as the request spells it.
    Known { name: WorldName, spelled: String },
    /// A name that is none of ours.
    Unknown(&'static str),
    /// No authority at all.
    Broken(&'static str),
}

/// A marker in a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// One that can be read.
    Sound { at: u64, initial: Option<String>, group: Option<String>, hops: u32, key: Option<String> },
    /// One that cannot.
    Broken(&'static str),
}

/// A request and the Site that it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub layout: WorldLayout,
    pub own: usize,
    pub up: Vec<bool>,
    pub scheme: &'static str,
    pub method: &'static str,
    pub version: http::Version,
    pub server_name: Option<String>,
    pub host: Host,
    pub path: &'static str,
    pub query: Option<&'static str>,
    pub word: &'static str,
    pub mark: Option<Mark>,
    pub proper: Option<usize>,
    pub busy: bool,
    pub waiting: bool,
    pub overflow: bool,
    pub skew: u64,
}

fn spelled(random: &mut SmallRng, name: &str) -> String {
    match random.random_range(0..10) {
        0 => name.to_uppercase(),
        1 => format!("{name}."),
        2 => format!("{name}:80"),
        3 => format!("{}.:8080", name.to_uppercase()),
        _ => name.to_owned(),
    }
}

impl Case {
    pub fn by_chance(random: &mut SmallRng) -> Self {
        let layout = layout(random);
        let own = random.random_range(0..layout.sites);
        let names = layout.names();
        let any = |random: &mut SmallRng| *names.choose(random).expect("there is a pool");
        let host = match random.random_range(0..20) {
            0 => Host::Missing,
            1 => Host::Unknown(
                ["evil.example", "gone.app.com", "192.0.2.1", "www.gone.app.com"].choose(random).expect("some"),
            ),
            2 => Host::Broken(["", "a b", "user@app.com", "app.com/evil", ":80"].choose(random).expect("some")),
            3..9 => Host::Known { name: any(random), spelled: String::new() },
            9..12 => Host::Known { name: WorldName::Pool, spelled: String::new() },
            _ => Host::Known { name: WorldName::Site(own), spelled: String::new() },
        };
        let host = match host {
            Host::Known { name, .. } => Host::Known { name, spelled: spelled(random, &name.host()) },
            other => other,
        };
        let version = *[http::Version::HTTP_10, http::Version::HTTP_11, http::Version::HTTP_11, http::Version::HTTP_2]
            .choose(random)
            .expect("some");
        let waiting = random.random_ratio(1, 16);
        let server_name = random.random_ratio(1, 2).then(|| any(random).host());
        let proper = match layout.groups.len() {
            0 => None,
            groups => random.random_ratio(3, 4).then(|| random.random_range(0..groups)),
        };
        let mut up: Vec<bool> = (0..layout.sites).map(|_| random.random_ratio(3, 4)).collect();
        up[own] = true;
        // Cut off where all that follow are up: they count as up then.
        if random.random_ratio(1, 8) {
            up.clear();
        }
        Self {
            own,
            up,
            scheme: ["http", "https"].choose(random).expect("some"),
            method: ["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"].choose(random).expect("some"),
            version,
            server_name,
            host,
            path: PATHS.choose(random).expect("some"),
            query: random.random_ratio(1, 2).then(|| *QUERIES.choose(random).expect("some")),
            word: WORDS.choose(random).expect("some"),
            mark: mark(random, &layout, waiting),
            proper,
            busy: random.random_ratio(3, 4),
            waiting,
            overflow: random.random_ratio(7, 8),
            skew: *[0, 5].choose(random).expect("some"),
            layout,
        }
    }

    /// Where the Site stands.
    pub fn place(&self) -> Topology {
        let WorldLayout { sites, groups } = &self.layout;
        let names = (0..*sites).map(|site| WorldName::Site(site).host()).collect();
        let parts = groups.iter().enumerate();
        let parts = parts
            .map(|(at, sites)| TopologyGroup { name: WorldName::Group(at).host(), sites: sites.clone() })
            .collect();
        let primary = groups.iter().position(|group| group.contains(&self.own));
        Topology::new(POOL_NAME, names, parts, self.own, primary, &[WorldName::Alias.host()])
    }

    /// Returns what the client's request has as `Host` or `:authority`.
    pub fn authority(&self) -> Option<&str> {
        match &self.host {
            Host::Missing => None,
            Host::Known { spelled, .. } => Some(spelled),
            Host::Unknown(text) | Host::Broken(text) => Some(text),
        }
    }

    /// The target without its marker.
    pub fn clean(&self) -> String {
        self.query.map_or_else(|| self.path.to_owned(), |query| format!("{}?{query}", self.path))
    }

    /// The target as it stands in the request.
    pub fn target(&self) -> String {
        let markers = Markers::new(MarkerCarrier::Path, None);
        match &self.mark {
            None => self.clean(),
            Some(Mark::Sound { at, initial, group, hops, key }) => {
                let (initial, group, key) = (initial.as_deref(), group.as_deref(), key.as_deref());
                let marked = markers.add(&self.clean(), &Marker { at: *at, initial, group, hops: *hops, key });
                // The marker is the last of them in the path.
                let end = marked.find('?').unwrap_or(marked.len());
                let at = marked[..end].rfind("/distrib=").expect("it was just added") + 1;
                format!("{}{}{}", &marked[..at], self.word, &marked[at + self.word.len()..])
            }
            Some(Mark::Broken(text)) => {
                let marked = markers.add(&self.clean(), &Marker { at: 7, ..Marker::default() });
                let end = marked.find('?').unwrap_or(marked.len());
                let at = marked[..end].rfind("/distrib=7").expect("it was just added") + 1;
                // The comma of a path that ended in a slash stays behind the first field.
                let comma = if self.path.ends_with('/') && self.path != "/" { "," } else { "" };
                let (time, rest) = text.split_at(text.find(['+', '!']).unwrap_or(text.len()));
                format!("{}{}{time}{comma}{rest}{}", &marked[..at], self.word, &marked[end..])
            }
        }
    }

    /// Returns the request for the pseudo code, word for word. Of the marker it has what the pseudo code knows.
    pub fn literal(&self) -> appendix_b::OracleRequest {
        let marker = match &self.mark {
            None => String::new(),
            Some(Mark::Sound { at, initial: Some(initial), .. }) => format!("/{}{at}+{initial}", self.word),
            Some(Mark::Sound { at, .. }) => format!("/{}{at}", self.word),
            Some(Mark::Broken(text)) => format!("/{}{text}", self.word),
        };
        let pool = || appendix_b::OracleGroup {
            name: POOL_NAME.into(),
            sites: names(&(0..self.layout.sites).collect::<Vec<_>>()),
        };
        let this_group = self.layout.groups.iter().position(|group| group.contains(&self.own));
        appendix_b::OracleRequest {
            scheme: self.scheme,
            host: self.authority().map(str::to_owned),
            relative_uri: format!("{}{marker}", self.path),
            query: self.query.map(str::to_owned),
            this_site: WorldName::Site(self.own).host(),
            pool_name: POOL_NAME.into(),
            this_group: this_group.map_or_else(pool, |group| self.group(group)),
            proper_group: self.proper.map_or(POOL_NAME.into(), |group| WorldName::Group(group).host()),
            busy: self.busy,
            step_3: self.overflow,
            now: NOW,
            expiration: LIFETIME,
        }
    }

    /// A group, for the pseudo code.
    pub fn group(&self, group: usize) -> appendix_b::OracleGroup {
        appendix_b::OracleGroup { name: WorldName::Group(group).host(), sites: names(&self.layout.groups[group]) }
    }
}

fn names(sites: &[usize]) -> Vec<String> {
    sites.iter().map(|site| WorldName::Site(*site).host()).collect()
}

fn layout(random: &mut SmallRng) -> WorldLayout {
    let sites = random.random_range(1..=4);
    let groups = (0..random.random_range(0..=3)).map(|_| {
        let mut left: Vec<usize> = (0..sites).collect();
        let count = random.random_range(1..=sites);
        (0..count).map(|_| left.swap_remove(random.random_range(0..left.len()))).collect()
    });
    let groups = groups.collect();
    WorldLayout { sites, groups }
}

fn mark(random: &mut SmallRng, layout: &WorldLayout, waiting: bool) -> Option<Mark> {
    if waiting {
        let due = NOW + random.random_range(0..100);
        return Some(Mark::Sound { at: due, initial: None, group: None, hops: 0, key: Some(KEY.into()) });
    }
    if random.random_ratio(1, 6) {
        return None;
    }
    if random.random_ratio(1, 12) {
        return Some(Mark::Broken(BROKEN.choose(random).expect("some")));
    }
    let age: i64 = match random.random_range(0..8) {
        0 => *[59, 60, 61, 64, 65, 66, 1000].choose(random).expect("some"),
        1 => -*[1, 4, 5, 6, 59, 1000].choose(random).expect("some"),
        _ => random.random_range(0..55),
    };
    let site = |random: &mut SmallRng| WorldName::Site(random.random_range(0..layout.sites)).host();
    let initial = match random.random_range(0..8) {
        0..3 => None,
        3 => Some(["gone.app.com", POOL_NAME].choose(random).copied().expect("some").to_owned()),
        _ => Some(site(random)),
    };
    let group = match random.random_range(0..4) {
        0 => Some(["gone.app.com", POOL_NAME].choose(random).copied().expect("some").to_owned()),
        1 if !layout.groups.is_empty() => Some(WorldName::Group(random.random_range(0..layout.groups.len())).host()),
        _ => None,
    };
    let hops = *[0, 0, 0, 1, 2, 3, 4, 9].choose(random).expect("some");
    let at = if random.random_ratio(1, 16) { 0 } else { NOW.saturating_add_signed(-age) };
    // A key that nobody here gave.
    let key = random.random_ratio(1, 16).then(|| KEY.replace('A', "B"));
    Some(Mark::Sound { at, initial, group, hops, key })
}
