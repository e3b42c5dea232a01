//! Processes of servers: each with its listeners, its descriptors, its slot.

use std::{
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};
use tracing::{debug, warn};
use xdp_ebpf::director::layout::{STATE_CLOSED, SlotSettings, WAITING};
use zerottl_core::model::{ServerCommand, ServerConfig};
use zerottl_host::socket_names::SITE_ADMIN;
use zerottl_kernel::readiness::readable;
use zerottl_server::{HANDOVER, PAGE};

use super::{
    parts::{Arrival, Event, Giver, HandoverEnds, Judged, RunNote, RunParts, fingerprint},
    state::Worker,
};
use crate::{
    admin,
    handover::{self, Handed},
    listeners::{ListenError, Listener, ListenerOwner},
    spawn::{self, ServerProcess, ServerStart, SpawnError},
};

/// Messages of one server that the loop has not looked at yet, at most: whoever says more than that waits.
const TURNS: usize = 16;
/// The time in which a server has to read the first of the connections that it was handed: then others get them.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// The parts that become a server's descriptors.
struct DescriptorParts<'a> {
    own: &'a [(SocketAddr, Arc<Listener>)],
    listeners: &'a [Listener],
    handover: Option<&'a HandoverEnds>,
    page: Option<OwnedFd>,
    /// Where a `zerottl site` process shows its state.
    admin: Option<OwnedFd>,
}

impl DescriptorParts<'_> {
    /// Copies, in order, with names: a listener is called as what it stands for.
    fn named(self) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut named = Vec::new();
        for ((_, own), listener) in self.own.iter().zip(self.listeners) {
            named.push((own.name(), listener.as_fd().try_clone_to_owned()?));
        }
        if let Some(ends) = self.handover {
            named.push((HANDOVER.to_owned(), ends.theirs.try_clone()?));
        }
        named.extend(self.page.map(|page| (PAGE.to_owned(), page)));
        named.extend(self.admin.map(|socket| (SITE_ADMIN.to_owned(), socket)));
        Ok(named)
    }
}

/// A start as a task has it.
struct OwnedStart {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    descriptors: Vec<(String, OwnedFd)>,
    environment: Vec<(String, String)>,
    cgroup: Option<PathBuf>,
    config: Arc<ServerConfig>,
}

impl OwnedStart {
    async fn start(self) -> Result<ServerProcess, SpawnError> {
        let descriptors: Vec<_> = self.descriptors.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
        let start = ServerStart {
            name: &self.name,
            program: &self.program,
            arguments: &self.arguments,
            descriptors: &descriptors,
            environment: &self.environment,
            user: self.config.user.as_deref(),
            cpus: &self.config.cpus,
            cgroup: self.cgroup.as_deref(),
        };
        spawn::start(&start).await
    }
}

