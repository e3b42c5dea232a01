//! How far reservations are believed: what part of recent handshakes came to an end.
//!
//! In a SYN flood from forged addresses next to none does, and half-open connections must neither fill caps nor move
//! shares. Choices and completions are counted in a window of short times. The part that was completed is taken from the
//! times that are old enough to be decided. Of half or more, reservations count fully; of a quarter or less, not at all, and
//! none are made, so that none are left when handshakes end again; in between, by so much.

use super::layout::{SharedCells, WINDOW, WindowCell};

/// A reservation that counts fully.
pub const FULL: u64 = 1024;
/// Nanoseconds of a time, as a shift: 67 ms. It is `WINDOW` of them that are kept, 1.07 s.
const TIME_BITS: u32 = 26;
/// Times, this one included, that are not judged yet: 201 to 268 ms, a long round trip.
const OPEN: u64 = 4;
/// Handshakes that are taken to have been completed besides, so that a few that were not say little.
const GRACE: u64 = 8;

#[inline(always)]
fn cell(shared: &SharedCells, time: u64) -> &WindowCell {
    &shared.window[(time as usize) & (WINDOW - 1)]
}

/// Judges anew at the first call of each time.
#[inline(always)]
pub fn renew(shared: &SharedCells, now: u64) {
    let time = now >> TIME_BITS;
    let cell = cell(shared, time);
    let before = cell.time.load();
    if before != time && cell.time.swap_if(before, time) {
        cell.made.store(0);
        cell.done.store(0);
        judge(shared, time);
    }
}

/// Counts a choice at `now`, for which [`renew`] has been called.
#[inline(always)]
pub fn made(shared: &SharedCells, now: u64) {
    cell(shared, now >> TIME_BITS).made.add(1);
}

/// Counts the completion of a choice that was made at `then`.
#[inline(always)]
pub fn done(shared: &SharedCells, then: u64) {
    let time = then >> TIME_BITS;
    let cell = cell(shared, time);
    if cell.time.load() == time {
        cell.done.add(1);
    }
}

#[inline(always)]
fn judge(shared: &SharedCells, time: u64) {
    let (mut made, mut done) = (GRACE, GRACE);
    let mut i = 0;
    while i < WINDOW {
        let cell = &shared.window[i];
        let age = time.wrapping_sub(cell.time.load());
        if age >= OPEN && age < WINDOW as u64 {
            made += cell.made.load();
            done += cell.done.load();
        }
        i += 1;
    }
    shared.doubt.store(FULL - weight(made, done));
}

/// Returns what a reservation counts for, of [`FULL`].
#[inline(always)]
fn weight(made: u64, done: u64) -> u64 {
    // `made` is at least `GRACE`, which the compiler does not see: it would panic.
    let part = (done * FULL).checked_div(made).unwrap_or(FULL);
    if part * 2 >= FULL { FULL } else { (part * 4).saturating_sub(FULL) }
}

/// Returns what a reservation counts for now, of [`FULL`].
#[inline(always)]
#[must_use]
pub fn now(shared: &SharedCells) -> u64 {
    FULL.saturating_sub(shared.doubt.load())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_count_as_far_as_handshakes_end() {
        let rows = [(8, 8, FULL), (8, 9, FULL), (100, 50, FULL), (100, 37, 488), (100, 25, 0), (10_008, 8, 0)];
        for (made, done, expected) in rows {
            assert_eq!(weight(made, done), expected, "{done} of {made}");
        }
    }
}
