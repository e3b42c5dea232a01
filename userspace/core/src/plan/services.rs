//! The services of a plan, in blocks that one plan shares with the next.

use std::{
    ops::{Index, IndexMut},
    sync::Arc,
};

use super::service::Service;

/// Services of a block: few enough to be copied for one change, enough that a plan of many is copied as few blocks.
const BLOCK: usize = 8;

/// Services by position. A copy shares every block with its original until one of the two is changed there, so that a
/// plan that follows another, and its publication, cost what has changed and not what there is.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// All but the last one full.
    blocks: Vec<Arc<[Service]>>,
    len: usize,
}

impl Services {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.blocks.iter().flat_map(|block| block.iter())
    }

    /// In order of their positions, to be changed; whatever is shared is copied.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Service> {
        self.blocks.iter_mut().flat_map(|block| Arc::make_mut(block).iter_mut())
    }

    /// Iterates over the services that differ from `before`, with their positions and what is there in `before`.
    pub fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (usize, &'a Service, Option<&'a Service>)> {
        let blocks = self.blocks.iter().enumerate().filter_map(|(i, block)| {
            let before = before.blocks.get(i);
            let is_same = before.is_some_and(|before| Arc::ptr_eq(block, before));
            (!is_same).then_some((i, block, before))
        });
        blocks.flat_map(|(i, block, before)| {
            let pairs = block
                .iter()
                .enumerate()
                .map(move |(at, service)| (i * BLOCK + at, service, before.and_then(|before| before.get(at))));
            pairs.filter(|(_, service, before)| *before != Some(*service))
        })
    }
}

impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changed(other).next().is_none()
    }
}

impl Index<usize> for Services {
    type Output = Service;

    fn index(&self, at: usize) -> &Service {
        &self.blocks[at / BLOCK][at % BLOCK]
    }
}

impl IndexMut<usize> for Services {
    fn index_mut(&mut self, at: usize) -> &mut Service {
        &mut Arc::make_mut(&mut self.blocks[at / BLOCK])[at % BLOCK]
    }
}

impl FromIterator<Service> for Services {
    fn from_iter<Each: IntoIterator<Item = Service>>(services: Each) -> Self {
        let all: Vec<Service> = services.into_iter().collect();
        Self { len: all.len(), blocks: all.chunks(BLOCK).map(Arc::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Policy, plan::Choice};

    fn services(ttls: impl IntoIterator<Item = u32>) -> Services {
        let service = |ttl| Service {
            chosen: None,
            policy: Policy::Sticky,
            ttl,
            sticky_prefix: (24, 56),
            choice: [Choice::NoData, Choice::NoData, Choice::NoData],
        };
        ttls.into_iter().map(service).collect()
    }

    fn changes(of: &Services, before: &Services) -> Vec<(usize, u32, Option<u32>)> {
        of.changed(before).map(|(at, service, before)| (at, service.ttl, before.map(|before| before.ttl))).collect()
    }

    #[test]
    fn only_what_differs_is_changed() {
        for len in [0, 1, 31, 32, 33, 100] {
            let first = services(0..len);
            assert_eq!((first.len(), first.iter().count()), (len as usize, len as usize));
            assert!(first.iter().zip(0..).all(|(service, ttl)| service.ttl == ttl));
            let mut second = first.clone();
            assert_eq!(changes(&second, &first), []);
            assert_eq!(second, services(0..len), "what is equal need not be the same");
            assert_eq!(changes(&second, &Services::default()).len(), len as usize);
            let Some(last) = len.checked_sub(1) else { continue };
            second[last as usize].ttl = 1_000;
            assert_eq!(changes(&second, &first), [(last as usize, 1_000, Some(last))]);
            assert_ne!(second, first);
            assert_eq!(first[last as usize].ttl, last, "a copy's change is its own");
            second.iter_mut().for_each(|service| service.ttl = 7);
            assert!(second.iter().all(|service| service.ttl == 7));
            assert_ne!(first, services(0..=len), "one more");
        }
    }
}
