//! Pools and groups, and their knobs.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use super::{Name, PoolId, Quorum, SiteOrder, ZoneId};

/// `[pool."…"]`: all Sites of an application. Its settings are read as if they were its own.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The Pool Name.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// Its Sites, in the file's order.
    pub sites: SiteOrder,
    /// Everything else, shared by pools that have it alike: there may be a million of them.
    pub settings: Arc<PoolSettings>,
}

impl Deref for Pool {
    type Target = PoolSettings;

    fn deref(&self) -> &PoolSettings {
        &self.settings
    }
}

impl DerefMut for Pool {
    fn deref_mut(&mut self) -> &mut PoolSettings {
        Arc::make_mut(&mut self.settings)
    }
}

/// The knobs of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// How a query becomes a slot.
    pub policy: Policy,
    /// TTL of dynamic answers, seconds; 0 unless set.
    pub ttl: u32,
    /// Below this share of live weight, 0 to 1, all Sites count as up; 0 is off. Never for Site Names.
    pub up_threshold: f64,
    /// The answer when no Site is up.
    pub all_down: AllDown,
    /// The behaviour of a Site Name when its whole failover list is down.
    pub last_resort: LastResort,
    /// Client prefix lengths for `sticky`: IPv4, IPv6.
    pub sticky_prefix: (u8, u8),
    /// The contents of HTTPS records besides addresses; none is no HTTPS records.
    pub https: Option<Https>,
    /// The minimum that no deliberate cause may take away.
    pub minimum: Minimum,
    /// How its Sites come back, unless they say otherwise.
    pub failback: Failback,
    /// How load moves shares.
    pub steering: Steering,
    /// How many fronts of a fleet must see an address up.
    pub quorum: Quorum,
}

impl Default for PoolSettings {
    /// The knobs of a pool that sets none.
    fn default() -> Self {
        Self {
            policy: Policy::WeightedRoundRobin,
            ttl: 0,
            up_threshold: 0.0,
            all_down: AllDown::FailOpen,
            last_resort: LastResort::None,
            sticky_prefix: (24, 56),
            https: None,
            minimum: Minimum::default(),
            failback: Failback::Auto,
            steering: Steering::default(),
            quorum: Quorum::default(),
        }
    }
}

/// The minimum of a pool, which no deliberate cause (the operator, load, a hold-down) may take away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minimum {
    /// Sites that may be answered, at least; 0 is none.
    pub sites: usize,
    /// Of the capacity of all its Sites, 0 to 1, what those that may be answered have at least.
    pub capacity: f64,
}

impl Default for Minimum {
    fn default() -> Self {
        Self { sites: 1, capacity: 0.0 }
    }
}

/// How the return of a Site that keeps flapping is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// How long it must be up at its third failure in a row; doubled with each further one. Zero is off.
    pub hold_down: Duration,
    /// The longest; at least `hold_down`.
    pub max: Duration,
    /// Failures are in a row while it has not been up for longer than this between them.
    pub window: Duration,
}

impl Default for Damping {
    fn default() -> Self {
        Self { hold_down: Duration::from_secs(10), max: Duration::from_mins(5), window: Duration::from_mins(2) }
    }
}

/// How load moves shares: knobs of a pool, and of its groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// Of a Site's target: up to here it counts as free. Over 0, up to 1.
    pub low_watermark: f64,
    /// Of a Site's capacity: from here on it counts as full. Over 0, up to 1.
    pub high_watermark: f64,
    /// The part of its way that a share goes in a second, 0 to 1; 0 is immediately.
    pub max_step: f64,
    /// The share that a full Site gets, relative to its weight's share, 0 to 1.
    pub trickle: f64,
    /// How long a Site that returns takes to its whole share; zero is at once.
    pub slow_start: Duration,
    /// A Site over this many times the mean utilisation gives slots away under `sticky`; 1 to 10, 0 is off.
    pub balance_factor: f64,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            low_watermark: 0.5,
            high_watermark: 1.0,
            max_step: 0.02,
            trickle: 0.0,
            slow_start: Duration::ZERO,
            balance_factor: 0.0,
        }
    }
}

/// Bytes of `alpn` in wire form, at most.
pub const ALPN_LEN_MAX: usize = 64;

/// `https` of a pool: HTTPS records of its Pool, Group and Site Names (RFC 9460). Its `Default` is a record of addresses
/// alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Https {
    /// Protocol IDs (RFC 7301), each of 1 to 255 bytes; [`ALPN_LEN_MAX`] together, with a length byte each.
    pub alpn: Vec<String>,
    /// The port, if it is not the URL's.
    pub port: Option<u16>,
}

/// `policy`: where the slot index comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A cursor over a table filled by smooth weighted round robin.
    WeightedRoundRobin,
    /// A random number.
    WeightedRandom,
    /// A hash of the client's prefix.
    Sticky,
    /// As weighted round robin, with shares made from headroom: only the planner knows the difference.
    LeastLoad,
}

/// `all_down`: the answer when no configured Site of that family is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllDown {
    /// Answer as if all were up.
    FailOpen,
    /// SERVFAIL.
    Servfail,
}

/// `last_resort`, for Site Names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LastResort {
    /// The all-down rule.
    None,
    /// Any operational Site of the pool, in the pool's order.
    Pool,
}

/// `[group."…"]`: an ordered part of a pool.
#[derive(Clone, Debug)]
pub struct Group {
    /// The Group Name; may be the Pool Name if it has the same Sites.
    pub name: Name,
    /// Its zone.
    pub zone: ZoneId,
    /// Its pool.
    pub pool: PoolId,
    /// Its Sites; overflow and failover go down this list, circularly.
    pub sites: SiteOrder,
    /// The pool's, unless the group sets its own.
    pub policy: Policy,
}

/// `failback`: what brings a Site back that has gone down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// Its health alone.
    #[default]
    Auto,
    /// Somebody's saying `ready` of it, once its health allows.
    Manual,
}
