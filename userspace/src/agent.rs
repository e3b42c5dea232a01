//! The agent: everything wired together, one direction (probes → status → plan → kernel and socket path).
//!
//! Order of coming up: sockets are bound, the program is loaded and has its first plan, and only then is it attached, so
//! that it never sees a query it cannot answer; `READY=1` goes to the supervisor after that. On the way down the program
//! is detached first, while the socket path still answers.
//!
//! No task ends before the agent does. One that does so all the same takes the agent with it, so that the supervisor
//! starts it anew: answers from a plan that nobody renews would look healthy.

use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    admin::{AdminState, CounterSource, Publication, server, status::SocketPage},
    assess::{Assessor, LoadInputs},
    dns,
    hooks::{Hooks, macs_of},
    kernel::{
        Counters, Fastpath, LoadError, Loaded,
        attach::{self, AttachError},
        publish::Publisher,
        trace,
    },
    load::{self, Board},
    model::{Model, XdpMode},
    plan::{Before, Plan, Planner},
    probe::{self, ProbeError, Probes},
    status::{Status, Verdicts},
    view::View,
};

/// A planning round: how often everything is assessed anew when no verdict changes, the program is told the time, and
/// tracing is looked after.
const ROUND: Duration = Duration::from_millis(100);
/// Shares move by no more than this much time allows, however late a round is.
const STEP_MAX: Duration = Duration::from_secs(1);
/// MACs are read anew once in this many rounds.
const MAC_ROUNDS: u32 = 10;
/// Traced packets handed on per round; beyond that the sample is thinned.
const TRACE_LINES: usize = 1_000;
/// Lines a slow `zerottl trace` may lag behind.
const TRACE_BACKLOG: usize = 4_096;

/// How often interfaces are looked after.
const CARE: Duration = Duration::from_secs(1);

/// Why the agent does not start, or ends by itself.
#[derive(Debug)]
pub enum AgentError {
    /// A served address.
    Bind(io::Error),
    /// The admin address.
    Admin(SocketAddr, io::Error),
    /// The program or its maps.
    Load(LoadError),
    /// An interface.
    Attach(AttachError),
    /// The probes' own setup.
    Probe(ProbeError),
    /// Interfaces' MACs cannot be read.
    Macs(io::Error),
    /// A part ended that must not.
    Ended(String),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => write!(f, "front.addresses: {error}"),
            Self::Admin(address, error) => write!(f, "admin.listen: cannot listen on {address}: {error}"),
            Self::Load(error) => error.fmt(f),
            Self::Attach(error) => write!(f, "front.interfaces: {error}"),
            Self::Probe(error) => error.fmt(f),
            Self::Macs(error) => write!(f, "reading the interfaces' MAC addresses failed: {error}"),
            Self::Ended(what) => write!(f, "stopped because {what}"),
        }
    }
}

impl Error for AgentError {}

