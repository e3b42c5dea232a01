//! Where a Site stands among the others: the names and orders that operation 500 compares with.
//!
//! Sites are positions in the pool's order, groups positions among the pool's groups. A group that bears its pool's name
//! only sets the pool's order, and is none of them.

use std::collections::HashMap;

use super::host;
use zerottl_core::model::{GroupId, Model, SiteId};

/// The meaning of a host's name to a Site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The Site's own Site Name.
    Own,
    /// The Pool Name.
    Pool,
    /// A Group Name of the pool.
    Group(usize),
    /// The Site Name of another Site of the pool.
    Site(usize),
    /// Another name of this Site (C13).
    Alias,
}

/// A group of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyGroup {
    /// The Group Name.
    pub name: String,
    /// Its Sites, in its order.
    pub sites: Vec<usize>,
}

/// Where a Site stands: names and orders. Names are lower case, without a trailing dot.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The Pool Name.
    pub pool: String,
    /// Site Names, in the pool's order.
    pub sites: Vec<String>,
    /// The pool's groups.
    pub groups: Vec<TopologyGroup>,
    /// This Site.
    pub own: usize,
    /// Its primary group.
    pub primary: Option<usize>,
    names: HashMap<String, Known>,
    /// By group, its number in the model.
    ids: Vec<GroupId>,
}

impl Topology {
    /// Of a Site in a configuration.
    ///
    /// # Panics
    /// If there is no such Site in the model.
    #[must_use]
    pub fn of(model: &Model, site: SiteId) -> Self {
        let pool_id = model.sites[site.0].pool;
        let pool = &model.pools[pool_id.0];
        let places: HashMap<&SiteId, usize> = pool.sites.iter().zip(0..).collect();
        let position = |id: &SiteId| places.get(id).copied();
        let (ids, groups): (Vec<_>, Vec<_>) = model
            .groups
            .iter()
            .enumerate()
            .filter(|(_, group)| group.pool == pool_id && group.name != pool.name)
            .map(|(id, group)| {
                let sites = group.sites.iter().filter_map(position).collect();
                (GroupId(id), TopologyGroup { name: group.name.to_string(), sites })
            })
            .unzip();
        let primary = model.sites[site.0].primary.and_then(|id| ids.iter().position(|&other| other == id));
        let aliases = model.web.get(site.0).map_or(&[][..], |web| &web.aliases);
        let sites = pool.sites.iter().map(|id| model.sites[id.0].name.to_string()).collect();
        let own = position(&site).expect("a Site is in its own pool, which `config::pools` sees to");
        Self { ids, ..Self::new(&pool.name.to_string(), sites, groups, own, primary, aliases) }
    }

    /// From its parts: `sites` in the pool's order, `own` one of them, `primary` one of `groups`.
    #[must_use]
    pub fn new(
        pool: &str,
        sites: Vec<String>,
        groups: Vec<TopologyGroup>,
        own: usize,
        primary: Option<usize>,
        aliases: &[String],
    ) -> Self {
        let mut names: HashMap<String, Known> = aliases.iter().map(|name| (name.clone(), Known::Alias)).collect();
        names.extend(groups.iter().enumerate().map(|(at, group)| (group.name.clone(), Known::Group(at))));
        let of_site = |at| if at == own { Known::Own } else { Known::Site(at) };
        names.extend(sites.iter().enumerate().map(|(at, name)| (name.clone(), of_site(at))));
        names.insert(pool.to_owned(), Known::Pool);
        let ids = (0..groups.len()).map(GroupId).collect();
        Self { pool: pool.to_owned(), sites, groups, own, primary, names, ids }
    }

    /// Returns what a host's name is here; none where it is nobody's. `name` as [`host::parse`] gives it.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Known> {
        self.names.get(name).copied()
    }

    /// The Site's own name.
    #[must_use]
    pub fn own_name(&self) -> &str {
        &self.sites[self.own]
    }

    /// Where a group of the model is among the pool's.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<usize> {
        self.ids.iter().position(|&other| other == id)
    }

    /// The number in the model of a group.
    #[must_use]
    pub fn id(&self, group: usize) -> Option<GroupId> {
        self.ids.get(group).copied()
    }

    /// The group with a name, in any case.
    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<usize> {
        match self.known(&host::name(name)?) {
            Some(Known::Group(at)) => Some(at),
            _ => None,
        }
    }

    /// The Site with a name, in any case.
    #[must_use]
    pub fn site_named(&self, name: &str) -> Option<usize> {
        match self.known(&host::name(name)?)? {
            Known::Own => Some(self.own),
            Known::Site(at) => Some(at),
            _ => None,
        }
    }

    /// Whether this Site is of a group.
    #[must_use]
    pub fn is_in(&self, group: usize) -> bool {
        self.groups[group].sites.contains(&self.own)
    }

    /// The Sites of a group in its order, or of the pool.
    pub fn order(&self, group: Option<usize>) -> impl ExactSizeIterator<Item = usize> + Clone + '_ {
        let list = group.map(|at| &self.groups[at].sites[..]);
        (0..list.map_or(self.sites.len(), <[_]>::len)).map(move |at| list.map_or(at, |list| list[at]))
    }

    /// From how many hops on a request goes no further (C15 to C17): as many as there are Sites, but two at least.
    #[must_use]
    pub fn hops_max(&self) -> u32 {
        self.sites.len().max(2) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::appendix_a, *};

    fn topology(more: &str, key: &str) -> Topology {
        let model = appendix_a(more);
        Topology::of(&model, model.site_by_key(key).unwrap())
    }

    /// S4-5A-510: what Appendix A's names are to Boston.
    #[test]
    fn s4_5a_510_names_of_appendix_a() {
        let boston = topology("[web]\naliases = [\"www.app.com\"]\n", "boston");
        for (name, wanted) in [
            ("boston.app.com", Some(Known::Own)),
            ("app.com", Some(Known::Pool)),
            ("chicago.app.com", Some(Known::Site(2))),
            ("europe.app.com", Some(Known::Group(0))),
            ("www.app.com", Some(Known::Alias)),
            ("ns1.app.com", None),
        ] {
            assert_eq!(boston.known(name), wanted, "{name}");
        }
        assert_eq!((boston.own_name(), boston.primary, boston.is_in(0)), ("boston.app.com", Some(1), false));
    }

    /// A group of the pool's name sets the order that overflow goes through.
    #[test]
    fn s4_5b_565_the_pools_own_order() {
        let order = "[group.\"app.com\"]\npool = \"app.com\"\nsites = [\"chicago\", \"geneva\", \"boston\"]\n";
        let boston = topology(order, "boston");
        assert_eq!(boston.sites, ["chicago.app.com", "geneva.app.com", "boston.app.com"]);
        assert_eq!(boston.order(None).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(
            boston.groups.iter().map(|group| &*group.name).collect::<Vec<_>>(),
            ["europe.app.com", "americas.app.com"]
        );
    }
}
