//! Access to the admin interfaces, the agent's and the stand-alone Site's: pure functions of a request's head and of the way it came.
//!
//! | came over | must show | is kept out |
//! |---|---|---|
//! | a Unix socket | nothing: its mode says who may connect | |
//! | TCP, with a token configured | the token, but for `/`, which is the page alone and holds no data | everyone else |
//! | TCP, loopback, without one | a Host that is ours | web pages whose name was made to resolve to us (DNS rebinding) |
//!
//! Requests that change something (all but GET and HEAD) must besides say that they bring JSON, which a web page of
//! another origin cannot without asking first (CORS, which nobody here grants), and bear no foreign Origin.

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN},
    request::Parts,
    uri::{Authority, Uri},
};

use crate::model::AdminToken;

/// Browsers say with it whose page asks (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The Host is not ours.
    Host,
    /// There is no token, or another.
    Token,
    /// It comes from another site's page.
    Origin,
    /// It changes something and does not say that it brings JSON.
    ContentType,
}

impl AccessRefusal {
    /// Returns the HTTP status and a sentence.
    #[must_use]
    pub fn status_and_text(self) -> (StatusCode, &'static str) {
        match self {
            Self::Host => {
                (StatusCode::FORBIDDEN, "the Host header must be this address, a loopback address or localhost\n")
            }
            Self::Token => {
                (StatusCode::UNAUTHORIZED, "this admin interface asks for its token: Authorization: Bearer …\n")
            }
            Self::Origin => (StatusCode::FORBIDDEN, "another site's page may change nothing here\n"),
            Self::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the header Content-Type must be application/json\n")
            }
        }
    }
}

/// Lets a request in, or says why not. `local` is the address that it came to; none for a Unix socket.
pub fn admit(request: &Parts, local: Option<SocketAddr>, token: Option<&AdminToken>) -> Result<(), AccessRefusal> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    match (local, token) {
        (None, _) => {}
        (Some(_), Some(_)) if reads && request.uri.path() == "/" => {}
        (Some(_), Some(token)) if shows(&request.headers, token) => {}
        (Some(_), Some(_)) => return Err(AccessRefusal::Token),
        (Some(local), None) if is_ours(request, local) => {}
        (Some(_), None) => return Err(AccessRefusal::Host),
    }
    if reads {
        return Ok(());
    }
    if is_foreign(&request.headers) {
        return Err(AccessRefusal::Origin);
    }
    // A browser asks before it sends any other method for another site's page, and any other type of content (Fetch standard,
    // "CORS-safelisted method").
    if request.method != Method::POST || brings_json(&request.headers) {
        return Ok(());
    }
    Err(AccessRefusal::ContentType)
}

/// Whether a request comes from somebody who is known: over a Unix socket, or with the token.
#[must_use]
pub fn is_known(request: &Parts, local: Option<SocketAddr>, token: Option<&AdminToken>) -> bool {
    local.is_none() || token.is_some_and(|token| shows(&request.headers, token))
}

/// Says what is wrong with a request for a page without parameters that brings some.
#[must_use]
pub fn unexpected_query(uri: &Uri) -> Option<String> {
    uri.query().filter(|query| !query.is_empty()).map(|_| format!("{} takes no query parameters", uri.path()))
}

/// Returns the value of a header that stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn shows(headers: &HeaderMap, token: &AdminToken) -> bool {
    let Some((scheme, given)) = only(headers, AUTHORIZATION).and_then(|value| value.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim_start().as_bytes())
}

fn brings_json(headers: &HeaderMap) -> bool {
    let essence = only(headers, CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether a browser says that another site's page asks.
fn is_foreign(headers: &HeaderMap) -> bool {
    let ours = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| only(headers, HOST) == Some(authority))
    };
    let foreign_origin = headers.contains_key(ORIGIN) && !only(headers, ORIGIN).is_some_and(ours);
    let site = only(headers, SEC_FETCH_SITE);
    foreign_origin || headers.contains_key(SEC_FETCH_SITE) && !matches!(site, Some("same-origin" | "none"))
}

/// Whether a request was meant for us by whoever wrote its URL.
fn is_ours(request: &Parts, local: SocketAddr) -> bool {
    let in_uri = request.uri.authority().is_none_or(|authority| host_is_ours(authority.as_str(), local));
    in_uri && only(&request.headers, HOST).is_some_and(|host| host_is_ours(host, local))
}

