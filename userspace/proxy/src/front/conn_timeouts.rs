//! How long a connection may wait, in both directions.
//!
//! hyper has a timer for a head alone, and starts it anew for each request. Here is one timer for all of a connection's
//! life, which is touched only while the connection waits:
//!
//! | waits for | at most |
//! |---|---|
//! | the first request, and the rest of a head that has begun | `head_timeout` |
//! | the next request | `idle_timeout` |
//! | the client to take something of a response | `idle_timeout` |
//! | the client to close, once we have | [`LINGER_IDLE`] without a byte, [`LINGER`] in all |
//!
//! The first two are less where few places are left, and nothing where a newcomer finds none ([`places`](zerottl_host::places)).
//!
//! While requests are under way, reading has no bound of its own: bodies and backends have theirs.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    FrontCounters, FrontRefusal,
    conn_state::ConnState,
    listen::ClientPlace,
    upload::{LINGER, LINGER_IDLE, LINGER_MAX},
};
use zerottl_core::model::WebLimits;

/// The stage of reading what still comes from a client after the connection's end was said.
#[derive(Clone, Copy, Debug)]
enum Linger {
    /// It was not said.
    NotYet,
    /// It is read until then, until then without a byte, and so many bytes.
    Until { end: Instant, idle: Instant, left: u64 },
    /// The client has said its last, or there is nothing that it could still say.
    Over,
}

/// A connection's stream, with its place among the open ones, wherever it goes.
pub(super) struct Socket<IO> {
    io: IO,
    state: Arc<ConnState>,
    limits: WebLimits,
    counters: Arc<FrontCounters>,
    /// Whether it is HTTP/2: bytes are no sign of a head.
    multiplexed: bool,
    timer: Pin<Box<Sleep>>,
    /// The moment since which the next head, or its rest, is waited for.
    since: Instant,
    /// Whether that is still to be read off the clock.
    fresh: bool,
    /// Whether the head has begun.
    begun: bool,
    /// The number of requests that had been served then.
    served: u32,
    /// The moment since which the client has taken nothing.
    stalled: Option<Instant>,
    place: ClientPlace,
    linger: Linger,
    _open: TaskTrackerToken,
}

impl<IO> Socket<IO> {
    pub(super) fn new(
        io: IO,
        state: Arc<ConnState>,
        limits: WebLimits,
        counters: Arc<FrontCounters>,
        multiplexed: bool,
        (place, open): (ClientPlace, TaskTrackerToken),
    ) -> Self {
        Self {
            io,
            state,
            limits,
            counters,
            multiplexed,
            timer: Box::pin(sleep(limits.head_timeout)),
            since: Instant::now(),
            fresh: false,
            begun: false,
            served: 0,
            stalled: None,
            place,
            linger: Linger::NotYet,
            _open: open,
        }
    }

    /// Whether this moment has come; if not, the task is woken then, or before it.
    fn is_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        // Deadlines mostly move on: the timer is left to run out at the old one and set anew only then.
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }

    /// Notes that something was read.
    fn has_read(&mut self) {
        if self.begun || self.multiplexed || self.state.is_in_flight() {
            return;
        }
        // The clock is read when the rest does not come along; a first head has its time from the connection's start.
        self.begun = true;
        self.fresh = self.state.served() > 0;
        self.served = self.state.served();
    }

    /// Ends the connection if what is not there to be read was waited for long enough.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_busy(cx) {
            return Poll::Pending;
        }
        let served = self.state.served();
        if served != self.served {
            self.served = served;
            self.begun = false;
            self.fresh = true;
        }
        if std::mem::take(&mut self.fresh) {
            self.since = Instant::now();
        }
        let between = served > 0 && !self.begun;
        let limit = if between { self.limits.idle_timeout } else { self.limits.head_timeout };
        self.place.idle_since(self.since);
        let told = self.place.poll_told(cx).is_ready();
        if !told && !self.is_over(self.since + self.place.idle_limit(limit), cx) {
            return Poll::Pending;
        }
        if told {
            self.counters.refuse(FrontRefusal::Full);
        }
        if between {
            self.linger = Linger::Over;
            // The end of the stream, as if the client had closed it.
            return Poll::Ready(Ok(()));
        }
        if !told {
            self.counters.refuse(FrontRefusal::Slow);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether requests are under way, or what only looks like one; then the task is woken when a body is given up.
    fn is_busy(&self, cx: &Context<'_>) -> bool {
        let busy = || self.state.is_in_flight() || self.state.is_tunnel();
        if !busy() {
            return false;
        }
        // Who had no body to send is woken by what comes of its request.
        if !self.state.has_had_body() {
            return true;
        }
        self.state.wake_without_body(cx.waker());
        busy()
    }

    /// Whether the client may be sending at the connection's end: all but a connection of HTTP/1.1 at rest.
    fn may_come(&self) -> bool {
        let at_rest = !self.multiplexed && !self.begun && self.served == self.state.served();
        !(at_rest || self.state.is_tunnel())
    }

    /// Passes a write result on, or fails if the client has read nothing for `idle_timeout`.
    fn wrote<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        if self.state.is_tunnel() {
            return Poll::Pending;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if !self.is_over(since + self.limits.idle_timeout, cx) {
            return Poll::Pending;
        }
        self.counters.refuse(FrontRefusal::Slow);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Bytes up to which a head and its body are copied together: that costs less than a system call with a vector, or
/// than a second TLS record.
const JOINED_MAX: usize = 2048;

/// Writes slices, small ones as one.
pub(super) fn write_joined<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    if let [one] = slices {
        return io.poll_write(cx, one);
    }
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if length > JOINED_MAX {
        return io.poll_write_vectored(cx, slices);
    }
    let mut joined = [0; JOINED_MAX];
    let mut at = 0;
    for slice in slices {
        joined[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    io.poll_write(cx, &joined[..length])
}

impl<IO: AsyncRead + Unpin> Socket<IO> {
    /// Reads and throws away until the client closes, too: a reset would take from it what it has not read yet.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let usual = self.limits.idle_timeout.min(LINGER_IDLE);
        let (end, mut idle, mut left) = match self.linger {
            Linger::NotYet if self.may_come() => (now + LINGER, now + usual, LINGER_MAX),
            Linger::NotYet | Linger::Over => return Poll::Ready(()),
            Linger::Until { end, idle, left } => (end, idle, left),
        };
        let mut sink = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut sink);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    idle = now + usual;
                    let Some(rest) = left.checked_sub(buffer.filled().len() as u64) else { break };
                    left = rest;
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    if self.is_over(end.min(idle), cx) {
                        break;
                    }
                    self.linger = Linger::Until { end, idle, left };
                    return Poll::Pending;
                }
            }
        }
        self.linger = Linger::Over;
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.state.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut me.io).poll_read(cx, buffer) {
            Poll::Pending => me.poll_waiting(cx),
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    me.place.busy();
                    me.has_read();
                } else {
                    me.linger = Linger::Over;
                }
                Poll::Ready(read)
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = write_joined(&mut self.io, cx, slices);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !matches!(me.linger, Linger::Until { .. }) {
            let shut = Pin::new(&mut me.io).poll_shutdown(cx);
            ready!(me.wrote(shut, cx))?;
        }
        me.poll_linger(cx).map(Ok)
    }
}
