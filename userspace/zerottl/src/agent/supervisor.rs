//! Notes to the supervisor (`sd_notify(3)`).

use sd_notify::NotifyState;
use tracing::warn;

/// Tells the supervisor a state of the agent.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        warn!("telling the supervisor failed: {error}");
    }
}
