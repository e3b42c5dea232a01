//! The commands that a running agent takes.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use zerottl_core::model::OnStop;

/// Commands that wait for one before them, at most.
const WAITING_MAX: usize = 16;

/// Commands to the agent while it runs.
#[derive(Debug)]
pub enum AgentCommand {
    /// To stop; as `on_stop` says, unless told.
    Stop(Option<OnStop>),
    /// To read its file anew.
    Reload(Option<oneshot::Sender<Result<Reloaded, ReloadError>>>),
}

/// A reload that went well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The first plan of the new configuration.
    pub generation: u64,
    /// Milliseconds from the command to answers by the new configuration.
    pub took_ms: f64,
    /// Warnings: what is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// The reason why the agent keeps its configuration, as text: the faults, as `zerottl check` shows them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ReloadError(pub String);

/// Creates the channel by which the agent is given commands.
#[must_use]
pub fn channel() -> (mpsc::Sender<AgentCommand>, mpsc::Receiver<AgentCommand>) {
    mpsc::channel(WAITING_MAX)
}
