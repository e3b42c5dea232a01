//! `$GENERATE`, as BIND has it: `$GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA`.
//!
//! In owner and data `$` is the value, `${OFFSET[,WIDTH[,BASE]]}` the value and OFFSET with at least WIDTH digits in base d,
//! o, x, X, n or N (nibbles, the lowest first, with dots between them), and `\$` or `$$` a dollar sign. Data that has spaces
//! may stand in quotes as a whole.

use super::{
    fault::{At, Fault},
    rewrite::{Entry, Token},
};

/// Digits of one value, at most: no label is longer.
const WIDTH_MAX: usize = 255;

/// A directive.
#[derive(Debug)]
pub(super) struct Generate<'t> {
    start: u32,
    last: u32,
    every: u32,
    /// Parts that are made anew for each value: the owner first.
    parts: Vec<&'t [u8]>,
}

impl<'t> Generate<'t> {
    /// Reads one.
    pub fn read(text: &'t [u8], entry: &Entry) -> Result<Self, Fault> {
        let [_, range, owner, rest @ ..] = &entry.tokens[..] else { return Err(form(At::Whole)) };
        if rest.len() < 2 {
            return Err(form(At::Whole));
        }
        let (start, last, every) = parse_range(range.inner(text)).ok_or_else(|| form(At::Token(1)))?;
        // Data in quotes is the data's text; what has more than one token may be quoted in itself.
        let before_last = rest.len() - 1;
        let whole = rest[before_last].quoted && !has_data(text, &rest[..before_last]);
        let part = |(at, token): (usize, &Token)| {
            if at == before_last && whole { token.inner(text) } else { &text[token.span.clone()] }
        };
        let parts = [&text[owner.span.clone()]].into_iter().chain(rest.iter().enumerate().map(part)).collect();
        Ok(Self { start, last, every, parts })
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.start) / u64::from(self.every) + 1
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = u32> + use<> {
        (self.start..=self.last).step_by(self.every as usize)
    }

    /// The line of one value.
    pub fn line(&self, value: u32) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        for part in &self.parts {
            if !line.is_empty() {
                line.push(b' ');
            }
            push(&mut line, part, value)?;
        }
        line.push(b'\n');
        Ok(line)
    }
}

/// Whether the last of these is not the type, so that data begins with it.
fn has_data(text: &[u8], tokens: &[Token]) -> bool {
    let word = |token: &Token| std::str::from_utf8(token.inner(text)).ok().map(str::to_owned);
    tokens.last().and_then(word).is_none_or(|word| super::text_form::rtype(&word).is_none())
}

fn form(at: At) -> Fault {
    Fault::new(at, "$GENERATE takes a range, an owner, a type and data")
        .help("such as `$GENERATE 1-100/2 host-$ A 192.0.2.$`")
}

/// `start-stop[/step]`, which does not go down.
fn parse_range(range: &[u8]) -> Option<(u32, u32, u32)> {
    let range = std::str::from_utf8(range).ok()?;
    let (range, every) = range.split_once('/').unwrap_or((range, "1"));
    let (start, last) = range.split_once('-')?;
    let (start, last, every) = (start.parse().ok()?, last.parse().ok()?, every.parse().ok()?);
    (start <= last && every > 0).then_some((start, last, every))
}

/// Appends a part with its values.
fn push(out: &mut Vec<u8>, part: &[u8], value: u32) -> Result<(), Fault> {
    let mut rest = part;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [next, tail @ ..]) => {
                out.extend_from_slice(&[b'\\', *next]);
                tail
            }
            (b'$', [b'$', tail @ ..]) => {
                out.extend_from_slice(b"\\$");
                tail
            }
            (b'$', [b'{', tail @ ..]) => {
                let end = memchr::memchr(b'}', tail);
                let made = end.and_then(|end| digits(&tail[..end], value));
                let (Some(end), Some(made)) = (end, made) else {
                    return Err(Fault::new(At::Whole, "$GENERATE has a `${…}` that makes no number").help(
                        "it is `${offset,width,base}`, base one of d, o, x, X, n, N, and no value is below zero",
                    ));
                };
                out.extend_from_slice(made.as_bytes());
                &tail[end + 1..]
            }
            (b'$', tail) => {
                out.extend_from_slice(value.to_string().as_bytes());
                tail
            }
            (_, tail) => {
                out.push(byte);
                tail
            }
        };
    }
    Ok(())
}

