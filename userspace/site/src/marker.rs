//! The marker: what a redirect leaves in the URL for the stages after it (stages 515, 535, 555 and 590).
//!
//! ```text
//! marker  = "distrib=" at [ "," ] [ "+" initial [ "+" group [ "+" hops ] ] ] [ "!" key ] [ "~" mac ]
//! at      = Unix time, decimal seconds; 0 in a marker that only counts hops
//! ","     = the path before it ended in a slash
//! initial = the Site Name at which overflow began        group = the Group Name whose order it goes through
//! hops    = redirects so far that came of being full, or of a marker that did not hold
//! key     = of a deferral, 22 characters of base64url    mac   = 16 bytes of HMAC-SHA256 over all before it, base64url
//! ```
//!
//! | mode | `/a?b` | `/a/` | `/` |
//! |---|---|---|---|
//! | path | `/a/distrib=…?b` | `/a/distrib=…,` | `/distrib=…` |
//! | query | `/a?b&distrib=…` | `/a/?distrib=…` | `/?distrib=…` |
//! | cookie | cookie `distrib` of a domain above all Sites, `/a?b` | | |
//!
//! It is read case-insensitively and percent-encoded in part or whole ([`Markers::plain`]), and emitted in one form (C11). A last path segment, or a last parameter, that begins with
//! `distrib=` is a marker, even one that makes no sense: such a marker counts for nothing, and is taken off all the same,
//! so that no URL ever bears two (C6).

use std::{borrow::Cow, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use ring::hmac;

use super::host;

/// The text that a marker begins with.
pub const WORD: &str = "distrib=";
/// The cookie's name, in mode `cookie`.
pub const COOKIE: &str = "distrib";
/// Bytes of a marker that is read, at most: two names of 253 bytes and the rest.
const LEN_MAX: usize = 640;
/// Bytes of the HMAC that are kept: 128 bits.
const MAC_LEN: usize = 16;
/// Characters of a deferral's key.
const KEY_LEN: usize = 22;
/// The key that a client shows when it was asked, by way of a redirect, whether it keeps cookies.
pub const COOKIES_ASKED: &str = "c";

/// Where markers stand in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerCarrier {
    /// The path's last segment.
    Path,
    /// The query's last parameter.
    Query,
    /// A cookie.
    Cookie,
}

/// The content of a marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marker<'a> {
    /// When it was made, Unix seconds; 0 where it only counts.
    pub at: u64,
    /// The Site Name at which overflow began.
    pub initial: Option<&'a str>,
    /// The Group Name whose order overflow goes through.
    pub group: Option<&'a str>,
    /// Redirects so far that came of being full, or of a marker that did not hold.
    pub hops: u32,
    /// A deferral's key, or [`COOKIES_ASKED`].
    pub key: Option<&'a str>,
}

/// The marker found in a request's target, and the target without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedTarget<'a> {
    /// The marker, if there is one that holds together and, where a key is configured, is ours.
    pub marker: Option<Marker<'a>>,
    /// Whether there was any, sound or not.
    pub was_marked: bool,
    /// The target without markers.
    pub clean: Cow<'a, str>,
}

/// Makes and reads markers.
#[derive(Clone, Debug)]
pub struct Markers {
    /// Where they stand.
    pub mode: MarkerCarrier,
    key: Option<hmac::Key>,
}

