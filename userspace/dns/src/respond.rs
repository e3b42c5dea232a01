//! A message into its answer, within its limits.

use std::net::IpAddr;

use domain::base::{
    Header, MessageBuilder, Name, RecordData as _, Rtype, StaticCompressor,
    iana::{self, Opcode, OptRcode, Rcode},
    message_builder::{AdditionalBuilder, PushError},
};

use xdp_ebpf::limit::Class;

use super::{
    chaos, cookies, forward,
    options::{EdnsOptions, Wishes},
    query::{OptHeader, QueryMessage, Question},
    reply::{Reply, Rr},
    resolve::resolve,
    transfer,
    transfer::Transfer,
    transport::{Asker, TCP_IDLE, Transport, UDP_LEN_CLASSIC, UDP_LEN_MAX},
    zone::{Data, FoldedName, Zones},
};
use crate::{client::QueryClient, view::View};
use zerottl_core::{
    limit::{ByteMeter, Limiter, RateVerdict},
    model::{ForwardId, ZoneId},
};

/// Bytes of an OPT without options.
const OPT_LEN: usize = 11;
/// IP and UDP headers.
const HEADERS_LEN_V4: usize = 28;
const HEADERS_LEN_V6: usize = 48;

/// An answer and what is counted about it.
#[derive(Debug)]
pub struct CountedAnswer {
    /// The message.
    pub message: Vec<u8>,
    /// The whole rcode, also the part that stands in the OPT.
    pub rcode: OptRcode,
    /// Whether TC is set.
    pub truncated: bool,
    /// The verdict of its client network's rate; never a drop.
    pub rate: RateVerdict,
}

/// Why a message is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is no query: a response, or shorter than a header.
    NoQuery,
    /// Its client network has had its rate.
    Limited,
}

/// The outcome of a message.
#[derive(Debug)]
pub enum Disposition {
    /// It is answered from what is known here.
    Ready(CountedAnswer),
    /// The whole zone is to be sent, in the messages that [`complete`] makes of [`transfer::replies`].
    Transfer(ZoneId),
    /// Other servers are to be asked, and [`complete`] makes the answer of what they say.
    Forward(ForwardId),
}

/// Answers one message from `client` at `now`, seconds since 1970 modulo 2^32; None where it must stay unanswered. What
/// is to be forwarded gets SERVFAIL, as if no upstream answered, and a zone to be sent REFUSED. Seed rows S4-3A-305 to S4-3A-335, S4-3B-355 to
/// S4-3B-375.
#[must_use]
pub fn respond(
    message: &[u8],
    transport: Transport,
    client: IpAddr,
    now: u32,
    zones: &Zones,
    view: &View,
) -> Option<Vec<u8>> {
    let asker = Asker { transport, client, idle: TCP_IDLE };
    let answer = match answer(message, asker, now, zones, view).ok()? {
        Disposition::Ready(answer) => Ok(answer),
        Disposition::Transfer(_) => complete(message, asker, now, view, &Reply::bare(Rcode::REFUSED)),
        Disposition::Forward(_) => complete(message, asker, now, view, &forward::failed()),
    };
    answer.map(|answer| answer.message).ok()
}

/// As [`respond`], with what is counted, or where it is to be forwarded.
pub fn answer(message: &[u8], asker: Asker, now: u32, zones: &Zones, view: &View) -> Result<Disposition, Silence> {
    let client = asker.client;
    let request = Request::read(message, asker, now, view)?;
    let (rcode, reply) = match request.decided {
        Ok(question) => {
            let forward =
                zones.forward_of(&FoldedName::new(question.name)).filter(|_| question.class == iana::Class::IN);
            let reply = match (question.class, forward) {
                (iana::Class::CH, _) => chaos::answer(question, &view.model.chaos),
                (_, Some(id)) if forward::is_allowed(&view.model.forwards[id.0], &request.query, question, client) => {
                    return Ok(Disposition::Forward(id));
                }
                (_, None) if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) => {
                    match transfer::decide(question, message, client, zones) {
                        Transfer::Whole(zone) => return Ok(Disposition::Transfer(zone.id())),
                        Transfer::Short(reply) => reply,
                    }
                }
                (_, Some(_)) => Reply::bare(Rcode::REFUSED),
                (_, None) => {
                    let client = QueryClient { address: client, subnet: request.asked.subnet };
                    resolve(question, request.dnssec_ok(), client, zones, view)
                }
            };
            (reply.rcode.into(), reply)
        }
        Err(rcode) => (rcode, Reply::bare(rcode.rcode())),
    };
    request.finish(rcode, &reply).map(Disposition::Ready)
}

