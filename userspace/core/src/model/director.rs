//! `[director]`: which application servers a Site's connections are given to, and how.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Processes of all servers together, at most: each has a slot of the kernel program's table, and so has one that is being
/// replaced while the next one serves already.
pub const PROCESSES_MAX: u32 = 31;
/// Places that are listened on, at most.
pub const LISTEN_MAX: usize = 16;

/// `[director]` as it is for one Site: the shared keys, with what `[director.SITE]` says instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Director {
    /// Where connections are taken; where `[web]` listens, plain and TLS, unless given. At least one, at most
    /// [`LISTEN_MAX`], none twice.
    pub listen: Vec<SocketAddr>,
    /// Those of `listen` at which TLS is spoken: where `[web.tls]` listens, and port 443. No answer can be given there.
    pub encrypted: Vec<SocketAddr>,
    /// How a server is chosen.
    pub policy: ConnectionPolicy,
    /// How long a client address that comes back meets the server it had; none is not at all.
    pub affinity: Option<Duration>,
    /// The treatment of connections that no server has a place for.
    pub waiting: WaitingConfig,
    /// The time that a server has to finish its connections when it is stopped or replaced.
    pub drain_timeout: Duration,
    /// The time over which the share of a server that has just started grows to its weight; zero is at once.
    pub slow_start: Duration,
    /// When servers that fail are started again.
    pub restart: RestartConfig,
    /// Where status, metrics and the load report are served over HTTP; none is nowhere. The Site's `web.admin` unless
    /// given, and 127.0.0.1:8054 without `[web]`.
    pub admin: Option<SocketAddr>,
    /// The Unix socket for `zerottl director status`, its verbs and `explain`.
    pub control: PathBuf,
    /// The folder on a bpffs with what outlives the director.
    pub pins: PathBuf,
    /// The servers; at least one, their processes at most [`PROCESSES_MAX`] together.
    pub servers: Vec<ServerConfig>,
}

impl Director {
    /// The port that TLS is spoken at by custom.
    pub const HTTPS: u16 = 443;

    /// Returns `drain_timeout` unless the file says.
    #[must_use]
    pub fn default_drain_timeout() -> Duration {
        Duration::from_secs(30)
    }

    /// Returns where `control` is unless the file says.
    #[must_use]
    pub fn default_control() -> PathBuf {
        PathBuf::from("/run/zerottl/director.sock")
    }

    /// Returns where `pins` is unless the file says.
    #[must_use]
    pub fn default_pins() -> PathBuf {
        PathBuf::from("/sys/fs/bpf/zerottl-director")
    }

    /// Returns the answer to a connection to one of `listen` that has waited in vain: a close where TLS is spoken.
    #[must_use]
    pub fn busy_answer(&self, listen: SocketAddr) -> BusyAnswer {
        if self.encrypted.contains(&listen) { BusyAnswer::Close } else { self.waiting.answer }
    }
}

/// `director.policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionPolicy {
    /// In turn, by weight, among those with a free place.
    #[default]
    WeightedRoundRobin,
    /// The fewest connections for its weight, in turn among equals.
    LeastConnections,
}

/// `director.waiting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingConfig {
    /// Connections that wait, at most; beyond them the answer is given at once. 0 is nobody waits.
    pub max: usize,
    /// The time that one waits, at most.
    pub timeout: Duration,
    /// The answer to one that has waited in vain, where no TLS is spoken: see [`Director::busy_answer`].
    pub answer: BusyAnswer,
}

impl Default for WaitingConfig {
    /// The file's own defaults.
    fn default() -> Self {
        Self { max: 1024, timeout: Duration::from_secs(30), answer: BusyAnswer::Http }
    }
}

/// `director.waiting.answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyAnswer {
    /// A response of HTTP/1.1 with status 503 and `Retry-After`, then a close.
    Http,
    /// A close.
    Close,
}

/// `director.restart`: a server that ends, or fails its check, is started again after a delay that doubles each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartConfig {
    /// The first delay.
    pub delay: Duration,
    /// The longest delay.
    pub delay_max: Duration,
    /// Restarts of a process within `window`, at most; the one after them is not made, and it stays down until it is told to
    /// start. 0 is never by itself.
    pub budget: u32,
    /// That window; a process that has run for so long starts with the first delay again.
    pub window: Duration,
}

impl Default for RestartConfig {
    /// The file's own defaults.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(30),
            budget: 10,
            window: Duration::from_mins(5),
        }
    }
}

/// One of `[[director.server]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Its name, at most 32 bytes: a letter or digit, then letters, digits, `-`, `_`. Processes are called `NAME-1`,
    /// `NAME-2`, …; no server bears the name of a process.
    pub name: String,
    /// The program that is started.
    pub command: ServerCommand,
    /// Processes of it, at least 1.
    pub count: u32,
    /// Its share, 1 to 1000.
    pub weight: u32,
    /// Whether it gets connections only while no server serves that is not on standby.
    pub standby: bool,
    /// Connections of one process at a time; none is without a limit.
    pub max_connections: Option<u32>,
    /// Whether it has a descriptor by which it takes connections that have waited, with the client's address.
    pub handover: bool,
    /// It has a page, and hangs when it has not gone round its loop for so long; none is no page.
    pub hang_after: Option<Duration>,
    /// How it is checked; none is by nothing but its life and its page.
    pub check: Option<ServerCheck>,
    /// The user it runs as, a name or a number; the director's own unless given.
    pub user: Option<String>,
    /// The CPUs it may run on, each once, in order; empty is all.
    pub cpus: Vec<u32>,
    /// Bytes of memory of one process and its children (`memory.max` of its cgroup); none is without a limit.
    pub memory_max: Option<u64>,
    /// Variables of its environment besides those of the contract, in order of their names, each once.
    pub environment: Vec<(String, String)>,
}

/// `director.server.command`, or `kind = "site"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCommand {
    /// A program and its arguments; the program is an absolute path.
    Program(Vec<String>),
    /// `zerottl site` of the same file and Site.
    Site,
}

/// `director.server.check`: whether a process answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCheck {
    /// The path of a GET that 2xx and 3xx answer; none is a TCP connection that is taken, which a hanging process's queue does,
    /// too.
    pub path: Option<String>,
    /// From one start to the next.
    pub interval: Duration,
    /// Until an attempt counts as failed.
    pub timeout: Duration,
    /// Failures in a row that make it down; it is then stopped and started again.
    pub failures: u32,
}

impl Default for ServerCheck {
    /// The file's own defaults.
    fn default() -> Self {
        Self { path: None, interval: Duration::from_secs(1), timeout: Duration::from_secs(1), failures: 3 }
    }
}
