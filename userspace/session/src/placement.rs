//! Which session servers hold the copies of a session: rendezvous hashing (highest random weight). Each server has a rank for
//! each session by a hash of both names, so that a server that comes or goes moves its own sessions and no others.

use ring::digest::{Context, SHA256};
use zerottl_core::{model::SESSION_SERVERS_MAX, session_id::SessionId};

/// Session servers, at most.
pub const SERVERS_MAX: usize = 8;
// What the configuration lets through is never left out here.
const _: () = assert!(SERVERS_MAX == SESSION_SERVERS_MAX);

/// A server as the placement knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedServer {
    /// Its name: host and port.
    pub name: String,
    /// The part that fails as a whole, such as its host or its rack.
    pub domain: String,
}

/// The order in which servers hold copies, for each session.
#[derive(Clone, Debug)]
pub struct CopyPlacement {
    servers: Vec<PlacedServer>,
}

/// Returns the weight of somebody for a session: who has the highest comes first.
pub(crate) fn weight(id: SessionId, name: &str) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(&id.0);
    context.update(name.as_bytes());
    context.finish().as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl CopyPlacement {
    /// Makes one of all servers; those beyond [`SERVERS_MAX`] are left out.
    #[must_use]
    pub fn new(mut servers: Vec<PlacedServer>) -> Self {
        servers.truncate(SERVERS_MAX);
        Self { servers }
    }

    /// Returns all servers in the order of a session.
    #[must_use]
    pub fn ranked(&self, id: SessionId) -> Vec<usize> {
        let weights = self.servers.iter().map(|server| weight(id, &server.name));
        let mut ranked: Vec<_> = weights.enumerate().collect();
        ranked.sort_by_key(|(at, weight)| (std::cmp::Reverse(*weight), *at));
        ranked.into_iter().map(|(at, _)| at).collect()
    }

    /// Chooses up to `copies` of the servers that are usable, in the session's order: each in a failure domain of its own as
    /// long as there are any, never one twice.
    #[must_use]
    pub fn choose(&self, id: SessionId, copies: usize, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        let ranked: Vec<usize> = self.ranked(id).into_iter().filter(|at| usable(*at)).collect();
        let mut chosen: Vec<usize> = Vec::with_capacity(copies);
        let domain = |at: usize| &self.servers[at].domain;
        for apart in [true, false] {
            for at in &ranked {
                let is_apart = chosen.iter().all(|other| domain(*other) != domain(*at));
                if chosen.len() < copies && !chosen.contains(at) && (is_apart || !apart) {
                    chosen.push(*at);
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers(domains: &[u8]) -> CopyPlacement {
        let server = |(at, domain): (usize, &u8)| PlacedServer {
            name: format!("10.0.0.{at}:6379"),
            domain: format!("rack-{domain}"),
        };
        CopyPlacement::new(domains.iter().enumerate().map(server).collect())
    }

    fn id(number: u128) -> SessionId {
        SessionId(number.to_be_bytes())
    }

    proptest! {
        /// S1-5, S1-10: two copies are at two servers, in two failure domains where there are two.
        #[test]
        fn s1_10_copies_are_never_twice_on_one(
            domains in prop::collection::vec(0_u8..4, 1..9), number: u128, copies in 0_usize..5, down: u8,
        ) {
            let placement = servers(&domains);
            let up = |at: usize| down & 1 << at == 0;
            let chosen = placement.choose(id(number), copies, up);
            let ups: Vec<usize> = (0..domains.len()).filter(|at| up(*at)).collect();
            prop_assert_eq!(chosen.len(), copies.min(ups.len()));
            prop_assert!(chosen.iter().all(|at| up(*at)));
            let distinct = |values: Vec<usize>| { let mut values = values; values.sort_unstable(); values.dedup(); values.len() };
            prop_assert_eq!(distinct(chosen.clone()), chosen.len());
            let of = |list: &[usize]| distinct(list.iter().map(|at| usize::from(domains[*at])).collect());
            prop_assert_eq!(of(&chosen), of(&ups).min(chosen.len()));
        }

        /// S1-3, S1-4, S1-8: the placement is stable: without a server that has no copy of it, a session stays where it is;
        /// without one that has, the others stay.
        #[test]
        fn s1_3_placement_is_stable(number: u128, copies in 1_usize..4, gone in 0_usize..8) {
            let placement = servers(&[0, 1, 2, 3, 4, 5, 6, 7]);
            let before = placement.choose(id(number), copies, |_| true);
            let after = placement.choose(id(number), copies, |at| at != gone);
            let stay = before.iter().filter(|at| **at != gone).all(|at| after.contains(at));
            prop_assert!(stay, "{before:?} {after:?}");
            prop_assert!(before.contains(&gone) || before == after);
        }
    }

    /// S1-3, S1-4: with one copy each the servers hold disjoint parts of about the same size.
    #[test]
    fn s1_4_parts_are_disjoint_and_even() {
        let placement = servers(&[0, 1, 2]);
        let mut counts = [0; 3];
        for number in 0..3000 {
            let chosen = placement.choose(id(number << 64), 1, |_| true);
            assert_eq!(chosen.len(), 1);
            counts[chosen[0]] += 1;
        }
        assert!(counts.iter().all(|count| (880..=1120).contains(count)), "{counts:?}");
    }
}
