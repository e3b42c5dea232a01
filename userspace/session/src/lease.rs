//! Until when this worker may serve sessions from its memory. Pure.
//!
//! Each session server grants leases for itself. A worker's sessions are its own as long as a quorum of servers has granted it
//! one, and has done so without a gap since the session was claimed: for whoever would claim it has to find a quorum of
//! servers where the lease has ended, and two quorums have a server in common.

use std::time::Duration;

use crate::placement::SERVERS_MAX;

/// A clock that goes on while the machine sleeps: time since some moment.
pub(crate) type Moment = Duration;

/// The lease at one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// It ends then, at the earliest.
    pub(crate) until: Moment,
    /// It has not lapsed since.
    pub(crate) since: Moment,
}

/// The leases at all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    grants: [Grant; SERVERS_MAX],
    servers: usize,
}

/// How many servers have to agree, of how many: more than half. With one or two servers one is enough, so that the death of
/// one stops nobody; the price is in the documentation.
pub(crate) fn quorum(servers: usize) -> usize {
    if servers < 3 { servers.min(1) } else { servers / 2 + 1 }
}

impl Leases {
    /// Makes those of so many servers, none of them granted.
    pub(crate) fn new(servers: usize) -> Self {
        Self { grants: [Grant::default(); SERVERS_MAX], servers: servers.min(SERVERS_MAX) }
    }

    /// Notes that a server has granted a lease that was asked for at `asked`; `kept` if the one before had not ended there.
    pub(crate) fn granted(&mut self, server: usize, asked: Moment, life: Duration, kept: bool, now: Moment) {
        let Some(grant) = self.grants.get_mut(server) else { return };
        if !kept || grant.until == Moment::ZERO {
            grant.since = now;
        }
        // The server counts from when it was told, which is later than it was asked; its clock may be a little fast.
        grant.until = asked + life / 10 * 9;
    }

    /// Notes that a server has lost all leases.
    pub(crate) fn lost(&mut self, server: usize) {
        if let Some(grant) = self.grants.get_mut(server) {
            *grant = Grant::default();
        }
    }

    /// When the last lease ends, or has ended.
    pub(crate) fn last_end(&self) -> Moment {
        self.grants[..self.servers].iter().map(|grant| grant.until).max().unwrap_or_default()
    }

    /// When the lease ends, or has ended, that a quorum has granted.
    pub(crate) fn quorum_end(&self) -> Moment {
        let mut ends = self.grants.map(|grant| grant.until);
        ends.sort_unstable_by(|a, b| b.cmp(a));
        quorum(self.servers).checked_sub(1).and_then(|at| ends.get(at).copied()).unwrap_or_default()
    }

    /// Whether a quorum has granted a lease that goes on now.
    pub(crate) fn holds(&self, now: Moment) -> bool {
        self.holds_since(now, now)
    }

    /// Whether a quorum has granted a lease that goes on now and has not lapsed since `since`.
    pub(crate) fn holds_since(&self, since: Moment, now: Moment) -> bool {
        let all = &self.grants[..self.servers];
        let good = all.iter().filter(|grant| grant.until > now && grant.since <= since).count();
        good >= quorum(self.servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(3);

    fn at(ms: u64) -> Moment {
        Duration::from_millis(1000 + ms)
    }

    #[test]
    fn a_quorum_is_more_than_half_of_three_and_more() {
        assert_eq!([0, 1, 2, 3, 4, 5, 8].map(quorum), [0, 1, 1, 2, 3, 3, 5]);
    }

    /// S1-X-STALE: a lease holds for nine tenths of its life from when it was asked for, at a quorum.
    #[test]
    fn s1_x_stale_a_lease_ends() {
        let mut leases = Leases::new(3);
        assert!(!leases.holds(at(0)));
        leases.granted(0, at(0), LIFE, false, at(10));
        assert!(!leases.holds(at(10)), "one of three");
        leases.granted(1, at(0), LIFE, false, at(10));
        assert!(leases.holds(at(10)) && leases.holds(at(2699)) && !leases.holds(at(2700)));
        leases.granted(2, at(2600), LIFE, false, at(2610));
        assert!(leases.holds(at(2650)) && !leases.holds(at(2700)), "one of three is left");
        assert_eq!((leases.quorum_end(), leases.last_end()), (at(2700), at(5300)));
        assert_eq!([0, 3].map(|servers| Leases::new(servers).quorum_end()), [Moment::ZERO; 2]);
    }

    /// S1-X-STALE: whoever was stopped for longer than its lease has none that goes back to before.
    #[test]
    fn s1_x_stale_a_gap_is_seen() {
        let mut leases = Leases::new(3);
        (0..3).for_each(|server| leases.granted(server, at(0), LIFE, false, at(5)));
        assert!(leases.holds_since(at(5), at(100)));
        assert!(!leases.holds_since(at(4), at(100)), "it had none then");
        // One has a gap: two of three have none.
        leases.granted(0, at(1000), LIFE, true, at(1001));
        leases.granted(1, at(1000), LIFE, false, at(1001));
        leases.granted(2, at(1000), LIFE, true, at(1001));
        assert!(leases.holds_since(at(5), at(1002)));
        leases.granted(2, at(2000), LIFE, false, at(2001));
        assert!(!leases.holds_since(at(5), at(2002)) && leases.holds_since(at(2001), at(2002)));
        leases.lost(0);
        leases.lost(1);
        assert!(!leases.holds(at(2003)));
    }
}