/// The answer to a message whose question has its reply, within the same limits.
pub fn complete(
    message: &[u8],
    asker: Asker,
    now: u32,
    view: &View,
    reply: &Reply<'_>,
) -> Result<CountedAnswer, Silence> {
    Request::read(message, asker, now, view)?.finish(reply.rcode.into(), reply)
}

/// A message, and what its answer depends on beside its data.
struct Request<'a> {
    query: QueryMessage<'a>,
    asker: Asker,
    /// Whether it is told how long it may be idle.
    keepalive: bool,
    /// The options that are answered.
    asked: Wishes<'a>,
    cookie: Option<cookies::CookieReply>,
    nsid: Option<&'a str>,
    limiter: &'a Limiter,
    signed_bytes: &'a ByteMeter,
    /// The question that data answers, or the rcode that does.
    decided: Result<Question<'a>, OptRcode>,
}

impl<'a> Request<'a> {
    fn read(message: &'a [u8], from: Asker, now: u32, view: &'a View) -> Result<Self, Silence> {
        let query = QueryMessage::parse(message).ok_or(Silence::NoQuery)?;
        let model = &view.model;
        // Options of another version may mean anything.
        let known = query.edns.is_some_and(|edns| edns.version == 0);
        let wishes = if known { query.options.wishes(&model.edns) } else { Some(Wishes::default()) };
        // Over UDP it is ignored, whatever it says (RFC 7828 section 3.2.2).
        let is_stream = known && from.transport == Transport::Tcp;
        let keepalive = if is_stream { query.options.keepalive() } else { Some(false) };
        let wishes = wishes.filter(|_| keepalive.is_some());
        let asked = wishes.unwrap_or_default();
        let cookie = asked.cookie.zip(model.edns.cookies.as_ref());
        let cookie = cookie.map(|(cookie, secrets)| cookies::reply(cookie, secrets, from.client, now));
        let decided = decide(&query, from.transport, wishes, cookie);
        let nsid = model.edns.nsid.as_deref().filter(|_| asked.nsid);
        let keepalive = wishes.is_some() && keepalive == Some(true);
        Ok(Self {
            limiter: &view.limiter,
            signed_bytes: &view.signed_bytes,
            query,
            asker: from,
            keepalive,
            asked,
            cookie,
            nsid,
            decided,
        })
    }

    /// Whether a signed answer of so many bytes is within what its client's network may have; others are not metered.
    fn meter(&self, reply: &Reply<'_>, len: usize) -> bool {
        let is_proven = self.asker.transport == Transport::Tcp || self.cookie.is_some_and(|cookie| cookie.known);
        !reply.is_signed || is_proven || self.signed_bytes.admit(self.asker.client, len)
    }

