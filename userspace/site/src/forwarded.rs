//! Proxies' statements on a request's client, and whose are believed: the fields `X-Forwarded-…`, or else `Forwarded`
//! (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

/// Addresses, the client's first, each proxy's after it.
pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The `Host`.
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port that the client connected to.
pub const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whether what this address says of others is believed.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The facts believed of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardedClient<'a> {
    /// The client's address, if that is another than the connection's other end.
    pub client: Option<IpAddr>,
    /// Whether the client came by HTTPS.
    pub secure: Option<bool>,
    /// The host that it asked for.
    pub host: Option<&'a str>,
    /// Instead of an address.
    pub malformed: Option<&'a str>,
    /// Whether it stands in `Forwarded`.
    pub by_standard: bool,
}

/// Returns what is believed of a request that came from `peer`.
///
/// A proxy that sends one of the `X-Forwarded-` fields hands `Forwarded` on as it came from anybody, so that counts only
/// where there is none of them.
pub fn read<'a>(headers: &'a HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> ForwardedClient<'a> {
    if !is_trusted(peer, trusted) {
        return ForwardedClient::default();
    }
    let lines = |name: &HeaderName| {
        let values = headers.get_all(name).iter().rev();
        values.map(|value| value.to_str().unwrap_or("?")).flat_map(|value| value.rsplit(',')).map(str::trim)
    };
    if [FOR, PROTO, HOST].iter().any(|name| headers.contains_key(name)) {
        let (client, malformed) = client(lines(&FOR), trusted);
        let secure = lines(&PROTO).next().map(|scheme| scheme.eq_ignore_ascii_case("https"));
        return ForwardedClient { client, malformed, secure, host: lines(&HOST).next(), by_standard: false };
    }
    if !headers.contains_key(FORWARDED) {
        return ForwardedClient::default();
    }
    // The last proxy's are the last.
    let elements: Vec<&str> = headers
        .get_all(FORWARDED)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|value| outside_quotes(value, b','))
        .collect();
    let of = |element: &&'a str, name: &str| {
        let pairs = outside_quotes(element, b';').into_iter().filter_map(|pair| pair.split_once('='));
        pairs.filter(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| unquoted(value)).next()
    };
    let last = |name: &str| elements.iter().rev().find_map(|element| of(element, name));
    let (client, malformed) = client(elements.iter().rev().filter_map(|element| of(element, "for")), trusted);
    let secure = last("proto").map(|scheme| scheme.eq_ignore_ascii_case("https"));
    ForwardedClient { client, malformed, secure, host: last("host"), by_standard: true }
}

/// The last address that no trusted proxy has, of those from the last on; and what is there instead of one.
fn client<'a>(entries: impl Iterator<Item = &'a str>, trusted: &[IpNet]) -> (Option<IpAddr>, Option<&'a str>) {
    let mut client = None;
    // Empty ones are none (RFC 9110 section 5.6.1).
    for text in entries.filter(|text| !text.is_empty()) {
        match address(text) {
            ForwardedNode::Address(address) => {
                client = Some(address);
                if !is_trusted(address, trusted) {
                    break;
                }
            }
            ForwardedNode::Hidden => break,
            ForwardedNode::Malformed => return (client, Some(text)),
        }
    }
    (client, None)
}

/// The entry that stands where an address is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedNode {
    /// An address.
    Address(IpAddr),
    /// A proxy does not say, or by a word of its own (RFC 7239 section 6).
    Hidden,
    /// Something else.
    Malformed,
}

/// An address, with or without brackets, a zone and a port: some proxies write one (Azure's, IIS).
#[must_use]
pub fn address(text: &str) -> ForwardedNode {
    let text = unquoted(text);
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return ForwardedNode::Hidden;
    }
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|at| at.ip());
    let bare = || {
        // `[::1]`, and ports by a word of the proxy's own.
        let host = text.rsplit_once(":_").map_or(text, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        host.split_once('%').map_or(host, |(host, _)| host).parse::<IpAddr>().ok()
    };
    let found = plain().or_else(with_port).or_else(bare);
    found.map_or(ForwardedNode::Malformed, |address| ForwardedNode::Address(address.to_canonical()))
}

