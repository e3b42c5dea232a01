//! The agent: everything wired together, one direction (probes → status → plan → kernel and socket path).
//!
//! Order of coming up: sockets are bound, the program is loaded and has its first plan, and only then is it attached, so
//! that it never sees a query it cannot answer; `READY=1` goes to the supervisor after that. On the way down the program
//! is detached first, while the socket path still answers.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    admin::{AdminState, Attach, CounterSource, Publication, server},
    dns,
    kernel::{
        Counters, Fastpath, LoadError, Loaded, PROGRAM,
        attach::{self, AttachError, Attached, Mode},
        publish::Publisher,
        trace,
    },
    model::{Model, XdpMode},
    plan::{Plan, Planner},
    probe::{self, ProbeError, Probes},
    status::Status,
    view::View,
};

/// How often MACs are read anew, and tracing is looked after.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// MACs are read anew once in this many rounds of housekeeping.
const MAC_ROUNDS: u32 = 10;
/// Traced packets handed on per round of housekeeping; beyond that the sample is thinned.
const TRACE_LINES: usize = 1_000;
/// Lines a slow `zerottl trace` may lag behind.
const TRACE_BACKLOG: usize = 4_096;

/// Why the agent does not start.
#[derive(Debug)]
pub enum AgentError {
    /// The records files.
    Zones(dns::ZoneError),
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
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zones(error) => error.fmt(f),
            Self::Bind(error) => write!(f, "front.addresses: {error}"),
            Self::Admin(address, error) => write!(f, "admin.listen: cannot listen on {address}: {error}"),
            Self::Load(error) => error.fmt(f),
            Self::Attach(error) => write!(f, "front.interfaces: {error}"),
            Self::Probe(error) => error.fmt(f),
            Self::Macs(error) => write!(f, "reading the interfaces' MAC addresses failed: {error}"),
        }
    }
}

impl Error for AgentError {}

/// Runs until `cancel`, which the caller ties to SIGTERM and SIGINT.
pub async fn run(model: Model, cancel: CancellationToken) -> Result<(), AgentError> {
    let started = Instant::now();
    let model = Arc::new(model);
    let zones = dns::Zones::load(&model, Path::new("")).map_err(AgentError::Zones)?;
    let sockets = dns::Sockets::bind(&model.front.listen).map_err(AgentError::Bind)?;
    let admin = match model.admin.listen {
        None => None,
        Some(at) => Some(TcpListener::bind(at).await.map_err(|error| AgentError::Admin(at, error))?),
    };
    let planner = Planner::new(Arc::clone(&model));
    let first = planner.plan(&Status::unknown(&model), 1);
    let kernel = Kernel::start(&model, &planner, &first)?;
    let view = Arc::new(View::new(Arc::clone(&model), first));
    let shared = Arc::new(dns::Shared::new(zones, Arc::clone(&view)));
    let Probes { status, reports, task: probes } = probe::start(&model, cancel.clone()).map_err(AgentError::Probe)?;

    let (trace_sender, _) = broadcast::channel(TRACE_BACKLOG);
    let (published, publication) = watch::channel(None);
    let Kernel { hooks, publisher, counters, events } = kernel;
    let tasks = TaskTracker::new();
    tasks.spawn(sockets.run(Arc::clone(&shared), cancel.clone()));
    if let Some(listener) = admin {
        let state = AdminState {
            view: Arc::clone(&view),
            status: status.clone(),
            reports,
            counters: Arc::new(AllCounters { kernel: counters, socket: shared }),
            attach: hooks.as_ref().map(Hooks::pages).unwrap_or_default(),
            publication,
            trace: trace_sender.clone(),
            started,
        };
        tasks.spawn(server::serve(listener, Arc::new(state), cancel.clone()));
    }
    let rounds = Rounds { planner, view, status, published, publisher, events, trace: trace_sender, one_in: 0 };
    tasks.spawn(rounds.run(cancel.clone()));
    tasks.close();

    notify(&[sd_notify::NotifyState::Ready]);
    info!(addresses = ?model.front.listen, names = model.names.len(), sites = model.sites.len(), "ready");
    cancel.cancelled().await;
    notify(&[sd_notify::NotifyState::Stopping]);
    if let Some(hooks) = hooks {
        hooks.detach();
    }
    tasks.wait().await;
    if let Err(error) = probes.await {
        error!("the probes ended badly: {error}");
    }
    info!("stopped");
    Ok(())
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
    fn start(model: &Model, planner: &Planner, first: &Plan) -> Result<Self, AgentError> {
        if model.front.xdp == XdpMode::Off {
            return Ok(Self { hooks: None, publisher: None, counters: None, events: None });
        }
        let Loaded { mut fastpath, mut publisher, counters, events } =
            Fastpath::load(planner, first).map_err(AgentError::Load)?;
        #[cfg(feature = "bpf-log")]
        fastpath.forward_log().map_err(AgentError::Load)?;
        publisher.publish(first);
        let macs = attach::macs().map_err(AgentError::Macs)?;
        publisher.set_macs(&macs_of(model, &macs));
        let program = fastpath.program(PROGRAM);
        let mut attached = Vec::new();
        for interface in &model.front.interfaces {
            let hook = attach::attach(program, interface, model.front.xdp).map_err(AgentError::Attach)?;
            match (&hook.mode, &hook.note) {
                (mode, None) => info!(interface, mode = mode.name(), "attached"),
                (mode, Some(note)) => warn!(interface, mode = mode.name(), "attached; {note}"),
            }
            attached.push(hook);
        }
        Ok(Self {
            hooks: Some(Hooks { fastpath, attached }),
            publisher: Some(publisher),
            counters: Some(counters),
            events: Some(events),
        })
    }
}

