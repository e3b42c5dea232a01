//! The reports of one Site so far: figures, the state that it wants, and whether it works.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::status::{AdminState, Load};

/// Whether a Site works, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
