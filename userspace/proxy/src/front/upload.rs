//! A request's body, and what becomes of it when the answer comes first.
//!
//! A redirect, a refusal, a busy page: all are said before the body has come. A connection that is closed then, with bytes
//! on their way to it, is reset, and the reset takes the answer away before the client has read it. So what nobody wants is
//! read on, for a bounded time and size, and the client is answered on a connection that lives (RFC 9112 section 9.6).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Version, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use super::conn_state::{Busy, ConnState};

/// The time that what nobody wants is read on in all: nginx's `lingering_time`.
pub(super) const LINGER: Duration = Duration::from_secs(30);
/// The time that it is read on without a byte: nginx's `lingering_timeout`.
pub(super) const LINGER_IDLE: Duration = Duration::from_secs(5);
/// The most of it that is read on, bytes.
pub(super) const LINGER_MAX: u64 = 1 << 30;

/// A client's body, as it comes. Where it is dropped before its end, the rest is read on and thrown away.
#[derive(Debug)]
pub(crate) struct ClientBody {
    /// None at its end.
    incoming: Option<Incoming>,
    /// None where there is no body.
    after: Option<After>,
}

/// The means to deal with a body that is not wanted.
#[derive(Debug)]
struct After {
    state: Arc<ConnState>,
    idle: Duration,
    closes: Closes,
    /// Whether the client waits for a word before it sends anything (RFC 9110 section 10.1.1), and has not had one.
    waits: bool,
}

/// Whether the connection ends with the response, because the body is not read.
pub(super) type Closes = Arc<AtomicBool>;

impl ClientBody {
    /// Wraps the body that came on a connection. Returns it, and how to know whether the connection ends with it.
    pub(super) fn new(
        incoming: Incoming,
        version: Version,
        headers: &HeaderMap,
        state: &Arc<ConnState>,
        idle: Duration,
    ) -> (Self, Option<Closes>) {
        if incoming.is_end_stream() {
            return (Self { incoming: None, after: None }, None);
        }
        state.note_body();
        let closes = Closes::default();
        let waits = version < Version::HTTP_2 && headers.contains_key(EXPECT);
        let idle = idle.min(LINGER_IDLE);
        let after = After { state: Arc::clone(state), idle, closes: Arc::clone(&closes), waits };
        (Self { incoming: Some(incoming), after: Some(after) }, Some(closes))
    }

    /// Leaves the rest to the connection, which ends.
    pub(super) fn forsake(&mut self) {
        self.after = None;
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let (Some(incoming), Some(after)) = (self.incoming.take(), self.after.take()) else { return };
        if incoming.is_end_stream() {
            return;
        }
        // To read would ask for it.
        if after.waits {
            return after.closes.store(true, SeqCst);
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(read_on(incoming, after.idle, Busy::new(&after.state)));
        }
    }
}

/// Reads to the end, or up to a bound. The connection is not at rest meanwhile.
async fn read_on(mut incoming: Incoming, idle: Duration, busy: Busy) {
    let mut left = LINGER_MAX;
    let reading = async {
        while let Ok(Some(Ok(frame))) = timeout(idle, incoming.frame()).await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    let _ = timeout(LINGER, reading).await;
    // The connection is woken last, to see that the body is gone.
    drop(incoming);
    drop(busy);
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let me = &mut *self;
        let Some(incoming) = &mut me.incoming else { return Poll::Ready(None) };
        if let Some(after) = &mut me.after {
            after.waits = false;
        }
        let polled = Pin::new(incoming).poll_frame(cx);
        // After its end, or an error, there is nothing to be read.
        if let Poll::Ready(None | Some(Err(_))) = polled {
            me.incoming = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
