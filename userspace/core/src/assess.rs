//! The assessment of all inputs at one moment: probes' verdicts, loads and overrides into an [`Assessment`].
//!
//! Whatever depends on time (how old a load figure is, a slow start, a hold-down) is decided here, from a `now` that the
//! caller reads off the monotonic clock, so that the planner needs no clock and a step of the wall clock changes nothing.
//! What happens meanwhile that a log should have is handed out as [`AssessorEvent`]s.

pub mod dependencies;
pub mod event;
mod failback;
mod load;
mod record;
pub mod remarks;
pub mod stated;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    dependencies::Dependencies,
    event::AssessorEvent,
    failback::Failbacks,
    load::{Loads, Returns},
    record::{AssessmentRecord, proven},
    remarks::Remarks,
    stated::HealthStatements,
};
use crate::{
    alarms::AlarmWatch,
    minimums,
    model::{Model, SiteId},
    overrides::{OverrideError, OverrideRequest, OverrideValue},
    saved_state::SavedState,
    site_load::SiteLoad,
    statements::{FileReading, HealthStatement},
    status::{AdminState, Assessment, SiteState, Verdicts},
};

/// The loads that Sites report, and how often each was answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadInputs<'a> {
    /// The reports of each Site, positions as in the model.
    pub entries: &'a [SiteLoad],
    /// How often each was answered; only ever grows, but for a new start from 0.
    pub answers: &'a [u64],
}

/// Keeps what one moment's assessment needs of those before.
#[derive(Debug)]
pub struct Assessor {
    model: Arc<Model>,
    /// The state of Sites of which nothing is known.
    blank: Vec<SiteState>,
    record: AssessmentRecord,
    statements: HealthStatements,
    failbacks: Failbacks,
    dependencies: Dependencies,
    alarms: AlarmWatch,
    /// Whether a status of this model has been looked at for alarms.
    has_looked: bool,
    /// Whether another configuration's goes on instead.
    has_left: bool,
    loads: Loads,
    returns: Returns,
}

impl Assessor {
    /// Nothing assessed yet; what is known from before the start is in `memory`, which is `age` old at `now`.
    #[must_use]
    pub fn new(model: Arc<Model>, memory: &SavedState, age: Option<Duration>, now: Instant) -> Self {
        let record = AssessmentRecord::new(&model, memory, age, now);
        let statements = HealthStatements::new(&model, memory, age, now);
        let failbacks = Failbacks::new(&model, memory, age, now);
        let (loads, returns) = (Loads::new(Arc::clone(&model)), Returns::new(Arc::clone(&model)));
        let blank = Assessment::unknown(&model).sites;
        let dependencies = Dependencies::new(&model);
        Self {
            model,
            blank,
            record,
            statements,
            failbacks,
            dependencies,
            alarms: AlarmWatch::default(),
            has_looked: false,
            has_left: false,
            loads,
            returns,
        }
    }

    /// An assessor for another model that knows what this one does, by the Sites' keys; `verdicts` are this model's.
    #[must_use]
    pub fn carried(&self, model: Arc<Model>, now: Instant, verdicts: &Verdicts) -> Self {
        let record = self.record.carried(&self.model, &model, now, verdicts);
        let statements = self.statements.carried(&self.model, &model);
        let failbacks = self.failbacks.carried(&self.model, &model);
        let (loads, returns) = (self.loads.carry_over(Arc::clone(&model)), self.returns.carry_over(Arc::clone(&model)));
        let alarms = self.alarms.carried(&self.model, &model);
        let blank = Assessment::unknown(&model).sites;
        let dependencies = Dependencies::new(&model);
        Self {
            model,
            blank,
            record,
            statements,
            failbacks,
            dependencies,
            alarms,
            has_looked: false,
            has_left: false,
            loads,
            returns,
        }
    }