/// The digits that `offset[,width[,base]]` makes of a value.
fn digits(how: &[u8], value: u32) -> Option<String> {
    let mut fields = std::str::from_utf8(how).ok()?.split(',').map(str::trim);
    let offset: i64 = fields.next()?.parse().ok()?;
    let width: usize = fields.next().map_or(Some(0), |width| width.parse().ok())?;
    let base = fields.next().unwrap_or("d");
    let value = u64::try_from(i64::from(value).checked_add(offset)?).ok()?;
    if fields.next().is_some() || width > WIDTH_MAX {
        return None;
    }
    Some(match base {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        "n" => nibbles(value, width),
        "N" => nibbles(value, width).to_uppercase(),
        _ => return None,
    })
}

/// Hexadecimal digits, the lowest first, each behind a dot but for the first; `width` counts the dots, too.
fn nibbles(mut value: u64, width: usize) -> String {
    let mut out = String::new();
    loop {
        out.push(char::from_digit((value & 15) as u32, 16).unwrap_or('0'));
        value >>= 4;
        if value == 0 && out.len() >= width {
            return out;
        }
        out.push('.');
        if value == 0 && out.len() >= width {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::Entries;

    #[track_caller]
    fn lines(text: &str) -> Result<Vec<String>, Fault> {
        let entry = Entries::new(text.as_bytes()).next().expect(text).expect(text);
        let generate = Generate::read(text.as_bytes(), &entry)?;
        let lines = generate.values().map(|value| generate.line(value));
        let lines: Result<Vec<_>, _> = lines.collect();
        Ok(lines?.into_iter().map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).collect())
    }

    /// As named-compilezone 9.18 has them.
    #[test]
    fn values_stand_where_bind_puts_them() {
        for (text, expected) in [
            ("$GENERATE 1-2 h$ A 192.0.2.$", &["h1 A 192.0.2.1", "h2 A 192.0.2.2"][..]),
            ("$GENERATE 0-5/5 $ 60 IN CNAME $.x", &["0 60 IN CNAME 0.x", "5 60 IN CNAME 5.x"]),
            ("$GENERATE 10-10 ${-3,4} MX \"10 m${1,3,x}\"", &["0007 MX 10 m00b"]),
            ("$GENERATE 7-7 a\\$b$$ TXT \"$ x\"", &["a\\$b\\$ TXT 7 x"]),
            ("$GENERATE 7-7 a TXT 5 \"$ x\"", &["a TXT 5 \"7 x\""]),
            ("$GENERATE 18-18 ${0,0,n}.${0,7,n}.${0,8,N} NS n${0,0,X}", &["2.1.2.1.0.0.2.1.0.0. NS n12"]),
            ("$GENERATE 8-8 ${0,3,o} A 192.0.2.$", &["010 A 192.0.2.8"]),
        ] {
            assert_eq!(lines(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_line_is_refused() {
        for text in [
            "$GENERATE 1-2 a$ A",
            "$GENERATE 2-1 a$ A 192.0.2.$",
            "$GENERATE 1-2/0 a$ A 192.0.2.$",
            "$GENERATE 1 a$ A 192.0.2.$",
            "$GENERATE 1-2 a${ A 192.0.2.$",
            "$GENERATE 1-2 a${0,256} A 192.0.2.$",
            "$GENERATE 1-2 a${-5} A 192.0.2.$",
            "$GENERATE 1-2 a${0,1,b} A 192.0.2.$",
        ] {
            assert!(lines(text).is_err(), "{text}");
        }
    }
}
