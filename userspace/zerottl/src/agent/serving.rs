//! Everything that belongs to one configuration: made whole, put in the place of the one before, and ended.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    task::{JoinError, JoinHandle, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::{
    counts::{AgentCounters, RoundCounters},
    error::AgentError,
    events,
    file_words::FileWords,
    fleet::{FleetRounds, Membership},
    health_file,
    rounds::Rounds,
    signing,
    tasks::{complain_of, named},
};
use crate::{
    admin::sources::AdminSources,
    control::{commands::AgentCommand, health::HealthHandle, overrides::OverrideHandle},
    observe::{
        context::ServingContext, counters::CounterSource, health_file::HealthFileState, publication::Publication,
        signing::Clock,
    },
};
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    histogram::{Histogram, PUBLISH_BOUNDS},
    model::{Model, XdpMode},
    plan::{Before, Planner},
    status::Assessment,
};
use zerottl_dns::{self as dns, Served, Zones, view::View};
use zerottl_hooks::{Hooks, ReadyHook};
use zerottl_host::state::writer::{self, StateWriter, WriteSchedule, WriteStatus};
use zerottl_inputs::{
    load::{self, LoadStore},
    probe::{self, Probes, Reports},
};
use zerottl_kernel::{
    Fastpath, FastpathParts, Lasting,
    attach::{macs, macs_of},
    vlans,
};

/// The parts that every configuration shares.
pub struct Common {
    /// The sockets' side.
    pub dns: Arc<dns::DnsService>,
    /// The channel to the readers of traced packets.
    pub trace: broadcast::Sender<Arc<str>>,
    /// How the program sits on its interfaces.
    pub context: watch::Receiver<ServingContext>,
    /// The counters of planning rounds.
    pub work: Arc<RoundCounters>,
    /// Where the agent takes commands.
    pub commands: mpsc::Sender<AgentCommand>,
    /// The wall clock, as far as signatures may be made by it.
    pub clock: Arc<Clock>,
    /// When the agent started.
    pub started: Instant,
    /// Where what a restart should know goes.
    pub writer: Arc<StateWriter>,
    /// The outcome of the newest write there.
    pub write_status: watch::Receiver<WriteStatus>,
    /// The fleet that this front is in.
    pub fleet: Option<Membership>,
    /// Where events are told outside of the agent.
    pub hooks: Arc<Hooks>,
}

/// A configuration that is whole, its program loaded with a first plan, and nothing of it in force.
pub(crate) struct Prepared {
    /// The model that it means.
    pub model: Arc<Model>,
    /// The zones and the view of the plan that the sockets answer from.
    pub served: Arc<Served>,
    /// Its program, to be attached, and what is pinned with it; none with `xdp = "off"`.
    pub program: Option<Lasting>,
    kernel: Option<zerottl_kernel::PacketCounters>,
    publisher: Option<zerottl_kernel::publish::Publisher>,
    events: Option<aya::maps::RingBuf<aya::maps::MapData>>,
    /// When its making began.
    begun: Instant,
    planner: Planner,
    assessor: Assessor,
    load_store: LoadStore,
    /// Asks Sites for their load.
    asking: JoinHandle<()>,
    /// The assessment that the first plan was made from.
    pub status: Assessment,
    probes: Probes,
    hooks: Vec<ReadyHook>,
    stop: CancellationToken,
    /// Ends the probes if it never comes into force.
    stop_at_end: DropGuard,
}

/// A configuration in force.
pub struct Serving {
    /// The model that it means.
    pub model: Arc<Model>,
    /// The data that the admin pages show.
    pub admin: Arc<AdminSources>,
    /// The probes and the planning; none ends by itself.
    pub tasks: JoinSet<Result<&'static str, JoinError>>,
    reports: Reports,
    load_store: LoadStore,
    view: Arc<View>,
    /// Shared with the rounds, so that another configuration can go on from it.
    assessor: Arc<Mutex<Assessor>>,
    stop: DropGuard,
}

