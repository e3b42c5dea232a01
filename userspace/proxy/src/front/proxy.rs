//! Requests to one of the backends.

use std::{
    convert::Infallible,
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST},
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use ipnet::IpNet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::warn;

use super::{
    ClientBody, FrontCounters, FrontRefusal, Peer, ProxyBody, ScreenResult,
    backend::{Backend, Backends, Home},
    cause::Cause,
    headers,
    invited::Invited,
    log_limit::SharedLogLimit,
    request_body::{BodyError, RequestBody},
    screen::{Screener, Screening},
    tunnel::{Stopping, Tunnels},
    upstream_conn::{ExchangeError, Link},
};
use zerottl_core::model::{Web, WebLimits};
use zerottl_invitation::InvitationGate;
use zerottl_site::{session::SessionRef, trail::Trail};

/// Backends that are sent one request, at most: `HAProxy`'s `retries 3`. A request that brings down whoever gets it is to stop
/// somewhere.
const SENT_MAX: usize = 4;
/// Backends that one request waits for in vain, at most: it has been slow enough then.
const SLOW_MAX: u32 = 2;
/// After so many times the time to connect, no further backend is tried.
const CONNECTS_MAX: u32 = 5;

/// A tower service that hands requests to the backends of this Site. Always ready; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    choice: Choice,
    screener: Option<Screener>,
    limits: WebLimits,
    trusted: Box<[IpNet]>,
    /// The name that backends are asked by, if it is not the client's.
    host: Option<Box<str>>,
    counters: Arc<FrontCounters>,
    tunnels: Tunnels,
    nobody_log: SharedLogLimit,
    via: headers::Via,
}

/// How it is chosen where a request goes.
#[derive(Debug)]
enum Choice {
    /// Among the backends of the configuration.
    Backends(Backends),
    /// Among application servers that are ready.
    Invited(Invited),
}

impl Proxy {
    /// Makes one to the backends of `web`, or to those that have invited at `gate`. Starts their probes, which `cancel` ends; requests and tunnels go on until [`super::serve()`]
    /// ends them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub(crate) fn new(
        web: &Web,
        counters: Arc<FrontCounters>,
        gate: Option<InvitationGate>,
        cancel: &CancellationToken,
    ) -> Self {
        let choice = match gate {
            Some(gate) => Choice::Invited(Invited::start(gate, &web.limits, cancel)),
            None => Choice::Backends(Backends::start(web, &counters, cancel)),
        };
        Self(Arc::new(Inner {
            choice,
            screener: web.screen.as_ref().map(|screen| Screener::new(screen, &web.limits)),
            limits: web.limits,
            trusted: web.trusted_proxies.clone().into(),
            host: web.backend_host.as_deref().map(Into::into),
            tunnels: Tunnels::new(web.limits.idle_timeout, Arc::clone(&counters)),
            via: headers::Via::new(&web.via),
            counters,
            nobody_log: SharedLogLimit::new(),
        }))
    }
}

impl Service<Request<ClientBody>> for Proxy {
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProxyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ClientBody>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.forward(request).await) })
    }
}

/// A backend's response and what it came over.
type Answer = (Response<Incoming>, Box<Link>, Home);

