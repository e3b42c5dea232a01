//! Single values of `[web]`.

use std::net::{IpAddr, SocketAddr};

use crate::{
    places::place,
    readers::request_path,
    values::{self, Fault},
};
use zerottl_core::model::{Backend, Name, Screen};

/// The port of a URL that names none.
const HTTP: u16 = 80;

/// An address and a port of one host.
pub(super) fn agent(text: &str, port: u16) -> Result<SocketAddr, Fault> {
    let place = place(text, port)?;
    values::unicast(place.ip())?;
    Ok(place)
}

/// A host name or an address, for a URL: no wildcard, nothing that a Host header cannot have.
fn is_host(text: &str) -> bool {
    let label =
        |label: &str| !label.starts_with('-') && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    values::name(text).is_ok() && text.split('.').all(label)
}

/// A host as requests name it, without a port: lower case, without a trailing dot.
pub(super) fn host(text: &str) -> Result<(String, Name), Fault> {
    let name = values::name(text)?;
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !is_host(&host) {
        return Err(Fault::new(
            format!("`{text}` cannot be the host of a URL"),
            "give a name of letters, digits, - and _, such as \"www.app.com\", without a port",
        ));
    }
    Ok((host, name))
}

/// `http://host:port` of a backend, or of something else of this kind.
pub(super) fn backend(kind: &str, text: &str) -> Result<Backend, Fault> {
    let form = "give \"http://127.0.0.1:8080\", \"http://[::1]:8080\" or \"http://app1.internal:8080\"";
    let fault = |what: &str| Err(Fault::new(format!("{kind} `{text}` {what}"), form));
    let Some((scheme, rest)) = text.split_once("://") else { return fault("is not a URL") };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(Fault::new(
            format!("{kind} `{text}` would be spoken to by TLS"),
            format!("give http://: {kind}s are spoken to in HTTP/1.1, over a network of your own"),
        ));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return fault("is not an http:// URL");
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return fault("has a path");
    }
    if authority.contains('@') {
        return fault("has a user");
    }
    match self::authority(authority, HTTP) {
        Ok((host, port)) => Ok(Backend { url: text.to_owned(), authority: format!("{host}:{port}") }),
        Err(what) => fault(what),
    }
}

/// A host, in lower case, and a port of a URL; or what is wrong with them.
pub(crate) fn authority(authority: &str, default_port: u16) -> Result<(String, u16), &'static str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else { return Err("has no `]`") };
        if !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() && values::unicast(ip).is_ok()) {
            return Err("has no IPv6 address in its brackets");
        }
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) };
        (format!("[{host}]"), port)
    } else {
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        if authority.matches(':').count() > 1 {
            return Err("has an IPv6 address without brackets");
        }
        if host.parse::<IpAddr>().is_ok_and(|ip| values::unicast(ip).is_err()) || !is_host(host) {
            return Err("has no host");
        }
        (host.to_ascii_lowercase(), port)
    };
    // `parse` would take a sign.
    let port = match port {
        None => Some(default_port),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|&port| port > 0)
        }
        Some(_) => None,
    };
    Ok((host, port.ok_or("has no port of 1 to 65535")?))
}

/// `http://host:port/path`.
pub(super) fn screen(text: &str) -> Result<Screen, Fault> {
    let after = text.find("://").map_or(0, |at| at + 3);
    let (at, path) = text.split_at(text[after..].find('/').map_or(text.len(), |slash| after + slash));
    let path = if path.is_empty() { "/" } else { path };
    Ok(Screen { at: backend("screen", at)?, path: request_path(path)? })
}

/// A token (RFC 9110 section 5.6.2), as header and cookie names are.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The name of a cookie.
pub(super) fn cookie_name(text: &str) -> Result<String, Fault> {
    if !is_token(text) {
        return Err(Fault::new(
            format!("`{text}` cannot be a cookie's name"),
            "give letters, digits, - and _, such as \"ZSESSION\"",
        ));
    }
    if text.eq_ignore_ascii_case("distrib") {
        return Err(Fault::new(format!("cookie `{text}` is the marker's"), "give the cookie another name"));
    }
    Ok(text.to_owned())
}

/// `name=value`, or `name`.
pub(super) fn cookie(text: &str) -> Result<(String, Option<String>), Fault> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    // RFC 6265 section 4.1.1.
    let octet = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    if !is_token(name) || value.is_some_and(|value| value.is_empty() || !value.bytes().all(octet)) {
        return Err(Fault::new(
            format!("`{text}` is not a cookie"),
            "give \"name=value\", or \"name\" for any value; no spaces, quotes, commas and semicolons",
        ));
    }
    Ok((name.to_owned(), value.map(str::to_owned)))
}

/// `name: value`, or `name`; the name in lower case.
pub(super) fn header(text: &str) -> Result<(String, Option<String>), Fault> {
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value.trim())));
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
    if !is_token(name) || value.is_some_and(|value| value.is_empty() || !value.bytes().all(visible)) {
        return Err(Fault::new(
            format!("`{text}` is not a header"),
            "give \"name: value\", or \"name\" for any value, in ASCII",
        ));
    }
    Ok((name.to_ascii_lowercase(), value.map(str::to_owned)))
}

/// `METHOD /path`, or one of both.
pub(super) fn passed(text: &str) -> Result<(Option<String>, Option<String>), Fault> {
    let (method, rest) = match text.split_once(' ') {
        Some((method, rest)) => (Some(method), Some(rest.trim_start())),
        None if text.starts_with('/') => (None, Some(text)),
        None => (Some(text), None),
    };
    // Methods are told apart by case (RFC 9110 section 9.1), and all that are in use are upper case.
    let is_method = |method: &str| is_token(method) && !method.bytes().any(|b| b.is_ascii_lowercase());
    if method.is_some_and(|method| !is_method(method)) {
        return Err(Fault::new(
            format!("`{text}` is neither a path nor a method"),
            "give a path, a method in capitals, or both: \"/.well-known\", \"OPTIONS\", \"POST /hooks\"",
        ));
    }
    Ok((method.map(str::to_owned), rest.map(path).transpose()?))
}

/// The beginning of a path, by whole segments; without a trailing slash.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    let bad = |b: u8| !b.is_ascii_graphic() || b"?#".contains(&b);
    if !text.starts_with('/') || text.bytes().any(bad) {
        return Err(Fault::new(
            format!("`{text}` is not a path"),
            "give one that begins with / and has no query, such as \"/eu\"",
        ));
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Err(Fault::new("`/` is every path", "take `path` out"));
    }
    Ok(path.to_owned())
}
