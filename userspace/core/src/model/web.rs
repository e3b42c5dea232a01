//! `[web]`: what runs at a Site, beside what DNS knows of it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::GroupId;

/// `[web]` as it is for one Site: the shared keys, with what `[web.SITE]` says instead.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where plain HTTP is taken; the Site's own addresses, port 80, unless given. Empty is none.
    pub listen: Vec<SocketAddr>,
    /// Where HTTPS is taken.
    pub tls: Option<WebTls>,
    /// Where metrics, the load report, the state of backends and the checks for other servers are; none is nowhere.
    pub admin: Option<SocketAddr>,
    /// The application servers, HTTP/1.1 without TLS; empty where only checks are served.
    pub backends: Vec<Backend>,
    /// Where application servers invite requests, instead of `backends`; none is nowhere.
    pub invite: Option<InviteConfig>,
    /// Where each request is asked about before it reaches an application server; none lets all pass.
    pub screen: Option<Screen>,
    /// How backends' health is found out.
    pub backend_probe: BackendProbe,
    /// Where each request is written to; none is nowhere.
    pub access_log: Option<AccessLog>,
    /// Other names of the Site (C13), lower case, without a trailing dot.
    pub aliases: Vec<String>,
    /// Whether Fig. 5B is run (C20).
    pub overflow: bool,
    /// Requests that operation 500 leaves alone.
    pub pass: Vec<Passed>,
    /// The name that backends are asked by; none is the one that the client asked for.
    pub backend_host: Option<String>,
    /// Whether an admitted GET is sent to its URL without the marker, by a 303 (C18).
    pub clean_url: bool,
    /// How redirects are made.
    pub redirect: RedirectForm,
    /// The marker.
    pub marker: MarkerConfig,
    /// When the Site is too busy, and what it says then.
    pub busy: BusyConfig,
    /// Priority classes, the first that matches; those whom none matches have a share of 1.
    pub classes: Vec<PriorityClass>,
    /// The settings of sessions.
    pub session: SessionConfig,
    /// The cookie that records a client's group (S4-4C-FLAG); none is off.
    pub flag: Option<FlagConfig>,
    /// Which group a request belongs to: the first rule that matches. After them comes the flag, then client nets.
    pub rules: Vec<GroupRule>,
    /// Where the state of the other Sites is known from.
    pub peers: Peers,
    /// From whom `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded`, are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The name of the front in `Via`; empty is no such field.
    pub via: String,
    /// Bounds on connections and requests.
    pub limits: WebLimits,
}

/// `web.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTls {
    /// Where HTTPS is taken.
    pub listen: Vec<SocketAddr>,
    /// A folder of `NAME.pem` (chain and key together) or `NAME.crt` and `NAME.key`; names are in the certificates.
    pub certificates: PathBuf,
}

/// One of `web.backends`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// As written, for people: `http://127.0.0.1:8080`.
    pub url: String,
    /// Host and port, for connecting.
    pub authority: String,
}

/// `web.invite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteConfig {
    /// Where application servers open their channels.
    pub listen: SocketAddr,
    /// A file with the token that they show; none only on loopback.
    pub token: Option<PathBuf>,
    /// Where the workers of the Site take invitations, this one's own place among them or not.
    pub workers: Vec<Backend>,
    /// From one beat to the next.
    pub beat: Duration,
    /// Without a beat for so long, the other end counts as stopped.
    pub stall: Duration,
    /// Requests that wait for an application server at a time, at most.
    pub waiting: usize,
    /// How long one waits, at most.
    pub patience: Duration,
}

impl InviteConfig {
    /// Creates one with the file's defaults.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            token: None,
            workers: Vec::new(),
            beat: Duration::from_secs(1),
            stall: Duration::from_secs(3),
            waiting: 1000,
            patience: Duration::from_secs(10),
        }
    }
}

/// `web.screen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// The host that is asked.
    pub at: Backend,
    /// Path and query.
    pub path: String,
}

/// `web.backend_probe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendProbe {
    /// The path that is asked for; none is a TCP handshake.
    pub path: Option<String>,
    /// From one start to the next.
    pub interval: Duration,
    /// Until an attempt counts as failed.
    pub timeout: Duration,
}

/// `web.access_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// The file; none is standard output.
    pub file: Option<PathBuf>,
    /// The format of a line.
    pub format: AccessFormat,
}

/// `web.access_log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// NCSA's common log format.
    Common,
    /// The common log format with `Referer` and `User-Agent`, as nginx and Apache write it.
    #[default]
    Combined,
    /// An object of JSON, with all that is known.
    Json,
}

