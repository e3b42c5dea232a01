//! The parts of a head that are passed on, and what is added; pure.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA},
};
use ipnet::IpNet;

use zerottl_site::{forwarded, session::SessionRef};

use super::Peer;

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
    )
}

/// Fields that a `Connection` may not take away: the backend would see another request than was decided on.
const KEPT: [HeaderName; 2] = [HOST, http::header::COOKIE];

/// Takes off what belongs to the connection. Returns the protocol that the connection is asked to become.
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

/// The number of times that a request may have come by here.
const ROUNDS_MAX: usize = 8;

/// The name of this front in `Via` (RFC 9110 section 7.6.3), for each version that it is spoken to in.
#[derive(Debug)]
pub(super) struct Via {
    name: String,
    versions: Option<[HeaderValue; 3]>,
}

impl Via {
    /// Makes the values of this name; none where it is empty.
    pub(super) fn new(name: &str) -> Self {
        let value = |version| HeaderValue::try_from(format!("{version} {name}"));
        let versions = match ["1.0", "1.1", "2.0"].map(value) {
            [Ok(zero), Ok(one), Ok(two)] if !name.is_empty() => Some([zero, one, two]),
            _ => None,
        };
        Self { name: name.to_owned(), versions }
    }

    /// Says that a message that came in this version has passed here. Returns whether it has not done so too often.
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
/// section 6.3). Returns false where there are codings under the chunks, which would be lost with the field (section 6.1).
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
    let said = forwarded::read(headers, client, trusted);
    let by_standard = said.by_standard;
    let (of_client, host) = (said.client.filter(|_| by_standard), said.host.and_then(|host| host.parse().ok()));
    let is_secure = said.secure.unwrap_or(peer.tls);
    // The port that the client went to: the one in the host that it asked for, or else its scheme's.
    let asked = || {
        let host: &HeaderValue = host.as_ref().or(headers.get(HOST))?;
        zerottl_site::host::parse(host.to_str().ok()?)?.port
    };
    let port = if said.secure.is_none() && said.host.is_none() {
        peer.local.port()
    } else {
        asked().unwrap_or(if is_secure { 443 } else { 80 })
    };
    drop_doubles(headers);
    let mut address = text(client);
    if believed && headers.contains_key(forwarded::FOR) {
        let before = headers.get_all(forwarded::FOR).iter().filter_map(|value| value.to_str().ok());
        let mut list: Vec<&str> = before.collect();
        list.push(&address);
        address = list.join(", ");
    } else if let Some(of_client) = of_client {
        address = format!("{of_client}, {address}");
    }
    if let Ok(value) = HeaderValue::try_from(address) {
        headers.insert(forwarded::FOR, value);
    }
    let port = match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    };
    let proto = HeaderValue::from_static(if is_secure { "https" } else { "http" });
    let host = host.or_else(|| headers.get(HOST).cloned());
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

/// Writes an address as text. The standard library's way pads, and takes longer than all the rest here.
fn text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        for (unit, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text.push(char::from(b'0' + octet / unit % 10));
            }
        }
    }
    text
}

