//! Events of assessments that the operator's log should have. Whoever assesses writes them there.

use std::{fmt, net::IpAddr};

use crate::alarms::Turn;

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
    /// A Site has gone down and does not come back by itself.
    StaysOut {
        /// The Site's key.
        site: String,
    },
    /// The override of a Site that the new model does not have is not kept.
    Forgotten {
        /// The Site's key.
        site: String,
    },
    /// The health of an address is stated from outside, otherwise than before.
    Stated {
        /// The Site's key.
        site: String,
        /// The address, as it is answered.
        address: IpAddr,
        /// Whether it is up.
        up: bool,
        /// The name of who states it.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// A statement of health has expired, or was taken back.
    StatementExpired {
        /// The Site's key.
        site: String,
        /// The address, as it is answered.
        address: IpAddr,
        /// The health that was stated.
        up: bool,
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
            Self::StaysOut { .. } => f.write_str("has gone down: stays out until somebody says `ready` of it"),
            Self::Forgotten { .. } => f.write_str("its override is forgotten: there is no such Site any more"),
            Self::Stated { address, up, by, reason, .. } => {
                write!(f, "{address} is stated to be {} by {by}", up_word(*up))?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::StatementExpired { address, up, .. } => {
                write!(f, "the statement that {address} is {} has expired or was taken back", up_word(*up))
            }
            Self::Alarm { turn: Turn::Begun, text } => write!(f, "alarm: {text}"),
            Self::Alarm { turn: Turn::Changed, text } => write!(f, "alarm changed: {text}"),
            Self::Alarm { turn: Turn::Over, text } => write!(f, "alarm over: {text}"),
        }
    }
}

fn up_word(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}