fn host_is_ours(host: &str, local: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match literal.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == local.ip().to_canonical(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn parts(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[track_caller]
    fn check(way: &str, method: &str, path: &str, headers: &[(&str, &str)], expect: Result<(), AccessRefusal>) {
        let token = AdminToken::new(TOKEN).expect("a token");
        let local = Some("127.0.0.1:8053".parse().expect("an address"));
        let (local, token) = match way {
            "unix" => (None, Some(&token)),
            "token" => (local, Some(&token)),
            _ => (local, None),
        };
        assert_eq!(admit(&parts(method, path, headers), local, token), expect, "{way} {method} {path} {headers:?}");
    }

    const HOST: (&str, &str) = ("host", "127.0.0.1:8053");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery");

    #[test]
    fn readers() {
        check("loopback", "GET", "/v1/status", &[HOST], Ok(()));
        check("loopback", "HEAD", "/v1/status", &[HOST], Ok(()));
        check("loopback", "GET", "/v1/status", &[("host", "rebound.example:8053")], Err(AccessRefusal::Host));
        check("loopback", "GET", "/v1/status", &[], Err(AccessRefusal::Host));
        check("unix", "GET", "/v1/status", &[("host", "anything")], Ok(()));
        check("token", "GET", "/v1/status", &[HOST], Err(AccessRefusal::Token));
        check("token", "GET", "/v1/status", &[("host", "admin.example"), BEARER], Ok(()));
        check("token", "GET", "/", &[("host", "admin.example")], Ok(()));
        check("token", "POST", "/", &[HOST, JSON], Err(AccessRefusal::Token));
        check("token", "GET", "//", &[HOST], Err(AccessRefusal::Token));
        for wrong in ["", "Bearer", "Bearer ", "Basic correct-horse-battery", "Bearer correct-horse-batterY"] {
            check("token", "GET", "/metrics", &[HOST, ("authorization", wrong)], Err(AccessRefusal::Token));
        }
        check("token", "GET", "/metrics", &[HOST, BEARER, BEARER], Err(AccessRefusal::Token));
        check("token", "GET", "/metrics", &[("authorization", "bearer   correct-horse-battery")], Ok(()));
    }

    #[test]
    fn writers() {
        let path = "/v1/sites/word";
        for (way, extra) in [("loopback", None), ("unix", None), ("token", Some(BEARER))] {
            let with = |headers: &[(&'static str, &'static str)]| -> Vec<_> {
                extra.iter().copied().chain([HOST]).chain(headers.iter().copied()).collect()
            };
            check(way, "POST", path, &with(&[JSON]), Ok(()));
            check(way, "POST", path, &with(&[("content-type", "Application/JSON; charset=utf-8")]), Ok(()));
            check(way, "POST", path, &with(&[JSON, ("origin", "http://127.0.0.1:8053")]), Ok(()));
            check(way, "POST", path, &with(&[JSON, ("sec-fetch-site", "same-origin")]), Ok(()));
            // What a form of another site's page can send.
            for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
                check(way, "POST", path, &with(&[("content-type", form)]), Err(AccessRefusal::ContentType));
            }
            check(way, "POST", path, &with(&[]), Err(AccessRefusal::ContentType));
            check(way, "DELETE", path, &with(&[]), Ok(()));
            for origin in ["http://evil.example", "null", "http://127.0.0.1:9999", "127.0.0.1:8053", ""] {
                check(way, "POST", path, &with(&[JSON, ("origin", origin)]), Err(AccessRefusal::Origin));
            }
            let cross = [JSON, ("origin", "http://127.0.0.1:8053"), ("sec-fetch-site", "cross-site")];
            check(way, "POST", path, &with(&cross), Err(AccessRefusal::Origin));
        }
        check("loopback", "POST", path, &[("host", "rebound.example"), JSON], Err(AccessRefusal::Host));
    }

    #[test]
    fn hosts_that_are_ours_and_others() {
        let local: SocketAddr = "192.0.2.53:8053".parse().expect("valid");
        for host in ["localhost", "LocalHost:8053", "127.0.0.1:8053", "127.0.0.2", "[::1]:8053", "192.0.2.53:8053"] {
            assert!(host_is_ours(host, local), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:8053",
            "127.0.0.1.evil.example",
            "192.0.2.54",
            "::1",
            "[::2]",
            "evil@localhost",
            "localhost@evil.example",
            "127.1",
            "0.0.0.0",
            "2130706433",
        ] {
            assert!(!host_is_ours(host, local), "{host}");
        }
    }
}
