//! Bodies within bounds of size and time.

use std::{
    error::Error,
    fmt,
    future::Future as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{ClientBody, backend::Kept, upstream_conn::Link};

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than it may be.
    TooLarge,
    /// Nothing of it came for as long as may be.
    Slow,
    /// An error of HTTP.
    Http(hyper::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => out.write_str("the body is too large"),
            Self::Slow => out.write_str("nothing of the body came in time"),
            Self::Http(error) => error.fmt(out),
        }
    }
}

impl Error for BodyError {}

/// A deadline that costs nothing until something is waited for, and one timer for all of a connection's life.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    /// Runs until then.
    pub(super) fn start(&mut self, end: Instant) {
        self.armed = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(end),
            None => self.sleep = Some(Box::pin(sleep_until(end))),
        }
    }

    /// Stops the timer: what was waited for has come.
    pub(super) fn stop(&mut self) {
        self.armed = false;
    }

    /// Waits: whether it is over. Starts it, if nothing was waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        if !self.armed {
            self.start(Instant::now() + after);
        }
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
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

/// How often more of a request's body was asked for: while that goes on, it is not the backend that is slow.
pub(super) type Asked = Arc<AtomicU64>;

impl RequestBody {
    /// At most `max` bytes; 0 is without a bound.
    pub(super) fn new(from: ClientBody, max: u64, idle: Duration) -> Self {
        let from = (!from.is_end_stream()).then_some(from);
        let asked = from.is_some().then(Asked::default);
        Self { from, left: if max == 0 { u64::MAX } else { max }, idle, timer: Timer::default(), asked }
    }

    pub(super) fn none() -> Self {
        Self { from: None, left: 0, idle: Duration::ZERO, timer: Timer::default(), asked: None }
    }

    /// None where there is no body.
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

/// The body that [`super::Proxy`] answers with: a backend's as it comes, or a few words of its own.
#[derive(Debug)]
pub struct ProxyBody(Inner);

#[derive(Debug)]
enum Inner {
    Backend(Passing),
    Text(Bytes),
    /// The client's and the backend's connection are joined behind it.
    None,
}

/// A body on its way from a backend. It does the work of the backend's connection, and gives it back at its end; where
/// it is dropped before that, it ends the connection.
#[derive(Debug)]
struct Passing {
    incoming: Incoming,
    link: Option<Box<Link>>,
    home: Kept,
    idle: Duration,
    timer: Timer,
}

impl ProxyBody {
    /// Nothing.
    pub(super) const fn none() -> Self {
        Self(Inner::None)
    }

    /// A few words.
    pub(super) const fn text(text: &'static str) -> Self {
        Self(Inner::Text(Bytes::from_static(text.as_bytes())))
    }

    /// A backend's, over its connection, which goes home afterwards.
    pub(super) fn passing(incoming: Incoming, link: Box<Link>, home: Kept, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            home.keep(link);
            return Self::none();
        }
        Self(Inner::Backend(Passing { incoming, link: Some(link), home, idle, timer: Timer::default() }))
    }
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        for attempt in 0..2 {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.stop();
                    if self.incoming.is_end_stream() {
                        self.finish(cx);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.link = None;
                    return Poll::Ready(Some(Err(self.home.broke(error))));
                }
                Poll::Ready(None) => {
                    self.finish(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending if attempt == 0 => self.drive(cx),
                Poll::Pending => {}
            }
        }
        ready!(self.timer.poll(cx, self.idle));
        self.link = None;
        Poll::Ready(Some(Err(BodyError::Slow)))
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.link {
            link.drive(cx);
        }
    }

    /// A connection whose response is over is kept, unless the request was not.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut link) = self.link.take() {
            if !link.is_ready() {
                link.drive(cx);
            }
            self.home.keep(link);
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Backend(passing) => passing.poll(cx),
            Inner::None => Poll::Ready(None),
            Inner::Text(text) => {
                let text = std::mem::take(text);
                self.0 = Inner::None;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Backend(passing) => passing.incoming.is_end_stream(),
            Inner::Text(_) => false,
            Inner::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Backend(passing) => passing.incoming.size_hint(),
            Inner::Text(text) => SizeHint::with_exact(text.len() as u64),
            Inner::None => SizeHint::with_exact(0),
        }
    }
}
