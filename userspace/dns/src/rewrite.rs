//! A master file's text into entries: tokens, and where they stand.
//!
//! `domain`'s scanner reads a file from its start to its first fault and knows neither `@` in record data (RFC 1035 section
//! 5.1), TTLs with units (BIND's `1h30m`), nor texts with tabs or UTF-8; and it panics at what is not closed. So the text
//! is taken apart here, entry by entry, and the scanner is given one entry's data at a time, written as it wants it.

use std::ops::Range;

/// A word or a quoted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Its bytes in the text, quotes included.
    pub span: Range<usize>,
    /// Whether it stands in quotes.
    pub quoted: bool,
}

impl Token {
    /// Returns what was written, without its quotes, with its escapes.
    pub fn inner<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let cut = usize::from(self.quoted);
        text.get(self.span.start + cut..self.span.end.saturating_sub(cut)).unwrap_or_default()
    }
}

/// One record or directive; never without tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The line of its first token, from 1.
    pub line: usize,
    /// Whether white space comes first, so that the owner is the one before.
    pub indented: bool,
    /// The tokens that it is made of.
    pub tokens: Vec<Token>,
}

impl Entry {
    /// From its first token to its last.
    pub fn span(&self) -> Range<usize> {
        let at = |token: Option<&Token>| token.map(|token| token.span.clone()).unwrap_or_default();
        at(self.tokens.first()).start..at(self.tokens.last()).end
    }
}

/// A quote or parenthesis that is not closed, or a parenthesis that was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// Its line, from 1.
    pub line: usize,
    /// Its bytes.
    pub span: Range<usize>,
    /// The fault, in words.
    pub message: &'static str,
}

/// The entries of a text, in its order.
#[derive(Clone, Debug)]
pub(super) struct Entries<'t> {
    text: &'t [u8],
    at: usize,
    line: usize,
}

impl<'t> Entries<'t> {
    /// Begins at the text's first line.
    pub fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// Goes on behind this line's end.
    fn skip_line(&mut self) {
        self.at += memchr::memchr(b'\n', &self.text[self.at..]).unwrap_or(self.text.len() - self.at);
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Unclosed>;

    /// The next entry; or what cannot be read, behind which the next line is gone on with.
    fn next(&mut self) -> Option<Self::Item> {
        let mut entry = Entry { line: self.line, indented: false, tokens: Vec::new() };
        // Lines and places of what is open.
        let mut parens: Vec<(usize, usize)> = Vec::new();
        while let Some(&byte) = self.text.get(self.at) {
            let start = self.at;
            match byte {
                b' ' | b'\t' | b'\r' => entry.indented |= entry.tokens.is_empty() && parens.is_empty(),
                b'\n' => {
                    self.line += 1;
                    if parens.is_empty() {
                        if !entry.tokens.is_empty() {
                            self.at += 1;
                            return Some(Ok(entry));
                        }
                        entry.indented = false;
                    }
                }
                b'(' => parens.push((self.line, start)),
                b')' if parens.pop().is_none() => {
                    self.skip_line();
                    let message = "a parenthesis is closed that was not opened";
                    return Some(Err(Unclosed { line: self.line, span: start..start + 1, message }));
                }
                b')' => {}
                b';' => {
                    self.skip_line();
                    continue;
                }
                _ => {
                    let quoted = byte == b'"';
                    let len =
                        if quoted { quoted_len(&self.text[start..]) } else { Some(word_len(&self.text[start..])) };
                    let Some(len) = len else {
                        self.at = self.text.len();
                        let span = start..start + 1;
                        return Some(Err(Unclosed { line: self.line, span, message: "the quote is not closed" }));
                    };
                    if entry.tokens.is_empty() {
                        entry.line = self.line;
                    }
                    entry.tokens.push(Token { span: start..start + len, quoted });
                    self.line += memchr::memchr_iter(b'\n', &self.text[start..start + len]).count();
                    self.at += len;
                    continue;
                }
            }
            self.at += 1;
        }
        if let Some((line, at)) = parens.pop() {
            return Some(Err(Unclosed { line, span: at..at + 1, message: "the parenthesis is not closed" }));
        }
        (!entry.tokens.is_empty()).then_some(Ok(entry))
    }
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
            // A line ends whatever stands before its end.
            b'\\' if text.get(at + 1).is_some_and(|next| *next != b'\n') => 2,
            _ => 1,
        };
    }
    at
}

