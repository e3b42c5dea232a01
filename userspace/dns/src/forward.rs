//! Names whose questions other servers answer: the seed's "recursive query" (S4-3A-330R, S4-3B-375).
//!
//! Each try is a query of its own: a random ID from a socket of its own at a random port (RFC 5452 section 9), to one
//! upstream. What comes back counts only from that upstream, with that ID and that question, in letters of either case.
//! Everything else is waited past, up to `WRONG_MAX` datagrams. Nothing is cached.

pub mod lanes;
mod message;
pub mod upstreams;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use domain::base::{Rtype, iana::Rcode};
use rustix::io::Errno;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

pub use lanes::{CONCURRENT_MAX, concurrent};
use message::{ForwardedQuestion, ReplyMatch, matches, read};
pub use message::{UpstreamRecord, UpstreamReply};
use upstreams::Upstream;

use super::{
    query::{QueryMessage, Question},
    reply::Reply,
    transport::{Transport, UDP_LEN_MAX},
};
use zerottl_core::model::Forward;

/// How long all tries of one query take at most: no client waits longer, whatever the configuration adds up to.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(30);
/// Datagrams that are not the answer, until a try is given up: whoever sends as many is guessing.
const WRONG_MAX: usize = 64;
/// A try's end that is found out later than this is a machine without time, and no verdict about the upstream.
const LATE_MAX: Duration = Duration::from_millis(500);
/// Ports tried until one is free; then the system chooses.
const PORT_TRIES: usize = 8;
/// The first port that is nobody's by right (RFC 5452 section 9.2).
const PORT_MIN: u16 = 1024;

/// Whether a client's question is forwarded. Only one that asks for recursion is, and only from a client that may; types
/// that are no data but ANY are not (RFC 6895 section 3.1).
#[must_use]
pub(crate) fn is_allowed(forward: &Forward, query: &QueryMessage<'_>, question: Question<'_>, client: IpAddr) -> bool {
    let has_data = question.rtype == Rtype::ANY || !matches!(question.rtype.to_int(), 0 | 41 | 128..=255 | 65_535);
    query.header.rd() && has_data && forward.clients.iter().any(|net| net.contains(&client))
}

/// Returns the reply for a query to which no upstream gave an answer.
#[must_use]
pub fn failed() -> Reply<'static> {
    Reply { recursive: true, ..Reply::bare(Rcode::SERVFAIL) }
}

/// Asks the upstreams in turn what a client's message asks; none where no one gave an answer in time.
///
/// Those that are down are asked when no other has answered, once, and get a copy of a query now and then.
pub async fn ask(
    forward: &Forward,
    upstreams: &[Arc<Upstream>],
    message: &[u8],
    transport: Transport,
) -> Option<UpstreamReply> {
    let asking = async {
        let mut heard = false;
        for round in 0..forward.attempts {
            for upstream in upstreams::order(upstreams, round == 0) {
                match upstream.is_up() {
                    true => look_after_others(forward, upstreams, message),
                    // It would do no better than one that lives, and take longer.
                    false if heard => continue,
                    false => {}
                }
                match try_one(upstream, message, transport, forward.timeout).await {
                    Tried::Answered(reply) => return Some(reply),
                    Tried::Useless => heard = true,
                    Tried::Nothing => {}
                }
            }
        }
        None
    };
    timeout(TIME_MAX, asking).await.ok().flatten()
}

/// Sends a copy of a query to each upstream that is down and whose turn it is. Nobody waits for the answers, which only
/// tell that it is up again.
fn look_after_others(forward: &Forward, upstreams: &[Arc<Upstream>], message: &[u8]) {
    for upstream in upstreams {
        if upstream.take_turn(forward.timeout) {
            let (upstream, message, limit) = (Arc::clone(upstream), Box::<[u8]>::from(message), forward.timeout);
            tokio::spawn(async move {
                try_one(&upstream, &message, Transport::Udp, limit).await;
            });
        }
    }
}

/// The result of one try.
enum Tried {
    /// An answer that is passed on.
    Answered(UpstreamReply),
    /// An answer that another upstream may do better than.
    Useless,
    /// None.
    Nothing,
}

/// Why there is no answer over UDP.
enum Unanswered {
    /// The upstream gave none in time, or is not to be reached.
    Silent(io::Error),
    /// That says nothing of the upstream.
    Unknown(io::Error),
}

