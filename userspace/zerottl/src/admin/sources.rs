//! The sources of the pages, and where the admin interface hands requests in.

use std::{fmt, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, watch};

use crate::{
    control::{commands::AgentCommand, health::HealthHandle, overrides::OverrideHandle},
    observe::{
        context::ServingContext,
        counters::CounterSource,
        fleet::{FleetSnapshot, FleetVotes},
        health_file::HealthFileState,
        publication::Publication,
        snapshot::Snapshot,
    },
};
use zerottl_core::{assess::remarks::Remarks, status::Assessment};
use zerottl_dns::{Served, view::View};
use zerottl_fleet::Fleet;
use zerottl_hooks::Hooks;
use zerottl_host::state::writer::WriteStatus;
use zerottl_inputs::{load::LoadStore, probe::Reports};

/// The data that the admin interface reads, and the overrides that it hands requests to.
pub(crate) struct AdminSources {
    /// The model and the newest plan.
    pub view: Arc<View>,
    /// The zones, as the sockets answer from them.
    pub served: Arc<Served>,
    /// The assessment that the planner last saw.
    pub status: watch::Receiver<Assessment>,
    /// The reports of the probes.
    pub reports: Reports,
    /// The Sites' reports of their load.
    pub load_store: LoadStore,
    /// Counters of both paths.
    pub counters: Arc<dyn CounterSource>,
    /// The program on its interfaces.
    pub context: watch::Receiver<ServingContext>,
    /// When plans were published; none before the first.
    pub publication: watch::Receiver<Option<Publication>>,
    /// Events, one JSON object each, without a line end. Makers skip the work while `receiver_count()` is 0.
    pub trace: broadcast::Sender<Arc<str>>,
    /// When the agent started.
    pub started: Instant,
    /// Where the agent takes commands.
    pub commands: mpsc::Sender<AgentCommand>,
    /// Orders, hold-downs, alarms.
    pub remarks: watch::Receiver<Arc<Remarks>>,
    /// Where operators' requests go: the one way in.
    pub overrides: OverrideHandle,
    /// Where statements of health from outside go.
    pub health: HealthHandle,
    /// The file of such statements.
    pub health_file: watch::Receiver<HealthFileState>,
    /// The outcome of the newest write of what a restart would know.
    pub write_status: watch::Receiver<WriteStatus>,
    /// The fleet, and its newest votes; none where this front is alone.
    pub fleet: Option<(Fleet, watch::Receiver<Arc<FleetVotes>>)>,
    /// Where events are told outside of the agent.
    pub hooks: Arc<Hooks>,
}

impl fmt::Debug for AdminSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminSources").field("context", &*self.context.borrow()).finish_non_exhaustive()
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
            loads: self.load_store.read(),
            context: self.context.borrow().clone(),
            reasons: self.counters.reasons(),
            socket: self.counters.socket(),
            work: self.counters.work(),
            answers: self.counters.answers(),
            publication: *self.publication.borrow(),
            started: self.started,
            remarks: Arc::clone(&self.remarks.borrow()),
            health_file: self.health_file.borrow().clone(),
            write_status: self.write_status.borrow().clone(),
            fleet: self.fleet().map(Arc::new),
            hooks: self.hooks.counts(),
            now: Instant::now(),
        }
    }

    /// The fleet of this moment; none where this front is alone.
    pub(crate) fn fleet(&self) -> Option<FleetSnapshot> {
        let (fleet, votes) = self.fleet.as_ref()?;
        let digest = self.view.model.fleet.as_ref().map(|config| config.digest.clone());
        let (view, votes) = (fleet.report(), Arc::clone(&votes.borrow()));
        Some(FleetSnapshot { view, votes, digest: digest.unwrap_or_default() })
    }
}

/// The sources of the configuration in force.
pub(crate) type Current = ArcSwap<AdminSources>;
