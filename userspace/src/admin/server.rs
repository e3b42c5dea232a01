//! The HTTP server: bounded, and behind one gate.
//!
//! A connection serves one request and has [`CONNECTION_MAX`] in all, a trace excepted. Beyond [`CONNECTIONS_MAX`] new
//! ones wait in the listen queue. A request brings at most [`BODY_MAX`], load reports [`PUSH_MAX`]. Whoever asks passes the
//! [`gate`](super::gate) first, whatever the path.
//!
//! `routes` is the one list of what is served: a request that reads has its handler in `pages`, one
//! that changes something in a module of its own.
//!
//! Cancelling the token given to [`serve`] stops accepting, lets requests under way finish within [`GRACE`], and ends
//! traces.

use std::{
    convert::Infallible,
    sync::{
        Arc,
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
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    AdminState,
    gate::{Refusal, admit},
    history::{self, History},
    listen::{Accepted, Listener},
    load, pages,
    reload::{self, RELOAD},
    words,
};
use crate::{agent::Current, load::push::PUSH_MAX};

/// The most connections at once, of all listeners together.
pub const CONNECTIONS_MAX: usize = 64;
/// The most traces at once: far fewer, so that they cannot keep a scrape out.
pub const TRACES_MAX: usize = 8;
/// For a request's header to arrive.
pub const HEADER_MAX: Duration = Duration::from_secs(5);
/// For a connection that is not a trace.
pub const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// The largest body of a request other than load reports, bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// For requests under way once the agent stops.
pub const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The one path whose responses go on.
pub(super) const TRACE: &str = "/v1/trace";

/// What every response says to browsers, unless its handler has said otherwise: run nothing, guess no type, keep nothing.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What the handlers share.
#[derive(Clone)]
pub struct Shared {
    current: Arc<Current>,
    pub(super) history: Arc<History>,
    pub(super) traces: Arc<Semaphore>,
    pub(super) cancel: CancellationToken,
}

impl Shared {
    /// What the agent knows, at this request. A handler asks once, so that what it shows is of one configuration.
    #[must_use]
    pub fn state(&self) -> Arc<AdminState> {
        self.current.load_full()
    }
}

/// Everything that is served: method, path, handler. The `OpenAPI` document describes the same list, which a test holds.
pub(super) fn routes() -> Vec<(&'static str, &'static str, MethodRouter<Shared>)> {
    // Reading: GET, which also answers HEAD.
    let read = [
        ("get", "/", get(pages::dashboard)),
        ("get", "/metrics", get(pages::metrics)),
        ("get", "/v1/status", get(pages::status)),
        ("get", "/v1/explain", get(pages::explain)),
        ("get", "/v1/history", get(pages::history)),
        ("get", "/v1/sites/drained", get(words::drained)),
        ("get", TRACE, get(pages::trace)),
        ("get", "/v1/openapi.json", get(pages::openapi)),
    ];
    // Changing something: POST with a JSON body.
    let write = [
        // Layers within win: a push may be larger.
        ("post", "/v1/load", post(load::take).layer(DefaultBodyLimit::max(PUSH_MAX))),
        ("post", RELOAD, post(reload::reload)),
        ("post", "/v1/sites/word", post(words::word)),
        ("post", "/v1/sites/weight", post(words::weight)),
    ];
    read.into_iter().chain(write).collect()
}

/// Serves the admin interface until cancelled. The token asked for is that of the configuration in force.
pub async fn serve(listeners: Vec<Listener>, current: Arc<Current>, cancel: CancellationToken) {
    let traces = Arc::new(Semaphore::new(TRACES_MAX));
    let shared = Shared { current, history: Arc::default(), traces, cancel };
    let mut router = Router::new();
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    let router = router.layer(DefaultBodyLimit::max(BODY_MAX)).with_state(shared.clone());
    let door = Door { router, shared: shared.clone() };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    tasks.spawn(sample(shared));
    for listener in listeners {
        tasks.spawn(accept(listener, door.clone(), Arc::clone(&room)));
    }
    while tasks.join_next().await.is_some() {}
}

/// Keeps the history until cancelled.
async fn sample(shared: Shared) {
    let mut tick = interval(history::STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            _ = tick.tick() => shared.history.sample(&shared.state()),
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    shared: Shared,
}

async fn accept(listener: Listener, door: Door, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed; were it, the connection's own limits remain.
        let permit = tokio::select! {
            () = door.shared.cancel.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = loop {
            tokio::select! {
                () = door.shared.cancel.cancelled() => break None,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => break Some(accepted),
            }
        };
        match accepted {
            None => break,
            Some(Ok(accepted)) => {
                let door = door.clone();
                connections.spawn(async move {
                    connection(accepted, door).await;
                    drop(permit);
                });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "admin: accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection(accepted: Accepted, door: Door) {
    let Accepted { stream, local, peer } = accepted;
    let tracing = Arc::new(AtomicBool::new(false));
    let inner = TowerToHyperService::new(door.router);
    let (mark, shared) = (Arc::clone(&tracing), door.shared.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(peer.clone());
        let admitted = admit(&parts, local, shared.state().view.model.admin.token.as_ref());
        mark.store(admitted.is_ok() && parts.uri.path() == TRACE, Ordering::Relaxed);
        let inner = inner.clone();
        async move {
            let mut response = match admitted {
                Ok(()) => inner.call(Request::from_parts(parts, body)).await?,
                Err(refusal) => refused(refusal),
            };
            for (name, value) in HEADERS {
                response.headers_mut().entry(name).or_insert(value);
            }
            Ok::<Response, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut limit = std::pin::pin!(sleep(CONNECTION_MAX));
    let (mut in_time, mut stopping) = (true, false);
    loop {
        tokio::select! {
            // An error here is the client's going away or its malformed request, which hyper has answered.
            _ = connection.as_mut() => return,
            () = door.shared.cancel.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut limit, if in_time => {
                in_time = false;
                if !tracing.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    let mut response = refusal.words().into_response();
    if refusal == Refusal::Token {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