    /// DO: whether the client takes signatures.
    fn dnssec_ok(&self) -> bool {
        self.query.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    fn finish(&self, rcode: OptRcode, reply: &Reply<'_>) -> Result<CountedAnswer, Silence> {
        let query = &self.query;
        let said = EdnsOptions {
            nsid: self.nsid,
            cookie: self.cookie.map(|cookie| cookie.data),
            subnet: self.asked.subnet.map(|subnet| (subnet, reply.scope)),
            keepalive: self.keepalive.then_some(self.asker.idle),
        };
        let limits = match self.asker.transport {
            Transport::Udp => {
                udp_limits(query, reply, self.asker.client, self.cookie.is_some_and(|cookie| cookie.known))
            }
            Transport::Tcp => Limits::TCP,
        };
        // Whoever has a cookie of ours gets its answers where it says it is.
        let rate = match self.asker.transport {
            Transport::Udp if !self.cookie.is_some_and(|cookie| cookie.known) => {
                self.limiter.judge(self.asker.client, class(reply))
            }
            Transport::Udp | Transport::Tcp => RateVerdict::Within,
        };
        if rate == RateVerdict::Drop {
            return Err(Silence::Limited);
        }
        let mut rate = rate;
        if !reply.truncated
            && rate != RateVerdict::Slip
            && let Ok(message) = compose(query, rcode, reply, &said, limits)
        {
            if self.meter(reply, message.len()) {
                return Ok(CountedAnswer { message, rcode, truncated: false, rate });
            }
            rate = RateVerdict::Bytes;
        }
        // Header, question and OPT fit: the query had them too. Options may grow by 48 bytes, NSID by 32 and COOKIE by
        // 16, which is less than the query and its headers had.
        let bare = Reply {
            authoritative: reply.authoritative,
            recursive: reply.recursive,
            scope: reply.scope,
            ..Reply::bare(reply.rcode)
        };
        let message = compose(query, rcode, &bare, &said, Limits::TCP);
        let mut message = message.map_err(|_| Silence::NoQuery)?;
        Header::for_message_slice_mut(&mut message).set_tc(true);
        Ok(CountedAnswer { message, rcode, truncated: true, rate })
    }
}

/// Returns the class that an answer is limited with, as in the kernel.
fn class(reply: &Reply<'_>) -> Class {
    match reply.rcode {
        Rcode::NXDOMAIN => Class::Nxdomain,
        Rcode::NOERROR if !reply.answer.is_empty() => Class::Data,
        Rcode::NOERROR if reply.authoritative => Class::Nodata,
        _ => Class::Other,
    }
}

/// The question that data answers, or the rcode that does. `wishes` are none where an option breaks its format.
fn decide<'a>(
    query: &QueryMessage<'a>,
    transport: Transport,
    wishes: Option<Wishes<'_>>,
    cookie: Option<cookies::CookieReply>,
) -> Result<Question<'a>, OptRcode> {
    match query.header.opcode() {
        Opcode::QUERY => {}
        Opcode::NOTIFY | Opcode::UPDATE => return Err(OptRcode::REFUSED),
        _ => return Err(OptRcode::NOTIMP),
    }
    if query.malformed {
        return Err(OptRcode::FORMERR);
    }
    if query.tsig.is_some() {
        return Err(OptRcode::NOTAUTH);
    }
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Err(OptRcode::BADVERS);
    }
    let Some(wishes) = wishes else { return Err(OptRcode::FORMERR) };
    let Some(question) = query.question else {
        // RFC 7873 section 5.4: how a client asks for a cookie, or whether the one it has is good.
        return Err(match (wishes.cookie, cookie) {
            (Some(sent), Some(reply)) if sent.server.is_empty() || reply.known => OptRcode::NOERROR,
            (Some(_), Some(_)) => OptRcode::BADCOOKIE,
            _ => OptRcode::FORMERR,
        });
    };
    match (question.class, question.rtype, transport) {
        (iana::Class::IN, Rtype::AXFR | Rtype::IXFR, Transport::Udp) => Err(OptRcode::NOTIMP),
        (iana::Class::IN | iana::Class::CH, ..) => Ok(question),
        _ => Err(OptRcode::REFUSED),
    }
}

/// Bytes that an answer may have.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The limit of what must be in it, or it is truncated.
    all: usize,
    /// With what only saves a question, which is left out else.
    extra: usize,
}

impl Limits {
    const TCP: Self = Self { all: u16::MAX as usize, extra: u16::MAX as usize };
}

