//! Sites in an order, shared by all that go round the same ring.

use std::{
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use super::SiteId;

/// Sites in an order: a pool's, a group's, or where a Site Name goes.
///
/// The failover order of a Site is its group's list, begun at the Site and gone round (C3). A list is kept once, written
/// twice in a row, and every such order is a window on it: ten thousand Sites of one pool have ten thousand orders of as many
/// Sites each, in the memory of one.
#[derive(Clone, Debug)]
pub struct SiteOrder {
    twice: Arc<[SiteId]>,
    start: u32,
}

impl SiteOrder {
    /// Returns the same ring, begun at a position.
    ///
    /// # Panics
    /// If there is no such position.
    #[must_use]
    pub fn from_position(&self, at: usize) -> Self {
        assert!(at < self.len(), "a position of the order");
        let start = (self.start as usize + at) % self.len();
        Self { twice: Arc::clone(&self.twice), start: start as u32 }
    }

    /// Returns the identity that all orders on one ring have in common, for keys of maps that do not outlive it.
    pub(crate) fn ring(&self) -> *const SiteId {
        self.twice.as_ptr()
    }
}

impl Default for SiteOrder {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<SiteId>> for SiteOrder {
    fn from(sites: Vec<SiteId>) -> Self {
        Self { twice: sites.iter().chain(&sites).copied().collect(), start: 0 }
    }
}

impl FromIterator<SiteId> for SiteOrder {
    fn from_iter<Each: IntoIterator<Item = SiteId>>(sites: Each) -> Self {
        Self::from(sites.into_iter().collect::<Vec<_>>())
    }
}

impl Deref for SiteOrder {
    type Target = [SiteId];

    fn deref(&self) -> &[SiteId] {
        let start = self.start as usize;
        &self.twice[start..start + self.twice.len() / 2]
    }
}

impl<'a> IntoIterator for &'a SiteOrder {
    type Item = &'a SiteId;
    type IntoIter = std::slice::Iter<'a, SiteId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for SiteOrder {
    fn eq(&self, other: &Self) -> bool {
        // No Site is on a ring twice, so two orders on one ring are equal only if they begin alike.
        if Arc::ptr_eq(&self.twice, &other.twice) { self.start == other.start } else { **self == **other }
    }
}

impl Eq for SiteOrder {}

impl Hash for SiteOrder {
    /// By length and first Site alone: reading all of every order would take quadratic time.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.len(), self.first()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_goes_round_its_ring() {
        let all: SiteOrder = [4, 2, 7].map(SiteId).into_iter().collect();
        let from = |site| {
            let at = all.iter().position(|other| *other == SiteId(site))?;
            Some(all.from_position(at).iter().map(|id| id.0).collect::<Vec<_>>())
        };
        assert_eq!(from(4), Some(vec![4, 2, 7]));
        assert_eq!(from(7), Some(vec![7, 4, 2]));
        assert_eq!(from(1), None);
        let twice = all.from_position(2).from_position(2);
        assert_eq!(*twice, [2, 7, 4].map(SiteId));
        assert_eq!(twice, SiteOrder::from(vec![SiteId(2), SiteId(7), SiteId(4)]), "another ring with the same order");
        assert_ne!(twice, all);
        assert!(SiteOrder::default().is_empty());
    }
}
