//! Remarks for people that an assessment makes besides the status.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    alarms::Alarm,
    overrides::Override,
    statements::HealthStatement,
    status::{AdminState, Health},
};

/// The statement of an address's health that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementRemark {
    /// The newest that has not expired, else the newest.
    pub statement: Arc<HealthStatement>,
    /// Whether it has expired.
    pub is_expired: bool,
    /// Whether the address's health is what it is by it.
    pub decides: bool,
    /// That health.
    pub health: Health,
    /// Since when.
    pub since: Instant,
}

impl StatementRemark {
    /// Says in words who stated what.
    #[must_use]
    pub fn cause(&self) -> String {
        let HealthStatement { up, by, reason, .. } = &*self.statement;
        if self.is_expired {
            return format!("what {by} stated has expired");
        }
        let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        format!("stated to be {} by {by}{reason}", if *up { "up" } else { "down" })
    }
}

/// Those of all addresses, by Site and address.
pub type StatementRemarks = BTreeMap<(usize, usize), StatementRemark>;

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
    /// Sites that have gone down and stay out until `ready`, and since when, by Site.
    pub out: BTreeMap<usize, Instant>,
    /// Addresses whose health is what was known before the restart, as (Site, address).
    pub recalled: Vec<(usize, usize)>,
    /// Statements of health from outside, by Site and address.
    pub statements: Arc<StatementRemarks>,
    /// The alarms that should be looked at.
    pub alarms: Arc<[Alarm]>,
    /// The newest refusal.
    pub refusal: Option<RefusedOverride>,
    /// Requests refused since the start.
    pub refusals: u64,
}