/// Runs until `cancel`, which the caller ties to SIGTERM and SIGINT; `zones` are the model's. Needs tokio's runtime of
/// several threads, and is best its main future: attaching blocks.
pub async fn run(model: Model, zones: dns::Zones, cancel: CancellationToken) -> Result<(), AgentError> {
    let started = Instant::now();
    let model = Arc::new(model);
    let sockets = dns::Sockets::bind(&model.front.listen).map_err(AgentError::Bind)?;
    let admin = match model.admin.listen {
        None => None,
        Some(at) => Some(TcpListener::bind(at).await.map_err(|error| AgentError::Admin(at, error))?),
    };
    let planner = Planner::new(Arc::clone(&model));
    let first = planner.plan(&Status::unknown(&model), 1);
    // Not `cancel` itself: the tasks go on until the program is detached. And they end however this function does.
    let stop = CancellationToken::new();
    let _stop_at_end = stop.clone().drop_guard();
    let board = Board::new(&model);
    let started_probes = probe::start(&model, &board, stop.clone()).map_err(AgentError::Probe)?;
    let Probes { verdicts, reports, task: probes } = started_probes;
    let asking = load::start(&model, &board, stop.clone()).map_err(AgentError::Probe)?;
    let Kernel { mut hooks, publisher, counters, events } = Kernel::start(&model, &zones, &planner, &first, &cancel)?;
    let view = Arc::new(View::new(Arc::clone(&model), first));
    let shared = Arc::new(dns::Shared::new(zones, Arc::clone(&view)));

    let (trace_sender, _) = broadcast::channel(TRACE_BACKLOG);
    let (published, publication) = watch::channel(None);
    let (assessed, status) = watch::channel(Status::unknown(&model));
    let (attached, attach) = watch::channel(hooks.as_ref().map(Hooks::pages).unwrap_or_default());
    let mut tasks = JoinSet::new();
    tasks.spawn(named("the socket path", sockets.run(Arc::clone(&shared), stop.clone())));
    tasks.spawn(async move { probes.await.map(|()| "probing") });
    tasks.spawn(async move { asking.await.map(|()| "asking for loads") });
    let counters = Arc::new(AllCounters { kernel: counters, socket: shared });
    if let Some(listener) = admin {
        let state = AdminState {
            view: Arc::clone(&view),
            status,
            reports,
            board: board.clone(),
            counters: Arc::clone(&counters) as Arc<dyn CounterSource>,
            attach,
            publication,
            trace: trace_sender.clone(),
            started,
        };
        tasks.spawn(named("the admin interface", server::serve(listener, Arc::new(state), stop.clone())));
    }
    let (trace, one_in, macs_known) = (trace_sender, 0, true);
    let assessor = Assessor::new(Arc::clone(&model));
    let rounds = Rounds {
        assessor,
        planner,
        view,
        verdicts,
        board,
        counters,
        planned: started,
        assessed,
        published,
        publisher,
        events,
        trace,
        one_in,
        macs_known,
    };
    tasks.spawn(named("planning", rounds.run(stop.clone())));

    if !cancel.is_cancelled() {
        notify(&[sd_notify::NotifyState::Ready]);
        info!(addresses = ?model.front.listen, names = model.names.len(), sites = model.sites.len(), "ready");
    }
    let mut care = tokio::time::interval(CARE);
    care.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            () = cancel.cancelled() => break None,
            Some(ended) = tasks.join_next() => break Some(ended_words(ended)),
            _ = care.tick() => if let Some(hooks) = &mut hooks && hooks.look_after() {
                attached.send_replace(hooks.pages());
            },
        }
    };
    if let Some(ended) = &ended {
        error!("{ended}: stopping");
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    if let Some(hooks) = hooks {
        hooks.detach();
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        if ended.as_ref().map_or(true, Result::is_err) {
            error!("{} while stopping", ended_words(ended));
        }
    }
    info!("stopped");
    ended.map_or(Ok(()), |ended| Err(AgentError::Ended(ended)))
}

