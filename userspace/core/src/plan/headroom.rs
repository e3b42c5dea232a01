//! Shares by headroom, and how fast they move.
//!
//! A Site's headroom is 1 up to its low watermark and falls in a straight line to 0 at its high watermark. Shares are
//! weights times headroom, filled like water: a full Site gets its trickle and no more, and what it and dead Sites cannot
//! take goes to the others by their headroom.
//!
//! ```text
//! headroom 1 ┐‾‾‾‾‾‾‾‾‾‾‾\
//!            │            \
//!          0 └─────────────\────────  load
//!            low × target ─┘└─ high × capacity
//! ```
//!
//! A share that is due moves by `max_step` a second, all shares in proportion, so that late figures and resolvers that
//! cache do not make it swing. What a dead or full Site loses, it loses at once.

use std::time::Duration;

use crate::{
    model::{SiteId, Steering},
    status::Load,
};

/// The least part of its slots that a Site keeps under `sticky` with a bounded load.
const KEEP_MIN: f64 = 1.0 / 64.0;
/// A Site's slots under `sticky` move this much slower than shares: its load follows them late, as its sessions end.
const KEEP_SLOWNESS: f64 = 10.0;
/// A full Site's share falls this much faster than others move.
const FULL_HASTE: f64 = 2.0;
/// Shares nearer to each other than this are the same: half a slot of the smallest table.
const SAME: f64 = 1.0 / 2048.0;

/// One Site that can take new clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taker {
    /// The Site.
    pub site: SiteId,
    /// Its weight in force; over 0.
    pub weight: f64,
    /// Its headroom; none where it is not known, which counts as the mean of the others that are not full.
    pub room: Option<f64>,
}

/// A Site's headroom, 0 to 1, at a load: that of its report, or one with debits.
#[must_use]
pub fn headroom(current: f64, of: &Load, steering: &Steering) -> f64 {
    let (low, high) = (steering.low_watermark * of.target, steering.high_watermark * of.capacity);
    if current >= high {
        return 0.0;
    }
    // The target is at most the capacity and the low mark below the high one, so there is a distance.
    ((high - current) / (high - low)).clamp(0.0, 1.0)
}

/// Each taker's share, and whether it is full; shares add up to 1 unless there is no taker.
#[must_use]
pub fn goal(takers: &[Taker], trickle: f64) -> Vec<(f64, bool)> {
    let all: f64 = takers.iter().map(|taker| taker.weight).sum();
    let known = || takers.iter().filter_map(|taker| Some((taker.weight, taker.room.filter(|room| *room > 0.0)?)));
    let known_weight: f64 = known().map(|(weight, _)| weight).sum();
    let mean = if known_weight > 0.0 { known().map(|(w, room)| w * room).sum::<f64>() / known_weight } else { 1.0 };
    let room = |taker: &Taker| taker.room.unwrap_or(mean);
    // All full is all alike: their weights alone decide.
    if takers.iter().all(|taker| room(taker) <= 0.0) {
        return takers.iter().map(|taker| (taker.weight / all, true)).collect();
    }
    // The emptier ones never need the trickle before the fuller ones do, so one pass from the fullest finds all that do.
    let mut order: Vec<usize> = (0..takers.len()).collect();
    order.sort_by(|a, b| room(&takers[*a]).total_cmp(&room(&takers[*b])));
    let (mut left, mut wanted) = (1.0, takers.iter().map(|taker| taker.weight * room(taker)).sum::<f64>());
    let mut shares = vec![(0.0, false); takers.len()];
    for i in order {
        let (weight, room) = (takers[i].weight, room(&takers[i]));
        let least = trickle * weight / all;
        let by_room = if wanted > 0.0 { left * (weight * room / wanted) } else { 0.0 };
        if by_room < least || room <= 0.0 {
            shares[i].0 = least.min(left);
            left -= shares[i].0;
            wanted -= weight * room;
        } else {
            // From here on nobody needs it.
            shares[i].0 = by_room;
        }
        shares[i].1 = room <= 0.0;
    }
    shares
}

