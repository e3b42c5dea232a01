//! `POST /v1/load`: load reports from Sites, or from whatever knows their load.
//!
//! What a report is stands in [`push`](crate::load::push). The answer is 204 if all of it was taken; else nothing was,
//! and the answer's text says why.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::AdminState;
use crate::load::push::{self, PUSH_MAX};

/// The route, for the server's own.
pub fn routes(state: Arc<AdminState>) -> Router {
    Router::new().route("/v1/load", post(page)).layer(DefaultBodyLimit::max(PUSH_MAX)).with_state(state)
}

async fn page(State(state): State<Arc<AdminState>>, headers: HeaderMap, body: Bytes) -> Response {
    // A browser asks before it sends this type to a server that is not the page's own, and is told no.
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it as content-type: application/json\n").into_response();
    }
    match push::push(&state.board, state.board.model(), Instant::now(), &body) {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
