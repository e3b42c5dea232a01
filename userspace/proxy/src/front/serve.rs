//! Connections: TLS, HTTP/1.1, HTTP/2, and how they end.

use std::{
    error::Error,
    future::{poll_fn, ready},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, RETRY_AFTER},
};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower_service::Service;

use super::{
    ClientBody, FrontCounters, FrontRefusal, Peer, ProxyBody,
    access::LoggedRequest,
    conn_state::{Begun, ConnState},
    conn_timeouts::Socket,
    h2_stream_timeouts::{Streams, Taken},
    listen::{Arrivals, ClientAdmission, ClientPlace},
    normalize,
    proxy::page,
    request_body::BodyError,
    tls::Certificates,
    tunnel::Stopping,
    upload::Closes,
};
use zerottl_core::model::WebLimits;
use zerottl_host::places::{self, Places};

/// hyper's own, which it holds without an allocation.
const HEADERS_USUAL: usize = 100;
/// The least that hyper takes for a buffer, bytes.
const BUFFER_MIN: usize = 8192;
/// Bytes of a stream's response that are held besides the piece that came last. hyper would hold 400 kB; with a quarter
/// of this a large response took twice as long.
const SEND_MAX: usize = 128 * 1024;
/// The most that a client may send, of a stream and of all of a connection, before it is read on: 1 MiB, bytes.
const WINDOW: u32 = 1 << 20;
/// The time within which a ping of HTTP/2 is answered.
const PONG: Duration = Duration::from_secs(10);
/// Streams of HTTP/2 that were reset before they were looked at, and our own resets, until a connection is ended.
const RESETS_MAX: usize = 20;

type BoxError = Box<dyn Error + Send + Sync>;

/// The state that all connections have in common.
struct Shared<S> {
    service: S,
    limits: WebLimits,
    counters: Arc<FrontCounters>,
    /// Requests over HTTP/2 that are under way.
    requests: Arc<Places>,
    http1: http1::Builder,
    tasks: TaskTracker,
    stop: Stop,
}

/// For whoever had just connected at a stop to ask: hyper closes a connection on which nothing has come yet at once, and its
/// client would have to try again. nginx leaves it open, too.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The signal that ends all connections. To look at a token on every wake-up of every connection would take two locks
/// each time.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    token: CancellationToken,
}

impl Stop {
    fn cancel(&self) {
        self.stopped.store(true, SeqCst);
        self.token.cancel();
    }

    /// Waits for what a future comes to, unless this is cancelled before. To be awaited by one task alone.
    async fn before<F: Future + Unpin>(&self, mut future: F) -> Option<F::Output> {
        let mut cancelled = pin!(self.token.cancelled());
        let mut registered = false;
        poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Some(output));
            }
            // A task has one waker all its life: it is registered once, and woken after the word is set.
            let first = !std::mem::replace(&mut registered, true);
            let over = if first { cancelled.as_mut().poll(cx).is_ready() } else { self.stopped.load(SeqCst) };
            if over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// Serves until `cancel`: then nothing is accepted any more, idle connections end, and busy ones may finish what they
/// have begun for `limits.grace`. Returns when the last connection is closed.
///
/// Each request that `service` sees has a [`Peer`] in its extensions, a target in origin form (`/path?query`, or `*`),
/// and at most one `Host`, which is the authority of the request: of the target, where it was given there.
pub(crate) async fn serve<S, B>(
    arrivals: Arrivals,
    service: S,
    limits: &WebLimits,
    counters: Arc<FrontCounters>,
    cancel: CancellationToken,
) where
    S: Service<Request<ClientBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let admission = Arc::new(ClientAdmission::new(limits, Arc::clone(&counters)));
    let shared = Arc::new(Shared {
        service,
        limits: *limits,
        counters,
        requests: Places::new(usize::MAX, limits.requests_per_client),
        http1: http1(limits),
        tasks: TaskTracker::new(),
        stop: Stop::default(),
    });
    let Arrivals { bound, handed } = arrivals;
    if let Some(mut handed) = handed {
        let (shared, admission, cancel, bound) =
            (Arc::clone(&shared), Arc::clone(&admission), cancel.clone(), bound.clone());
        shared.tasks.clone().spawn(async move {
            while let Some(Some((stream, client, place, whose))) =
                cancel.run_until_cancelled(handed.next(&bound, &admission)).await
            {
                let certificates = whose.certificates().cloned();
                let connection = Connection { stream, client, place, certificates };
                shared.tasks.spawn(connection.run(Arc::clone(&shared)));
            }
        });
    }
    for listener in bound {
        let (shared, admission, cancel) = (Arc::clone(&shared), Arc::clone(&admission), cancel.clone());
        shared.tasks.clone().spawn(async move {
            let mut stumbles = listener.stumbles();
            loop {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    (stream, client, place) = listener.accept(&admission, &mut stumbles) => {
                        let certificates = listener.certificates().cloned();
                        let connection = Connection { stream, client, place, certificates };
                        shared.tasks.spawn(connection.run(Arc::clone(&shared)));
                    }
                }
            }
        });
    }
    cancel.cancelled().await;
    shared.stop.cancel();
    shared.tasks.close();
    shared.tasks.wait().await;
}

