//! The verdict of several fronts on each address, by the quorum of its Site's pool. Pure.
//!
//! A vote is a verdict; who has none yet, or does not probe an address, does not vote. A front that sees most of what all
//! others see otherwise is the one that is cut off: its own votes do not count then, neither here nor at the others, which it
//! tells so.

use crate::{
    model::{Model, Quorum},
    status::{Health, Verdicts},
};

/// Others that must agree with each other before this front can be the one that is wrong: with one alone nobody could tell
/// which of the two it is.
const OTHERS_MIN: usize = 2;

/// The outcome of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteOutcome {
    /// The verdicts that answers are made by.
    pub verdicts: Verdicts,
    /// Whether this front's view differs from all others' on most addresses that they vote on.
    pub is_cut_off: bool,
}

/// Quorums by Site: those of their pools, which are alike (`config` sees to that).
#[must_use]
pub fn quorums(model: &Model) -> Vec<Quorum> {
    let mut quorums = vec![Quorum::default(); model.sites.len()];
    for pool in &model.pools {
        for site in &pool.sites {
            quorums[site.0] = pool.quorum;
        }
    }
    quorums
}

/// Counts this front's verdicts with those of the `others` whose votes count, positions as in the model. An address that nobody
/// votes on, as while it is handed from one front to another, stays what it was `before`, if it was anything.
#[must_use]
pub fn decide(quorums: &[Quorum], own: &Verdicts, others: &[&Verdicts], before: Option<&Verdicts>) -> VoteOutcome {
    let is_cut_off = is_cut_off(own, others);
    let mut verdicts = own.clone();
    for (site, (decided, quorum)) in verdicts.iter_mut().zip(quorums).enumerate() {
        for (address, verdict) in decided.iter_mut().enumerate() {
            let mine = (!is_cut_off).then_some(*verdict);
            let votes = others.iter().map(|other| other[site][address]).chain(mine);
            let (mut up, mut all) = (0, 0);
            for vote in votes.filter(|vote| *vote != Health::Unknown) {
                all += 1;
                up += usize::from(vote == Health::Up);
            }
            if all > 0 {
                *verdict = if quorum.is_up(up, all) { Health::Up } else { Health::Down };
            } else if let Some(before) = before {
                *verdict = before[site][address];
            }
        }
    }
    VoteOutcome { verdicts, is_cut_off }
}

/// Whether it is the odd one out: it sees most of what it shares with each of the others otherwise, and two of them, at least,
/// see most of what they share alike. Where fronts share the probing, not all of them vote on the same.
fn is_cut_off(own: &Verdicts, others: &[&Verdicts]) -> bool {
    let with_own: Vec<Shared> =
        others.iter().map(|other| Shared::of(own, other)).filter(|shared| shared.all > 0).collect();
    let is_alone = with_own.len() >= OTHERS_MIN && with_own.iter().all(|shared| 2 * shared.alike < shared.all);
    let agree = |one: &Verdicts, other: &Verdicts| {
        let shared = Shared::of(one, other);
        2 * shared.alike > shared.all
    };
    is_alone && others.iter().zip(1..).any(|(one, next)| others[next..].iter().any(|other| agree(one, other)))
}

/// Addresses that two fronts vote on, and those that they see alike.
struct Shared {
    all: usize,
    alike: usize,
}

