//! The state that the handlers of requests share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    history::History,
    sources::{AdminSources, Current},
};

/// The most traces at once: far fewer, so that they cannot keep a scrape out.
pub(crate) const TRACES_MAX: usize = 8;

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct HandlerState {
    pub(super) current: Arc<Current>,
    pub(super) history: Arc<History>,
    pub(super) traces: Arc<Semaphore>,
    pub(super) cancel: CancellationToken,
}

impl HandlerState {
    /// Returns what the agent knows, at this request. A handler asks once, so that what it shows is of one
    /// configuration.
    #[must_use]
    pub fn state(&self) -> Arc<AdminSources> {
        self.current.load_full()
    }
}
