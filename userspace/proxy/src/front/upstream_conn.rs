//! One connection to a backend.
//!
//! It is worked on by whoever waits for it (a request, then its response's body), not by a task of its own: no wake-ups
//! between two tasks, and a client that goes away takes it along.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{conn_timeouts::write_joined, request_body::RequestBody, timer::Timer};

/// The largest head of a response, bytes.
const HEAD_MAX: usize = 64 * 1024;
/// The most fields of a response where a backend's are more than usual. Otherwise hyper's own bound of 100 holds, for which it
/// has room on its stack: with more, it allocates for each response.
const WIDE: usize = 1000;
/// Fields of a request's head: what a client may have sent, and ours.
const REQUEST_FIELDS_MAX: usize = 1100;
/// Bytes of most requests' heads.
const HEAD_USUAL: usize = 4096;
/// The most that is read of a backend at a time, bytes; bounds what a slow client makes us hold.
const BUFFER_MAX: usize = 64 * 1024;

type Io = TokioIo<Wire>;

/// A stream to a backend, on which few bytes are written at once. It remembers the head of the request that is not answered yet:
/// a copy of its bytes costs less than one of its fields, and mostly nobody asks for it.
///
/// A backend that answers before it has read a request's body, and closes, resets the connection. hyper gives the answer up
/// for the failed write, though it has come: so what cannot be written any more is thrown away, and reading says how it is.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    head: Vec<u8>,
    /// Whether what is written next begins a request.
    begins: bool,
    /// Whether the other end takes nothing more.
    refuses: bool,
}

impl Wire {
    fn over(stream: TcpStream) -> Self {
        Self { stream, head: Vec::new(), begins: true, refuses: false }
    }

    /// Heads are written by themselves, a body in slices of its own.
    fn writes(&mut self, slice: &[u8]) {
        if std::mem::take(&mut self.begins) {
            self.head.clear();
            self.head.shrink_to(HEAD_USUAL);
            self.head.extend_from_slice(slice);
        }
    }

    /// Passes on the result of writing so many bytes; a refusal by the other end counts as written.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_refusal(&error) => {
                self.refuses = true;
                Poll::Ready(Ok(bytes))
            }
            other => other,
        }
    }
}

/// Whether the other end takes nothing more.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.begins |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes(bytes);
        if self.refuses {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes(slices.first().map_or(&[], |slice| slice));
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.refuses {
            return Poll::Ready(Ok(bytes));
        }
        let written = write_joined(&mut self.stream, cx, slices);
        self.wrote(written, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One connection to a backend.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    connection: Connection<Io, RequestBody>,
    /// Whether it must not be polled again. What it has read is with the response; why it ended is the response's error.
    ended: bool,
    timer: Timer,
    /// The moment since which nothing is asked of it.
    idle_since: Instant,
}

/// The remains of a connection that has failed.
#[derive(Debug)]
pub(super) struct Remains {
    /// Bytes that were read of it and not understood.
    pub(super) came: Bytes,
    asked: Vec<u8>,
}

impl Remains {
    /// Returns the request that was not answered, where it had no body.
    pub(super) fn request(&self) -> Option<Request<RequestBody>> {
        let mut fields = vec![httparse::EMPTY_HEADER; REQUEST_FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        head.parse(&self.asked).ok().filter(httparse::Status::is_complete)?;
        let mut request = Request::builder().method(head.method?).uri(head.path?);
        for field in head.headers.iter() {
            request = request.header(field.name, field.value);
        }
        request.body(RequestBody::none()).ok()
    }
}

/// The reason why there is no response.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// None came in time.
    Timeout,
    /// Nothing of the request was sent: it may go elsewhere.
    Unsent(Box<Request<RequestBody>>),
    /// An error of HTTP.
    Http(hyper::Error),
}

impl Link {
    /// Begins HTTP/1.1 over a connected stream; `wide` where heads have over 100 fields.
    pub(super) async fn over(stream: TcpStream, wide: bool) -> io::Result<Self> {
        // Heads and bodies are written when they are whole; waiting for more would only be slower.
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_MAX.max(HEAD_MAX)).max_header_size(HEAD_MAX);
        if wide {
            builder.max_headers(WIDE);
        }
        let (sender, connection) =
            builder.handshake(TokioIo::new(Wire::over(stream))).await.map_err(io::Error::other)?;
        Ok(Self { sender, connection, ended: false, timer: Timer::default(), idle_since: Instant::now() })
    }

    /// Sends a request, and waits for the response's head.
    ///
    /// The request is sent by the call, so that whoever waits need not hold it.
    pub(super) fn ask(
        &mut self,
        request: Request<RequestBody>,
        now: Instant,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Incoming>, ExchangeError>> + Send {
        let Self { sender, connection, ended, timer, .. } = self;
        let asked = request.body().asked();
        let mut seen = 0;
        timer.start(now + timeout);
        let mut answer = Box::pin(sender.try_send_request(request));
        poll_fn(move |cx| {
            poll_connection(connection, ended, cx);
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    return Poll::Ready(Err(match error.take_message() {
                        Some(request) => ExchangeError::Unsent(Box::new(request)),
                        None => ExchangeError::Http(error.into_error()),
                    }));
                }
                Poll::Pending => {}
            }
            let now = asked.as_ref().map_or(0, |asked| asked.load(Relaxed));
            if now != seen {
                seen = now;
                timer.start(Instant::now() + timeout);
            }
            timer.poll(cx, timeout).map(|()| Err(ExchangeError::Timeout))
        })
    }

    /// Does what can be done on it now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        poll_connection(&mut self.connection, &mut self.ended, cx);
    }

    /// Whether it takes a request now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }

    /// Notes that it is at rest from now on.
    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
        self.timer.stop();
    }

    /// Returns since when it is at rest.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Returns what is left of it after it has failed.
    pub(super) fn remains(self) -> Remains {
        let parts = self.connection.into_parts();
        Remains { came: parts.read_buf, asked: parts.io.into_inner().head }
    }

    /// Returns the stream itself, after a response that changes the protocol, and what was read of it already.
    pub(super) async fn into_stream(mut self) -> (TcpStream, Bytes) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.connection.into_parts();
        (parts.io.into_inner().stream, parts.read_buf)
    }
}

fn poll_connection(connection: &mut Connection<Io, RequestBody>, ended: &mut bool, cx: &mut Context<'_>) {
    if !*ended {
        *ended = Pin::new(connection).poll(cx).is_ready();
    }
}
