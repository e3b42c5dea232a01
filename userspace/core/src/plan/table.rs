//! Slot tables: how many slots, and who gets which.

use std::collections::BinaryHeap;

use xdp_ebpf::{layout::TABLE_SLOTS_MAX, name::mix};

use crate::model::SiteId;

/// Slots per candidate at least.
const SLOTS_PER_CANDIDATE: usize = 8;
/// Candidates of one table, at most; the configuration refuses more.
pub const CANDIDATES_MAX: usize = TABLE_SLOTS_MAX / SLOTS_PER_CANDIDATE;
/// A share may be off by this much of itself before a larger table is taken.
pub const SHARE_ERROR_MAX: f64 = 0.01;

/// One of the endpoints that a table chooses among.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The value that a slot holds: a position in [`Plan::endpoints`](super::Plan::endpoints).
    pub endpoint: u16,
    /// Relative share, at least 1.
    pub weight: u32,
    /// Its identity, for sticky: stable across address changes and restarts.
    pub identity: u64,
    /// Whose it is.
    pub site: SiteId,
    /// For sticky: of the slots it would hold, what it keeps; [`KEEP_ALL`] is all.
    pub keep: u32,
}

/// All of [`Candidate::keep`].
pub const KEEP_ALL: u32 = 1_000_000;

/// Enough slots for shares that move: within 1 % of an even share each; at most 65,536.
#[must_use]
pub(crate) fn moving_slot_count(candidates: usize) -> usize {
    /// Half a slot of these is below 1 % of one even share.
    const SLOTS_PER_SHARE: usize = 64;
    /// Few Sites have shares finer than 0.1 %.
    const SLOTS_MIN: usize = 1024;
    (candidates * SLOTS_PER_SHARE).next_power_of_two().clamp(SLOTS_MIN, TABLE_SLOTS_MAX)
}

/// The smallest power of two that gives every weight its share within [`SHARE_ERROR_MAX`]; at least 8 slots a candidate,
/// at most 65,536.
#[must_use]
pub(crate) fn slot_count(weights: &[u32]) -> usize {
    let mut slots = (weights.len() * SLOTS_PER_CANDIDATE).next_power_of_two().min(TABLE_SLOTS_MAX);
    while slots < TABLE_SLOTS_MAX && share_error(weights, slots) > SHARE_ERROR_MAX {
        slots *= 2;
    }
    slots
}

/// How far the worst share is off, relative to what it should be.
#[must_use]
pub(crate) fn share_error(weights: &[u32], slots: usize) -> f64 {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let off = quotas(weights, slots).into_iter().zip(weights).map(|(quota, weight)| {
        let ideal = f64::from(*weight) / total * as_f64(slots);
        (as_f64(quota) - ideal).abs() / ideal
    });
    off.fold(0.0, f64::max)
}

/// Slots by weight: each at least one, the rest by largest remainder. `slots` must be at least the number of weights.
#[must_use]
pub(crate) fn quotas(weights: &[u32], slots: usize) -> Vec<usize> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let exact = |weight: u32| u64::from(weight) * slots as u64;
    let mut quotas: Vec<usize> = weights.iter().map(|w| usize::max(1, (exact(*w) / total) as usize)).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|i| std::cmp::Reverse(exact(weights[*i]) % total));
    let mut given: usize = quotas.iter().sum();
    // Largest remainders first; after a round of those, whoever is next, until all are given.
    for i in by_remainder.iter().copied().cycle() {
        if given >= slots {
            break;
        }
        quotas[i] += 1;
        given += 1;
    }
    // The ones given to tiny weights come from the largest quota, of equal ones from the last.
    let mut largest: BinaryHeap<(usize, usize)> =
        quotas.iter().enumerate().filter(|_| given > slots).map(|(i, quota)| (*quota, i)).collect();
    while given > slots {
        let Some(mut top) = largest.peek_mut() else { break };
        top.0 -= 1;
        quotas[top.1] -= 1;
        given -= 1;
    }
    quotas
}

