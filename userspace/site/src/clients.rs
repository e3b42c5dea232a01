//! Clients by their nets, and what part of a limit one of them may fill.
//!
//! Whoever can fill a limit alone turns everybody else away. So of each limit a client fills no more than a share
//! (`busy.client_share`): what it has beyond that counts for nobody else, and its own newcomers are turned away. A client
//! is a net, since who has one address mostly has its neighbours, too: `busy.prefix_v4` and `prefix_v6` bits of the address.
//! One whose address is not known is never told apart, nor is anybody where the share is the whole limit.
//!
//! What is kept is bounded: of requests, by those under way; of what lasts for a time, by [`NETS_MAX`] nets.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ipnet::IpNet;

use super::buckets::Buckets;
use zerottl_core::model::BusyConfig;

/// Nets that are told apart in what lasts for a time. Of any more, each counts without a bound of its own: so many are
/// not one client.
pub const NETS_MAX: usize = 65_536;
/// Parts of what lasts, after which it is looked at what is over.
const SPANS: u64 = 8;
/// Requests that begin or end at once seldom wait for each other.
const SHARDS: usize = 64;

/// How clients are told apart, and what one may fill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientShares {
    share: f64,
    prefix: (u8, u8),
}

impl ClientShares {
    /// As it is configured.
    #[must_use]
    pub fn new(config: &BusyConfig) -> Self {
        Self { share: config.client_share, prefix: config.client_prefix }
    }

    /// The net of a client; none where it is not told apart.
    #[must_use]
    pub fn net(&self, client: IpAddr) -> Option<IpNet> {
        let client = client.to_canonical();
        if self.share >= 1.0 || client.is_unspecified() {
            return None;
        }
        let bits = if client.is_ipv4() { self.prefix.0 } else { self.prefix.1 };
        IpNet::new(client, bits).ok().map(|net| net.trunc())
    }

    /// Returns what one client may fill of a limit, one at least; without bound where there is no limit.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "limits are far below 2^52"
    )]
    pub fn of(&self, limit: u64) -> u64 {
        if limit == 0 || self.share >= 1.0 { u64::MAX } else { ((limit as f64 * self.share) as u64).max(1) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves a table whole, so one cut short by a panic is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests under way, by net.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// The most requests of one net that count.
    max: u64,
    all: AtomicU64,
    /// Those within their nets' shares.
    counted: AtomicU64,
    state: RandomState,
    nets: Box<[Mutex<HashMap<IpNet, u64>>]>,
}

impl UnderWay {
    /// None yet.
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            all: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            state: RandomState::new(),
            nets: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Where there is no limit, nobody can fill it.
    fn bounded(&self, net: Option<IpNet>) -> Option<IpNet> {
        net.filter(|_| self.max != u64::MAX)
    }

    fn shard(&self, net: &IpNet) -> MutexGuard<'_, HashMap<IpNet, u64>> {
        lock(&self.nets[self.state.hash_one(net) as usize % SHARDS])
    }

    /// One more.
    pub(super) fn begin(&self, net: Option<IpNet>) {
        self.all.fetch_add(1, Relaxed);
        if let Some(net) = self.bounded(net) {
            let mut nets = self.shard(&net);
            let count = nets.entry(net).or_insert(0);
            *count += 1;
            if *count > self.max {
                return;
            }
        }
        self.counted.fetch_add(1, Relaxed);
    }

    /// One less of those that began so.
    pub(super) fn end(&self, net: Option<IpNet>) {
        self.all.fetch_sub(1, Relaxed);
        if let Some(net) = self.bounded(net) {
            let mut nets = self.shard(&net);
            if let Entry::Occupied(mut entry) = nets.entry(net) {
                let was_beyond = *entry.get() > self.max;
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
                if was_beyond {
                    return;
                }
            }
        }
        self.counted.fetch_sub(1, Relaxed);
    }

    /// All of them.
    pub(super) fn all(&self) -> u64 {
        self.all.load(Relaxed)
    }

    /// Those that count for everybody.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Relaxed)
    }

    /// Whether a net has as many as it may.
    pub(super) fn is_full(&self, net: Option<IpNet>) -> bool {
        self.bounded(net).is_some_and(|net| self.shard(&net).get(&net).is_some_and(|count| *count >= self.max))
    }
}

/// Counts, by net, of what lasts until a time. Times are Unix seconds.
#[derive(Debug)]
pub(super) struct Tally {
    span: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    nets: HashMap<IpNet, Buckets>,
    /// The span in which it was last looked through.
    tidied: u64,
}

impl Tally {
    /// Of what lasts for so many seconds at most.
    pub(super) fn new(lasts: u64) -> Self {
        Self { span: lasts.div_ceil(SPANS).max(1), table: Mutex::default() }
    }

    fn sum(&self, buckets: &Buckets, now: u64) -> u64 {
        let first = now / self.span;
        buckets.sum(first..=first + SPANS + 1)
    }

    /// Returns how many a net has.
    pub(super) fn of(&self, net: Option<IpNet>, now: u64) -> u64 {
        let Some(net) = net else { return 0 };
        lock(&self.table).nets.get(&net).map_or(0, |buckets| self.sum(buckets, now))
    }

