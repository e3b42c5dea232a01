//! The admin interface: what the agent knows, over HTTP, for operators, the command line and Prometheus.
//!
//! | path                          | what it is                                                        |
//! |-------------------------------|-------------------------------------------------------------------|
//! | `/`                           | the dashboard, one page of HTML                                   |
//! | `/metrics`                    | for Prometheus, names prefixed `zerottl_` ([`metrics`])            |
//! | `/v1/status`                  | JSON: Sites, names, shares, ages, counters ([`status`])            |
//! | `/v1/explain?name=…&type=…&client=…` | JSON: what would be answered now, and why ([`explain`], [`answers`]) |
//! | `/v1/history`                 | JSON: the last ten minutes ([`history`])                          |
//! | `POST /v1/load`               | load reports from Sites ([`load`])                                |
//! | `/v1/trace`                   | events as lines of JSON, until the client goes                    |
//! | `/v1/openapi.json`            | all of this, described ([`openapi`])                              |
//!
//! Every page is a pure function of a [`Snapshot`]; `pages` takes one per request. [`server`] has the list of routes,
//! [`admin_access`](zerottl_core::admin_access) says who may ask, [`listen`] where. [`agent_client`](zerottl_inputs::agent_client) is the command line's side.

pub mod answers;
pub mod asked;
pub mod explain;
pub mod forwards;
pub mod history;
pub mod listen;
pub mod load;
pub mod metrics;
pub mod openapi;
pub mod overrides;
pub mod overview;
mod pages;
pub mod reload;
pub mod server;
pub mod shares;
pub mod standing;
pub mod status;
pub mod text;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests_api;
#[cfg(test)]
mod tests_metrics;
#[cfg(test)]
mod tests_pages;
#[cfg(test)]
mod tests_server;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, watch};
use utoipa::ToSchema;

use self::status::{SocketPage, WorkPage};
use crate::{
    agent::AgentCommand,
    operator::{OverrideHandle, Remarks},
};
use zerottl_core::histogram::{Histogram, PUBLISH_BOUNDS};
use zerottl_core::{
    model::{Model, NameKind, Policy, Site},
    plan::Plan,
    status::Assessment,
};
use zerottl_dns::{Served, view::View};
use zerottl_host::state::keeper::WriteStatus;
use zerottl_inputs::{
    load::{LoadStore, SiteLoad},
    probe::{AddressReport, Reports},
};

/// Where counts come from: the kernel's per packet, and the socket path's own.
pub trait CounterSource: Send + Sync {
    /// Packets the XDP program has seen: the reason, what was done (`answer`, `drop` or `pass`), how many. Every reason
    /// once, zeros too; empty without an XDP program.
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)>;

    /// Returns what the socket path has seen.
    fn socket(&self) -> SocketPage;

    /// How often each of the plan's endpoints was answered, by either path, since the configuration was loaded.
    fn answers(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Returns what the planning rounds have done.
    fn work(&self) -> WorkPage {
        WorkPage::default()
    }
}

/// How the XDP program sits on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attach {
    /// The interface.
    pub interface: String,
    /// `native`, `generic`, or `off` while the program is not there.
    pub mode: String,
    /// Why it is not what was asked for, such as an interface that has gone; empty if it is.
    pub note: String,
}

/// The program on its interfaces, and the machine around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingContext {
    /// One per interface.
    pub attach: Vec<Attach>,
    /// Alarms that somebody should look at.
    pub alarms: Vec<standing::AlarmPage>,
    /// Warnings: what of `[front]` does not fit this machine, or should be known of an interface.
    pub warnings: Vec<String>,
}

/// The newest publication of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publication {
    /// When it was done.
    pub at: Instant,
    /// From the status that caused it to answers being made from it.
    pub took: Duration,
    /// How long each took since the agent's start.
    pub all: Histogram,
}

impl Publication {
    /// One more, done at `at`.
    pub fn record(newest: &mut Option<Self>, at: Instant, took: Duration) {
        let mut all = newest.map_or_else(|| Histogram::new(&PUBLISH_BOUNDS), |newest| newest.all);
        all.observe(took);
        *newest = Some(Self { at, took, all });
    }
}

