//! Names whose questions other servers answer: the seed's "recursive query" (S4-3A-330R, S4-3B-375).
//!
//! Each try is a query of its own: a random ID from a socket of its own at a random port (RFC 5452 section 9), to one
//! upstream. What comes back counts only from that upstream, with that ID and that question, byte for byte. Everything
//! else is waited past, up to `WRONG_MAX` datagrams. Nothing is cached.

mod message;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use domain::base::{Rtype, iana::Rcode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

use message::{Asked, is_answer, read};
pub use message::{Record, Said};

use super::{
    query::{Query, Question},
    resolve::Reply,
    respond::{Transport, UDP_LEN_MAX},
};
use crate::model::Forward;

/// Queries that wait for upstreams at a time, in all; each has a socket and a few kilobytes.
pub const CONCURRENT_MAX: usize = 256;
/// How long all tries of one query take at most: no client waits longer, whatever the configuration adds up to.
pub const TIME_MAX: Duration = Duration::from_secs(30);
/// Datagrams that are not the answer, until a try is given up: whoever sends as many is guessing.
const WRONG_MAX: usize = 64;
/// Ports tried until one is free; then the system chooses.
const PORT_TRIES: usize = 8;
/// The first port that is nobody's by right (RFC 5452 section 9.2).
const PORT_MIN: u16 = 1024;

/// Whether a client's question is forwarded. Only one that asks for recursion is, and only from a client that may; types
/// that are no data but ANY are not (RFC 6895 section 3.1).
#[must_use]
pub fn is_allowed(forward: &Forward, query: &Query<'_>, question: Question<'_>, client: IpAddr) -> bool {
    let has_data = question.rtype == Rtype::ANY || !matches!(question.rtype.to_int(), 0 | 41 | 128..=255 | 65_535);
    query.header.rd() && has_data && forward.clients.iter().any(|net| net.contains(&client))
}

/// What is said when no upstream gave an answer.
#[must_use]
pub fn failed() -> Reply<'static> {
    Reply { recursive: true, ..Reply::bare(Rcode::SERVFAIL) }
}

/// Asks the upstreams in turn what a client's message asks; none where no one gave an answer in time.
pub async fn ask(forward: &Forward, message: &[u8], transport: Transport) -> Option<Said> {
    let asking = async {
        for _ in 0..forward.attempts {
            for &upstream in &forward.upstreams {
                match try_one(upstream, message, transport, forward.timeout).await {
                    Ok(said) => return Some(said),
                    Err(error) => debug!(%error, %upstream, "a forwarded query has failed"),
                }
            }
        }
        None
    };
    timeout(TIME_MAX, asking).await.ok().flatten()
}

async fn try_one(upstream: SocketAddr, message: &[u8], transport: Transport, limit: Duration) -> io::Result<Said> {
    let asked = asked(message)?;
    let answer = over_udp(upstream, &asked, Instant::now() + limit).await?;
    if !message::is_truncated(&answer) {
        return read(&asked, answer).ok_or_else(useless);
    }
    match transport {
        // What did not fit into the datagram for us does not fit into one for the client, who asks again over TCP.
        Transport::Udp => Ok(Said::truncated()),
        Transport::Tcp => {
            let asked = self::asked(message)?;
            let answer = timeout(limit, over_tcp(upstream, &asked)).await??;
            read(&asked, answer).ok_or_else(useless)
        }
    }
}

fn asked(message: &[u8]) -> io::Result<Asked> {
    let question = Query::parse(message).and_then(|query| Asked::new(query.question?, rand::random()));
    question.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no question"))
}

fn useless() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "neither NOERROR nor NXDOMAIN, or malformed")
}

async fn over_udp(upstream: SocketAddr, asked: &Asked, deadline: Instant) -> io::Result<Bytes> {
    let socket = socket(upstream).await?;
    socket.connect(upstream).await?;
    socket.send(asked.message()).await?;
    let mut buffer = vec![0; usize::from(UDP_LEN_MAX) + 1];
    for _ in 0..WRONG_MAX {
        let (len, from) = timeout_at(deadline, socket.recv_from(&mut buffer)).await??;
        // What came before the socket was connected may be from anywhere. A datagram over what we take was cut.
        let is_theirs = from.ip() == upstream.ip() && from.port() == upstream.port();
        if is_theirs && len <= usize::from(UDP_LEN_MAX) && is_answer(asked, &buffer[..len]) {
            return Ok(Bytes::copy_from_slice(&buffer[..len]));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "too many datagrams that are not the answer"))
}

/// A UDP socket at a random port of all that are nobody's: the system's own choice has half as many, or fewer.
async fn socket(upstream: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    for _ in 0..PORT_TRIES {
        if let Ok(socket) = UdpSocket::bind((any, rand::random_range(PORT_MIN..=u16::MAX))).await {
            return Ok(socket);
        }
    }
    UdpSocket::bind((any, 0)).await
}

async fn over_tcp(upstream: SocketAddr, asked: &Asked) -> io::Result<Bytes> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    // A question and an OPT are far below 65,535 bytes.
    let len = (asked.message().len() as u16).to_be_bytes();
    stream.write_all(&[&len, asked.message()].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if is_answer(asked, &answer) { Ok(answer.into()) } else { Err(useless()) }
}
