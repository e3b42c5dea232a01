//! Overrides over HTTP.
//!
//! | method and path | body | answers |
//! |---|---|---|
//! | `POST /v1/sites/word` | [`SetAdminState`] | [`OverridePlaced`] |
//! | `POST /v1/sites/weight` | [`SetWeight`] | [`OverridePlaced`] |
//! | `GET /v1/sites/drained?sites=…&sessions=…` | | [`DrainPage`] |
//!
//! Errors are [`ErrorBody`]s: 400 for a request at fault, 404 where nothing is called that, 409 for what would take a pool
//! below its minimum, 503 while the agent stops. Bodies must be `application/json`, which no page of another site can
//! send without being asked for leave that is never given.

use std::time::{Duration, SystemTime};

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    error_body::ErrorBody,
    extract::{self, CheckedQuery},
    fleet::FleetTold,
    handler_state::HandlerState,
    listen::AdminPeer,
    sources::AdminSources,
};
use crate::{
    control::{overrides::OverrideApplied, target},
    observe::snapshot::Snapshot,
};
use zerottl_core::{
    model::{Family, NameKind, SiteId},
    overrides::{self, OverrideError, OverrideRequest, OverrideValue},
    plan::Choice,
    saved_state::ms,
    status::AdminState,
};
use zerottl_host::state::writer;

/// How long an answer waits for the override to be on disk.
const SAVED_WITHIN: Duration = Duration::from_secs(2);

/// Body of `POST /v1/sites/word`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SayWord)]
pub struct SetAdminState {
    /// A Site's key, a group's or pool's name, or a glob.
    pub sites: String,
    /// `drain`, `maint`, or `ready`, which takes back any other and ends a hold-down.
    pub word: AdminState,
    /// Why; at most 500 characters.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds that it lasts; until another override unless given.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// The name of whoever asks for it; at most 100 characters.
    #[serde(default)]
    pub by: Option<String>,
    /// Whether to do it even against a pool's `min_sites` and `min_capacity`.
    #[serde(default)]
    pub force: bool,
}

/// Body of `POST /v1/sites/weight`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SayWeight)]
pub struct SetWeight {
    /// A Site's key, a group's or pool's name, or a glob.
    pub sites: String,
    /// 1 to 65535, or null for the configured one; needed.
    #[serde(deserialize_with = "extract::nullable")]
    #[schema(required = true)]
    pub weight: Option<u32>,
    /// Why; at most 500 characters.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds that it lasts; until another override unless given.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// The name of whoever asks for it; at most 100 characters.
    #[serde(default)]
    pub by: Option<String>,
}

/// The change that was made; answers follow it already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Said)]
pub struct OverridePlaced {
    /// Keys of the Sites that it is about.
    pub sites: Vec<String>,
    /// The plan that has it.
    pub generation: u64,
    /// Whether it is saved for a restart.
    pub kept: bool,
    /// Why not, if it will not.
    pub not_kept_because: Option<String>,
    /// Its fate in the fleet; none where this front is alone.
    #[serde(default)]
    pub fleet: Option<FleetTold>,
}

/// How far a drain has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainPage {
    /// By Site, in the model's order.
    pub sites: Vec<DrainingSite>,
    /// Whether all are done.
    pub done: bool,
}

/// How far a Site's drain has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainingSite {
    /// The Site's key.
    pub site: String,
    /// The override of its state in force: `ready`, `drain`, `maint`.
    pub word: String,
    /// Pool and Group Names that still answer it; its own name always may.
    pub answered_by: u64,
    /// Sessions it reports; none where it reports none.
    pub sessions: Option<u64>,
    /// Whether nothing answers it any more, and it has few enough sessions or does not report them.
    pub done: bool,
}

/// Drains Sites, takes them into maintenance, or makes them ready again.
#[utoipa::path(
    post,
    path = "/v1/sites/word",
    tag = "write",
    request_body = SetAdminState,
    responses(
        (status = 200, description = "It is in force: answers follow it", body = OverridePlaced),
        (status = 400, description = "The request is not valid", body = ErrorBody),
        (status = 404, description = "There is no Site, group or pool of that name", body = ErrorBody),
        (status = 409, description = "It would take a pool below its minimum", body = ErrorBody),
        (status = 503, description = "The agent is stopping", body = ErrorBody),
    )
)]
pub(super) async fn word(
    State(shared): State<HandlerState>,
    peer: Option<Extension<AdminPeer>>,
    _: extract::Plain,
    extract::CheckedBody(body): extract::CheckedBody<SetAdminState>,
) -> Response {
    let value = OverrideValue::State(body.word);
    ask(&shared.state(), peer, body.sites, value, body.by, body.reason, body.for_s, body.force).await
}