impl Markers {
    /// Markers without a key, or signed with one (C19).
    #[must_use]
    pub fn new(mode: MarkerCarrier, key: Option<&[u8]>) -> Self {
        Self { mode, key: key.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes)) }
    }

    /// A target whose markers have no percent-encoding. Whoever encodes them anew at each redirect would else never be seen
    /// to have one, and be sent round for ever.
    #[must_use]
    pub fn plain<'a>(&self, target: &'a str) -> Cow<'a, str> {
        if !target.contains('%') {
            return Cow::Borrowed(target);
        }
        let (path, query) = split(target);
        let (place, separator) = match self.mode {
            MarkerCarrier::Path => (path, '/'),
            MarkerCarrier::Query | MarkerCarrier::Cookie => (query.unwrap_or_default(), '&'),
        };
        let (mut before, mut markers) = (place, Vec::new());
        loop {
            let (rest, last) = match before.rsplit_once(separator) {
                Some((rest, last)) => (Some(rest), last),
                None if self.mode == MarkerCarrier::Path => break,
                None => (None, before),
            };
            let Some(marker) = decoded(last) else { break };
            markers.push(marker);
            // An end is what no separator comes before.
            let Some(rest) = rest else { return joined("", separator, &markers, path, query, self.mode) };
            before = rest;
        }
        if markers.iter().all(|marker| matches!(marker, Cow::Borrowed(_))) {
            return Cow::Borrowed(target);
        }
        joined(&place[..=before.len()], separator, &markers, path, query, self.mode)
    }

    /// A cookie's value in the same way.
    #[must_use]
    pub fn plain_value(value: &str) -> Cow<'_, str> {
        percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value))
    }

    /// Finds the marker of a request: in its target (`path[?query]`), or in the cookie of that name.
    ///
    /// In mode `cookie` the target's query is looked at too, for what cannot be told a client without cookies, and the
    /// larger count of hops of both holds.
    #[must_use]
    pub fn find<'a>(&self, target: &'a str, cookie: Option<&'a str>) -> MarkedTarget<'a> {
        let (path, query) = split(target);
        let (texts, clean) = match self.mode {
            MarkerCarrier::Path => off_path(path, query),
            MarkerCarrier::Query | MarkerCarrier::Cookie => off_query(path, query),
        };
        let in_target = texts.and_then(|text| self.read(text));
        let in_cookie = cookie.filter(|_| self.mode == MarkerCarrier::Cookie).and_then(|text| self.read(text));
        let marker = match (in_cookie, in_target) {
            (Some(kept), Some(shown)) => Some(Marker { hops: kept.hops.max(shown.hops), ..kept }),
            (kept, shown) => kept.or(shown),
        };
        let was_marked = texts.is_some() || (self.mode == MarkerCarrier::Cookie && cookie.is_some());
        let clean = if texts.is_some() { clean } else { Cow::Borrowed(target) };
        MarkedTarget { marker, was_marked, clean }
    }

    /// A target with a marker added, which `find` takes off again, byte for byte (S4-5A-535). In mode `cookie` it goes
    /// into the query, where only a count of hops, or a key, is put.
    #[must_use]
    pub fn add(&self, clean: &str, marker: &Marker<'_>) -> String {
        let (path, query) = split(clean);
        let mut text = String::with_capacity(clean.len() + 96);
        text.push_str(path);
        if self.mode == MarkerCarrier::Path {
            let ends_in_slash = path.ends_with('/') && path != "/";
            if !path.ends_with('/') {
                text.push('/');
            }
            self.write(&mut text, marker, ends_in_slash);
            if let Some(query) = query {
                text.push('?');
                text.push_str(query);
            }
        } else {
            text.push('?');
            if let Some(query) = query {
                text.push_str(query);
                text.push('&');
            }
            self.write(&mut text, marker, false);
        }
        text
    }

    /// A marker as the value of the cookie.
    #[must_use]
    pub fn cookie(&self, marker: &Marker<'_>) -> String {
        let mut text = String::with_capacity(96);
        self.write(&mut text, marker, false);
        text.split_off(WORD.len())
    }

    fn write(&self, out: &mut String, marker: &Marker<'_>, ends_in_slash: bool) {
        let Marker { at, initial, group, hops, key } = *marker;
        let begin = out.len();
        // Writing into a String does not fail.
        let _ = write!(out, "{WORD}{at}");
        if ends_in_slash {
            out.push(',');
        }
        if initial.is_some() || group.is_some() || hops > 0 {
            out.push('+');
            out.push_str(initial.unwrap_or_default());
        }
        if group.is_some() || hops > 0 {
            out.push('+');
            out.push_str(group.unwrap_or_default());
        }
        if hops > 0 {
            let _ = write!(out, "+{hops}");
        }
        if let Some(key) = key {
            out.push('!');
            out.push_str(key);
        }
        if let Some(secret) = &self.key {
            let mac = hmac::sign(secret, &out.as_bytes()[begin + WORD.len()..]);
            out.push('~');
            URL_SAFE_NO_PAD.encode_string(&mac.as_ref()[..MAC_LEN], out);
        }
    }

    /// Reads what stands after the word.
    fn read<'a>(&self, text: &'a str) -> Option<Marker<'a>> {
        if text.len() > LEN_MAX {
            return None;
        }
        let (body, mac) = match text.split_once('~') {
            Some((body, mac)) => (body, Some(mac)),
            None => (text, None),
        };
        if let Some(secret) = &self.key {
            let mut bytes = [0; MAC_LEN + 2];
            let len = URL_SAFE_NO_PAD.decode_slice(mac?, &mut bytes).ok()?;
            let right = hmac::sign(secret, body.as_bytes());
            let is_ours =
                len == MAC_LEN && bool::from(subtle::ConstantTimeEq::ct_eq(&bytes[..len], &right.as_ref()[..MAC_LEN]));
            if !is_ours {
                return None;
            }
        }
        let (body, key) = match body.split_once('!') {
            Some((body, key)) => (body, Some(key)),
            None => (body, None),
        };
        if key.is_some_and(|key| !is_key(key)) {
            return None;
        }
        let mut fields = body.split('+');
        let at = fields.next()?;
        let at = number(at.strip_suffix(',').unwrap_or(at), 11)?;
        let initial = named(fields.next())?;
        let group = named(fields.next())?;
        let hops = match fields.next() {
            Some(digits) => u32::try_from(number(digits, 4)?).ok()?,
            None => 0,
        };
        fields.next().is_none().then_some(Marker { at, initial, group, hops, key })
    }
}