fn http1(limits: &WebLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head.max(BUFFER_MIN)).max_header_size(limits.head).header_read_timeout(None);
    if limits.headers != HEADERS_USUAL {
        builder.max_headers(limits.headers);
    }
    builder
}

fn http2(limits: &WebLimits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        // A client that is gone without a word is found out also while its requests are under way.
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(PONG)
        .max_send_buf_size(SEND_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    builder
}

/// One connection, accepted.
struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    place: ClientPlace,
    certificates: Option<Arc<Certificates>>,
}

impl Connection {
    /// Serves until the client closes, when it breaks a bound, or `limits.grace` after a stop.
    async fn run<S, B>(self, shared: Arc<Shared<S>>)
    where
        S: Service<Request<ClientBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        // Fails where the client is gone already.
        let (Ok(()), Ok(local)) = (self.stream.set_nodelay(true), self.stream.local_addr()) else { return };
        let mut peer = Peer { client: self.client, local, tls: false, server_name: None };
        let place = (self.place, shared.tasks.token());
        let Some(certificates) = self.certificates else {
            return speak(self.stream, peer, false, place, &shared).await;
        };
        let handshake = timeout(shared.limits.head_timeout, certificates.accept(self.stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = shared.stop.token.cancelled() => return,
            () = place.0.told() => return shared.counters.refuse(FrontRefusal::Full),
        };
        let Ok(Ok(stream)) = shaken else { return shared.counters.refuse(FrontRefusal::Handshake) };
        let (_, session) = stream.get_ref();
        peer.tls = true;
        peer.server_name = session.server_name().map(|name| name.to_ascii_lowercase().into());
        let two = session.alpn_protocol() == Some(b"h2");
        speak(stream, peer, two, place, &shared).await;
    }
}

/// Speaks HTTP over a stream.
async fn speak<IO, S, B>(
    stream: IO,
    peer: Peer,
    two: bool,
    place: (ClientPlace, TaskTrackerToken),
    shared: &Arc<Shared<S>>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<ClientBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let state = Arc::<ConnState>::default();
    let (is_many, begun) = (place.0.is_for_many(), Arc::clone(&state));
    let socket = Socket::new(stream, Arc::clone(&state), shared.limits, Arc::clone(&shared.counters), two, place);
    let streams = two.then(|| Streams::new(shared.limits.idle_timeout, Arc::clone(&shared.counters)));
    let io = TokioIo::new(socket);
    let (client, tls) = (peer.client, peer.tls);
    let service = Requests { shared: Arc::clone(shared), peer, is_many, state, streams: streams.clone() };
    /// Both protocols end alike, but share no trait for it.
    macro_rules! until_stopped {
        ($connection:expr) => {{
            let mut connection = pin!($connection);
            match shared.stop.before(connection.as_mut()).await {
                Some(ended) => ended,
                None => {
                    let first = FIRST_REQUEST.min(shared.limits.grace);
                    let over = if begun.has_begun() { None } else { timeout(first, connection.as_mut()).await.ok() };
                    match over {
                        Some(ended) => ended,
                        None => {
                            connection.as_mut().graceful_shutdown();
                            timeout(shared.limits.grace, connection).await.unwrap_or(Ok(()))
                        }
                    }
                }
            }
        }};
    }
    let ended = if let Some(streams) = streams {
        until_stopped!(http2(&shared.limits, streams).serve_connection(io, service))
    } else {
        until_stopped!(shared.http1.serve_connection(io, service).with_upgrades())
    };
    let (why, status) = match ended {
        Err(error) if error.is_parse_too_large() => {
            (FrontRefusal::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        }
        Err(error) if error.is_parse() => (FrontRefusal::Malformed, StatusCode::BAD_REQUEST),
        _ => return,
    };
    shared.counters.refuse(why);
    shared.counters.responded(status, Duration::ZERO);
    if let Some(log) = shared.counters.access.load_full() {
        LoggedRequest::without_head(log, client, tls, Instant::now()).answered(status, Duration::ZERO);
    }
}

/// The requests of one connection.
struct Requests<S> {
    shared: Arc<Shared<S>>,
    peer: Peer,
    /// Whether it is a proxy, of whose clients each is one.
    is_many: bool,
    state: Arc<ConnState>,
    /// HTTP/2 alone has them.
    streams: Option<Streams>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<ClientBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Sent<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let counters = &self.shared.counters;
        let came = Instant::now();
        let mut begun = Begun::new(&self.state);
        let taken = self.streams.as_ref().map(Streams::begin);
        if self.state.is_abused() {
            counters.refuse(FrontRefusal::Resets);
        }
        let (mut request, closes) = self.with_body(request);
        let version = request.version();
        let log = counters.access.load_full();
        let mut record = log.map(|log| LoggedRequest::begin(log, &mut request, &self.peer, came));
        let Ok(place) = taken.as_ref().map(|_| self.place()).transpose() else {
            counters.refuse(FrontRefusal::Requests);
            let mut response = page(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return Box::pin(ready(Ok(self.own(response, begun, taken, record))));
        };
        if let Err((status, why)) = normalize::admit(&mut request, self.shared.limits.headers) {
            counters.refuse(why);
            let mut response = page(status);
            // HTTP/1.1 goes no further on this connection: where its next request begins is in doubt.
            if version < Version::HTTP_2 {
                close(&mut response);
                request.body_mut().forsake();
            }
            return Box::pin(ready(Ok(self.own(response, begun, taken, record))));
        }
        counters.requests.fetch_add(1, Relaxed);
        request.extensions_mut().insert(self.peer.clone());
        if request.extensions().get::<OnUpgrade>().is_some() {
            let (stop, grace) = (self.shared.stop.token.clone(), self.shared.limits.grace);
            request.extensions_mut().insert(Stopping { token: stop, grace });
        }
        let mut service = self.shared.service.clone();
        let (state, shared) = (Arc::clone(&self.state), Arc::clone(&self.shared));
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let mut response = service.call(request).await.map_err(Into::into)?;
            begun.answered();
            let after = came.elapsed();
            shared.counters.responded(response.status(), after);
            if let Some(record) = &mut record {
                record.answered(response.status(), after);
                record.sent(0, response.body().is_end_stream());
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                state.becomes_tunnel();
            }
            if version < Version::HTTP_2 && ends(response.status(), closes.as_ref()) {
                close(&mut response);
            }
            if let Some(taken) = &taken {
                taken.fetch_add(1, Relaxed);
            }
            Ok(response.map(|body| Sent { body: Either::Service(body), begun, taken, record, place }))
        })
    }
}