/// Seconds of a TTL: a number, or numbers each followed by one of w, d, h, m, s, in any case. None where it is neither, or
/// too many seconds for 32 bits.
#[must_use]
pub fn ttl_seconds(word: &[u8]) -> Option<u32> {
    let word = std::str::from_utf8(word).ok()?;
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.parse().ok();
    }
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

/// The bytes that a token's inside stands for: `\DDD` is a byte, `\x` is x. None where an escape is none.
pub(super) fn octets(inner: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..]) => {
                let number = [a, b, c].iter().fold(0_u32, |number, digit| number * 10 + u32::from(**digit - b'0'));
                out.push(u8::try_from(number).ok()?);
                tail
            }
            (b'\\', [b'0'..=b'9', ..] | []) => return None,
            (b'\\', [next, tail @ ..]) => {
                out.push(*next);
                tail
            }
            _ => {
                out.push(byte);
                tail
            }
        };
    }
    Some(out)
}

/// Appends a token as the scanner reads it: bytes that are no printing ASCII, tabs and UTF-8 among them, as `\DDD`.
pub(super) fn push_printable(out: &mut Vec<u8>, token: &[u8]) {
    let mut escaped = false;
    for &byte in token {
        if byte == b' ' || byte.is_ascii_graphic() {
            out.push(byte);
        } else {
            // Behind a backslash of its own it needs no second one.
            let start = if escaped { "" } else { "\\" };
            out.extend_from_slice(format!("{start}{byte:03}").as_bytes());
        }
        escaped = byte == b'\\' && !escaped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, bool, &[&str])]) {
        let entries: Vec<_> = Entries::new(text.as_bytes()).map(|entry| entry.expect(text)).collect();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| {
                let tokens = entry.tokens.iter().map(|token| &text[token.span.clone()]).collect::<Vec<_>>();
                (entry.line, entry.indented, tokens)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(line, indented, tokens)| (*line, *indented, tokens.to_vec())).collect();
        assert_eq!(shown, expected, "{text:?}");
    }

    #[test]
    fn a_text_falls_into_entries() {
        check("a A 1 ; c\n\n  B\n", &[(1, false, &["a", "A", "1"]), (3, true, &["B"])]);
        check("x ( y ; )\n z )w\nq", &[(1, false, &["x", "y", "z", "w"]), (3, false, &["q"])]);
        check("a\\ b\\\n \"c\n\\\"d\"e", &[(1, false, &["a\\ b\\"]), (2, true, &["\"c\n\\\"d\"", "e"])]);
        check(" \n;\n\r\n", &[]);
        check("(\n a )\n", &[(2, false, &["a"])]);
    }

    #[test]
    fn ttls_may_have_units() {
        for (word, seconds) in [("60", 60), ("1w3h", 615_600), ("2D", 172_800), ("90s", 90), ("4294967295", u32::MAX)] {
            assert_eq!(ttl_seconds(word.as_bytes()), Some(seconds), "{word}");
        }
        for word in ["", "h", "1h30", "9999999w", "4294967296", "-1", "A"] {
            assert_eq!(ttl_seconds(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn what_is_not_closed_is_told_by_its_place_and_the_rest_is_read() {
        let told = |text: &str| {
            let all: Vec<_> = Entries::new(text.as_bytes()).filter_map(Result::err).collect();
            all.iter().map(|fault| (fault.line, fault.span.start, fault.message)).collect::<Vec<_>>()
        };
        assert_eq!(told("\n(\n"), [(2, 1, "the parenthesis is not closed")]);
        let unopened = "a parenthesis is closed that was not opened";
        assert_eq!(told("\n\"a\nb\" )\n) x\ny"), [(3, 7, unopened), (4, 9, unopened)]);
        assert_eq!(told("a\\\n\n \"x\\\""), [(3, 5, "the quote is not closed")]);
    }

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(octets(b"a\\065\\.b\\\\").as_deref(), Some(&b"aA.b\\"[..]));
        for text in ["\\256", "\\1", "a\\"] {
            assert_eq!(octets(text.as_bytes()), None, "{text}");
        }
        let mut out = Vec::new();
        push_printable(&mut out, "\u{e4}\t\\\t\\\\x".as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), "\\195\\164\\009\\009\\\\x");
    }
}
