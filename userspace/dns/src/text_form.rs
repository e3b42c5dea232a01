//! A record's data from its text: `domain`'s scanner for the types that it knows, the tables here for those that it does
//! not, as BIND writes them, and `\# LENGTH HEX` for any (RFC 3597 section 5).

use bytes::Bytes;
use domain::{
    base::{ParseRecordData, ParsedName, RecordData, Rtype, iana::Class, name::FlattenInto, rdata::ComposeRecordData},
    dep::octseq::Parser,
    rdata::ZoneRecordData,
    zonefile::inplace::{Entry, Zonefile},
};

use super::{
    fault::{At, Fault, escape},
    rewrite::{Token, octets, push_printable, ttl_seconds},
    zone::Data,
};
use zerottl_core::model;

mod odd;
mod words;

use words::{Field, Words};
pub(super) use words::{name, rtype};

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