impl<S> Requests<S> {
    /// Takes a place for one more request of this client.
    fn place(&self) -> Result<places::Place, places::Full> {
        let client = self.peer.client.ip();
        let requests = &self.shared.requests;
        // A request gives way to nobody.
        if self.is_many { requests.take_for_many(client) } else { requests.take(client) }.inspect(places::Place::busy)
    }

    /// Makes a response of the server's own, in place of the service's.
    fn own<B>(
        &self,
        response: Response<ProxyBody>,
        mut begun: Begun,
        taken: Option<Taken>,
        mut record: Option<Box<LoggedRequest>>,
    ) -> Response<Sent<B>> {
        begun.answered();
        self.shared.counters.responded(response.status(), Duration::ZERO);
        if let Some(record) = &mut record {
            record.answered(response.status(), Duration::ZERO);
        }
        response.map(|page| Sent { body: Either::Page(page), begun, taken, record, place: None })
    }

    /// Returns the request with a body that is read on when it is not wanted.
    fn with_body(&self, request: Request<Incoming>) -> (Request<ClientBody>, Option<Closes>) {
        let (head, body) = request.into_parts();
        let idle = self.shared.limits.idle_timeout;
        let (body, closes) = ClientBody::new(body, head.version, &head.headers, &self.state, idle);
        (Request::from_parts(head, body), closes)
    }
}

/// Whether a connection of HTTP/1.1 ends with this response to a request with a body.
fn ends(status: StatusCode, closes: Option<&Closes>) -> bool {
    let given_up = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
    closes.is_some_and(|closes| given_up || closes.load(SeqCst))
}

fn close<B>(response: &mut Response<B>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// A body on its way out; its request is under way as long.
struct Sent<B> {
    body: Either<B>,
    #[expect(dead_code, reason = "held until the body is over")]
    begun: Begun,
    taken: Option<Taken>,
    /// None where there is no access log.
    record: Option<Box<LoggedRequest>>,
    #[expect(dead_code, reason = "held as long")]
    place: Option<places::Place>,
}

enum Either<B> {
    Service(B),
    Page(ProxyBody),
}

impl<B> Body for Sent<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(taken) = &self.taken {
            taken.fetch_add(1, Relaxed);
        }
        let polled = match &mut self.body {
            Either::Service(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Either::Page(page) => Pin::new(page).poll_frame(cx).map_err(|error: BodyError| error.into()),
        };
        if let Poll::Ready(frame) = &polled
            && self.record.is_some()
        {
            let is_whole = frame.is_none() || self.is_end_stream();
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
            if let Some(record) = &mut self.record {
                record.sent(bytes.unwrap_or(0), is_whole);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Either::Service(body) => body.is_end_stream(),
            Either::Page(page) => page.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Either::Service(body) => body.size_hint(),
            Either::Page(page) => page.size_hint(),
        }
    }
}
