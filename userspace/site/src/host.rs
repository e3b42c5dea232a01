//! Authorities: what a `Host` header or `:authority` names (RFC 9110 section 7.2, RFC 3986 section 3.2).
//!
//! ```text
//! authority = host [ ":" port ]      host: lower case, without the root's trailing dot (S4-5A-510)
//! ```

use std::borrow::Cow;

/// Bytes of an authority, at most: the longest name, a dot, a colon and a port.
const AUTHORITY_LEN_MAX: usize = 253 + 1 + 6;

/// A host and where it was said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case, without a trailing dot and without a port; an IPv6 address with its brackets.
    pub name: Cow<'a, str>,
    /// The port, if it is given.
    pub port: Option<u16>,
}

/// Takes an authority apart; none where it is not one, or has user information, which no client may send
/// (RFC 9110 section 4.2.4).
#[must_use]
pub fn parse(authority: &str) -> Option<Host<'_>> {
    if authority.len() > AUTHORITY_LEN_MAX {
        return None;
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']')?;
        if !rest[..end].bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
            return None;
        }
        authority.split_at(end + 2)
    } else {
        authority.split_at(authority.bytes().position(|b| b == b':').unwrap_or(authority.len()))
    };
    let port = match port.strip_prefix(':') {
        // An empty port is the scheme's own (RFC 3986 section 3.2.3).
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if port.is_empty() => None,
        _ => return None,
    };
    Some(Host { name: name(host)?, port })
}

/// A host's name as it is compared: lower case, without a trailing dot. None where it has other bytes than names have.
#[must_use]
pub fn name(host: &str) -> Option<Cow<'_, str>> {
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.is_empty() {
        return None;
    }
    let (mut seen, mut previous) = (0, DOT);
    for byte in bare.bytes() {
        let kind = KINDS[usize::from(byte)];
        if kind & previous & DOT != 0 {
            return None;
        }
        seen |= kind;
        previous = kind;
    }
    if seen & OTHER != 0 && !bare.starts_with('[') {
        return None;
    }
    Some(if seen & UPPER == 0 { Cow::Borrowed(bare) } else { Cow::Owned(bare.to_ascii_lowercase()) })
}

const UPPER: u8 = 1;
const DOT: u8 = 2;
/// A byte that stands in no name, but may in an address with brackets.
const OTHER: u8 = 4;

/// The kind of each byte in a name; 0 for most. Several hosts are looked at for each request.
const KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        match byte as u8 {
            b'A'..=b'Z' => kinds[byte] = UPPER,
            b'.' => kinds[byte] = DOT,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => kinds[byte] = 0,
            _ => {}
        }
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;

    /// S4-5A-510: port, case and trailing dot make no difference.
    #[test]
    fn s4_5a_510_authorities_are_normalised() {
        let check = |text: &str, wanted: Option<(&str, Option<u16>)>| {
            let found = parse(text);
            let found = found.as_ref().map(|host| (&*host.name, host.port));
            assert_eq!(found, wanted, "{text}");
        };
        check("boston.app.com", Some(("boston.app.com", None)));
        check("Boston.App.COM.", Some(("boston.app.com", None)));
        check("boston.app.com:8080", Some(("boston.app.com", Some(8080))));
        check("boston.app.com.:80", Some(("boston.app.com", Some(80))));
        check("boston.app.com:", Some(("boston.app.com", None)));
        check("192.0.2.10:80", Some(("192.0.2.10", Some(80))));
        check("[2001:DB8::1]:80", Some(("[2001:db8::1]", Some(80))));
        check("[::1]", Some(("[::1]", None)));
        for broken in [
            "",
            ".",
            ":80",
            "a:b",
            "a:80:80",
            "a:99999",
            "a:+80",
            "user@app.com",
            "app.com/evil",
            "app.com\\evil",
            "a b",
            "..",
            "a..b",
            ".a",
            "[::1",
            "[::1]x",
            "[zz]",
            "app.com?",
            "app.com#",
            "äpp.com",
            "app.com\r\nx",
        ] {
            check(broken, None);
        }
        check(&"a".repeat(300), None);
    }
}
