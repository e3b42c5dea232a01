//! The operator's overrides on their way to the planning loop, and what has come of them on the way back.

use tokio::sync::{mpsc, oneshot};

use zerottl_core::overrides::{OverrideError, OverrideRequest};

/// Requests that wait for the next planning round, at most.
const WAITING_MAX: usize = 64;

/// The outcome of a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverrideApplied {
    /// Keys of the Sites that it was said of.
    pub sites: Vec<String>,
    /// The plan that has it.
    pub generation: u64,
    /// The [`SavedState`](zerottl_core::saved_state::SavedState) that has it.
    pub saved: u64,
    /// The number that it is known by in the fleet, which is to be told.
    pub word: Option<u64>,
}

/// A request, and where its outcome is awaited.
pub(crate) type PendingOverride = (OverrideRequest, oneshot::Sender<Result<OverrideApplied, OverrideError>>);

/// Where requests are handed in; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OverrideHandle(mpsc::Sender<PendingOverride>);

impl OverrideHandle {
    /// Creates a handle, and the receiver of its requests.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PendingOverride>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Hands in a request; returns once answers are made by it.
    pub async fn ask(&self, request: OverrideRequest) -> Result<OverrideApplied, OverrideError> {
        let (answer, done) = oneshot::channel();
        self.0.send((request, answer)).await.map_err(|_| OverrideError::Stopping)?;
        done.await.unwrap_or(Err(OverrideError::Stopping))
    }
}
