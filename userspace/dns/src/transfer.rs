//! Whole zones for those who may have them: AXFR (RFC 5936), and IXFR answered by AXFR (RFC 1995 section 4).
//!
//! ```text
//! message 1: SOA | records …    message 2: records …    …    message n: records … | SOA
//! ```
//!
//! Only zones without dynamic names are given away, since a plan is no data. What other servers make of names themselves
//! is not sent: empty non-terminals. A signed zone goes with its signatures and its chain (RFC 4035 section 3.1.5). What the zone only holds for others is: glue, and what a delegation or a DNAME hides
//! (section 3.5).

use std::{iter, net::IpAddr};

use domain::{
    base::{Message, ParsedName, Rtype, Serial, iana::Rcode},
    rdata::Soa,
};

use super::{
    dnssec::SignedZone,
    query::Question,
    reply::{Reply, Rr, records},
    zone::{Data, FoldedName, Zone, Zones},
};

/// Bytes of records in one message, before compression; a longer record has a message to itself. Offsets up to 16,383
/// can be pointed to, so that longer messages would not be compressed to their end.
const MESSAGE_LEN: usize = 16_000;
/// Bytes of type, class, TTL and RDLENGTH.
const RECORD_FIXED: usize = 10;

/// The answer to a client that asks for a zone.
#[derive(Debug)]
pub enum Transfer<'a> {
    /// All of it.
    Whole(&'a Zone),
    /// This; its rcode if the zone is not to be had, or its SOA alone if the client has it already.
    Short(Reply<'a>),
}

/// Decides about an AXFR or IXFR question over TCP; `message` is the whole query.
#[must_use]
pub fn decide<'a>(question: Question<'_>, message: &[u8], client: IpAddr, zones: &'a Zones) -> Transfer<'a> {
    let zone = zones.zone_of(&FoldedName::new(question.name));
    let Some(zone) = zone.filter(|zone| zone.apex() == question.name && zone.goes_to(client)) else {
        return Transfer::Short(Reply::bare(Rcode::REFUSED));
    };
    if question.rtype == Rtype::AXFR {
        return Transfer::Whole(zone);
    }
    let Some(theirs) = serial_of(message, question) else { return Transfer::Short(Reply::bare(Rcode::FORMERR)) };
    let is_older = serial(zone).is_some_and(|ours| theirs < ours);
    if is_older {
        return Transfer::Whole(zone);
    }
    // RFC 1995 section 2: the same or a newer one.
    let answer = records(zone.apex().for_slice(), zone.apex_soa()).collect();
    Transfer::Short(Reply { authoritative: true, answer, ..Reply::bare(Rcode::NOERROR) })
}

fn serial(zone: &Zone) -> Option<Serial> {
    match zone.soa().data.first()? {
        Data::Soa(soa) => Some(soa.serial()),
        _ => None,
    }
}

/// The serial of the SOA that an IXFR query has in its authority section (RFC 1995 section 3).
fn serial_of(message: &[u8], question: Question<'_>) -> Option<Serial> {
    let message = Message::from_slice(message).ok()?;
    let mut records = message.authority().ok()?.limit_to::<Soa<ParsedName<&[u8]>>>();
    let record = records.next()?.ok()?;
    (record.owner() == question.name).then(|| record.data().serial())
}

/// The zone as the replies of its messages, SOA first and last.
pub fn replies<'a>(zone: &'a Zone, signed: Option<&'a SignedZone>) -> impl Iterator<Item = Reply<'a>> {
    let apex = zone.apex().for_slice();
    let soa = || records(apex, zone.apex_soa());
    let others = zone.nodes().flat_map(|node| {
        let sets = node.sets.iter().filter(|set| set.rtype != Rtype::SOA);
        sets.flat_map(|set| records(node.owner.for_slice(), set))
    });
    let signatures = signed.into_iter().flat_map(|signed| signed.records(zone));
    let mut all = soa().chain(others).chain(signatures).chain(soa()).peekable();
    iter::from_fn(move || {
        let mut answer = vec![all.next()?];
        let mut len = wire_len(&answer[0]);
        while let Some(rr) = all.next_if(|rr| len + wire_len(rr) <= MESSAGE_LEN) {
            len += wire_len(&rr);
            answer.push(rr);
        }
        Some(Reply { authoritative: true, answer, ..Reply::bare(Rcode::NOERROR) })
    })
}

fn wire_len(rr: &Rr<'_>) -> usize {
    use domain::base::rdata::ComposeRecordData;
    rr.owner.name().len() + RECORD_FIXED + usize::from(rr.data.rdlen(false).unwrap_or(u16::MAX))
}