/// Hears what a server says by its socket.
async fn listen_to(ours: Arc<OwnedFd>, events: mpsc::Sender<Event>, slot: u32, generation: u64) {
    let Ok(socket) = ours.try_clone().and_then(readable) else { return };
    let turns = Arc::new(Semaphore::new(TURNS));
    while let (Ok(turn), Ok(mut ready)) = (Arc::clone(&turns).acquire_owned().await, socket.readable().await) {
        let Ok(received) = ready.try_io(|socket| handover::receive(socket.get_ref())) else { continue };
        // At the end it has closed its descriptor, or is gone.
        let Ok(Some(what)) = received else { return };
        if matches!(what, Handed::Unknown) {
            debug!(slot, "a message that nobody knows");
            continue;
        }
        if events.send(Event::Said { slot, generation, what, turn }).await.is_err() {
            return;
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// When a process was started that a note says of since when it runs, seconds since 1970.
pub(crate) fn started(since: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(unix_now().saturating_sub(since))).unwrap_or(now)
}

impl Worker {
    /// Starts a process of a configured one. The start itself goes on beside the loop, which hears of it by
    /// [`Event::Started`].
    pub(crate) fn start_run(&mut self, at: usize) -> Result<u32, String> {
        let Some(entry) = self.entries.get(at) else { return Err("no such server".into()) };
        let (name, server) = (entry.name.clone(), entry.server);
        let Some(config) = self.config.servers.get(server).cloned().map(Arc::new) else {
            return Err("the configuration has no such server".into());
        };
        let slot = self.free_slot().ok_or("no free slot: too many processes are still finishing their connections")?;
        self.generation += 1;
        let generation = self.generation;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let listeners = self.listeners_of_server().map_err(|error| text(&error))?;
        let handover = if config.handover {
            let made = handover::pair().map_err(|error| format!("making a socket for hand-over: {error}"))?;
            Some(HandoverEnds { ours: Arc::new(made.0), theirs: made.1 })
        } else {
            None
        };
        self.balance.reset(slot);
        let page = config.hang_after.and_then(|_| self.balance.new_page(slot));
        let admin = (config.command == ServerCommand::Site).then(|| self.site_socket(&name, slot)).flatten();
        let parts = DescriptorParts { own: &self.own, listeners: &listeners, handover: handover.as_ref(), page, admin };
        let descriptors = parts.named().map_err(|error| format!("copying descriptors: {error}"))?;
        for (address, listener) in listeners.iter().enumerate() {
            self.balance.enlist(address, slot, generation, listener.as_fd())?;
            self.keep(&format!("run.{slot}.listen.{address:02}"), listener);
        }
        if let Some(ends) = &handover {
            self.keep(&format!("run.{slot}.ours"), &*ends.ours);
            self.keep(&format!("run.{slot}.theirs"), &ends.theirs);
        }
        let cgroup = self.cgroup_of(&name, slot, &config);
        let (program, arguments) = self.program_of(&config);
        let environment = config.environment.clone();
        let start = OwnedStart {
            name: name.clone(),
            program,
            arguments,
            descriptors,
            environment,
            cgroup,
            config: Arc::clone(&config),
        };
        let events = self.events.clone();
        let starting = tokio::spawn(async move {
            let process = start.start().await;
            let _ = events.send(Event::Started { slot, generation, process }).await;
        });
        let run = RunParts {
            name,
            config,
            generation,
            listeners,
            handover,
            process: None,
            ended: None,
            retired: false,
            settings: SlotSettings { state: STATE_CLOSED, ..SlotSettings::default() },
            judged: Judged::default(),
            started: Instant::now(),
            since: unix_now(),
            noted: None,
            coming: 0,
            blocked_until: None,
            unread: None,
            tasks: vec![starting.abort_handle()],
        };
        self.runs.insert(slot, run);
        Ok(slot)
    }

    /// Makes the listening sockets of a server, one for each address.
    fn listeners_of_server(&self) -> Result<Vec<Listener>, ListenError> {
        let place = |(at, _): &(SocketAddr, Arc<Listener>)| {
            // Without the kernel's choice a server listens where nobody but this process connects to.
            let at = if self.balance.is_kernel() { *at } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
            Listener::new(at, ListenerOwner::Server)
        };
        self.own.iter().map(place).collect()
    }

    fn cgroup_of(&mut self, name: &str, slot: u32, config: &ServerConfig) -> Option<PathBuf> {
        let cgroups = self.cgroups.as_ref()?;
        match cgroups.make(&format!("{name}.{slot}"), config.memory_max) {
            Ok(path) => Some(path),
            Err(error) => {
                warn!(server = name, %error, "runs without a cgroup of its own");
                None
            }
        }
    }

    fn program_of(&self, config: &ServerConfig) -> (PathBuf, Vec<OsString>) {
        match &config.command {
            ServerCommand::Program(command) => {
                let mut command = command.iter().map(OsString::from);
                let program = command.next().unwrap_or_default();
                (program.into(), command.collect())
            }
            ServerCommand::Site => (spawn::own_program(), self.site_arguments.clone()),
        }
    }

    /// A start has ended, well or not.
    pub(crate) fn has_started(&mut self, slot: u32, generation: u64, process: Result<ServerProcess, SpawnError>) {
        let process = match process {
            Ok(process) => process,
            Err(error) => {
                if let Some(run) = self.run_of(slot, generation) {
                    run.ended = Some(format!("did not start: {}", error.fault));
                }
                return self.look();
            }
        };
        self.keep(&format!("run.{slot}.process"), &process);
        let Some(run) = self.run_of(slot, generation) else {
            // It was given up meanwhile.
            let _ = process.signal_group(Signal::KILL);
            return;
        };
        run.process = Some(Arc::new(process));
        self.watch_over(slot);
        self.look();
    }

    /// Begins to wait for what a process does.
    pub(crate) fn watch_over(&mut self, slot: u32) {
        let Some(run) = self.runs.get_mut(&slot) else { return };
        let generation = run.generation;
        if let Some(process) = run.process.clone() {
            let events = self.events.clone();
            let wait = tokio::spawn(async move {
                let how = process.ended().await.to_string();
                let _ = events.send(Event::Ended { slot, generation, how }).await;
            });
            run.tasks.push(wait.abort_handle());
        }
        if let Some(ends) = &run.handover {
            let listen = tokio::spawn(listen_to(Arc::clone(&ends.ours), self.events.clone(), slot, generation));
            run.tasks.push(listen.abort_handle());
        }
        self.begin_checks(slot);
        self.note(slot);
    }

    /// Has the keeper hold a descriptor.
    pub(crate) fn keep(&self, name: &str, fd: impl AsFd) {
        if let Err(error) = self.link.keep(name, fd) {
            warn!(%error, "{name} does not outlive this process");
        }
    }

    /// Writes down what the next worker has to know of a process, if that is something new.
    pub(crate) fn note(&mut self, slot: u32) {
        let Some(run) = self.runs.get(&slot) else { return };
        let serves = self.entries.iter().filter(|entry| entry.name == run.name).any(|entry| {
            let phase = |one: &crate::member::Run| one.slot == slot && one.is_serving();
            entry.member.runs().any(phase)
        });
        let note = RunNote {
            name: run.name.clone(),
            generation: run.generation,
            since: run.since,
            serves,
            answered: run.judged.answered,
            fingerprint: fingerprint(&run.config),
        };
        if run.noted.as_ref() == Some(&note) {
            return;
        }
        let Ok(text) = serde_json::to_string(&note) else { return };
        if let Err(error) = self.link.note(&format!("run.{slot}"), &text) {
            warn!(%error, server = run.name, "is not known to the next worker");
        }
        if let Some(run) = self.runs.get_mut(&slot) {
            run.noted = Some(note);
        }
    }

    /// Ends listening for a process: what its queues hold goes to others.
    pub(crate) fn retire(&mut self, slot: u32) {
        let Some(run) = self.runs.get_mut(&slot) else { return };
        if std::mem::replace(&mut run.retired, true) {
            return;
        }
        let settings = SlotSettings { state: STATE_CLOSED, ..run.settings };
        run.settings = settings;
        self.balance.set_slot(slot, settings);
        let Some(run) = self.runs.get(&slot) else { return };
        for (address, listener) in run.listeners.iter().enumerate() {
            // Whoever else has a copy, it ends here, and the kernel moves what is queued.
            if let Err(error) = listener.stop() {
                debug!(%error, server = run.name, "ending to listen failed");
            }
            self.balance.dismiss(address, slot);
        }
        self.note(slot);
    }

    /// Sends a signal to a process; SIGKILL to its whole group.
    pub(crate) fn signal(&mut self, slot: u32, kill: bool) {
        let Some(run) = self.runs.get(&slot) else { return };
        let Some(process) = &run.process else { return };
        let sent = if kill { process.signal_group(Signal::KILL) } else { process.signal(Signal::TERM) };
        if let Err(error) = sent {
            debug!(%error, server = run.name, "the signal was not sent");
        }
    }

    /// Clears up after a process that has ended.
    pub(crate) fn bury(&mut self, slot: u32) {
        self.retire(slot);
        let Some(run) = self.runs.remove(&slot) else { return };
        run.tasks.iter().for_each(AbortHandle::abort);
        self.forget_run(slot);
        if run.config.command == ServerCommand::Site {
            let _ = fs::remove_file(self.site_admin(&run.name, slot));
        }
        if let Some(cgroups) = &self.cgroups {
            // Children that it has left hold its connections.
            super::strays::remove(cgroups, format!("{}.{slot}", run.name));
        }
        self.buried.insert(slot);
        if let Some(ends) = &run.handover {
            self.take_back(slot, handover::unread(&ends.theirs));
        }
    }

    /// Gives connections to others that were handed to a server, which has not read them.
    fn take_back(&mut self, slot: u32, unread: Vec<(SocketAddr, OwnedFd)>) {
        for (client, connection) in unread {
            let stream = TcpStream::from(connection);
            let _ = stream.set_nonblocking(true);
            let local = stream.local_addr().map_or(0, |at| at.port());
            let address = self.own.iter().position(|(at, _)| at.port() == local).unwrap_or(0);
            self.balance.adopt(stream.as_fd(), WAITING, 0);
            self.balance.closed(slot);
            self.arrived(Arrival::new(address, client, stream));
        }
    }

    /// Takes connections back from servers that do not read them.
    pub(crate) fn look_at_handovers(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (slot, run) in &mut self.runs {
            let Some(ends) = &run.handover else { continue };
            let first = handover::first_unread(&ends.theirs);
            match (&run.unread, first) {
                (Some((known, since)), Some(first)) if *known == first => {
                    if now.saturating_duration_since(*since) >= UNREAD_MAX {
                        (run.unread, run.blocked_until) = (None, Some(now + UNREAD_MAX));
                        late.push((*slot, run.name.clone(), handover::unread(&ends.theirs)));
                    }
                }
                (_, first) => run.unread = first.map(|first| (first, now)),
            }
        }
        for (slot, server, unread) in late {
            debug!(server, connections = unread.len(), "reads no connections that it is handed: others get them");
            self.take_back(slot, unread);
        }
    }

    /// Has the keeper forget a process.
    pub(crate) fn forget_run(&self, slot: u32) {
        for address in 0..self.own.len() {
            self.release(&format!("run.{slot}.listen.{address:02}"));
        }
        for part in ["process", "ours", "theirs"] {
            self.release(&format!("run.{slot}.{part}"));
        }
        if let Err(error) = self.link.forget(&format!("run.{slot}")) {
            debug!(%error, "telling the parent process failed");
        }
    }

    /// Where a `zerottl site` process shows its state.
    pub(crate) fn site_admin(&self, name: &str, slot: u32) -> PathBuf {
        self.runtime.join(format!("{}-{name}.{slot}.sock", self.site))
    }

    /// Makes the socket for that: the process may be of another user, who could neither make it nor let this one in.
    fn site_socket(&self, name: &str, slot: u32) -> Option<OwnedFd> {
        let path = self.site_admin(name, slot);
        match admin::unix_socket(&path, 0o600) {
            Ok(socket) => Some(socket.into()),
            Err(error) => {
                warn!(server = name, %error, "{}: it does not show its state", path.display());
                None
            }
        }
    }

    fn release(&self, name: &str) {
        if let Err(error) = self.link.release(name) {
            debug!(%error, "telling the parent process failed");
        }
    }

    /// A process has said something.
    pub(crate) fn said(&mut self, slot: u32, generation: u64, what: Handed) {
        let Some(run) = self.run_of(slot, generation) else { return };
        let name = run.name.clone();
        match what {
            // One that it has given away already, or never had, would be held by another as often as it says so.
            Handed::Given { connection, .. } if !self.balance.is_of(connection.as_fd(), slot) => {
                debug!(server = name, "what it gave away is no connection of its own: closed");
            }
            Handed::Given { to, connection } => {
                self.balance.closed(slot);
                self.given(&Giver { name, generation }, &to, connection);
            }
            Handed::Done => self.balance.closed(slot),
            Handed::Unknown => {}
        }
    }

    /// Closes the director's own listeners.
    pub(crate) fn close_own(&mut self) {
        for (at, listener) in &self.own {
            if let Err(error) = listener.stop() {
                debug!(%at, %error, "ending to listen failed");
            }
        }
    }
}
