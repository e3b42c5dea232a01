//! Queries to upstreams, and what of an upstream's answer is passed on; pure.
//!
//! | section | what is kept |
//! |---|---|
//! | answer | the chain that starts at QNAME: CNAMEs, DNAMEs above them, and the type asked for at its end |
//! | authority | SOA and NS of QNAME or a name above it |
//! | additional | nothing |

use std::borrow::Cow;

use bytes::Bytes;
use domain::{
    base::{
        Header, HeaderCounts, Message, MessageBuilder, ParsedName, ParsedRecord, Rtype,
        iana::{Class, Opcode, Rcode},
        message::RecordSection,
        name::{FlattenInto, ToName},
    },
    rdata::ZoneRecordData,
};

use crate::{
    query::{HEADER_LEN, Question},
    reply::{Reply, Rr},
    transport::UDP_LEN_MAX,
    zone::Data,
};
use zerottl_core::model;

/// Bytes of type and class behind QNAME.
const QUESTION_FIXED: usize = 4;
/// Aliases followed in one answer; more than resolvers follow.
const ALIASES_MAX: usize = 16;
/// Records of one answer that are read: it is an answer to one question.
const RECORDS_MAX: usize = 2_000;
/// The largest TTL; more counts as 0 (RFC 2181 section 8).
const TTL_MAX: u32 = i32::MAX as u32;

/// A query to an upstream.
#[derive(Clone, Debug)]
pub(crate) struct ForwardedQuestion {
    message: Vec<u8>,
    name: model::Name,
    rtype: Rtype,
}

impl ForwardedQuestion {
    /// Asks a client's question, spelt as the client did, with our own header and EDNS: RD, no DO, no options (RFC 7871
    /// section 7.1.1 and RFC 7873 section 5.1 are of one hop).
    #[must_use]
    pub fn new(question: Question<'_>, id: u16) -> Option<Self> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((question.name, question.rtype, question.class)).ok()?;
        let mut builder = builder.additional();
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_LEN_MAX);
                Ok(())
            })
            .ok()?;
        Some(Self { message: builder.finish(), name: question.name.to_name(), rtype: question.rtype })
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }
}

/// How a message matches a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMatch {
    /// It does not answer it.
    No,
    /// It does, and spells the question as we did.
    Exact,
    /// It does, and spells the name in letters of other case (RFC 4343).
    Respelt,
}

/// Whether a message answers a query: its ID, and its question (RFC 5452 section 9.1). The ID and the socket's port guard
/// it; a client's letter case would only do so where that client mixes it, and there are servers that change it.
#[must_use]
pub fn matches(asked: &ForwardedQuestion, message: &[u8]) -> ReplyMatch {
    let name_end = HEADER_LEN + asked.name.len();
    let end = name_end + QUESTION_FIXED;
    let (Some(theirs), Some(ours)) = (message.get(HEADER_LEN..end), asked.message.get(HEADER_LEN..end)) else {
        return ReplyMatch::No;
    };
    let header = Header::for_message_slice(message);
    let is_response = header.id() == Header::for_message_slice(&asked.message).id()
        && header.qr()
        && header.opcode() == Opcode::QUERY
        && HeaderCounts::for_message_slice(message).qdcount() == 1;
    // Lengths of labels are below the letters, so a comparison without case compares them as they are.
    let name_len = name_end - HEADER_LEN;
    if is_response && theirs == ours {
        ReplyMatch::Exact
    } else if is_response
        && theirs[name_len..] == ours[name_len..]
        && theirs[..name_len].eq_ignore_ascii_case(&ours[..name_len])
    {
        ReplyMatch::Respelt
    } else {
        ReplyMatch::No
    }
}

/// Whether TC is set in a message of at least a header.
#[must_use]
pub(crate) fn is_truncated(message: &[u8]) -> bool {
    Header::for_message_slice(message).tc()
}

/// A record of an upstream's answer.
#[derive(Clone, Debug)]
pub struct UpstreamRecord {
    owner: model::Name,
    /// Seconds.
    ttl: u32,
    data: Data,
    rtype: Rtype,
}

