//! A session that is hosted here.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU16, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::Notify;
use zerottl_core::session_id::SessionId;

use crate::{
    lease::Moment,
    placement::SERVERS_MAX,
    version::{Epoch, Tag, Version},
};

/// A session that is hosted here.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    /// One bit for each server in whose queue it is.
    queued: AtomicU16,
    /// Requests that use it.
    users: AtomicUsize,
    state: Mutex<EntryState>,
    /// Held while the session is given other servers.
    pub(crate) replacing: tokio::sync::Mutex<()>,
    /// Something of the state has changed that somebody may wait for.
    pub(crate) changed: Notify,
}

/// Whether an entry still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// This worker is the owner.
    Hosted,
    /// It is another's, or nobody's: the entry is left over.
    Lost,
    /// It has ended for good.
    Ended,
}

/// The state of an entry.
#[derive(Debug)]
pub(crate) struct EntryState {
    pub(crate) phase: Phase,
    /// The epoch of this worker's ownership.
    pub(crate) epoch: Epoch,
    /// The state's number.
    pub(crate) number: u64,
    /// The session's data; none until something was written.
    pub(crate) data: Option<Bytes>,
    /// The digest of its tag.
    digest: u64,
    /// Servers that are to hold copies.
    pub(crate) copies: Vec<usize>,
    /// Servers that are about to hold copies in the place of others: until then all of both have to acknowledge.
    pub(crate) joining: Vec<usize>,
    /// By server, the number that it has acknowledged under this epoch, and one more; 0 for none.
    acked: [u64; SERVERS_MAX],
    /// When ownership was last confirmed: a lease without a gap since then keeps it.
    pub(crate) confirmed: Moment,
    /// When it was last asked for, and when servers were last told to keep it.
    pub(crate) used: Moment,
    pub(crate) prolonged: Moment,
    /// When the oldest change was made that is not acknowledged by all; none if all are.
    pub(crate) behind_since: Option<Moment>,
}

