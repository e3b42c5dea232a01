//! From the configuration, and from what the worker before has left, to a loop that runs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rustix::process::{Signal, getppid};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use xdp_ebpf::director::layout::{SlotSettings, WAITING};
use zerottl_core::model::Director;
use zerottl_host::resources::{Descriptors, DirectorShare};
use zerottl_kernel::director::{DirectorLoadError, DirectorMapError, DirectorPrograms};

use super::{
    arrivals::accept,
    commands::{processes, relays},
    parts::{Arrival, Counts, Entry, HandoverEnds, Judged, RunNote, RunParts, fingerprint},
    placements::Placements,
    runs::started,
    state::{LOOK, ROLLING, Worker},
};
use crate::{
    admin,
    balance::{Balance, OwnBalance},
    cgroups::Cgroups,
    command::Command,
    keeper::{KeeperLink, Kept},
    listeners::{ListenError, Listener, ListenerOwner},
    lock::{DirectorLock, LockError},
    member::{Phase, Run, Wanted},
    spawn::ServerProcess,
    waiting_list::WaitingList,
};

/// Looks at whether threads are done with cgroups; they take two seconds at most.
const CLEARING: u32 = 60;
/// Events that wait to be looked at.
const EVENTS: usize = 1024;
/// The name of the lock at the keeper.
const LOCK: &str = "lock";
/// Commands that wait to be looked at.
const COMMANDS: usize = 64;

/// Everything that a worker begins with.
pub struct WorkerSetup {
    /// The Site, by its key.
    pub site: String,
    /// Its director.
    pub config: Arc<Director>,
    /// The parent process.
    pub link: KeeperLink,
    /// Everything that it has held.
    pub kept: Kept,
    /// Arguments of this program that run a process of `kind = "site"`.
    pub site_arguments: Vec<OsString>,
    /// Reads the configuration again, or says in a sentence why that is not possible.
    pub read: Box<dyn Fn() -> Result<Arc<Director>, String> + Send + Sync>,
}

