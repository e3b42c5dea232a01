//! The stand-alone Site's admin interface (`web.admin`): read-only, for Prometheus, for the agents of the DNS side, and
//! for other servers that ask for a decision.
//!
//! | path | what |
//! |---|---|
//! | `/metrics` | for Prometheus; every name begins with `zerottl_site_` |
//! | `/load` | the load report that agents poll (`load = { kind = "http", port = …, path = "/load" }` of the Site) |
//! | `/v1/site` | the Site's state: peers, backends, and in short the sessions that are hosted here |
//! | `/v1/session/…`, `/v1/sessions` | sessions' data, for the application ([`zerottl_session::api`]) |
//! | `/check/…` | decisions for other servers ([`ext_auth`]) |
//!
//! On loopback all but the checks answer to loopback's names alone.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    front::{self, Arrivals, FrontCounters, Peer},
    metrics::{FrontMetrics, FrontSources},
    session_metrics::SessionMetrics,
    sessions::ShownSessions,
};
use zerottl_core::{
    admin_access::{self, unexpected_query},
    exposition::Format,
    model::{Web, WebLimits},
};
use zerottl_host::{certificates::Certificate, resources::Stumbles};
use zerottl_invitation::InvitationGate;
use zerottl_session::{SessionStore, StorePage};
use zerottl_site::{admission::Admission, ext_auth, respond::Page};

/// The state that is shown, as it is at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SiteView {
    /// Operation 500 in force.
    pub(crate) admission: Arc<Admission>,
    /// Counters of the backends in force.
    pub(crate) backends: Arc<FrontCounters>,
    /// Counters of clients' connections.
    pub(crate) connections: Arc<FrontCounters>,
    /// The certificates in use.
    pub(crate) certificates: Vec<Certificate>,
    /// The invitations, if any are taken.
    pub(crate) gate: Option<InvitationGate>,
    /// The sessions that are hosted here, if any are.
    pub(crate) sessions: Option<ShownSessions>,
}

/// Reads the state of this moment.
type ReadView = Arc<dyn Fn() -> SiteView + Send + Sync>;

/// Connections at a time, at most.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

/// Connections at a time at a Unix socket, at most; beyond them they wait.
pub(crate) const SOCKET_CONNECTIONS_MAX: usize = 64;
/// The time that a request's head may take there.
const SOCKET_HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a connection may be open there, at most.
const SOCKET_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns the limits for few clients, one of which may ask about every request that it gets, and sends its head along
/// with more fields.
fn limits(connections: usize) -> WebLimits {
    let second = Duration::from_secs(1);
    WebLimits {
        connections,
        connections_per_client: connections,
        head: 64 * 1024,
        headers: 200,
        body: 64 * 1024,
        head_timeout: 5 * second,
        idle_timeout: 30 * second,
        ..WebLimits::default()
    }
}

/// Serves it until `cancel`, on so many connections at a time. Inside a tokio runtime.
pub(crate) fn start(
    bound: front::Bound,
    connections: usize,
    view: impl Fn() -> SiteView + Send + Sync + 'static,
    store: Option<SessionStore>,
    cancel: CancellationToken,
) {
    let mut limits = limits(connections);
    if let Some(store) = &store {
        // One byte too many is for the store to refuse.
        limits.body = limits.body.max(store.size_max() as u64 + 1);
    }
    let router = router(view, store);
    let arrivals = Arrivals::new(vec![bound], None);
    let counters = FrontCounters::new(&Web::at([]));
    tokio::spawn(async move { front::serve(arrivals, router, &limits, counters, cancel).await });
}

/// Serves it at a Unix socket until `cancel`, for the director. Who may open the socket may ask anything. Inside a tokio
/// runtime.
pub(crate) fn start_at_socket(
    listener: UnixListener,
    view: impl Fn() -> SiteView + Send + Sync + 'static,
    store: Option<SessionStore>,
    cancel: CancellationToken,
) {
    let serving = serve_socket(listener, router(view, store));
    tokio::spawn(cancel.run_until_cancelled_owned(serving));
}

async fn serve_socket(listener: UnixListener, router: Router) {
    let places = Arc::new(Semaphore::new(SOCKET_CONNECTIONS_MAX));
    let mut stumbles = Stumbles::new("accepting connections at the admin socket".to_owned());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SOCKET_HEAD_TIMEOUT);
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                stumbles.good();
                let service = TowerToHyperService::new(router.clone());
                let connection = http.serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    // Whoever is longer about it connects again.
                    let _ = timeout(SOCKET_TIMEOUT, connection).await;
                    drop(place);
                });
            }
            Err(error) => stumbles.over(&error).await,
        }
    }
}

