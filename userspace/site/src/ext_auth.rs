//! Operation 500 as a check for other servers (S4-B-FORM): they ask about each request, and do with it what they are told.
//!
//! | path | who asks | served | anything else |
//! |---|---|---|---|
//! | `/check/nginx` | `auth_request` of nginx | 204 | 401 where it is sent elsewhere, 403 for pages; in fields |
//! | `/check/forward` | forward auth: Caddy, Traefik, `HAProxy` by Lua | 200 | the response itself, which goes to the client |
//! | `/check/envoy/…` | `ext_authz` of Envoy, over HTTP | 200 | the response itself, which goes to the client |
//!
//! Who forwards says what the request was in `X-Forwarded-Method`, `-Uri`, `-Host` (HTTP/1.0 where there is none), `-Proto` and
//! `-For`, and, if it can, in the `X-Original-` fields below. It lets a request pass by any 2xx, so a page of status 200
//! (`busy.status`, `redirect = "meta"`) has 503 here.
//!
//! nginx says what the request was in fields of its own, as `auth_request` knows no other way, and understands 2xx, 401
//! and 403 alone:
//!
//! | field | of | what |
//! |---|---|---|
//! | `X-Original-URI`, `-Method` | nginx | target and method |
//! | `X-Original-Host` | nginx | the `Host`; HTTP/1.0 where there is none |
//! | `X-Original-Protocol`, `-Server-Name` | nginx | `HTTP/2.0` and its like; the TLS server name, if there was one |
//! | `X-Zerottl-URI` | 2xx | the target without a marker, for the application |
//! | `X-Zerottl-Cookie`, `-Cookie-2` | all | what `Set-Cookie` is to say |
//! | `X-Zerottl-Status` | 401, 403 | the status for the client |
//! | `X-Zerottl-Location` | 401 | where to |
//! | `X-Zerottl-Page`, `-Retry-After` | 403 | HTML, and a field that goes with it |
//!
//! All say in `X-Forwarded-Proto` what scheme it came by, and last in `X-Forwarded-For` from whom; that is believed of
//! whoever may ask at all. What stands in `X-Forwarded-For` before that, is believed of `trusted_proxies`.
//!
//! Nobody says here when a request has ended, so none counts as under way: of `[web.busy]` only `sessions` holds.

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{HOST, LOCATION, RETRY_AFTER, SET_COOKIE},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full};

use super::{
    admission::{Admission, Connection, Pass, Verdict},
    forwarded::{self, ForwardedNode},
    refusal::Refusal,
    respond::{self, Page},
};

/// Where Envoy asks: before the path of the request.
pub const ENVOY: &str = "/check/envoy";
/// Where those ask who forward.
pub const FORWARD: &str = "/check/forward";
/// Where nginx asks.
pub const NGINX: &str = "/check/nginx";

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const ORIGINAL_PROTOCOL: HeaderName = HeaderName::from_static("x-original-protocol");
const ORIGINAL_SERVER_NAME: HeaderName = HeaderName::from_static("x-original-server-name");
const URI: HeaderName = HeaderName::from_static("x-zerottl-uri");
const STATUS: HeaderName = HeaderName::from_static("x-zerottl-status");
const TO: HeaderName = HeaderName::from_static("x-zerottl-location");
const PAGE: HeaderName = HeaderName::from_static("x-zerottl-page");
const RETRY: HeaderName = HeaderName::from_static("x-zerottl-retry-after");
/// No verdict has more.
const COOKIES: [HeaderName; 2] =
    [HeaderName::from_static("x-zerottl-cookie"), HeaderName::from_static("x-zerottl-cookie-2")];

/// A request that is asked about.
struct AuthRequest {
    head: Parts,
    client: IpAddr,
    secure: bool,
    server_name: Option<String>,
}

