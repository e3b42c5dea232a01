//! A large file in parts, so that no tree of all of it is ever held: the pools, of which there can be a million, some
//! thousands at a time, and everything else.
//!
//! A part is cut where a `[pool.NAME]` begins, as the lexer of TOML sees it, and is a TOML document of its own. A document of
//! them all differs only where something stands in two parts; who reads them has to see that (see [`super::tables`]).

use std::ops::Range;

use toml_parser::{
    Source,
    lexer::{Token, TokenKind},
};

/// Files that are shorter are read in one part, bytes.
const WHOLE_MAX: usize = 1 << 20;
/// A part of pools is at least as long, but for the last one, bytes.
const PART: usize = 1 << 18;
/// Beyond that, it ends before the next pool whose header has a hash with none of these bits. So where parts begin is told by
/// what they are of, and what is put in or taken out in one moves the others as little as the lines of a file.
const MARK: u32 = 0x3ff;
/// Times [`PART`] that a part is at most, or a little longer.
const PARTS_MAX: usize = 8;

/// Some of the file's text, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part(Vec<Range<usize>>);

impl Part {
    /// All of a text.
    pub(super) fn whole(text: &str) -> Self {
        Self(std::iter::once(0..text.len()).collect())
    }

    /// Its own text, within the file's.
    pub(super) fn text(&self, whole: &str) -> String {
        self.pieces(whole).collect()
    }

    /// Its pieces in the file.
    pub(super) fn pieces<'t>(&self, whole: &'t str) -> impl Iterator<Item = &'t str> {
        self.0.iter().map(|range| &whole[range.clone()])
    }

    /// Where a place in its own text is in the file's.
    pub(super) fn place(&self, span: Range<usize>) -> Range<usize> {
        // A place begins where the next range does, but ends where the one before does.
        let start = self.offset(span.start, |at, end| at < end);
        start..self.offset(span.end, |at, end| at <= end).max(start)
    }

    fn offset(&self, at: usize, is_within: fn(usize, usize) -> bool) -> usize {
        let mut before = 0;
        for range in &self.0 {
            if is_within(at, before + range.len()) {
                return range.start + at - before;
            }
            before += range.len();
        }
        self.0.last().map_or(at, |range| range.end)
    }

    /// Whether a pool that comes next begins another part.
    fn ends_before(&self, pool: &str, part: usize, mark: u32) -> bool {
        let len = self.0.iter().map(ExactSizeIterator::len).sum::<usize>();
        let header = pool.split('\n').next().unwrap_or_default();
        let hash = header.bytes().fold(0_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        len >= part && ((hash >> 8) & mark == 0 || len >= part * PARTS_MAX)
    }

    fn push(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }
}

/// The parts of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Everything else, and of a short file everything.
    pub(super) rest: Part,
    /// Sections of pools alone, in the file's order.
    pub(super) pools: Vec<Part>,
}

impl Parts {
    /// Cuts a text.
    pub(super) fn cut(text: &str) -> Self {
        Self::cut_by(text, WHOLE_MAX, PART, MARK)
    }

    /// The text in one part.
    pub(super) fn whole(text: &str) -> Self {
        Self { rest: Part::whole(text), pools: Vec::new() }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.rest).chain(&self.pools)
    }

    pub(super) fn cut_by(text: &str, whole_max: usize, part: usize, mark: u32) -> Self {
        if text.len() <= whole_max {
            return Self::whole(text);
        }
        let mut parts = Self { rest: Part(Vec::new()), pools: Vec::new() };
        let mut add = |kind, range: Range<usize>| match (kind, parts.pools.last_mut()) {
            (Kind::Rest, _) => parts.rest.push(range),
            // What is below the last pool stays with it, wherever that part ends.
            (Kind::BelowPool, Some(last)) => last.push(range),
            (Kind::Pool, Some(last)) if !last.ends_before(&text[range.clone()], part, mark) => last.push(range),
            (Kind::Pool | Kind::BelowPool, _) => parts.pools.push(Part(vec![range])),
        };
        let (mut start, mut kind) = (0, Kind::Rest);
        for (at, next) in Headers::of(text) {
            add(kind, start..at);
            (start, kind) = (at, next);
        }
        add(kind, start..text.len());
        parts
    }
}

