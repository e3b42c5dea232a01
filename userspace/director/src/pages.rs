//! The bodies of the director's HTTP interface, for both of its ends.
//!
//! | request | body of the answer |
//! |---|---|
//! | `GET /v1/director` | [`DirectorPage`] |
//! | `POST /v1/director/servers/NAME/VERB`, with `drain`, `maint`, `ready` or `restart` for the verb | [`VerbDone`] |
//! | `POST /v1/director/restart`: all, one after the other | [`VerbDone`] |
//! | `GET /v1/director/explain?client=ADDRESS:PORT` | [`ConnectionPage`] |
//!
//! A refusal has a status of 400 and above, and `{"error": WORD, "message": SENTENCE}`.

use serde::{Deserialize, Serialize};

/// The state of a director.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectorPage {
    /// The key of its Site.
    pub site: String,
    /// `weighted-round-robin` or `least-connections`.
    pub policy: String,
    /// Whether the kernel chooses.
    pub kernel: bool,
    /// Something to know about it, such as why the kernel does not choose; a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Addresses and ports where connections are taken.
    pub listen: Vec<String>,
    /// Connections that wait.
    pub waiting: WaitingPage,
    /// Its processes, in the order of the configuration.
    pub servers: Vec<ProcessPage>,
    /// Why servers were chosen, since the programs were loaded.
    #[serde(default)]
    pub reasons: Vec<ChoicesPage>,
}

/// A reason, and how often it was one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChoicesPage {
    /// Its name.
    pub reason: String,
    /// Connections.
    pub count: u64,
}

/// The waiting list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitingPage {
    /// Connections that wait now.
    pub now: u64,
    /// Connections that may wait, at most.
    pub max: u64,
    /// Milliseconds that the first has waited.
    pub oldest_ms: u64,
    /// Connections that had to wait, since the director's start.
    pub total: u64,
    /// Connections that found the list full, since the director's start.
    pub full: u64,
    /// Relayed connections that are open.
    pub relays: u64,
    /// Connections that waited in vain, since the director's start.
    pub timeouts: u64,
    /// Connections whose client left before, since the director's start.
    pub left: u64,
    /// Connections that were handed over to a server after waiting, since the director's start.
    pub served_handover: u64,
    /// Connections that were relayed to a server after waiting, since the director's start.
    pub served_relay: u64,
}

/// A process of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessPage {
    /// The process's name, such as `app-1`.
    pub name: String,
    /// The server's name, such as `app`.
    pub server: String,
    /// `ready`, `starting`, `drain`, `maint`, `down`, `hung` or `backoff`.
    pub state: String,
    /// Its process id; none if there is no process.
    pub pid: Option<u32>,
    /// Its slot in the kernel's table; none if it has none.
    pub slot: Option<u32>,
    /// Its share; with `slow_start` that of this moment.
    pub weight: u32,
    /// Open connections, those of processes that are being replaced included.
    pub live: u64,
    /// Of these, those of processes that finish them and end.
    pub finishing: u64,
    /// Work that it has by its own word; none if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Places that are reserved for connections whose handshake goes on.
    pub reserved: u64,
    /// Connections at a time; none is without a limit.
    pub max_connections: Option<u32>,
    /// Connections assigned to it by the kernel, since its start.
    pub assigned: u64,
    /// Connections handed over to it, since its start.
    pub handed_over: u64,
    /// Connections relayed to it, since its start.
    pub relayed: u64,
    /// Starts after the first, since the director's start.
    pub restarts: u64,
    /// Seconds since its process was started; 0 without one.
    pub since_s: f64,
    /// The reason for the state; empty for one that is as configured.
    #[serde(default)]
    pub why: String,
}

/// The result of a verb.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbDone {
    /// Names of the processes concerned.
    pub servers: Vec<String>,
    /// Something to know about it, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The explanation of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPage {
    /// The client's address and port.
    pub client: String,
    /// The process that has the connection; none if nothing is known about it, or it waits.
    pub server: Option<String>,
    /// Sentences, from the first step on.
    pub why: Vec<String>,
}

/// The load report that agents poll, in connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DirectorLoad {
    /// Connections that servers have, and those that wait.
    pub current: u64,
    /// Connections that the servers that are ready take together; none where one has no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// When, seconds since 1970.
    pub at: f64,
}

impl DirectorPage {
    /// Makes the load report; `at` is in seconds since 1970.
    #[must_use]
    pub fn load(&self, at: f64) -> DirectorLoad {
        let live: u64 = self.servers.iter().map(|server| server.live).sum();
        let ready = self.servers.iter().filter(|server| server.state == "ready");
        let capacity = ready.map(|server| server.max_connections.map(u64::from)).sum::<Option<u64>>();
        DirectorLoad { current: live + self.waiting.now, capacity: capacity.filter(|all| *all > 0), at }
    }
}