impl Inner {
    /// Returns one request's response: the backend's, or a page of our own that says what is wrong.
    async fn forward(&self, request: Request<ClientBody>) -> Response<ProxyBody> {
        let (mut parts, body) = request.into_parts();
        let max = self.limits.body;
        if max != 0 && announced(&parts.headers).is_some_and(|length| length > max) {
            self.counters.refuse(FrontRefusal::BodyTooLarge);
            return page(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let protocol = headers::strip(&mut parts.headers)
            .filter(|protocol| parts.version == Version::HTTP_11 && headers::may_upgrade(protocol));
        if !self.via.add(&mut parts.headers, parts.version) {
            self.counters.refuse(FrontRefusal::Loop);
            return page(StatusCode::LOOP_DETECTED);
        }
        if let Some(peer) = parts.extensions.get::<Peer>() {
            headers::add_forwarded(&mut parts.headers, peer, &self.trusted);
        }
        let client = protocol.as_ref().and_then(|_| {
            let stopping = parts.extensions.remove::<Stopping>().unwrap_or_default();
            parts.extensions.remove::<OnUpgrade>().map(|client| (client, stopping))
        });
        if let Some(protocol) = protocol {
            headers::upgrading(&mut parts.headers, protocol);
        }
        headers::set_session(&mut parts.headers, parts.extensions.get::<SessionRef>());
        let trail = parts.extensions.remove::<Trail>();
        let session = parts.extensions.remove::<SessionRef>();
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        if let Some(screener) = &self.screener
            && let Some(refusal) = Box::pin(self.screen(screener, &parts)).await
        {
            return refusal;
        }
        if let Some(host) = &self.host {
            headers::set_host(&mut parts.headers, host);
        }
        // A pointer from here on: whoever waits would hold it as a whole, once for each that hands it on.
        let request = Box::new(Request::from_parts(parts, RequestBody::new(body, max, self.limits.idle_timeout)));
        match self.send(request, trail.as_ref(), session.as_ref()).await {
            Ok(answer) => self.answer(answer, client),
            Err(status) => page(status),
        }
    }

    fn answer(&self, (response, link, home): Answer, client: Option<(OnUpgrade, Stopping)>) -> Response<ProxyBody> {
        let (mut parts, body) = response.into_parts();
        if !headers::unframe(&mut parts.headers) {
            return page(StatusCode::BAD_GATEWAY);
        }
        let protocol = headers::strip(&mut parts.headers);
        parts.extensions.clear();
        // The client's own loop is the client's matter.
        let _ = self.via.add(&mut parts.headers, parts.version);
        parts.version = Version::HTTP_11;
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return Response::from_parts(parts, ProxyBody::passing(body, link, home, self.limits.idle_timeout));
        }
        // One that nobody asked for would leave the client without any response.
        let (Some((client, stopping)), Some(protocol)) = (client, protocol) else {
            home.switched();
            return page(StatusCode::BAD_GATEWAY);
        };
        headers::upgrading(&mut parts.headers, protocol);
        self.tunnels.join(client, *link, stopping);
        Response::from_parts(parts, ProxyBody::none())
    }

    /// Asks one backend after another until one answers. A request that may have reached one goes to no other, unless it is
    /// idempotent and has no body (RFC 9110 section 9.2.2); nothing of an answer has been passed on by then.
    async fn send(
        &self,
        mut request: Box<Request<RequestBody>>,
        trail: Option<&Trail>,
        session: Option<&SessionRef>,
    ) -> Result<Answer, StatusCode> {
        use hyper::body::Body as _;
        let repeatable = request.method().is_idempotent() && request.body().is_end_stream();
        let hostless = !request.headers().contains_key(HOST);
        let begun = Instant::now();
        // Nothing is allocated for a request that is answered at once.
        let (mut tried, mut sent, mut slow) = (Vec::new(), 0, 0);
        let mut missed: Option<(Arc<Backend>, Unanswered)> = None;
        while let Some(backend) = self.choose(&tried, session).await {
            if let Some((before, _)) = &missed {
                before.counted().retries.fetch_add(1, Relaxed);
            }
            if hostless {
                set_host(&mut request, &backend);
            }
            let now = if tried.is_empty() { begun } else { Instant::now() };
            let mut failure = match self.ask(&backend, request, repeatable, now).await {
                Ok(answer) => {
                    trail.inspect(|trail| trail.asked(&backend.counted().url, tried.len() + 1));
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            tried.push(backend.position());
            slow += u32::from(matches!(failure.cause, Some(Cause::Slow(_))));
            sent += usize::from(failure.was_sent);
            let back = failure.request.take();
            missed = Some((backend, failure));
            let time = self.limits.connect_timeout * CONNECTS_MAX + self.limits.response_timeout * slow;
            match back {
                Some(back) if sent < SENT_MAX && slow < SLOW_MAX && begun.elapsed() <= time => request = back,
                _ => break,
            }
        }
        let Some((backend, failure)) = missed else {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        trail.inspect(|trail| trail.asked(&backend.counted().url, tried.len()));
        failure.log(&backend);
        Err(failure.status)
    }

    /// Chooses where a request goes next; waits for an application server that is ready, where they invite.
    async fn choose(&self, tried: &[usize], session: Option<&SessionRef>) -> Option<Arc<Backend>> {
        let backends = match &self.choice {
            Choice::Backends(backends) => backends,
            // What it needs is not to make each request's future larger.
            Choice::Invited(invited) => return Box::pin(invited.choose(tried, session)).await,
        };
        let chosen = backends.choose(tried).cloned();
        if chosen.is_none()
            && tried.is_empty()
            && let Some(unsaid) = self.nobody_log.admit(Instant::now())
        {
            warn!(status = 503, unsaid, "no backend is healthy: requests are not answered");
        }
        chosen
    }

    /// Asks the screen about a request. Returns the answer to one that is not to pass.
    async fn screen(&self, screener: &Screener, head: &http::request::Parts) -> Option<Response<ProxyBody>> {
        let asked = match screener.question(head) {
            Some(question) => {
                let asked = self.ask(screener.backend(), Box::new(question), true, Instant::now());
                timeout(screener.limit(), asked).await.ok().and_then(Result::ok)
            }
            None => None,
        };
        let screening = match asked {
            Some((response, link, home)) => {
                let idle = self.limits.idle_timeout.min(screener.limit());
                Screening::of(response.map(|body| ProxyBody::passing(body, link, home, idle))).await
            }
            None => Screening::Failed,
        };
        let (result, refusal) = screening.counted(&self.counters);
        screener.log(result);
        (result != ScreenResult::Passed).then(|| refusal.unwrap_or_else(|| page(StatusCode::SERVICE_UNAVAILABLE)))
    }

    /// Asks one backend: over an idle connection, and over a new one if that was closed meanwhile.
    async fn ask(
        &self,
        backend: &Arc<Backend>,
        mut request: Box<Request<RequestBody>>,
        repeatable: bool,
        mut now: Instant,
    ) -> Result<Answer, Unanswered> {
        let mut idle = backend.take_idle(repeatable, now).await;
        loop {
            let (mut link, reused) = match idle.take() {
                Some(link) => (link, true),
                // Seldom; what it needs is not to make each request's future larger.
                None => match Box::pin(backend.connect()).await {
                    Ok(link) => {
                        now = Instant::now();
                        (link, false)
                    }
                    Err(cause) => return Err(Unanswered::before(cause, request)),
                },
            };
            backend.counted().requests.fetch_add(1, Relaxed);
            let failed = match link.ask(*request, now, self.limits.response_timeout).await {
                Ok(response) => return Ok((response, link, Home::at(backend))),
                Err(failed) => failed,
            };
            let again = match failed {
                ExchangeError::Unsent(back) if reused => back,
                ExchangeError::Unsent(back) => {
                    let cause = Cause::Unreachable(io::ErrorKind::ConnectionReset.into());
                    backend.failed(&cause);
                    return Err(Unanswered::before(cause, back));
                }
                ExchangeError::Timeout => {
                    let cause = Cause::Slow(self.limits.response_timeout);
                    backend.failed(&cause);
                    let again = repeatable.then(|| link.remains().request()).flatten().map(Box::new);
                    return Err(Unanswered::after(cause, again));
                }
                ExchangeError::Http(error) => {
                    if let Some(status) = self.refuse_body(&error) {
                        return Err(Unanswered { status, cause: None, was_sent: true, request: None });
                    }
                    // What is wrong with a head is so everywhere, with the request's or the answer's.
                    let of_the_head = error.is_parse_too_large() || error.is_user();
                    let widened = error.is_parse_too_large() && backend.widen();
                    let remains = link.remains();
                    match repeatable.then(|| remains.request()).flatten().map(Box::new) {
                        // A connection at rest that is closed just then says nothing of the backend; a large head nothing bad.
                        Some(again) if widened || reused => again,
                        again => {
                            let cause = Cause::Http(error, remains.came);
                            if reused || of_the_head {
                                backend.missed();
                            } else {
                                backend.failed(&cause);
                            }
                            return Err(Unanswered::after(cause, again.filter(|_| !of_the_head)));
                        }
                    }
                }
            };
            backend.counted().retries.fetch_add(1, Relaxed);
            (request, now) = (again, Instant::now());
        }
    }

    /// Returns the status where it is the client's body that a request failed by.
    fn refuse_body(&self, error: &hyper::Error) -> Option<StatusCode> {
        let (why, status) = match error.source()?.downcast_ref::<BodyError>()? {
            BodyError::TooLarge => (FrontRefusal::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::Slow => (FrontRefusal::Slow, StatusCode::REQUEST_TIMEOUT),
            BodyError::Http(_) => (FrontRefusal::Malformed, StatusCode::BAD_REQUEST),
        };
        self.counters.refuse(why);
        Some(status)
    }
}

/// A request that one backend did not answer.
#[derive(Debug)]
struct Unanswered {
    /// The status that the client is told, if it is the last.
    status: StatusCode,
    /// None where the client is the cause.
    cause: Option<Cause>,
    /// Whether the backend may have seen it.
    was_sent: bool,
    /// For another backend, if it may go there.
    request: Option<Box<Request<RequestBody>>>,
}

impl Unanswered {
    /// Makes one of a request of which nothing was sent.
    fn before(cause: Cause, request: Box<Request<RequestBody>>) -> Self {
        let status = match cause {
            Cause::Ours(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { status, cause: Some(cause), was_sent: false, request: Some(request) }
    }

    /// Makes one of a request that was sent; `again` where that does no harm a second time.
    fn after(cause: Cause, again: Option<Box<Request<RequestBody>>>) -> Self {
        let status = match cause {
            Cause::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { status, cause: Some(cause), was_sent: true, request: again }
    }

    /// Says in the log that a client got no answer, and why.
    fn log(&self, backend: &Backend) {
        let Some(cause) = &self.cause else { return };
        if let Some(unsaid) = backend.admit_log_line() {
            let (url, status) = (&backend.counted().url, self.status.as_u16());
            warn!(backend = url, %cause, status, unsaid, "a request was not answered");
        }
    }
}

/// Sets a Host, which HTTP/1.1 wants (RFC 9112 section 3.2); HTTP/1.0 need not have sent one.
fn set_host(request: &mut Request<RequestBody>, backend: &Backend) {
    if let Ok(host) = HeaderValue::from_str(backend.authority()) {
        request.headers_mut().insert(HOST, host);
    }
}

/// Returns the length that a head announces.
fn announced(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Makes a page of a few words where there is nothing else to answer with. No cache keeps them.
pub(super) fn page(status: StatusCode) -> Response<ProxyBody> {
    let text = text_of(status);
    let mut response = Response::new(ProxyBody::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "400: this request cannot be answered\n",
        StatusCode::REQUEST_TIMEOUT => "408: the request did not come in time\n",
        StatusCode::PAYLOAD_TOO_LARGE => "413: the request's body is too large\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "431: the request has too many header fields\n",
        StatusCode::NOT_IMPLEMENTED => "501: this server does not do that\n",
        StatusCode::BAD_GATEWAY => "502: the application gave no answer\n",
        StatusCode::SERVICE_UNAVAILABLE => "503: the application is down\n",
        StatusCode::LOOP_DETECTED => "508: the request has passed here before: a loop\n",
        StatusCode::GATEWAY_TIMEOUT => "504: the application gave no answer in time\n",
        _ => "the request was not answered\n",
    }
}
