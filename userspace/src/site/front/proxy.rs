//! Requests to one of the backends.

use std::{
    convert::Infallible,
    error::Error as _,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST},
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use ipnet::IpNet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{
    Counters, Peer, ProxyBody, Refused,
    backend::{Backend, Backends, Kept},
    body::{BodyError, RequestBody},
    forward,
    link::{Failed, Link},
    tunnel::{Stopping, Tunnels},
};
use crate::model::{Web, WebLimits};

/// After so long at rest, a backend may be about to close a connection just as a request is written to it; only then
/// does a request's head need a copy to be sent again.
const SURELY_OPEN: Duration = Duration::from_millis(100);

/// A tower service that hands requests to the backends of this Site. Always ready; clones share everything.
#[derive(Clone, Debug)]
pub struct Proxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backends: Backends,
    limits: WebLimits,
    trusted: Box<[IpNet]>,
    /// The name that backends are asked by, if it is not the client's.
    host: Option<Box<str>>,
    counters: Arc<Counters>,
    tunnels: Tunnels,
}

impl Proxy {
    /// To the backends of `web`. Starts their probes, which `cancel` ends; requests and tunnels go on until [`super::serve()`]
    /// ends them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(web: &Web, counters: Arc<Counters>, cancel: &CancellationToken) -> Self {
        Self(Arc::new(Inner {
            backends: Backends::start(web, &counters, cancel),
            limits: web.limits,
            trusted: web.trusted_proxies.clone().into(),
            host: web.backend_host.as_deref().map(Into::into),
            tunnels: Tunnels::new(web.limits.idle_timeout, Arc::clone(&counters)),
            counters,
        }))
    }

    /// One request's response: the backend's, or a page of our own that says what is wrong.
    pub async fn forward(&self, request: Request<Incoming>) -> Response<ProxyBody> {
        self.0.forward(request).await
    }
}

impl Service<Request<Incoming>> for Proxy {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProxyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.forward(request).await) })
    }
}

/// A backend's response and what it came over.
type Answer = (Response<Incoming>, Box<Link>, Kept);

