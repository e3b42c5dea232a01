//! A record's data from its text: `domain`'s scanner for the types that it knows, the tables here for those that it does
//! not, as BIND writes them, and `\# LENGTH HEX` for any (RFC 3597 section 5).

use std::{net::Ipv4Addr, net::Ipv6Addr, str::FromStr};

use bytes::Bytes;
use domain::{
    base::{
        ParseRecordData, ParsedName, RecordData, Rtype, ToName,
        iana::Class,
        name::{FlattenInto, UncertainName},
        rdata::ComposeRecordData,
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
    utils::base64,
    zonefile::inplace::{Entry, Zonefile},
};

use super::{
    master::{At, Fault, escape},
    rewrite::{Token, octets, push_printable, ttl_seconds},
    zone::Data,
};
use zerottl_core::model;

mod odd;

/// A part of a type's data.
#[derive(Clone, Copy, Debug)]
enum Field {
    U8,
    U16,
    U32,
    /// Four decimal numbers with dots.
    Ipv4,
    /// A name, never compressed.
    Name,
    /// One text of up to 255 bytes behind its length.
    Text,
    /// One or more of those.
    Texts,
    /// A text without a length, to the end.
    Rest,
    /// Hexadecimal digits in any number of words, to the end.
    Hex,
    /// Base 64 in any number of words, to the end.
    Base64,
    /// As `Base64`; `-` is nothing.
    Base64OrNone,
    /// Words for types, as a bitmap (RFC 4034 section 4.1.2).
    Types,
    /// A CERT's type (RFC 4398 section 2.1).
    CertType,
    /// A DNSSEC algorithm, a number or its word.
    Algorithm,
    /// 64 bits as four hexadecimal groups (RFC 6742).
    Locator,
    /// So many bytes in hexadecimal with dashes between (RFC 7043).
    Eui(usize),
}

/// The parts of a type that the scanner does not know, if they just follow each other.
fn fields(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::{
        Algorithm, Base64, Base64OrNone, CertType, Eui, Hex, Ipv4, Locator, Name, Rest, Text, Texts, Types, U8, U16,
        U32,
    };
    Some(match rtype.to_int() {
        // AFSDB, RT, KX, LP.
        18 | 21 | 36 | 107 => &[U16, Name],
        // X25.
        19 => &[Text],
        // ISDN, NINFO, SPF, AVC, RESINFO, WALLET.
        20 | 56 | 99 | 258 | 261 | 262 => &[Texts],
        // NSAP-PTR.
        23 => &[Name],
        // KEY, RKEY.
        25 | 57 => &[U16, U8, Algorithm, Base64],
        // PX.
        26 => &[U16, Name, Name],
        // GPOS.
        27 => &[Text, Text, Text],
        // EID, NIMLOC.
        31 | 32 => &[Hex],
        // CERT.
        37 => &[CertType, U16, Algorithm, Base64],
        // SINK.
        40 => &[U8, U8, U8, Base64],
        // DHCID.
        49 => &[Base64],
        // SMIMEA.
        53 => &[U8, U8, U8, Hex],
        // TALINK.
        58 => &[Name, Name],
        // CSYNC.
        62 => &[U32, U16, Types],
        // NID, L64.
        104 | 106 => &[U16, Locator],
        // L32.
        105 => &[U16, Ipv4],
        108 => &[Eui(6)],
        109 => &[Eui(8)],
        // URI.
        256 => &[U16, U16, Rest],
        // DOA.
        259 => &[U32, U32, U8, Text, Base64OrNone],
        // TA, DLV.
        32768 | 32769 => &[U16, Algorithm, U8, Hex],
        _ => return None,
    })
}

/// Whether the scanner knows a type's text.
fn is_scanned(rtype: Rtype) -> bool {
    let known = [1..=9, 12..=17, 28..=28, 33..=33, 35..=35, 39..=39, 43..=48, 50..=52, 59..=61, 63..=65, 257..=257];
    known.iter().any(|known| known.contains(&rtype.to_int()))
}

/// A type by its word, or as `TYPE` and its number.
pub(super) fn rtype(word: &str) -> Option<Rtype> {
    // The one that `domain` spells in another way.
    if word.eq_ignore_ascii_case("NSAP-PTR") {
        return Some(Rtype::NSAPPTR);
    }
    Rtype::from_str(word).ok()
}

/// A name; relative ones end in the origin, and a free-standing `@` is the origin (RFC 1035 section 5.1).
pub(super) fn name(text: &[u8], token: &Token, origin: &model::Name) -> Result<model::Name, String> {
    let inner = token.inner(text);
    if inner == b"@" && !token.quoted {
        return Ok(origin.clone());
    }
    if octets(inner).is_none() {
        return Err("a backslash that escapes nothing".into());
    }
    let mut plain = Vec::with_capacity(inner.len());
    push_printable(&mut plain, inner);
    let plain = String::from_utf8(plain).map_err(|error| error.to_string())?;
    match plain.as_str() {
        "" => return Err("it is empty".into()),
        "." => return Ok(model::Name::root_bytes()),
        _ => {}
    }
    let name = UncertainName::<Bytes>::from_str(&plain).map_err(|error| error.to_string())?;
    let whole = name.chain(origin.clone()).map_err(|error| error.to_string())?;
    Ok(whole.to_name())
}

/// Reads data that is of a type; positions in faults are those of `tokens`.
pub(super) fn data(rtype: Rtype, text: &[u8], tokens: &[Token], origin: &model::Name) -> Result<Data, Fault> {
    let mut words = Words { text, tokens, origin, at: 0, out: Vec::new() };
    if tokens.first().is_some_and(|token| !token.quoted && token.inner(text) == b"\\#") {
        words.unknown()?;
        return of_wire(rtype, &words.out)
            .ok_or_else(|| Fault::new(At::Whole, "the data does not have that type's form (RFC 3597 section 5)"));
    }
    if let Some(at) = tokens.iter().position(|token| octets(token.inner(text)).is_none()) {
        return Err(escape(at));
    }
    match fields(rtype) {
        Some(fields) => fields.iter().try_for_each(|field| words.field(*field))?,
        None if is_scanned(rtype) => return scanned(rtype, &words),
        None => match odd::reader(rtype) {
            Some(read) => read(&mut words)?,
            None => {
                return Err(Fault::new(At::Type, "there is no text form for this type here")
                    .help(format!("write its data as TYPE{} \\# LENGTH HEX (RFC 3597 section 5)", rtype.to_int())));
            }
        },
    }
    words.end()?;
    of_wire(rtype, &words.out).ok_or_else(|| Fault::new(At::Whole, "the data does not have that type's form"))
}

/// Data as its type's own, so that a CNAME written as unknown data still is one.
fn of_wire(rtype: Rtype, wire: &[u8]) -> Option<Data> {
    let wire = Bytes::copy_from_slice(wire);
    let mut parser = Parser::from_ref(&wire);
    let parsed = ZoneRecordData::<Bytes, ParsedName<Bytes>>::parse_rdata(rtype, &mut parser).ok()??;
    if parser.remaining() > 0 {
        return None;
    }
    let Ok(owned) = parsed.try_flatten_into();
    Some(owned)
}

/// Reads data with `domain`'s scanner.
fn scanned(rtype: Rtype, words: &Words<'_>) -> Result<Data, Fault> {
    let mut line = format!(". 0 TYPE{}", rtype.to_int()).into_bytes();
    let mut starts = Vec::new();
    let names = name_fields(rtype);
    for (at, token) in words.tokens.iter().enumerate() {
        if names.contains(&at) {
            // It takes names with empty labels.
            let checked = name(words.text, token, words.origin);
            checked.map_err(|reason| Fault::new(At::Token(at), format!("no name: {reason}")))?;
        }
        let is_apart = at == 0 || words.tokens[at - 1].span.end < token.span.start;
        line.extend_from_slice(if is_apart { b" " } else { b"" });
        starts.push(line.len());
        // BIND's units, in an SOA's timers.
        let timer = (rtype == Rtype::SOA && at >= 3).then(|| ttl_seconds(token.inner(words.text))).flatten();
        if let Some(seconds) = timer {
            line.extend_from_slice(seconds.to_string().as_bytes());
        } else if !token.quoted && token.inner(words.text) == b"@" && names.contains(&at) {
            // Which the scanner takes for the origin.
            line.extend_from_slice(b"\"\"");
        } else {
            push_printable(&mut line, &words.text[token.span.clone()]);
        }
    }
    // It wants every line ended.
    line.push(b'\n');
    let mut file = Zonefile::from(line.as_slice());
    file.set_origin(words.origin.clone());
    file.set_default_class(Class::IN);
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let mut wire = Vec::new();
            let Ok(()) = record.data().compose_rdata(&mut wire);
            of_wire(record.data().rtype(), &wire)
                .ok_or_else(|| Fault::new(At::Whole, "the data does not have that type's form"))
        }
        Ok(_) => Err(Fault::new(At::Whole, "no record")),
        Err(error) => {
            let text = error.to_string();
            // "line:column: message", of the line that was made here.
            let message = text.splitn(3, ':').nth(2).map_or(text.as_str(), str::trim);
            if message.contains("end of entry") {
                return Err(Fault::new(At::Whole, message));
            }
            // It counts one byte that it puts before the text.
            let read = file.current_offset().saturating_sub(1);
            Err(Fault::new(At::Token(faulty(message, words, names, &starts, read)), message))
        }
    }
}

