//! `POST /v1/reload`: the agent reads its file anew, as by SIGHUP.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{
    extract::{CheckedBody, Plain},
    handler_state::HandlerState,
};
use crate::control::commands::{AgentCommand, Reloaded};

/// Where it is asked for.
pub const RELOAD: &str = "/v1/reload";

/// Body of `POST /v1/reload`: an object without fields.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

/// Reads the agent's file again and answers by it, or changes nothing.
#[utoipa::path(
    post,
    path = "/v1/reload",
    tag = "write",
    request_body = Reload,
    responses(
        (status = 200, description = "It is in force: answers follow it", body = Reloaded),
        (status = 409, description = "Nothing has changed: the faults, as `zerottl check` shows them",
            content_type = "text/plain", body = String),
        (status = 503, description = "The agent is stopping, or has too much to do",
            content_type = "text/plain", body = String),
    )
)]
pub(super) async fn reload(
    State(shared): State<HandlerState>,
    _: Plain,
    CheckedBody(Reload {}): CheckedBody<Reload>,
) -> Response {
    let unavailable = || (StatusCode::SERVICE_UNAVAILABLE, "the agent takes no commands now\n").into_response();
    let (reply, done) = oneshot::channel();
    if shared.state().commands.try_send(AgentCommand::Reload(Some(reply))).is_err() {
        return unavailable();
    }
    match done.await {
        Ok(Ok(reloaded)) => Json(reloaded).into_response(),
        Ok(Err(faults)) => (StatusCode::CONFLICT, format!("{}\n", faults.to_string().trim_end())).into_response(),
        Err(_) => unavailable(),
    }
}