/// The answer of an upstream, as far as it is passed on.
#[derive(Clone, Debug)]
pub struct UpstreamReply {
    rcode: Rcode,
    truncated: bool,
    answer: Vec<UpstreamRecord>,
    authority: Vec<UpstreamRecord>,
}

impl UpstreamReply {
    /// An answer of which only is known that it is too long.
    #[must_use]
    pub fn truncated() -> Self {
        Self { rcode: Rcode::NOERROR, truncated: true, answer: Vec::new(), authority: Vec::new() }
    }

    /// The reply to the client.
    #[must_use]
    pub fn reply(&self) -> Reply<'_> {
        Reply {
            recursive: true,
            truncated: self.truncated,
            answer: self.answer.iter().map(UpstreamRecord::rr).collect(),
            authority: self.authority.iter().map(UpstreamRecord::rr).collect(),
            ..Reply::bare(self.rcode)
        }
    }
}

impl UpstreamRecord {
    fn rr(&self) -> Rr<'_> {
        Rr { owner: self.owner.for_slice().into(), ttl: self.ttl, data: Cow::Borrowed(&self.data) }
    }

    fn read(record: &ParsedRecord<'_, Bytes>) -> Option<Self> {
        let ttl = record.ttl().as_secs();
        let data = record.to_record::<ZoneRecordData<Bytes, ParsedName<Bytes>>>().ok()??.into_data();
        let Ok(data) = data.try_flatten_into();
        let ttl = if ttl > TTL_MAX { 0 } else { ttl };
        Some(Self { owner: record.owner().to_name(), ttl, data, rtype: record.rtype() })
    }
}

/// Reads an answer; none where it is malformed, or has an rcode that another upstream may do better than.
#[must_use]
pub fn read(asked: &ForwardedQuestion, message: Bytes) -> Option<UpstreamReply> {
    let message = Message::from_octets(message).ok()?;
    let rcode = message.header().rcode();
    if message.header().tc() || !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let mut room = RECORDS_MAX;
    let mut section = message.answer().ok()?;
    let answer = records_of(&mut section, &mut room)?;
    let mut section = section.next_section().ok()??;
    let mut authority = records_of(&mut section, &mut room)?;
    authority.retain(|record| matches!(record.rtype, Rtype::SOA | Rtype::NS) && asked.name.ends_with(&record.owner));
    Some(UpstreamReply { rcode, truncated: false, answer: chain(asked, answer), authority })
}

/// A section's records of class IN; none where one is malformed, or there are more than `room`.
fn records_of(section: &mut RecordSection<'_, Bytes>, room: &mut usize) -> Option<Vec<UpstreamRecord>> {
    let mut records = Vec::new();
    for record in section {
        *room = room.checked_sub(1)?;
        let record = record.ok()?;
        if record.class() == Class::IN {
            records.push(UpstreamRecord::read(&record)?);
        }
    }
    Some(records)
}

/// The records that follow from each other, from QNAME on; in this order, whatever theirs was.
fn chain(asked: &ForwardedQuestion, mut records: Vec<UpstreamRecord>) -> Vec<UpstreamRecord> {
    let mut kept = Vec::new();
    let mut name = asked.name.clone();
    for _ in 0..=ALIASES_MAX {
        let is_above = |record: &UpstreamRecord| record.owner != name && name.ends_with(&record.owner);
        let dnames = records.extract_if(.., |record| record.rtype == Rtype::DNAME && is_above(record));
        kept.extend(dnames.collect::<Vec<_>>());
        let here: Vec<_> = records.extract_if(.., |record| record.owner == name).collect();
        let is_asked = |record: &UpstreamRecord| asked.rtype == Rtype::ANY || record.rtype == asked.rtype;
        let is_end = here.iter().any(is_asked);
        let target = here.iter().find_map(|record| match &record.data {
            Data::Cname(cname) if !is_end => Some(cname.cname().clone()),
            _ => None,
        });
        kept.extend(here.into_iter().filter(|record| is_asked(record) || (!is_end && record.rtype == Rtype::CNAME)));
        match target {
            Some(target) => name = target,
            None => break,
        }
    }
    kept
}