fn is_key(text: &str) -> bool {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text == COOKIES_ASKED || (text.len() == KEY_LEN && text.bytes().all(is_sound))
}

fn number(digits: &str, len_max: usize) -> Option<u64> {
    let is_sound = (1..=len_max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if is_sound { digits.parse().ok() } else { None }
}

/// A name, nothing for an empty one; none where it is no name.
#[expect(clippy::option_option, reason = "no name, and not a name")]
fn named(field: Option<&str>) -> Option<Option<&str>> {
    match field {
        None | Some("") => Some(None),
        Some(text) => host::name(text).map(|_| Some(text)),
    }
}

/// A target's path and its query, which has no `?`.
#[must_use]
pub fn split(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// A segment or parameter without percent-encoding, if it is a marker then: as it was where it has none. One that would
/// end the segment, or the target, is no marker of ours, and becomes one that says nothing.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return after_word(text).map(|_| Cow::Borrowed(text));
    }
    let plain = percent_decode_str(text).decode_utf8_lossy();
    after_word(&plain)?;
    let may_stand = |b: u8| b.is_ascii_alphanumeric() || b"=,+!~.-_".contains(&b);
    let is_sound = plain.bytes().all(may_stand);
    Some(if is_sound { Cow::Owned(plain.into_owned()) } else { Cow::Owned(WORD.into()) })
}

/// A target with these markers, the last one first, after what comes before them in its path or query.
fn joined<'a>(
    before: &str,
    separator: char,
    markers: &[Cow<'a, str>],
    path: &str,
    query: Option<&str>,
    mode: MarkerCarrier,
) -> Cow<'a, str> {
    let markers: Vec<&str> = markers.iter().rev().map(|marker| &**marker).collect();
    let marked = format!("{before}{}", markers.join(separator.encode_utf8(&mut [0; 4])));
    Cow::Owned(match (mode, query) {
        (MarkerCarrier::Path, Some(query)) => format!("{marked}?{query}"),
        (MarkerCarrier::Path, None) => marked,
        _ => format!("{path}?{marked}"),
    })
}

/// Returns what comes after the word, if a text begins with it.
fn after_word(text: &str) -> Option<&str> {
    let (word, rest) = text.split_at_checked(WORD.len())?;
    word.eq_ignore_ascii_case(WORD).then_some(rest)
}

/// The last marker among a path's last segments, and the target without any of them.
fn off_path<'a>(path: &'a str, query: Option<&'a str>) -> (Option<&'a str>, Cow<'a, str>) {
    let (mut bare, mut last) = (path, None);
    // Each turn takes one off, and all are looked at once.
    while let Some((before, text)) = bare.rsplit_once('/').and_then(|(before, end)| Some((before, after_word(end)?))) {
        last = last.or(Some(text));
        let at = text.split(['+', '!', '~']).next().unwrap_or_default();
        bare = if before.is_empty() || at.ends_with(',') { &bare[..=before.len()] } else { before };
    }
    let clean = match query {
        // Nothing was taken off, and the caller has the target.
        _ if last.is_none() => Cow::Borrowed(path),
        Some(query) => Cow::Owned(format!("{bare}?{query}")),
        None => Cow::Borrowed(bare),
    };
    (last, clean)
}

/// The last marker among a query's last parameters, and the target without any of them.
fn off_query<'a>(path: &'a str, query: Option<&'a str>) -> (Option<&'a str>, Cow<'a, str>) {
    let (mut bare, mut last) = (query, None);
    while let Some(query) = bare {
        let (before, end) = match query.rsplit_once('&') {
            Some((before, end)) => (Some(before), end),
            None => (None, query),
        };
        let Some(text) = after_word(end) else { break };
        last = last.or(Some(text));
        bare = before;
    }
    let clean = match bare {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => Cow::Borrowed(path),
    };
    (last, clean)
}

#[cfg(test)]
mod tests;
