//! How many connections may be open at a time, in all and by one client, and who goes when there is no place.
//!
//! A connection is busy, or idle: it waits for its client to send something whole. A newcomer that finds no place takes that
//! of an idle one, which is told to go: silent connections cost nobody else anything but descriptors, of which there are
//! few. Who goes is who has been idle for longest, weighed by how many places its client has. And the fewer places are
//! left, the less long may anybody be idle (RFC 7766 section 6.2.3).

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, sleep};

/// For those who were told to go.
const LEAVING: Duration = Duration::from_secs(1);
/// Between looks whether they have.
const LOOK: Duration = Duration::from_millis(1);

/// Places for connections. One client is an IPv4 address, or an IPv6 /64.
#[derive(Debug)]
pub struct Places {
    all_max: usize,
    client_max: usize,
    began: Instant,
    /// As many as `Open::all`.
    all: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Those that have places.
    all: usize,
    /// Those that were told to go and have not yet.
    leaving: usize,
    next: u64,
    by_client: HashMap<IpAddr, BTreeMap<u64, Arc<Seat>>>,
}

/// The state that a connection shares with those who look for a place.
#[derive(Debug, Default)]
struct Seat {
    /// Since when it is idle, microseconds since the places' beginning and one; 0 while it is busy.
    idle: AtomicU64,
    told: AtomicBool,
    waker: AtomicWaker,
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
    /// How many its client may have.
    client_max: usize,
    number: u64,
    seat: Arc<Seat>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many are open as may be, and none of them is idle.
    All,
    /// As many of this client.
    Client,
    /// Idle ones were told to go, and have not yet: there is one in a moment.
    Leaving,
}

/// The factor by which the idle time shrinks: it is the usual one while half of the places are free, and a tenth of
/// that when none is.
const SHRUNK: u32 = 10;

impl Places {
    /// All free.
    #[must_use]
    pub fn new(all_max: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, client_max, began: Instant::now(), all: AtomicUsize::new(0), open: Mutex::default() })
    }

    /// Takes one for a client at this address, idle from now on; where there is none, that of an idle one.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.take_of(address, self.client_max)
    }

    /// Takes one for somebody at this address who is many clients.
    pub fn take_for_many(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.take_of(address, usize::MAX)
    }

    fn take_of(self: &Arc<Self>, address: IpAddr, client_max: usize) -> Result<Place, Full> {
        let client = client_of(address);
        let now = self.micros();
        let mut open = self.open();
        if open.of(client) >= client_max {
            let dismissed = open.dismiss(Some(client), 1, self.leaving_max(), now);
            if open.of(client) >= client_max {
                return Err(if dismissed { Full::Client } else { Full::Leaving });
            }
        }
        if open.all >= self.all_max {
            // To look at all of them costs: so that it is not done for each newcomer, some go at a time.
            let dismissed = open.dismiss(None, self.batch(), self.leaving_max(), now);
            if open.all >= self.all_max {
                return Err(if dismissed { Full::All } else { Full::Leaving });
            }
        }
        let number = open.next;
        open.next += 1;
        open.all += 1;
        self.all.store(open.all, Relaxed);
        let seat = Arc::new(Seat { idle: AtomicU64::new(now), ..Seat::default() });
        open.by_client.entry(client).or_default().insert(number, Arc::clone(&seat));
        drop(open);
        Ok(Place { places: Arc::clone(self), client, client_max, number, seat })
    }

    /// Takes one as [`take`](Self::take) does or, where `is_many`, [`take_for_many`](Self::take_for_many); those who
    /// were told to go are waited for, so that a burst of newcomers does not keep anybody out.
    pub async fn take_in_time(self: &Arc<Self>, address: IpAddr, is_many: bool) -> Result<Place, Full> {
        let end = Instant::now() + LEAVING;
        loop {
            match if is_many { self.take_for_many(address) } else { self.take(address) } {
                Err(Full::Leaving) if Instant::now() < end => sleep(LOOK).await,
                taken => return taken,
            }
        }
    }

    /// Has some idle connections go: something else than places has run out.
    pub fn make_room(&self) {
        let now = self.micros();
        self.open().dismiss(None, self.batch(), self.leaving_max(), now);
    }

    /// How many are open.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.open().all
    }

    fn batch(&self) -> usize {
        (self.all_max / 64).max(1)
    }

    /// So that those who are told to go and do not are bounded, too.
    fn leaving_max(&self) -> usize {
        self.all_max / 8 + 4
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn of(&self, client: IpAddr) -> usize {
        self.by_client.get(&client).map_or(0, BTreeMap::len)
    }

    /// Tells some idle ones to go, of one client or of all; their places are free from now on. Whether it did all that it could:
    /// not where there are idle ones, and too many have yet to go.
    fn dismiss(&mut self, of: Option<IpAddr>, count: usize, leaving_max: usize, now: u64) -> bool {
        let count = count.min(leaving_max.saturating_sub(self.leaving));
        let mut idle: Vec<(u64, IpAddr, u64)> = Vec::new();
        let mut look = |client: IpAddr, seats: &BTreeMap<u64, Arc<Seat>>| {
            for (number, seat) in seats {
                let since = seat.idle.load(Relaxed);
                if since != 0 {
                    let weight = (now.saturating_sub(since) + 1).saturating_mul(seats.len() as u64);
                    idle.push((weight, client, *number));
                }
            }
        };
        match of {
            Some(client) => self.by_client.get(&client).into_iter().for_each(|seats| look(client, seats)),
            None => self.by_client.iter().for_each(|(client, seats)| look(*client, seats)),
        }
        let all_done = count > 0 || idle.is_empty();
        if idle.len() > count && count > 0 {
            // The first of equals is the one that came first.
            idle.select_nth_unstable_by(count - 1, |a, b| b.0.cmp(&a.0).then(a.2.cmp(&b.2)));
        }
        for (_, client, number) in idle.into_iter().take(count) {
            if let Some(seat) = self.remove(client, number) {
                self.leaving += 1;
                seat.told.store(true, Release);
                seat.waker.wake();
            }
        }
        all_done
    }

    fn remove(&mut self, client: IpAddr, number: u64) -> Option<Arc<Seat>> {
        let seats = self.by_client.get_mut(&client)?;
        let seat = seats.remove(&number)?;
        if seats.is_empty() {
            self.by_client.remove(&client);
        }
        self.all -= 1;
        Some(seat)
    }
}

