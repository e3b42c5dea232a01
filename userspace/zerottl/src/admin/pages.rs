//! The handlers of requests that read.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::{
    answers,
    error_body::ErrorBody,
    explain,
    explanation::Explanation,
    extract::{CheckedQuery, Plain, invalid},
    handler_state::{HandlerState, TRACES_MAX},
    history::HistoryPage,
    metrics, signatures,
    status::StatusPage,
};
use zerottl_core::exposition::Format;
use zerottl_core::model::Family;

/// The page, with its style and its script inside.
const DASHBOARD: &str = include_str!("dashboard.html");
/// Stands in [`DASHBOARD`] for a word that is new at each request, without which the browser runs no script there.
const NONCE: &str = "{{nonce}}";

/// The dashboard, for browsers. Asks for nothing itself; what its script then asks for does.
#[utoipa::path(get, path = "/", tag = "read", security(()), responses((status = 200, content_type = "text/html", body = String)))]
pub(super) async fn dashboard(_: Plain) -> Response {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).expect("hexadecimal digits and the words above are ASCII");
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let page = DASHBOARD.replace(NONCE, &nonce);
    ([(CONTENT_TYPE, html), (CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

/// Metrics: `OpenMetrics` where that is asked for (Accept), else Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "read", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics(_: Plain, State(shared): State<HandlerState>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::asked_for(accept);
    match metrics::text(&shared.state().snapshot(), format) {
        Ok(page) => ([(CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The query parameters of `/v1/status`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusQuery {
    name: Option<String>,
}

/// Sites, names, shares, ages, counters: all that is known now, as far as there is room for it.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "read",
    params(("name" = Option<String>, Query, description = "A DNS name: no other one is in `names` and `member_of`")),
    responses(
        (status = 200, body = StatusPage),
        (status = 400, description = "The name is no DNS name, or a parameter is not known", body = ErrorBody)
    )
)]
pub(super) async fn status(
    State(shared): State<HandlerState>,
    CheckedQuery(asked): CheckedQuery<StatusQuery>,
) -> Response {
    let snapshot = shared.state().snapshot();
    match asked.name.as_deref().map(explain::asked) {
        None => Json(StatusPage::new(&snapshot)).into_response(),
        Some(Ok(name)) => Json(StatusPage::of_name(&snapshot, &name)).into_response(),
        Some(Err(error)) => invalid(error.to_string()),
    }
}

/// The query parameters of `/v1/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    name: String,
    #[serde(rename = "type")]
    rtype: Option<String>,
    client: Option<IpAddr>,
    #[serde(default)]
    dnssec: bool,
}

/// Explains how a name would be answered now, and why.
#[utoipa::path(
    get,
    path = "/v1/explain",
    tag = "read",
    params(
        ("name" = String, Query, description = "A DNS name"),
        ("type" = Option<String>, Query, description = "A record type, such as MX or TYPE65280; every type that the name has unless given"),
        ("client" = Option<String>, Query, description = "The address of the client that asks"),
        ("dnssec" = Option<bool>, Query, description = "Whether to show signatures and proofs"),
    ),
    responses(
        (status = 200, body = Explanation),
        (status = 400, description = "The name is no DNS name, the type no record type, the client no address, or a \
            parameter is not known", body = ErrorBody)
    )
)]
pub(super) async fn explain(
    State(shared): State<HandlerState>,
    CheckedQuery(asked): CheckedQuery<ExplainQuery>,
) -> Response {
    let state = shared.state();
    let pick = |name, family: Family, client: IpAddr| state.view.choose(name, family.into(), client.into()).0.pick;
    let rtype = match asked.rtype.as_deref().map(answers::rtype).transpose() {
        Ok(rtype) => rtype,
        Err(error) => return invalid(error.to_string()),
    };
    let snapshot = state.snapshot();
    match explain::explain(&snapshot, &asked.name, asked.client, pick) {
        Ok(mut page) => {
            answers::add(&mut page, &snapshot, &state.served.zones, rtype);
            if asked.dnssec {
                page.dnssec = signatures::of(&page.name, rtype, asked.client, &snapshot, &state.served);
            }
            Json(page).into_response()
        }
        Err(error) => invalid(error.to_string()),
    }
}

/// The last ten minutes of shares, states and packets.
#[utoipa::path(get, path = "/v1/history", tag = "read", responses((status = 200, body = HistoryPage)))]
pub(super) async fn history(_: Plain, State(shared): State<HandlerState>) -> Json<HistoryPage> {
    Json(shared.history.page(Instant::now()))
}

/// A sample of the packets that the XDP program sees, one JSON object a line, until the client goes.
#[utoipa::path(get, path = "/v1/trace", tag = "read", responses(
    (status = 200, content_type = "application/x-ndjson", body = String),
    (status = 503, description = "Too many traces are running", content_type = "text/plain", body = String)
))]
pub(super) async fn trace(_: Plain, State(shared): State<HandlerState>) -> Response {
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
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