/// A part of the agent, with the word for it.
async fn named(word: &'static str, part: impl Future<Output = ()>) -> Result<&'static str, JoinError> {
    part.await;
    Ok(word)
}

/// What ended, and by what; a panic has been written to stderr besides.
fn ended_words(ended: Result<Result<&'static str, JoinError>, JoinError>) -> String {
    match ended {
        Ok(Ok(word)) => format!("{word} has ended"),
        Ok(Err(error)) | Err(error) => format!("a part has failed ({error})"),
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        warn!("telling the supervisor failed: {error}");
    }
}

/// The kernel's parts; all absent with `xdp = "off"`.
struct Kernel {
    hooks: Option<Hooks>,
    publisher: Option<Publisher>,
    counters: Option<Counters>,
    events: Option<RingBuf<MapData>>,
}

impl Kernel {
    /// Loads, publishes, attaches; attaches no further interface once `cancel` is.
    fn start(
        model: &Model,
        zones: &dns::Zones,
        planner: &Planner,
        first: &Plan,
        cancel: &CancellationToken,
    ) -> Result<Self, AgentError> {
        if model.front.xdp == XdpMode::Off {
            return Ok(Self { hooks: None, publisher: None, counters: None, events: None });
        }
        let loaded = Fastpath::load(planner, first, zones).map_err(AgentError::Load)?;
        #[cfg_attr(not(feature = "bpf-log"), expect(unused_mut, reason = "only forwarding changes it"))]
        let Loaded { mut fastpath, mut publisher, counters, events } = loaded;
        #[cfg(feature = "bpf-log")]
        fastpath.forward_log().map_err(AgentError::Load)?;
        publisher.publish(first);
        let macs = attach::macs().map_err(AgentError::Macs)?;
        publisher.set_macs(&macs_of(model, &macs));
        let mut hooks = Hooks::new(fastpath, model.front.xdp);
        for interface in &model.front.interfaces {
            if !cancel.is_cancelled() {
                hooks.attach(interface).map_err(AgentError::Attach)?;
            }
        }
        Ok(Self { hooks: Some(hooks), publisher: Some(publisher), counters: Some(counters), events: Some(events) })
    }
}

/// The loop that turns what is known into plans, and looks after what changes without one.
struct Rounds {
    assessor: Assessor,
    planner: Planner,
    view: Arc<View>,
    verdicts: watch::Receiver<Verdicts>,
    board: Board,
    counters: Arc<AllCounters>,
    /// When shares last moved.
    planned: Instant,
    /// What the newest plan was made from.
    assessed: watch::Sender<Status>,
    published: watch::Sender<Option<Publication>>,
    publisher: Option<Publisher>,
    events: Option<RingBuf<MapData>>,
    trace: broadcast::Sender<Arc<str>>,
    /// One packet in this many is traced; 0 while nobody listens.
    one_in: u32,
    /// Whether the newest reading of MACs went well.
    macs_known: bool,
}

impl Rounds {
    async fn run(mut self, cancel: CancellationToken) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds: u32 = 0;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.verdicts.changed() => {
                    if changed.is_err() {
                        // The probes have ended; so will we, or something is badly wrong.
                        if !cancel.is_cancelled() {
                            error!("the probes have stopped: answers stay as they are");
                        }
                        return;
                    }
                    self.round();
                }
                _ = round.tick() => {
                    self.round();
                    if let Some(publisher) = &mut self.publisher {
                        publisher.set_clock(dns::now());
                        publisher.confirm();
                    }
                    if rounds.is_multiple_of(MAC_ROUNDS) {
                        self.refresh_macs();
                    }
                    rounds = rounds.wrapping_add(1);
                    self.forward_trace();
                }
            }
        }
    }

    /// Assesses everything, and publishes a plan if that changes anything.
    fn round(&mut self) {
        let since = Instant::now();
        let (entries, answers) = (self.board.read(), self.planner.answers_of_sites(&self.counters.answers()));
        let loads = LoadInputs { entries: &entries, answers: &answers };
        let status = self.assessor.assess(since, &self.verdicts.borrow_and_update(), loads);
        let elapsed = since.saturating_duration_since(std::mem::replace(&mut self.planned, since)).min(STEP_MAX);
        let before = self.view.plan();
        let alike = |by_load| status.decides_as(&self.assessed.borrow(), by_load);
        let (is_moved, is_event) = (before.shares.moving || !alike(self.planner.goes_by_load()), !alike(false));
        if is_moved {
            // Compiling a large plan takes milliseconds: let other tasks go on meanwhile.
            tokio::task::block_in_place(|| self.move_on(&status, &before, elapsed, is_event, since));
        }
        // Figures that move nothing are there to be seen all the same.
        self.assessed.send_if_modified(|assessed| std::mem::replace(assessed, status.clone()) != status);
    }

    /// Makes the plan that follows `before`, and publishes it if it answers otherwise or something has happened.
    fn move_on(&mut self, status: &Status, before: &Plan, elapsed: Duration, is_event: bool, since: Instant) {
        let generation = before.generation + 1;
        let shares = Before { shares: &before.shares, elapsed };
        let mut plan = self.planner.follow(status, generation, Some(shares));
        if !is_event && plan.answers_as(before) {
            // Only what the next plan moves from is new.
            plan.generation = before.generation;
            return self.view.publish(plan);
        }
        self.publish(plan);
        let took = since.elapsed();
        self.published.send_replace(Some(Publication { at: Instant::now(), took }));
        if is_event {
            info!(generation, took_us = took.as_micros(), "plan published");
        } else {
            // Loads move shares all the time.
            debug!(generation, took_us = took.as_micros(), "shares moved");
        }
    }

    fn publish(&mut self, plan: Plan) {
        if let Some(publisher) = &mut self.publisher {
            publisher.publish(&plan);
        }
        self.view.publish(plan);
    }

    /// An interface's MAC can be changed while it is up; until this notices, its queries take the socket path.
    fn refresh_macs(&mut self) {
        let Some(publisher) = &mut self.publisher else { return };
        let read = attach::macs();
        match &read {
            Ok(macs) => publisher.set_macs(&macs_of(self.planner.model(), macs)),
            Err(error) if self.macs_known => warn!("reading the interfaces' MAC addresses failed: {error}"),
            // Told already.
            Err(_) => {}
        }
        self.macs_known = read.is_ok();
    }

    /// Hands traced packets to whoever listens, and thins the sample so that it stays readable and cheap.
    fn forward_trace(&mut self) {
        let (Some(publisher), Some(events)) = (&mut self.publisher, &mut self.events) else { return };
        let lines = trace::drain(events, TRACE_LINES);
        let one_in = match (self.trace.receiver_count(), lines.len()) {
            (0, _) => 0,
            (_, TRACE_LINES..) => self.one_in.max(1).saturating_mul(2).min(1 << 20),
            (_, few) if few < TRACE_LINES / 4 => (self.one_in / 2).max(1),
            _ => self.one_in.max(1),
        };
        if one_in != self.one_in {
            publisher.set_trace(one_in);
            self.one_in = one_in;
        }
        for line in &lines {
            match serde_json::to_string(line) {
                // Nobody listening any more is no error.
                Ok(line) => drop(self.trace.send(line.into())),
                Err(error) => warn!("a traced packet could not be written: {error}"),
            }
        }
    }
}

