//! Secrets of server cookies of a fleet: which one all are to make theirs with.

use std::time::SystemTime;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zerottl_core::saved_state::ms;
use zerottl_fleet::MadeSecret;

use super::{
    error_body::ErrorBody,
    extract::{CheckedBody, Plain},
    fleet::{FleetPage, FleetTold, FrontOfFleet, no_fleet},
    handler_state::HandlerState,
    listen::AdminPeer,
    overrides::author,
};

/// Body of `POST /v1/fleet/secret`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeSecret {
    /// The fingerprint of a secret that all fronts accept.
    pub make: String,
    /// The name of whoever asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Has all fronts make their cookies with a secret that all of them accept (RFC 9018 section 5).
#[utoipa::path(
    post,
    path = "/v1/fleet/secret",
    tag = "write",
    request_body = MakeSecret,
    responses(
        (status = 200, description = "The fleet knows it: each front reads its file again and makes cookies with it", body = FleetTold),
        (status = 404, description = "This front is in no fleet", body = ErrorBody),
        (status = 409, description = "A front does not accept it", body = ErrorBody),
        (status = 503, description = "The engine is away", body = ErrorBody),
    )
)]
pub(super) async fn make_secret(
    State(shared): State<HandlerState>,
    peer: Option<Extension<AdminPeer>>,
    _: Plain,
    CheckedBody(asked): CheckedBody<MakeSecret>,
) -> Response {
    let refuse = |status: StatusCode, error: &str, message: String| {
        (status, Json(ErrorBody { error: error.into(), message })).into_response()
    };
    let state = shared.state();
    let (Some(page), Some((fleet, _))) = (FleetPage::new(&state.snapshot()), &state.fleet) else {
        return no_fleet();
    };
    if page.engine != "connected" {
        let message = format!("the fleet's engine is {}: who accepts what is not known now", page.engine);
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "away", message);
    }
    let lacks = |front: &&FrontOfFleet| !front.cookie_secrets.contains(&asked.make);
    let lacking: Vec<&str> = page.fronts.iter().filter(lacks).map(|front| front.front.as_str()).collect();
    if !lacking.is_empty() || page.fronts.is_empty() {
        let message = format!(
            "not accepted by {}: cookies of `{}` would be refused there; put the secret into each front's cookie_secret_file first",
            lacking.join(", "),
            asked.make
        );
        return refuse(StatusCode::CONFLICT, "not-accepted", message);
    }
    let (_, by) = author(peer, asked.by).await;
    let by = format!("{by} at {}", fleet.front());
    let at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms);
    match fleet.make_secret(&MadeSecret { fingerprint: asked.make, by, at_ms }).await {
        Ok(revision) => Json(FleetTold { revision: Some(revision), not_told_because: None }).into_response(),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, "away", format!("the fleet could not be told: {why}")),
    }
}
