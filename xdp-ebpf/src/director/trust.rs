//! How far reservations are believed: what part of recent handshakes came to an end.
//!
//! In a SYN flood from forged addresses next to none does, and half-open connections must neither fill caps nor move
//! shares. Choices and completions are counted in a window of short times. The part that was completed is taken from the
//! times that are old enough to be decided, and reservations count accordingly:
//!
//! | completed | in shares | for caps |
//! |---|---|---|
//! | half or more | fully | fully |
//! | a quarter | by half | not |
//! | next to none | next to nothing | not |

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

/// Counts a choice at `now`, and judges anew at the first one of each time.
#[inline(always)]
pub fn made(shared: &SharedCells, now: u64) {
    let time = now >> TIME_BITS;
    let cell = cell(shared, time);
    let before = cell.time.load();
    if before != time && cell.time.swap_if(before, time) {
        cell.made.store(0);
        cell.done.store(0);
        judge(shared, time);
    }
    cell.made.add(1);
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
    let (share, cap) = weights(made, done);
    shared.share_doubt.store(FULL - share);
    shared.cap_doubt.store(FULL - cap);
}

/// Returns what a reservation counts for in shares and for caps, of [`FULL`].
#[inline(always)]
fn weights(made: u64, done: u64) -> (u64, u64) {
    // `made` is at least `GRACE`, which the compiler does not see: it would panic.
    let part = (done * FULL).checked_div(made).unwrap_or(FULL);
    let share = if part * 2 >= FULL { FULL } else { part * 2 };
    let cap = if part * 2 >= FULL { FULL } else { (part * 4).saturating_sub(FULL) };
    (share, cap)
}

/// Returns what a reservation counts for in shares, of [`FULL`].
#[inline(always)]
#[must_use]
pub fn share(shared: &SharedCells) -> u64 {
    FULL - (shared.share_doubt.load() & (FULL * 2 - 1)).min(FULL)
}

/// Returns what a reservation counts for in caps, of [`FULL`].
#[inline(always)]
#[must_use]
pub fn cap(shared: &SharedCells) -> u64 {
    FULL - (shared.cap_doubt.load() & (FULL * 2 - 1)).min(FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_count_as_far_as_handshakes_end() {
        let rows = [
            (8, 8, FULL, FULL),
            (100, 50, FULL, FULL),
            (100, 37, 756, 488),
            (100, 25, 512, 0),
            (100, 10, 204, 0),
            (10_008, 8, 0, 0),
        ];
        for (made, done, share, cap) in rows {
            assert_eq!(weights(made, done), (share, cap), "{done} of {made}");
        }
    }
}