impl Prepared {
    /// Loads the program, with what is pinned in a folder, and makes a first plan, of what is known from `before`. Blocks for as long as the kernel takes to
    /// look at the program.
    pub fn new(
        model: Model,
        mut zones: Zones,
        before: Option<&Serving>,
        pins: Option<&Path>,
        clock: &Clock,
    ) -> Result<Self, AgentError> {
        let model = Arc::new(model);
        let reports = match before {
            Some(before) => before.reports.carried_over(&before.model, &model),
            None => Reports::new(&model),
        };
        let planner = Planner::new(Arc::clone(&model));
        let now = Instant::now();
        let (mut assessor, load_store) = if let Some(before) = before {
            let assessor = before.assessor().carried(Arc::clone(&model), now, &before.reports.verdicts());
            (assessor, before.load_store.carry_over(&model))
        } else {
            // A restart goes on from what the last run knew, from the first answer on.
            let (saved, age) = writer::recall(&model.state);
            (Assessor::new(Arc::clone(&model), &saved, age, now), LoadStore::new(&model))
        };
        // The new program counts answers from 0.
        let loads = LoadInputs { entries: &load_store.read(), answers: &[] };
        let status = assessor.assess(now, &reports.verdicts(), loads);
        let generation = before.map_or(0, |before| before.view.plan().generation) + 1;
        let shares = before.map(|before| planner.carry_over(&before.model, &before.view.plan()));
        let moved = shares.as_ref().map(|shares| Before { shares, plan: None, elapsed: Duration::ZERO });
        let first = planner.follow(&status, generation, moved);
        let signed = signing::sign(&mut zones, &model, clock.believed())?;
        let (mut kernel, mut publisher, mut events, mut program) = (None, None, None, None);
        if let Some(pins) = pins.filter(|_| model.front.xdp != XdpMode::Off) {
            let mut loaded = Fastpath::load_after(&planner, &first, &zones, &signed, pins).map_err(AgentError::Load)?;
            #[cfg(feature = "bpf-log")]
            loaded.fastpath.forward_log().map_err(AgentError::Load)?;
            loaded.publisher.publish(&first);
            let macs = macs().map_err(AgentError::Macs)?;
            loaded.publisher.set_macs(&macs_of(&model.front.interfaces, &macs));
            match vlans::of(&model.front) {
                Ok(vlans) => loaded.publisher.set_vlans(&vlans),
                // Tried again every second.
                Err(error) => warn!("reading the host's VLANs failed: {error}; tagged queries take the socket path"),
            }
            program = Some(loaded.fastpath.lasting().map_err(AgentError::Load)?);
            let FastpathParts { publisher: writes, counters, events: traced, .. } = loaded;
            (kernel, publisher, events) = (Some(counters), Some(writes), Some(traced));
        }
        let stop = CancellationToken::new();
        let stop_at_end = stop.clone().drop_guard();
        let probes = probe::start(&model, reports, &load_store, stop.clone()).map_err(AgentError::Probe)?;
        let hooks = ReadyHook::all(&model.hooks).map_err(AgentError::Hook)?;
        let asking = load::start(&model, &load_store, stop.clone()).map_err(AgentError::Probe)?;
        let served =
            Arc::new(Served { zones, view: Arc::new(View::new(Arc::clone(&model), first).with_signed(signed)) });
        Ok(Self {
            model,
            served,
            program,
            kernel,
            publisher,
            events,
            begun: now,
            planner,
            assessor,
            load_store,
            asking,
            status,
            probes,
            hooks,
            stop,
            stop_at_end,
        })
    }

    /// The first plan is answered from now on: it is one that was published, though no change caused it. The
    /// publications before it stay counted.
    fn first_publication(&self, before: Option<&Serving>) -> Publication {
        let all = before.and_then(|before| before.admin.publication.borrow().map(|newest| newest.all));
        Publication {
            at: Instant::now(),
            took: self.begun.elapsed(),
            all: all.unwrap_or_else(|| Histogram::new(&PUBLISH_BOUNDS)),
        }
    }