    /// One of a net that lasts until `ends`, instead of one that was to last until `before`, if that was counted for this
    /// net. False where the net has `max` already: it counts for nobody then.
    pub(super) fn add(&self, net: Option<IpNet>, before: Option<u64>, ends: u64, now: u64, max: u64) -> bool {
        let Some(net) = net else { return true };
        let mut table = lock(&self.table);
        if table.nets.len() >= NETS_MAX && table.tidied != now / self.span {
            table.tidied = now / self.span;
            table.nets.retain(|_, buckets| self.sum(buckets, now) > 0);
        }
        let is_full = table.nets.len() >= NETS_MAX;
        let buckets = match table.nets.entry(net) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return true,
            Entry::Vacant(entry) => entry.insert(Buckets::new(SPANS as usize + 2)),
        };
        let is_moved = before.is_some_and(|before| buckets.take(before / self.span));
        if !is_moved && self.sum(buckets, now) >= max {
            return false;
        }
        buckets.add(ends / self.span);
        true
    }

    /// One less of those that were to last until `ends`.
    pub(super) fn take(&self, net: Option<IpNet>, ends: u64) {
        if let Some(net) = net
            && let Some(buckets) = lock(&self.table).nets.get(&net)
        {
            buckets.take(ends / self.span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(share: f64) -> ClientShares {
        ClientShares::new(&BusyConfig { client_share: share, ..BusyConfig::default() })
    }

    fn net(text: &str) -> Option<IpNet> {
        shares(0.25).net(text.parse().expect("an address"))
    }

    #[test]
    fn a_client_is_a_net_of_addresses() {
        assert_eq!(net("198.51.100.7"), net("198.51.100.250"));
        assert_ne!(net("198.51.100.7"), net("198.51.101.7"));
        assert_eq!(net("2001:db8:0:11::1"), net("2001:db8:0:99::2"));
        assert_ne!(net("2001:db8:0:11::1"), net("2001:db8:0:100::1"));
        assert_eq!(net("::ffff:198.51.100.9"), net("198.51.100.7"));
        assert_eq!((net("::"), net("0.0.0.0")), (None, None), "not known, not told apart");
        assert_eq!(shares(1.0).net("198.51.100.7".parse().expect("an address")), None);
        assert_eq!([1000, 10, 1, 0].map(|limit| shares(0.25).of(limit)), [250, 2, 1, u64::MAX]);
        assert_eq!(shares(1.0).of(1000), u64::MAX);
    }

    /// One net alone never counts for more than its share, whatever it begins and ends in which order.
    #[test]
    fn requests_beyond_a_share_count_for_nobody() {
        let under_way = UnderWay::new(3);
        let (hog, other) = (net("198.51.100.7"), net("203.0.113.7"));
        for _ in 0..100 {
            under_way.begin(hog);
        }
        assert_eq!((under_way.all(), under_way.counted()), (100, 3));
        assert!(under_way.is_full(hog) && !under_way.is_full(other) && !under_way.is_full(None));
        under_way.begin(other);
        under_way.begin(None);
        assert_eq!((under_way.all(), under_way.counted()), (102, 5));
        (0..98).for_each(|_| under_way.end(hog));
        assert_eq!((under_way.all(), under_way.counted(), under_way.is_full(hog)), (4, 4, false));
        under_way.end(other);
        under_way.end(None);
        (0..2).for_each(|_| under_way.end(hog));
        assert_eq!((under_way.all(), under_way.counted()), (0, 0));
        assert!(under_way.nets.iter().all(|nets| lock(nets).is_empty()), "nothing is kept");
    }

    #[test]
    fn what_lasts_is_counted_by_net_until_it_ends() {
        const NOW: u64 = 1_800_000_000;
        let tally = Tally::new(800);
        let (one, other) = (net("198.51.100.7"), net("203.0.113.7"));
        let add = |before, ends, now| tally.add(one, before, ends, now, 2);
        assert_eq!([NOW + 800, NOW + 800, NOW + 800].map(|ends| add(None, ends, NOW)), [true, true, false]);
        assert_eq!((tally.of(one, NOW), tally.of(other, NOW), tally.of(None, NOW)), (2, 0, 0));
        assert!(add(Some(NOW + 800), NOW + 1300, NOW + 500), "one that goes on is no new one");
        assert_eq!(tally.of(one, NOW + 500), 2);
        assert_eq!(tally.of(one, NOW + 1000), 1);
        assert!(add(None, NOW + 1800, NOW + 1000));
        tally.take(one, NOW + 1800);
        assert_eq!((tally.of(one, NOW + 1000), tally.of(one, NOW + 9000)), (1, 0));
        // More nets than are told apart: the newest count, without a bound of their own; those that are over make room.
        for at in 0..NETS_MAX as u32 + 10 {
            let net = IpNet::new(IpAddr::V4((at << 8).into()), 24).ok();
            assert!(tally.add(net, None, NOW + 2800, NOW + 2000, 1), "{at}");
        }
        assert!(lock(&tally.table).nets.len() <= NETS_MAX);
        assert!(
            tally.add(other, None, NOW + 9800, NOW + 9000, 1) && !tally.add(other, None, NOW + 9800, NOW + 9000, 1)
        );
    }
}
