//! Remarks for people that an assessment makes besides the status.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{minimums::Alarm, overrides::Override, status::AdminState};

/// The newest request that was refused for a pool's minimum.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedOverride {
    /// When.
    pub at: Instant,
    /// The request, and why it was not carried out, in words.
    pub text: String,
}

/// A Site that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until when, if it stays up.
    pub until: Instant,
    /// Its failures in a row.
    pub failures: u32,
}

/// The remarks for people that the assessor makes besides its [`Assessment`](crate::status::Assessment).
/// Positions are the model's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Admin states in force, by Site.
    pub states: BTreeMap<usize, Override<AdminState>>,
    /// Weights in force that are not the configured ones, by Site.
    pub weights: BTreeMap<usize, Override<u32>>,
    /// Sites held back, by Site; also those answered all the same.
    pub holds: BTreeMap<usize, Hold>,
    /// Addresses whose health is what was known before the restart, as (Site, address).
    pub recalled: Vec<(usize, usize)>,
    /// The alarms that should be looked at.
    pub alarms: Arc<[Alarm]>,
    /// The newest refusal.
    pub refusal: Option<RefusedOverride>,
    /// Requests refused since the start.
    pub refusals: u64,
}
