//! Loads in the pages, and `POST /v1/load`: load reports from Sites, or from whatever knows their load.
//!
//! The form of a report stands in [`push`]. The answer is 204 if all of it was taken; else nothing was,
//! and the answer's text says why.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use axum::{
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use utoipa::ToSchema;

use super::{extract::Plain, handler_state::HandlerState, text};
use crate::observe::snapshot::Snapshot;
use zerottl_core::{
    model::{LoadKind, NameKind, Policy, SiteId},
    plan::headroom::headroom,
    status::{AdminState, Load, SelfReport},
};
use zerottl_inputs::load::push;

/// The load of a Site as it reports it, in the unit of its reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadPage {
    /// How figures come: `http`, `agent-check`, `probe-header` or `push`.
    pub source: String,
    /// The load in force: that of the newest report and of answers since.
    pub current: Option<f64>,
    /// The part of it that answers since the newest report make.
    pub debit: f64,
    /// The load that it should have at most.
    pub target: Option<f64>,
    /// The load at which it can take no more.
    pub capacity: Option<f64>,
    /// Sessions that it has.
    pub sessions: Option<f64>,
    /// Connections that it takes, at most.
    pub maxconn: Option<u64>,
    /// Seconds since the newest report with new figures; none before the first.
    pub age_s: Option<f64>,
    /// Whether that report is older than `stale_after`.
    pub stale: bool,
    /// Headroom by its pool's watermarks: 1 is free, 0 is full; none where no figure counts.
    pub headroom: Option<f64>,
    /// The load that one answer adds, as configured or as learned.
    pub per_answer: f64,
    /// The part of its weight that it wants; 0 is no new clients.
    pub factor: f64,
    /// `ready`, `drain` or `maint`: what it wants of itself.
    pub word: AdminState,
    /// The Site's report about itself in its own words, such as `stopped (new disks)`; none where it reports nothing of the kind.
    #[serde(default)]
    pub says: Option<String>,
    /// Reports accepted.
    pub reports: u64,
    /// Attempts that failed, and reports that were refused.
    pub failures: u64,
    /// Why the newest failed or was refused; none if it was not.
    pub error: Option<String>,
}

/// Returns what is known of a Site's load; none unless it has a source.
#[must_use]
pub fn page_of(snapshot: &Snapshot, id: SiteId) -> Option<LoadPage> {
    let site = &snapshot.model.sites[id.0];
    let source = site.load.as_ref()?;
    let (entry, state) = (&snapshot.loads[id.0], &snapshot.status.sites[id.0]);
    let steering = &snapshot.model.pools[site.pool.0].steering;
    let report = state.self_report;
    Some(LoadPage {
        source: match source.kind {
            LoadKind::Http(..) => "http",
            LoadKind::AgentCheck(_) => "agent-check",
            LoadKind::ProbeHeader => "probe-header",
            LoadKind::Push => "push",
        }
        .into(),
        current: state.load.map(|load| load.current),
        debit: report.debit,
        target: state.load.map(|load| load.target),
        capacity: state.load.map(|load| load.capacity),
        sessions: report.sessions,
        maxconn: entry.maxconn,
        age_s: entry.received.map(|then| snapshot.age_s(then)),
        stale: report.stale,
        headroom: state.load.map(|load| headroom(load.current, &load, steering)),
        per_answer: report.per_answer,
        factor: report.factor,
        word: report.admin_state,
        says: entry.self_report(),
        reports: entry.reports,
        failures: entry.failures,
        error: entry.error.as_ref().map(ToString::to_string),
    })
}

impl LoadPage {
    /// Returns what the planner was told of the Site.
    #[must_use]
    pub(crate) fn as_reported(&self) -> (Option<Load>, SelfReport) {
        let (admin_state, factor, stale) = (self.word, self.factor, self.stale);
        let (per_answer, debit, sessions) = (self.per_answer, self.debit, self.sessions);
        let load = || Some(Load { current: self.current?, target: self.target?, capacity: self.capacity? });
        (load(), SelfReport { admin_state, factor, stale, per_answer, debit, sessions })
    }

