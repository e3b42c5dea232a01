//! Client nets: which groups answer a client's queries for Pool Names (S4-4C).
//!
//! ```text
//! rules of a pool ─┐
//!   [`Layer`]: addresses cut into ranges, the longest prefix of each
//! rules of others ─┴─> sets of (pool, group), ranges of equal sets merged ─> a tree ([`xdp_ebpf::nets`])
//! ```
//!
//! Built once per configuration; the kernel and the socket path search the same tree with the same function.

pub mod geo;
mod tree;

pub use tree::append as append_tree;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use xdp_ebpf::{
    layout::NetNode,
    net::words,
    nets::{LEVELS_MAX, find},
};

use crate::ids::{Family, GroupId, PoolId};

/// Sets times pools, at most: 64 MiB of what each set means to each pool.
const CHOSEN_MAX: usize = 8 << 20;

/// Clients that a group answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The group's pool.
    pub pool: PoolId,
    /// The group.
    pub group: GroupId,
    /// The clients' net.
    pub net: IpNet,
    /// Where it is from: written rules go before any of a database.
    pub source: Source,
}

/// Where a rule is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `clients`.
    Written,
    /// `countries` or `continents`.
    Database,
}

/// Why client nets do not fit into the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetsError {
    /// More combinations of groups than they hold.
    #[error(
        "the groups' client nets overlap in too many ways: combinations times pools are over {} (let groups of different \
         pools share their nets, or have fewer)",
        CHOSEN_MAX
    )]
    TooManySets,
    /// A tree with more levels than the program looks at.
    #[error(
        "there are too many client nets: a tree over them has more than 7 levels (have fewer, or none longer than /64 beside \
         over 150,000 of IPv6)"
    )]
    TooDeep,
}

/// The nets of one configuration. Its `Default` has none.
#[derive(Debug)]
pub struct Nets {
    /// Pools that have rules, in order.
    pools: Vec<PoolId>,
    /// By set, the group of each of `pools`. Set 0 has none.
    sets: Vec<Vec<Option<GroupId>>>,
    /// Trees of both families.
    nodes: Vec<NetNode>,
    roots: [u32; 2],
    /// Ranges of both families.
    ranges: usize,
}

/// The result of looking an address up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The set of groups; 0 is of none.
    pub set: usize,
    /// Bits of the address it depended on.
    pub scope: u8,
}

impl Default for Nets {
    fn default() -> Self {
        Self { pools: Vec::new(), sets: vec![Vec::new()], nodes: vec![tree::EMPTY], roots: [0; 2], ranges: 2 }
    }
}

impl Nets {
    /// Works out ranges, sets and trees.
    pub fn build(rules: &[Rule]) -> Result<Self, NetsError> {
        let mut pools: Vec<PoolId> = rules.iter().map(|rule| rule.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        let mut nets = Self { pools, ..Self::default() };
        nets.sets = vec![vec![None; nets.pools.len()]];
        nets.ranges = 0;
        let mut known = HashMap::from([(nets.sets[0].clone(), 0)]);
        for family in Family::ALL {
            let layers: Vec<Layer> = nets.layers(rules, family);
            let mut ranges: Vec<(u128, u32)> = Vec::new();
            let mut failed = false;
            merge(&layers, |start, groups| {
                // A pool has two layers, and the written one goes before.
                let set: Vec<_> = groups.chunks(2).map(|pool| pool[0].or(pool[1])).collect();
                let number = known.get(&set).copied().unwrap_or_else(|| {
                    failed |= (nets.sets.len() + 1) * nets.pools.len() > CHOSEN_MAX;
                    if !failed {
                        known.insert(set.clone(), nets.sets.len() as u32);
                        nets.sets.push(set);
                    }
                    nets.sets.len() as u32 - 1
                });
                if ranges.last().is_none_or(|(_, last)| *last != number) {
                    ranges.push((start, number));
                }
            });
            if failed {
                return Err(NetsError::TooManySets);
            }
            nets.ranges += ranges.len();
            let (root, levels) = tree::build(&mut nets.nodes, &ranges);
            if levels > LEVELS_MAX {
                return Err(NetsError::TooDeep);
            }
            nets.roots[family.index()] = root;
        }
        Ok(nets)
    }

    /// Two layers per pool: its written rules, then the database's.
    fn layers(&self, rules: &[Rule], family: Family) -> Vec<Layer> {
        let mut nets: Vec<Vec<(u128, u8, GroupId)>> = vec![Vec::new(); 2 * self.pools.len()];
        for rule in rules.iter().filter(|rule| family.has(rule.net.addr())) {
            // Every rule's pool is there.
            let Ok(pool) = self.pools.binary_search(&rule.pool) else { continue };
            let layer = 2 * pool + usize::from(rule.source == Source::Database);
            nets[layer].push((word(rule.net.network()), rule.net.prefix_len(), rule.group));
        }
        nets.into_iter().map(Layer::new).collect()
    }

    /// Whether no group has client nets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Pools that have rules, in order.
    #[must_use]
    pub fn pools(&self) -> &[PoolId] {
        &self.pools
    }

    /// How many sets there are; at least the one of no group.
    #[must_use]
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Ranges that the addresses of both families are cut into.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges
    }

