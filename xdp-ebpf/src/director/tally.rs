//! Connections that come to be and end: what is live, and what each slot has been given.

use super::{
    layout::{
        CHOICE_DONE, CHOICE_RESERVED, ClientRecord, HOLDER_CLOSED, HOLDER_COUNTED, HolderRecord, SLOTS, STEER_CHECK,
        SharedCells,
    },
    maps::{Arrival, DirectorMaps},
    reserve, trust, turn,
};

/// Counts a connection whose handshake is over; whether it was, so that its end is to be told, too.
#[inline(always)]
#[must_use]
pub fn established<M: DirectorMaps>(maps: &M, arrival: &Arrival, holder: &HolderRecord, cookie: u64, now: u64) -> bool {
    let (Some(control), Some(shared)) = (maps.control(), maps.shared()) else { return false };
    if arrival.is_own && maps.steered(&arrival.source()).is_some_and(|steered| steered.kind == STEER_CHECK) {
        return false;
    }
    let moved = if shared.moved.load() == 0 { None } else { maps.moved(cookie) };
    let slot = control.forget(moved.unwrap_or(holder.slot));
    let (Some(settings), Some(cells)) = (maps.settings(slot), maps.slot(slot)) else { return false };
    holder.flags.set_bits(HOLDER_COUNTED);
    cells.live.add(1);
    cells.assigned.add(1);
    let mut floor = 0;
    if let Some(choice) = maps.choice(&arrival.key) {
        let flags = choice.flags.load();
        if flags & CHOICE_DONE == 0 && choice.flags.swap_if(flags, CHOICE_DONE) {
            floor = choice.floor;
            trust::done(shared, choice.at_ns);
            if flags == CHOICE_RESERVED
                && let Some(cells) = maps.slot(choice.slot & (SLOTS - 1))
            {
                reserve::release(cells, reserve::epoch(choice.at_ns));
            }
        }
    }
    turn::advance(shared, cells, settings.stride, floor);
    if control.affinity_ns != 0 && slot != 0 {
        let until = now + control.affinity_ns;
        let record = ClientRecord { until, generation: settings.generation, slot, spare: 0 };
        maps.keep_client(&arrival.key.client, record);
    }
    true
}

/// Takes the count of a closed connection away.
#[inline(always)]
pub fn closed<M: DirectorMaps>(maps: &M, holder: &HolderRecord, cookie: u64) {
    let (Some(control), Some(shared)) = (maps.control(), maps.shared()) else { return };
    let flags = holder.flags.set_bits(HOLDER_CLOSED);
    if flags & HOLDER_COUNTED == 0 || flags & HOLDER_CLOSED != 0 {
        return;
    }
    let mut slot = holder.slot;
    if shared.moved.load() != 0
        && let Some(to) = maps.moved(cookie)
        // The director may have taken it: then it has written the slot to the holder.
        && maps.forget_moved(cookie)
    {
        shared.moved.sub(1);
        slot = to;
    }
    if let Some(cells) = maps.slot(control.forget(slot)) {
        cells.live.sub(1);
    }
}

/// Moves the count of a connection that waits to be accepted; its end will be counted where it is now.
#[inline(always)]
pub(super) fn queued_moves<M: DirectorMaps>(
    maps: &M,
    shared: &SharedCells,
    cookie: u64,
    counted: bool,
    from: u32,
    to: u32,
) {
    let again = shared.moved.load() != 0 && maps.moved(cookie).is_some();
    if from >= SLOTS || !maps.keep_moved(cookie, to) {
        return;
    }
    if !again {
        shared.moved.add(1);
    }
    if !counted {
        return;
    }
    if let Some(cells) = maps.slot(from & (SLOTS - 1)) {
        cells.live.sub(1);
    }
    if let (Some(settings), Some(cells)) = (maps.settings(to), maps.slot(to)) {
        cells.live.add(1);
        cells.assigned.add(1);
        turn::advance(shared, cells, settings.stride, 0);
    }
}
