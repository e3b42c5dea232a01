//! Tunnels, which upgraded connections (WebSocket) become: bytes both ways, until either side ends, nothing passes for
//! too long, or the front stops.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{FrontCounters, upstream_conn::Link};

/// Joins connections that change their protocol.
#[derive(Debug)]
pub(super) struct Tunnels {
    idle: Duration,
    counters: Arc<FrontCounters>,
}

/// In the extensions of a request that asks for another protocol: what stops the connection it came on.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    pub(super) token: CancellationToken,
    /// The time that it may go on after that.
    pub(super) grace: Duration,
}

impl Tunnels {
    /// Makes tunnels that are cut after `idle` without a byte.
    pub(super) fn new(idle: Duration, counters: Arc<FrontCounters>) -> Self {
        Self { idle, counters }
    }

    /// Joins them in a task of its own, which ends when either end does, after `idle`, or its grace after the stop.
    pub(super) fn join(&self, client: OnUpgrade, backend: Link, stopping: Stopping) {
        let open = Open::new(&self.counters);
        let idle = self.idle;
        tokio::spawn(async move {
            tokio::select! {
                _ = pass(client, backend, idle) => {}
                () = stopped(&stopping) => {}
            }
            drop(open);
        });
    }
}

async fn stopped(stopping: &Stopping) {
    stopping.token.cancelled().await;
    sleep(stopping.grace).await;
}

/// Counts itself among the open ones.
struct Open(Arc<FrontCounters>);

impl Open {
    fn new(counters: &Arc<FrontCounters>) -> Self {
        counters.tunnels.fetch_add(1, Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}

async fn pass(client: OnUpgrade, backend: Link, idle: Duration) -> io::Result<()> {
    let both = async { tokio::join!(client, backend.into_stream()) };
    let (client, (mut backend, early)) = timeout(idle, both).await?;
    let mut client = Moving { io: TokioIo::new(client.map_err(io::Error::other)?), moved: AtomicU64::new(0).into() };
    let moved = Arc::clone(&client.moved);
    let copied = async {
        client.write_all(&early).await?;
        copy_bidirectional(&mut client, &mut backend).await
    };
    tokio::select! {
        copied = copied => copied.map(drop),
        () = still(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Waits until nothing has moved for between one and two times `idle`.
async fn still(moved: &AtomicU64, idle: Duration) {
    let mut before = None;
    loop {
        let now = moved.load(Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        sleep(idle).await;
    }
}

/// Counts what moves through one end of a tunnel: that is what moves through it.
struct Moving<IO> {
    io: IO,
    moved: Arc<AtomicU64>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Moving<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.moved.fetch_add(1, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Moving<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.moved.fetch_add(1, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