/// The data that the admin interface reads, and the desk that it hands requests to.
pub struct AdminSources {
    /// The model and the newest plan.
    pub view: Arc<View>,
    /// The zones, as the sockets answer from them.
    pub served: Arc<Served>,
    /// The assessment that the planner last saw.
    pub status: watch::Receiver<Assessment>,
    /// The reports of the probes.
    pub reports: Reports,
    /// The Sites' reports of their load.
    pub board: LoadStore,
    /// Counters of both paths.
    pub counters: Arc<dyn CounterSource>,
    /// The program on its interfaces.
    pub footing: watch::Receiver<ServingContext>,
    /// When plans were published; none before the first.
    pub publication: watch::Receiver<Option<Publication>>,
    /// Events, one JSON object each, without a line end. Makers skip the work while `receiver_count()` is 0.
    pub trace: broadcast::Sender<Arc<str>>,
    /// When the agent started.
    pub started: Instant,
    /// Where the agent takes orders.
    pub orders: mpsc::Sender<AgentCommand>,
    /// Orders, hold-downs, alarms.
    pub remarks: watch::Receiver<Arc<Remarks>>,
    /// Where operators' requests go: the one way in.
    pub desk: OverrideHandle,
    /// The outcome of the newest write of what a restart would know.
    pub kept: watch::Receiver<WriteStatus>,
}

impl fmt::Debug for AdminSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminSources").field("footing", &*self.footing.borrow()).finish_non_exhaustive()
    }
}

impl AdminSources {
    /// All of it at one moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            model: Arc::clone(&self.view.model),
            plan: self.view.plan(),
            status: self.status.borrow().clone(),
            detail: self.reports.snapshot(),
            loads: self.board.read(),
            footing: self.footing.borrow().clone(),
            reasons: self.counters.reasons(),
            socket: self.counters.socket(),
            work: self.counters.work(),
            answers: self.counters.answers(),
            publication: *self.publication.borrow(),
            started: self.started,
            remarks: Arc::clone(&self.remarks.borrow()),
            kept: self.kept.borrow().clone(),
            now: Instant::now(),
        }
    }
}

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The configuration.
    pub model: Arc<Model>,
    /// The newest plan.
    pub plan: Arc<Plan>,
    /// The newest status.
    pub status: Assessment,
    /// By Site and address, as in the model.
    pub detail: Vec<Vec<AddressReport>>,
    /// The reports of each Site on its load.
    pub loads: Vec<SiteLoad>,
    /// The program on its interfaces.
    pub footing: ServingContext,
    /// As [`CounterSource::reasons`].
    pub reasons: Vec<(&'static str, &'static str, u64)>,
    /// As [`CounterSource::socket`].
    pub socket: SocketPage,
    /// As [`CounterSource::work`].
    pub work: WorkPage,
    /// As [`CounterSource::answers`].
    pub answers: Vec<u64>,
    /// The newest publication.
    pub publication: Option<Publication>,
    /// When the agent started.
    pub started: Instant,
    /// The newest remarks.
    pub remarks: Arc<Remarks>,
    /// The outcome of the newest write of what a restart would know.
    pub kept: WriteStatus,
    /// The moment.
    pub now: Instant,
}

impl Snapshot {
    /// Seconds from `then` to the snapshot.
    fn age_s(&self, then: Instant) -> f64 {
        self.now.saturating_duration_since(then).as_secs_f64()
    }
}

/// `pool`, `group` or `site`, as in the configuration.
fn kind_word(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Pool(_) => "pool",
        NameKind::Group(_) => "group",
        NameKind::Site(_) => "site",
    }
}

/// The policy as in the configuration.
fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::WeightedRoundRobin => "weighted-round-robin",
        Policy::WeightedRandom => "weighted-random",
        Policy::Sticky => "sticky",
        Policy::LeastLoad => "least-load",
    }
}

/// Returns what decides a name's answer: its policy, or for a Site Name the failover order.
fn decided_by(model: &Model, kind: NameKind) -> &'static str {
    match kind {
        NameKind::Pool(id) => policy_word(model.pools[id.0].policy),
        NameKind::Group(id) => policy_word(model.groups[id.0].policy),
        NameKind::Site(_) => "failover",
    }
}

/// The word for an address's health in pages.
fn health_word(site: &Site, health: zerottl_core::status::Health) -> &'static str {
    use zerottl_core::status::Health;
    match health {
        _ if site.probe.is_none() => "unprobed",
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}
