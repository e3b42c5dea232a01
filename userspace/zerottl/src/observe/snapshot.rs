//! Everything known of an agent at one moment.

use std::{sync::Arc, time::Instant};

use super::{
    context::ServingContext,
    counters::{PlanningCounts, SocketCounts},
    fleet::FleetSnapshot,
    health_file::HealthFileState,
    publication::Publication,
};
use zerottl_core::{assess::remarks::Remarks, model::Model, plan::Plan, site_load::SiteLoad, status::Assessment};
use zerottl_hooks::HookCounts;
use zerottl_host::state::writer::WriteStatus;
use zerottl_inputs::probe::AddressReport;

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
    pub context: ServingContext,
    /// As [`CounterSource::reasons`](super::counters::CounterSource::reasons).
    pub reasons: Vec<(&'static str, &'static str, u64)>,
    /// As [`CounterSource::socket`](super::counters::CounterSource::socket).
    pub socket: SocketCounts,
    /// As [`CounterSource::work`](super::counters::CounterSource::work).
    pub work: PlanningCounts,
    /// As [`CounterSource::answers`](super::counters::CounterSource::answers).
    pub answers: Vec<u64>,
    /// The newest publication.
    pub publication: Option<Publication>,
    /// When the agent started.
    pub started: Instant,
    /// The newest remarks.
    pub remarks: Arc<Remarks>,
    /// The file of statements of health.
    pub health_file: HealthFileState,
    /// The outcome of the newest write of what a restart would know.
    pub write_status: WriteStatus,
    /// The fleet; none where this front is alone.
    pub fleet: Option<Arc<FleetSnapshot>>,
    /// The counts of each hook.
    pub hooks: Vec<HookCounts>,
    /// The moment.
    pub now: Instant,
}

impl Snapshot {
    /// Seconds from `then` to the snapshot.
    pub fn age_s(&self, then: Instant) -> f64 {
        self.now.saturating_duration_since(then).as_secs_f64()
    }
}