/// Shares on their way from those in force to those that are due: of each Site, and whether any is still to move.
/// `before` has Sites that are no takers any more, and lacks new ones. `part` is the part of its way that a share goes;
/// none is all of it.
#[must_use]
pub fn advance(
    before: &[(SiteId, f64)],
    takers: &[Taker],
    goal: &[(f64, bool)],
    part: Option<f64>,
) -> (Vec<f64>, bool) {
    let due: Vec<f64> = goal.iter().map(|(share, _)| *share).collect();
    let Some(part) = part else { return (due, false) };
    let was = |site: SiteId| before.iter().find(|(of, _)| *of == site).map_or(0.0, |(_, share)| *share);
    let mut shares: Vec<f64> = takers.iter().map(|taker| was(taker.site)).collect();
    if shares.iter().sum::<f64>() <= SAME {
        return (due, false);
    }
    // What dead Sites had is missing from the sum, and goes to the others at once.
    fill(&mut shares, goal);
    for (share, (due, full)) in shares.iter_mut().zip(goal) {
        let part = if *full { part * FULL_HASTE } else { part };
        *share += (due - *share) * part.min(1.0);
    }
    fill(&mut shares, goal);
    let far = shares.iter().zip(&due).map(|(share, due)| (due - share).abs()).fold(0.0, f64::max);
    if far <= SAME { (due, false) } else { (shares, true) }
}

/// Makes shares add up to 1: what is missing goes to those with headroom, by what is due to them; what is too much goes
/// from all alike.
fn fill(shares: &mut [f64], goal: &[(f64, bool)]) {
    let all_full = goal.iter().all(|(_, full)| *full);
    let takes = |(due, full): &(f64, bool)| if *full && !all_full { 0.0 } else { *due };
    let (sum, room): (f64, f64) = (shares.iter().sum(), goal.iter().map(takes).sum());
    for (share, goal) in shares.iter_mut().zip(goal) {
        *share = if sum >= 1.0 { *share / sum } else { *share + (1.0 - sum) * takes(goal) / room };
    }
}

/// Shares with what has been handed out since the newest reports: each by what is left of its headroom. They are in force
/// until those reports come; the others move on from `shares` as if nothing had been.
#[must_use]
pub fn debited(shares: &[f64], left: &[f64]) -> Vec<f64> {
    let sum: f64 = shares.iter().zip(left).map(|(share, left)| share * left).sum();
    // Where all have had theirs, it is as before.
    if sum <= SAME {
        return shares.to_vec();
    }
    shares.iter().zip(left).map(|(share, left)| share * left / sum).collect()
}

/// The part of its way that a share goes in this time; none is all of it.
#[must_use]
pub fn part(steering: &Steering, elapsed: Duration) -> Option<f64> {
    (steering.max_step > 0.0).then_some(steering.max_step * elapsed.as_secs_f64())
}

/// Under `sticky` with a bounded load: of its slots, what a Site keeps, and whether that is still to move.
/// `utilisation` and the takers' `mean` are loads over capacities.
///
/// It gives slots away while it is over `balance_factor` × mean, and takes them back while it is below the middle of that
/// and the mean; in between it rests. Its load follows late, so it goes slowly, and no estimate of where it ends is made.
#[must_use]
pub fn keep(before: f64, utilisation: f64, mean: f64, steering: &Steering, elapsed: Duration) -> (f64, bool) {
    let bound = steering.balance_factor * mean;
    let step = part(steering, elapsed).unwrap_or(elapsed.as_secs_f64()) / KEEP_SLOWNESS;
    if utilisation > bound {
        let after = (before - step).max(KEEP_MIN);
        (after, after > KEEP_MIN)
    } else if utilisation < f64::midpoint(bound, mean) {
        let after = (before + step).min(1.0);
        (after, after < 1.0)
    } else {
        (before, false)
    }
}
