//! A message into a query.
//!
//! ```text
//!  0        2        4        6        8        10       12
//! +--------+--------+--------+--------+--------+--------+----------+----+----+----------
//! |   ID   | flags  |QDCOUNT |ANCOUNT |NSCOUNT |ARCOUNT | QNAME    |type|class| records
//! +--------+--------+--------+--------+--------+--------+----------+----+----+----------
//! ```
//!
//! The whole message is walked, because an OPT or a fault may stand anywhere; what follows it is ignored.

use domain::{
    base::{
        Header, HeaderCounts, Name, ParsedName, ParsedRecord, Rtype, UnknownRecordData,
        iana::{Class, TsigRcode},
        opt::Opt,
    },
    dep::octseq::Parser,
    rdata::Tsig,
};

use super::options::QueryOptions;

/// Bytes of a header (RFC 1035 section 4.1.1).
pub(crate) const HEADER_LEN: usize = 12;
/// Bytes that a client without EDNS takes over UDP (RFC 1035 section 2.3.4), and the least a size in an OPT means.
const UDP_LEN_CLASSIC: u16 = 512;
/// Records that are read of a query, and so may be there. An IXFR over TSIG and EDNS has three; a message of 64 KiB could
/// hold thousands, each with a chain of 255 pointers to follow. Behind them only an OPT is looked for.
const RECORDS_MAX: u32 = 16;

/// A message that gets an answer.
#[derive(Debug)]
pub struct QueryMessage<'a> {
    /// As received; only ID, opcode and RD are to be looked at.
    pub header: Header,
    /// The one question, if it could be read. A message without one is only malformed if it has no OPT; of several
    /// there is none here.
    pub question: Option<Question<'a>>,
    /// The OPT's contents, if there is one; also after a fault, so that the answer can carry one (RFC 6891 section 7).
    pub edns: Option<OptHeader>,
    /// The OPT's options; none after a fault.
    pub options: QueryOptions<'a>,
    /// A TSIG record, which this server has no key for.
    pub tsig: Option<Signature<'a>>,
    /// Whether the message breaks its format: FORMERR.
    pub malformed: bool,
    /// Bytes of the message, trailing ones included.
    pub len: usize,
}

/// QNAME without compression, QTYPE, QCLASS.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// As it came: the answer echoes it byte for byte.
    pub name: &'a Name<[u8]>,
    /// QTYPE.
    pub rtype: Rtype,
    /// QCLASS.
    pub class: Class,
}

/// The contents of a query's OPT (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptHeader {
    /// The requestor's UDP payload size, bytes; at least 512.
    pub udp_len: u16,
    /// Only 0 is known.
    pub version: u8,
    /// DO.
    pub dnssec_ok: bool,
}

/// A TSIG record: the key's name, and the data to say BADKEY with (RFC 8945 section 5.3.2).
#[derive(Debug)]
pub struct Signature<'a> {
    /// The key's name.
    pub key: ParsedName<&'a [u8]>,
    /// The unsigned reply's data.
    pub reply: Tsig<&'a [u8], ParsedName<&'a [u8]>>,
}