    /// Answers from it by the sockets, and starts its planning. Its program is on its interfaces by now, so nothing here
    /// fails any more.
    pub fn serve(mut self, common: &Common, before: Option<&Serving>) -> Serving {
        let first = self.first_publication(before);
        if let Some(before) = before {
            // What was said while the program was loaded; and from now on nothing is said to the one before.
            let now = Instant::now();
            self.assessor = before.assessor().leave_to(Arc::clone(&self.model), now, &before.reports.verdicts());
        }
        // There from the first page on: an operator who looks just after a start or a reload finds what was said before it.
        let first_remarks = self.assessor.remarks(Instant::now(), &self.status, false);
        let assessor = Arc::new(Mutex::new(self.assessor));
        let health = HealthHandle::new(Arc::clone(&assessor));
        let (file_read, health_file) = watch::channel(HealthFileState::default());
        let Probes { verdicts, reports, duty, task: probes } = self.probes;
        let view = Arc::clone(&self.served.view);
        common.dns.serve(Arc::clone(&self.served));
        common.hooks.put(&events::front_name(&self.model), self.hooks);
        let signed = Arc::clone(&self.served);
        let (published, publication) = watch::channel(Some(first));
        let (assessed, status) = watch::channel(self.status);
        let (remarked, remarks) = watch::channel(Arc::new(first_remarks));
        let (overrides, asked) = OverrideHandle::new();
        let by_file = FileWords::new(overrides.clone(), remarks.clone(), Arc::clone(&self.model));
        let fleet = common.fleet.as_ref().map(|membership| &membership.fleet);
        let (ballots, votes) = watch::channel(Arc::default());
        let counters = Arc::new(AgentCounters {
            kernel: self.kernel,
            socket: Arc::clone(&common.dns),
            view: Arc::clone(&view),
            work: Arc::clone(&common.work),
        });
        let admin = Arc::new(AdminSources {
            view: Arc::clone(&view),
            served: self.served,
            status,
            reports: reports.clone(),
            counters: Arc::clone(&counters) as Arc<dyn CounterSource>,
            load_store: self.load_store.clone(),
            context: common.context.clone(),
            publication,
            trace: common.trace.clone(),
            commands: common.commands.clone(),
            started: common.started,
            remarks,
            overrides,
            health: health.clone(),
            health_file,
            write_status: common.write_status.clone(),
            fleet: fleet.cloned().map(|fleet| (fleet, votes)),
            hooks: Arc::clone(&common.hooks),
        });
        let rounds = Rounds {
            assessor: Arc::clone(&assessor),
            load_store: self.load_store.clone(),
            counters,
            planned: Instant::now(),
            planner: self.planner,
            view: Arc::clone(&view),
            reports: reports.clone(),
            verdicts,
            assessed,
            remarked,
            asked,
            schedule: WriteSchedule::new(Arc::clone(&common.writer), Instant::now()),
            published,
            publisher: self.publisher,
            events: self.events,
            trace: common.trace.clone(),
            work: Arc::clone(&common.work),
            fleet: fleet.map(|fleet| {
                FleetRounds::new(
                    fleet,
                    &self.model,
                    ballots,
                    &common.hooks,
                    duty.clone(),
                    self.load_store.clone(),
                    common.commands.clone(),
                )
            }),
            hooks: Arc::clone(&common.hooks),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { probes.await.map(|()| "probing") });
        tasks.spawn(async move { self.asking.await.map(|()| "asking for loads") });
        tasks.spawn(named("signing", signing::renew(signed, Arc::clone(&common.clock), self.stop.clone())));
        let watching = health_file::watch(Arc::clone(&self.model), health, by_file, file_read, self.stop.clone());
        tasks.spawn(named("reading stated health", watching));
        tasks.spawn(named("planning", rounds.run(self.stop)));
        let load_store = self.load_store;
        Serving { model: self.model, admin, tasks, reports, assessor, load_store, view, stop: self.stop_at_end }
    }
}

impl Serving {
    fn assessor(&self) -> MutexGuard<'_, Assessor> {
        // Every change leaves it whole, so one cut short by a panic is still good to read.
        self.assessor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends its probes and its planning, and waits for that.
    pub async fn end(mut self) {
        drop(self.stop);
        while let Some(ended) = self.tasks.join_next().await {
            complain_of(&ended);
        }
    }
}
