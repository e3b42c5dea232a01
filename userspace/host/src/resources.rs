//! This machine's own affairs: errors that say nothing about anybody else, and how many descriptors there are.
//!
//! | what | where it counts |
//! |---|---|
//! | [`is_ours`] | an attempt that ends by such an error was not made: it is no verdict |
//! | [`Descriptors`] | raised at the start; every part's bound fits into them, and parts never take each other's |
//! | [`Stumbles`] | loops that accept or receive, when they cannot |
//! | [`boot_offset`] | the clock since boot, in a time namespace |

use std::{
    error::Error,
    io,
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::time::sleep;

use crate::{log_limit::LogLimit, patience::Late};

/// The errors when this machine has no more of something: descriptors (of the process, of the system), memory, ports.
const OURS: [Errno; 6] =
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL, Errno::ADDRINUSE];

/// Whether an error is about this machine and not about whoever it was spoken to: no descriptor, no memory, no port to
/// connect from, no time to run. It may lie within another, as TLS and HTTP wrap it.
#[must_use]
pub fn is_ours(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref::<Late>(), Some(Late::Starved(_))) {
            return true;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if Errno::from_io_error(io).is_some_and(|errno| OURS.contains(&errno)) {
                return true;
            }
            // An error's source is the source of what it wraps, which would be passed over.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        next = error.source();
    }
    false
}

/// How many descriptors this process may have, and who may have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The soft limit, as it is now.
    pub limit: usize,
}

/// A part's wish, and what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the log.
    pub name: &'static str,
    /// As many as it would have.
    pub wish: usize,
    /// Descriptors that each of them takes.
    pub each: usize,
}

/// Kept back for what has no bound of its own: interfaces, maps (of two programs while one takes the other's place),
/// netlink, listeners, files, the runtime.
const KEPT_BACK: usize = 256;
/// No part gets less: with fewer descriptors than this takes, nothing is certain.
const LEAST: usize = 8;

impl Descriptors {
    /// Raises the soft limit to the hard one, which a process may do unless it is kept from it. The soft limit of 1,024
    /// that most start with is for programs that use `select(2)`.
    #[must_use]
    pub fn raised() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum {
            // Where it may not, the limit stays what it is, and that is what counts.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
        Self::now()
    }

    /// As it is.
    #[must_use]
    pub fn now() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self { limit: limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)) }
    }

    /// Returns what each part may have: its wish where all of them fit, else less of it, all in the same proportion.
    #[must_use]
    pub fn shared<const N: usize>(&self, parts: [Part; N]) -> [usize; N] {
        let wished = Self::wished(&parts);
        let free = self.limit.saturating_sub(KEPT_BACK);
        parts.map(|part| {
            if wished <= free {
                return part.wish;
            }
            // 128 bits hold any product of two of these.
            let fits = part.wish as u128 * free as u128 / wished.max(1) as u128;
            usize::try_from(fits).unwrap_or(usize::MAX).max(LEAST.min(part.wish))
        })
    }

    /// Whether all wishes fit; else a sentence for the log.
    #[must_use]
    pub(crate) fn shortage<const N: usize>(self, parts: [Part; N]) -> Option<String> {
        let needed = Self::wished(&parts).saturating_add(KEPT_BACK);
        if self.limit >= needed {
            return None;
        }
        let gets = self.shared(parts);
        let words: Vec<_> =
            parts.iter().zip(gets).map(|(part, gets)| format!("{} {gets} of {}", part.name, part.wish)).collect();
        Some(format!(
            "{} file descriptors are fewer than the {needed} that all bounds come to, so they are lower: {}; raise the hard \
             limit (`LimitNOFILE=` of the unit, `ulimit -Hn`)",
            self.limit,
            words.join(", ")
        ))
    }

    fn wished(parts: &[Part]) -> usize {
        parts.iter().fold(0, |sum, part| part.wish.saturating_mul(part.each).saturating_add(sum))
    }
}

/// The most attempts of probes that run at once; each holds one file descriptor. Fewer where there are few descriptors.
pub const PROBES_MAX: usize = 512;
/// The most attempts to learn a load that run at once; each holds one file descriptor. Fewer where there are few.
pub const LOAD_POLLS_MAX: usize = 128;
/// The most queries that wait for upstreams at a time; each has a socket and a few kilobytes. Fewer where there are few.
pub const FORWARDS_MAX: usize = 512;
/// The most connections to the admin interface at once by TCP, of all listeners together. Fewer where there are few.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 512;
/// The most connections to the admin interface at once by Unix sockets.
pub(crate) const ADMIN_UNIX_CONNECTIONS_MAX: usize = 64;
/// The most DNS connections open at a time. Fewer where there are few descriptors.
pub const DNS_CONNECTIONS_MAX: usize = 1024;