/// Both paths' counters.
struct AllCounters {
    kernel: Option<Counters>,
    socket: Arc<dns::Shared>,
}

impl AllCounters {
    /// How often each address was answered by either path, by its position in [`Plan::endpoints`]; counted from 0 again
    /// when the configuration is loaded anew.
    fn answers(&self) -> Vec<u64> {
        let mut answers = self.socket.view.answers();
        for (sum, count) in answers.iter_mut().zip(self.kernel.iter().flat_map(Counters::answers)) {
            *sum += count;
        }
        answers
    }
}

impl CounterSource for AllCounters {
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        match kernel.read() {
            Ok(counts) => {
                counts.into_iter().map(|(reason, count)| (reason.name(), reason.action().name(), count)).collect()
            }
            Err(error) => {
                warn!("reading the kernel's counters failed: {error}");
                Vec::new()
            }
        }
    }

    fn socket(&self) -> SocketPage {
        let counters = &self.socket.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let named = |counts: &[(&str, &AtomicU64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), read(count))).collect()
        };
        SocketPage {
            queries: named(&[("udp", &counters.udp_queries), ("tcp", &counters.tcp_queries)]),
            answers: counters.answers().map(|(rcode, count)| (rcode.to_owned(), count)).collect(),
            events: named(&[
                ("dropped", &counters.dropped),
                ("limited", &counters.limited),
                ("slipped", &counters.slipped),
                ("over-limit", &counters.over_limit),
                ("truncated", &counters.truncated),
                ("send-errors", &counters.send_errors),
                ("tcp-refused", &counters.tcp_refused),
                ("tcp-timed-out", &counters.tcp_timed_out),
            ]),
            tcp_open: read(&counters.tcp_open),
        }
    }
}