/// Takes off what a backend might take for one of the fields that are set here: `Forwarded`, which says the same and may be
/// believed first (RFC 7239), and all names with underscores, which CGI and its heirs do not tell from dashes. nginx
/// drops those, too (`underscores_in_headers`).
fn drop_doubles(headers: &mut HeaderMap) {
    let doubles = |name: &&HeaderName| **name == FORWARDED || name.as_str().contains('_');
    let found: Vec<HeaderName> = headers.keys().filter(doubles).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// The session of a request, for the backend: 22 characters of base64url.
pub(super) const SESSION: HeaderName = HeaderName::from_static("x-zerottl-session");

/// Says to the backend which session a request belongs to. A client cannot: what it says is taken off, also in the form that CGI
/// would take for the same.
pub(super) fn set_session(headers: &mut HeaderMap, session: Option<&SessionRef>) {
    let is_alike = |name: &HeaderName| {
        let (name, own) = (name.as_str().bytes(), SESSION.as_str().len());
        name.len() == own && name.zip(SESSION.as_str().bytes()).all(|(a, b)| a == b || a == b'_' && b == b'-')
    };
    if headers.keys().any(is_alike) {
        let alike: Vec<HeaderName> = headers.keys().filter(|name| is_alike(name)).cloned().collect();
        for name in alike {
            headers.remove(name);
        }
    }
    if let Some(id) = session.and_then(|session| HeaderValue::try_from(session.id.to_string()).ok()) {
        headers.insert(SESSION, id);
    }
}

/// Sets the name that the backend is asked by (`web.backend_host`), with the port that the client went to.
pub(super) fn set_host(headers: &mut HeaderMap, name: &str) {
    let before = headers.get(HOST).and_then(|host| zerottl_site::host::parse(host.to_str().ok()?)?.port);
    let host =
        before.map_or_else(|| HeaderValue::try_from(name), |port| HeaderValue::try_from(format!("{name}:{port}")));
    if let Ok(host) = host {
        headers.insert(HOST, host);
    }
}

/// Whether a connection may become this. HTTP itself may not: requests in it would pass by unseen (h2c).
pub(super) fn may_upgrade(protocol: &HeaderValue) -> bool {
    tokens(protocol).all(|token| {
        let name = token.split(|byte| *byte == b'/').next().unwrap_or_default();
        !(name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"h2") || name.eq_ignore_ascii_case(b"http"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(tls: bool) -> Peer {
        let at = |text: &str| text.parse().expect("a place");
        Peer { client: at("10.0.0.1:4711"), local: at("192.0.2.10:8080"), tls, server_name: None }
    }

    /// The fields that the backend gets, but for `Host`.
    fn added(fields: &[(&'static str, &'static str)], trusted: &[IpNet]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("app.com"));
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        add_forwarded(&mut headers, &peer(false), trusted);
        headers.remove(HOST);
        let mut all: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        all.sort_unstable();
        all.into_iter().map(|field| field.replace("x-forwarded-", "")).collect()
    }

    /// S1-1A: the backend is told the session, and by nobody else.
    #[test]
    fn s1_1a_the_session_is_the_sites_to_say() {
        let mut headers = HeaderMap::new();
        for name in ["x-zerottl-session", "x_zerottl_session", "x-zerottl_session", "x-zerottl-sessions"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("mine"));
        }
        let id = zerottl_core::session_id::SessionId([255; 16]);
        set_session(&mut headers, Some(&SessionRef { id, epoch: 1 }));
        assert_eq!(headers.get_all(SESSION).iter().collect::<Vec<_>>(), ["_____________________w"]);
        assert_eq!(headers.len(), 2, "{headers:?}");
        set_session(&mut headers, None);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-zerottl-sessions"]);
    }

    #[test]
    fn what_is_said_of_the_client_agrees() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a net")];
        let check = |description: &str, fields: &[(&'static str, &'static str)], is_trusted: bool, wanted: &[&str]| {
            assert_eq!(added(fields, if is_trusted { &trusted } else { &[] }), wanted, "{description}");
        };
        let own = ["for: 10.0.0.1", "host: app.com", "port: 8080", "proto: http"];
        check("nothing is said", &[], true, &own);
        check("nobody is believed", &[("x-forwarded-proto", "https"), ("forwarded", "for=1.1.1.1")], false, &own);
        let proto = ("x-forwarded-proto", "https");
        let https = ["for: 10.0.0.1", "host: app.com", "port: 443", "proto: https"];
        check("a scheme without a port", &[proto], true, &https);
        let of = ["for: 1.1.1.1, 10.0.0.1", "host: a.example:8443", "port: 8443", "proto: https"];
        check(
            "the host's port",
            &[proto, ("x-forwarded-host", "a.example:8443"), ("x-forwarded-for", "1.1.1.1")],
            true,
            &of,
        );
        check(
            "a port that is said",
            &[proto, ("x-forwarded-port", "4433")],
            true,
            &[https[0], https[1], "port: 4433", https[3]],
        );
        check("the standard's field", &[("forwarded", "for=1.1.1.1;proto=https;host=\"a.example:8443\"")], true, &of);
    }

    #[test]
    fn addresses_are_written_as_usual() {
        for octets in [[0, 0, 0, 0], [1, 10, 100, 255], [9, 99, 199, 200], [127, 0, 0, 1]] {
            let address = IpAddr::from(octets);
            assert_eq!(text(address), address.to_string());
        }
        assert_eq!(text([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()), "2001:db8::1");
    }

    /// nginx does so, too.
    #[test]
    fn names_with_underscores_are_dropped() {
        let fields =
            [("x_forwarded_for", "1.1.1.1"), ("x-forwarded_proto", "https"), ("cookie_2", "a"), ("x-own", "b")];
        let own = ["x-own: b", "for: 10.0.0.1", "host: app.com", "port: 8080", "proto: http"];
        let mut found = added(&fields, &["10.0.0.0/8".parse().expect("a net")]);
        found.sort_unstable();
        let mut own = own.map(str::to_owned);
        own.sort_unstable();
        assert_eq!(found, own);
    }

    #[test]
    fn the_backend_is_asked_by_the_name_that_it_knows() {
        let check = |before: Option<&'static str>, wanted: &str| {
            let mut headers = HeaderMap::new();
            headers.extend(before.map(|host| (HOST, HeaderValue::from_static(host))));
            set_host(&mut headers, "app.com");
            assert_eq!(headers[HOST], wanted, "{before:?}");
        };
        check(Some("boston.app.com"), "app.com");
        check(Some("boston.app.com:8443"), "app.com:8443");
        check(None, "app.com");
    }
}
