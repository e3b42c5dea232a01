//! Knowledge that the tasks have in common which renew the leases at the servers.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{lease::Moment, placement::SERVERS_MAX};

/// `first`: the server has not been reached yet.
const UNKNOWN: u8 = 0;
/// It had served nobody of this Site when it was reached first.
pub(crate) const NEW: u8 = 1;
/// It had, or could not be reached.
pub(crate) const OLD: u8 = 2;

/// Knowledge of the tasks of all servers.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    first: [AtomicU8; SERVERS_MAX],
    /// When the last try to reach a server that failed was begun, ms; 0 for none.
    pub(crate) refused: [AtomicU64; SERVERS_MAX],
    /// When the last try of all was begun, ms.
    pub(crate) tried: [AtomicU64; SERVERS_MAX],
    /// When the last lease was asked for in vain, ms.
    pub(crate) in_vain: AtomicU64,
    servers: usize,
    /// Asks for a renewal now.
    pub(crate) kick: [Notify; SERVERS_MAX],
    /// A renewal has ended, well or not.
    pub(crate) beaten: Notify,
    /// The repair has something to do.
    pub(crate) repair: Notify,
}

impl Heartbeats {
    /// Makes those of so many servers.
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            first: Default::default(),
            refused: Default::default(),
            tried: Default::default(),
            in_vain: AtomicU64::new(0),
            servers,
            kick: Default::default(),
            beaten: Notify::new(),
            repair: Notify::new(),
        }
    }

    /// Returns when the last failed try to reach a server was begun.
    pub(crate) fn refused_at(&self, server: usize) -> Option<Moment> {
        let at = self.refused.get(server)?.load(Relaxed);
        (at != 0).then(|| Duration::from_millis(at))
    }

    /// Whether no server had served anybody when it was reached first: the Site is new. None while one is unknown.
    pub(crate) fn is_all_new(&self) -> Option<bool> {
        let first = || self.first.iter().take(self.servers).map(|first| first.load(Relaxed));
        if first().any(|first| first == OLD) { Some(false) } else { first().all(|first| first == NEW).then_some(true) }
    }

    /// Notes what a server was when it was reached first, or not.
    pub(crate) fn first_seen(&self, server: usize, what: u8) {
        let _ = self.first[server].compare_exchange(UNKNOWN, what, Relaxed, Relaxed);
        self.beaten.notify_waiters();
    }
}
