//! The meaning of a valid configuration.
//!
//! `config` makes a [`Model`] from a file and checks it; everything else only reads it. Its
//! [ids](crate::ids) are positions in its own lists.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use xdp_ebpf::cookie::Secret;

pub use self::{
    admin::{Admin, AdminListen, AdminListenError, AdminToken, TOKEN_LEN},
    director::{
        BusyAnswer, ConnectionPolicy, Director, LISTEN_MAX, PROCESSES_MAX, RestartConfig, ServerCheck, ServerCommand,
        ServerConfig, WaitingConfig,
    },
    dnssec::{DnssecConfig, ZoneAlgorithm},
    fleet::{EtcdConfig, EtcdTls, FleetConfig, FleetEngine, Quorum},
    hook::{EventKind, HookConfig, HookKey, HookTarget},
    order::SiteOrder,
    pool::{
        ALPN_LEN_MAX, AllDown, Damping, Failback, Group, Https, LastResort, Minimum, Policy, Pool, PoolSettings,
        Steering,
    },
    site::{
        GrpcProbe, HttpProbe, Initial, LoadKind, LoadSource, Poll, Probe, ProbeKind, ProbeTls, Site, SiteAddress,
        WhenExpired, WhenStale,
    },
    web::{
        AccessFormat, AccessLog, Backend, BackendProbe, BusyConfig, Condition, FlagConfig, GroupRule, InviteConfig,
        MarkerConfig, MarkerMode, Passed, Peers, PriorityClass, RedirectForm, SESSION_SERVERS_MAX, SESSION_SIZE_MAX,
        SameSite, Screen, SessionConfig, SessionServerConfig, VIA, Web, WebLimits, WebTls, WriteMode,
    },
};
pub use crate::ids::{DynamicType, Family, ForwardId, GroupId, Name, NameId, PoolId, SiteId, ZoneId};
use crate::nets::Nets;

mod admin;
mod director;
mod dnssec;
mod fleet;
mod hook;
mod order;
mod pool;
mod site;
mod web;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Model {
    /// Where queries arrive and which names this machine answers.
    pub front: Front,
    /// The admin interface.
    pub admin: Admin,
    /// The folder where the last known state is kept.
    pub state: PathBuf,
    /// Settings of what outlives the agent.
    pub life: Life,
    /// The file of statements of health from outside; none without one.
    pub health_file: Option<PathBuf>,
    /// The other fronts; none where this one is alone.
    pub fleet: Option<FleetConfig>,
    /// Which EDNS options are answered.
    pub edns: EdnsConfig,
    /// How many answers a client network gets; none is without a limit.
    pub rate_limit: Option<RateLimit>,
    /// The answers about this server in class CH.
    pub chaos: Chaos,
    /// The zones this machine is authoritative for; one may lie within another.
    pub zones: Vec<ZoneConfig>,
    /// Names whose questions other servers answer; none is at or above a zone's apex.
    pub forwards: Vec<Forward>,
    /// All Sites of one application each.
    pub pools: Vec<Pool>,
    /// Ordered parts of pools.
    pub groups: Vec<Group>,
    /// Which groups answer a client's queries for Pool Names.
    pub nets: Arc<Nets>,
    /// The Sites.
    pub sites: Vec<Site>,
    /// Every Pool, Group and Site Name, each once, in a stable order.
    pub names: Vec<DynamicName>,
    /// The web configuration of each Site, by position; empty where the file has no `[web]`.
    pub web: Vec<Arc<Web>>,
    /// Where events are told outside of the agent.
    pub hooks: Vec<HookConfig>,
    /// The director of each Site, by position; none for a Site without servers of one. Empty where the file has no
    /// `[director]`.
    pub directors: Vec<Option<Arc<Director>>>,
}

/// `[front]`: where queries arrive.
#[derive(Clone, Debug)]
pub struct Front {
    /// Interfaces the XDP program is attached to.
    pub interfaces: Vec<String>,
    /// Addresses and ports served, by the kernel and by the socket path alike; never a wildcard.
    pub listen: Vec<SocketAddr>,
    /// How the XDP program is attached.
    pub xdp: XdpMode,
    /// Whether addresses may be bound that no interface has yet.
    pub freebind: bool,
    /// Which kinds of name this machine answers itself.
    pub roles: Roles,
    /// In which VLANs the program answers, besides none.
    pub vlans: Vlans,
}

