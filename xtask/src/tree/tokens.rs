//! Rust source as tokens, with comments left out.

/// A token and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The text: an identifier without `r#`, a literal with its quotes, `::`, or one character of punctuation.
    pub text: &'a str,
    /// The line, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether this is an identifier or a keyword.
    #[must_use]
    pub fn is_ident(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_') && !self.text.ends_with(['"', '\''])
    }
}

/// Splits a file into tokens. Lifetimes are left out.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (length, is_token) = next(rest, first);
        let piece = &rest[..length];
        if is_token {
            found.push(Token { text: if is_raw_ident(piece) { &piece[2..] } else { piece }, line });
        }
        line += piece.matches('\n').count();
        at += length;
    }
    found
}

/// Whether this is an identifier behind `r#`, and not a raw string.
fn is_raw_ident(piece: &str) -> bool {
    piece.strip_prefix("r#").is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The length of the first thing in `rest`, and whether it is a token.
fn next(rest: &str, first: char) -> (usize, bool) {
    if first.is_whitespace() {
        return (first.len_utf8(), false);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if let Some(length) = string(rest) {
        return (length, true);
    }
    if first == '\'' {
        return quoted(rest);
    }
    if first.is_alphanumeric() || first == '_' {
        let start = if is_raw_ident(rest) { 2 } else { 0 };
        let end = rest[start..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
        return (end.map_or(rest.len(), |end| start + end), true);
    }
    (if rest.starts_with("::") { 2 } else { first.len_utf8() }, true)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a string literal of any kind, if one stands here.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let after = &rest[prefix..];
    if rest[..prefix].ends_with('r') {
        let hashes = after.find(|c| c != '#')?;
        let body = after[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &after[..hashes]);
        return Some(prefix + hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()));
    }
    let body = after.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(prefix + 1 + end.map_or(body.len(), |at| at + 1))
}

/// A character literal, or a lifetime, which is no token.
fn quoted(rest: &str) -> (usize, bool) {
    let body = &rest[1..];
    if let Some(escape) = body.strip_prefix('\\') {
        let skipped = escape.chars().next().map_or(0, char::len_utf8);
        return (escape[skipped..].find('\'').map_or(rest.len(), |at| 2 + skipped + at + 1), true);
    }
    let one = body.chars().next().map_or(0, char::len_utf8);
    if body[one..].starts_with('\'') {
        return (1 + one + 1, true);
    }
    let name = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    (1 + name, false)
}

/// Drops every item under `#[cfg(test)]` or `#[cfg(all(test, …))]`, and all of a file under `#![cfg(test)]`.
#[must_use]
pub fn without_tests<'a>(all: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(all.len());
    let mut at = 0;
    while at < all.len() {
        let rest = &all[at..];
        if is_test_cfg(rest, 1) {
            at += attributed(rest);
        } else if texts(rest, 2) == ["#", "!"] && is_test_cfg(rest, 2) {
            return kept;
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    kept
}

fn texts<'a>(tokens: &[Token<'a>], count: usize) -> Vec<&'a str> {
    tokens.iter().take(count).map(|token| token.text).collect()
}

fn is_test_cfg(rest: &[Token<'_>], bracket: usize) -> bool {
    let words = texts(rest, bracket + 6);
    words.first() == Some(&"#")
        && words.get(bracket..).is_some_and(|words| {
            words.starts_with(&["[", "cfg", "(", "test", ")"])
                || words.starts_with(&["[", "cfg", "(", "all", "(", "test"])
        })
}

/// How many tokens an item with its attributes has.
fn attributed(rest: &[Token<'_>]) -> usize {
    let mut at = 0;
    while texts(&rest[at..], 2) == ["#", "["] {
        at += 1 + group(&rest[at + 1..]);
    }
    let mut word = at;
    if rest.get(word).is_some_and(|token| token.text == "pub") {
        word += 1;
        if rest.get(word).is_some_and(|token| token.text == "(") {
            word += group(&rest[word..]);
        }
    }
    // A field or a variant ends at a comma; in an item, one may stand between `<` and `>`.
    let word = rest.get(word).map_or("", |token| token.text);
    let is_item = ITEM_WORDS.contains(&word);
    let ends_at_brace = !["use", "const", "static", "let", "type"].contains(&word) || rest_is_fn(&rest[at..]);
    while let Some(token) = rest.get(at) {
        match token.text {
            "{" if ends_at_brace => return at + group(&rest[at..]),
            "(" | "[" | "{" => at += group(&rest[at..]),
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            ")" | "]" | "}" => return at,
            _ => at += 1,
        }
    }
    at
}

/// Whether this is `const fn`, with or without `pub`.
fn rest_is_fn(rest: &[Token<'_>]) -> bool {
    texts(rest, 8).windows(2).any(|pair| pair == ["const", "fn"] || pair == ["const", "unsafe"])
}

const ITEM_WORDS: [&str; 15] = [
    "fn",
    "mod",
    "use",
    "struct",
    "enum",
    "impl",
    "const",
    "static",
    "type",
    "trait",
    "unsafe",
    "async",
    "extern",
    "let",
    "macro_rules",
];

/// How many tokens a bracketed group has, both brackets included; `rest` begins with the first of them.
#[must_use]
pub fn group(rest: &[Token<'_>]) -> usize {
    let mut depth = 0_u32;
    for (at, token) in rest.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(texts(&tokens(text), usize::MAX).join(" "), expected, "{text}");
    }

    #[test]
    fn comments_and_lifetimes_are_left_out() {
        check("a // b \"\n/* c /* d */ e */ f", "a f");
        check("fn f<'a>(x: &'a str) -> char { 'x' }", "fn f < > ( x : & str ) - > char { 'x' }");
        check(r"['\'', '\u{1f}', '–', '\\']", r"[ '\'' , '\u{1f}' , '–' , '\\' ]");
    }

    #[test]
    fn literals_are_whole() {
        check(r#"f("a \" // b", b"c", br"\")"#, r#"f ( "a \" // b" , b"c" , br"\" )"#);
        check("r#\"a \"b\" c\"# d r#type b r c br", "r#\"a \"b\" c\"# d type b r c br");
    }

    #[test]
    fn paths_keep_their_colons_and_lines_are_counted() {
        check("a::b:c", "a :: b : c");
        let found = tokens("a\n\"x\ny\"\nb");
        assert_eq!(found.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 2, 4]);
    }

    fn check_shipped(text: &str, expected: &str) {
        assert_eq!(texts(&without_tests(&tokens(text)), usize::MAX).join(" "), expected, "{text}");
    }

    #[test]
    fn tests_are_dropped_with_their_attributes() {
        check_shipped("a; #[cfg(test)] #[path = \"x.rs\"] mod tests; b", "a ; b");
        check_shipped("#[cfg(test)] pub(crate) fn f<A, B>(a: [u8; 2]) -> C { x; } b", "b");
        check_shipped("struct S { #[cfg(test)] a: B<C>, d: E }", "struct S { d : E }");
        check_shipped("f(#[cfg(test)] a)", "f ( )");
        check_shipped("#[cfg(test)] pub const fn f() {} #[cfg(test)] const A: B = B { c: 1 }; d", "d");
        check_shipped("#[cfg(all(test, unix))] use a::{b, c}; d", "d");
        check_shipped(
            "#[cfg(not(test))] use a; #[cfg(unix)] b",
            "# [ cfg ( not ( test ) ) ] use a ; # [ cfg ( unix ) ] b",
        );
        check_shipped("#![cfg(test)] a", "");
    }
}