impl Place {
    /// Whether it was taken for somebody who is many clients.
    #[must_use]
    pub fn is_for_many(&self) -> bool {
        self.client_max == usize::MAX
    }

    /// It waits for its client from now on; since when, if it has already.
    pub fn idle(&self) {
        if self.seat.idle.load(Relaxed) == 0 {
            self.seat.idle.store(self.places.micros(), Relaxed);
        }
    }

    /// It waits for its client since then.
    pub fn idle_since(&self, since: Instant) {
        let micros = since.saturating_duration_since(self.places.began).as_micros();
        self.seat.idle.store(u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    /// Whether it waits for its client.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.seat.idle.load(Relaxed) != 0
    }

    /// It has something to do.
    pub fn busy(&self) {
        self.seat.idle.store(0, Relaxed);
    }

    /// Ready once it was told to go, which counts while it is idle.
    pub fn poll_told(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.seat.told.load(Acquire) {
            self.seat.waker.register(cx.waker());
            if !self.seat.told.load(Acquire) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Ends once it was told to go.
    pub async fn told(&self) {
        poll_fn(|cx| self.poll_told(cx)).await;
    }

    /// How long it may be idle, of the usual time: all of it while half of the places are free, in all and of its client's,
    /// and a tenth of it where none is left.
    #[must_use]
    pub fn idle_limit(&self, usual: Duration) -> Duration {
        let open = self.places.open();
        let (all, own) = (open.all, open.of(self.client));
        drop(open);
        shrunk(usual, all, self.places.all_max).min(shrunk(usual, own, self.client_max))
    }

    /// Returns the idle limit by the places of all clients alone, for where it is asked for often: without a lock.
    #[must_use]
    pub fn idle_limit_of_all(&self, usual: Duration) -> Duration {
        shrunk(usual, self.places.all.load(Relaxed), self.places.all_max)
    }
}

fn shrunk(usual: Duration, taken: usize, max: usize) -> Duration {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX / SHRUNK).min(u32::MAX / SHRUNK);
    let (taken, max) = (small(taken.min(max)), small(max).max(1));
    let beyond_half = taken.saturating_sub(max - taken.min(max));
    usual * (SHRUNK * max - (SHRUNK - 1) * beyond_half) / (SHRUNK * max)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        if open.remove(self.client, self.number).is_none() {
            open.leaving -= 1;
        }
        self.places.all.store(open.all, Relaxed);
    }
}

/// Returns the address that stands for one client: an IPv6 host has a whole /64 to choose addresses from.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn take(places: &Arc<Places>, address: &str) -> Result<Place, Full> {
        places.take(address.parse().unwrap())
    }

    fn busy(places: &Arc<Places>, address: &str) -> Place {
        let place = take(places, address).unwrap();
        place.busy();
        place
    }

    fn is_told(place: &Place) -> bool {
        let mut told = std::pin::pin!(place.told());
        told.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn in_all_and_by_client() {
        let places = Places::new(3, 2);
        let (one, two) = (busy(&places, "2001:db8::1"), busy(&places, "2001:db8::2:0:0:1"));
        assert_eq!(take(&places, "2001:db8::3").unwrap_err(), Full::Client, "one /64");
        let three = busy(&places, "::ffff:192.0.2.1");
        assert_eq!(take(&places, "192.0.2.2").unwrap_err(), Full::All);
        drop((one, three));
        assert!(take(&places, "192.0.2.1").is_ok());
        drop(two);
        assert!(places.open().by_client.is_empty(), "nobody is remembered");
        assert_eq!((places.taken(), places.open().leaving), (0, 0));
    }

    /// A newcomer takes the place of who has been idle for longest, never of who is busy.
    #[tokio::test(start_paused = true)]
    async fn the_idle_make_room() {
        let places = Places::new(3, 3);
        let first = take(&places, "192.0.2.1").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = take(&places, "192.0.2.2").unwrap();
        let third = busy(&places, "192.0.2.3");
        let fourth = take(&places, "192.0.2.4").expect("the first one's");
        assert!(is_told(&first) && !is_told(&second) && !is_told(&third));
        assert_eq!((places.taken(), places.open().leaving), (3, 1));
        fourth.busy();
        second.busy();
        assert_eq!(take(&places, "192.0.2.5").unwrap_err(), Full::All, "all are busy");
        second.idle();
        let fifth = take(&places, "192.0.2.5").expect("the second one's");
        drop((first, second, third, fourth, fifth));
        assert_eq!((places.taken(), places.open().leaving), (0, 0));
    }

    /// A client that is full makes room for itself; one with many places goes before one with few.
    #[tokio::test(start_paused = true)]
    async fn clients_with_many_places_go_first() {
        let places = Places::new(6, 4);
        let honest = take(&places, "192.0.2.1").unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let many: Vec<_> = (0..4).map(|_| take(&places, "192.0.2.2").unwrap()).collect();
        let other = take(&places, "192.0.2.3").unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        let _again = take(&places, "192.0.2.2").expect("one of its own");
        assert!(is_told(&many[0]) && !is_told(&honest) && !is_told(&other));
        let _newcomer = take(&places, "192.0.2.4").expect("one of the many");
        assert!(is_told(&many[1]) && !is_told(&honest) && !is_told(&other));
    }

    /// A connection that is told to go and does not is not replaced for ever: descriptors are bounded.
    #[test]
    fn those_who_do_not_go_are_bounded() {
        let places = Places::new(8, 8);
        let mut kept = Vec::new();
        let refused = (0..100).find(|n| match take(&places, &format!("192.0.2.{n}")) {
            Ok(place) => {
                kept.push(place);
                false
            }
            Err(full) => full == Full::Leaving,
        });
        assert_eq!(refused, Some(8 + places.leaving_max()));
    }

    /// A burst is held up for as long as those take who were told to go.
    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_for_those_who_go() {
        let places = Places::new(8, 8);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let address: IpAddr = format!("192.0.2.{n}").parse().unwrap();
            let place = places.take_in_time(address, false).await.expect("in a moment");
            tasks.spawn(async move {
                place.told().await;
                sleep(Duration::from_millis(20)).await;
            });
        }
        drop(tasks);
        tokio::task::yield_now().await;
        assert_eq!((places.taken(), places.open().leaving), (0, 0));
    }

    #[test]
    fn idle_time_shrinks_as_places_run_out() {
        let usual = Duration::from_secs(10);
        let check = |taken, max, expect_s: f64| {
            let limit = shrunk(usual, taken, max).as_secs_f64();
            assert!((limit - expect_s).abs() < 1e-6, "{taken} of {max}: {limit}");
        };
        check(0, 100, 10.0);
        check(50, 100, 10.0);
        check(75, 100, 5.5);
        check(100, 100, 1.0);
        check(1, 1, 1.0);
        check(0, 0, 10.0);
        let places = Places::new(100, 2);
        let one = take(&places, "192.0.2.1").unwrap();
        assert_eq!(one.idle_limit(usual), usual);
        let _two = take(&places, "192.0.2.1").unwrap();
        assert_eq!(one.idle_limit(usual), usual / SHRUNK, "its client has no more");
    }
}