/// `front.vlans`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vlans {
    /// In those that the host has on the interfaces, as they come and go.
    #[default]
    Auto,
    /// In these.
    These(Vec<Vlan>),
}

/// A VLAN, or one within another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan {
    /// The number of the first tag.
    pub outer: u16,
    /// The number of the second tag, if there is one.
    pub inner: Option<u16>,
}

impl fmt::Display for Vlan {
    /// As in the configuration: `100`, or `100.200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner {
            None => write!(f, "{}", self.outer),
            Some(inner) => write!(f, "{}.{inner}", self.outer),
        }
    }
}

/// `[agent]`: what outlives the agent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The folder on a bpffs that holds what outlives the agent.
    pub pins: PathBuf,
    /// The treatment of the program when the agent is told to stop.
    pub on_stop: OnStop,
    /// From this age on, a plan that no agent confirms is stale; none is never.
    pub max_plan_age: Option<Duration>,
    /// The answers from that age on.
    pub on_stale: OnStale,
    /// Whether a change of the configuration's files is a reload.
    pub watch: bool,
}

impl Default for Life {
    /// The file's own defaults.
    fn default() -> Self {
        Self {
            pins: PathBuf::from("/sys/fs/bpf/zerottl"),
            on_stop: OnStop::Detach,
            max_plan_age: None,
            on_stale: OnStale::Keep,
            watch: false,
        }
    }
}

/// `agent.on_stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// It is taken off.
    Detach,
    /// It goes on answering from the last plan.
    Keep,
}

/// `agent.on_stale`: what the program answers while no agent confirms its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStale {
    /// The last plan.
    Keep,
    /// SERVFAIL.
    Servfail,
    /// As if all Sites were up.
    FailOpen,
}

/// `front.xdp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, or not at all.
    Native,
    /// After the socket buffer is made (slower, works on every interface).
    Generic,
    /// Native, else generic with a warning.
    Auto,
    /// No program: the socket path serves everything.
    Off,
}

/// `front.roles`: Fig. 4A has both on one machine, Fig. 4B one on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Answers Pool and Group Names.
    pub load_balance: bool,
    /// Answers Site Names.
    pub failover: bool,
}

/// Bytes of an NSID, at most: it goes into many an answer, and none may be over twice its query.
pub const NSID_LEN_MAX: usize = xdp_ebpf::layout::NSID_MAX;

/// `[edns]`: which options are answered. Its `Default` answers none, which is not the file's default.
#[derive(Clone, Debug, Default)]
pub struct EdnsConfig {
    /// The secrets of server cookies (RFC 9018); none leaves COOKIE options unread.
    pub cookies: Option<CookieSecrets>,
    /// The text of NSID (RFC 5001), 1 to [`NSID_LEN_MAX`] bytes; none leaves the option unanswered.
    pub nsid: Option<String>,
    /// Whether client subnets are used and answered (RFC 7871); otherwise they are left unread.
    pub client_subnet: bool,
    /// Bytes of signed answers a second over UDP to a client network without a cookie; 0 is no limit.
    pub signed_bytes: u32,
}

/// The secrets that server cookies are made and accepted with (RFC 9018 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieSecrets {
    /// Makes cookies.
    pub present: Secret,
    /// Cookies made with it are accepted, and renewed.
    pub previous: Option<Secret>,
    /// Whether they are a file's, which other servers may have, too.
    pub is_shared: bool,
}

impl CookieSecrets {
    /// Returns these secrets so that the one that is wanted makes cookies; none where it is not among them.
    #[must_use]
    pub fn making(self, is_wanted: impl Fn(&Secret) -> bool) -> Option<Self> {
        match self.previous {
            _ if is_wanted(&self.present) => Some(self),
            Some(other) if is_wanted(&other) => Some(Self { present: other, previous: Some(self.present), ..self }),
            _ => None,
        }
    }