/// Why a director cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DirectorError {
    /// Another director.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another director, by its pins.
    #[error(transparent)]
    Pins(DirectorLoadError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The interface for status and metrics.
    #[error("{0}")]
    Admin(#[from] admin::AdminPlaceError),
    /// Signals.
    #[error("waiting for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The parent process.
    #[error("telling the parent process: {0}")]
    Keeper(#[from] crate::keeper::LinkError),
}

/// Runs a worker until it is told to stop (SIGTERM, SIGINT) and all servers have ended. SIGHUP reads the configuration again.
pub async fn run(setup: WorkerSetup) -> Result<(), DirectorError> {
    let WorkerSetup { site, config, link, kept, site_arguments, read } = setup;
    let _ = Descriptors::raised();
    let stop = CancellationToken::new();
    let (stopping, link) = (kept.stopping, Arc::new(link));
    let (send_events, events) = mpsc::channel(EVENTS);
    let (send_commands, commands) = mpsc::channel(COMMANDS);
    let mut before = Before::sort(kept);
    let lock =
        before.lock.take().map_or_else(|| DirectorLock::take(&config.control), |fd| Ok(DirectorLock::adopt(fd)))?;
    link.keep(LOCK, &lock)?;
    let (cgroups, mut note) = match Cgroups::prepare(&group_name(&site), getppid()) {
        Ok(cgroups) => (Some(Arc::new(cgroups)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(error) = cgroups.as_ref().and_then(|cgroups| cgroups.without_memory())
        && config.servers.iter().any(|server| server.memory_max.is_some())
    {
        warn!(%error, "`memory_max` is not in force");
    }
    let mut own = Vec::new();
    for at in &config.listen {
        let kept = before.own.iter().position(|listener| listener.at == *at);
        let listener = match kept.map(|at| before.own.swap_remove(at)) {
            Some(listener) => listener,
            None => Listener::new(*at, ListenerOwner::Director)?,
        };
        own.push((*at, Arc::new(listener)));
    }
    let mut balance = Balance::Own(OwnBalance::default());
    if let Some(cgroups) = &cgroups {
        match kernel(&config.pins.join(&site), cgroups, &own) {
            Ok(programs) => balance = Balance::Kernel(Box::new(programs)),
            // Its listeners must not be joined.
            Err(KernelFault::Load(error @ DirectorLoadError::InUse(_))) => return Err(DirectorError::Pins(error)),
            Err(error) => note = Some(error.to_string()),
        }
    }
    if let Some(note) = note.as_ref().filter(|_| !balance.is_kernel()) {
        error!(
            "{note}: the kernel does not choose. All connections come to this process, which hands them over or relays them"
        );
    }
    let note = note.filter(|_| !balance.is_kernel());
    let runtime = config.control.parent().map_or_else(|| PathBuf::from("/run/zerottl"), PathBuf::from);
    DirectorShare::tell(config.waiting.max, relays(&config));
    let share = DirectorShare::now(config.waiting.max, relays(&config));
    let list = WaitingList::new(share.waiting, config.waiting.timeout);
    let entries = processes(&config).map(|(name, server)| Entry::new(name, server, &config.restart)).collect();
    let worker = Worker {
        site: site.clone(),
        config: Arc::clone(&config),
        link: Arc::clone(&link),
        balance,
        cgroups: cgroups.clone(),
        own,
        entries,
        runs: BTreeMap::new(),
        buried: BTreeSet::new(),
        list,
        relays_max: share.relays as u64,
        counts: Counts::default(),
        placements: Placements::default(),
        strays: Vec::new(),
        rolling: VecDeque::new(),
        rolling_noted: Vec::new(),
        events: send_events.clone(),
        generation: 0,
        note,
        stopping: false,
        site_arguments,
        runtime,
        cancel: CancellationToken::new(),
    };
    let admin = admin::start(&config, send_commands.clone(), worker.cancel.clone())?;
    let worker = worker.begun(before);
    for (address, (_, listener)) in worker.own.iter().enumerate() {
        let listener = listener.as_fd().try_clone_to_owned().map_err(DirectorError::Signals)?;
        let task = tokio::spawn(accept(listener.into(), address, send_events.clone()));
        let cancel = worker.cancel.clone();
        tokio::spawn(async move {
            cancel.cancelled().await;
            task.abort();
        });
    }
    watch_signals(stop.clone(), send_commands, read, worker.cancel.clone())?;
    if stopping {
        stop.cancel();
    }
    link.ready()?;
    let places: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    info!(site, listen = places.join(", "), kernel = worker.balance.is_kernel(), "distributes connections");
    let stopped = worker.run(events, commands, stop).await;
    admin.removed();
    if stopped {
        clear(&config.pins.join(&site), cgroups).await;
    }
    Ok(())
}

/// Removes what outlives a director, at its stop.
async fn clear(pins: &Path, cgroups: Option<Arc<Cgroups>>) {
    if let Err(error) = DirectorPrograms::unpin(pins) {
        warn!(%error, "pins are left over");
    }
    let Some(mut cgroups) = cgroups else { return };
    for _ in 0..CLEARING {
        match Arc::try_unwrap(cgroups) {
            Ok(cgroups) => {
                if let Err(error) = cgroups.remove_all() {
                    warn!(%error, "a cgroup is left over");
                }
                return;
            }
            // A thread still removes that of a server.
            Err(shared) => cgroups = shared,
        }
        sleep(LOOK).await;
    }
}

/// The name of the director's cgroup: those of several network namespaces stand beside each other.
fn group_name(site: &str) -> String {
    let namespace = fs::metadata("/proc/self/ns/net").map_or(0, |of| of.ino());
    format!("{site}.{namespace}")
}

/// Why the kernel does not choose.
#[derive(Debug, thiserror::Error)]
enum KernelFault {
    #[error(transparent)]
    Load(#[from] DirectorLoadError),
    #[error("{0}: {1}")]
    Listener(SocketAddr, #[source] DirectorMapError),
}

fn kernel(
    pins: &Path,
    cgroups: &Cgroups,
    own: &[(SocketAddr, Arc<Listener>)],
) -> Result<DirectorPrograms, KernelFault> {
    let mut programs = DirectorPrograms::open(pins, cgroups.root(), own.len())?;
    for (address, (at, listener)) in own.iter().enumerate() {
        programs
            .enlist(address, WAITING, 0, listener.as_fd())
            .and_then(|()| programs.attach(address, listener.as_fd()))
            .map_err(|error| KernelFault::Listener(*at, error))?;
    }
    Ok(programs)
}

/// Stops at SIGTERM, SIGINT and SIGQUIT, reloads at SIGHUP, and passes SIGUSR1 on.
fn watch_signals(
    stop: CancellationToken,
    commands: mpsc::Sender<Command>,
    read: Box<dyn Fn() -> Result<Arc<Director>, String> + Send + Sync>,
    cancel: CancellationToken,
) -> Result<(), DirectorError> {
    let of = |kind| signal(kind).map_err(DirectorError::Signals);
    let (mut term, mut int, mut quit) =
        (of(SignalKind::terminate())?, of(SignalKind::interrupt())?, of(SignalKind::quit())?);
    let (mut hup, mut one, mut two) =
        (of(SignalKind::hangup())?, of(SignalKind::user_defined1())?, of(SignalKind::user_defined2())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => stop.cancel(),
                _ = int.recv() => stop.cancel(),
                _ = quit.recv() => stop.cancel(),
                _ = one.recv() => {
                    if commands.send(Command::Pass(Signal::USR1)).await.is_err() {
                        return;
                    }
                }
                _ = two.recv() => info!("SIGUSR2 means nothing to a director; `zerottl director restart` replaces its servers"),
                _ = hup.recv() => {
                    let failed = match read() {
                        Ok(config) => {
                            let (reply, answer) = oneshot::channel();
                            if commands.send(Command::Reload { config, reply }).await.is_err() {
                                return;
                            }
                            answer.await.unwrap_or(Ok(()))
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = failed {
                        error!("the configuration in force stays: {error}");
                    }
                }
                () = cancel.cancelled() => return,
            }
        }
    });
    Ok(())
}

/// Everything that the worker before has left, sorted.
#[derive(Default)]
struct Before {
    own: Vec<Listener>,
    runs: BTreeMap<u32, RunLeft>,
    waiting: Vec<(String, usize, OwnedFd)>,
    wanted: BTreeMap<String, Wanted>,
    /// Names of those that are still to be replaced.
    rolling: Vec<String>,
    lock: Option<OwnedFd>,
    /// Names of what nobody knows.
    rest: Vec<String>,
}

/// A process that the worker before has left.
#[derive(Default)]
struct RunLeft {
    note: Option<RunNote>,
    listeners: Vec<Listener>,
    process: Option<OwnedFd>,
    ours: Option<OwnedFd>,
    theirs: Option<OwnedFd>,
}

impl Before {
    /// Sorts what the keeper has held. Its names are in order, and so are listeners and those that wait.
    fn sort(kept: Kept) -> Self {
        let mut before = Self::default();
        for (name, fd) in kept.descriptors {
            let parts: Vec<&str> = name.split('.').collect();
            match (parts.as_slice(), parts.get(1).and_then(|slot| slot.parse().ok())) {
                ([LOCK], _) => before.lock = Some(fd),
                (["own", _], _) => before.own.extend(Listener::adopt(fd)),
                (["waiting", _, address], _) => match address.parse() {
                    Ok(address) => before.waiting.push((name.clone(), address, fd)),
                    Err(_) => before.rest.push(name),
                },
                (["run", _, part @ ..], Some(slot)) => {
                    let left: &mut RunLeft = before.runs.entry(slot).or_default();
                    match part {
                        ["listen", _] => left.listeners.extend(Listener::adopt(fd)),
                        ["process"] => left.process = Some(fd),
                        ["ours"] => left.ours = Some(fd),
                        ["theirs"] => left.theirs = Some(fd),
                        _ => before.rest.push(name),
                    }
                }
                _ => before.rest.push(name),
            }
        }
        for (name, text) in kept.notes {
            match name.split_once('.') {
                None if name == ROLLING => before.rolling = serde_json::from_str(&text).unwrap_or_default(),
                Some(("run", slot)) => {
                    let Ok(slot) = slot.parse() else { continue };
                    let left: &mut RunLeft = before.runs.entry(slot).or_default();
                    left.note = serde_json::from_str(&text).ok();
                }
                Some(("wanted", server)) => {
                    let wanted = serde_json::from_str(&text).ok();
                    before.wanted.extend(wanted.map(|wanted| (server.to_owned(), wanted)));
                }
                _ => {}
            }
        }
        before
    }
}

impl Worker {
    /// Takes over what the worker before has left.
    fn begun(mut self, before: Before) -> Self {
        let now = Instant::now();
        for (at, (_, listener)) in self.own.iter().enumerate() {
            self.keep(&format!("own.{at:02}"), &**listener);
        }
        let Before { own, runs, waiting, wanted, rolling, rest, lock: _ } = before;
        for listener in own {
            warn!(at = %listener.at, "is not listened on any more");
            let _ = listener.stop();
        }
        for name in rest {
            let _ = self.link.release(&name);
        }
        let restart = self.config.restart;
        for (name, wanted) in wanted {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) {
                entry.member.want(wanted, &restart);
            }
        }
        let taken = runs.len();
        // In the order in which they were started: of two that serve for one, the later is the successor.
        let mut runs: Vec<_> = runs.into_iter().collect();
        runs.sort_by_key(|(_, left)| left.note.as_ref().map(|note| note.generation));
        for (slot, left) in runs {
            self.adopt(slot, left, now);
        }
        for name in rolling {
            let is_left = |entry: &Entry| entry.name == name && !entry.member.has_successor();
            if self.entries.iter().any(is_left) && !self.rolling.contains(&name) {
                self.rolling.push_back(name);
            }
        }
        self.find_strays(now);
        let waited = waiting.len();
        for (name, address, fd) in waiting {
            let _ = self.link.release(&name);
            let stream = TcpStream::from(fd);
            let _ = stream.set_nonblocking(true);
            if let Ok(client) = stream.peer_addr() {
                let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                self.wait(Arrival::new(address, client, stream), now);
            }
        }
        if taken + waited > 0 {
            info!(processes = taken, waiting = waited, "taken over from the worker before");
        }
        self
    }

    /// Takes over a process.
    fn adopt(&mut self, slot: u32, left: RunLeft, now: Instant) {
        let RunLeft { note, listeners, process, ours, theirs } = left;
        let config = note.as_ref().and_then(|note| {
            let entry = self.entries.iter().position(|entry| entry.name == note.name)?;
            Some((entry, self.config.servers.get(self.entries.get(entry)?.server)?.clone()))
        });
        let process = process.and_then(|fd| ServerProcess::from_pidfd(fd).ok());
        let (note, (entry, config), process) = match (note, config, process) {
            (Some(note), Some(config), Some(process)) => (note, config, process),
            (_, _, process) => {
                // Half of a start, or of no server any more: by its cgroup it is found among the strays.
                warn!(slot, "a process of the worker before has no place any more: it is stopped");
                for listener in &listeners {
                    let _ = listener.stop();
                }
                if let Some(process) = process.filter(|_| self.cgroups.is_none()) {
                    let _ = process.signal(Signal::TERM);
                }
                return self.forget_run(slot);
            }
        };
        self.generation = self.generation.max(note.generation);
        let fits = note.fingerprint == fingerprint(&config);
        // The worker before may have died while it closed them, and its kernel may have chosen where ours does not.
        let is_ours = |(listener, (at, _)): (&Listener, &(SocketAddr, Arc<Listener>))| {
            (listener.at == *at) == self.balance.is_kernel()
        };
        let listens = listeners.len() == self.own.len() && listeners.iter().zip(&self.own).all(is_ours);
        let enlisted =
            listeners.iter().enumerate().filter(|_| listens).try_for_each(|(address, listener)| {
                self.balance.enlist(address, slot, note.generation, listener.as_fd())
            });
        if let Err(error) = &enlisted {
            warn!(slot, "the process of the worker before is replaced: {error}");
        }
        let listens = listens && enlisted.is_ok();
        let phase = match (note.serves && listens, note.answered) {
            (false, _) => Phase::Draining(now + self.config.drain_timeout),
            (true, true) => Phase::Ready,
            (true, false) => Phase::Starting,
        };
        let ready = (phase == Phase::Ready).then_some(now);
        let drain_until = now + self.config.drain_timeout;
        self.entries[entry].member.adopt(Run { slot, phase, started: now, ready }, drain_until);
        if !fits && note.serves && listens {
            self.rolling.push_back(note.name.clone());
        }
        let handover = ours.zip(theirs).map(|(ours, theirs)| HandoverEnds { ours: Arc::new(ours), theirs });
        let run = RunParts {
            name: note.name,
            config: Arc::new(config),
            generation: note.generation,
            listeners,
            handover,
            process: Some(Arc::new(process)),
            ended: None,
            retired: false,
            settings: SlotSettings::default(),
            judged: Judged { answered: note.answered, ..Judged::default() },
            started: started(note.since),
            since: note.since,
            noted: None,
            coming: 0,
            blocked_until: None,
            unread: None,
            tasks: Vec::new(),
        };
        self.runs.insert(slot, run);
        if !listens {
            self.retire(slot);
        }
        self.watch_over(slot);
    }
}
