//! Building a query, judging an answer.
//!
//! A [`ClientQuestion`] is built once; each query made from it differs in its id and in the case of its name's letters, drawn
//! from a seed (draft-vixie-dnsext-dns0x20), so that an answer meant for another query never passes for this one's.

use std::{io, net::IpAddr, str::FromStr as _};

use domain::{
    base::{Message, MessageBuilder, Name, Rtype, iana::Rcode},
    rdata::{A, Aaaa, AllRecordData},
};

/// The length of a DNS header.
const HEADER: usize = 12;

/// A question, ready to be sent many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientQuestion {
    /// The question's type.
    pub rtype: Rtype,
    wire: Vec<u8>,
    name_length: usize,
    edns: Option<ClientEdns>,
}

/// An OPT record in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEdns {
    /// The UDP payload size the client takes, bytes.
    pub size: u16,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
}

impl ClientEdns {
    /// The options that a resolver sends.
    pub const USUAL: Self = Self { size: 1232, dnssec_ok: true };
}

impl ClientQuestion {
    /// A question for a name in presentation form.
    pub fn new(name: &str, rtype: Rtype, edns: Option<ClientEdns>) -> io::Result<Self> {
        let name = Name::<Vec<u8>>::from_str(name).map_err(|e| io::Error::other(format!("{name}: {e}")))?;
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_rd(true);
        builder.push((&name, rtype)).map_err(io::Error::other)?;
        let mut builder = builder.additional();
        if let Some(ClientEdns { size, dnssec_ok }) = edns {
            let fill = builder.opt(|opt| {
                opt.set_udp_payload_size(size);
                opt.set_dnssec_ok(dnssec_ok);
                Ok(())
            });
            fill.map_err(io::Error::other)?;
        }
        Ok(Self { rtype, wire: builder.finish(), name_length: name.as_slice().len(), edns })
    }

    /// The query with this id, its letters' case drawn from `seed`.
    #[must_use]
    pub fn query(&self, id: u16, seed: u64) -> Vec<u8> {
        let mut wire = self.wire.clone();
        wire[..2].copy_from_slice(&id.to_be_bytes());
        let mut bits = seed | 1;
        // Length bytes are below 64, so never letters.
        for byte in &mut wire[HEADER..HEADER + self.name_length] {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            if byte.is_ascii_alphabetic() && bits & 0x100 != 0 {
                *byte ^= 0x20;
            }
        }
        wire
    }

    /// The query's length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wire.len()
    }

    /// Never: a query has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// Judges what holds for every answer: id, flags, the question echoed byte for byte, OPT for OPT, no byte too many.
    pub fn judge(&self, query: &[u8], answer: Vec<u8>) -> Result<ClientAnswer, String> {
        let echo = HEADER + self.name_length + 4;
        if answer.len() < echo || answer[HEADER..echo] != query[HEADER..echo] {
            return Err("the question is not echoed byte for byte".into());
        }
        let message = Message::from_octets(answer.as_slice()).map_err(|e| e.to_string())?;
        let (header, asked) = (message.header(), u16::from_be_bytes([query[0], query[1]]));
        let flags = [
            (header.id() == asked, "id"),
            (header.qr(), "QR"),
            (header.opcode().to_int() == 0, "opcode"),
            (header.rd(), "RD not copied"),
            (!header.ra(), "RA"),
            (!header.ad(), "AD"),
            (!header.z(), "Z"),
            (!header.tc(), "TC"),
            (message.header_counts().qdcount() == 1, "QDCOUNT"),
        ];
        if let Some((_, wrong)) = flags.iter().find(|(right, _)| !right) {
            return Err(format!("header: {wrong}"));
        }
        let mut opts = 0;
        for record in &message {
            let (record, _) = record.map_err(|e| format!("record: {e}"))?;
            opts += usize::from(record.rtype() == Rtype::OPT);
        }
        let mut last = message.additional().map_err(|e| e.to_string())?;
        while last.next().is_some() {}
        if last.pos() != answer.len() {
            return Err(format!("{} bytes behind the message", answer.len() - last.pos()));
        }
        if opts != usize::from(self.edns.is_some()) {
            return Err(format!("{opts} OPT records"));
        }
        if let (Some(edns), Some(opt)) = (self.edns, message.opt())
            && (opt.version() != 0 || opt.dnssec_ok() != edns.dnssec_ok || opt.udp_payload_size() != 1232)
        {
            return Err(format!("OPT version {} size {}", opt.version(), opt.udp_payload_size()));
        }
        Ok(ClientAnswer { rtype: self.rtype, bytes: answer })
    }
}