fn router(view: impl Fn() -> SiteView + Send + Sync + 'static, store: Option<SessionStore>) -> Router {
    let view: ReadView = Arc::new(view);
    store
        .map_or_else(Router::new, zerottl_session::api::routes)
        .route("/metrics", get(metrics))
        .route("/load", get(load))
        .route("/v1/site", get(site))
        // Who checks says in Host what the client asked for.
        .route_layer(middleware::from_fn(own_host))
        .route(ext_auth::NGINX, any(for_nginx))
        .route(ext_auth::FORWARD, any(for_forward))
        .route(&format!("{}/", ext_auth::ENVOY), any(for_envoy))
        .route(&format!("{}/{{*path}}", ext_auth::ENVOY), any(for_envoy))
        .with_state(view)
}

/// Keeps out web pages whose name was made to resolve to this machine (DNS rebinding), as the agent's interface does.
async fn own_host(request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Peer>().map(|peer| peer.local);
    let (head, body) = request.into_parts();
    if local.is_some_and(|local| local.ip().to_canonical().is_loopback())
        && let Err(refusal) = admin_access::admit(&head, local, None)
    {
        return refusal.status_and_text().into_response();
    }
    next.run(Request::from_parts(head, body)).await
}

/// No parameters: one that is passed over in silence is a slip that nobody sees.
struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let Some(message) = unexpected_query(&parts.uri) else { return Ok(Self) };
        // As the agent's interface says it.
        let fault = json!({ "error": "invalid", "message": message });
        Err((StatusCode::BAD_REQUEST, Json(fault)).into_response())
    }
}

async fn metrics(
    _: NoQuery,
    State(view): State<ReadView>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, StatusCode> {
    let SiteView { admission, backends, connections, certificates, gate, sessions } = view();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::asked_for(accept);
    let invite = gate.map(|gate| gate.page());
    let front = FrontSources {
        connections: &connections,
        backends: &backends,
        certificates: &certificates,
        invite: invite.as_ref(),
        sessions: sessions.map(|sessions| SessionMetrics(sessions.page())),
    };
    let text = admission
        .metrics(Some(Box::new(FrontMetrics::read(&front))), format)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, format.content_type())], text))
}

async fn load(_: NoQuery, State(view): State<ReadView>) -> Page {
    view().admission.load_report()
}

async fn for_nginx(State(view): State<ReadView>, request: Request) -> Page {
    ext_auth::nginx(&view().admission, request.into_parts().0).await
}

async fn for_forward(State(view): State<ReadView>, request: Request) -> Page {
    ext_auth::forward(&view().admission, request.into_parts().0)
}

async fn for_envoy(State(view): State<ReadView>, request: Request) -> Page {
    ext_auth::envoy(&view().admission, request.into_parts().0)
}

async fn site(_: NoQuery, State(view): State<ReadView>) -> Json<Value> {
    let SiteView { admission, backends, connections, gate, sessions, .. } = view();
    let topology = admission.topology();
    let up = admission.up();
    let sites = topology.sites.iter().enumerate().map(|(at, name)| {
        json!({ "name": name, "own": at == topology.own, "up": at == topology.own || up.get(at).copied().unwrap_or(true) })
    });
    let backends = backends.backends.iter().map(|backend| {
        json!({
            "url": backend.url,
            "healthy": backend.healthy.load(Relaxed),
            "requests": backend.requests.load(Relaxed),
            "failures": backend.failures.load(Relaxed),
            "retries": backend.retries.load(Relaxed),
            "ejected": backend.ejected.load(Relaxed),
        })
    });
    let mut page = json!({
        "site": topology.own_name(),
        "pool": topology.pool,
        "sites": sites.collect::<Vec<_>>(),
        "backends": backends.collect::<Vec<_>>(),
        "connections": connections.open.load(Relaxed),
        "load": admission.report(),
    });
    if let Some(gate) = gate {
        page["invite"] = json!(gate.page());
    }
    if let Some(sessions) = sessions {
        page["sessions"] = in_short(&sessions.page());
    }
    Json(page)
}

/// The sessions in short; `/v1/sessions` has all of it.
fn in_short(page: &StorePage) -> Value {
    json!({
        "hosted": page.hosted,
        "under_replicated": page.under_replicated,
        "lag_s": page.lag_s,
        "has_lease": page.has_lease,
        "servers_down": page.servers.iter().filter(|server| server.state == "down").count(),
    })
}
