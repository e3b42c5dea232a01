//! The agent's tasks: none ends before the agent does, and one that does so says what it was.

use tokio::task::JoinError;
use tracing::error;

/// A part of the agent, with the word for it.
pub async fn named(word: &'static str, part: impl Future<Output = ()>) -> Result<&'static str, JoinError> {
    part.await;
    Ok(word)
}

/// Returns what ended, and by what; a panic has been written to stderr besides.
pub fn ended_words(ended: Result<Result<&'static str, JoinError>, JoinError>) -> String {
    match ended {
        Ok(Ok(word)) => format!("{word} has ended"),
        Ok(Err(error)) | Err(error) => format!("a part has failed ({error})"),
    }
}

/// Says so if a part did not end as it was told to.
pub fn complain_of(ended: &Result<Result<&'static str, JoinError>, JoinError>) {
    if let Ok(Err(error)) | Err(error) = ended {
        error!("a part has failed ({error}) while stopping");
    }
}