/// Bytes a UDP answer may have: what the client takes, what fits every path, and by invariant 8, counted as IP packets, 2
/// times the query for what the plan answers and 2.5 times for a negative answer, as in the kernel. Everything else, which
/// comes from records files and other servers, is only bound above 512 bytes, at 3 times the query, and not at all for
/// clients of whom a cookie is `known`: as it is an answer that every other server gives, a forger gains nothing here.
///
/// Signed answers are longer. What the plan answers may be 3.2 times its query then, and negative answers as long as they
/// are; both are metered by their bytes ([`Request::meter`]). DNSKEY sets are what forgers ask for, and resolvers rarely: 2.5
/// times the query, signed or not, to clients that no cookie proves.
fn udp_limits(query: &QueryMessage<'_>, reply: &Reply<'_>, client: IpAddr, known: bool) -> Limits {
    let taken = usize::from(query.edns.map_or(UDP_LEN_CLASSIC, |edns| edns.udp_len.min(UDP_LEN_MAX)));
    let headers = if client.is_ipv4() { HEADERS_LEN_V4 } else { HEADERS_LEN_V6 };
    let times = |tenths| (headers + query.len) * tenths / 10 - headers;
    let is_negative = reply.answer.is_empty() && reply.authoritative;
    let is_of_keys = reply.answer.first().is_some_and(|rr| rr.data.rtype() == Rtype::DNSKEY);
    let (all, extra) = match (reply.by_plan, is_negative) {
        (true, false) if reply.is_signed => (times(32), times(32)),
        (_, true) if reply.is_signed => (taken, taken),
        (true, false) => (times(20), times(20)),
        (_, true) => (times(25), times(25)),
        (false, false) if is_of_keys && !known => (times(25), times(25)),
        (false, false) if known => (taken, taken),
        (false, false) => (times(30).max(usize::from(UDP_LEN_CLASSIC)), times(20)),
    };
    Limits { all: all.min(taken), extra: extra.min(taken) }
}

type Message = StaticCompressor<Vec<u8>>;

/// Writes the message; fails where what must be in it exceeds the limit.
fn compose(
    query: &QueryMessage<'_>,
    rcode: OptRcode,
    reply: &Reply<'_>,
    said: &EdnsOptions<'_>,
    limits: Limits,
) -> Result<Vec<u8>, PushError> {
    let Ok(mut builder) =
        MessageBuilder::from_target(StaticCompressor::new(Vec::with_capacity(UDP_LEN_CLASSIC.into())));
    let header = builder.header_mut();
    header.set_id(query.header.id());
    header.set_qr(true);
    header.set_opcode(query.header.opcode());
    header.set_aa(reply.authoritative);
    header.set_ra(reply.recursive);
    header.set_rd(query.header.rd());
    header.set_rcode(rcode.rcode());

    // Data is only answered to a question, in its class.
    let class = query.question.map_or(iana::Class::IN, |question| question.class);
    let mut builder = builder.question();
    if let Some(question) = query.question {
        builder.push((question.name, question.rtype, question.class))?;
    }
    let mut builder = builder.answer();
    // The builder refuses what reaches its limit, not only what exceeds it.
    let opt_len = query.edns.map_or(0, |_| OPT_LEN + said.wire_len());
    builder.set_push_limit(limits.all.saturating_sub(opt_len) + 1);
    for rr in &reply.answer {
        builder.push(record(rr, class))?;
    }
    let mut builder = builder.authority();
    for rr in &reply.authority {
        builder.push(record(rr, class))?;
    }
    let mut builder = builder.additional();
    for rr in &reply.glue {
        builder.push(record(rr, class))?;
    }
    if !reply.extra.is_empty() {
        builder.set_push_limit(limits.extra.saturating_sub(opt_len) + 1);
    }
    for set in &reply.extra {
        let whole = builder.clone();
        if set.iter().try_for_each(|rr| builder.push(record(rr, class))).is_err() {
            builder = whole;
            break;
        }
    }
    builder.clear_push_limit();
    if let Some(edns) = query.edns {
        push_opt(&mut builder, edns, rcode, said)?;
    }
    if let (Some(tsig), OptRcode::NOTAUTH) = (&query.tsig, rcode) {
        builder.push((tsig.key, iana::Class::ANY, 0, &tsig.reply))?;
    }
    Ok(builder.finish().into_target())
}

fn record<'a>(rr: &'a Rr<'a>, class: iana::Class) -> (&'a Name<[u8]>, iana::Class, u32, &'a Data) {
    (rr.owner.name(), class, rr.ttl, &rr.data)
}

fn push_opt(
    builder: &mut AdditionalBuilder<Message>,
    edns: OptHeader,
    rcode: OptRcode,
    said: &EdnsOptions<'_>,
) -> Result<(), PushError> {
    builder.opt(|opt| {
        opt.set_udp_payload_size(UDP_LEN_MAX);
        opt.set_rcode(rcode);
        opt.set_version(0);
        opt.set_dnssec_ok(edns.dnssec_ok);
        said.write(opt)
    })
}
