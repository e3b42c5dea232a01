//! The reports of one Site so far: figures, the state that it wants, and whether it works.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::status::{AdminState, Load};

/// The largest figure: sums and quotients of figures stay numbers.
pub const FIGURE_MAX: f64 = 1e15;
/// The smallest capacity or target.
pub const FIGURE_MIN: f64 = 1e-6;
/// Bytes of a Site's own words that another front hands on, at most.
const NOTE_MAX: usize = 4096;

/// Whether a Site works, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportedCondition {
    /// It does, if its probes say so, too.
    #[default]
    Up,
    /// It does not.
    Down,
    /// It runs and does not work.
    Fail,
    /// It was stopped on purpose.
    Stopped,
}

impl ReportedCondition {
    /// The word of the agent check's grammar.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Fail => "fail",
            Self::Stopped => "stopped",
        }
    }
}

/// The report of a Site at one moment. What it leaves out, it does not change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Its load now, 0 to [`FIGURE_MAX`].
    pub current: Option<f64>,
    /// Where it should be at most, [`FIGURE_MIN`] to [`FIGURE_MAX`].
    pub target: Option<f64>,
    /// Where it can take no more, in the same range.
    pub capacity: Option<f64>,
    /// Sessions that it has, 0 to [`FIGURE_MAX`].
    pub sessions: Option<f64>,
    /// When it made the report, by its own clock, seconds: only tells one report from another.
    pub at: Option<f64>,
    /// Of its weight, what it wants: 1 is all of it, 0 no new clients.
    pub factor: Option<f64>,
    /// The state that it wants for itself.
    pub admin_state: Option<AdminState>,
    /// Whether it works, as it says.
    pub condition: Option<ReportedCondition>,
    /// The text in its own words besides that.
    #[serde(with = "arc_text", skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// The part of it that was not understood, while the rest was.
    #[serde(skip)]
    pub slip: Option<Arc<str>>,
    /// Connections that it takes, at most; 0 is without a bound.
    pub maxconn: Option<u64>,
}

impl Report {
    /// Whether it has figures and says nothing else of the Site: what a body of JSON, a push and a header are.
    #[must_use]
    pub fn is_figures(&self) -> bool {
        self.current.is_some() && self.admin_state.is_none() && self.condition.is_none() && self.factor.is_none()
    }

    /// Whether every figure is within its range, wherever the report comes from.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let within =
            |figure: Option<f64>, least: f64| figure.is_none_or(|figure| (least..=FIGURE_MAX).contains(&figure));
        within(self.current, 0.0)
            && within(self.target, FIGURE_MIN)
            && within(self.capacity, FIGURE_MIN)
            && within(self.sessions, 0.0)
            && within(self.at, 0.0)
            && within(self.factor, 0.0)
            && self.note.as_ref().is_none_or(|note| note.len() <= NOTE_MAX)
    }
}

/// A text that is shared, as a text.
mod arc_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde asks for")]
    pub fn serialize<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Into::into))
    }
}

/// The reports of a Site so far, taken together. What it never spoke of is as if it had said nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteLoad {
    /// Counts the reports that said something new.
    pub news: u64,
    /// When the newest of those came.
    pub received: Option<Instant>,
    /// Its own time of that, seconds.
    pub at: Option<f64>,
    /// Its figures, as reported.
    pub load: Option<Load>,
    /// Sessions that it has.
    pub sessions: Option<f64>,
    /// Of its weight, what it wants.
    pub factor: Option<f64>,
    /// The state that it wants for itself.
    pub admin_state: AdminState,
    /// Whether it works, as it says.
    pub condition: ReportedCondition,
    /// The text in its own words besides these three.
    pub note: Option<Arc<str>>,
    /// Connections that it takes, at most.
    pub maxconn: Option<u64>,
    /// Reports taken, repeated ones too.
    pub reports: u64,
    /// For how long, of the time since then, this machine could not ask: it makes nothing stale.
    pub untried: Duration,
    /// Attempts that failed, and reports that were refused.
    pub failures: u64,
    /// Why the newest attempt or report came to nothing, or what in it did; none if it was understood.
    pub error: Option<Arc<str>>,
}

impl SiteLoad {
    /// Returns the state that what it wants and its condition come to.
    #[must_use]
    pub fn state_in_force(&self) -> AdminState {
        if self.condition == ReportedCondition::Up { self.admin_state } else { AdminState::Maint }
    }

    /// Describes what it says of itself besides figures, such as `drain, 50% (new disks)`; none where that is nothing.
    #[must_use]
    pub fn self_report(&self) -> Option<String> {
        let state = (self.admin_state != AdminState::Ready).then(|| self.admin_state.as_str().to_owned());
        let condition = (self.condition != ReportedCondition::Up).then(|| self.condition.as_str().to_owned());
        let factor = self.factor.filter(|factor| (factor - 1.0).abs() > 1e-9);
        let factor = factor.map(|factor| format!("{:.0}%", factor * 100.0));
        let said: Vec<String> = state.into_iter().chain(condition).chain(factor).collect();
        let note = self.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        (!said.is_empty()).then(|| format!("{}{note}", said.join(", ")))
    }
}
