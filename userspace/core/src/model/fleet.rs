//! `[fleet]`: several front ends that share words and observations.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// `[fleet]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// The name of this front, which no other has.
    pub front: String,
    /// Where the fronts meet.
    pub engine: FleetEngine,
    /// A digest of the configuration, without what each front has for itself: `[fleet]`, `[front]`, `[admin]`, `[agent]`, `[state]`.
    pub digest: String,
    /// How many fronts probe an address; none is every one.
    pub probers: Option<usize>,
}

/// Where the fronts of a fleet meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEngine {
    /// An etcd cluster.
    Etcd(EtcdConfig),
    /// A file that something else brings to every front.
    File(PathBuf),
}

/// An etcd cluster, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// The nodes, the nearest first.
    pub endpoints: Vec<SocketAddr>,
    /// TLS to them; none is plain HTTP.
    pub tls: Option<EtcdTls>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// The beginning of every key.
    pub prefix: String,
    /// How long a front counts as living after it was last heard of.
    pub lease: Duration,
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|(name, _)| name);
        f.debug_struct("EtcdConfig").field("endpoints", &self.endpoints).field("user", &user).finish_non_exhaustive()
    }
}

/// TLS to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// The name on the nodes' certificates; none is each one's address.
    pub server_name: Option<String>,
    /// Trust anchors; none is the system's.
    pub ca: Option<PathBuf>,
    /// The certificate shown to the nodes, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The part of the fronts that must see an address up for it to be up, percent: 0 is any one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum(pub u8);

impl Quorum {
    /// At least one front.
    pub const ANY: Self = Self(0);
    /// At least half of them.
    pub const HALF: Self = Self(50);

    /// Whether `up` of `all` fronts are enough; none where nobody has said anything.
    #[must_use]
    pub fn is_up(self, up: usize, all: usize) -> bool {
        up > 0 && up * 100 >= all * usize::from(self.0)
    }
}

impl Default for Quorum {
    fn default() -> Self {
        Self::HALF
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self::HALF => f.write_str("half"),
            Self(percent) => write!(f, "{percent}%"),
        }
    }
}