async fn try_one(upstream: &Upstream, message: &[u8], transport: Transport, limit: Duration) -> Tried {
    let (Ok(asked), Some(_permit)) = (asked(message), upstream.permit()) else { return Tried::Nothing };
    let began = Instant::now();
    let answer = match over_udp(upstream, &asked, began + limit).await {
        Ok(answer) => answer,
        Err(Unanswered::Silent(error)) => {
            upstream.unanswered(began);
            debug!(%error, upstream = %upstream.address, "a forwarded query has failed");
            return Tried::Nothing;
        }
        Err(Unanswered::Unknown(error)) => {
            upstream.not_tried();
            debug!(%error, upstream = %upstream.address, "a query could not be forwarded");
            return Tried::Nothing;
        }
    };
    upstream.answered(began);
    if !message::is_truncated(&answer) {
        return read(&asked, answer).map_or(Tried::Useless, Tried::Answered);
    }
    match transport {
        // What did not fit into the datagram for us does not fit into one for the client, who asks again over TCP.
        Transport::Udp => Tried::Answered(UpstreamReply::truncated()),
        Transport::Tcp => {
            let Ok(asked) = self::asked(message) else { return Tried::Nothing };
            match timeout(limit, over_tcp(upstream, &asked)).await {
                Ok(Ok(answer)) => read(&asked, answer).map_or(Tried::Useless, Tried::Answered),
                failed => {
                    debug!(?failed, upstream = %upstream.address, "a forwarded query has failed over TCP");
                    Tried::Useless
                }
            }
        }
    }
}

fn asked(message: &[u8]) -> io::Result<ForwardedQuestion> {
    let question =
        QueryMessage::parse(message).and_then(|query| ForwardedQuestion::new(query.question?, rand::random()));
    question.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no question"))
}

async fn over_udp(upstream: &Upstream, asked: &ForwardedQuestion, deadline: Instant) -> Result<Bytes, Unanswered> {
    // Nothing has been asked before it is sent, so what fails until then is of this machine, but for a way to there.
    let to = upstream.address;
    let socket = socket(to).await.map_err(Unanswered::Unknown)?;
    socket.connect(to).await.map_err(sorted)?;
    socket.send(asked.message()).await.map_err(sorted)?;
    let mut buffer = vec![0; usize::from(UDP_LEN_MAX) + 1];
    for _ in 0..WRONG_MAX {
        let received = match timeout_at(deadline, socket.recv_from(&mut buffer)).await {
            Ok(received) => received,
            Err(_) if deadline.elapsed() > LATE_MAX => return Err(Unanswered::Unknown(late())),
            Err(elapsed) => return Err(Unanswered::Silent(elapsed.into())),
        };
        let (len, from) = received.map_err(sorted)?;
        // What came before the socket was connected may be from anywhere. A datagram over what we take was cut.
        let is_theirs = from.ip() == to.ip() && from.port() == to.port() && len <= usize::from(UDP_LEN_MAX);
        match matches(asked, &buffer[..len]) {
            ReplyMatch::No => upstream.wrong(),
            _ if !is_theirs => upstream.wrong(),
            how => {
                if how == ReplyMatch::Respelt {
                    upstream.respelt();
                }
                return Ok(Bytes::copy_from_slice(&buffer[..len]));
            }
        }
    }
    // Whoever guesses is not the upstream.
    Err(Unanswered::Unknown(io::Error::new(io::ErrorKind::InvalidData, "too many datagrams that are not the answer")))
}

/// Sorts an error into this machine's and one that says that the upstream is not to be reached.
fn sorted(error: io::Error) -> Unanswered {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::PERM];
    if Errno::from_io_error(&error).is_some_and(|errno| ours.contains(&errno)) {
        Unanswered::Unknown(error)
    } else {
        Unanswered::Silent(error)
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "this machine looked for the answer too late")
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

async fn over_tcp(upstream: &Upstream, asked: &ForwardedQuestion) -> io::Result<Bytes> {
    let mut stream = TcpStream::connect(upstream.address).await?;
    stream.set_nodelay(true)?;
    // A question and an OPT are far below 65,535 bytes.
    let len = (asked.message().len() as u16).to_be_bytes();
    stream.write_all(&[&len, asked.message()].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match matches(asked, &answer) {
        ReplyMatch::No => Err(io::Error::new(io::ErrorKind::InvalidData, "not the answer")),
        ReplyMatch::Exact | ReplyMatch::Respelt => Ok(answer.into()),
    }
}