/// Fills a table with positions of weights, by smooth weighted round robin: every run of slots holds each as evenly as can
/// be.
#[must_use]
pub fn round_robin(weights: &[u32], slots: usize) -> Box<[u16]> {
    let quotas: Vec<i32> = quotas(weights, slots).into_iter().map(signed).collect();
    let mut credits = vec![0_i32; weights.len()];
    let fill = (0..slots).map(|_| {
        // Two loops of one thing each, which become vector instructions.
        let mut most = i32::MIN;
        for (credit, quota) in credits.iter_mut().zip(&quotas) {
            *credit += quota;
            most = most.max(*credit);
        }
        let best = credits.iter().position(|credit| *credit == most).unwrap_or(0);
        credits[best] -= signed(slots);
        // A table has at most 8,192 candidates.
        best as u16
    });
    fill.collect()
}

/// Fills a table so that a slot moves only when its owner leaves or returns.
///
/// Every slot has an owner among all the configured candidates, by exact quota. A slot whose owner is not live goes to
/// the live candidate that scores highest for it (weighted rendezvous hashing), whoever else is live.
#[must_use]
pub fn sticky(configured: &[Candidate], live: &[bool], slots: usize) -> Box<[u16]> {
    let weights: Vec<u32> = configured.iter().map(|c| c.weight).collect();
    let mut left = quotas(&weights, slots);
    let fill = (0..slots).map(|slot| {
        let owner = highest(configured, slot, |i| left[i] > 0);
        left[owner] -= 1;
        if live[owner] { owner } else { highest(configured, slot, |i| live[i]) }
    });
    let mut holders: Vec<usize> = fill.collect();
    give_away(configured, live, &mut holders);
    holders.into_iter().map(|holder| configured[holder].endpoint).collect()
}

/// Takes from candidates what they do not keep, and gives it to live ones that keep the most. Which slots go depends on
/// the candidate alone: those that went first return last.
fn give_away(configured: &[Candidate], live: &[bool], holders: &mut [usize]) {
    let of_live = configured.iter().zip(live).filter(|(_, live)| **live).map(|(candidate, _)| candidate.keep);
    let most = of_live.max().unwrap_or(KEEP_ALL).max(1);
    for (giver, candidate) in configured.iter().enumerate().filter(|(i, c)| live[*i] && c.keep < most) {
        let mut held: Vec<usize> = (0..holders.len()).filter(|slot| holders[*slot] == giver).collect();
        held.sort_by_key(|slot| mix(mix(candidate.identity, *slot as u64), 0x6b65_6570));
        let keeps = (held.len() as u64 * u64::from(candidate.keep) / u64::from(most)).max(1) as usize;
        for slot in held.into_iter().skip(keeps) {
            holders[slot] = highest(configured, slot, |i| live[i] && configured[i].keep == most);
        }
    }
}

/// The candidate that scores highest for a slot among those that may have it; the first if none may.
fn highest(candidates: &[Candidate], slot: usize, may: impl Fn(usize) -> bool) -> usize {
    let mut best = (f64::NEG_INFINITY, 0);
    for (i, candidate) in candidates.iter().enumerate().filter(|(i, _)| may(*i)) {
        let score = score(candidate, slot);
        if score > best.0 {
            best = (score, i);
        }
    }
    best.1
}

/// `-weight / ln(uniform)`: the highest of these is candidate i with probability weight(i) / total.
fn score(candidate: &Candidate, slot: usize) -> f64 {
    let hash = mix(mix(candidate.identity, slot as u64), 0x7a65_726f);
    // 32 bits, never 0 or 1.
    let uniform = (f64::from((hash >> 32) as u32) + 0.5) / 2_f64.powi(32);
    -f64::from(candidate.weight) / uniform.ln()
}