impl<'a> QueryMessage<'a> {
    /// Reads a message. None where there must be no answer: fewer than 12 bytes, or a response (QR = 1).
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        if message.len() < HEADER_LEN {
            return None;
        }
        let header = *Header::for_message_slice(message);
        if header.qr() {
            return None;
        }
        let mut query = Self {
            header,
            question: None,
            edns: None,
            options: QueryOptions::default(),
            tsig: None,
            malformed: false,
            len: message.len(),
        };
        query.malformed = query.read(message).is_none();
        if query.malformed {
            query.options = QueryOptions::default();
        }
        Some(query)
    }

    /// Fills in what the message holds; None at its first fault.
    fn read(&mut self, message: &'a [u8]) -> Option<()> {
        let counts = *HeaderCounts::for_message_slice(message);
        let mut parser = Parser::from_ref(message);
        parser.advance(HEADER_LEN).ok()?;
        match counts.qdcount() {
            // It may be about a cookie (RFC 7873 section 5.4).
            0 => {}
            1 => self.question = Some(Question::read(&mut parser)?),
            // One is allowed (RFC 9619); the others are in the OPT's way.
            several => {
                for _ in 0..several {
                    Question::read(&mut parser)?;
                }
            }
        }

        let before = u32::from(counts.ancount()) + u32::from(counts.nscount());
        let all = before + u32::from(counts.arcount());
        let mut sound = counts.qdcount() <= 1 && all <= RECORDS_MAX;
        for number in 1..=all.min(RECORDS_MAX) {
            sound &= match self.record(&mut parser)? {
                Rtype::OPT => number > before,
                // RFC 8945 section 5.1: the last of all.
                Rtype::TSIG => number > before && number == all,
                _ => true,
            }
        }
        for _ in RECORDS_MAX..all {
            self.skim(&mut parser)?;
        }
        // Not before the end, so that an OPT behind the fault is answered with one.
        (sound && (self.question.is_some() || self.edns.is_some())).then_some(())
    }

    /// Passes over a record, but for an OPT. It follows no pointers, so that the time it takes is that of its bytes.
    fn skim(&mut self, parser: &mut Parser<'a, [u8]>) -> Option<()> {
        let mut head = *parser;
        loop {
            match head.parse_u8().ok()? {
                0 => break,
                len @ 1..=63 => head.advance(len.into()).ok()?,
                0xc0.. => {
                    head.advance(1).ok()?;
                    break;
                }
                _ => return None,
            }
        }
        if Rtype::parse(&mut head).ok()? == Rtype::OPT {
            return self.record(parser).map(|_| ());
        }
        // Class and TTL.
        head.advance(6).ok()?;
        let len = head.parse_u16_be().ok()?;
        head.advance(len.into()).ok()?;
        *parser = head;
        Some(())
    }

    fn record(&mut self, parser: &mut Parser<'a, [u8]>) -> Option<Rtype> {
        let mut head = *parser;
        ParsedName::parse_ref(&mut head).ok()?;
        if Rtype::parse(&mut head).ok()? == Rtype::OPT {
            // From here on the answer carries an OPT, even if the rest of this one cannot be read; and a second one
            // is a fault.
            let plain = OptHeader { udp_len: UDP_LEN_CLASSIC, version: 0, dnssec_ok: false };
            if self.edns.replace(plain).is_some() {
                return None;
            }
        }
        let record = ParsedRecord::parse(parser).ok()?;
        match record.rtype() {
            Rtype::OPT => {
                let (edns, options) = OptHeader::read(&record)?;
                (self.edns, self.options) = (Some(edns), options);
            }
            Rtype::TSIG => self.tsig = Some(Signature::read(&record, self.header.id())?),
            _ => {}
        }
        Some(record.rtype())
    }
}

impl<'a> Question<'a> {
    fn read(parser: &mut Parser<'a, [u8]>) -> Option<Self> {
        // Not `ParsedName`: a pointer has nothing to point to in a question.
        let name = Name::<&[u8]>::parse(parser).ok()?;
        let rtype = Rtype::parse(parser).ok()?;
        let class = Class::parse(parser).ok()?;
        Some(Self { name: Name::from_slice(name.into_octets()).ok()?, rtype, class })
    }
}

impl OptHeader {
    /// The OPT record's fixed part and its options, if the record is well formed.
    fn read<'a>(record: &ParsedRecord<'a, [u8]>) -> Option<(Self, QueryOptions<'a>)> {
        let data = record.to_record::<UnknownRecordData<&'a [u8]>>().ok()??.into_data();
        if !record.owner().is_root() {
            return None;
        }
        let [_, version, flags, _] = record.ttl().as_secs().to_be_bytes();
        // What another version puts here may have any form: BADVERS goes before FORMERR.
        let options = match version {
            0 => QueryOptions::read(Opt::from_slice(data.data()).ok()?),
            _ => QueryOptions::default(),
        };
        let udp_len = record.class().to_int().max(UDP_LEN_CLASSIC);
        Some((Self { udp_len, version, dnssec_ok: flags & 0x80 != 0 }, options))
    }
}

impl<'a> Signature<'a> {
    fn read(record: &ParsedRecord<'a, [u8]>, id: u16) -> Option<Self> {
        let asked = record.to_record::<Tsig<&'a [u8], ParsedName<&'a [u8]>>>().ok()??;
        let asked = asked.into_data();
        let reply =
            Tsig::new(*asked.algorithm(), asked.time_signed(), asked.fudge(), &[][..], id, TsigRcode::BADKEY, &[][..]);
        Some(Self { key: record.owner(), reply: reply.ok()? })
    }
}
