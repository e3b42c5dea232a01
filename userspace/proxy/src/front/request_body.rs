//! A request's body on its way to a backend, within bounds of size and time.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{timer::Timer, upload::ClientBody};

/// The reason why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is larger than it may be.
    #[error("the body is too large")]
    TooLarge,
    /// Nothing of it came for as long as may be.
    #[error("nothing of the body came in time")]
    Slow,
    /// An error of HTTP. Not a source: one that a backend's connection fails by is told from the client's by its sources.
    #[error("{0}")]
    Http(hyper::Error),
}

/// A client's body on its way to a backend; none for requests made here.
#[derive(Debug)]
pub(super) struct RequestBody {
    from: Option<ClientBody>,
    /// Bytes that may still come.
    left: u64,
    idle: Duration,
    timer: Timer,
    asked: Option<Asked>,
}

/// The number of times that more of a request's body was asked for: while that goes on, it is not the backend that is slow.
pub(super) type Asked = Arc<AtomicU64>;

impl RequestBody {
    /// Takes at most `max` bytes; 0 is without a bound.
    pub(super) fn new(from: ClientBody, max: u64, idle: Duration) -> Self {
        let from = (!from.is_end_stream()).then_some(from);
        let asked = from.is_some().then(Asked::default);
        Self { from, left: if max == 0 { u64::MAX } else { max }, idle, timer: Timer::default(), asked }
    }

    pub(super) fn none() -> Self {
        Self { from: None, left: 0, idle: Duration::ZERO, timer: Timer::default(), asked: None }
    }

    /// Returns the count of what was asked for, where there is a body.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.asked.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = &mut *self;
        let Some(from) = &mut me.from else { return Poll::Ready(None) };
        if let Some(asked) = &me.asked {
            asked.fetch_add(1, Relaxed);
        }
        let Poll::Ready(frame) = Pin::new(from).poll_frame(cx) else {
            ready!(me.timer.poll(cx, me.idle));
            return Poll::Ready(Some(Err(BodyError::Slow)));
        };
        me.timer.stop();
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(BodyError::Http)?;
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = me.left.checked_sub(bytes) else { return Poll::Ready(Some(Err(BodyError::TooLarge))) };
        me.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.from.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.from.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
