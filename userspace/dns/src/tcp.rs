//! TCP connections and their limits (RFC 7766, RFC 9210).
//!
//! A connection answers its queries in their order, each when it has arrived whole, and writes before it reads on: a
//! client that does not take its answers is not read from.
//!
//! A connection is idle until a whole query is there. Idle ones give way to newcomers, and the fewer places are left the less
//! time they have ([`places`](zerottl_host::places)): as many silent clients as there are places turn nobody away.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    service::{DnsService, Outcome},
    transport::{Asker, TCP_IDLE, Transport},
};
use zerottl_host::{
    places::{Place, Places},
    resources::{AgentShare, Stumbles, is_ours},
};

/// Bytes of the length before every message (RFC 1035 section 4.2.2).
const PREFIX_LEN: usize = 2;
/// Bytes read at once, unless a longer message has begun; bounds the queries answered between two writes.
const READ_LEN: usize = 4096;
/// Answers are written when there are this many bytes of them.
const WRITE_LEN: usize = 16_384;
/// The most connections open at a time, in all.
pub use zerottl_host::resources::DNS_CONNECTIONS_MAX as CONNECTIONS_MAX;

/// Limits of TCP clients.
#[derive(Clone, Copy, Debug)]
pub struct TcpLimits {
    /// Until a query has arrived whole, from the connection's start or the last answer; less where few places are left.
    pub idle: Duration,
    /// Until the client has taken an answer.
    pub write: Duration,
    /// Connections open at a time, in all.
    pub connections: usize,
    /// Connections open at a time by one client: an IPv4 address or an IPv6 /64.
    pub connections_per_client: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            idle: TCP_IDLE,
            write: Duration::from_secs(10),
            connections: AgentShare::now().dns,
            connections_per_client: 32,
        }
    }
}

/// The admission of TCP connections.
#[derive(Debug)]
pub struct TcpAdmission {
    limits: TcpLimits,
    places: Arc<Places>,
}

/// One open connection; dropping it gives its place back.
#[derive(Debug)]
struct Admitted {
    place: Place,
    service: Arc<DnsService>,
}

impl Default for TcpAdmission {
    fn default() -> Self {
        Self::new(TcpLimits::default())
    }
}

impl TcpAdmission {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: TcpLimits) -> Self {
        Self { limits, places: Places::new(limits.connections, limits.connections_per_client) }
    }

    async fn admit(&self, service: &Arc<DnsService>, address: IpAddr) -> Option<Admitted> {
        let place = self.places.take_in_time(address, false).await.ok()?;
        service.counters.tcp_open.fetch_add(1, Relaxed);
        Some(Admitted { place, service: Arc::clone(service) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.service.counters.tcp_open.fetch_sub(1, Relaxed);
    }
}

/// Accepts until it is dropped; connections live on in `tasks` until they or `cancel` end them.
pub(super) async fn accept(
    listener: &TcpListener,
    service: &Arc<DnsService>,
    admission: &Arc<TcpAdmission>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let at = listener.local_addr().map_or_else(|_| "TCP".to_owned(), |at| at.to_string());
    let mut stumbles = Stumbles::new(format!("accepting DNS connections at {at}"));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if is_ours(&error) {
                    admission.places.make_room();
                }
                stumbles.over(&error).await;
                continue;
            }
        };
        stumbles.good();
        let Some(admitted) = admission.admit(service, peer.ip()).await else {
            service.counters.tcp_refused.fetch_add(1, Relaxed);
            continue;
        };
        let (cancel, limits) = (cancel.clone(), admission.limits);
        tasks.spawn(async move {
            // What breaks a connection concerns its client only.
            let outcome = connection(stream, peer.ip(), &admitted, limits, &cancel).await;
            if outcome.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                admitted.service.counters.tcp_timed_out.fetch_add(1, Relaxed);
            }
        });
    }
}

async fn connection(
    mut stream: TcpStream,
    client: IpAddr,
    Admitted { place, service }: &Admitted,
    limits: TcpLimits,
    cancel: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ_LEN);
    let mut output = Vec::new();
    loop {
        // Only whole queries move this on, so that a byte now and then keeps no connection open.
        if !holds_message(&input) {
            place.idle();
        }
        let deadline = Instant::now() + place.idle_limit(limits.idle);
        while !holds_message(&input) {
            input.reserve(missing(&input).max(READ_LEN));
            let reading = timeout_at(deadline, stream.read_buf(&mut input));
            let read = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                read = reading => read,
                () = place.told() => return Err(io::ErrorKind::TimedOut.into()),
            };
            if read?? == 0 {
                // The client has said all it will; what it asked is answered.
                return stream.shutdown().await;
            }
        }
        place.busy();
        while holds_message(&input) {
            let len = usize::from(input.get_u16());
            let message = input.split_to(len);
            // A peer that sends no query is no client.
            // What it is told by edns-tcp-keepalive is what it gets (RFC 7828 section 3.4).
            let asker = Asker { transport: Transport::Tcp, client, idle: place.idle_limit(limits.idle) };
            let answer = match service.answer(&message, asker) {
                Some(Outcome::Ready(answer)) => Some(answer),
                Some(Outcome::Transfer(served, zone)) => {
                    for answer in service.transfer(&served, zone, &message, asker) {
                        output.put_u16(answer.len() as u16);
                        output.extend_from_slice(&answer);
                        if output.len() >= WRITE_LEN {
                            flush(&mut stream, &mut output, limits).await?;
                        }
                        if cancel.is_cancelled() {
                            return Ok(());
                        }
                    }
                    flush(&mut stream, &mut output, limits).await?;
                    continue;
                }
                Some(Outcome::Forward(job)) => {
                    // Answers that are ready do not wait for an upstream.
                    flush(&mut stream, &mut output, limits).await?;
                    let Some(answer) = cancel.run_until_cancelled(service.forward(job)).await else { return Ok(()) };
                    answer
                }
                None => None,
            };
            let Some(answer) = answer else { return Ok(()) };
            // `respond` keeps to 65,535 bytes.
            output.put_u16(answer.len() as u16);
            output.extend_from_slice(&answer);
            if output.len() >= WRITE_LEN || !holds_message(&input) {
                flush(&mut stream, &mut output, limits).await?;
            }
        }
    }
}

async fn flush(stream: &mut TcpStream, output: &mut Vec<u8>, limits: TcpLimits) -> io::Result<()> {
    timeout(limits.write, stream.write_all(output)).await??;
    output.clear();
    Ok(())
}

/// The length of the first message in the buffer, if it is there.
fn announced(input: &BytesMut) -> Option<usize> {
    input.first_chunk().map(|&prefix| usize::from(u16::from_be_bytes(prefix)))
}

fn holds_message(input: &BytesMut) -> bool {
    announced(input).is_some_and(|len| input.len() >= PREFIX_LEN + len)
}

fn missing(input: &BytesMut) -> usize {
    announced(input).map_or(0, |len| (PREFIX_LEN + len).saturating_sub(input.len()))
}