/// The token that the scanner complains of. It says how far it has read, but does not count all tokens that were good; so
/// numbers and digits are looked at again.
fn faulty(message: &str, words: &Words<'_>, names: &[usize], starts: &[usize], read: usize) -> usize {
    let last = starts.len().saturating_sub(1);
    let inner = |token: &Token| std::str::from_utf8(token.inner(words.text)).unwrap_or_default().to_owned();
    let all: Vec<(usize, String)> =
        words.tokens.iter().map(inner).enumerate().filter(|(at, _)| !names.contains(at)).collect();
    if message.contains("decimal") {
        let first_over =
            |max: u64| all.iter().find(|(_, word)| word.parse::<u64>().map_or(true, |number| number > max));
        let max = [u64::from(u32::MAX), u64::from(u16::MAX), u64::from(u8::MAX)].into_iter().find_map(first_over);
        return max.map_or(0, |(at, _)| *at);
    }
    if message.contains("digits") || message.contains("base64") {
        let is_bad = |word: &String| !word.bytes().all(|byte| byte.is_ascii_hexdigit());
        return all
            .iter()
            .skip(1)
            .find(|(_, word)| message.contains("hex") && is_bad(word))
            .map_or(last, |(at, _)| *at);
    }
    // To the end of the token at fault, or of the one before.
    let at = starts.partition_point(|start| *start <= read);
    let is_next = message.contains("trailing") || message.contains("charstr");
    if is_next { at.min(last) } else { at.saturating_sub(1) }
}

