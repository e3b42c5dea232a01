//! The HTTP server: bounded, and deaf to other sites' pages.
//!
//! A connection serves one request and has [`CONNECTION_MAX`] in all, a trace excepted. Beyond [`CONNECTIONS_MAX`] new
//! ones wait in the listen queue. The Host header must be the address the connection came to or a loopback name, so
//! that a web page whose name was made to resolve to us (DNS rebinding) reads nothing.
//!
//! Cancelling the token given to [`serve`] stops accepting, lets requests under way finish within [`GRACE`], and ends
//! traces.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{Request, StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, broadcast::error::RecvError},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{AdminState, explain, metrics, status::StatusPage};
use crate::{agent::Current, model::Family};

/// The most connections at once.
pub const CONNECTIONS_MAX: usize = 64;
/// The most traces at once: far fewer, so that they cannot keep a scrape out.
pub const TRACES_MAX: usize = 8;
/// For a request's header to arrive.
pub const HEADER_MAX: Duration = Duration::from_secs(5);
/// For a connection that is not a trace.
pub const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// For requests under way once the agent stops.
pub const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "zerottl
/metrics                     OpenMetrics
/v1/status                   Sites, names, shares, ages, counters (JSON)
/v1/explain?name=&client=    what would be answered now, and why (JSON)
/v1/load                     POST: load reports from Sites (JSON)
/v1/trace                    events, one JSON object a line
";

/// Shared by the handlers.
#[derive(Clone)]
struct Shared {
    current: Arc<Current>,
    traces: Arc<Semaphore>,
    cancel: CancellationToken,
}

impl Shared {
    /// What the agent knows, at this request. A handler asks once, so that what it shows is of one configuration.
    fn state(&self) -> Arc<AdminState> {
        self.current.load_full()
    }
}

/// Serves the admin interface until cancelled.
pub async fn serve(listener: TcpListener, current: Arc<Current>, cancel: CancellationToken) {
    let loads = super::load::routes(Arc::clone(&current));
    let shared = Shared { current, traces: Arc::new(Semaphore::new(TRACES_MAX)), cancel: cancel.clone() };
    let router = Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics_page))
        .route("/v1/status", get(status_page))
        .route("/v1/explain", get(explain_page))
        .route("/v1/trace", get(trace))
        .with_state(shared)
        .merge(loads);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), cancel.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "admin: accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, cancel: CancellationToken) {
    let Ok(local) = stream.local_addr() else { return };
    let tracing = Arc::new(AtomicBool::new(false));
    let inner = TowerToHyperService::new(router);
    let mark = Arc::clone(&tracing);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        mark.store(request.uri().path() == "/v1/trace", Ordering::Relaxed);
        let ours = is_ours(&request, local);
        let inner = inner.clone();
        async move {
            if !ours {
                let why = "the Host header must be this address, a loopback address or localhost\n";
                return Ok::<Response, Infallible>((StatusCode::FORBIDDEN, why).into_response());
            }
            inner.call(request).await
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
            () = cancel.cancelled(), if !stopping => {
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

/// Whether a request was meant for us by whoever wrote its URL.
fn is_ours(request: &Request<hyper::body::Incoming>, local: SocketAddr) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let in_uri = request.uri().authority().is_none_or(|authority| host_is_ours(authority.as_str(), local));
    in_uri && host.to_str().is_ok_and(|host| host_is_ours(host, local))
}

fn host_is_ours(host: &str, local: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match literal.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == local.ip().to_canonical(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

async fn metrics_page(State(shared): State<Shared>) -> Response {
    match metrics::text(StatusPage::without_names(&shared.state().snapshot())) {
        Ok(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status_page(State(shared): State<Shared>) -> Json<StatusPage> {
    Json(StatusPage::new(&shared.state().snapshot()))
}

#[derive(Deserialize)]
struct Asked {
    name: String,
    client: Option<IpAddr>,
}

async fn explain_page(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let view = &shared.state().view;
    let pick = |name, family: Family, client: IpAddr| view.choose(name, family.into(), client.into()).0.pick;
    match explain::explain(&shared.state().snapshot(), &asked.name, asked.client, pick) {
        Ok(page) => Json(page).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn trace(State(shared): State<Shared>) -> Response {
    let Ok(permit) = Arc::clone(&shared.traces).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{TRACES_MAX} traces are running already\n")).into_response();
    };
    let events = shared.state().trace.subscribe();
    let lines = stream::unfold((events, permit, shared.cancel), async |(mut events, permit, cancel)| {
        let line = tokio::select! {
            () = cancel.cancelled() => return None,
            event = events.recv() => match event {
                Ok(event) => format!("{event}\n"),
                // This client reads too slowly for its backlog; it is told how many it missed.
                Err(RecvError::Lagged(lost)) => format!("{{\"lost\":{lost}}}\n"),
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok::<_, Infallible>(line), (events, permit, cancel)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_ours_and_others() {
        let local: SocketAddr = "192.0.2.53:8053".parse().expect("valid");
        for host in ["localhost", "LocalHost:8053", "127.0.0.1:8053", "127.0.0.2", "[::1]:8053", "192.0.2.53:8053"] {
            assert!(host_is_ours(host, local), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:8053",
            "127.0.0.1.evil.example",
            "192.0.2.54",
            "::1",
            "[::2]",
            "evil@localhost",
            "localhost@evil.example",
            "127.1",
            "0.0.0.0",
            "2130706433",
        ] {
            assert!(!host_is_ours(host, local), "{host}");
        }
    }
}