/// Limits of what the agent's parts hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentShare {
    /// Attempts of probes.
    pub probes: usize,
    /// Attempts to learn a load.
    pub loads: usize,
    /// Queries that wait for upstreams.
    pub forwards: usize,
    /// Connections of the admin interface, by TCP.
    pub admin: usize,
    /// Connections of the admin interface, by Unix socket.
    pub admin_unix: usize,
    /// DNS connections by TCP.
    pub dns: usize,
}

impl AgentShare {
    fn parts() -> [Part; 6] {
        let part = |name, wish| Part { name, wish, each: 1 };
        [
            part("probes", PROBES_MAX),
            part("load polls", LOAD_POLLS_MAX),
            part("forwarded queries", FORWARDS_MAX),
            part("admin connections", ADMIN_CONNECTIONS_MAX),
            part("admin connections by Unix socket", ADMIN_UNIX_CONNECTIONS_MAX),
            part("DNS connections", DNS_CONNECTIONS_MAX),
        ]
    }

    /// By the limit as it is now.
    #[must_use]
    pub fn now() -> Self {
        Self::of(Descriptors::now())
    }

    /// By a limit.
    #[must_use]
    pub fn of(descriptors: Descriptors) -> Self {
        let [probes, loads, forwards, admin, admin_unix, dns] = descriptors.shared(Self::parts());
        Self { probes, loads, forwards, admin, admin_unix, dns }
    }

    /// Says so where not all of it fits.
    pub fn tell(descriptors: Descriptors) {
        if let Some(shortage) = descriptors.shortage(Self::parts()) {
            tracing::warn!("{shortage}");
        }
    }
}

/// The most connections that a director relays at a time. Fewer where there are few descriptors.
const RELAYS_MAX: usize = 4_096;
/// Descriptors of a director that are neither waiting nor relayed: of busy answers, its interface, its servers' listeners.
const DIRECTOR_OTHERS: usize = 2_560;

/// Limits of what a director holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectorShare {
    /// Connections that wait.
    pub waiting: usize,
    /// Connections that it relays.
    pub relays: usize,
}

impl DirectorShare {
    /// One that waits is watched by a copy, one that is relayed has another.
    fn parts(waiting: usize, relays: bool) -> [Part; 3] {
        [
            Part { name: "connections that wait", wish: waiting, each: 2 },
            Part { name: "relayed connections", wish: if relays { RELAYS_MAX } else { 0 }, each: 2 },
            Part { name: "others", wish: DIRECTOR_OTHERS, each: 1 },
        ]
    }

    /// By the limit as it is now, of so many that may wait; `relays` is whether any are to be relayed.
    #[must_use]
    pub fn now(waiting: usize, relays: bool) -> Self {
        let [waiting, relays, _] = Descriptors::now().shared(Self::parts(waiting, relays));
        Self { waiting, relays }
    }

    /// Says so where not all of it fits.
    pub fn tell(waiting: usize, relays: bool) {
        if let Some(shortage) = Descriptors::now().shortage(Self::parts(waiting, relays)) {
            tracing::warn!("{shortage}");
        }
    }
}

/// Limits of what the parts of a Site's server hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteShare {
    /// Connections of clients.
    pub clients: usize,
    /// Connections of its admin interface.
    pub admin: usize,
}

impl SiteShare {
    /// A client's connection may have one to a backend.
    fn parts(clients: usize, admin: usize) -> [Part; 3] {
        [
            Part { name: "client connections", wish: clients, each: 2 },
            Part { name: "admin connections", wish: admin, each: 1 },
            Part { name: "probes of peers", wish: PROBES_MAX, each: 1 },
        ]
    }

    /// By the limit as it is now, of so many wished for.
    #[must_use]
    pub fn now(clients: usize, admin: usize) -> Self {
        let [clients, admin, _] = Descriptors::now().shared(Self::parts(clients, admin));
        Self { clients, admin }
    }

    /// Says so where not all of it fits.
    pub fn tell(clients: usize, admin: usize) {
        if let Some(shortage) = Descriptors::now().shortage(Self::parts(clients, admin)) {
            tracing::warn!("{shortage}");
        }
    }
}

/// Between attempts, while they fail.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two lines about it.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The back-off of a loop that cannot accept or receive: it waits longer and longer, and says so once in a while.
#[derive(Debug)]
pub struct Stumbles {
    what: String,
    pause: Duration,
    said: LogLimit,
}

impl Stumbles {
    /// None yet; `what` fails, such as `accepting at 192.0.2.1:80`.
    #[must_use]
    pub fn new(what: String) -> Self {
        Self { what, pause: PAUSE_MIN, said: LogLimit::new(SAID_EVERY) }
    }

