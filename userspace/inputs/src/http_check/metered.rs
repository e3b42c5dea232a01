//! Bounds on what an attempt takes from whom it asks: bytes, pieces and responses, bounded together with its time.
//!
//! Each bound alone leaves a way to cost much: a body that never ends, a header byte by byte, TLS records without content,
//! interim responses (1xx) without end, which are read past and never handed on. So what counts is what comes off the
//! socket, below TLS and HTTP.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Interim responses before the one that counts; servers send one or two.
pub(crate) const INTERIM_MAX: u32 = 16;
/// Reads: pieces that come apart each cost a wake-up.
const READS_MAX: u32 = 4096;

/// A stream of which no more than so much is taken.
pub struct Metered<S> {
    stream: S,
    bytes_max: usize,
    bytes_left: usize,
    reads_left: u32,
    interim: Interim,
}

impl Metered<TcpStream> {
    /// Returns the address that is asked.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// Counts interim responses.
#[derive(Clone, Default)]
pub struct Interim(Arc<AtomicU32>);

impl Interim {
    /// Those that a request is answered with.
    pub fn count<B>(&self, request: &mut Request<B>) {
        let count = Arc::clone(&self.0);
        hyper::ext::on_informational(request, move |_| {
            count.fetch_add(1, Relaxed);
        });
    }
}

/// Which bound was met.
#[derive(Debug, thiserror::Error)]
enum Exceeded {
    #[error("it sends more than {} KiB", .0 / 1024)]
    Bytes(usize),
    #[error("it sends in more than {READS_MAX} pieces")]
    Reads,
    #[error("it sends more than {INTERIM_MAX} interim responses (1xx)")]
    Interim,
}

impl<S> Metered<S> {
    /// Of which at most so many bytes are read.
    pub fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, bytes_max, bytes_left: bytes_max, reads_left: READS_MAX, interim: Interim::default() }
    }

    /// Takes as many pieces as come.
    #[must_use]
    pub(crate) fn in_any_pieces(self) -> Self {
        Self { reads_left: u32::MAX, ..self }
    }

    /// Returns the counter of the interim responses that come over it.
    pub fn interim(&self) -> Interim {
        self.interim.clone()
    }

    fn exceeded(&self) -> Option<Exceeded> {
        if self.interim.0.load(Relaxed) > INTERIM_MAX {
            return Some(Exceeded::Interim);
        }
        if self.bytes_left == 0 {
            return Some(Exceeded::Bytes(self.bytes_max));
        }
        (self.reads_left == 0).then_some(Exceeded::Reads)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if let Some(exceeded) = me.exceeded() {
            return Poll::Ready(Err(io::Error::other(exceeded)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut me.stream).poll_read(cx, buffer);
        if read.is_ready() {
            // The last read may go over it by a buffer.
            me.bytes_left = me.bytes_left.saturating_sub(buffer.filled().len().saturating_sub(before));
            if me.reads_left != u32::MAX {
                me.reads_left -= 1;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
