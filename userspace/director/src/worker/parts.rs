//! The parts of the loop: what happens, who waits, which processes there are.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpSocket,
    sync::{OwnedSemaphorePermit, oneshot},
    task::AbortHandle,
};
use xdp_ebpf::director::layout::{STATE_READY, SlotSettings};
use zerottl_core::model::{RestartConfig, ServerConfig};

use crate::{
    handover::Handed,
    listeners::Listener,
    member::Member,
    spawn::{ServerProcess, SpawnError},
    waiting_list::Ticket,
};

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection that no server was chosen for.
    Arrived(Arrival),
    /// One that waited has closed.
    Left(Ticket),
    /// A start has ended, well or not.
    Started { slot: u32, generation: u64, process: Result<ServerProcess, SpawnError> },
    /// A process has ended.
    Ended { slot: u32, generation: u64, how: String },
    /// A check asks for a socket whose connection goes to a slot.
    Ask { slot: u32, target: SocketAddr, reply: oneshot::Sender<io::Result<TcpSocket>> },
    /// A process was asked, and answered or not.
    Checked { slot: u32, generation: u64, verdict: Result<(), String> },
    /// A process says something.
    Said { slot: u32, generation: u64, what: Handed, turn: OwnedSemaphorePermit },
    /// A connection that is to be relayed has reached its server, which is counted from now on, or has not.
    Reached { slot: u32, generation: u64 },
    /// A relayed connection has ended.
    Relayed { slot: u32, generation: u64 },
}

/// A configured process.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `app-1`.
    pub(crate) name: String,
    /// Which of the configuration's servers.
    pub(crate) server: usize,
    pub(crate) member: Member,
    /// Handed over and relayed, by all its processes.
    pub(crate) handed: u64,
    pub(crate) relayed: u64,
}

/// Counters since this worker began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) waited: u64,
    pub(crate) timeouts: u64,
    pub(crate) left: u64,
    pub(crate) full: u64,
    pub(crate) handed: u64,
    pub(crate) relayed: u64,
    pub(crate) relays: u64,
}

impl Entry {
    /// Makes one that starts at once.
    pub(crate) fn new(name: String, server: usize, restart: &RestartConfig) -> Self {
        Self { name, server, member: Member::new(restart), handed: 0, relayed: 0 }
    }
}

/// A connection that came to the director.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which of its addresses it came to.
    pub(crate) address: usize,
    pub(crate) client: SocketAddr,
    pub(crate) stream: TcpStream,
    /// Since when it is here.
    pub(crate) since: Instant,
    /// The process that gave it away, which does not get it back.
    pub(crate) giver: Option<Giver>,
}

impl Arrival {
    /// Makes one that has just come.
    pub(crate) fn new(address: usize, client: SocketAddr, stream: TcpStream) -> Self {
        Self { address, client, stream, since: Instant::now(), giver: None }
    }
}

/// A process that gave a connection away.
#[derive(Clone, Debug)]
pub(crate) struct Giver {
    pub(crate) name: String,
    pub(crate) generation: u64,
}

/// One that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) arrival: Arrival,
    /// Its name at the keeper.
    pub(crate) kept: String,
    /// Sees when the client leaves.
    pub(crate) watcher: AbortHandle,
}

/// Both ends of the socket by which connections go to a server.
#[derive(Debug)]
pub(crate) struct HandoverEnds {
    pub(crate) ours: Arc<OwnedFd>,
    /// The server's end, for what it has not read when it dies.
    pub(crate) theirs: OwnedFd,
}

/// One process.
#[derive(Debug)]
pub(crate) struct RunParts {
    /// `app-1`.
    pub(crate) name: String,
    /// The configuration that it was started by.
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) generation: u64,
    /// By address; each of the order of the configuration's.
    pub(crate) listeners: Vec<Listener>,
    pub(crate) handover: Option<HandoverEnds>,
    /// None until it has started.
    pub(crate) process: Option<Arc<ServerProcess>>,
    pub(crate) ended: Option<String>,
    /// Its listeners are shut down.
    pub(crate) retired: bool,
    /// As the kernel knows it.
    pub(crate) settings: SlotSettings,
    pub(crate) judged: Judged,
    /// When it was started.
    pub(crate) started: Instant,
    /// That moment, seconds since 1970.
    pub(crate) since: u64,
    /// The note that the next worker would find.
    pub(crate) noted: Option<RunNote>,
    /// Connections that are on the way to it by a relay, and that nobody has counted yet.
    pub(crate) coming: u32,
    /// It takes no connections by message until then.
    pub(crate) blocked_until: Option<Instant>,
    /// The first message that it has not read, and since when that is the first.
    pub(crate) unread: Option<(Vec<u8>, Instant)>,
    pub(crate) tasks: Vec<AbortHandle>,
}

impl RunParts {
    /// Whether it takes a connection that has waited.
    pub(crate) fn takes(&self) -> bool {
        self.settings.state == STATE_READY
            && self.ended.is_none()
            && !self.judged.hangs
            && self.blocked_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Where it is reached through the address of this number, from this machine.
    pub(crate) fn place(&self, address: usize) -> Option<SocketAddr> {
        let place = self.listeners.get(address)?.at;
        let ip = match place.ip() {
            ip if !ip.is_unspecified() => ip,
            ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv6Addr::LOCALHOST.into(),
        };
        Some(SocketAddr::new(ip, place.port()))
    }
}

/// A note of a process for the next worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunNote {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) since: u64,
    /// It serves or is about to; else it is about to end.
    pub(crate) serves: bool,
    /// It has answered.
    pub(crate) answered: bool,
    /// The configuration that it was started by; another configuration replaces it.
    pub(crate) fingerprint: String,
}

/// Sums up what of a server's configuration a running process cannot change.
pub(crate) fn fingerprint(config: &ServerConfig) -> String {
    let ServerConfig { command, handover, hang_after, user, cpus, memory_max, environment, .. } = config;
    let text =
        format!("{command:?} {handover} {} {user:?} {cpus:?} {memory_max:?} {environment:?}", hang_after.is_some());
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Everything known of a process by asking it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// It has answered once.
    pub(crate) answered: bool,
    /// Checks in a row that it has failed, and the last reason.
    pub(crate) failures: u32,
    pub(crate) failure: String,
    /// By its page it hangs.
    pub(crate) hangs: bool,
    /// Looks in a row that have found it hanging.
    pub(crate) hung_looks: u32,
    /// Nanoseconds since it last went round its loop.
    pub(crate) age: Option<u64>,
    /// Work that it has by its own word.
    pub(crate) pending: Option<u32>,
}
