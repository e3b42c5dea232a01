//! Findings about a request on its way, for whoever logs it.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The findings of others about a request.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Way>>);

/// The outcome of a request, its client and its backends.
#[derive(Debug, Default)]
pub struct Way {
    /// The client that it was taken for.
    pub client: Option<IpAddr>,
    /// The decision's kind.
    pub outcome: Option<&'static str>,
    /// Whether it belonged to a session.
    pub in_session: bool,
    /// The last backend that was asked.
    pub backend: Option<String>,
    /// Backends that were asked.
    pub asked: usize,
}

impl Trail {
    /// Operation 500 has decided on it, and takes it for this client's.
    pub fn decided(&self, client: IpAddr, outcome: &'static str, in_session: bool) {
        let mut way = self.way();
        (way.client, way.outcome, way.in_session) = (Some(client), Some(outcome), in_session);
    }

    /// A backend was the last one asked.
    pub fn asked(&self, backend: &str, count: usize) {
        let mut way = self.way();
        (way.backend, way.asked) = (Some(backend.to_owned()), count);
    }

    /// Locks and returns what is known by now.
    pub fn way(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
