//! Admission of queries that wait for upstreams: a lane for each forward name, and places that all of them share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::upstreams::Upstream;
use zerottl_core::model::{ForwardId, Model, Name};
use zerottl_host::resources::AgentShare;

/// Queries that wait for upstreams at a time, in all.
pub use zerottl_host::resources::FORWARDS_MAX as CONCURRENT_MAX;

/// Returns the most queries that wait for upstreams at a time, in all: [`CONCURRENT_MAX`], or fewer where there are few
/// descriptors.
#[must_use]
pub fn concurrent() -> usize {
    CONCURRENT_MAX.min(AgentShare::now().forwards)
}

/// The lanes of one configuration.
#[derive(Debug, Default)]
pub struct Lanes {
    /// How many places there are.
    most: usize,
    /// Places that are taken; those of queries of an older configuration, too.
    taken: Arc<Mutex<usize>>,
    names: Vec<Arc<Lane>>,
    upstreams: Vec<Arc<Upstream>>,
}

/// A forward name with its upstreams and counts.
#[derive(Debug)]
pub struct Lane {
    /// The name.
    pub name: Name,
    /// Servers to ask, in the configuration's order.
    pub upstreams: Vec<Arc<Upstream>>,
    counts: Arc<Counts>,
}

/// Counts of a forward name, kept across configurations.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// The permission of a query to wait for upstreams; dropping it gives it back.
#[derive(Debug)]
pub struct LanePermit {
    taken: Arc<Mutex<usize>>,
    counts: Arc<Counts>,
}

impl Drop for LanePermit {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken -= 1;
        self.counts.waiting.fetch_sub(1, Relaxed);
    }
}

impl Lanes {
    /// The lanes of a configuration; what is known of servers and names that were there before stays.
    #[must_use]
    pub fn new(model: &Model, before: &Self) -> Self {
        let mut known: HashMap<_, _> =
            before.upstreams.iter().map(|known| (known.address, Arc::clone(known))).collect();
        let counts: HashMap<_, _> = before.names.iter().map(|lane| (&lane.name, &lane.counts)).collect();
        let mut upstreams = Vec::new();
        let lanes = model.forwards.iter().map(|forward| {
            let of = forward.upstreams.iter().map(|&address| {
                let upstream = known.entry(address).or_insert_with(|| Arc::new(Upstream::new(address)));
                Arc::clone(upstream)
            });
            let of: Vec<_> = of.collect();
            upstreams.extend(of.iter().cloned());
            let counts = counts.get(&forward.name).copied().cloned().unwrap_or_default();
            Arc::new(Lane { name: forward.name.clone(), upstreams: of, counts })
        });
        let names = lanes.collect();
        upstreams.sort_by_key(|upstream| upstream.address);
        upstreams.dedup_by_key(|upstream| upstream.address);
        Self { most: concurrent(), taken: Arc::clone(&before.taken), names, upstreams }
    }

    /// A forward name's lane.
    #[must_use]
    pub fn lane(&self, id: ForwardId) -> &Arc<Lane> {
        &self.names[id.0]
    }

    /// All lanes, in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.names.iter().map(|lane| &**lane)
    }

    /// All servers, each once, by their addresses.
    #[must_use]
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Returns a permit for a query of a forward name. A name may have as many as are free: one gets half of all, of two each a
    /// third, and so on, so that whatever names have dead servers, some places are free for the others.
    #[must_use]
    pub fn permit(&self, id: ForwardId) -> Option<LanePermit> {
        let counts = &self.names[id.0].counts;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !may_wait(counts.waiting.load(Relaxed), *taken, self.most) {
            counts.refused.fetch_add(1, Relaxed);
            return None;
        }
        *taken += 1;
        counts.waiting.fetch_add(1, Relaxed);
        Some(LanePermit { taken: Arc::clone(&self.taken), counts: Arc::clone(counts) })
    }
}

/// Whether one more of a name may wait, of which `own` do, of `all`, where `most` may.
fn may_wait(own: usize, all: usize, most: usize) -> bool {
    own < most.saturating_sub(all)
}

impl Lane {
    /// Queries that wait now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.counts.waiting.load(Relaxed) as u64
    }

    /// Queries that got SERVFAIL because too many waited.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Relaxed)
    }

    /// Queries that got SERVFAIL because no server gave a useful answer.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Relaxed)
    }

    /// Counts one of those.
    pub fn fail(&self) {
        self.counts.failed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many names take what they can get, one more finds places.
    #[test]
    fn some_places_stay_free() {
        for names in [1, 2, 3, 10, 100, 500] {
            let mut own = vec![0; names];
            let mut all = 0;
            for turn in 0..CONCURRENT_MAX * 4 {
                let name = turn % names;
                if may_wait(own[name], all, CONCURRENT_MAX) {
                    (own[name], all) = (own[name] + 1, all + 1);
                }
            }
            assert!(may_wait(0, all, CONCURRENT_MAX), "{names} names have {all}");
            assert!(all >= CONCURRENT_MAX * names / (names + 1) - names, "{names} names have no more than {all}");
            let (least, most) = (own.iter().min().unwrap(), own.iter().max().unwrap());
            assert!(most - least <= 1, "{names}: {least} to {most}");
        }
    }
}