/// One of `web.pass`: what every part that is given matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its method; none is any.
    pub method: Option<String>,
    /// The path is this, or goes on after it with a `/`; none is any.
    pub path: Option<String>,
}

/// `web.redirect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectForm {
    /// 302 to GET and HEAD, 307 to others, with `Location` (C10).
    Status,
    /// A page with a META refresh, for GET; others as `Status`.
    Meta,
}

/// `web.marker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerConfig {
    /// Where it stands.
    pub mode: MarkerMode,
    /// How long it holds, seconds.
    pub lifetime: u64,
    /// How far the clocks of Sites may be apart (C16), seconds.
    pub skew: u64,
    /// A file whose bytes are the key of its HMAC (C19); none is without one.
    pub key: Option<PathBuf>,
}

/// `web.marker.mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerMode {
    /// The last segment of the path.
    Path,
    /// The last parameter of the query.
    Query,
    /// A cookie of this domain, below which all Site Names are.
    Cookie {
        /// Its `Domain`.
        domain: String,
    },
}

/// `web.busy`.
#[derive(Clone, Debug, PartialEq)]
pub struct BusyConfig {
    /// Requests under way at which the Site is too busy; 0 is never.
    pub in_flight: u32,
    /// Times its usual latency at which it is too busy; 0 is never, else over 1.
    pub latency: f64,
    /// Sessions at which it is too busy; 0 is never.
    pub sessions: u64,
    /// The part of a limit that it must fall below to be no longer too busy, over 0, at most 1.
    pub resume: f64,
    /// The status of the busy page (C9): 503 or 200.
    pub status: u16,
    /// When a client that was turned away is told to return, at the earliest.
    pub retry: Duration,
    /// The part of `in_flight` and `sessions` that one client may fill, over 0; 1 is without a bound of its own.
    pub client_share: f64,
    /// The addresses that are one client: so many bits of an IPv4, and of an IPv6 address.
    pub client_prefix: (u8, u8),
}

/// `[[web.class]]`: whose requests are deferred later than others'.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorityClass {
    /// The operator's name for it.
    pub name: String,
    /// Whom it is for.
    pub when: Condition,
    /// The part of each limit of `busy` that its requests may fill, over 0, at most 1: the lowest is deferred first.
    pub share: f64,
}

/// `web.session.write`: when a change of a session is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// At once; the copies follow.
    #[default]
    Async,
    /// Once one session server has it.
    AckOne,
    /// Once all that are to have it do.
    AckAll,
}

/// Session servers of a Site, at most.
pub const SESSION_SERVERS_MAX: usize = 8;

/// One of `web.session.servers`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionServerConfig {
    /// Its name: host and port. Nothing else tells two servers apart.
    pub name: String,
    /// Its failure domain: what fails as a whole, such as its host or its rack.
    pub domain: String,
    /// How it is reached: `redis://user@host:port/database`, or `rediss://…`; never with a password.
    pub url: String,
    /// Whether it is spoken to by TLS.
    pub tls: bool,
}

/// Bytes of a session's data, at most: as many as `web.session.size_max` allows.
pub const SESSION_SIZE_MAX: usize = 8 << 20;

/// `web.session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The cookie's name.
    pub cookie: String,
    /// How long a session lives after its last request.
    pub lifetime: Duration,
    /// A file whose bytes are the key that sessions are signed with; random at each start where none.
    pub key: Option<PathBuf>,
    /// `SameSite` of all cookies that the Site sets.
    pub same_site: SameSite,
    /// The session servers, each once; at most [`SESSION_SERVERS_MAX`].
    pub servers: Vec<SessionServerConfig>,
    /// A file whose first line is the password at all of them.
    pub servers_password: Option<PathBuf>,
    /// A file of certificates (PEM) that those of the servers must be signed by; none is those that the system trusts.
    pub servers_ca: Option<PathBuf>,
    /// Copies of each session, each at a server of its own; at most as many as there are servers.
    pub copies: usize,
    /// When a change is acknowledged.
    pub write: WriteMode,
    /// How long a worker that is cut off from the servers may serve from its memory.
    pub lease: Duration,
    /// Until a server counts as away; below half of `lease`.
    pub timeout: Duration,
    /// A file that keeps sessions over a restart, where there are no servers.
    pub journal: Option<PathBuf>,
    /// Bytes of a session's data, at most.
    pub size_max: usize,
    /// Sessions that one process holds, at most.
    pub sessions_max: usize,
}

/// `web.session.same_site`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Sent where a page of another site leads to this one, but not with what such a page loads.
    #[default]
    Lax,
    /// Sent in requests of the same site's pages alone.
    Strict,
    /// Sent always, over HTTPS.
    None,
}

