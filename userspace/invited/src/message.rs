//! Messages of a channel between an application server and a worker. Each is one JSON object; those of the worker stand on a
//! line each.

use serde::{Deserialize, Serialize};

/// The path at which channels are opened; a channel's own is below it.
pub const INVITE_PATH: &str = "/v1/invite";
/// Bytes of a message of an application server, at most.
pub const MESSAGE_MAX: usize = 4096;
/// Bytes of a line of a worker, at most.
pub const LINE_MAX: usize = 64 * 1024;

/// A line of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum InviteEvent {
    /// The first.
    Welcome(InviteWelcome),
    /// One each beat interval: the worker lives.
    Beat,
    /// The last: the worker closes the channel, and why.
    Bye {
        /// The reason, in words.
        why: String,
    },
}

/// The worker's part of the agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteWelcome {
    /// The name of this channel: signals go to `/v1/invite/CHANNEL`.
    pub channel: String,
    /// The worker's own name.
    pub worker: String,
    /// From one beat to the next, in either direction, milliseconds.
    pub beat_ms: u64,
    /// Without a beat for so long the other end counts as stopped, milliseconds.
    pub stall_ms: u64,
    /// The other workers.
    pub workers: Vec<OtherWorker>,
}

/// Another worker, where a session goes on when this one has stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherWorker {
    /// Its name.
    pub name: String,
    /// Where it takes invitations.
    pub url: String,
}

/// A signal of the application server. Every one is a beat, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InviteSignal {
    /// So many more requests may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Nothing but that it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat: Option<bool>,
    /// A session that it has, and that the worker is to take over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// The worker's answer to a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAnswer {
    /// Requests that the worker may still send.
    pub credits: u32,
    /// The session that was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionTaken>,
}

/// A session that a worker has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTaken {
    /// Its ID.
    pub id: String,
    /// The tag of its data; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Bytes of its data.
    #[serde(default)]
    pub bytes: usize,
}
