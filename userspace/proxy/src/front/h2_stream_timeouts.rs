//! The streams of one HTTP/2 connection, each in a task of its own that ends with the connection.
//!
//! A client that gives a stream no window takes nothing of its response for as long as it likes, and does not stop the
//! connection doing so: its socket is no place to see that. Here it is seen by the body, of which nothing is asked.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use hyper::rt::Executor;
use tokio::time::Instant;

use super::{FrontCounters, FrontRefusal, timer::Timer};

/// A count that grows as a response is taken: 0 before there is one.
pub(super) type Taken = Arc<AtomicU64>;

/// Runs streams; a stream of whose response nothing is taken for `idle` is reset.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// The count of the request that was begun last. Its stream is made next, before anything else.
    begun: Arc<Mutex<Option<Taken>>>,
    idle: Duration,
    counters: Arc<FrontCounters>,
}

impl Streams {
    pub(super) fn new(idle: Duration, counters: Arc<FrontCounters>) -> Self {
        Self { begun: Arc::default(), idle, counters }
    }

    /// Begins a request. Returns the count of how its response is taken.
    pub(super) fn begin(&self) -> Taken {
        let taken = Taken::default();
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&taken));
        taken
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let Some(taken) = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            tokio::spawn(stream);
            return;
        };
        let (idle, counters) = (self.idle, Arc::clone(&self.counters));
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            let mut timer = Timer::default();
            let mut before = 0;
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let now = taken.load(Relaxed);
                if now == 0 {
                    return Poll::Pending;
                }
                if now != before {
                    before = now;
                    timer.start(Instant::now() + idle);
                }
                // Dropping the stream resets it.
                timer.poll(cx, idle).map(|()| counters.refuse(FrontRefusal::Slow))
            })
            .await;
        });
    }
}