/// `web.flag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagConfig {
    /// The cookie's name.
    pub cookie: String,
    /// Its `Domain`: a Site's host cannot set a cookie for a Pool Name that it is not below.
    pub domain: String,
    /// Its `Max-Age`.
    pub lifetime: Duration,
}

/// `[[web.rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRule {
    /// The proper group of requests that it matches.
    pub group: GroupId,
    /// Which they are.
    pub when: Condition,
}

/// A condition on a request; every part that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The client's address is in one of these; empty is any.
    pub clients: Vec<IpNet>,
    /// A header, by its name in lower case, and its whole value; no value is any.
    pub header: Option<(String, Option<String>)>,
    /// A cookie and its value; no value is any.
    pub cookie: Option<(String, Option<String>)>,
    /// The path is this, or goes on after it with a `/`.
    pub path: Option<String>,
    /// The Host, lower case, without port and trailing dot.
    pub host: Option<String>,
}

/// `web.peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// By the probes of the Sites' own sections, made from here.
    Probe,
    /// An agent's status API is asked.
    Agent {
        /// Where its admin interface is.
        at: SocketAddr,
        /// From one start to the next.
        interval: Duration,
    },
    /// All count as up.
    None,
}

/// `web.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// Connections at once, of all listeners together.
    pub connections: usize,
    /// Connections of one client address at once.
    pub connections_per_client: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Header fields.
    pub headers: usize,
    /// Bytes of a request's body; 0 is without a bound.
    pub body: u64,
    /// Until a request's head is whole, from the connection's (or the one before's) start of it.
    pub head_timeout: Duration,
    /// Without a byte of a body, from either side.
    pub idle_timeout: Duration,
    /// Until a backend is connected.
    pub connect_timeout: Duration,
    /// Until a backend's response begins.
    pub response_timeout: Duration,
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// Requests under way at once over all HTTP/2 connections of one client address.
    pub requests_per_client: usize,
    /// After SIGTERM, while all is served but the health probe's path says 503.
    pub lame_duck: Duration,
    /// After the last connection was accepted, until those that are busy are cut.
    pub grace: Duration,
}

/// The name in `Via` unless the file says.
pub const VIA: &str = "zerottl";

impl Web {
    /// Creates a server's configuration from the file's defaults, for a Site with these addresses.
    #[must_use]
    pub fn at(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            listen: addresses.into_iter().map(|address| SocketAddr::new(address, 80)).collect(),
            tls: None,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 8054))),
            backends: Vec::new(),
            invite: None,
            screen: None,
            backend_probe: BackendProbe::default(),
            access_log: None,
            aliases: Vec::new(),
            overflow: true,
            pass: Vec::new(),
            backend_host: None,
            clean_url: true,
            redirect: RedirectForm::Status,
            marker: MarkerConfig::default(),
            busy: BusyConfig::default(),
            classes: Vec::new(),
            session: SessionConfig::default(),
            flag: None,
            rules: Vec::new(),
            peers: Peers::Probe,
            trusted_proxies: Vec::new(),
            via: VIA.into(),
            limits: WebLimits::default(),
        }
    }
}

impl Default for BackendProbe {
    fn default() -> Self {
        Self { path: None, interval: Duration::from_secs(1), timeout: Duration::from_millis(500) }
    }
}

impl Default for MarkerConfig {
    fn default() -> Self {
        Self { mode: MarkerMode::Path, lifetime: 60, skew: 5, key: None }
    }
}

impl Default for BusyConfig {
    fn default() -> Self {
        Self {
            in_flight: 1000,
            latency: 0.0,
            sessions: 0,
            resume: 0.9,
            status: 503,
            retry: Duration::from_secs(10),
            client_share: 0.25,
            client_prefix: (24, 56),
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            cookie: "ZSESSION".into(),
            lifetime: Duration::from_mins(30),
            key: None,
            same_site: SameSite::default(),
            servers: Vec::new(),
            servers_password: None,
            servers_ca: None,
            copies: 0,
            write: WriteMode::default(),
            lease: Duration::from_secs(3),
            timeout: Duration::from_millis(500),
            journal: None,
            size_max: 64 * 1024,
            sessions_max: 100_000,
        }
    }
}

impl Default for WebLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_client: 256,
            head: 32 * 1024,
            headers: 100,
            body: 0,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_mins(1),
            streams: 100,
            requests_per_client: 1024,
            lame_duck: Duration::ZERO,
            grace: Duration::from_secs(10),
        }
    }
}
