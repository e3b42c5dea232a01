//! The stand-alone Site's admin interface (`web.admin`): read-only, for Prometheus, for the agents of the DNS side, and
//! for other servers that ask for a decision.
//!
//! | path | what |
//! |---|---|
//! | `/metrics` | for Prometheus; every name begins with `zerottl_site_` |
//! | `/load` | the load report that agents poll (`load = { kind = "http", port = …, path = "/load" }` of the Site) |
//! | `/v1/site` | the Site's state: peers, backends, sessions |
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
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    front::{self, FrontCounters, Peer},
    metrics::{FrontMetrics, FrontSources},
};
use zerottl_core::{
    admin_access::{self, unexpected_query},
    exposition::Format,
    model::{Web, WebLimits},
};
use zerottl_host::certificates::Certificate;
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
}

/// Reads the state of this moment.
type ReadView = Arc<dyn Fn() -> SiteView + Send + Sync>;

/// Connections at a time, at most.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

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
    cancel: CancellationToken,
) {
    let view: ReadView = Arc::new(view);
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/load", get(load))
        .route("/v1/site", get(site))
        // Who checks says in Host what the client asked for.
        .route_layer(middleware::from_fn(own_host))
        .route(ext_auth::NGINX, any(for_nginx))
        .route(ext_auth::FORWARD, any(for_forward))
        .route(&format!("{}/", ext_auth::ENVOY), any(for_envoy))
        .route(&format!("{}/{{*path}}", ext_auth::ENVOY), any(for_envoy))
        .with_state(view);
    let counters = FrontCounters::new(&Web::at([]));
    tokio::spawn(async move { front::serve(vec![bound], router, &limits(connections), counters, cancel).await });
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
    let SiteView { admission, backends, connections, certificates } = view();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::asked_for(accept);
    let front = FrontSources { connections: &connections, backends: &backends, certificates: &certificates };
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
    let SiteView { admission, backends, connections, .. } = view();
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
    Json(json!({
        "site": topology.own_name(),
        "pool": topology.pool,
        "sites": sites.collect::<Vec<_>>(),
        "backends": backends.collect::<Vec<_>>(),
        "connections": connections.open.load(Relaxed),
        "load": admission.report(),
    }))
}
