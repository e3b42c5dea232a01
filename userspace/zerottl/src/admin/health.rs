//! `POST /v1/health`: any program states the health of a Site; and statements of health, as pages show them.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{error_body::ErrorBody, extract, handler_state::HandlerState, listen::AdminPeer, overrides, text};
use crate::{control::health::HealthError, observe::snapshot::Snapshot};
use zerottl_core::{
    model::SiteId,
    overrides::checked_statement,
    saved_state::ms,
    statements::{HealthStatement, StatementSource},
};

/// Health, as it is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StatedHealth {
    /// It is up.
    Up,
    /// It is down.
    Down,
}

/// Body of `POST /v1/health`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StateHealth)]
pub struct StateHealth {
    /// A Site's key.
    pub site: String,
    /// One of its addresses, as it is answered; all of them unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// `up` or `down`.
    pub state: StatedHealth,
    /// Seconds until the statement expires; until another one unless given.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// The name of whoever states it; at most 100 characters.
    #[serde(default)]
    pub by: Option<String>,
    /// Why; at most 500 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The statement that was taken; answers follow it within a planning round, 100 ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthStated {
    /// The Site's key.
    pub site: String,
    /// The addresses that it is about.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// A statement of an address's health from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatementPage {
    /// `up` or `down`.
    pub state: StatedHealth,
    /// The name of whoever stated it, and from where; for the file, its name and line.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Seconds since it was stated; for the file, since it was changed.
    pub age_s: f64,
    /// When it was stated by the wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Seconds until it expires; none is without an end.
    pub left_s: Option<f64>,
    /// Seconds since it expired; none unless it has.
    pub expired_s: Option<f64>,
    /// Whether the address's health is what it is by it.
    pub decides: bool,
    /// The health that an expired statement counts as: `down`, `up`, or `keep` for what was stated; none where probes
    /// decide.
    pub when_expired: Option<String>,
}

impl StatementPage {
    /// `stated to be down by cron (127.0.0.1) 12s ago, for 4m more: disk full`.
    #[must_use]
    pub fn words(&self) -> String {
        let state = if self.state == StatedHealth::Up { "up" } else { "down" };
        let left = match (self.left_s, self.expired_s) {
            (_, Some(expired)) => {
                let then = self.when_expired.as_deref().unwrap_or("down");
                format!(", which expired {} ago (when_expired = \"{then}\")", text::age(expired))
            }
            (Some(left), None) => format!(", for {} more", text::left(left)),
            (None, None) => String::new(),
        };
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        text::printable(&format!("stated to be {state} by {} {} ago{left}{reason}", self.by, text::age(self.age_s)))
    }
}

/// Returns what was stated of an address's health and still counts.
#[must_use]
pub(super) fn page_of(snapshot: &Snapshot, site: SiteId, address: usize) -> Option<StatementPage> {
    let remark = snapshot.remarks.statements.get(&(site.0, address))?;
    let said = &remark.statement;
    let left = |until: Instant| until.saturating_duration_since(snapshot.now).as_secs_f64();
    Some(StatementPage {
        state: if said.up { StatedHealth::Up } else { StatedHealth::Down },
        by: said.by.clone(),
        reason: said.reason.clone(),
        age_s: snapshot.age_s(said.at),
        at_ms: said.at_wall_ms,
        left_s: said.until.filter(|_| !remark.is_expired).map(left),
        expired_s: said.until.filter(|_| remark.is_expired).map(|until| snapshot.age_s(until)),
        decides: remark.decides,
        when_expired: snapshot.model.sites[site.0].when_expired().map(|when| when.as_str().to_owned()),
    })
}

/// States the health of a Site's addresses, for a time: any program is a probe.
#[utoipa::path(
    post,
    path = "/v1/health",
    tag = "write",
    request_body = StateHealth,
    responses(
        (status = 200, description = "It is taken: answers follow it within 100 ms", body = HealthStated),
        (status = 400, description = "The statement is not valid", body = ErrorBody),
        (status = 404, description = "There is no such Site, or it does not have the address", body = ErrorBody),
        (status = 503, description = "The agent is stopping", body = ErrorBody),
    )
)]
pub(super) async fn health(
    State(shared): State<HandlerState>,
    peer: Option<Extension<AdminPeer>>,
    _: extract::Plain,
    extract::CheckedBody(body): extract::CheckedBody<StateHealth>,
) -> Response {
    let StateHealth { site, address, state, for_s, by, reason } = body;
    let lasts = for_s.map(Duration::from_secs);
    let (by, from) = overrides::author(peer, by).await;
    let reason = match checked_statement(&by, reason, lasts) {
        Ok(reason) => reason,
        Err(invalid) => return refusal(&invalid.into()),
    };
    let at = Instant::now();
    let statement = HealthStatement {
        source: StatementSource::Interface,
        up: state == StatedHealth::Up,
        by: from,
        reason,
        at,
        at_wall_ms: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms),
        until: lasts.and_then(|lasts| at.checked_add(lasts)),
    };
    let sources = shared.state();
    match sources.health.state(&sources.view.model, &site, address, statement.clone()) {
        Ok(addresses) => {
            if let Some((fleet, _)) = &sources.fleet {
                fleet.state_health(&site, &addresses, &statement);
            }
            Json(HealthStated { site, addresses }).into_response()
        }
        Err(refused) => refusal(&refused),
    }
}

fn refusal(refused: &HealthError) -> Response {
    let (status, error) = match refused {
        HealthError::NoSuchSite(_) | HealthError::NoSuchAddress(..) => (StatusCode::NOT_FOUND, "no-such"),
        HealthError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
        HealthError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    (status, Json(ErrorBody { error: error.into(), message: refused.to_string() })).into_response()
}
