//! Reservations: places of handshakes that are not over.
//!
//! A choice is made at the SYN and counts as a connection only when the handshake is over, a round trip later. In between
//! it is a reservation of its slot. A handshake that never ends must not hold a place, so a reservation lapses: those of
//! one epoch share a bucket, and a bucket counts in its own epoch and in the one after it.
//!
//! ```text
//! bucket  | epoch 32 | reservations 32 |
//! ```

use super::layout::SlotCells;

/// Nanoseconds of an epoch, as a shift: 537 ms. A reservation lapses after one to two of them.
const EPOCH_BITS: u32 = 29;

/// Returns the epoch of a time in nanoseconds.
#[inline(always)]
#[must_use]
pub fn epoch(now: u64) -> u32 {
    (now >> EPOCH_BITS) as u32
}

/// Whether what was reserved in an epoch still is.
#[inline(always)]
#[must_use]
pub fn holds(then: u32, now: u32) -> bool {
    now.wrapping_sub(then) <= 1
}

#[inline(always)]
fn count(bucket: u64, now: u32) -> u64 {
    if holds((bucket >> 32) as u32, now) { bucket & 0xffff_ffff } else { 0 }
}

/// Returns the reservations of a slot.
#[inline(always)]
#[must_use]
pub fn reserved(slot: &SlotCells, now: u32) -> u64 {
    count(slot.reserved[0].load(), now) + count(slot.reserved[1].load(), now)
}

/// Reserves a place; false if other CPUs were quicker again and again.
#[inline(always)]
pub fn reserve(slot: &SlotCells, now: u32) -> bool {
    let bucket = &slot.reserved[(now & 1) as usize];
    bucket.change(|old| {
        let kept = if (old >> 32) as u32 == now { old & 0xffff_ffff } else { 0 };
        Some(u64::from(now) << 32 | (kept + 1))
    })
}

/// Gives back a place that was reserved in the epoch `then`; nothing if that has lapsed.
#[inline(always)]
pub fn release(slot: &SlotCells, then: u32) {
    let bucket = &slot.reserved[(then & 1) as usize];
    bucket.change(|old| ((old >> 32) as u32 == then && old & 0xffff_ffff != 0).then(|| old - 1));
}
