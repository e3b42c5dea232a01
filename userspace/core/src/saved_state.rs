//! The state that a restart should know, by Site key: health, overrides and flaps.
//!
//! Everything in it is relative to when it was written: an age, or what is left of a duration.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::status::AdminState;

/// Whole milliseconds of a duration, at most as many as fit.
#[must_use]
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The saved state of all Sites. Sites of which there is nothing to keep are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// By Site key.
    pub sites: BTreeMap<String, SavedSite>,
}

/// The saved state of one Site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedSite {
    /// By answered address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<IpAddr, SavedHealth>,
    /// The admin state that the operator has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<SavedOverride<AdminState>>,
    /// The operator's weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<SavedOverride<u32>>,
    /// That it stays out until somebody says `ready` of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback: Option<SavedFailback>,
    /// Statements of its addresses' health from outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stated: Vec<SavedStatement>,
    /// Its failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaps: Option<SavedFlaps>,
}

impl SavedSite {
    /// Describes what was said of the Site, or decided of it, in words; none if there is only health, which is found
    /// again.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let mut said = Vec::new();
        if let Some(order) = self.word.as_ref().filter(|order| order.what != AdminState::Ready) {
            said.push(format!("the override `{}` (by {})", order.what.as_str(), order.by));
        }
        if let Some(order) = &self.weight {
            said.push(format!("the weight {} (by {})", order.what, order.by));
        }
        if let Some(flaps) = self.flaps.filter(|flaps| flaps.in_a_row > 0) {
            said.push(format!("the hold-down after {} failures in a row", flaps.in_a_row));
        }
        if self.failback.is_some() {
            said.push("its staying out until `ready`".into());
        }
        (!said.is_empty()).then(|| said.join(" and "))
    }
}

/// The verdict on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHealth {
    /// Whether it was up.
    pub up: bool,
    /// When the file was written, how long ago the probes last stood by it, milliseconds.
    pub age_ms: u64,
}

/// A statement of an address's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStatement {
    /// The address, as it is answered.
    pub address: IpAddr,
    /// Whether it stood in the file of `[health]`.
    pub from_file: bool,
    /// Whether the address was up.
    pub up: bool,
    /// The person or program that stated it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// How old it was when the file was written, milliseconds.
    pub age_ms: u64,
    /// When it was said by the wall clock, milliseconds since 1970; only shown.
    pub at_wall_ms: u64,
    /// The rest of its time when the file was written, milliseconds; none if it has no end.
    pub left_ms: Option<u64>,
}

/// A Site's having gone down, where it does not come back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFailback {
    /// How long ago that was when the file was written, milliseconds.
    pub age_ms: u64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOverride<T> {
    /// The value that is set.
    pub what: T,
    /// The person or program that set it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// How old it was when the file was written, milliseconds.
    pub age_ms: u64,
    /// When it was said by the wall clock, milliseconds since 1970; only shown.
    pub at_wall_ms: u64,
    /// The rest of its duration when the file was written, milliseconds; none if it has no end.
    pub left_ms: Option<u64>,
    /// Whether it was said against a minimum.
    pub forced: bool,
}

/// A Site's [`Flaps`](crate::damping::Flaps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFlaps {
    /// Failures in a row.
    pub in_a_row: u32,
    /// For how long it had been up when the file was written, milliseconds; none if it was not.
    pub up_ms: Option<u64>,
}
