//! Events that wait for one hook, and its counts.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::event::Message;

/// Counts of one hook since the agent's start, and two of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// The hook's name.
    pub name: String,
    /// Events that it took.
    pub delivered: u64,
    /// Events that it was given up on with, all attempts used up.
    pub failed: u64,
    /// Events that were dropped because too many waited.
    pub dropped: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Events that wait now, the one that is tried included.
    pub waiting: u64,
    /// The reason why the newest attempt failed; none if it went well.
    pub last_error: Option<String>,
}

/// The bounded queue of one hook.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<Arc<Message>>>,
    max: AtomicUsize,
    more: Notify,
    in_flight: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Queue {
    pub fn new(max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            max: AtomicUsize::new(max),
            more: Notify::new(),
            in_flight: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Sets another bound, as a reload does.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
        let mut waiting = self.lock();
        self.make_room(&mut waiting, max);
    }

    /// Adds an event; the oldest gives way where there is no room.
    pub fn push(&self, message: Arc<Message>) {
        let mut waiting = self.lock();
        // One is less than none at all.
        self.make_room(&mut waiting, self.max.load(Relaxed).max(1) - 1);
        waiting.push_back(message);
        drop(waiting);
        self.more.notify_one();
    }

    fn make_room(&self, waiting: &mut VecDeque<Arc<Message>>, max: usize) {
        while waiting.len() > max {
            waiting.pop_front();
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits for an event and takes the oldest. One task alone calls it.
    pub async fn take(&self) -> Arc<Message> {
        loop {
            let first = {
                let mut waiting = self.lock();
                let first = waiting.pop_front();
                self.in_flight.store(u64::from(first.is_some()), Relaxed);
                first
            };
            match first {
                Some(message) => return message,
                None => self.more.notified().await,
            }
        }
    }

    /// Counts the event in hand as taken.
    pub fn delivered(&self) {
        self.delivered.fetch_add(1, Relaxed);
        self.in_flight.store(0, Relaxed);
        *self.error() = None;
    }

    /// Counts an attempt that failed; with `last`, the event as given up.
    pub fn failed(&self, why: String, last: bool) {
        self.failures.fetch_add(1, Relaxed);
        if last {
            self.failed.fetch_add(1, Relaxed);
            self.in_flight.store(0, Relaxed);
        }
        *self.error() = Some(why);
    }

    pub fn counts(&self, name: &str) -> HookCounts {
        HookCounts {
            name: name.to_owned(),
            delivered: self.delivered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            failures: self.failures.load(Relaxed),
            waiting: self.lock().len() as u64 + self.in_flight.load(Relaxed),
            last_error: self.error().clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Message>>> {
        // Every change leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::event::HookEvent;
    use zerottl_core::model::EventKind;

    fn message(text: &str) -> Arc<Message> {
        Arc::new(Message::new(HookEvent::new(EventKind::Word, text), "ns1", SystemTime::UNIX_EPOCH))
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_is_counted() {
        let queue = Queue::new(2);
        let all = ["a", "b", "c"].map(message);
        for message in &all {
            queue.push(Arc::clone(message));
        }
        assert_eq!((queue.counts("h").dropped, queue.counts("h").waiting), (1, 2));
        assert_eq!(queue.take().await.id, all[1].id);
        assert_eq!(queue.counts("h").waiting, 2, "one waits and one is tried");
        queue.delivered();
        queue.push(message("d"));
        queue.set_max(1);
        assert_eq!((queue.counts("h").dropped, queue.counts("h").waiting), (2, 1));
    }
}