    /// The group of a set for the `pool`-th of [`pools`](Self::pools).
    #[must_use]
    pub fn group(&self, set: usize, pool: usize) -> Option<GroupId> {
        self.sets[set][pool]
    }

    /// The trees, for the kernel: nodes, and both families' roots.
    #[must_use]
    pub fn tree(&self) -> (&[NetNode], [u32; 2]) {
        (&self.nodes, self.roots)
    }

    /// Looks up the set of groups that an address chooses.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Match {
        let node = |at: u32| self.nodes.get(at as usize);
        match find(node, |word| word, self.roots, address.is_ipv6(), words(address)) {
            Some(range) => Match { set: range.set as usize, scope: range.scope() },
            // Not reached: the builder makes whole trees.
            None => Match { set: 0, scope: 0 },
        }
    }
}

/// An address as a number, the first bit the highest.
fn word(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// One pool's rules of one source: where ranges begin, and whose they are. The first begins at 0.
#[derive(Debug, PartialEq, Eq)]
struct Layer(Vec<(u128, Option<GroupId>)>);

impl Layer {
    /// Cuts up nets so that each address has its longest prefix's group; neighbours of one group become one range.
    fn new(mut nets: Vec<(u128, u8, GroupId)>) -> Self {
        nets.sort_unstable();
        let mut layer = Self(vec![(0, None)]);
        // Nets around the current one: last address and group. Nets lie within each other or apart.
        let mut around: Vec<(u128, GroupId)> = Vec::new();
        for (start, prefix, group) in nets {
            while let Some((end, _)) = around.pop_if(|(end, _)| *end < start) {
                layer.begin(end + 1, around.last().map(|(_, group)| *group));
            }
            layer.begin(start, Some(group));
            around.push((start | u128::MAX.checked_shr(prefix.into()).unwrap_or(0), group));
        }
        while let Some((end, _)) = around.pop() {
            if let Some(next) = end.checked_add(1) {
                layer.begin(next, around.last().map(|(_, group)| *group));
            }
        }
        layer
    }

    fn begin(&mut self, start: u128, group: Option<GroupId>) {
        // What begins at the same address lies within, or follows at once.
        self.0.pop_if(|(last, _)| *last == start);
        if self.0.last().is_none_or(|(_, last)| *last != group) {
            self.0.push((start, group));
        }
    }
}

/// Walks over the ranges of all layers at once: where each begins, and every layer's group there.
fn merge(layers: &[Layer], mut range: impl FnMut(u128, &[Option<GroupId>])) {
    let mut begins: Vec<(u128, usize, Option<GroupId>)> = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        begins.extend(layer.0.iter().map(|(start, group)| (*start, i, *group)));
    }
    begins.sort_unstable_by_key(|(start, layer, _)| (*start, *layer));
    let mut groups = vec![None; layers.len()];
    for at in begins.chunk_by(|(one, ..), (other, ..)| one == other) {
        for (_, layer, group) in at {
            groups[*layer] = *group;
        }
        range(at[0].0, &groups);
    }
}