    /// It went well.
    pub fn good(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// It failed. An error that is one connection's own, gone before it was accepted (`accept(2)`), is passed over; any
    /// other may persist.
    pub async fn over(&mut self, error: &io::Error) {
        if is_of_one(error) {
            return;
        }
        if let Some(unsaid) = self.said.admit(Instant::now()) {
            let (what, pause) = (&self.what, self.pause);
            tracing::warn!(%error, unsaid, "{what} failed, again in {pause:?}");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Whether an error of accept(2) is about the connection alone.
fn is_of_one(error: &io::Error) -> bool {
    const OF_ONE: [Errno; 11] = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::NETDOWN,
        Errno::OPNOTSUPP,
        Errno::NOTCONN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| OF_ONE.contains(&errno))
}

/// Returns how far this process's clock since boot is ahead of the kernel's, nanoseconds: 0 but in a time namespace of
/// its own.
#[must_use]
pub fn boot_offset() -> i64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        std::fs::read_to_string("/proc/self/timens_offsets").ok().and_then(|text| boot_offset_in(&text)).unwrap_or(0)
    })
}

/// Nanoseconds since boot, sleep included: the clock that programs read, also in a time namespace that has another.
#[must_use]
pub fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // It counts up from 0 and lasts for centuries.
    let own = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
    own.saturating_add_signed(boot_offset().saturating_neg())
}

/// Reads the offset from the kernel's text: a clock a line, with seconds and nanoseconds.
fn boot_offset_in(text: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("boottime" | "7")).then_some(words)
    });
    let mut words = line?;
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine_are_told_from_others() {
        let bare = |errno: Errno| io::Error::from(errno);
        for errno in OURS {
            assert!(is_ours(&bare(errno)), "{errno}");
            assert!(is_ours(&io::Error::other(bare(errno))), "{errno} within another");
            assert!(is_ours(&io::Error::other(io::Error::other(bare(errno)))), "{errno} deeper");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::TIMEDOUT, Errno::CONNRESET] {
            assert!(!is_ours(&bare(errno)) && !is_ours(&io::Error::other(bare(errno))), "{errno}");
        }
        assert!(!is_ours(&io::Error::other("words")) && !is_ours(&io::Error::from(io::ErrorKind::TimedOut)));
    }

    #[track_caller]
    fn check(limit: usize, wishes: [usize; 3], expect: [usize; 3], is_short: bool) {
        let parts = wishes.map(|wish| Part { name: "a part", wish, each: 1 });
        let descriptors = Descriptors { limit };
        assert_eq!(descriptors.shared(parts), expect, "{limit} for {wishes:?}");
        assert_eq!(descriptors.shortage(parts).is_some(), is_short, "{limit} for {wishes:?}");
    }

    #[test]
    fn parts_share_what_there_is() {
        check(KEPT_BACK + 700, [400, 200, 100], [400, 200, 100], false);
        check(KEPT_BACK + 350, [400, 200, 100], [200, 100, 50], true);
        check(KEPT_BACK + 70, [400, 200, 3], [46, 23, 3], true);
        check(0, [400, 200, 3], [8, 8, 3], true);
        check(usize::MAX, [usize::MAX - KEPT_BACK, 0, 0], [usize::MAX - KEPT_BACK, 0, 0], false);
        let twice = [Part { name: "pairs", wish: 100, each: 2 }];
        assert_eq!(Descriptors { limit: KEPT_BACK + 100 }.shared(twice), [50]);
    }

    /// All parts together, with what is kept back, never exceed the limit that is usual.
    #[test]
    fn the_agent_fits_into_1024() {
        let AgentShare { probes, loads, forwards, admin, admin_unix, dns } =
            AgentShare::of(Descriptors { limit: 1024 });
        let held = probes + loads + forwards + admin + admin_unix + dns;
        assert!(held + KEPT_BACK <= 1024, "{held}");
        assert!([probes, loads, forwards, admin, admin_unix, dns].into_iter().all(|part| part >= LEAST));
        let words = Descriptors { limit: 1024 }.shortage(AgentShare::parts()).expect("short");
        assert!(words.starts_with("1024 file descriptors are fewer than ") && words.contains("LimitNOFILE"), "{words}");
    }

    #[test]
    fn the_boot_clock_of_a_time_namespace() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(boot_offset_in(text), expect, "{text:?}");
        check("monotonic           0         0\nboottime            0         0\n", Some(0));
        check("monotonic           5         0\nboottime       604800       250\n", Some(604_800_000_000_250));
        check("1           5         0\n7           -3        500000000\n", Some(-2_500_000_000));
        check("boottime soon", None);
        check("", None);
    }

    #[tokio::test(start_paused = true)]
    async fn stumbles_wait_longer_and_longer() {
        let mut stumbles = Stumbles::new("accepting".into());
        let begun = tokio::time::Instant::now();
        stumbles.over(&Errno::CONNABORTED.into()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "that connection's own");
        for _ in 0..20 {
            stumbles.over(&Errno::MFILE.into()).await;
        }
        let waited = begun.elapsed();
        assert!(waited > Duration::from_secs(10) && waited < Duration::from_secs(20), "{waited:?}");
        stumbles.good();
        let begun = tokio::time::Instant::now();
        stumbles.over(&Errno::MFILE.into()).await;
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    }
}
