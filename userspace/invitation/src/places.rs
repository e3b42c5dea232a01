//! Sessions by the application server that has them, the latest of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use zerottl_core::session_id::SessionId;

/// Sessions that are remembered, at most: the oldest go first.
pub(crate) const SESSIONS_MAX: usize = 1 << 17;

/// A table of sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionPlaces {
    servers: HashMap<SessionId, (Arc<str>, u64)>,
    /// In the order in which they were noted; one that was noted again stands there twice, and its newest number counts.
    order: VecDeque<(SessionId, u64)>,
    number: u64,
}

impl SessionPlaces {
    /// Returns the name of the server that has a session.
    pub(crate) fn get(&self, id: SessionId) -> Option<&Arc<str>> {
        self.servers.get(&id).map(|(server, _)| server)
    }

    /// Notes that a server has a session.
    pub(crate) fn note(&mut self, id: SessionId, server: &Arc<str>) {
        // One that is in use is not among the oldest; noting each use would be dearer.
        let is_recent = |number: u64| number + (SESSIONS_MAX as u64) / 2 > self.number;
        if self.servers.get(&id).is_some_and(|(before, number)| before == server && is_recent(*number)) {
            return;
        }
        self.number += 1;
        self.servers.insert(id, (Arc::clone(server), self.number));
        self.order.push_back((id, self.number));
        while self.servers.len() > SESSIONS_MAX || self.order.len() > 2 * SESSIONS_MAX {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.servers.get(&oldest).is_some_and(|(_, newest)| *newest == number) {
                self.servers.remove(&oldest);
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Returns how many each server has.
    pub(crate) fn counts(&self) -> HashMap<&str, usize> {
        let mut counts = HashMap::new();
        for (server, _) in self.servers.values() {
            *counts.entry(&**server).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SessionId {
        SessionId((number as u128).to_be_bytes())
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut places, one, two) = (SessionPlaces::default(), Arc::from("one"), Arc::from("two"));
        for number in 0..SESSIONS_MAX {
            places.note(id(number), &one);
        }
        places.note(id(0), &two);
        places.note(id(SESSIONS_MAX), &one);
        assert_eq!(places.len(), SESSIONS_MAX);
        assert_eq!((places.get(id(0)), places.get(id(1))), (Some(&two), None), "the one that moved is newer");
        assert_eq!(places.counts(), HashMap::from([("two", 1), ("one", SESSIONS_MAX - 1)]));
        // However often they move, what is held is bounded.
        for round in 0..5 * SESSIONS_MAX {
            places.note(id(7), if round % 2 == 0 { &two } else { &one });
        }
        assert!(places.order.len() <= 2 * SESSIONS_MAX);
        assert_eq!(places.get(id(7)), Some(&one));
    }
}