/// Sets the weight of Sites, or restores the configured one.
#[utoipa::path(
    post,
    path = "/v1/sites/weight",
    tag = "write",
    request_body = SetWeight,
    responses(
        (status = 200, description = "It is in force: answers follow it", body = OverridePlaced),
        (status = 400, description = "The request is not valid", body = ErrorBody),
        (status = 404, description = "There is no Site, group or pool of that name", body = ErrorBody),
        (status = 409, description = "It would take a pool below its minimum", body = ErrorBody),
        (status = 503, description = "The agent is stopping", body = ErrorBody),
    )
)]
pub(super) async fn weight(
    State(shared): State<HandlerState>,
    peer: Option<Extension<AdminPeer>>,
    _: extract::Plain,
    extract::CheckedBody(body): extract::CheckedBody<SetWeight>,
) -> Response {
    let value = OverrideValue::Weight(body.weight);
    ask(&shared.state(), peer, body.sites, value, body.by, body.reason, body.for_s, false).await
}

#[expect(clippy::too_many_arguments, reason = "the fields of two bodies that differ in one")]
async fn ask(
    state: &AdminSources,
    peer: Option<Extension<AdminPeer>>,
    target: String,
    value: OverrideValue,
    by: Option<String>,
    reason: Option<String>,
    for_s: Option<u64>,
    force: bool,
) -> Response {
    let (by, author) = author(peer, by).await;
    let lasts = for_s.map(Duration::from_secs);
    let at_wall_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms);
    let request = OverrideRequest { target, value, by, reason, lasts, force, at_wall_ms };
    let request = match overrides::checked(request) {
        Ok(request) => request,
        Err(invalid) => return refusal(&invalid.into()),
    };
    let request = OverrideRequest { by: author, ..request };
    match state.overrides.ask(request.clone()).await {
        Ok(done) => {
            let told = tell_fleet(state, &done, request).await;
            let why = writer::wait(&mut state.write_status.clone(), done.saved, SAVED_WITHIN).await;
            Json(OverridePlaced {
                sites: done.sites,
                generation: done.generation,
                kept: why.is_none(),
                not_kept_because: why,
                fleet: told,
            })
            .into_response()
        }
        Err(refused) => refusal(&refused),
    }
}

/// Returns the name of whoever asks, as claimed or else as the kernel says, and the same with from where.
pub(super) async fn author(peer: Option<Extension<AdminPeer>>, claimed: Option<String>) -> (String, String) {
    let peer = peer.map(|Extension(peer)| peer);
    let user = if let Some(peer) = &peer { peer.user().await } else { None };
    let named = claimed.filter(|by| !by.trim().is_empty());
    let by = named.or_else(|| user.clone()).unwrap_or_else(|| "unnamed".into());
    let author = peer.map_or(by.clone(), |peer| said_by(&by, &peer.from, user.as_deref()));
    (by, author)
}

/// Has the fleet told what is in force here.
async fn tell_fleet(state: &AdminSources, done: &OverrideApplied, mut request: OverrideRequest) -> Option<FleetTold> {
    let ((fleet, _), id) = state.fleet.as_ref().zip(done.word)?;
    request.by = format!("{} at {}", request.by, fleet.front());
    Some(match fleet.say(id, &done.sites, &request).await {
        Ok(revision) => FleetTold { revision: Some(revision), not_told_because: None },
        Err(why) => FleetTold { revision: None, not_told_because: Some(why.to_string()) },
    })
}

/// Returns who says it, and from where: who claims to be another is told apart.
fn said_by(claimed: &str, from: &str, user: Option<&str>) -> String {
    match user {
        Some(user) if user != claimed => format!("{claimed} ({from}, {user})"),
        _ => format!("{claimed} ({from})"),
    }
}

fn refusal(refused: &OverrideError) -> Response {
    let (status, error) = match refused {
        OverrideError::NoSuch(_) => (StatusCode::NOT_FOUND, "no-such"),
        OverrideError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
        OverrideError::BelowMinimum(_) => (StatusCode::CONFLICT, "below-minimum"),
        OverrideError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    (status, Json(ErrorBody { error: error.into(), message: refused.to_string() })).into_response()
}

/// Query of `GET /v1/sites/drained`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedDrained {
    /// A Site's key, a group's or pool's name, or a glob.
    pub sites: String,
    /// The number of sessions at which a Site counts as empty; 0 unless given.
    #[serde(default)]
    pub sessions: u64,
}

