//! The state that a connection's socket and its requests share.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

/// Requests that a client of HTTP/2 may cancel before it is asked what for (CVE-2023-44487).
const CANCELLED_MIN: u32 = 100;

/// The state that a connection's socket and its requests share.
#[derive(Debug, Default)]
pub(super) struct ConnState {
    in_flight: AtomicU32,
    served: AtomicU32,
    cancelled: AtomicU32,
    tunnel: AtomicBool,
    cut: AtomicBool,
    /// Whether a request has had a body.
    bodies: AtomicBool,
    /// Waits for the last of them to be given up.
    waiting: AtomicWaker,
}

impl ConnState {
    /// Marks the connection as no HTTP from now on; whoever has it sees to its end.
    pub(super) fn becomes_tunnel(&self) {
        self.tunnel.store(true, SeqCst);
    }

    /// Notes that a request has a body, which may be read on after its answer.
    pub(super) fn note_body(&self) {
        self.bodies.store(true, SeqCst);
    }

    /// Whether a request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.served() > 0
    }

    /// Returns how many requests have come.
    pub(super) fn served(&self) -> u32 {
        self.served.load(SeqCst)
    }

    /// Whether requests are under way, or bodies read on.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(SeqCst) > 0
    }

    /// Whether it has become a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(SeqCst)
    }

    /// Whether the connection is to end with its next read.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// Whether a request has had a body.
    pub(super) fn has_had_body(&self) -> bool {
        self.bodies.load(SeqCst)
    }

    /// Registers whom to wake when a body is given up.
    pub(super) fn wake_without_body(&self, waker: &Waker) {
        self.waiting.register(waker);
    }

    /// Whether most of many requests were cancelled; then the connection ends with its next read.
    pub(super) fn is_abused(&self) -> bool {
        let cancelled = self.cancelled.load(Relaxed);
        let abused = cancelled > CANCELLED_MIN && cancelled > self.served.load(Relaxed) / 2;
        abused && !self.cut.swap(true, SeqCst)
    }
}

/// A request under way: from its head until its response's last byte is handed over.
#[derive(Debug)]
pub(super) struct Begun {
    state: Arc<ConnState>,
    answered: bool,
}

impl Begun {
    pub(super) fn new(state: &Arc<ConnState>) -> Self {
        state.in_flight.fetch_add(1, SeqCst);
        state.served.fetch_add(1, SeqCst);
        Self { state: Arc::clone(state), answered: false }
    }

    /// Notes that it has a response.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.answered {
            self.state.cancelled.fetch_add(1, Relaxed);
        }
        self.state.in_flight.fetch_sub(1, SeqCst);
    }
}

/// A request's body that is read on: the connection is not at rest.
#[derive(Debug)]
pub(super) struct Busy(Arc<ConnState>);

impl Busy {
    pub(super) fn new(state: &Arc<ConnState>) -> Self {
        state.in_flight.fetch_add(1, SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
        // hyper does not see that a body is gone while it waits for more of it.
        self.0.waiting.wake();
    }
}