    /// Creates one as [`Self::carried`] does, for good: from now on this one takes no request and has nothing to be
    /// kept.
    #[must_use]
    pub fn leave_to(&mut self, model: Arc<Model>, now: Instant, verdicts: &Verdicts) -> Self {
        self.has_left = true;
        self.carried(model, now, verdicts)
    }

    /// Whether it has left to another: whoever holds it gives it no request then, and has nothing of it kept.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// Returns what is known at `now`, which never goes back.
    #[must_use]
    pub fn assess(&mut self, now: Instant, verdicts: &Verdicts, loads: LoadInputs<'_>) -> Assessment {
        let mut health = self.record.recall(now, verdicts);
        self.statements.apply(&self.model, now, &mut health, &mut self.record.events);
        let mut status = Assessment { health, sites: self.blank.clone() };
        self.record.apply(&self.model, now, &mut status);
        let of_probes = |site, status: &Assessment| proven(&self.model, status, site);
        self.failbacks.apply(&self.model, now, of_probes, &mut status, &mut self.record.events);
        self.loads.observe(now, loads.entries, loads.answers, &mut status);
        self.dependencies.apply(&self.model, &mut status);
        minimums::guard(&self.model, &mut status);
        // Last: whether a Site is in service depends on all else.
        self.returns.observe(now, &mut status);
        status
    }

    /// Takes in an operator's request for these Sites; `current` is the newest assessment. Returns the Sites' keys.
    pub fn set_override(
        &mut self,
        now: Instant,
        request: &OverrideRequest,
        sites: &[SiteId],
        current: &Assessment,
    ) -> Result<Vec<String>, OverrideError> {
        let done = self.record.set_override(&self.model, now, request, sites, current)?;
        if request.value == OverrideValue::State(AdminState::Ready) {
            self.failbacks.ready(sites);
        }
        Ok(done)
    }

    /// Takes in a statement from outside of the health of some addresses of a Site.
    pub fn state_health(&mut self, site: SiteId, addresses: &[usize], statement: HealthStatement) {
        self.statements.state(site, addresses, statement);
    }

    /// Takes in a statement that was made at another front, unless a newer one is known; one of an address that there is none of is none.
    pub fn state_from_afar(&mut self, site: SiteId, address: IpAddr, statement: HealthStatement) {
        let of = self.model.sites[site.0].addresses.iter().position(|known| known.answer == address);
        if let Some(index) = of {
            self.statements.state_from_afar(site, index, statement);
        }
    }

    /// Takes in all that the file of `[health]` states now.
    pub fn read_health_file(&mut self, now: Instant, reading: &FileReading) {
        self.statements.read_file(now, reading);
    }

    /// Returns what the newest assessment, `status`, has to say to people; `is_new` unless it is as the one before.
    /// Nothing that is answered waits for it.
    #[must_use]
    pub fn remarks(&mut self, now: Instant, status: &Assessment, is_new: bool) -> Remarks {
        if is_new || !self.has_looked {
            let turns = self.alarms.look(&self.model, status).into_iter();
            self.record.events.extend(turns.map(|(turn, text)| AssessorEvent::Alarm { turn, text }));
            self.has_looked = true;
        }
        let of_record = self.record.remarks(now, self.alarms.alarms());
        Remarks { statements: self.statements.remarks(), out: self.failbacks.remarks(), ..of_record }
    }

    /// Returns what a restart should know.
    #[must_use]
    pub fn saved_state(&self, now: Instant, verdicts: &Verdicts) -> SavedState {
        let mut state = self.record.saved_state(&self.model, now, verdicts);
        self.statements.save(&self.model, now, &mut state);
        self.failbacks.save(&self.model, now, &mut state);
        state
    }

    /// Goes up with everything that a restart should know at once.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.record.revision() + self.statements.revision() + self.failbacks.revision()
    }

    /// Returns what has happened since this was last called.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<AssessorEvent> {
        std::mem::take(&mut self.record.events)
    }
}
