//! Counters of both paths and of planning, as they are at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use zerottl_dns::forward::{
    lanes::{Lane, Lanes},
    upstreams::Upstream,
};

/// Where counts come from: the kernel's per packet, and the socket path's own.
pub(crate) trait CounterSource: Send + Sync {
    /// Packets the XDP program has seen: the reason, what was done (`answer`, `drop` or `pass`), how many. Every reason
    /// once, zeros too; empty without an XDP program.
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)>;

    /// Returns what the socket path has seen.
    fn socket(&self) -> SocketCounts;

    /// How often each of the plan's endpoints was answered, by either path, since the configuration was loaded.
    fn answers(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Returns what the planning rounds have done.
    fn work(&self) -> PlanningCounts {
        PlanningCounts::default()
    }
}

/// Counts of what the planning rounds have done since the agent's start. What they cost hangs on the
/// configuration and on how often something changes, not on how much has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkPage)]
pub struct PlanningCounts {
    /// Rounds, each of which assesses everything.
    pub rounds: u64,
    /// Rounds that made a plan, because something had changed.
    pub plans: u64,
    /// Bytes of plans written into the program's maps.
    pub written_bytes: u64,
    /// CPU time of rounds, planning and publishing included, seconds.
    pub cpu_s: f64,
}

/// Counts of the socket path since the agent's start, and one of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SocketPage)]
pub struct SocketCounts {
    /// Queries received, by transport: `udp`, `tcp`.
    pub queries: BTreeMap<String, u64>,
    /// Answers made, by rcode.
    pub answers: BTreeMap<String, u64>,
    /// Other events: `dropped`, `truncated`, `send-errors`, `tcp-refused`, `tcp-timed-out`.
    pub events: BTreeMap<String, u64>,
    /// TCP connections open now.
    pub tcp_open: u64,
    /// Forward names, in the configuration's order.
    #[serde(default)]
    pub forwards: Vec<ForwardCounts>,
    /// The servers that their queries go to, by address.
    #[serde(default)]
    pub upstreams: Vec<UpstreamCounts>,
}

/// One forward name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ForwardPage)]
pub struct ForwardCounts {
    /// The name.
    pub name: String,
    /// Upstreams that are asked for it, in the configuration's order; see [`UpstreamCounts`].
    pub upstreams: Vec<String>,
    /// Queries that wait for them now.
    pub waiting: u64,
    /// Queries that got SERVFAIL because too many waited.
    pub refused: u64,
    /// Queries that got SERVFAIL because no upstream gave a useful answer.
    pub failed: u64,
}

/// A server that queries are forwarded to, for whatever names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UpstreamPage)]
pub struct UpstreamCounts {
    /// Its address and port.
    pub upstream: String,
    /// Whether it is asked before others are. One that is down gets a copy of a query now and then.
    pub up: bool,
    /// How long it has been down, seconds.
    pub down_s: Option<u64>,
    /// Smoothed time that its answers take, microseconds.
    pub rtt_us: Option<u64>,
    /// Queries that wait for it now.
    pub waiting: u64,
    /// Queries sent to it.
    pub queries: u64,
    /// Answers, of whatever rcode.
    pub answers: u64,
    /// Queries that it left without an answer.
    pub unanswered: u64,
    /// Queries that this machine could not send, or looked for the answer of too late.
    pub not_tried: u64,
    /// Answers whose question was spelt in other letter case than the query's.
    pub respelt: u64,
    /// Datagrams that were not the answer: wrong ID, question or sender.
    pub wrong: u64,
}

impl ForwardCounts {
    /// All of them, in the configuration's order.
    #[must_use]
    pub fn all(lanes: &Lanes) -> Vec<Self> {
        let page = |lane: &Lane| Self {
            name: lane.name.to_string(),
            upstreams: lane.upstreams.iter().map(|upstream| upstream.address.to_string()).collect(),
            waiting: lane.waiting(),
            refused: lane.refused(),
            failed: lane.failed(),
        };
        lanes.iter().map(page).collect()
    }
}

impl UpstreamCounts {
    /// All of them, each once.
    #[must_use]
    pub fn all(lanes: &Lanes) -> Vec<Self> {
        lanes.upstreams().iter().map(|upstream| Self::new(upstream)).collect()
    }

    fn new(upstream: &Upstream) -> Self {
        let seen = upstream.seen();
        Self {
            upstream: upstream.address.to_string(),
            up: seen.up,
            down_s: seen.down_for.map(|time| time.as_secs()),
            rtt_us: seen.rtt.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            waiting: seen.waiting,
            queries: seen.queries,
            answers: seen.answers,
            unanswered: seen.unanswered,
            not_tried: seen.not_tried,
            respelt: seen.respelt,
            wrong: seen.wrong,
        }
    }
}
