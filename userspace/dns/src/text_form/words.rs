//! An entry's data taken word by word, and the fields that it is made of.

use std::{net::Ipv4Addr, str::FromStr, string::FromUtf8Error};

use bytes::Bytes;
use domain::{
    base::{
        Rtype, ToName,
        name::{FromStrError, LongChainError, UncertainName},
    },
    utils::base64,
};

use crate::{
    fault::{At, Fault, escape},
    rewrite::{Token, octets, push_printable},
};
use zerottl_core::model;

/// A part of a type's data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
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

/// Reads a type by its word, or as `TYPE` and its number.
pub(crate) fn rtype(word: &str) -> Option<Rtype> {
    // The one that `domain` spells in another way.
    if word.eq_ignore_ascii_case("NSAP-PTR") {
        return Some(Rtype::NSAPPTR);
    }
    Rtype::from_str(word).ok()
}

/// Why a text is no name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("a backslash that escapes nothing")]
    Escape,
    #[error("it is empty")]
    Empty,
    #[error(transparent)]
    Utf8(#[from] FromUtf8Error),
    #[error(transparent)]
    Form(#[from] FromStrError),
    #[error(transparent)]
    TooLong(#[from] LongChainError),
}

/// Reads a name; relative ones end in the origin, and a free-standing `@` is the origin (RFC 1035 section 5.1).
pub(crate) fn name(text: &[u8], token: &Token, origin: &model::Name) -> Result<model::Name, NameError> {
    let inner = token.inner(text);
    if inner == b"@" && !token.quoted {
        return Ok(origin.clone());
    }
    if octets(inner).is_none() {
        return Err(NameError::Escape);
    }
    let mut plain = Vec::with_capacity(inner.len());
    push_printable(&mut plain, inner);
    let plain = String::from_utf8(plain)?;
    match plain.as_str() {
        "" => return Err(NameError::Empty),
        "." => return Ok(model::Name::root_bytes()),
        _ => {}
    }
    let name = UncertainName::<Bytes>::from_str(&plain)?;
    let whole = name.chain(origin.clone())?;
    Ok(whole.to_name())
}

/// An entry's data, token by token, and what it is on the wire.
pub(super) struct Words<'w> {
    pub(super) text: &'w [u8],
    pub(super) tokens: &'w [Token],
    pub(super) origin: &'w model::Name,
    pub(super) at: usize,
    pub(super) out: Vec<u8>,
}

impl<'w> Words<'w> {
    /// A fault at the token that was taken last.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(At::Token(self.at.saturating_sub(1)), message)
    }

    pub(super) fn next(&mut self, what: &str) -> Result<&'w Token, Fault> {
        let token = self.tokens.get(self.at);
        let token =
            token.ok_or_else(|| Fault::new(At::Whole, format!("unexpected end of entry: {what} is missing")))?;
        self.at += 1;
        Ok(token)
    }

    pub(super) fn has_more(&self) -> bool {
        self.at < self.tokens.len()
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.has_more() {
            return Err(Fault::new(At::Token(self.at), "there is more than this type has"));
        }
        Ok(())
    }

    /// The next token as it is written.
    pub(super) fn word(&mut self, what: &str) -> Result<&'w str, Fault> {
        let token = self.next(what)?;
        std::str::from_utf8(token.inner(self.text)).map_err(|_| self.fault(format!("expected {what}")))
    }

    pub(super) fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T, Fault> {
        self.word(what)?.parse().map_err(|_| self.fault(format!("expected {what}")))
    }

    /// All that follows, in one.
    pub(super) fn joined(&mut self, what: &str) -> Result<String, Fault> {
        let mut all = self.word(what)?.to_owned();
        while self.has_more() {
            all.push_str(self.word(what)?);
        }
        Ok(all)
    }

    pub(super) fn octets(&mut self, what: &str) -> Result<Vec<u8>, Fault> {
        let token = self.next(what)?;
        octets(token.inner(self.text)).ok_or_else(|| escape(self.at - 1))
    }

    pub(super) fn text(&mut self) -> Result<(), Fault> {
        let text = self.octets("a text")?;
        let len =
            u8::try_from(text.len()).map_err(|_| self.fault("a text has at most 255 bytes: split it into several"))?;
        self.out.push(len);
        self.out.extend_from_slice(&text);
        Ok(())
    }

    pub(super) fn name(&mut self) -> Result<(), Fault> {
        let token = self.next("a name")?;
        let name = name(self.text, token, self.origin).map_err(|reason| self.fault(format!("no name: {reason}")))?;
        self.out.extend_from_slice(name.as_slice());
        Ok(())
    }

    pub(super) fn hex(&mut self, text: &str) -> Result<(), Fault> {
        let bytes = from_hex(text).ok_or_else(|| self.fault("expected hexadecimal digits, two for each byte"))?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    pub(super) fn base64(&mut self, text: &str) -> Result<(), Fault> {
        let bytes: Vec<u8> = base64::decode(text).map_err(|error| self.fault(format!("expected base 64: {error}")))?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    pub(super) fn field(&mut self, field: Field) -> Result<(), Fault> {
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
    pub(super) fn unknown(&mut self) -> Result<(), Fault> {
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

    pub(super) fn types(&mut self) -> Result<(), Fault> {
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

    pub(super) fn cert_type(&mut self) -> Result<(), Fault> {
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

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
