//! Nodes by name: a list, and a table of positions in it, so that a million of them take little more than themselves.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
};

use hashbrown::HashTable;

use super::{folded::FoldedName, node::Node};

/// Nodes, each name once.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    list: Vec<Node>,
    /// Positions in `list`, by the hash of the name in lower case.
    places: HashTable<u32>,
    state: RandomState,
}

impl Nodes {
    /// None yet, with room for so many.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        let (list, places) = (Vec::with_capacity(count), HashTable::with_capacity(count));
        Self { list, places, state: RandomState::new() }
    }

    /// The node of a name in wire form, lower case.
    #[must_use]
    pub fn get(&self, wire: &[u8]) -> Option<&Node> {
        self.place(wire).map(|at| &self.list[at as usize])
    }

    /// As [`get`](Self::get), to be changed; its name stays as it is.
    pub fn get_mut(&mut self, wire: &[u8]) -> Option<&mut Node> {
        self.place(wire).map(|at| &mut self.list[at as usize])
    }

    /// The node of a name in wire form, lower case, which is made where there is none; and whether it was.
    pub fn get_or_insert(&mut self, wire: &[u8], make: impl FnOnce() -> Node) -> (&mut Node, bool) {
        let (at, is_new) = if let Some(at) = self.place(wire) {
            (at, false)
        } else {
            let at = self.list.len() as u32;
            self.list.push(make());
            let (list, state) = (&self.list, &self.state);
            let hash_of = |at: &u32| hash(state, FoldedName::new(list[*at as usize].owner.for_slice()).wire());
            self.places.insert_unique(hash(state, wire), at, hash_of);
            (at, true)
        };
        (&mut self.list[at as usize], is_new)
    }

    /// All of them, in the order in which they were made.
    pub fn values(&self) -> impl Iterator<Item = &Node> {
        self.list.iter()
    }

    /// As [`values`](Self::values), to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.list.iter_mut()
    }

    /// Gives back the room for more.
    pub fn shrink(&mut self) {
        self.list.shrink_to_fit();
    }

    fn place(&self, wire: &[u8]) -> Option<u32> {
        let is_it = |at: &u32| self.list[*at as usize].owner.as_slice().eq_ignore_ascii_case(wire);
        self.places.find(hash(&self.state, wire), is_it).copied()
    }
}

fn hash(state: &RandomState, wire: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(wire);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use domain::base::Name;

    use super::*;

    /// Each name is there once, whatever the case it was written in, and found again after the table has grown.
    #[test]
    fn names_are_found_in_any_case() {
        let mut nodes = Nodes::default();
        let name = |i: usize| Name::from_str(&format!("N{i}.Example")).expect("a name");
        for i in 0..2_000 {
            let wire = FoldedName::new(name(i).for_slice()).wire().to_vec();
            assert!(nodes.get(&wire).is_none());
            assert!(nodes.get_or_insert(&wire, || Node::empty(name(i))).1);
            let (node, is_new) = nodes.get_or_insert(&wire, || unreachable!("it is there"));
            assert!(!is_new && node.owner == name(i));
        }
        nodes.shrink();
        for i in 0..2_000 {
            let wire = FoldedName::new(name(i).for_slice()).wire().to_vec();
            assert_eq!(nodes.get(&wire).map(|node| node.owner.to_string()), Some(format!("N{i}.Example")));
        }
        assert_eq!(nodes.values().count(), 2_000);
    }
}
