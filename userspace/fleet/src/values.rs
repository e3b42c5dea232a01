//! The values under those keys, as JSON. One that does not parse, or is too long, is a fault that is told and ignored.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use zerottl_core::{
    overrides::{self, OverrideRequest, OverrideValue},
    saved_state::ms,
    site_load::Report,
    statements::{HealthStatement, StatementSource},
    status::AdminState,
};

/// Bytes of a value, at most; of a front's answers, which may be of many Sites, [`ANSWERS_LEN_MAX`].
pub(crate) const VALUE_LEN_MAX: usize = 64 << 10;
/// Bytes of a front's answers, at most.
pub(crate) const ANSWERS_LEN_MAX: usize = 1 << 20;
/// Characters of a name of who says something, at most.
const BY_LEN_MAX: usize = 100;
/// Refusals that a front tells of, at most.
const REFUSED_MAX: usize = 100;
/// Characters of one, at most.
const REFUSED_LEN_MAX: usize = 500;

/// Said of a Site by an operator, and not yet said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said<T> {
    /// Chosen when it is said: by it a front knows what it has taken over.
    pub id: u64,
    /// The state or the weight.
    pub what: T,
    /// The name of who said it, and where.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, by the clock of the front that took it, milliseconds since 1970.
    pub at_ms: u64,
    /// For how long from then on; none is until something else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
    /// Whether it holds against minimums, too.
    #[serde(default)]
    pub force: bool,
}

/// All that is said of a Site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Said<AdminState>>,
    /// Its weight; none within is the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Said<Option<u32>>>,
}

impl<T> Said<T> {
    /// Returns the request that it makes, `age` after it was said; none where it has lapsed.
    fn request(&self, site: &str, value: OverrideValue, age: Duration) -> Option<OverrideRequest> {
        let lasts = self.lasts_ms.map(|lasts| Duration::from_millis(lasts).saturating_sub(age));
        // Less than a second is not worth a word, and is none that an operator could say.
        if lasts.is_some_and(|left| left < Duration::from_secs(1)) {
            return None;
        }
        let request = OverrideRequest {
            target: site.to_owned(),
            value,
            by: self.by.clone(),
            reason: self.reason.clone(),
            lasts,
            force: self.force,
            at_wall_ms: self.at_ms,
        };
        // Whatever wrote it: what could not be said here is nothing here.
        overrides::checked(request).ok()
    }
}

impl Words {
    /// Returns its requests, `age` after they were said: id and request of each part that has not lapsed.
    pub(crate) fn requests(&self, site: &str, age: impl Fn(u64) -> Duration) -> Vec<(u64, OverrideRequest)> {
        let state = self
            .state
            .as_ref()
            .and_then(|said| Some((said.id, said.request(site, OverrideValue::State(said.what), age(said.at_ms))?)));
        let weight = self
            .weight
            .as_ref()
            .and_then(|said| Some((said.id, said.request(site, OverrideValue::Weight(said.what), age(said.at_ms))?)));
        state.into_iter().chain(weight).collect()
    }

    /// Puts a request in the place of what was said before of the same kind.
    pub(crate) fn say(&mut self, id: u64, request: &OverrideRequest) {
        fn said<T>(id: u64, what: T, request: &OverrideRequest) -> Said<T> {
            Said {
                id,
                what,
                // As long as a name may be where it is read.
                by: request.by.chars().take(BY_LEN_MAX).collect(),
                reason: request.reason.clone(),
                at_ms: request.at_wall_ms,
                lasts_ms: request.lasts.map(ms),
                force: request.force,
            }
        }
        match request.value {
            OverrideValue::State(state) => self.state = Some(said(id, state, request)),
            OverrideValue::Weight(weight) => self.weight = Some(said(id, weight, request)),
        }
    }
}

/// A front that lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Chosen at its start: two that are called the same differ in it.
    pub instance: u64,
    /// The digest of its configuration.
    pub digest: String,
    /// Its version of zerottl.
    pub version: String,
    /// Fingerprints of the secrets whose cookies it accepts, the one that it makes cookies with first; empty where they are nobody
    /// else's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Its newest plan.
    pub generation: u64,
    /// Whether it finds itself cut off: its votes do not count.
    #[serde(default)]
    pub cut_off: bool,
}

/// A statement from outside of an address's health, as a front took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldStatement {
    /// The front.
    pub front: String,
    /// Whether the address is up.
    pub up: bool,
    /// The name of who stated it, and where.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, by the clock of that front, milliseconds since 1970.
    pub at_ms: u64,
    /// For how long from then on; none is until something else is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
}

impl ToldStatement {
    /// Makes the statement of it, which came when it was `seen`, or is as old as the wall clock says.
    pub(crate) fn statement(self, seen: Option<Instant>) -> HealthStatement {
        let now = Instant::now();
        let by_wall = || {
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms);
            now.checked_sub(Duration::from_millis(wall.saturating_sub(self.at_ms))).unwrap_or(now)
        };
        let at = seen.unwrap_or_else(by_wall);
        HealthStatement {
            source: StatementSource::Interface,
            up: self.up,
            by: self.by,
            reason: self.reason,
            at,
            at_wall_ms: self.at_ms,
            until: self.lasts_ms.and_then(|lasts| at.checked_add(Duration::from_millis(lasts))),
        }
    }
}

/// The secret of server cookies that all fronts are to make theirs with. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeSecret {
    /// Its fingerprint.
    pub fingerprint: String,
    /// The name of who said so, and where.
    pub by: String,
    /// When, by the clock of the front that took it, milliseconds since 1970.
    pub at_ms: u64,
}

/// The words that a front has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The revision of the newest word that it has taken over or refused.
    pub revision: i64,
    /// By Site: why a word is not in force there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, String>,
}

impl Ack {
    /// Cuts what is too much to be told.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        while self.refused.len() > REFUSED_MAX {
            self.refused.pop_last();
        }
        for why in self.refused.values_mut().filter(|why| why.len() > REFUSED_LEN_MAX) {
            *why = why.chars().take(REFUSED_LEN_MAX).collect();
        }
        self
    }
}

/// Answers that a front has given since it last said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// Counts what a front says.
    pub seq: u64,
    /// Answers by Site.
    pub sites: BTreeMap<String, u64>,
}

/// A Site's load report, as a front has learned it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearnedReport {
    /// The front.
    pub front: String,
    /// When, by its clock, milliseconds since 1970: to one that was not watching then.
    pub at_ms: u64,
    /// The report.
    pub report: Report,
}

/// A verdict, as a value.
pub(crate) fn vote(text: &[u8]) -> Option<bool> {
    match text {
        b"up" => Some(true),
        b"down" => Some(false),
        _ => None,
    }
}
