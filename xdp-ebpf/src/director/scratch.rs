//! Memory that a choice needs beyond registers.

use core::cell::Cell;

/// The work on a pick, in memory of this CPU's own: what is read from there is unknown to the verifier, so that all slots,
/// and all that can come of looking at them, are one way.
#[derive(Debug, Default)]
#[repr(C)]
pub struct PickScratch {
    /// [`Moment::now`](super::turn::Moment::now).
    pub now: Cell<u64>,
    /// Its epoch.
    pub epoch: Cell<u64>,
    /// The weight of a reservation.
    pub trust: Cell<u64>,
    /// The virtual time.
    pub virtual_time: Cell<u64>,
    /// Slots that are not looked at, a bit each.
    pub excluded: Cell<u64>,
    /// The least load so far.
    pub load: Cell<u64>,
    /// The earliest due time of those.
    pub due: Cell<u64>,
    /// The earliest pass so far.
    pub floor: Cell<u64>,
    /// The slot so far.
    pub slot: Cell<u64>,
    /// 1 if any slot is ready and does not hang.
    pub any_ready: Cell<u64>,
}

const _: () = assert!(size_of::<PickScratch>() == 80);
