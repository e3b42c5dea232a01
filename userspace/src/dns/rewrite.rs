//! A master file's text as `domain`'s scanner reads it, line for line.
//!
//! The scanner does not know `@` in record data (RFC 1035 section 5.1) nor TTLs with units (BIND's `1h30m`), and it panics
//! at what is not closed. So the text goes through here first: an `@` where a name may stand becomes `""`, which the
//! scanner takes for the origin as it then is, and a TTL becomes seconds. Nothing else changes, and no line moves.

use std::str::FromStr;

use domain::base::{Rtype, iana::Class};

/// Rewrites a text.
///
/// # Errors
/// The line, from 1, of a quote or parenthesis that is not closed, or closed without being opened.
pub(super) fn rewrite(text: &[u8]) -> Result<Vec<u8>, (usize, &'static str)> {
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut line, mut parens) = (0, 1, Vec::new());
    let mut entry = Entry::new();
    while let Some(&byte) = text.get(at) {
        let start = at;
        match byte {
            b' ' | b'\t' | b'\r' => entry.indent(),
            b'\n' => {
                line += 1;
                if parens.is_empty() {
                    entry = Entry::new();
                }
            }
            b'(' => parens.push(line),
            b')' if parens.pop().is_none() => return Err((line, "a parenthesis is closed that was not opened")),
            b')' => {}
            b';' => at = text[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |len| at + len) - 1,
            b'"' => {
                at += quoted_len(&text[at..]).ok_or((line, "the quote is not closed"))? - 1;
                let token = &text[start..=at];
                line += line_feeds(token);
                entry.token(&token[1..token.len() - 1], true);
            }
            _ => {
                at += word_len(&text[at..]) - 1;
                let token = &text[start..=at];
                line += line_feeds(token);
                if let Some(replacement) = entry.token(token, false) {
                    out.extend_from_slice(&replacement);
                    at += 1;
                    continue;
                }
            }
        }
        at += 1;
        out.extend_from_slice(&text[start..at]);
    }
    match parens.pop() {
        Some(line) => Err((line, "the parenthesis is not closed")),
        None => Ok(out),
    }
}

fn line_feeds(token: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', token).count()
}

/// Bytes of a quoted token, both quotes included; none if it does not end.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
}

/// Bytes of an unquoted token.
fn word_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b';' | b'"' => break,
            // Whatever follows, a line's end too: the scanner then refuses it.
            b'\\' => 2,
            _ => 1,
        };
    }
    at.min(text.len())
}

/// How far an entry has been read.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// Before its first token; and whether there was white space.
    Start { indented: bool },
    /// Before its type: a TTL and a class may come. Counts them.
    Head(u8),
    /// In the data: which fields are names, and the next field.
    Data(&'static [usize], usize),
    /// Behind `$TTL`.
    Ttl,
    /// Nothing here is changed.
    Other,
}

impl Entry {
    fn new() -> Self {
        Self::Start { indented: false }
    }

    fn indent(&mut self) {
        if let Self::Start { indented } = self {
            *indented = true;
        }
    }

    /// Takes a token; returns what is to stand in its place, if anything.
    fn token(&mut self, token: &[u8], quoted: bool) -> Option<Vec<u8>> {
        match *self {
            Self::Start { indented: false } => {
                *self = Self::after_first(token);
                None
            }
            Self::Start { indented: true } => {
                *self = Self::Head(0);
                self.token(token, quoted)
            }
            Self::Head(before) => {
                let word = std::str::from_utf8(token).unwrap_or_default();
                let seconds = ttl_seconds(word);
                if before < 2 && (seconds.is_some() || word.parse::<u32>().is_ok() || is_class(word)) {
                    *self = Self::Head(before + 1);
                    return seconds.map(|seconds| seconds.to_string().into_bytes());
                }
                *self = Rtype::from_str(word).map_or(Self::Other, |rtype| Self::Data(name_fields(rtype), 0));
                None
            }
            Self::Data(names, field) => {
                *self = Self::Data(names, field + 1);
                (token == b"@" && !quoted && names.contains(&field)).then(|| b"\"\"".to_vec())
            }
            Self::Ttl => {
                *self = Self::Other;
                let seconds = ttl_seconds(std::str::from_utf8(token).unwrap_or_default())?;
                Some(seconds.to_string().into_bytes())
            }
            Self::Other => None,
        }
    }