/// Shows how far a drain has come.
#[utoipa::path(
    get,
    path = "/v1/sites/drained",
    tag = "read",
    params(
        ("sites" = String, Query, description = "A Site's key, a group's or pool's name, or a glob"),
        ("sessions" = Option<u64>, Query, description = "The number of sessions at which a Site counts as empty; 0 unless given"),
    ),
    responses(
        (status = 200, body = DrainPage),
        (status = 404, description = "There is no Site, group or pool of that name", body = ErrorBody),
    )
)]
pub(super) async fn drained(
    State(shared): State<HandlerState>,
    CheckedQuery(asked): CheckedQuery<AskedDrained>,
) -> Response {
    let snapshot = &shared.state().snapshot();
    match target::find(&snapshot.model, &asked.sites) {
        Ok(sites) => {
            let sessions = |site: SiteId| snapshot.status.sites[site.0].self_report.sessions.map(whole);
            Json(drain_page(snapshot, &sites, asked.sessions, sessions)).into_response()
        }
        Err(refused) => refusal(&refused),
    }
}

/// Sessions are reported as numbers of any kind; a part of one is one.
#[expect(clippy::cast_sign_loss, reason = "not below 0")]
fn whole(sessions: f64) -> u64 {
    sessions.max(0.0).ceil() as u64
}

fn drain_page(
    snapshot: &Snapshot,
    sites: &[SiteId],
    enough: u64,
    sessions: impl Fn(SiteId) -> Option<u64>,
) -> DrainPage {
    let model = &*snapshot.model;
    let site = |id: &SiteId| {
        let answered_by = answered_by(snapshot, *id);
        let sessions = sessions(*id);
        DrainingSite {
            site: model.sites[id.0].key.clone(),
            word: snapshot.status.sites[id.0].admin_state.as_str().into(),
            answered_by,
            sessions,
            done: answered_by == 0 && sessions.is_none_or(|sessions| sessions <= enough),
        }
    };
    let sites: Vec<_> = sites.iter().map(site).collect();
    DrainPage { done: sites.iter().all(|site| site.done), sites }
}

/// Pool and Group Names whose tables hold one of a Site's addresses.
fn answered_by(snapshot: &Snapshot, id: SiteId) -> u64 {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let site = &model.sites[id.0];
    let holds = |service: &zerottl_core::plan::Service| {
        Family::ALL.iter().any(|family| match &service.choice[family.index()] {
            Choice::Table(table) => table.slots.iter().any(|slot| {
                let endpoint = plan.endpoints[usize::from(*slot)];
                site.addresses.iter().any(|address| address.answer == endpoint)
            }),
            Choice::NoData | Choice::Servfail => false,
        })
    };
    let lists = |kind: NameKind| !matches!(kind, NameKind::Site(_)) && model.sites_of(kind).contains(&id);
    // Names that are answered alike share what they are answered by, and there may be a million of them.
    let mut known = vec![None; plan.services.len()];
    let mut is_answered = |index: usize| {
        let service = plan.service_of[index] as usize;
        *known[service].get_or_insert_with(|| holds(&plan.services[service]))
    };
    let names = model.names.iter().enumerate().filter(|(_, name)| lists(name.kind));
    names.filter(|(index, _)| is_answered(*index)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::fixture::{model, snapshot, table};

    /// A Site is drained once no Pool or Group Name answers it and its sessions are few; what it does not report does not
    /// hold it up.
    #[test]
    fn a_drain_is_done_when_nothing_answers_it_and_sessions_are_few() {
        let model = model();
        let both = || table(&model, "0.0.0.0", &["boston", "chicago"]);
        let own = || table(&model, "0.0.0.0", &["boston"]);
        let none = || Choice::NoData;
        let page = |pool: Choice, sessions: Option<u64>| {
            let choices = vec![[pool, none()], [own(), none()], [own(), none()], [own(), none()]];
            let page = drain_page(&snapshot(model.clone(), choices), &[SiteId(0)], 5, |_| sessions);
            assert_eq!(page.done, page.sites[0].done);
            (page.sites[0].answered_by, page.done)
        };
        assert_eq!(page(both(), Some(0)), (1, false));
        assert_eq!(page(both(), None), (1, false));
        let others = || table(&model, "0.0.0.0", &["chicago"]);
        assert_eq!(page(others(), Some(6)), (0, false));
        assert_eq!(page(others(), Some(5)), (0, true));
        assert_eq!(page(others(), None), (0, true), "its own name may answer it");
    }
}
