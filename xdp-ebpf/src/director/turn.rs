//! Turns: which slot is due.
//!
//! Round robin is stride scheduling (Waldspurger, Weihl 1995): each slot has a pass, the virtual time at which it is due;
//! the earliest is chosen, and its pass advances by its stride, which is the inverse of its weight. Here the pass advances
//! when a handshake is completed; until then its reservation stands for the stride, so that a burst within a round trip is
//! spread as one connection after another would be, and a handshake that comes to nothing leaves no trace.
//!
//! A slot that was away (not ready, full, hung) is not due for all that it has missed: no pass counts for less than the
//! virtual time. That is the earliest pass, without reservations, among those that could have been chosen, as of the latest
//! choice that was completed. So it passes no slot that takes part, whatever the order in which a burst's handshakes end.

use super::{
    layout::{
        DirectorControl, POLICY_LEAST, SLOTS, STATE_READY, ServerPage, SharedCells, SlotCells, SlotSettings, UNLIMITED,
        WAITING,
    },
    maps::DirectorMaps,
    reserve::reserved,
    trust::{self, FULL},
};

/// More reservations, or connections, than a slot can have; keeps products within 64 bits.
const MANY: u64 = 1 << 24;

/// The moment of a choice, as all slots are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now: u64,
    /// [`epoch`](super::reserve::epoch) of it.
    pub epoch: u32,
    /// The weight of a reservation, of [`FULL`]; at 0 none are made.
    pub trust: u64,
    /// The virtual time.
    pub virtual_time: u64,
}

impl Moment {
    /// The moment `now`.
    #[inline(always)]
    #[must_use]
    pub fn new(shared: &SharedCells, now: u64) -> Self {
        Self {
            now,
            epoch: super::reserve::epoch(now),
            trust: trust::now(shared),
            virtual_time: shared.virtual_time.load(),
        }
    }

    /// Whether another connection has a place, with `own` reservations of its own already among those of the slot.
    #[inline(always)]
    #[must_use]
    pub fn has_place(&self, settings: &SlotSettings, slot: &SlotCells, own: u64) -> bool {
        if settings.cap == UNLIMITED {
            return true;
        }
        let others = reserved(slot, self.epoch).saturating_sub(own).min(MANY);
        slot.live.load() + (others * self.trust / FULL) < u64::from(settings.cap)
    }

    /// Whether a slot's process has not gone round its loop for too long.
    #[inline(always)]
    #[must_use]
    pub fn hangs(&self, settings: &SlotSettings, page: Option<&ServerPage>) -> bool {
        if settings.hang_ns == 0 {
            return false;
        }
        let Some(page) = page else { return false };
        // SAFETY: a reference's own memory; volatile because the server stores to it while we run.
        let looped_at = unsafe { core::ptr::read_volatile(&raw const page.looped_at) };
        // A time to come is another CPU's clock.
        looped_at != 0 && self.now > looped_at && self.now - looped_at > settings.hang_ns
    }

    /// Returns when a slot is due, without and with its reservations.
    #[inline(always)]
    #[must_use]
    pub fn due(&self, settings: &SlotSettings, slot: &SlotCells) -> (u64, u64) {
        let pass = slot.pass.load();
        let base = if pass < self.virtual_time { self.virtual_time } else { pass };
        let reserved = reserved(slot, self.epoch).min(MANY);
        (base, base + reserved * (settings.stride * self.trust / FULL))
    }
}

/// Advances a slot's pass by its stride, for a connection that is complete; `floor` is [`Pick::floor`] of its choice, or 0.
#[inline(always)]
pub fn advance(shared: &SharedCells, slot: &SlotCells, stride: u64, floor: u64) {
    shared.virtual_time.raise(floor);
    let virtual_time = shared.virtual_time.load();
    if !slot.pass.change(|pass| Some(if pass < virtual_time { virtual_time } else { pass } + stride)) {
        slot.pass.add(stride);
    }
}

/// The slot whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The slot; [`WAITING`] if there is none.
    pub slot: u32,
    /// The earliest pass, without reservations, of all that could be chosen.
    pub floor: u64,
    /// Whether any slot is ready and does not hang.
    pub any_ready: bool,
}

/// Returns the slot whose turn it is, of all but the `excluded` (a bit each).
#[inline(always)]
#[must_use]
pub fn pick<M: DirectorMaps>(maps: &M, control: &DirectorControl, moment: &Moment, excluded: u64) -> Pick {
    let none = Pick { slot: WAITING, floor: u64::MAX, any_ready: false };
    let Some(scratch) = maps.scratch() else { return none };
    scratch.now.set(moment.now);
    scratch.epoch.set(u64::from(moment.epoch));
    scratch.trust.set(moment.trust);
    scratch.virtual_time.set(moment.virtual_time);
    scratch.excluded.set(excluded);
    scratch.load.set(u64::MAX);
    scratch.due.set(u64::MAX);
    scratch.floor.set(none.floor);
    scratch.slot.set(u64::from(WAITING));
    scratch.any_ready.set(0);
    maps.look_at_slots(control.top & (SLOTS - 1));
    Pick {
        slot: scratch.slot.get() as u32 & (SLOTS - 1),
        floor: scratch.floor.get(),
        any_ready: scratch.any_ready.get() != 0,
    }
}

/// Looks at one slot for [`pick`].
#[inline(always)]
pub fn look<M: DirectorMaps>(maps: &M, at: u32) {
    let at = at & (SLOTS - 1);
    let (Some(control), Some(scratch)) = (maps.control(), maps.scratch()) else { return };
    let (Some(settings), Some(slot)) = (maps.settings(at), maps.slot(at)) else { return };
    if settings.state != STATE_READY || scratch.excluded.get() >> at & 1 != 0 {
        return;
    }
    let moment = Moment {
        now: scratch.now.get(),
        epoch: scratch.epoch.get() as u32,
        trust: scratch.trust.get(),
        virtual_time: scratch.virtual_time.get(),
    };
    let page = maps.page(at);
    if moment.hangs(settings, page) {
        return;
    }
    scratch.any_ready.set(1);
    if !moment.has_place(settings, slot, 0) {
        return;
    }
    let (base, due) = moment.due(settings, slot);
    if base < scratch.floor.get() {
        scratch.floor.set(base);
    }
    let load = if control.policy == POLICY_LEAST { load(settings, slot, page, &moment) } else { 0 };
    let least = scratch.load.get();
    if load < least || (load == least && due < scratch.due.get()) {
        scratch.load.set(load);
        scratch.due.set(due);
        scratch.slot.set(u64::from(at));
    }
}

/// A slot's load for its weight: pending work where it publishes that, else connections, and its reservations.
#[inline(always)]
fn load(settings: &SlotSettings, slot: &SlotCells, page: Option<&ServerPage>, moment: &Moment) -> u64 {
    let mut load = slot.live.load();
    if let Some(page) = page {
        // SAFETY: as in `hangs`.
        let (pending, has_pending) = unsafe {
            (core::ptr::read_volatile(&raw const page.pending), core::ptr::read_volatile(&raw const page.has_pending))
        };
        if has_pending == 1 {
            load = u64::from(pending);
        }
    }
    let reserved = reserved(slot, moment.epoch).min(MANY) * moment.trust / FULL;
    (load + reserved).min(MANY) * settings.stride
}
