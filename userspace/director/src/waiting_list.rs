//! The waiting list: who waits, in which order, until when. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// One that waits, by the order of arrival: the lesser came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Those that wait, in order, bounded, each with a deadline.
#[derive(Debug)]
pub(crate) struct WaitingList<T> {
    waiting: BTreeMap<Ticket, Waiter<T>>,
    next: u64,
    max: usize,
    timeout: Duration,
}

/// One of the list.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    /// Since when.
    pub(crate) since: Instant,
    /// The connection.
    pub(crate) what: T,
}

impl<T> WaitingList<T> {
    /// Makes an empty one.
    pub(crate) fn new(max: usize, timeout: Duration) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, max, timeout }
    }

    /// Sets other bounds. Those that wait already stay, also beyond a smaller `max`.
    pub(crate) fn set_bounds(&mut self, max: usize, timeout: Duration) {
        (self.max, self.timeout) = (max, timeout);
    }

    /// Whether nobody else may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.max
    }

    /// Returns the ticket of the next one that arrives.
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.next)
    }

    /// Puts one at the end, or gives it back because the list is full.
    pub(crate) fn arrive(&mut self, what: T, since: Instant) -> Result<Ticket, T> {
        if self.is_full() {
            return Err(what);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, Waiter { since, what });
        Ok(ticket)
    }

    /// Puts one that was taken out back to where it stood.
    pub(crate) fn put_back(&mut self, ticket: Ticket, waiter: Waiter<T>) {
        self.waiting.insert(ticket, waiter);
    }

    /// Takes one out, wherever it stands.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waiter<T>> {
        self.waiting.remove(&ticket)
    }

    /// Returns the one whose turn it is.
    pub(crate) fn first(&self) -> Option<(Ticket, &Waiter<T>)> {
        self.waiting.iter().next().map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// Returns the first of whom something holds.
    pub(crate) fn first_that(&self, holds: impl Fn(&T) -> bool) -> Option<Ticket> {
        self.waiting.iter().find(|(_, waiter)| holds(&waiter.what)).map(|(ticket, _)| *ticket)
    }

    /// Takes out those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Waiter<T>> {
        // In order of arrival, and all have the same time: the first that may stay ends it.
        let over = |waiter: &Waiter<T>| now.saturating_duration_since(waiter.since) >= self.timeout;
        let count = self.waiting.values().take_while(|waiter| over(waiter)).count();
        (0..count).filter_map(|_| self.waiting.pop_first()).map(|(_, waiter)| waiter).collect()
    }

    /// Finds one: how many wait before it, and for how long it has.
    pub(crate) fn position(&self, is_it: impl Fn(&T) -> bool) -> Option<(usize, Duration)> {
        let found = self.waiting.values().enumerate().find(|(_, waiter)| is_it(&waiter.what));
        found.map(|(before, waiter)| (before, waiter.since.elapsed()))
    }

    /// How many may wait.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Since when the first waits.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.first().map(|(_, waiter)| waiter.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tickets(list: &mut WaitingList<&'static str>, names: &[&'static str], now: Instant) -> Vec<Ticket> {
        names.iter().map(|name| list.arrive(name, now).expect("a place")).collect()
    }

    /// S2-3C: the first that came is the first that goes, also when one before it has left.
    #[test]
    fn first_come_first_served() {
        let now = Instant::now();
        let mut list = WaitingList::new(4, SECOND);
        let all = tickets(&mut list, &["a", "b", "c"], now);
        assert_eq!(list.leave(all[0]).map(|waiter| waiter.what), Some("a"));
        assert_eq!(list.first().map(|(ticket, waiter)| (ticket, waiter.what)), Some((all[1], "b")));
        assert!(list.leave(all[0]).is_none(), "it has left");
        // One that could not be given on after all stands where it stood.
        let b = list.leave(all[1]).expect("b");
        list.put_back(all[1], b);
        assert_eq!(list.first().map(|(ticket, waiter)| (ticket, waiter.what)), Some((all[1], "b")));
        let d = tickets(&mut list, &["d"], now);
        assert_eq!(list.next_ticket(), Ticket(4));
        list.leave(all[1]);
        list.leave(all[2]);
        assert_eq!(list.first().map(|(ticket, _)| ticket), Some(d[0]));
    }

    /// S2-3X: no more than its bound, and who is not taken is given back.
    #[test]
    fn it_is_bounded() {
        let now = Instant::now();
        let mut list = WaitingList::new(2, SECOND);
        let all = tickets(&mut list, &["a", "b"], now);
        assert_eq!(list.arrive("c", now), Err("c"));
        list.leave(all[0]);
        assert!(list.arrive("c", now).is_ok());
        list.set_bounds(1, SECOND);
        assert_eq!((list.len(), list.arrive("d", now)), (2, Err("d")));
        assert_eq!(WaitingList::new(0, SECOND).arrive("a", now), Err("a"));
    }

    /// S2-3X: whose time is over leaves, and nobody else.
    #[test]
    fn time_runs_out() {
        let start = Instant::now();
        let mut list = WaitingList::new(4, SECOND);
        tickets(&mut list, &["a", "b"], start);
        tickets(&mut list, &["c"], start + SECOND / 2);
        assert!(list.expire(start + SECOND / 2).is_empty());
        let gone: Vec<_> = list.expire(start + SECOND).into_iter().map(|waiter| waiter.what).collect();
        assert_eq!((gone, list.len(), list.oldest()), (vec!["a", "b"], 1, Some(start + SECOND / 2)));
    }
}
