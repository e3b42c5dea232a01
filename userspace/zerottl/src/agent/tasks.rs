//! The agent's tasks: none ends before the agent does, and one that does so says what it was.

use thiserror::Error;
use tokio::task::JoinError;
use tracing::error;

/// A part of the agent, with the word for it.
pub async fn named(word: &'static str, part: impl Future<Output = ()>) -> Result<&'static str, JoinError> {
    part.await;
    Ok(word)
}

/// The end of a task that must not end; a panic has been written to stderr besides.
#[derive(Debug, Error)]
pub enum TaskEnded {
    /// It returned.
    #[error("{0} has ended")]
    Returned(&'static str),
    /// It panicked, or was cancelled.
    #[error("a part has failed ({0})")]
    Failed(#[source] JoinError),
}

impl TaskEnded {
    /// Tells what ended, and by what.
    pub fn new(ended: Result<Result<&'static str, JoinError>, JoinError>) -> Self {
        match ended {
            Ok(Ok(word)) => Self::Returned(word),
            Ok(Err(error)) | Err(error) => Self::Failed(error),
        }
    }
}

/// Says so if a part did not end as it was told to.
pub(crate) fn complain_of(ended: &Result<Result<&'static str, JoinError>, JoinError>) {
    if let Ok(Err(error)) | Err(error) = ended {
        error!("a part has failed ({error}) while stopping");
    }
}