    /// The secrets, the one that makes cookies first.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.present).chain(&self.previous)
    }
}

/// `[rate_limit]`: UDP answers to one client network and of one class ([`Class`](xdp_ebpf::limit::Class)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers a second, and at once after a quiet second; 1 to 100,000.
    pub per_second: u32,
    /// Of the answers over it, one in this many is sent truncated, the others not at all; 0 is none.
    pub slip: u32,
    /// Client prefix lengths: IPv4, IPv6 (at most 64).
    pub prefix: (u8, u8),
    /// Whether answers over it are sent all the same, and only counted.
    pub dry_run: bool,
}

/// Bytes of signed answers over UDP to one client network that has not proven to be one, by a cookie. What is over it is
/// truncated, so that a real client asks by TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBytes {
    /// Bytes a second, and at once after a quiet second.
    pub per_second: u32,
    /// Client prefix lengths: IPv4, IPv6 (at most 64).
    pub prefix: (u8, u8),
}

/// `[chaos]`: texts of 1 to 255 bytes; what is not given is REFUSED.
#[derive(Clone, Debug, Default)]
pub struct Chaos {
    /// TXT of version.bind and version.server.
    pub version: Option<String>,
    /// TXT of id.server and hostname.bind (RFC 4892).
    pub id: Option<String>,
}

/// The settings that `[zone]` gives and that a records file may give instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApexSettings {
    /// Whether the SOA's RNAME is given, so that there is an SOA.
    pub contact: bool,
    /// The first key about the SOA, if any.
    pub soa: Option<&'static str>,
    /// The first key about the apex NS set, if any.
    pub nameservers: Option<&'static str>,
    /// Whether a serial is given.
    pub serial: bool,
}

impl ApexSettings {
    /// SOA and NS are made from `[zone]`.
    #[must_use]
    pub fn all() -> Self {
        Self { contact: true, soa: Some("contact"), nameservers: Some("nameservers"), serial: false }
    }
}

/// `[zone."…"]`.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The zone's name; the root, too.
    pub apex: Name,
    /// The settings that are given here, and not in the records file.
    pub apex_settings: ApexSettings,
    /// The apex NS set; empty if the records file has it.
    pub nameservers: Vec<Name>,
    /// SOA MNAME; none is the first name server.
    pub primary: Option<Name>,
    /// SOA RNAME, made from `contact`.
    pub rname: Name,
    /// SOA serial.
    pub serial: u32,
    /// Whether the serial is made of the files' times instead.
    pub auto_serial: bool,
    /// SOA refresh, seconds.
    pub refresh: u32,
    /// SOA retry, seconds.
    pub retry: u32,
    /// SOA expire, seconds.
    pub expire: u32,
    /// SOA MINIMUM: how long a negative answer lives at most, seconds (RFC 2308).
    pub negative_ttl: u32,
    /// The SOA's own TTL, seconds; a negative answer lives no longer either.
    pub soa_ttl: u32,
    /// TTL of the apex NS set and of the name servers' own addresses, seconds.
    pub ns_ttl: u32,
    /// Static records, a master file (RFC 1035 section 5).
    pub records: Option<PathBuf>,
    /// Name servers that answer Pool and Group Names when this machine does not; referred to.
    pub balance_nameservers: Vec<Name>,
    /// Name servers that answer Site Names when this machine does not; referred to.
    pub failover_nameservers: Vec<Name>,
    /// Clients that may have the whole zone, if it is static (RFC 5936); nobody, if empty.
    pub transfer_to: Vec<IpNet>,
    /// How it is signed; none is unsigned.
    pub dnssec: Option<DnssecConfig>,
}

/// `[forward."…"]`: a name, with all below it, whose questions go to other servers ("recursive query", S4-3A-330R).
#[derive(Clone, Debug)]
pub struct Forward {
    /// The name; the longest that a question's name is at or below decides.
    pub name: Name,
    /// Servers to ask, in this order, those that are down last. Never empty.
    pub upstreams: Vec<SocketAddr>,
    /// Until an upstream's answer is given up.
    pub timeout: Duration,
    /// How often the list of upstreams is gone through; at least 1.
    pub attempts: u32,
    /// Clients that may ask. Never empty: a server that forwards for everybody is an open relay.
    pub clients: Vec<IpNet>,
}

