//! The verdict of several fronts on each address, by the quorum of its Site's pool. Pure.
//!
//! Each front has its own probes. A vote is a verdict; who has none yet does not vote. A front that sees most of what all
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

/// Counts this front's verdicts with those of the `others` whose votes count, positions as in the model.
#[must_use]
pub fn decide(quorums: &[Quorum], own: &Verdicts, others: &[&Verdicts]) -> VoteOutcome {
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
            }
        }
    }
    VoteOutcome { verdicts, is_cut_off }
}

/// Whether it sees most of what at least two others agree on otherwise.
fn is_cut_off(own: &Verdicts, others: &[&Verdicts]) -> bool {
    let (mut agreed, mut against) = (0_usize, 0_usize);
    for (site, mine) in own.iter().enumerate() {
        for (address, mine) in mine.iter().enumerate() {
            let mut votes = others.iter().map(|other| other[site][address]).filter(|vote| *vote != Health::Unknown);
            let Some(first) = votes.next() else { continue };
            let mut all = 1;
            let is_one_voice = votes.all(|vote| {
                all += 1;
                vote == first
            });
            if is_one_voice && all >= OTHERS_MIN && *mine != Health::Unknown {
                agreed += 1;
                against += usize::from(*mine != first);
            }
        }
    }
    2 * against > agreed
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
        let outcome = decide(&vec![quorum; own.len()], &verdicts(own), &others);
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
            let outcome = decide(&vec![Quorum(percent); all.len()], &mine, &others);
            prop_assert_eq!(outcome, VoteOutcome { verdicts: mine.clone(), is_cut_off: false });
        }
    }
}