/// The kind of a section, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `[pool.NAME]`.
    Pool,
    /// A table of a pool.
    BelowPool,
    /// Any other.
    Rest,
}

/// The sections' headers: where the line begins, and of what kind it is.
struct Headers<'i> {
    text: &'i str,
    tokens: std::iter::Peekable<Box<dyn Iterator<Item = Token> + 'i>>,
    depth: usize,
    begins_line: bool,
}

impl<'i> Headers<'i> {
    fn of(text: &'i str) -> Self {
        let tokens: Box<dyn Iterator<Item = Token>> = Box::new(Source::new(text).lex());
        Self { text, tokens: tokens.peekable(), depth: 0, begins_line: true }
    }

    /// Reads on behind a header's first bracket.
    fn kind(&mut self) -> Kind {
        let mut keys = 0;
        let mut is_pool = false;
        // A header is of one line; what is none is told by whoever parses it.
        while let Some(token) = self.tokens.next_if(|token| token.kind() != TokenKind::Newline) {
            let span = token.span();
            match token.kind() {
                TokenKind::Whitespace | TokenKind::Dot => {}
                TokenKind::RightSquareBracket if is_pool && keys == 2 => return Kind::Pool,
                TokenKind::RightSquareBracket if is_pool && keys > 2 => return Kind::BelowPool,
                TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => {
                    is_pool |= keys == 0 && &self.text[span.start()..span.end()] == "pool";
                    keys += 1;
                }
                _ => return Kind::Rest,
            }
        }
        Kind::Rest
    }
}

impl Iterator for Headers<'_> {
    type Item = (usize, Kind);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(token) = self.tokens.next() {
            let begins_line = std::mem::take(&mut self.begins_line);
            match token.kind() {
                TokenKind::LeftSquareBracket if begins_line && self.depth == 0 => {
                    return Some((token.span().start(), self.kind()));
                }
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => self.depth += 1,
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                    self.depth = self.depth.saturating_sub(1);
                }
                TokenKind::Newline => self.begins_line = true,
                TokenKind::Whitespace => self.begins_line = begins_line,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = [\n[1],\n]\n[front]\nx = \"\"\"\n[pool.no]\n\"\"\"\n[pool.\"a.b\"] # first\nsites = [\n[\"s\"]]\n\
        [pool.\"a.b\".https]\nport = 1\n  [ pool . c ]\n[[pool.x]]\n[site.s]\n[pool.d]\ny = 1\n[\"pool\".e]\n[pool]\n[pool.f]\n";

    fn texts(parts: &Parts) -> (String, Vec<String>) {
        (parts.rest.text(TEXT), parts.pools.iter().map(|part| part.text(TEXT)).collect())
    }

    #[test]
    fn pools_are_cut_out_and_tables_stay_with_them() {
        let (rest, pools) = texts(&Parts::cut_by(TEXT, 0, 1, 0));
        assert_eq!(
            rest,
            "a = [\n[1],\n]\n[front]\nx = \"\"\"\n[pool.no]\n\"\"\"\n[[pool.x]]\n[site.s]\n[\"pool\".e]\n[pool]\n"
        );
        let first = "[pool.\"a.b\"] # first\nsites = [\n[\"s\"]]\n[pool.\"a.b\".https]\nport = 1\n  ";
        assert_eq!(pools, [first, "[ pool . c ]\n", "[pool.d]\ny = 1\n", "[pool.f]\n"]);
        let (_, pools) = texts(&Parts::cut_by(TEXT, 0, 1_000, 0));
        assert_eq!(pools, [format!("{first}[ pool . c ]\n[pool.d]\ny = 1\n[pool.f]\n")]);
        assert_eq!(Parts::cut(TEXT), Parts::whole(TEXT));
    }

    #[test]
    fn places_are_those_of_the_file() {
        let parts = Parts::cut_by(TEXT, 0, 1_000, 0);
        for part in parts.all() {
            let own = part.text(TEXT);
            for (at, c) in own.char_indices() {
                assert_eq!(&TEXT[part.place(at..at + 1)], c.to_string(), "{at} of {own:?}");
            }
        }
    }
}