impl Entry {
    /// Makes an entry of a claim that holds since `confirmed`.
    pub(crate) fn new(
        id: SessionId,
        version: Version,
        data: Option<Bytes>,
        copies: Vec<usize>,
        confirmed: Moment,
    ) -> Self {
        let state = EntryState {
            phase: Phase::Hosted,
            epoch: version.epoch,
            number: version.number,
            digest: data.as_ref().map_or(0, |data| Tag::new(0, data).digest),
            data,
            copies,
            joining: Vec::new(),
            acked: [0; SERVERS_MAX],
            confirmed,
            used: confirmed,
            prolonged: confirmed,
            behind_since: None,
        };
        Self {
            id,
            queued: AtomicU16::new(0),
            users: AtomicUsize::new(0),
            state: Mutex::new(state),
            replacing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Locks the state. Nothing that holds it waits for anything.
    pub(crate) fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was not in a server's queue, and is from now on.
    pub(crate) fn enqueue(&self, server: usize) -> bool {
        self.queued.fetch_or(1 << server, Relaxed) & 1 << server == 0
    }

    /// Notes that it is in a server's queue no more.
    pub(crate) fn dequeued(&self, server: usize) {
        self.queued.fetch_and(!(1 << server), Relaxed);
    }

    /// Notes a request that uses it.
    pub(crate) fn enter(&self) {
        self.users.fetch_add(1, Relaxed);
    }

    /// Notes that such a request has ended.
    pub(crate) fn leave(&self) {
        self.users.fetch_sub(1, Relaxed);
    }

    /// Whether there is one.
    pub(crate) fn is_used(&self) -> bool {
        self.users.load(Relaxed) != 0
    }

    /// Waits until the state gives a value.
    pub(crate) async fn when<T>(&self, mut of: impl FnMut(&EntryState) -> Option<T>) -> T {
        loop {
            // Made before the state is looked at, so that a change from here on is not missed.
            let changed = self.changed.notified();
            let value = of(&self.state());
            if let Some(value) = value {
                return value;
            }
            changed.await;
        }
    }

    /// Makes whoever waits for it look again.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

impl EntryState {
    /// The version that a reader sees.
    pub(crate) fn version(&self) -> Version {
        Version { epoch: self.epoch, number: self.number }
    }

    /// The tag that a reader sees; none without data.
    pub(crate) fn tag(&self) -> Option<Tag> {
        self.data.as_ref().map(|_| Tag { number: self.number, digest: self.digest })
    }

    /// Changes the data. Returns its tag.
    pub(crate) fn change(&mut self, data: Bytes, now: Moment) -> Tag {
        // All others may have been left out since.
        let behind_since = self.behind_since.filter(|_| !self.is_copied());
        self.number += 1;
        let tag = Tag::new(self.number, &data);
        (self.digest, self.data) = (tag.digest, Some(data));
        (self.used, self.prolonged) = (now, now);
        self.behind_since = behind_since.or(Some(now));
        tag
    }

    /// Ends the session, which all servers have to know.
    pub(crate) fn end(&mut self, servers: Vec<usize>, now: Moment) {
        self.number += 1;
        (self.phase, self.data, self.copies) = (Phase::Ended, None, servers);
        (self.used, self.prolonged) = (now, now);
    }

    /// Whether a server has acknowledged the state of this number.
    pub(crate) fn is_acked(&self, server: usize, number: u64) -> bool {
        self.acked.get(server).is_some_and(|acked| *acked > number)
    }

    /// How many of those that hold copies have acknowledged the state of this number.
    pub(crate) fn acks(&self, number: u64) -> usize {
        self.copies.iter().filter(|server| self.is_acked(**server, number)).count()
    }

    /// Returns the servers that hold copies or are about to.
    pub(crate) fn holders(&self) -> impl Iterator<Item = usize> {
        let others = self.joining.iter().filter(|server| !self.copies.contains(server));
        self.copies.iter().chain(others).copied()
    }

    /// Whether all that hold copies or are about to have acknowledged the state of this number.
    pub(crate) fn has_all_acks(&self, number: u64) -> bool {
        self.holders().all(|server| self.is_acked(server, number))
    }

    /// Whether all that are to hold copies have the newest state.
    pub(crate) fn is_copied(&self) -> bool {
        self.acks(self.number) == self.copies.len()
    }

    /// Whether there is something that servers are to know, and do not all know yet.
    pub(crate) fn is_behind(&self) -> bool {
        let is_kept = self.data.is_some() && self.phase == Phase::Hosted || self.phase == Phase::Ended;
        is_kept && !self.is_copied()
    }

    /// Notes that a server has acknowledged a state of `version`.
    pub(crate) fn acknowledge(&mut self, server: usize, version: Version) {
        if version.epoch != self.epoch {
            return;
        }
        if let Some(acked) = self.acked.get_mut(server) {
            *acked = (*acked).max(version.number + 1);
        }
        if self.is_copied() {
            self.behind_since = None;
        }
    }

    /// Forgets what a server has acknowledged: it has lost it.
    pub(crate) fn unacknowledge(&mut self, server: usize) {
        if let Some(acked) = self.acked.get_mut(server) {
            *acked = 0;
        }
    }

    /// Goes on under another epoch of the same owner. What was acknowledged is still there: nobody else has written.
    pub(crate) fn renew(&mut self, epoch: Epoch, confirmed: Moment) {
        self.epoch = self.epoch.max(epoch);
        self.confirmed = self.confirmed.max(confirmed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// S1-X-ACK: what was acknowledged under another epoch is not this state.
    #[test]
    fn s1_x_ack_acknowledgements_are_of_an_epoch() {
        let version = Version { epoch: Epoch(5), number: 1 };
        let entry = Entry::new(SessionId([1; 16]), version, None, vec![0, 2], Duration::ZERO);
        let mut state = entry.state();
        assert_eq!((state.acks(1), state.is_copied()), (0, false));
        state.acknowledge(0, version);
        state.acknowledge(2, Version { epoch: Epoch(4), number: 9 });
        state.acknowledge(1, version);
        assert_eq!((state.acks(0), state.acks(1), state.acks(2)), (1, 1, 0), "1 is to hold no copy");
        state.acknowledge(2, version);
        assert!(state.is_copied());
        state.unacknowledge(0);
        assert!(!state.is_copied());
        state.renew(Epoch(6), Duration::ZERO);
        state.acknowledge(0, version);
        assert!(!state.is_acked(0, 1), "an answer to what was sent before");
    }

    #[test]
    fn an_entry_is_in_a_queue_once() {
        let entry = Entry::new(SessionId([1; 16]), Version::default(), None, Vec::new(), Duration::ZERO);
        assert!(entry.enqueue(3) && !entry.enqueue(3) && entry.enqueue(4));
        entry.dequeued(3);
        assert!(entry.enqueue(3) && !entry.enqueue(4));
    }
}