/// Fields of a type's data that are names. Texts are not among them: an `@` there is an `@`.
fn name_fields(rtype: Rtype) -> &'static [usize] {
    match rtype {
        Rtype::NS
        | Rtype::CNAME
        | Rtype::PTR
        | Rtype::DNAME
        | Rtype::NSEC
        | Rtype::MB
        | Rtype::MD
        | Rtype::MF
        | Rtype::MG
        | Rtype::MR => &[0],
        Rtype::SOA | Rtype::MINFO | Rtype::RP => &[0, 1],
        Rtype::MX | Rtype::SVCB | Rtype::HTTPS => &[1],
        Rtype::SRV | Rtype::IPSECKEY => &[3],
        Rtype::NAPTR => &[5],
        Rtype::RRSIG => &[7],
        _ => &[],
    }
}

/// An entry's data, token by token, and what it is on the wire.
struct Words<'w> {
    text: &'w [u8],
    tokens: &'w [Token],
    origin: &'w model::Name,
    at: usize,
    out: Vec<u8>,
}

impl<'w> Words<'w> {
    /// A fault at the token that was taken last.
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(At::Token(self.at.saturating_sub(1)), message)
    }

    fn next(&mut self, what: &str) -> Result<&'w Token, Fault> {
        let token = self.tokens.get(self.at);
        let token =
            token.ok_or_else(|| Fault::new(At::Whole, format!("unexpected end of entry: {what} is missing")))?;
        self.at += 1;
        Ok(token)
    }

    fn has_more(&self) -> bool {
        self.at < self.tokens.len()
    }

    fn end(&self) -> Result<(), Fault> {
        if self.has_more() {
            return Err(Fault::new(At::Token(self.at), "there is more than this type has"));
        }
        Ok(())
    }

    /// The next token as it is written.
    fn word(&mut self, what: &str) -> Result<&'w str, Fault> {
        let token = self.next(what)?;
        std::str::from_utf8(token.inner(self.text)).map_err(|_| self.fault(format!("expected {what}")))
    }

    fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T, Fault> {
        self.word(what)?.parse().map_err(|_| self.fault(format!("expected {what}")))
    }

    /// All that follows, in one.
    fn joined(&mut self, what: &str) -> Result<String, Fault> {
        let mut all = self.word(what)?.to_owned();
        while self.has_more() {
            all.push_str(self.word(what)?);
        }
        Ok(all)
    }

    fn octets(&mut self, what: &str) -> Result<Vec<u8>, Fault> {
        let token = self.next(what)?;
        octets(token.inner(self.text)).ok_or_else(|| escape(self.at - 1))
    }

    fn text(&mut self) -> Result<(), Fault> {
        let text = self.octets("a text")?;
        let len =
            u8::try_from(text.len()).map_err(|_| self.fault("a text has at most 255 bytes: split it into several"))?;
        self.out.push(len);
        self.out.extend_from_slice(&text);
        Ok(())
    }

    fn name(&mut self) -> Result<(), Fault> {
        let token = self.next("a name")?;
        let name = name(self.text, token, self.origin).map_err(|reason| self.fault(format!("no name: {reason}")))?;
        self.out.extend_from_slice(name.as_slice());
        Ok(())
    }

    fn hex(&mut self, text: &str) -> Result<(), Fault> {
        let bytes = from_hex(text).ok_or_else(|| self.fault("expected hexadecimal digits, two for each byte"))?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    fn base64(&mut self, text: &str) -> Result<(), Fault> {
        let bytes: Vec<u8> = base64::decode(text).map_err(|error| self.fault(format!("expected base 64: {error}")))?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    fn field(&mut self, field: Field) -> Result<(), Fault> {
        match field {
            Field::U8 => {
                let number = self.parsed("a number up to 255")?;
                self.out.push(number);
            }
            Field::U16 => {
                let number: u16 = self.parsed("a number up to 65535")?;
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            Field::U32 => {
                let number: u32 = self.parsed("a number of 32 bits")?;
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            Field::Ipv4 => {
                let address: Ipv4Addr = self.parsed("an IPv4 address")?;
                self.out.extend_from_slice(&address.octets());
            }
            Field::Name => self.name()?,
            Field::Text => self.text()?,
            Field::Texts => {
                self.text()?;
                while self.has_more() {
                    self.text()?;
                }
            }
            Field::Rest => {
                let text = self.octets("a text")?;
                self.out.extend_from_slice(&text);
            }
            Field::Hex => {
                let all = self.joined("hexadecimal digits")?;
                self.hex(&all)?;
            }
            Field::Base64 => {
                let all = self.joined("base 64")?;
                self.base64(&all)?;
            }
            Field::Base64OrNone => {
                let all = self.joined("base 64, or - for nothing")?;
                self.base64(if all == "-" { "" } else { &all })?;
            }
            Field::Types => self.types()?,
            Field::CertType => self.cert_type()?,
            Field::Algorithm => {
                let word = self.word("an algorithm")?;
                let algorithm = algorithm(word).ok_or_else(|| self.fault("expected an algorithm's number or word"))?;
                self.out.push(algorithm);
            }
            Field::Locator => {
                let word = self.word("four groups of hexadecimal digits")?;
                let groups: Option<Vec<u16>> =
                    word.split(':').map(|group| u16::from_str_radix(group, 16).ok()).collect();
                let groups = groups.filter(|groups| groups.len() == 4);
                let groups = groups.ok_or_else(|| self.fault("expected four groups of hexadecimal digits"))?;
                self.out.extend(groups.into_iter().flat_map(u16::to_be_bytes));
            }
            Field::Eui(len) => {
                let word = self.word("bytes with dashes between them")?;
                let bytes: Option<Vec<_>> =
                    word.split('-').map(|byte| from_hex(byte).filter(|b| b.len() == 1)).collect();
                let bytes = bytes.filter(|bytes| bytes.len() == len);
                let bytes =
                    bytes.ok_or_else(|| self.fault(format!("expected {len} bytes such as 00-1a-… with dashes")))?;
                self.out.extend(bytes.into_iter().flatten());
            }
        }
        Ok(())
    }

    /// `\# LENGTH HEX`.
    fn unknown(&mut self) -> Result<(), Fault> {
        self.at = 1;
        let len: u16 = self.parsed("the data's length")?;
        let all = if self.has_more() { self.joined("hexadecimal digits")? } else { String::new() };
        self.hex(&all)?;
        if self.out.len() != usize::from(len) {
            let has = self.out.len();
            return Err(Fault::new(At::Token(1), format!("the length is {len}, but there are {has} bytes")));
        }
        Ok(())
    }

    fn types(&mut self) -> Result<(), Fault> {
        let mut windows: std::collections::BTreeMap<u8, [u8; 32]> = std::collections::BTreeMap::new();
        while self.has_more() {
            let word = self.word("a type")?;
            let number = rtype(word).ok_or_else(|| self.fault(format!("`{word}` is no record type")))?.to_int();
            let [window, bit] = number.to_be_bytes();
            windows.entry(window).or_default()[usize::from(bit / 8)] |= 0x80 >> (bit % 8);
        }
        for (window, bits) in windows {
            let len = bits.iter().rposition(|byte| *byte > 0).map_or(0, |last| last + 1);
            self.out.extend_from_slice(&[window, len as u8]);
            self.out.extend_from_slice(&bits[..len]);
        }
        Ok(())
    }

    fn cert_type(&mut self) -> Result<(), Fault> {
        const TYPES: [(&str, u16); 10] = [
            ("PKIX", 1),
            ("SPKI", 2),
            ("PGP", 3),
            ("IPKIX", 4),
            ("ISPKI", 5),
            ("IPGP", 6),
            ("ACPKIX", 7),
            ("IACPKIX", 8),
            ("URI", 253),
            ("OID", 254),
        ];
        let word = self.word("a certificate's type")?;
        let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, number)| *number);
        let number = known.or_else(|| word.parse().ok()).ok_or_else(|| self.fault("expected a certificate's type"))?;
        self.out.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }
}

/// A DNSSEC algorithm by its number, or its word (RFC 4034 appendix A.1 and its successors).
fn algorithm(word: &str) -> Option<u8> {
    const WORDS: [(&str, u8); 17] = [
        ("RSAMD5", 1),
        ("DH", 2),
        ("DSA", 3),
        ("ECC", 4),
        ("RSASHA1", 5),
        ("NSEC3DSA", 6),
        ("NSEC3RSASHA1", 7),
        ("RSASHA256", 8),
        ("RSASHA512", 10),
        ("ECCGOST", 12),
        ("ECDSAP256SHA256", 13),
        ("ECDSAP384SHA384", 14),
        ("ED25519", 15),
        ("ED448", 16),
        ("INDIRECT", 252),
        ("PRIVATEDNS", 253),
        ("PRIVATEOID", 254),
    ];
    let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, number)| *number);
    known.or_else(|| word.parse().ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
