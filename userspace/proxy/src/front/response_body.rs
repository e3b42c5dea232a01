//! A response's body on its way to the client: a backend's within bounds of time, or a few words.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{backend::Home, request_body::BodyError, timer::Timer, upstream_conn::Link};

/// The body that [`super::Proxy`] answers with: a backend's as it comes, or a few words of its own.
#[derive(Debug)]
pub(crate) struct ProxyBody(Inner);

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
    home: Home,
    idle: Duration,
    timer: Timer,
}

impl ProxyBody {
    /// Makes an empty body.
    pub(super) const fn none() -> Self {
        Self(Inner::None)
    }

    /// Makes a body of a few words.
    pub(super) const fn text(text: &'static str) -> Self {
        Self(Inner::Text(Bytes::from_static(text.as_bytes())))
    }

    /// Passes on a backend's, over its connection, which goes home afterwards.
    pub(super) fn passing(incoming: Incoming, link: Box<Link>, home: Home, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            home.put_back(link);
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

    /// Gives back a connection whose response is over; it is kept unless the request was not.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut link) = self.link.take() {
            if !link.is_ready() {
                link.drive(cx);
            }
            self.home.put_back(link);
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