impl Shared {
    fn of(one: &Verdicts, other: &Verdicts) -> Self {
        let votes = one.iter().flatten().zip(other.iter().flatten());
        let mut shared = Self { all: 0, alike: 0 };
        for (one, other) in votes.filter(|(one, other)| **one != Health::Unknown && **other != Health::Unknown) {
            shared.all += 1;
            shared.alike += usize::from(one == other);
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use Health::{Down, Unknown, Up};
    use proptest::prelude::*;

    use super::*;
    use crate::{fixture, status::Assessment};

    /// Verdicts of as many Sites with one address each.
    fn verdicts(all: &[Health]) -> Verdicts {
        let keys: Vec<String> = (0..all.len()).map(|site| format!("s{site}")).collect();
        let addresses: Vec<String> = (0..all.len()).map(|site| format!("192.0.2.{}", site + 1)).collect();
        let addresses: Vec<[&str; 1]> = addresses.iter().map(|address| [address.as_str()]).collect();
        let sites: Vec<_> =
            keys.iter().zip(&addresses).map(|(key, address)| (key.as_str(), &address[..], None)).collect();
        let mut verdicts = Assessment::unknown(&fixture::model(&sites)).health;
        for (site, health) in all.iter().enumerate() {
            verdicts[site][0] = *health;
        }
        verdicts
    }

    #[track_caller]
    fn check(quorum: Quorum, own: &[Health], others: &[&[Health]], expect: &[Health], is_cut_off: bool) {
        let others: Vec<Verdicts> = others.iter().map(|other| verdicts(other)).collect();
        let others: Vec<&Verdicts> = others.iter().collect();
        let outcome = decide(&vec![quorum; own.len()], &verdicts(own), &others, None);
        assert_eq!(outcome, VoteOutcome { verdicts: verdicts(expect), is_cut_off }, "{quorum} {own:?} {others:?}");
    }

    /// F-VOTE: `any`, `half` and a percentage, of those that vote.
    #[test]
    fn f_vote_quorums() {
        check(Quorum::HALF, &[Down, Up], &[], &[Down, Up], false);
        check(Quorum::HALF, &[Down, Up], &[&[Up, Up]], &[Up, Up], false);
        check(Quorum::ANY, &[Down, Down, Up], &[&[Up, Down, Up], &[Down, Down, Up]], &[Up, Down, Up], false);
        check(Quorum::HALF, &[Down, Up, Up], &[&[Up, Up, Up], &[Down, Up, Up]], &[Down, Up, Up], false);
        check(Quorum::HALF, &[Unknown, Up, Up], &[&[Up, Up, Up], &[Down, Up, Up]], &[Up, Up, Up], false);
        check(Quorum(18), &[Down, Up], &[&[Down, Up], &[Down, Up], &[Down, Up], &[Up, Up]], &[Up, Up], false);
        check(Quorum(21), &[Down, Up], &[&[Down, Up], &[Down, Up], &[Down, Up], &[Up, Up]], &[Down, Up], false);
        check(Quorum(100), &[Up, Up, Up], &[&[Up, Down, Up], &[Up, Up, Up]], &[Up, Down, Up], false);
        check(Quorum::HALF, &[Unknown], &[&[Unknown]], &[Unknown], false);
    }

    /// F-CUT: most of what two others agree on is seen otherwise; its own votes do not count then.
    #[test]
    fn f_cut_the_odd_one_out() {
        let up: &[Health] = &[Up; 3];
        check(Quorum(100), &[Down; 3], &[up, up], up, true);
        check(Quorum(100), &[Down, Down, Up], &[up, up], up, true);
        check(Quorum(100), &[Down, Up, Up], &[up, up], &[Down, Up, Up], false);
        // With one other, nobody can tell.
        check(Quorum(100), &[Down; 3], &[up], &[Down; 3], false);
        check(Quorum::HALF, &[Down; 3], &[up], up, false);
        // The others do not agree.
        check(Quorum(100), &[Down; 2], &[&[Up, Down], &[Down, Up]], &[Down; 2], false);
        // It alone sees them up.
        check(Quorum::ANY, &[Up; 3], &[&[Down; 3], &[Down; 3]], &[Down; 3], true);
        check(Quorum::HALF, &[Unknown; 3], &[up, up], up, false);
    }

    /// F-PROBE: each address is probed by two of three fronts; one of them sees all down, and is told apart all the same. What
    /// nobody probes for a moment stays as it was.
    #[test]
    fn f_probe_votes_of_shared_probes() {
        let (own, one, other) = ([Down, Down, Unknown], [Up, Unknown, Up], [Unknown, Up, Up]);
        check(Quorum(100), &own, &[&one, &other], &[Up; 3], true);
        let mine = verdicts(&[Unknown, Down, Up]);
        let outcome = decide(&[Quorum::HALF; 3], &mine, &[], Some(&verdicts(&[Up, Up, Unknown])));
        assert_eq!(outcome.verdicts, verdicts(&[Up, Down, Up]));
    }

    fn health() -> impl Strategy<Value = Health> {
        prop_oneof![Just(Up), Just(Down), Just(Unknown)]
    }

    proptest! {
        /// F-VOTE: what all see alike is so, whatever the quorum; and one who says nothing changes nothing.
        #[test]
        fn f_vote_unanimity(all in prop::collection::vec(health(), 1..6), percent in 0_u8..=100, fronts in 0_usize..4) {
            let mine = verdicts(&all);
            let silent = verdicts(&vec![Unknown; all.len()]);
            let mut others = vec![&mine; fronts];
            others.push(&silent);
            let outcome = decide(&vec![Quorum(percent); all.len()], &mine, &others, None);
            prop_assert_eq!(outcome, VoteOutcome { verdicts: mine.clone(), is_cut_off: false });
        }
    }
}