impl Inner {
    async fn forward(&self, request: Request<Incoming>) -> Response<ProxyBody> {
        let (mut parts, body) = request.into_parts();
        let max = self.limits.body;
        if max != 0 && announced(&parts.headers).is_some_and(|length| length > max) {
            self.counters.refuse(Refused::BodyTooLarge);
            return page(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let protocol = forward::strip(&mut parts.headers)
            .filter(|protocol| parts.version == Version::HTTP_11 && forward::may_upgrade(protocol));
        if let Some(peer) = parts.extensions.get::<Peer>() {
            forward::add_forwarded(&mut parts.headers, peer, &self.trusted);
        }
        if let Some(host) = &self.host {
            forward::set_host(&mut parts.headers, host);
        }
        let client = protocol.as_ref().and_then(|_| {
            let stopping = parts.extensions.remove::<Stopping>().unwrap_or_default();
            parts.extensions.remove::<OnUpgrade>().map(|client| (client, stopping))
        });
        if let Some(protocol) = protocol {
            forward::upgrading(&mut parts.headers, protocol);
        }
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        let request = Request::from_parts(parts, RequestBody::new(body, max, self.limits.idle_timeout));
        match self.send(request).await {
            Ok(answer) => self.answer(answer, client),
            Err(status) => page(status),
        }
    }

    fn answer(&self, (response, link, home): Answer, client: Option<(OnUpgrade, Stopping)>) -> Response<ProxyBody> {
        let (mut parts, body) = response.into_parts();
        let protocol = forward::strip(&mut parts.headers);
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return Response::from_parts(parts, ProxyBody::passing(body, link, home, self.limits.idle_timeout));
        }
        // One that nobody asked for would leave the client without any response.
        let (Some((client, stopping)), Some(protocol)) = (client, protocol) else {
            return page(StatusCode::BAD_GATEWAY);
        };
        forward::upgrading(&mut parts.headers, protocol);
        self.tunnels.join(client, *link, stopping);
        Response::from_parts(parts, ProxyBody::none())
    }

    /// Asks healthy backends until one takes the request. A request that may have reached a backend goes nowhere else,
    /// unless nothing can come of a second one.
    async fn send(&self, mut request: Request<RequestBody>) -> Result<Answer, StatusCode> {
        use hyper::body::Body as _;
        let harmless = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let repeatable = harmless && request.body().is_end_stream();
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        for backend in self.backends.turn() {
            let mut kept = backend.kept().await;
            loop {
                let (mut link, reused) = match kept.take() {
                    Some(link) => (link, true),
                    None => match backend.connect().await {
                        Ok(link) => (link, false),
                        Err(_) => break status = StatusCode::BAD_GATEWAY,
                    },
                };
                let now = Instant::now();
                let may_be_closed = reused && repeatable && now.duration_since(link.idle_since()) > SURELY_OPEN;
                let copy = may_be_closed.then(|| copy(&request));
                ensure_host(&mut request, backend);
                backend.counted().requests.fetch_add(1, Relaxed);
                let failed = match link.ask(request, now, self.limits.response_timeout).await {
                    Ok(response) => return Ok((response, link, Kept::at(backend))),
                    Err(failed) => failed,
                };
                match (failed, copy) {
                    (Failed::Unsent(back), _) => request = *back,
                    (Failed::Http(_), Some(copy)) => request = copy,
                    (failed, _) => return Err(self.failed(backend, &failed)),
                }
                if !reused {
                    backend.counted().failures.fetch_add(1, Relaxed);
                    break status = StatusCode::BAD_GATEWAY;
                }
            }
        }
        Err(status)
    }

    /// What a client is told where a request that may have reached a backend came to nothing.
    fn failed(&self, backend: &Backend, failed: &Failed) -> StatusCode {
        let ours = match failed {
            Failed::Http(error) => error.source().and_then(|source| source.downcast_ref::<BodyError>()),
            Failed::Timeout | Failed::Unsent(_) => None,
        };
        match ours {
            Some(BodyError::TooLarge) => {
                self.counters.refuse(Refused::BodyTooLarge);
                return StatusCode::PAYLOAD_TOO_LARGE;
            }
            Some(BodyError::Slow) => {
                self.counters.refuse(Refused::Slow);
                return StatusCode::REQUEST_TIMEOUT;
            }
            Some(BodyError::Http(_)) => {
                self.counters.refuse(Refused::Malformed);
                return StatusCode::BAD_REQUEST;
            }
            None => {}
        }
        backend.counted().failures.fetch_add(1, Relaxed);
        match failed {
            Failed::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Failed::Http(_) | Failed::Unsent(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// HTTP/1.1 wants a Host (RFC 9112 section 3.2); HTTP/1.0 need not have sent one.
fn ensure_host(request: &mut Request<RequestBody>, backend: &Backend) {
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(backend.authority())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// The same request, where it has no body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The length that a head announces.
fn announced(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A few words where there is nothing else to answer with. No cache keeps them.
pub(super) fn page(status: StatusCode) -> Response<ProxyBody> {
    let text = words(status);
    let mut response = Response::new(ProxyBody::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn words(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "400: this is not a request that can be answered\n",
        StatusCode::REQUEST_TIMEOUT => "408: the request did not come in time\n",
        StatusCode::PAYLOAD_TOO_LARGE => "413: the request's body is too large\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "431: the request has too many header fields\n",
        StatusCode::NOT_IMPLEMENTED => "501: this is not done here\n",
        StatusCode::BAD_GATEWAY => "502: the application gave no answer\n",
        StatusCode::SERVICE_UNAVAILABLE => "503: the application is down\n",
        StatusCode::GATEWAY_TIMEOUT => "504: the application gave no answer in time\n",
        _ => "the request was not answered\n",
    }
}