/// An answer that fits its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAnswer {
    rtype: Rtype,
    /// The message.
    pub bytes: Vec<u8>,
}

impl ClientAnswer {
    fn message(&self) -> Message<&[u8]> {
        Message::from_octets(self.bytes.as_slice()).expect("judged: longer than a header")
    }

    /// The response code, without EDNS's upper bits.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.message().header().rcode()
    }

    /// AA.
    #[must_use]
    pub fn is_authoritative(&self) -> bool {
        self.message().header().aa()
    }

    /// The one address of a balanced name's answer: NOERROR, AA, one record of the asked type, owned by the question's
    /// name, TTL 0.
    pub fn address(&self) -> Result<IpAddr, String> {
        let message = self.message();
        let (header, counts) = (message.header(), message.header_counts());
        if header.rcode() != Rcode::NOERROR || !header.aa() {
            return Err(format!("{} AA={}", header.rcode(), header.aa()));
        }
        if counts.ancount() != 1 || counts.nscount() != 0 {
            return Err(format!("{} answer and {} authority records", counts.ancount(), counts.nscount()));
        }
        let asked = message.sole_question().map_err(|e| e.to_string())?;
        let record = message.answer().ok().and_then(|mut section| section.next());
        let record = record.ok_or("no record")?.map_err(|e| e.to_string())?;
        if record.rtype() != self.rtype || record.owner() != *asked.qname() || record.ttl().as_secs() != 0 {
            return Err(format!("{} {} TTL {}", record.owner(), record.rtype(), record.ttl().as_secs()));
        }
        if let Ok(Some(a)) = record.to_record::<A>() {
            return Ok(a.data().addr().into());
        }
        match record.to_record::<Aaaa>() {
            Ok(Some(aaaa)) => Ok(aaaa.data().addr().into()),
            other => Err(format!("{other:?}")),
        }
    }

    /// NODATA or NXDOMAIN as it should be: AA, no answer, the zone's SOA as the only authority record.
    pub fn negative(&self) -> Result<Rcode, String> {
        let message = self.message();
        let counts = message.header_counts();
        let authority: Vec<_> = message.authority().map_err(|e| e.to_string())?.flatten().collect();
        let soa_only = authority.len() == 1 && authority[0].rtype() == Rtype::SOA;
        if counts.ancount() == 0 && soa_only && message.header().aa() {
            return Ok(message.header().rcode());
        }
        Err(self.text())
    }

    /// A referral's name servers: NOERROR, AA=0, no answer, NS records of the question's name.
    pub fn referral(&self) -> Result<Vec<String>, String> {
        let message = self.message();
        let header = message.header();
        if header.aa() || header.rcode() != Rcode::NOERROR || message.header_counts().ancount() != 0 {
            return Err(self.text());
        }
        let asked = message.sole_question().map_err(|e| e.to_string())?;
        let mut servers = Vec::new();
        for record in message.authority().map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            match record.to_any_record::<AllRecordData<_, _>>().map_err(|e| e.to_string())?.data() {
                AllRecordData::Ns(ns) if record.owner() == *asked.qname() => {
                    servers.push(ns.nsdname().to_string().to_ascii_lowercase());
                }
                _ => return Err(self.text()),
            }
        }
        if servers.is_empty() { Err(self.text()) } else { Ok(servers) }
    }

    /// The message as dig would show it.
    #[must_use]
    pub fn text(&self) -> String {
        self.message().display_dig_style().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(question: &ClientQuestion, query: &[u8], rtype: Rtype, ttl: u32) -> Vec<u8> {
        let query = Message::from_octets(query).expect("query");
        let mut builder = MessageBuilder::new_vec().start_answer(&query, Rcode::NOERROR).expect("answer");
        builder.header_mut().set_aa(true);
        let name = query.sole_question().expect("question").into_qname();
        if rtype == Rtype::A {
            builder.push((name, ttl, A::from_octets(192, 0, 2, 1))).expect("push");
        }
        let mut builder = builder.additional();
        if let Some(edns) = question.edns {
            let fill = |opt: &mut domain::base::message_builder::OptBuilder<'_, Vec<u8>>| {
                opt.set_udp_payload_size(1232);
                opt.set_dnssec_ok(edns.dnssec_ok);
                Ok(())
            };
            builder.opt(fill).expect("opt");
        }
        builder.finish()
    }

    fn question(edns: Option<ClientEdns>) -> ClientQuestion {
        ClientQuestion::new("app.com", Rtype::A, edns).expect("question")
    }

    #[test]
    fn case_varies_with_the_seed_and_nothing_else_does() {
        let question = question(Some(ClientEdns::USUAL));
        let (one, two) = (question.query(7, 1), question.query(7, 0xdead_beef));
        assert_ne!(one, two);
        assert_eq!(one.to_ascii_lowercase(), two.to_ascii_lowercase());
    }

    #[test]
    fn a_right_answer_passes() {
        for edns in [None, Some(ClientEdns::USUAL)] {
            let question = question(edns);
            let query = question.query(99, 5);
            let answer = question.judge(&query, reply(&question, &query, Rtype::A, 0)).expect("right");
            assert_eq!(answer.address(), Ok(IpAddr::from([192, 0, 2, 1])));
        }
    }

    /// Every check of `judge` and `address` turns at least one wrong answer away.
    #[test]
    fn wrong_answers_do_not() {
        let question = question(Some(ClientEdns::USUAL));
        let query = question.query(99, 5);
        let right = reply(&question, &query, Rtype::A, 0);
        let flip = |byte: usize, bits: u8| {
            let mut wrong = right.clone();
            wrong[byte] ^= bits;
            wrong
        };
        let wrongs = [
            ("id", flip(1, 1)),
            ("QR", flip(2, 0x80)),
            ("opcode", flip(2, 0x08)),
            ("TC", flip(2, 0x02)),
            ("RD", flip(2, 0x01)),
            ("RA", flip(3, 0x80)),
            ("Z", flip(3, 0x40)),
            ("AD", flip(3, 0x20)),
            ("case of the question", flip(HEADER + 1, 0x20)),
            ("trailing byte", [right.as_slice(), &[0]].concat()),
            ("cut short", right[..right.len() - 1].to_vec()),
        ];
        for (what, wrong) in wrongs {
            assert!(question.judge(&query, wrong).is_err(), "{what}");
        }
        for (what, wrong) in [
            ("AA", flip(2, 0x04)),
            ("rcode", flip(3, 2)),
            ("TTL", reply(&question, &query, Rtype::A, 1)),
            ("no record", reply(&question, &query, Rtype::AAAA, 0)),
        ] {
            let judged = question.judge(&query, wrong).expect("a message like any other");
            assert!(judged.address().is_err(), "{what}");
        }
        let without = ClientQuestion::new("app.com", Rtype::A, None).expect("question");
        assert!(without.judge(&without.query(99, 5), reply(&question, &query, Rtype::A, 0)).is_err(), "unasked OPT");
    }
}