/// Slots are at most 65,536, and credits stay within as many of zero.
fn signed(slots: usize) -> i32 {
    i32::try_from(slots).unwrap_or(i32::MAX)
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let make = |(i, weight): (usize, &u32)| Candidate {
            endpoint: i as u16,
            weight: *weight,
            identity: mix(i as u64, 0x1234),
            site: SiteId(i),
            keep: KEEP_ALL,
        };
        weights.iter().enumerate().map(make).collect()
    }

    fn count(table: &[u16], endpoint: usize) -> usize {
        table.iter().filter(|e| usize::from(**e) == endpoint).count()
    }

    #[test]
    fn even_weights_divide_a_power_of_two() {
        assert_eq!(quotas(&[2, 1, 1], 32), [16, 8, 8]);
        assert_eq!(slot_count(&[2, 1, 1]), 32);
    }

    #[test]
    fn thirds_take_a_larger_table() {
        assert_eq!(slot_count(&[1, 1, 1]), 256);
        assert!(share_error(&[1, 1, 1], 256) <= SHARE_ERROR_MAX);
    }

    #[test]
    fn a_tiny_weight_gets_its_slot() {
        let weights = [65_535, 1];
        let quotas = quotas(&weights, slot_count(&weights));
        assert!(quotas[1] >= 1);
        assert_eq!(slot_count(&weights), 65_536);
    }

    #[test]
    fn one_candidate_fills_its_table() {
        assert!(round_robin(&[7], 8).iter().all(|e| *e == 0));
    }

    proptest! {
        /// S4-A-LBNS: every non-zero weight has a slot, and the slots add up.
        #[test]
        fn quotas_add_up(weights in prop::collection::vec(1_u32..=65_535, 1..40)) {
            let slots = slot_count(&weights);
            let quotas = quotas(&weights, slots);
            prop_assert_eq!(quotas.iter().sum::<usize>(), slots);
            prop_assert!(quotas.iter().all(|q| *q >= 1));
        }

        /// S4-A-LBNS: round robin keeps every run of slots within one of its share (two where quotas are uneven).
        #[test]
        fn round_robin_is_smooth(weights in prop::collection::vec(1_u32..=20, 1..8)) {
            let slots = slot_count(&weights);
            let quotas = quotas(&weights, slots);
            let table = round_robin(&weights, slots);
            for (i, quota) in quotas.iter().enumerate() {
                prop_assert_eq!(count(&table, i), *quota);
                let mut seen = 0_usize;
                for (at, endpoint) in table.iter().enumerate() {
                    seen += usize::from(usize::from(*endpoint) == i);
                    let due = as_f64(at + 1) * as_f64(*quota) / as_f64(slots);
                    prop_assert!((as_f64(seen) - due).abs() <= 2.0, "{i}: {seen} of {due} at {at}");
                }
            }
        }

        /// S4-3A-320: a Site's leaving moves only its own slots, whatever else is down, and its return takes them back.
        #[test]
        fn sticky_moves_only_the_leavers_slots(
            weights in prop::collection::vec(1_u32..=20, 2..8),
            down in prop::collection::vec(any::<bool>(), 8),
            leaver in 0_usize..8,
        ) {
            let all = candidates(&weights);
            let leaver = leaver % all.len();
            let slots = slot_count(&weights);
            let mut live: Vec<bool> = (0..all.len()).map(|i| !down[i]).collect();
            live[leaver] = true;
            let before = sticky(&all, &live, slots);
            live[leaver] = false;
            prop_assume!(live.iter().any(|l| *l));
            let after = sticky(&all, &live, slots);
            for (was, is) in before.iter().zip(&after) {
                if usize::from(*was) == leaver {
                    prop_assert!(live[usize::from(*is)]);
                } else {
                    prop_assert_eq!(was, is);
                }
            }
        }

        /// Sticky gives each live Site its exact quota while all are up.
        #[test]
        fn sticky_keeps_quotas(weights in prop::collection::vec(1_u32..=20, 1..8)) {
            let slots = slot_count(&weights);
            let table = sticky(&candidates(&weights), &vec![true; weights.len()], slots);
            for (i, quota) in quotas(&weights, slots).iter().enumerate() {
                prop_assert_eq!(count(&table, i), *quota);
            }
        }
    }
}