impl AuthRequest {
    /// Takes off what is said of the connection.
    fn new(mut head: Parts) -> Self {
        let headers = &mut head.headers;
        let secure =
            headers.remove(forwarded::PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"));
        let server_name =
            headers.remove(ORIGINAL_SERVER_NAME).and_then(|name| Some(name.to_str().ok()?.to_ascii_lowercase()));
        let client = last_forwarded(headers).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        Self { head, client, secure, server_name }
    }

    fn evaluate(&self, admission: &Admission) -> Verdict {
        let connection =
            Connection { client: self.client, secure: self.secure, server_name: self.server_name.as_deref() };
        admission.evaluate(&self.head, &connection).verdict
    }

    /// Returns the target that the application is to be asked for.
    fn target(&self, pass: &Pass) -> Option<HeaderValue> {
        let target = pass.target.as_ref().or(self.head.uri.path_and_query())?;
        HeaderValue::from_bytes(target.as_str().as_bytes()).ok()
    }
}

/// The last address of `X-Forwarded-For`, which is taken off it.
fn last_forwarded(headers: &mut HeaderMap) -> Option<IpAddr> {
    let all: Vec<&str> =
        headers.get_all(forwarded::FOR).iter().map(|value| value.to_str().ok()).collect::<Option<_>>()?;
    let all = all.join(",");
    let (before, last) = all.rsplit_once(',').unwrap_or(("", &all));
    match HeaderValue::from_str(before) {
        Ok(before) if !before.is_empty() => headers.insert(forwarded::FOR, before),
        _ => headers.remove(forwarded::FOR),
    };
    match forwarded::address(last.trim()) {
        ForwardedNode::Address(client) => Some(client),
        ForwardedNode::Hidden | ForwardedNode::Malformed => None,
    }
}

/// The request that is told of by these fields; none where they do not say.
fn told_of(mut head: Parts, [uri, method, host]: [HeaderName; 3]) -> Option<Result<AuthRequest, Refusal>> {
    let headers = &mut head.headers;
    let (target, method) = (headers.remove(uri)?, headers.remove(method)?);
    head.version = match headers.remove(ORIGINAL_PROTOCOL) {
        Some(protocol) if protocol == "HTTP/2.0" || protocol == "HTTP/3.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    if let Some(host) = headers.remove(host) {
        headers.insert(HOST, host);
    } else {
        // Who asks has refused later versions without one.
        head.version = Version::HTTP_10;
        headers.remove(HOST);
    }
    let (Ok(target), Ok(method)) = (PathAndQuery::try_from(target.as_bytes()), Method::from_bytes(method.as_bytes()))
    else {
        return Some(Err(Refusal::BadTarget));
    };
    (head.uri, head.method) = (Uri::from(target), method);
    Some(Ok(AuthRequest::new(head)))
}

/// Returns what nginx is told of the request that it tells of.
pub async fn nginx(admission: &Admission, head: Parts) -> Page {
    let asked = match told_of(head, [ORIGINAL_URI, ORIGINAL_METHOD, ORIGINAL_HOST]) {
        // Any other status than 401 and 403 is an error to nginx, and it serves nothing.
        None => return plain(StatusCode::INTERNAL_SERVER_ERROR),
        Some(Err(refusal)) => return told(respond::refuse(refusal)).await,
        Some(Ok(asked)) => asked,
    };
    match asked.evaluate(admission) {
        Verdict::Respond(page) => told(page).await,
        Verdict::Serve(pass) => {
            let Some(target) = asked.target(&pass) else { return told(respond::refuse(Refusal::BadTarget)).await };
            let mut response = plain(StatusCode::NO_CONTENT);
            response.headers_mut().insert(URI, target);
            response.headers_mut().extend(COOKIES.into_iter().zip(pass.cookies));
            response
        }
    }
}

/// A response for the client as nginx is told of it.
async fn told(page: Page) -> Page {
    let (head, body) = page.into_parts();
    let moves = head.headers.contains_key(LOCATION);
    let mut response = plain(if moves { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN });
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(head.status.as_u16()));
    for (name, from) in [(TO, LOCATION), (RETRY, RETRY_AFTER)] {
        headers.extend(head.headers.get(from).map(|value| (name, value.clone())));
    }
    headers.extend(COOKIES.into_iter().zip(head.headers.get_all(SET_COOKIE).iter().cloned()));
    if !moves {
        let Ok(body) = body.collect().await;
        let mut text = body.to_bytes().trim_ascii().to_vec();
        text.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        headers.extend(HeaderValue::from_maybe_shared(Bytes::from(text)).ok().map(|text| (PAGE, text)));
    }
    response
}

/// Returns what those are told who say by `X-Forwarded-` fields what the request was.
pub fn forward(admission: &Admission, head: Parts) -> Page {
    let asked = match told_of(head, [FORWARDED_URI, FORWARDED_METHOD, forwarded::HOST]) {
        None => return plain(StatusCode::INTERNAL_SERVER_ERROR),
        Some(Err(refusal)) => return respond::refuse(refusal),
        Some(Ok(asked)) => asked,
    };
    match asked.evaluate(admission) {
        Verdict::Respond(mut page) => {
            if page.status().is_success() {
                *page.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            page
        }
        Verdict::Serve(pass) => {
            let Some(target) = asked.target(&pass) else { return respond::refuse(Refusal::BadTarget) };
            let mut response = plain(StatusCode::OK);
            let headers = response.headers_mut();
            headers.insert(URI, target);
            headers.extend(COOKIES.into_iter().zip(pass.cookies.iter().cloned()));
            for cookie in pass.cookies {
                headers.append(SET_COOKIE, cookie);
            }
            response
        }
    }
}

/// Returns what Envoy is told of the request that it sends on, [`ENVOY`] before its path.
pub fn envoy(admission: &Admission, mut head: Parts) -> Page {
    let target = head.uri.path_and_query().and_then(|target| target.as_str().strip_prefix(ENVOY));
    let Some(Ok(target)) = target.map(PathAndQuery::try_from) else { return respond::refuse(Refusal::BadTarget) };
    head.uri = Uri::from(target);
    head.version = Version::HTTP_11;
    let asked = AuthRequest::new(head);
    match asked.evaluate(admission) {
        Verdict::Respond(mut page) => {
            // 200 alone would let the request through.
            if page.status() == StatusCode::OK {
                *page.status_mut() = StatusCode::NON_AUTHORITATIVE_INFORMATION;
            }
            page
        }
        Verdict::Serve(pass) => {
            let Some(target) = asked.target(&pass) else { return respond::refuse(Refusal::BadTarget) };
            let mut response = plain(StatusCode::OK);
            response.headers_mut().insert(URI, target);
            for cookie in pass.cookies {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
    }
}

fn plain(status: StatusCode) -> Page {
    let mut response = Page::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
