//! Events of assessments as lines of the log, each with the Site that it is about.

use tracing::{error, info, warn};

use zerottl_core::{alarms::Turn, assess::event::AssessorEvent};

/// Writes a line for each event.
pub fn write(events: Vec<AssessorEvent>) {
    for event in events {
        match &event {
            AssessorEvent::Lapsed { site, .. } => info!(site, "{event}"),
            AssessorEvent::HeldBack { site, failures } => warn!(site, failures, "{event}"),
            AssessorEvent::Stated { site, up: false, .. } | AssessorEvent::StatementExpired { site, up: true, .. } => {
                warn!(site, "{event}");
            }
            AssessorEvent::Stated { site, .. } | AssessorEvent::StatementExpired { site, .. } => info!(site, "{event}"),
            AssessorEvent::Forgotten { site } | AssessorEvent::StaysOut { site } => warn!(site, "{event}"),
            AssessorEvent::Alarm { turn: Turn::Over, .. } => info!("{event}"),
            AssessorEvent::Alarm { .. } => error!("{event}"),
        }
    }
}
