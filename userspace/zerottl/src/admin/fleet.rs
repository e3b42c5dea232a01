//! The fleet, as pages show it: the fronts, what each has taken over, and what is wrong.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{error_body::ErrorBody, extract::Plain, handler_state::HandlerState, text};
use crate::observe::{fleet::FleetSnapshot, labels, snapshot::Snapshot};
use zerottl_core::model::SiteId;
use zerottl_fleet::{EngineLink, FrontReport};

/// Kinds of alarms of a fleet by etcd.
pub const FLEET_KINDS: [&str; 6] =
    ["fleet-away", "fleet-name", "fleet-cut-off", "fleet-value", "fleet-drift", "fleet-secret"];
/// Values named in an alarm.
const FAULTS_SHOWN: usize = 3;

/// The fleet that a front is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FleetPage {
    /// This front's name.
    pub front: String,
    /// `starting`, `connected`, `away` or `displaced`.
    pub engine: String,
    /// The node that is asked, or why none is.
    pub detail: String,
    /// Seconds since the engine has been away; none while it is there.
    pub away_s: Option<f64>,
    /// Whether the others' votes count: the engine was heard of within the lease.
    pub votes_count: bool,
    /// Whether this front sees most Sites otherwise than all others: its own votes do not count.
    pub cut_off: bool,
    /// The digest of this front's configuration, without what each front has for itself.
    pub digest: String,
    /// The revision of the newest word.
    pub revision: i64,
    /// The fronts that live, by name; this one, too.
    pub fronts: Vec<FrontOfFleet>,
    /// Sites of which something is said.
    pub words: usize,
    /// The fingerprint of the secret that cookies are to be made with; none where nobody has said so.
    pub cookie_secret: Option<String>,
    /// The name of who has said so, and where.
    pub cookie_secret_by: Option<String>,
    /// Requests that the engine has not been told yet.
    pub pending: usize,
    /// Values that are ignored now, by key, with why.
    pub faults: BTreeMap<String, String>,
    /// Values ignored since the start.
    pub faulty: u64,
    /// Keys written since the start.
    pub writes: u64,
}

/// A front of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FrontOfFleet {
    /// Its name.
    pub front: String,
    /// Its version.
    pub version: String,
    /// The digest of its configuration.
    pub digest: String,
    /// Whether configuration and version are as this front's.
    pub is_same: bool,
    /// Its newest plan.
    pub generation: u64,
    /// Whether it finds itself cut off.
    pub cut_off: bool,
    /// Fingerprints of the secrets whose cookies it accepts, the one that it makes cookies with first; empty where they are nobody
    /// else's.
    pub cookie_secrets: Vec<String>,
    /// The revision up to which it has taken over words.
    pub revision: i64,
    /// Whether it has taken over, or refused, all that is said.
    pub is_current: bool,
    /// By Site: why a word is not in force there.
    pub refused: BTreeMap<String, String>,
}

/// A front's vote on an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VotePage {
    /// The front.
    pub front: String,
    /// `up`, `down`, `unknown`.
    pub health: String,
    /// Whether it counts: a front that is cut off has no vote.
    pub counts: bool,
}

/// The fate of a word in the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetTold {
    /// The revision that has it; none where the engine could not be told.
    pub revision: Option<i64>,
    /// Why not; it is told later, unless something newer is said by then.
    pub not_told_because: Option<String>,
}

