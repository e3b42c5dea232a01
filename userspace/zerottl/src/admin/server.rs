//! The HTTP server: bounded, with one check of access before all that is served.
//!
//! A connection serves one request and has [`CONNECTION_MAX`] in all, traces and reloads excepted. A request brings at most
//! [`BODY_MAX`], load reports [`PUSH_MAX`]. Whoever asks passes [`admit`] first, whatever the path.
//!
//! Silent connections keep nobody out: until a request's head is there a connection is idle, and gives way to newcomers
//! ([`places`](zerottl_host::places)). TCP and Unix sockets have places of their own; so have requests at a time: those that come over
//! a Unix socket, those that show the token, and others. Beyond them a request waits for its turn.
//!
//! `routes` is the one list of what is served: a request that reads has its handler in `pages`, one
//! that changes something in a module of its own.
//!
//! Cancelling the token given to [`serve`] stops accepting, lets requests under way finish within [`GRACE`], and ends
//! traces.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{
        HeaderName, HeaderValue, Request,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    cookie_secrets, fleet,
    handler_state::{HandlerState, TRACES_MAX},
    health, history,
    listen::{Accepted, AdminPeer, Listener},
    load, openapi, overrides, pages,
    reload::{self, RELOAD},
    sources::Current,
};
use zerottl_core::admin_access::{AccessRefusal, admit, is_known};
use zerottl_host::{
    log_limit::LogLimit,
    places::{Place, Places},
    resources::{AgentShare, Stumbles, is_ours},
};
use zerottl_inputs::load::push::PUSH_MAX;

/// The most TCP connections at once by one client: an IPv4 address, or an IPv6 /64.
pub(crate) const CONNECTIONS_PER_CLIENT_MAX: usize = 128;
/// The most connections at once by one user of a Unix socket.
pub(crate) const UNIX_CONNECTIONS_PER_USER_MAX: usize = 48;
/// Requests at a time that come over Unix sockets, that show the token, and others: of each kind. What a response takes in
/// memory is held as long.
pub(crate) const REQUESTS_MAX: usize = 32;
/// For a request's header to arrive.
pub const HEADER_MAX: Duration = Duration::from_secs(5);
/// For a connection that is not a trace.
pub(crate) const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// Of that, for the client to take the response.
pub(crate) const RESPONSE_MAX: Duration = Duration::from_secs(10);
/// The largest body of a request other than load reports, bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// For requests under way once the agent stops.
pub const GRACE: Duration = Duration::from_secs(1);
/// Between two lines that say that there was no place.
const FULL_EVERY: Duration = Duration::from_secs(10);
/// The one path whose responses go on.
pub(super) const TRACE: &str = "/v1/trace";

/// Headers of every response, for browsers, unless its handler has said otherwise: run nothing, guess no type, keep
/// nothing.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Everything that is served: method, path, handler. The `OpenAPI` document describes the same list, which a test holds.
pub(super) fn routes() -> Vec<(&'static str, &'static str, MethodRouter<HandlerState>)> {
    // Reading: GET, which also answers HEAD.
    let read = [
        ("get", "/", get(pages::dashboard)),
        ("get", "/metrics", get(pages::metrics)),
        ("get", "/v1/status", get(pages::status)),
        ("get", "/v1/explain", get(pages::explain)),
        ("get", "/v1/fleet", get(fleet::fleet)),
        ("get", "/v1/history", get(pages::history)),
        ("get", "/v1/sites/drained", get(overrides::drained)),
        ("get", TRACE, get(pages::trace)),
        ("get", "/v1/openapi.json", get(openapi::openapi)),
    ];
    // Changing something: POST with a JSON body.
    let write = [
        // Layers within win: a push may be larger.
        ("post", "/v1/load", post(load::take).layer(DefaultBodyLimit::max(PUSH_MAX))),
        ("post", RELOAD, post(reload::reload)),
        ("post", "/v1/health", post(health::health)),
        ("post", "/v1/fleet/secret", post(cookie_secrets::make_secret)),
        ("post", "/v1/sites/word", post(overrides::word)),
        ("post", "/v1/sites/weight", post(overrides::weight)),
    ];
    read.into_iter().chain(write).collect()
}