/// Takes off the quotes that a text was written in, if any.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Parts of a text, where separators in quotes are none.
fn outside_quotes(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut begin, mut is_quoted) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'"' {
            is_quoted = !is_quoted;
        } else if byte == separator && !is_quoted {
            parts.push(text[begin..at].trim());
            begin = at + 1;
        }
    }
    parts.push(text[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_as_proxies_write_them() {
        let check = |text: &str, wanted: &str| {
            let wanted = match wanted {
                "hidden" => ForwardedNode::Hidden,
                "malformed" => ForwardedNode::Malformed,
                address => ForwardedNode::Address(address.parse().unwrap()),
            };
            assert_eq!(address(text), wanted, "{text}");
        };
        check("192.0.2.43", "192.0.2.43");
        check("192.0.2.43:47011", "192.0.2.43");
        check("2001:db8::17", "2001:db8::17");
        check("[2001:db8::17]", "2001:db8::17");
        check("[2001:db8::17]:4711", "2001:db8::17");
        check("\"[2001:db8::17]:4711\"", "2001:db8::17");
        check("[2001:db8::17]:_secret", "2001:db8::17");
        check("fe80::1%eth0", "fe80::1");
        check("::ffff:192.0.2.43", "192.0.2.43");
        check("unknown", "hidden");
        check("_gazonk", "hidden");
        for text in ["", "a", "192.0.2.43.5", "192.0.2", "192.0.2.43:99999", "[192.0.2.43", "2001:db8::17]:1", "1,2"] {
            check(text, "malformed");
        }
    }

    fn said_of(fields: &[(&'static str, &str)]) -> (String, Option<bool>, String, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:f::/48".parse().unwrap()];
        let said = read(&headers, [10, 0, 0, 1].into(), &trusted);
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        (
            said.client.map_or("-".into(), |client| client.to_string()),
            said.secure,
            text(said.host),
            text(said.malformed),
        )
    }

    #[test]
    fn the_last_that_is_no_proxy_of_ours_is_the_client() {
        let check = |description: &str, fields: &[(&'static str, &str)], client: &str, malformed: &str| {
            let (found, _, _, bad) = said_of(fields);
            assert_eq!((&*found, &*bad), (client, malformed), "{description}");
        };
        let name = "x-forwarded-for";
        check("one", &[(name, "198.51.100.7")], "198.51.100.7", "-");
        check("what it says itself is not believed", &[(name, "1.1.1.1, 198.51.100.7")], "198.51.100.7", "-");
        check("proxies of ours", &[(name, "198.51.100.7, 10.0.0.9"), (name, "10.0.0.8")], "198.51.100.7", "-");
        check("a port", &[(name, "198.51.100.7:4711, 10.0.0.9:80")], "198.51.100.7", "-");
        check("empty entries", &[(name, "198.51.100.7, , 10.0.0.9,")], "198.51.100.7", "-");
        check("nobody else's word", &[(name, "198.51.100.7, what, 10.0.0.9")], "10.0.0.9", "what");
        check("not said", &[(name, "198.51.100.7, unknown")], "-", "-");
        check("nothing", &[], "-", "-");
    }

    /// RFC 7239 sections 4 and 7.
    #[test]
    fn forwarded_is_read_where_there_is_nothing_else() {
        let check = |value: &str, wanted: (&str, Option<bool>, &str, &str)| {
            let (client, secure, host, malformed) = said_of(&[("forwarded", value)]);
            assert_eq!((&*client, secure, &*host, &*malformed), wanted, "{value}");
        };
        check("for=198.51.100.7", ("198.51.100.7", None, "-", "-"));
        check(
            "For=\"[2001:db8:cafe::17]:4711\";proto=https; Host=\"www.app.com\"",
            ("2001:db8:cafe::17", Some(true), "www.app.com", "-"),
        );
        check(
            "for=1.1.1.1;host=evil.example;proto=http, for=198.51.100.7;proto=https;host=app.com, for=10.0.0.7",
            ("198.51.100.7", Some(true), "app.com", "-"),
        );
        check("for=\"a,b;c\"", ("-", None, "-", "a,b;c"));
        check("for=unknown;proto=http", ("-", Some(false), "-", "-"));
        let both = said_of(&[("forwarded", "for=1.1.1.1;host=evil.example"), ("x-forwarded-for", "198.51.100.7")]);
        assert_eq!((&*both.0, &*both.2), ("198.51.100.7", "-"), "the one that the proxy does not know is not believed");
    }
}
