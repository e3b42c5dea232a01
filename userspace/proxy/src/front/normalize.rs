//! Requests in one form, or refused; pure.
//!
//! What comes after sees the same of HTTP/1.0, 1.1 and 2: a target in origin form and at most one Host. hyper has
//! refused by then what is no HTTP (spaces before a colon, folded lines, lengths that disagree), and taken the framing
//! off: a body reaches a backend as it was understood here, framed anew, so that both agree on where it ends.

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{HOST, TRANSFER_ENCODING},
    uri::{PathAndQuery, Scheme},
};

use super::counters::FrontRefusal;

/// The status that a request is refused with, and why.
pub(super) type HeadRefusal = (StatusCode, FrontRefusal);

/// Brings a request into its form, or says with which status it is refused.
pub(super) fn admit<B>(request: &mut Request<B>, headers_max: usize) -> Result<(), HeadRefusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err((StatusCode::NOT_IMPLEMENTED, FrontRefusal::Method));
    }
    if request.headers().len() > headers_max {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, FrontRefusal::HeadTooLarge));
    }
    coding(request.headers())?;
    // HTTP/1.1's were taken off by whoever read it; in HTTP/2 there are none (RFC 9113 section 8.2.1).
    if request.version() == Version::HTTP_2 && request.headers().values().any(has_edges) {
        return Err(MALFORMED);
    }
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        return Err(MALFORMED);
    }
    if request.uri().authority().is_some() {
        authority(request)?;
    }
    // Neither `host:port` nor the empty target is for a server that refuses CONNECT.
    match request.uri().path_and_query() {
        Some(target) if target.as_str().starts_with('/') => Ok(()),
        Some(target) if target == "*" && request.method() == Method::OPTIONS => Ok(()),
        _ => Err(MALFORMED),
    }
}

const MALFORMED: HeadRefusal = (StatusCode::BAD_REQUEST, FrontRefusal::Malformed);

/// Whether a value begins or ends with a space or a tab.
fn has_edges(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// Codings under `chunked` would be lost when the field is taken off (RFC 9112 section 6.1).
fn coding(headers: &HeaderMap) -> Result<(), HeadRefusal> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = values.next() else { return Ok(()) };
    if values.next().is_some() || !first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err((StatusCode::NOT_IMPLEMENTED, FrontRefusal::Coding));
    }
    Ok(())
}

/// The authority of the target becomes the Host: in HTTP/1.1 it wins (RFC 9112 section 3.2.2), in HTTP/2 both must say
/// the same (RFC 9113 section 8.3.1).
fn authority<B>(request: &mut Request<B>) -> Result<(), HeadRefusal> {
    let two = request.version() == Version::HTTP_2;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let web = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    if !parts.scheme.as_ref().is_some_and(web) {
        return Err(MALFORMED);
    }
    let authority = parts.authority.take().ok_or(MALFORMED)?;
    let said = request.headers().get(HOST);
    let differs = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if two && said.is_some_and(differs) {
        return Err(MALFORMED);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| MALFORMED)?;
    request.headers_mut().insert(HOST, host);
    parts.scheme = None;
    // `http://host` asks for `/`, `http://host?a` for `/?a`; OPTIONS of HTTP/2 may ask for `*` (RFC 9113 section 8.3.1).
    let target = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str);
    if !(target.starts_with('/') || target == "*" && request.method() == Method::OPTIONS) {
        parts.path_and_query = Some(format!("/{target}").parse().map_err(|_| MALFORMED)?);
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| MALFORMED)?;
    Ok(())
}
