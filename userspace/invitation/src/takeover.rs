//! Sessions that an application server names: another worker had them, and this one fetches their data before it goes on.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, sleep};
use zerottl_core::session_id::SessionId;
use zerottl_invited::message::SessionTaken;

/// Between two attempts to have a session whose worker may still live.
const AGAIN: Duration = Duration::from_millis(50);

/// A session that cannot be taken over, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverError {
    /// Its worker has not stopped, or may not have.
    #[error("another worker has the session: {0}")]
    Elsewhere(String),
    /// It is over.
    #[error("the session has ended")]
    Ended,
    /// It cannot be had now.
    #[error("{0}")]
    Unavailable(String),
}

/// A session on its way.
pub type TakeoverFuture<'a> = Pin<Box<dyn Future<Output = Result<SessionTaken, TakeoverError>> + Send + 'a>>;

/// Where sessions' data come from.
pub trait SessionFetcher: Send + Sync + 'static {
    /// Makes this worker the one that has a session, with its data in memory.
    fn fetch(&self, id: SessionId) -> TakeoverFuture<'_>;

    /// How long it may take until a worker that has stopped is known to have.
    fn patience(&self) -> Duration;
}

/// Fetches a session, again and again while its worker may still live, for as long as the fetcher says.
pub async fn take_over(fetcher: &dyn SessionFetcher, id: SessionId) -> Result<SessionTaken, TakeoverError> {
    let end = Instant::now() + fetcher.patience();
    loop {
        match fetcher.fetch(id).await {
            Err(TakeoverError::Elsewhere(_) | TakeoverError::Unavailable(_)) if Instant::now() < end => {
                sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}