    fn after_first(token: &[u8]) -> Self {
        match token.to_ascii_uppercase().as_slice() {
            b"$TTL" => Self::Ttl,
            b"$ORIGIN" => Self::Data(&[0], 0),
            // Behind the file's name.
            b"$INCLUDE" => Self::Data(&[1], 0),
            [b'$', ..] => Self::Other,
            _ => Self::Head(0),
        }
    }
}

fn is_class(word: &str) -> bool {
    // Every type is asked first by the scanner too: ANY is both.
    Rtype::from_str(word).is_err() && Class::from_str(word).is_ok()
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
        Rtype::SOA | Rtype::MINFO => &[0, 1],
        Rtype::MX | Rtype::SVCB | Rtype::HTTPS => &[1],
        Rtype::SRV => &[3],
        Rtype::NAPTR => &[5],
        Rtype::RRSIG => &[7],
        _ => &[],
    }
}

/// Seconds of a TTL with units: numbers each followed by one of w, d, h, m, s, in any case. None where there are none,
/// or too many seconds for a TTL: the scanner then refuses it.
fn ttl_seconds(word: &str) -> Option<u32> {
    let mut rest = word;
    let mut total: u32 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = match tail.chars().next()?.to_ascii_lowercase() {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(unit)?)?;
        rest = &tail[1..];
    }
    (!word.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let rewritten = rewrite(text.as_bytes()).expect("closed");
        assert_eq!(String::from_utf8_lossy(&rewritten), expected);
    }

    /// RFC 1035 section 5.1: a free-standing @ is the origin.
    #[test]
    fn an_at_sign_is_the_origin_where_a_name_may_stand() {
        check("www CNAME @\n", "www CNAME \"\"\n");
        check("@ MX 10 @ ; @\n", "@ MX 10 \"\" ; @\n");
        check("@ 60 IN MX ( 10 ; @\n @ )\n CNAME @\n", "@ 60 IN MX ( 10 ; @\n \"\" )\n CNAME \"\"\n");
        check("a IN 60 type5 @\n_s._tcp SRV 0 0 443 @\n", "a IN 60 type5 \"\"\n_s._tcp SRV 0 0 443 \"\"\n");
        check("$ORIGIN @\n$include @ @\n", "$ORIGIN \"\"\n$include @ \"\"\n");
        check("h HTTPS 1 @ alpn=h2\n", "h HTTPS 1 \"\" alpn=h2\n");
    }

    #[test]
    fn other_at_signs_stay() {
        for text in [
            "@ A 192.0.2.1\n",
            "a CNAME \\@\n",
            "a CNAME \"@\"\n",
            "a CNAME @b\n",
            "a CNAME b@\n",
            "a CNAME b ; @\n",
            "a TXT @ \"@\" @\n",
            "a CAA 0 issue @\n",
            "a TYPE65400 @\n",
            "a MX @ b\n",
            "a CNAME \\\\\n@ A 192.0.2.1\n",
            "a TXT \"\\\" CNAME @\n\"\n@ A 192.0.2.1\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn ttls_may_have_units() {
        check("$TTL 1h\na 1w3h A 192.0.2.1\n", "$TTL 3600\na 615600 A 192.0.2.1\n");
        check("a IN 2D A 192.0.2.1\n 90s A 192.0.2.2\n", "a IN 172800 A 192.0.2.1\n 90 A 192.0.2.2\n");
        check("a 1h IN CNAME @\n", "a 3600 IN CNAME \"\"\n");
        for text in [
            "1h A 192.0.2.1\n",
            "a 60 A 192.0.2.1\n",
            "$TTL 60\n",
            "$TTL 1h30\n",
            "$TTL h\n",
            "$TTL 9999999w\n",
            "a TXT 1h\n",
            "a 60 IN 1h\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn what_is_not_closed_is_told_by_its_line() {
        let told = |text: &str| rewrite(text.as_bytes()).expect_err(text);
        assert_eq!(told("\n(\n"), (2, "the parenthesis is not closed"));
        assert_eq!(told("\n\"a\nb\" )\n"), (3, "a parenthesis is closed that was not opened"));
        assert_eq!(told("a\\\n\n \"x\\\""), (3, "the quote is not closed"));
    }
}