/// Serves the admin interface until cancelled. The token asked for is that of the configuration in force.
pub async fn serve(listeners: Vec<Listener>, current: Arc<Current>, cancel: CancellationToken) {
    let traces = Arc::new(Semaphore::new(TRACES_MAX));
    let shared = HandlerState { current, history: Arc::default(), traces, cancel };
    let mut router = Router::new();
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    let router = router.layer(DefaultBodyLimit::max(BODY_MAX)).with_state(shared.clone());
    let acceptor = Acceptor { router, shared: shared.clone(), capacity: Capacity::new() };
    let mut tasks = JoinSet::new();
    tasks.spawn(sample(shared));
    for listener in listeners {
        tasks.spawn(accept(listener, acceptor.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// Keeps the history until cancelled.
async fn sample(shared: HandlerState) {
    let mut tick = interval(history::STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            _ = tick.tick() => shared.history.sample(&shared.state()),
        }
    }
}

/// Where connections and requests have their places.
#[derive(Clone)]
struct Capacity {
    tcp: Arc<Places>,
    unix: Arc<Places>,
    /// Requests over Unix sockets, with the token, and others.
    requests: [Arc<Semaphore>; 3],
}

impl Capacity {
    fn new() -> Self {
        let AgentShare { admin, admin_unix, .. } = AgentShare::now();
        Self {
            tcp: Places::new(admin, CONNECTIONS_PER_CLIENT_MAX.min(admin)),
            unix: Places::new(admin_unix, UNIX_CONNECTIONS_PER_USER_MAX.min(admin_unix)),
            requests: std::array::from_fn(|_| Arc::new(Semaphore::new(REQUESTS_MAX))),
        }
    }

    fn of(&self, listener: &Listener) -> &Arc<Places> {
        match listener {
            Listener::Tcp(_) => &self.tcp,
            Listener::Unix(..) => &self.unix,
        }
    }

    fn turn(&self, is_local: bool, is_known: bool) -> &Arc<Semaphore> {
        &self.requests[if is_local { 0 } else { 2 - usize::from(is_known) }]
    }
}

/// The parts that every connection needs.
#[derive(Clone)]
struct Acceptor {
    router: Router,
    shared: HandlerState,
    capacity: Capacity,
}

async fn accept(listener: Listener, acceptor: Acceptor) {
    let mut connections = JoinSet::new();
    let mut stumbles = Stumbles::new(format!("accepting admin connections at {listener}"));
    let mut full = LogLimit::new(FULL_EVERY);
    let places = Arc::clone(acceptor.capacity.of(&listener));
    loop {
        let accepted = tokio::select! {
            () = acceptor.shared.cancel.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                stumbles.good();
                if let Ok(place) = places.take_in_time(accepted.client, false).await {
                    connections.spawn(connection(accepted, place, acceptor.clone()));
                } else if let Some(unsaid) = full.admit(Instant::now().into_std()) {
                    tracing::warn!(client = accepted.peer.from, unsaid, "admin: too many requests at a time");
                }
            }
            Err(error) => {
                if is_ours(&error) {
                    places.make_room();
                }
                acceptor.shared.cancel.run_until_cancelled(stumbles.over(&error)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

/// Facts that a connection and its one request know of each other.
#[derive(Default)]
struct Exchange {
    is_trace: AtomicBool,
    /// A reload takes as long as it takes: a large configuration is minutes of work, and whoever asked wants to know how it
    /// went. They are done one after the other, and few wait.
    is_reload: AtomicBool,
    /// The response is there.
    answered: Notify,
    /// The request's turn, until the connection is over.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

/// The means by which a connection's request is answered.
struct Responder {
    place: Arc<Place>,
    exchange: Arc<Exchange>,
    local: Option<SocketAddr>,
    peer: AdminPeer,
    router: TowerToHyperService<Router>,
    shared: HandlerState,
    capacity: Capacity,
}

impl Responder {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.peer.clone());
        let state = self.shared.state();
        let token = state.view.model.admin.token.as_ref();
        let (admitted, is_known) = (admit(&parts, self.local, token), is_known(&parts, self.local, token));
        let is_trace = admitted.is_ok() && parts.uri.path() == TRACE;
        self.exchange.is_trace.store(is_trace, Ordering::Relaxed);
        self.exchange.is_reload.store(admitted.is_ok() && parts.uri.path() == RELOAD, Ordering::Relaxed);
        // Whoever has shown nothing goes on being idle: what it is sent is a refusal, or the page without data.
        if admitted.is_ok() && (is_known || token.is_none()) {
            self.place.busy();
        }
        drop(state);
        let mut response = match admitted {
            Ok(()) => {
                // The semaphore is never closed. Traces have a bound of their own.
                if !is_trace {
                    let turn = Arc::clone(self.capacity.turn(self.local.is_none(), is_known)).acquire_owned().await;
                    *self.exchange.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn.ok();
                }
                self.router.call(Request::from_parts(parts, body)).await?
            }
            Err(refusal) => refused(refusal),
        };
        self.exchange.answered.notify_one();
        for (name, value) in HEADERS {
            response.headers_mut().entry(name).or_insert(value);
        }
        Ok(response)
    }
}

async fn connection(accepted: Accepted, place: Place, acceptor: Acceptor) {
    let Accepted { stream, local, peer, .. } = accepted;
    let (place, exchange) = (Arc::new(place), Arc::<Exchange>::default());
    let header_max = place.idle_limit(HEADER_MAX);
    let responder = Arc::new(Responder {
        place: Arc::clone(&place),
        exchange: Arc::clone(&exchange),
        local,
        peer,
        router: TowerToHyperService::new(acceptor.router),
        shared: acceptor.shared.clone(),
        capacity: acceptor.capacity,
    });
    let service = service_fn(move |request| Arc::clone(&responder).answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_max)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut limit = std::pin::pin!(sleep(CONNECTION_MAX));
    let (mut in_time, mut answered, mut told, mut stopping) = (true, false, false, false);
    loop {
        tokio::select! {
            biased;
            // An error here is the client's going away or its malformed request, which hyper has answered.
            _ = connection.as_mut() => return,
            () = acceptor.shared.cancel.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = place.told(), if !told => {
                told = true;
                // A request may have come meanwhile.
                if place.is_idle() {
                    return;
                }
            }
            () = exchange.answered.notified() => {
                let taken = Instant::now() + RESPONSE_MAX;
                if taken < limit.deadline() || !in_time {
                    limit.as_mut().reset(taken);
                }
                (in_time, answered) = (true, true);
            }
            () = &mut limit, if in_time => {
                in_time = false;
                let is_reload = exchange.is_reload.load(Ordering::Relaxed);
                if !exchange.is_trace.load(Ordering::Relaxed) && (answered || !is_reload) {
                    return;
                }
            }
        }
    }
}

fn refused(refusal: AccessRefusal) -> Response {
    let mut response = refusal.status_and_text().into_response();
    if refusal == AccessRefusal::Token {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