/// The pool, group or Site that a dynamic name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A Pool Name (LB).
    Pool(PoolId),
    /// A Group Name (LB).
    Group(GroupId),
    /// A Site Name (FO).
    Site(SiteId),
}

/// A Pool, Group or Site Name.
#[derive(Clone, Debug)]
pub struct DynamicName {
    /// The name.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// The pool, group or Site that it stands for.
    pub kind: NameKind,
    /// Whether this machine has the role to answer it; otherwise it is referred (invariant 10).
    pub served: bool,
}

/// A key that no Site of a model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Site `{key}` in the configuration; there are {}", known.join(", "))]
pub struct UnknownSite {
    key: String,
    /// The first of those that there are.
    known: Vec<String>,
}

impl Model {
    /// The Site with a key of the file.
    #[must_use]
    pub fn site_by_key(&self, key: &str) -> Option<SiteId> {
        self.sites.iter().position(|site| site.key == key).map(SiteId)
    }

    /// Returns the Site with a key of the file, or an error that names those that there are.
    pub fn known_site(&self, key: &str) -> Result<SiteId, UnknownSite> {
        self.site_by_key(key).ok_or_else(|| UnknownSite {
            key: key.to_owned(),
            known: self.sites.iter().map(|site| site.key.clone()).take(20).collect(),
        })
    }

    /// How many bytes of signed answers a client network gets; none where no zone is signed, or it is turned off.
    #[must_use]
    pub fn signed_bytes(&self) -> Option<SignedBytes> {
        let is_signed = self.zones.iter().any(|zone| zone.dnssec.is_some());
        let prefix = self.rate_limit.map_or((24, 56), |rate| rate.prefix);
        let per_second = self.edns.signed_bytes;
        (is_signed && per_second != 0).then_some(SignedBytes { per_second, prefix })
    }

    /// The Sites a name chooses from or fails over along, in order.
    #[must_use]
    pub fn sites_of(&self, kind: NameKind) -> &[SiteId] {
        self.order_of(kind)
    }

    /// Returns the Sites of [`sites_of`](Self::sites_of) in the form that all names on the same ring share.
    #[must_use]
    pub(crate) fn order_of(&self, kind: NameKind) -> &SiteOrder {
        match kind {
            NameKind::Pool(id) => &self.pools[id.0].sites,
            NameKind::Group(id) => &self.groups[id.0].sites,
            NameKind::Site(id) => &self.sites[id.0].failover,
        }
    }

    /// How a query for a name becomes a slot; a Site Name's table of one Site needs no
    /// cursor, no random number and no client.
    #[must_use]
    pub fn policy_of(&self, kind: NameKind) -> Policy {
        match kind {
            NameKind::Pool(id) => self.pools[id.0].policy,
            NameKind::Group(id) => self.groups[id.0].policy,
            NameKind::Site(_) => Policy::WeightedRoundRobin,
        }
    }

    /// The pool whose knobs govern a name.
    #[must_use]
    pub fn pool_of(&self, kind: NameKind) -> &Pool {
        &self.pools[self.pool_id_of(kind).0]
    }

    /// Whether a Site's part of its weight moves by itself: it starts slowly, or says what it wants.
    #[must_use]
    pub(crate) fn shares_move(&self, site: SiteId) -> bool {
        let site = &self.sites[site.0];
        let pool = self.pools.get(site.pool.0);
        // Any report may be a line of the agent check.
        site.load.is_some() || pool.is_some_and(|pool| !pool.steering.slow_start.is_zero())
    }

    /// Returns the position of the pool whose knobs govern a name.
    #[must_use]
    pub fn pool_id_of(&self, kind: NameKind) -> PoolId {
        match kind {
            NameKind::Pool(id) => id,
            NameKind::Group(id) => self.groups[id.0].pool,
            NameKind::Site(id) => self.sites[id.0].pool,
        }
    }
}
