//! Events of assessments that the operator's log should have. Whoever assesses writes them there.

use std::fmt;

use crate::minimums::Turn;

/// An event of an assessment, or of its going on with another model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssessorEvent {
    /// An override has come to its end.
    Lapsed {
        /// The Site's key.
        site: String,
        /// The state, or that it was a weight.
        what: &'static str,
    },
    /// A Site keeps flapping and is held back.
    HeldBack {
        /// The Site's key.
        site: String,
        /// Its failures in a row.
        failures: u32,
    },
    /// The override of a Site that the new model does not have is not kept.
    Forgotten {
        /// The Site's key.
        site: String,
    },
    /// An alarm has begun, changed or ended.
    Alarm {
        /// The kind of change.
        turn: Turn,
        /// The alarm as a sentence.
        text: String,
    },
}

impl fmt::Display for AssessorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lapsed { what, .. } => write!(f, "{what} has lapsed"),
            Self::HeldBack { .. } => f.write_str("keeps flapping: held back"),
            Self::Forgotten { .. } => f.write_str("its override is forgotten: there is no such Site any more"),
            Self::Alarm { turn: Turn::Begun, text } => write!(f, "alarm: {text}"),
            Self::Alarm { turn: Turn::Changed, text } => write!(f, "alarm changed: {text}"),
            Self::Alarm { turn: Turn::Over, text } => write!(f, "alarm over: {text}"),
        }
    }
}
