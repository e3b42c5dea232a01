//! The state of a worker's invitations, for people and metrics.

use serde::{Deserialize, Serialize};

/// The state of a worker's invitations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InvitePage {
    /// The application servers that have a channel.
    pub servers: Vec<InvitedServerPage>,
    /// Requests that wait for a credit.
    pub waiting: usize,
    /// Sessions of which it is known which server has them.
    pub sessions: usize,
    /// Channels opened since the start.
    pub opened: u64,
    /// Channels closed because nothing came from their server.
    pub stalls: u64,
    /// Requests that took a credit.
    pub granted: u64,
    /// Those of all requests that had to wait for one.
    pub waited: u64,
    /// Requests that waited in vain.
    pub expired: u64,
    /// Requests refused because as many waited as may.
    pub full: u64,
    /// Sessions taken over because their server named them.
    pub takeovers: u64,
    /// Sessions that a server named and that could not be had. Those that are over are none of them.
    pub takeover_failures: u64,
}

/// The state of an application server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InvitedServerPage {
    /// Its name.
    pub name: String,
    /// Where it is asked.
    pub url: String,
    /// Requests that it still takes.
    pub credits: u32,
    /// Requests that it was sent over this channel.
    pub requests: u64,
    /// Since when nothing was heard of it, seconds.
    pub silent_s: f64,
    /// Sessions that it has.
    pub sessions: usize,
}