impl FleetPage {
    /// The page of a moment; none where the front is alone.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Option<Self> {
        Some(Self::of(snapshot.fleet.as_ref()?))
    }

    /// The page of a fleet.
    #[must_use]
    pub fn of(fleet: &FleetSnapshot) -> Self {
        let FleetSnapshot { view, votes, digest } = fleet;
        let (engine, detail) = match &view.link {
            EngineLink::Starting => ("starting", String::new()),
            EngineLink::Connected(node) => ("connected", node.clone()),
            EngineLink::Away(_, why) => ("away", why.clone()),
            EngineLink::Displaced => ("displaced", format!("another front is called {}, too", view.front)),
        };
        let away_s = match &view.link {
            EngineLink::Away(since, _) => Some(since.elapsed().as_secs_f64()),
            _ => None,
        };
        let front = |(name, report): (&String, &FrontReport)| {
            let presence = report.presence.clone()?;
            let is_same = presence.digest == *digest && presence.version == env!("CARGO_PKG_VERSION");
            Some(FrontOfFleet {
                front: name.clone(),
                version: presence.version,
                digest: presence.digest,
                is_same,
                generation: presence.generation,
                cut_off: presence.cut_off,
                cookie_secrets: presence.secrets,
                revision: report.ack.revision,
                is_current: report.ack.revision >= view.revision,
                refused: report.ack.refused.clone(),
            })
        };
        Self {
            front: view.front.clone(),
            engine: engine.into(),
            detail,
            away_s,
            votes_count: view.is_fresh,
            cut_off: votes.is_cut_off,
            digest: digest.clone(),
            revision: view.revision,
            fronts: view.fronts.iter().filter_map(front).collect(),
            words: view.words,
            cookie_secret: view.made.as_ref().map(|made| made.fingerprint.clone()),
            cookie_secret_by: view.made.as_ref().map(|made| made.by.clone()),
            pending: view.pending,
            faults: view.faults.clone(),
            faulty: view.faulty,
            writes: view.writes,
        }
    }

    /// Lists what somebody should look at, as kind and sentence.
    #[must_use]
    pub fn alarms(&self) -> Vec<(&'static str, String)> {
        let mut alarms = Vec::new();
        if let Some(away_s) = self.away_s {
            let alone = if self.votes_count { "" } else { "; this front goes by its own probes" };
            let why = &self.detail;
            alarms.push(("fleet-away", format!("the fleet's engine is away for {}: {why}{alone}", text::age(away_s))));
        }
        if self.engine == "displaced" {
            let front = &self.front;
            let message = format!(
                "another front is called {front}, too: this one tells the fleet nothing until one of them is renamed"
            );
            alarms.push(("fleet-name", message));
        }
        if self.cut_off {
            let message =
                "this front sees most Sites otherwise than all others: it is cut off, and holds by what they see";
            alarms.push(("fleet-cut-off", message.to_owned()));
        }
        if !self.faults.is_empty() {
            let shown: Vec<String> =
                self.faults.iter().take(FAULTS_SHOWN).map(|(key, why)| format!("{key} ({why})")).collect();
            let count = self.faults.len();
            alarms.push(("fleet-value", format!("values of the fleet are ignored, {count}: {}", shown.join(", "))));
        }
        for front in &self.fronts {
            if !front.is_same {
                let (name, of) = (&front.front, &self.front);
                let message = format!(
                    "{name} has another configuration or version ({} {}) than {of} ({} {})",
                    front.version,
                    front.digest,
                    env!("CARGO_PKG_VERSION"),
                    self.digest
                );
                alarms.push(("fleet-drift", message));
            }
            if front.cut_off && front.front != self.front {
                alarms.push(("fleet-cut-off", format!("{} says that it is cut off", front.front)));
            }
            for (site, why) in &front.refused {
                alarms.push(("fleet-refused", format!("{} does not do what is said of {site}: {why}", front.front)));
            }
        }
        alarms.extend(self.secret_alarms().map(|message| ("fleet-secret", message)));
        alarms
    }

    /// Fronts that do not accept cookies which others make.
    fn secret_alarms(&self) -> impl Iterator<Item = String> {
        let shared = || self.fronts.iter().filter(|front| !front.cookie_secrets.is_empty());
        let made = shared().filter_map(|front| Some((front.cookie_secrets.first()?, format!("{} makes", front.front))));
        let said = self.cookie_secret.iter().map(|secret| (secret, "the fleet is to make".to_owned()));
        let mut makers: BTreeMap<&String, String> = made.collect();
        makers.extend(said);
        makers.into_iter().flat_map(move |(secret, who)| {
            let lacking = shared().filter(move |front| !front.cookie_secrets.contains(secret));
            lacking.map(move |front| {
                format!(
                    "{} does not accept cookies of {secret}, which {who}: bring all fronts the same cookie_secret_file",
                    front.front
                )
            })
        })
    }

    /// Lines for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = String::new();
        let engine = if self.engine == "connected" {
            format!("etcd {}", self.detail)
        } else {
            format!("engine {}", self.engine)
        };
        let pending = if self.pending > 0 { format!(", {} to be told", self.pending) } else { String::new() };
        let count = self.fronts.len();
        let _ =
            writeln!(page, "fleet: {} of {count} fronts, {engine}, words of {} Sites{pending}", self.front, self.words);
        for front in &self.fronts {
            let mut notes = Vec::new();
            notes.push(format!("plan {}", front.generation));
            notes.push(if front.is_current {
                "has all words".into()
            } else {
                format!("behind, at {} of {}", front.revision, self.revision)
            });
            if !front.is_same {
                notes.push(format!("another configuration or version ({} {})", front.version, front.digest));
            }
            if front.cut_off {
                notes.push("CUT OFF".into());
            }
            notes.extend(front.refused.iter().map(|(site, why)| format!("{site}: {why}")));
            let _ = writeln!(page, "  {}: {}", front.front, notes.join(", "));
        }
        page.lines().map(|line| text::printable(line) + "\n").collect()
    }
}

/// The alarms of a fleet, in words that stay the same while they last.
#[must_use]
pub(crate) fn lasting_alarms(fleet: &FleetSnapshot) -> Vec<(&'static str, String)> {
    let mut alarms = FleetPage::of(fleet).alarms();
    for (_, message) in alarms.iter_mut().filter(|(kind, _)| *kind == "fleet-away") {
        "the fleet's engine is away".clone_into(message);
    }
    alarms
}

/// Votes on one address; none where the front is alone.
#[must_use]
pub fn votes(snapshot: &Snapshot, site: SiteId, address: usize) -> Vec<VotePage> {
    let Some(fleet) = &snapshot.fleet else { return Vec::new() };
    let of = &snapshot.model.sites[site.0];
    let votes = fleet.votes.on(&fleet.view.front, site, address).into_iter();
    votes
        .map(|(front, health, counts)| VotePage { front, health: labels::health_word(of, health).into(), counts })
        .collect()
}

/// The fleet that this front is in.
#[utoipa::path(
    get,
    path = "/v1/fleet",
    tag = "read",
    responses(
        (status = 200, body = FleetPage),
        (status = 404, description = "This front is in no fleet", body = ErrorBody),
    )
)]
pub(super) async fn fleet(_: Plain, State(shared): State<HandlerState>) -> Response {
    let Some(page) = FleetPage::new(&shared.state().snapshot()) else {
        return no_fleet();
    };
    Json(page).into_response()
}

/// The answer where there is no page of a fleet.
pub(super) fn no_fleet() -> Response {
    let message = "this front meets no others: there is no [fleet] of kind \"etcd\" in its configuration".into();
    (StatusCode::NOT_FOUND, Json(ErrorBody { error: "no-fleet".into(), message })).into_response()
}
