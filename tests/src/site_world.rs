//! Small worlds for the model check of operation 500: which Sites and groups there are, what is wrong with them, and which
//! Sites a name may lead to.
//!
//! Names are resolved as Appendix A of seed 004 says, by nothing of zerottl's own: a load-balancing answer is any live Site
//! of the pool or group, and all of them are followed; a Site Name is the first operational Site from it onward, circularly
//! through its primary group. Where all of a name's Sites are down, it leads to none of them.

mod explore;

pub use explore::{Explorer, LIFETIME, Mark, SKEW, StartUrl, WorldEnds, WorldFault};

/// Sites of a world at most.
pub const SITES_MAX: usize = 4;
/// The Pool Name of every world.
pub const POOL_NAME: &str = "app.com";

/// The kind of name that a URL's host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorldName {
    /// The Pool.
    Pool,
    /// A group, by its position.
    Group(usize),
    /// A Site, by its position in the pool.
    Site(usize),
    /// Another name of the Pool (C13), which leads to the same Sites.
    Alias,
}

impl WorldName {
    /// As a host.
    #[must_use]
    pub fn host(self) -> String {
        match self {
            Self::Pool => POOL_NAME.to_owned(),
            Self::Group(group) => format!("g{group}.{POOL_NAME}"),
            Self::Site(site) => format!("s{site}.{POOL_NAME}"),
            Self::Alias => format!("www.{POOL_NAME}"),
        }
    }

    /// The host's name; none is not of this world.
    #[must_use]
    pub fn of(host: &str) -> Option<Self> {
        if host == POOL_NAME {
            return Some(Self::Pool);
        }
        let label = host.strip_suffix(POOL_NAME)?.strip_suffix('.')?;
        if let Some(group) = label.strip_prefix('g') {
            return group.parse().ok().map(Self::Group);
        }
        if label == "www" {
            return Some(Self::Alias);
        }
        label.strip_prefix('s')?.parse().ok().map(Self::Site)
    }
}

/// The Sites of a pool and its groups: what stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldLayout {
    /// How many Sites the pool has.
    pub sites: usize,
    /// Each group's Sites in its order.
    pub groups: Vec<Vec<usize>>,
}

impl WorldLayout {
    /// All layouts of so many Sites with up to so many groups, each an ordered part of the pool.
    #[must_use]
    pub fn all(sites: usize, groups_max: usize) -> Vec<Self> {
        let orders = orders(sites);
        let mut layouts = vec![Self { sites, groups: Vec::new() }];
        let mut from = 0;
        for _ in 0..groups_max {
            let until = layouts.len();
            for shorter in from..until {
                for order in &orders {
                    let mut longer = layouts[shorter].clone();
                    longer.groups.push(order.clone());
                    layouts.push(longer);
                }
            }
            from = until;
        }
        layouts
    }

    /// The order that a Site overflows and fails over in, unless a request says otherwise: the group that is listed first, or
    /// the pool.
    #[must_use]
    pub fn primary(&self, site: usize) -> Vec<usize> {
        let group = self.groups.iter().find(|group| group.contains(&site));
        group.cloned().unwrap_or_else(|| (0..self.sites).collect())
    }

    /// All names there are.
    #[must_use]
    pub fn names(&self) -> Vec<WorldName> {
        let groups = (0..self.groups.len()).map(WorldName::Group);
        let sites = (0..self.sites).map(WorldName::Site);
        [WorldName::Pool, WorldName::Alias].into_iter().chain(groups).chain(sites).collect()
    }
}

/// All ordered parts of so many Sites, but the empty one.
fn orders(sites: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..sites {
        let until = all.len();
        for shorter in from..until {
            for site in (0..sites).filter(|site| !all[shorter].contains(site)).collect::<Vec<_>>() {
                let mut longer = all[shorter].clone();
                longer.push(site);
                all.push(longer);
            }
        }
        from = until;
    }
    all.remove(0);
    all
}

/// A set of Sites, by their positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SiteSet(pub u8);

impl SiteSet {
    /// All sets of so many Sites.
    pub fn subsets(sites: usize) -> impl Iterator<Item = Self> {
        (0..1_u8 << sites).map(Self)
    }

    /// Whether the Site is one of them.
    #[must_use]
    pub fn has(self, site: usize) -> bool {
        self.0 >> site & 1 == 1
    }
}

/// The faults of the Sites of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weather {
    /// The Sites that are down: DNS gives none of their addresses.
    pub down: SiteSet,
    /// The Sites that are too busy, of those that are up.
    pub busy: SiteSet,
    /// How far each Site's clock is ahead of the true time, seconds.
    pub clocks: [i64; SITES_MAX],
    /// Seconds from one request of the client to the next.
    pub pace: u64,
    /// Whether the Sites know which of them are down; otherwise they take all for up.
    pub is_known: bool,
}

/// The Sites that a name may lead to.
#[must_use]
pub fn resolve(layout: &WorldLayout, down: SiteSet, name: WorldName) -> Vec<usize> {
    let is_up = |site: &usize| !down.has(*site);
    match name {
        WorldName::Pool | WorldName::Alias => (0..layout.sites).filter(is_up).collect(),
        WorldName::Group(group) => layout.groups[group].iter().copied().filter(is_up).collect(),
        WorldName::Site(site) => {
            let order = layout.primary(site);
            let own = order.iter().position(|other| *other == site).unwrap_or_default();
            let onward = order[own..].iter().chain(&order[..own]).copied();
            onward.filter(is_up).take(1).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(description: &str, down: &[usize], name: WorldName, expected: &[usize]) {
        // Appendix A's second example: Geneva and Chicago; Boston and Chicago.
        let layout = WorldLayout { sites: 3, groups: vec![vec![0, 2], vec![1, 2]] };
        let down = SiteSet(down.iter().map(|site| 1 << site).sum());
        assert_eq!(resolve(&layout, down, name), expected, "{description}");
    }

    #[test]
    fn names_lead_where_appendix_a_says() {
        check("the pool: any", &[], WorldName::Pool, &[0, 1, 2]);
        check("the pool: any operational", &[1], WorldName::Pool, &[0, 2]);
        check("a group: its own", &[], WorldName::Group(1), &[1, 2]);
        check("a Site Name: the Site", &[], WorldName::Site(1), &[1]);
        check("else the next of its group", &[1], WorldName::Site(1), &[2]);
        check("circularly, and through the first group that lists it", &[2], WorldName::Site(2), &[0]);
        check("an alias: the pool's", &[1], WorldName::Alias, &[0, 2]);
        check("nobody", &[0, 2], WorldName::Group(0), &[]);
    }

    #[test]
    fn layouts_are_all_there_are() {
        assert_eq!(orders(3).len(), 3 + 6 + 6);
        assert_eq!(WorldLayout::all(3, 2).len(), 1 + 15 + 15 * 15);
        assert_eq!(WorldLayout::all(1, 1).len(), 2);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in (WorldLayout { sites: 3, groups: vec![vec![0], vec![1]] }).names() {
            assert_eq!(WorldName::of(&name.host()), Some(name));
        }
        assert_eq!(WorldName::of("evil.example"), None);
    }
}
