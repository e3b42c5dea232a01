//! Hooks on the status page.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text;
use zerottl_hooks::HookCounts;

/// One hook, since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HookPage {
    /// Its name.
    pub name: String,
    /// Events that it took.
    pub delivered: u64,
    /// Events that were given up, all attempts used up.
    pub failed: u64,
    /// Events that were dropped because too many waited.
    pub dropped: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Events that wait now.
    pub waiting: u64,
    /// The reason why the newest attempt failed; none if it went well.
    pub last_error: Option<String>,
}

impl HookPage {
    pub(super) fn new(counts: &HookCounts) -> Self {
        let HookCounts { name, delivered, failed, dropped, failures, waiting, last_error } = counts.clone();
        Self { name, delivered, failed, dropped, failures, waiting, last_error }
    }
}

/// Returns a line for each hook that has trouble; empty where none has.
#[must_use]
pub(super) fn to_text(hooks: &[HookPage]) -> String {
    let mut page = String::new();
    for hook in hooks {
        let HookPage { name, failed, dropped, waiting, last_error, .. } = hook;
        if let Some(error) = last_error {
            let line = format!("hook {name}: {waiting} events wait, {failed} given up, {dropped} dropped: {error}");
            // Writing to a string cannot fail.
            let _ = writeln!(page, "{}", text::printable(&line));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trouble_is_told() {
        let good = HookPage { name: "good".into(), delivered: 7, failed: 1, ..HookPage::default() };
        let dead = HookPage { name: "dead".into(), waiting: 3, last_error: Some("status 500".into()), ..good.clone() };
        assert_eq!(to_text(&[good, dead]), "hook dead: 3 events wait, 1 given up, 0 dropped: status 500\n");
    }
}
