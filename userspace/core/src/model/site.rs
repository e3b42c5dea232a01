//! Sites, how they are probed, and where their load is learned.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use super::{Damping, Failback, Family, GroupId, Name, PoolId, SiteId, SiteOrder, ZoneId};

/// `[site.…]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// The key in the file: what the operator calls it.
    pub key: String,
    /// The Site Name.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// Its pool: the first that lists it. Policy knobs for the Site Name come from here.
    pub pool: PoolId,
    /// Answered addresses in order of preference, each with where it is probed. Never empty.
    pub addresses: Vec<SiteAddress>,
    /// Share relative to the other Sites'; at least 1.
    pub weight: u32,
    /// The load that it can take, in units of the operator's choosing, over 0; none where nobody says.
    pub capacity: Option<f64>,
    /// How its return is delayed if it keeps flapping.
    pub damping: Damping,
    /// The way in which it comes back once it has gone down.
    pub failback: Failback,
    /// Sites without which it counts as down; none of them depends on it in turn.
    pub depends_on: Vec<SiteId>,
    /// How each of its addresses is probed; none means always up.
    pub probes: Vec<Probe>,
    /// How many of these must find an address well for it to be up.
    pub min_healthy: usize,
    /// Where its load is learned from; none where nobody says.
    pub load: Option<LoadSource>,
    /// The health that an address counts with until its first verdict.
    pub initial: Initial,
    /// Its primary group; none where no group lists it.
    pub primary: Option<GroupId>,
    /// Where the Site Name goes: this Site first, then circularly onward through its primary group (C3).
    pub failover: SiteOrder,
}

impl Site {
    /// Returns what an expired statement of its health counts as, where statements are all that is known of it.
    #[must_use]
    pub fn when_expired(&self) -> Option<WhenExpired> {
        self.probes.iter().find_map(|probe| match probe.kind {
            ProbeKind::External(when_expired) => Some(when_expired),
            ProbeKind::Tcp | ProbeKind::Http(_) | ProbeKind::Grpc(_) => None,
        })
    }

    /// Whether anything is to say whether its addresses are up.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        !self.probes.is_empty()
    }

    /// Returns the GETs among its probes.
    pub fn http_probes(&self) -> impl Iterator<Item = &HttpProbe> {
        self.probes.iter().filter_map(|probe| match &probe.kind {
            ProbeKind::Http(http) => Some(http),
            ProbeKind::Tcp | ProbeKind::Grpc(_) | ProbeKind::External(_) => None,
        })
    }

    /// Whether it has an address of a family.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|address| family.has(address.answer))
    }
}

/// One address of a Site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteAddress {
    /// The address that is answered.
    pub answer: IpAddr,
    /// The address that is probed, where it differs (NAT, split horizon).
    pub probe: IpAddr,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            ProbeKind::Tcp => "tcp",
            ProbeKind::Http(http) if http.tls.is_some() => "https",
            ProbeKind::Http(_) => "http",
            ProbeKind::Grpc(_) => "grpc",
            ProbeKind::External(_) => return f.write_str("external"),
        };
        write!(f, "{kind} on port {}", self.port)
    }
}

/// `initial`: what `unknown` counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Answered, so that a cold start serves.
    Up,
    /// Not answered before the first success.
    Down,
}

/// `probe = { … }`, or one of several.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The kind of attempt.
    pub kind: ProbeKind,
    /// TCP port.
    pub port: u16,
    /// From one start to the next.
    pub interval: Duration,
    /// Until an attempt counts as failed; at most the interval.
    pub timeout: Duration,
    /// Successes in a row that make an address up.
    pub rise: u32,
    /// Failures in a row that make it down.
    pub fall: u32,
}

/// `probe.kind`.
#[derive(Clone, Debug)]
pub enum ProbeKind {
    /// A TCP handshake.
    Tcp,
    /// A GET over HTTP/1.1.
    Http(HttpProbe),
    /// A call by the standard gRPC health protocol.
    Grpc(GrpcProbe),
    /// No attempts: whatever states the health from outside is believed.
    External(WhenExpired),
}

/// `probe.when_expired`: the verdict once the newest statement of an address's health has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenExpired {
    /// Down.
    #[default]
    Down,
    /// Up.
    Up,
    /// As was stated last.
    Keep,
}

impl WhenExpired {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Keep => "keep",
        }
    }
}

/// The HTTP side of a probe.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host header; the Site Name unless set.
    pub host: String,
    /// Status codes that count as success.
    pub expect_status: Vec<u16>,
    /// Text the body's first 64 KiB must hold.
    pub expect_body: Option<String>,
    /// TLS, for kind `https`.
    pub tls: Option<ProbeTls>,
}

/// The gRPC side of a probe.
#[derive(Clone, Debug)]
pub struct GrpcProbe {
    /// The service that is asked about; all of the server where it is empty.
    pub service: String,
    /// The authority of the call; the Site Name unless set.
    pub host: String,
    /// TLS, if it is spoken.
    pub tls: Option<ProbeTls>,
}

/// `load = { … }`: where a Site's load is learned from, and what its figures are worth.
#[derive(Clone, Debug)]
pub struct LoadSource {
    /// How figures come.
    pub kind: LoadKind,
    /// A figure older than this is stale.
    pub stale_after: Duration,
    /// The treatment of a Site whose figures are stale.
    pub when_stale: WhenStale,
    /// The amount that one answer adds, in the figures' unit; learned where none.
    pub per_answer: Option<f64>,
    /// For reports that name no target, over 0; none is the capacity.
    pub target: Option<f64>,
    /// For reports that name no capacity, over 0.
    pub capacity: Option<f64>,
}

/// `load.kind`.
#[derive(Clone, Debug)]
pub enum LoadKind {
    /// A report fetched by a GET.
    Http(Poll, HttpProbe),
    /// A line that the Site says once it is connected to, in `HAProxy`'s agent-check grammar.
    AgentCheck(Poll),
    /// The header `endpoint-load-metrics` of the health probe's response (ORCA).
    ProbeHeader,
    /// Reports sent to the admin interface.
    Push,
}

/// When and where a Site is asked for its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// TCP port.
    pub port: u16,
    /// From one start to the next.
    pub interval: Duration,
    /// Until an attempt counts as failed; at most the interval.
    pub timeout: Duration,
}

/// `load.when_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// The last figure counts on.
    Hold,
    /// As loaded as the others that are not full, in the mean.
    Equal,
    /// No new clients, as with the operator's `drain`.
    Drain,
}

/// TLS of a probe.
#[derive(Clone, Debug)]
pub struct ProbeTls {
    /// SNI, and the name the certificate must bear; `host` unless set.
    pub server_name: String,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// A PEM file of trust anchors instead of the system's.
    pub ca: Option<PathBuf>,
    /// The PEM files of the certificate that is shown to the server, and of its key.
    pub identity: Option<Box<(PathBuf, PathBuf)>>,
}