fn macs_of(model: &Model, macs: &BTreeMap<String, [u8; 6]>) -> Vec<[u8; 6]> {
    model.front.interfaces.iter().filter_map(|name| macs.get(name)).copied().collect()
}

/// The attached program; it is detached when this is dropped, too.
struct Hooks {
    fastpath: Fastpath,
    attached: Vec<Attached>,
}

impl Hooks {
    fn pages(&self) -> Vec<Attach> {
        let page = |hook: &Attached| Attach {
            interface: hook.interface.clone(),
            mode: hook.mode.name().to_owned(),
            note: hook.note.clone().unwrap_or_default(),
        };
        self.attached.iter().map(page).collect()
    }

    fn detach(mut self) {
        let program = self.fastpath.program(PROGRAM);
        for hook in self.attached {
            let (interface, mode) = (hook.interface.clone(), hook.mode);
            match attach::detach(program, hook) {
                Ok(()) => info!(interface, "detached"),
                Err(error) => {
                    let flag = if mode == Mode::Generic { "xdpgeneric" } else { "xdp" };
                    error!("detaching from {interface} failed: {error}; try `ip link set {interface} {flag} off`");
                }
            }
        }
    }
}

/// The loop that turns statuses into plans, and looks after what changes without one.
struct Rounds {
    planner: Planner,
    view: Arc<View>,
    status: watch::Receiver<Status>,
    published: watch::Sender<Option<Publication>>,
    publisher: Option<Publisher>,
    events: Option<RingBuf<MapData>>,
    trace: broadcast::Sender<Arc<str>>,
    /// One packet in this many is traced; 0 while nobody listens.
    one_in: u32,
}

impl Rounds {
    async fn run(mut self, cancel: CancellationToken) {
        let mut generation = self.view.plan().generation;
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds: u32 = 0;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.status.changed() => {
                    if changed.is_err() {
                        // The probes have ended; so will we, or something is badly wrong.
                        if !cancel.is_cancelled() {
                            error!("the probes have stopped: answers stay as they are");
                        }
                        return;
                    }
                    let since = Instant::now();
                    generation += 1;
                    // Compiling a large plan takes milliseconds: let other tasks go on meanwhile.
                    tokio::task::block_in_place(|| self.publish(generation));
                    let took = since.elapsed();
                    self.published.send_replace(Some(Publication { at: Instant::now(), took }));
                    info!(generation, took_us = took.as_micros(), "plan published");
                }
                _ = housekeeping.tick() => {
                    if rounds.is_multiple_of(MAC_ROUNDS) {
                        self.refresh_macs();
                    }
                    rounds = rounds.wrapping_add(1);
                    self.forward_trace();
                }
            }
        }
    }

    fn publish(&mut self, generation: u64) {
        let status = self.status.borrow_and_update().clone();
        let plan = self.planner.plan(&status, generation);
        if let Some(publisher) = &mut self.publisher {
            publisher.publish(&plan);
        }
        self.view.publish(plan);
    }

    /// An interface's MAC can be changed while it is up; until this notices, its queries take the socket path.
    fn refresh_macs(&mut self) {
        let Some(publisher) = &mut self.publisher else { return };
        match attach::macs() {
            Ok(macs) => publisher.set_macs(&macs_of(self.planner.model(), &macs)),
            Err(error) => warn!("reading the interfaces' MAC addresses failed: {error}"),
        }
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

    fn socket(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.socket.counters;
        let mut counts = vec![
            ("udp-queries", counters.udp_queries.load(Ordering::Relaxed)),
            ("tcp-queries", counters.tcp_queries.load(Ordering::Relaxed)),
            ("dropped", counters.dropped.load(Ordering::Relaxed)),
            ("truncated", counters.truncated.load(Ordering::Relaxed)),
            ("send-errors", counters.send_errors.load(Ordering::Relaxed)),
            ("tcp-open", counters.tcp_open.load(Ordering::Relaxed)),
            ("tcp-refused", counters.tcp_refused.load(Ordering::Relaxed)),
            ("tcp-timed-out", counters.tcp_timed_out.load(Ordering::Relaxed)),
        ];
        counts.extend(counters.answers());
        counts
    }
}
