//! What of a head is passed on, and what is added; pure.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA},
};
use ipnet::IpNet;

use super::{super::forwarded, Peer};

/// Whether a field goes no further than the connection it came on (RFC 9110 section 7.6.1), or is not a client's to say.
fn stays(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            // The front asks for the body itself.
            | "expect"
            // CGI makes `HTTP_PROXY` of it (CVE-2016-5385).
            | "proxy"
            // Says what the four `X-Forwarded-` say, and a backend may believe it first (RFC 7239).
            | "forwarded"
    )
}

/// Fields that a `Connection` may not take away: the backend would see another request than was decided on.
const KEPT: [HeaderName; 2] = [HOST, http::header::COOKIE];

/// Takes off what belongs to the connection; gives the protocol that the connection is asked to become.
pub(super) fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        headers.remove(CONNECTION);
        for token in named.iter().flat_map(tokens) {
            if token.eq_ignore_ascii_case(b"upgrade") {
                upgrade = headers.get(UPGRADE).cloned();
            } else if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
                // What nearly all say; the field that the one names goes anyway.
            } else if let Ok(name) = HeaderName::from_bytes(token)
                && !KEPT.contains(&name)
            {
                headers.remove(name);
            }
        }
    }
    if headers.keys().any(stays) {
        let trailers = headers.get_all(TE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case(b"trailers"));
        let staying: Vec<HeaderName> = headers.keys().filter(|name| stays(name)).cloned().collect();
        for name in staying {
            headers.remove(name);
        }
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    upgrade
}

/// Puts back what [`strip`] took off, on a connection that changes its protocol.
pub(super) fn upgrading(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// How often a request may have come by here.
const ROUNDS_MAX: usize = 8;

/// What this front calls itself in `Via` (RFC 9110 section 7.6.3), for each version that it is spoken to in.
#[derive(Debug)]
pub(super) struct Via {
    name: String,
    versions: Option<[HeaderValue; 3]>,
}

impl Via {
    /// By this name; none where it is empty.
    pub(super) fn new(name: &str) -> Self {
        let value = |version| HeaderValue::try_from(format!("{version} {name}"));
        let versions = match ["1.0", "1.1", "2.0"].map(value) {
            [Ok(zero), Ok(one), Ok(two)] if !name.is_empty() => Some([zero, one, two]),
            _ => None,
        };
        Self { name: name.to_owned(), versions }
    }

    /// Says that a message that came in this version has passed here; whether it has not done so too often.
    pub(super) fn add(&self, headers: &mut HeaderMap, version: Version) -> bool {
        let Some(versions) = &self.versions else { return true };
        if self.rounds(headers) >= ROUNDS_MAX {
            return false;
        }
        let at = match version {
            Version::HTTP_09 | Version::HTTP_10 => 0,
            Version::HTTP_11 => 1,
            _ => 2,
        };
        headers.append(VIA, versions[at].clone());
        true
    }

    fn rounds(&self, headers: &HeaderMap) -> usize {
        let entries = headers.get_all(VIA).iter().flat_map(tokens);
        let by =
            entries.filter_map(|entry| entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1));
        by.filter(|by| by.eq_ignore_ascii_case(self.name.as_bytes())).count()
    }
}

/// Takes off the length of a response that comes in chunks: they say where it ends, whatever the length says (RFC 9112
/// section 6.3). False where there are codings under the chunks, which would be lost with the field (section 6.1).
pub(super) fn unframe(headers: &mut HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(tokens);
    let Some(first) = codings.next() else { return true };
    let known = first.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    drop(codings);
    headers.remove(CONTENT_LENGTH);
    known
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Says to the backend whom the request came from. What the client says of that is believed from trusted proxies alone.
pub(super) fn add_forwarded(headers: &mut HeaderMap, peer: &Peer, trusted: &[IpNet]) {
    let client = peer.client.ip().to_canonical();
    let believed = forwarded::is_trusted(client, trusted);
    let mut address = client.to_string();
    if believed && headers.contains_key(forwarded::FOR) {
        let before = headers.get_all(forwarded::FOR).iter().filter_map(|value| value.to_str().ok());
        let mut list: Vec<&str> = before.collect();
        list.push(&address);
        address = list.join(", ");
    }
    if let Ok(value) = HeaderValue::try_from(address) {
        headers.insert(forwarded::FOR, value);
    }
    let port = match peer.local.port() {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    };
    let proto = HeaderValue::from_static(if peer.tls { "https" } else { "http" });
    let host = headers.get(HOST).cloned();
    for (name, value) in [(forwarded::PROTO, Some(proto)), (forwarded::PORT, Some(port)), (forwarded::HOST, host)] {
        if believed && headers.contains_key(&name) {
            continue;
        }
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

/// Whether a connection may become this. HTTP itself may not: requests in it would pass by unseen (h2c).
pub(super) fn may_upgrade(protocol: &HeaderValue) -> bool {
    tokens(protocol).all(|token| {
        let name = token.split(|byte| *byte == b'/').next().unwrap_or_default();
        !(name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"h2") || name.eq_ignore_ascii_case(b"http"))
    })
}