    /// The heads of [`row`](Self::row).
    pub const HEADER: [&'static str; 9] =
        ["SITE", "LOAD", "TARGET", "CAPACITY", "HEADROOM", "SESSIONS", "AGE", "PER ANSWER", "SAYS"];

    /// For a terminal.
    #[must_use]
    pub fn row(&self, site: &str) -> Vec<String> {
        let figure = |value: Option<f64>| value.map_or("-".into(), short);
        let mut says: Vec<String> = self.says.iter().cloned().collect();
        says.extend(self.maxconn.map(|maxconn| format!("maxconn:{maxconn}")));
        says.extend(self.error.clone());
        let age = self.age_s.map_or("-".into(), text::age);
        vec![
            site.to_owned(),
            figure(self.current),
            figure(self.target),
            figure(self.capacity),
            self.headroom.map_or("-".into(), text::percent),
            figure(self.sessions),
            if self.stale { format!("{age} STALE") } else { age },
            short(self.per_answer),
            says.join(", "),
        ]
    }
}

/// Why a Site that takes itself out does so, as a sentence; none unless it does.
#[must_use]
pub(crate) fn takes_itself_out(snapshot: &Snapshot, id: SiteId) -> Option<String> {
    let report = snapshot.status.sites[id.0].self_report;
    if report.admin_state == AdminState::Ready && report.factor > 0.0 {
        return None;
    }
    let says = snapshot.loads[id.0].self_report().map(|says| format!("it says {says}"));
    Some(says.unwrap_or_else(|| "its load figures are stale, and when_stale is \"drain\"".into()))
}

/// A figure with three places at most.
fn short(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns what a Site's load has to do with a Pool or Group Name: whether it is in the way of new clients, and why, as
/// a clause.
#[must_use]
pub fn verdict(snapshot: &Snapshot, kind: NameKind, policy: Policy, id: SiteId) -> (bool, Option<String>) {
    let steering = &snapshot.model.pool_of(kind).steering;
    let state = &snapshot.status.sites[id.0];
    let report = state.self_report;
    let mut clauses = Vec::new();
    let refuses = report.admin_state != AdminState::Ready || report.factor <= 0.0;
    if report.stale {
        clauses.push("its load figures are stale".to_owned());
    }
    if refuses && !report.stale {
        let says = snapshot.loads[id.0].self_report().map_or(String::new(), |says| format!(": it says {says}"));
        clauses.push(format!("it wants no new clients{says}"));
    } else if (report.factor - 1.0).abs() > 1e-9 {
        let note = snapshot.loads[id.0].note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        clauses.push(format!("it wants {} of its weight{note}", text::percent(report.factor)));
    }
    if state.ramp < 1.0 {
        clauses.push(format!("it starts slowly, with {} of its weight", text::percent(state.ramp)));
    }
    let mut full = false;
    if let (Some(load), Policy::LeastLoad) = (state.load, policy) {
        let room = headroom(load.current, &load, steering);
        full = room <= 0.0;
        let word = if full { "at capacity".to_owned() } else { format!("headroom {}", text::percent(room)) };
        clauses.push(format!("{word}: load {} of {}", short(load.current), short(load.capacity)));
    }
    if let (Some(load), Policy::Sticky, true) = (state.load, policy, steering.balance_factor > 0.0) {
        let keep = kept(snapshot, kind, id);
        let utilisation = text::percent(load.current / load.capacity);
        clauses.push(match keep {
            Some(keep) if keep < 1.0 => {
                format!("has been over balance_factor: keeps {} of its slots, load {utilisation}", text::percent(keep))
            }
            _ => format!("load {utilisation}"),
        });
    }
    let in_the_way = refuses || (full && steering.trickle <= 0.0);
    (in_the_way, (!clauses.is_empty()).then(|| clauses.join("; ")))
}

/// Returns what a Site keeps of its slots, for the name's A answers, or else AAAA.
fn kept(snapshot: &Snapshot, kind: NameKind, id: SiteId) -> Option<f64> {
    let name = snapshot.model.names.iter().position(|name| name.kind == kind)?;
    let shares = snapshot.plan.shares.of.get(snapshot.plan.service_of.get(name)?)?;
    shares.iter().flatten().find(|(site, _)| *site == id).map(|(_, keep)| *keep)
}

/// Takes load reports from Sites whose `load` is of kind `push`: one, or a list.
#[utoipa::path(
    post,
    path = "/v1/load",
    tag = "write",
    request_body(content = String, content_type = "application/json", description = "A report with its `site`, or a list of them"),
    responses(
        (status = 204, description = "Accepted"),
        (status = 400, description = "None of the reports was accepted", content_type = "text/plain", body = String),
        (status = 413, description = "More than 1 MiB", content_type = "text/plain", body = String),
    )
)]
pub(super) async fn take(State(shared): State<HandlerState>, _: Plain, body: Bytes) -> Response {
    let state = shared.state();
    match push::push(&state.load_store, state.load_store.model(), Instant::now(), &body) {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
