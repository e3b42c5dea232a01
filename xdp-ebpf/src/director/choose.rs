//! The choice for a new connection, and for one whose listener closes before it was accepted.

use super::{
    layout::{
        CHOICE_DONE, CHOICE_RESERVED, ChoiceRecord, DirectorControl, POLICY_LEAST, SLOTS, STATE_READY, STEER_CHECK,
        SharedCells, WAITING,
    },
    maps::{Arrival, DirectorMaps},
    reason::ChoiceReason,
    reserve, trust,
    turn::{Moment, Pick, pick},
};

/// Slots that are tried one after the other, where another CPU takes the last place, or a listener is not there.
const ATTEMPTS: u32 = 3;

/// Chooses a slot for a new connection and selects its listener. `None` where a map has no element that it must have.
#[inline(always)]
#[must_use]
pub fn choose<M: DirectorMaps>(maps: &M, arrival: &Arrival, now: u64) -> Option<(u32, ChoiceReason)> {
    let control = maps.control()?;
    let shared = maps.shared()?;
    let (slot, reason) = find(maps, control, shared, arrival, now);
    maps.count(slot, reason);
    Some((slot, reason))
}

#[inline(always)]
fn find<M: DirectorMaps>(
    maps: &M,
    control: &DirectorControl,
    shared: &SharedCells,
    arrival: &Arrival,
    now: u64,
) -> (u32, ChoiceReason) {
    if arrival.is_own
        && let Some(steered) = maps.steered(&arrival.source())
    {
        let slot = steered.slot & (SLOTS - 1);
        if maps.select(slot) {
            let reason = if steered.kind == STEER_CHECK { ChoiceReason::Check } else { ChoiceReason::Relay };
            keep(maps, arrival, slot, reason, now, 0, 0);
            return (slot, reason);
        }
    }
    trust::renew(shared, now);
    let moment = Moment::new(shared, now);
    let reserved = if moment.trust == 0 { 0 } else { CHOICE_RESERVED };
    if let Some(slot) = remembered(maps, arrival, &moment) {
        return (slot, ChoiceReason::Remembered);
    }
    if now < control.waiting_until {
        return wait(maps, arrival, ChoiceReason::WaitingBehind, now);
    }
    trust::made(shared, now);
    if control.affinity_ns != 0
        && let Some(slot) = of_client(maps, &arrival.key.client, &moment)
        && take(maps, slot, &moment)
    {
        keep(maps, arrival, slot, ChoiceReason::Affinity, now, 0, reserved);
        return (slot, ChoiceReason::Affinity);
    }
    let mut excluded = 0;
    let mut why_not = ChoiceReason::NoSocket;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let Pick { slot, floor, any_ready } = pick(maps, control, &moment, excluded);
        if slot == WAITING {
            if any_ready {
                why_not = ChoiceReason::Full;
            } else if excluded == 0 {
                why_not = ChoiceReason::NoneReady;
            }
            break;
        }
        if take(maps, slot, &moment) {
            let reason = if control.policy == POLICY_LEAST { ChoiceReason::Least } else { ChoiceReason::RoundRobin };
            keep(maps, arrival, slot, reason, now, floor, reserved);
            return (slot, reason);
        }
        excluded |= 1 << slot;
    }
    wait(maps, arrival, why_not, now)
}

/// Reserves a place and selects the listener; false, and nothing reserved, if either fails.
#[inline(always)]
fn take<M: DirectorMaps>(maps: &M, slot: u32, moment: &Moment) -> bool {
    let (Some(settings), Some(cells)) = (maps.settings(slot), maps.slot(slot)) else { return false };
    let reserved = moment.trust != 0 && reserve::reserve(cells, moment.epoch);
    // Another CPU may have taken the last place since it was looked for.
    if moment.has_place(settings, cells, u64::from(reserved)) && maps.select(slot) {
        return true;
    }
    if reserved {
        reserve::release(cells, moment.epoch);
    }
    false
}

/// Gives the connection to the director's own listener.
#[inline(always)]
fn wait<M: DirectorMaps>(maps: &M, arrival: &Arrival, why: ChoiceReason, now: u64) -> (u32, ChoiceReason) {
    let why = if maps.select(WAITING) { why } else { ChoiceReason::Unchosen };
    keep(maps, arrival, WAITING, why, now, 0, 0);
    (WAITING, why)
}

#[inline(always)]
fn keep<M: DirectorMaps>(
    maps: &M,
    arrival: &Arrival,
    slot: u32,
    reason: ChoiceReason,
    at_ns: u64,
    floor: u64,
    flags: u64,
) {
    let flags = super::cell::Cell64::new(flags);
    maps.keep_choice(&arrival.key, ChoiceRecord { at_ns, floor, slot, reason: reason as u32, flags });
}

/// Selects the slot that this handshake was given before, if its reservation still holds and the slot still takes
/// connections. Otherwise the reservation is given back.
#[inline(always)]
fn remembered<M: DirectorMaps>(maps: &M, arrival: &Arrival, moment: &Moment) -> Option<u32> {
    let choice = maps.choice(&arrival.key)?;
    let then = reserve::epoch(choice.at_ns);
    if choice.flags.load() != CHOICE_RESERVED || !reserve::holds(then, moment.epoch) {
        return None;
    }
    let slot = choice.slot & (SLOTS - 1);
    let (settings, cells) = (maps.settings(slot)?, maps.slot(slot)?);
    if settings.state == STATE_READY
        && !moment.hangs(settings, maps.page(slot))
        && moment.has_place(settings, cells, 1)
        && maps.select(slot)
    {
        return Some(slot);
    }
    if choice.flags.swap_if(CHOICE_RESERVED, CHOICE_DONE) {
        reserve::release(cells, then);
    }
    None
}

/// The slot that a client's address was given to before, if it still is that process and takes connections.
#[inline(always)]
fn of_client<M: DirectorMaps>(maps: &M, client: &[u32; 4], moment: &Moment) -> Option<u32> {
    let record = maps.client(client)?;
    let slot = record.slot & (SLOTS - 1);
    let (settings, cells) = (maps.settings(slot)?, maps.slot(slot)?);
    (moment.now < record.until
        && slot != WAITING
        && settings.generation == record.generation
        && settings.state == STATE_READY
        && !moment.hangs(settings, maps.page(slot))
        && moment.has_place(settings, cells, 0))
    .then_some(slot)
}

/// How far a connection was when its listener closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeStage {
    /// Its handshake is not over.
    Handshake,
    /// It is complete, or all but (TCP Fast Open): a socket with this cookie, which waits to be accepted. `counted` is
    /// whether it has been counted.
    Queued {
        /// Its cookie.
        cookie: u64,
        /// Whether it has been counted as live.
        counted: bool,
    },
}

/// Chooses another slot for a connection whose listener, of cookie `listener`, closes, and selects it. Nothing is reserved:
/// what is complete is counted at once. `None` where nothing is selected: then the kernel chooses by its own hash.
#[inline(always)]
#[must_use]
pub fn migrate<M: DirectorMaps>(
    maps: &M,
    arrival: &Arrival,
    listener: u64,
    stage: HandshakeStage,
    now: u64,
) -> Option<(u32, ChoiceReason)> {
    let control = maps.control()?;
    let shared = maps.shared()?;
    let from = maps.listener(listener).map_or(SLOTS, |slot| control.forget(slot));
    let moment = Moment::new(shared, now);
    let mut excluded = if from < SLOTS { 1 << (from & (SLOTS - 1)) } else { 0 };
    let mut found = WAITING;
    let mut floor = 0;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let pick = pick(maps, control, &moment, excluded);
        if pick.slot == WAITING {
            break;
        }
        if maps.select(pick.slot) {
            found = pick.slot;
            floor = pick.floor;
            break;
        }
        excluded |= 1 << pick.slot;
    }
    if found == WAITING && !maps.select(WAITING) {
        maps.count(WAITING, ChoiceReason::Unchosen);
        return None;
    }
    let found = control.forget(found);
    match stage {
        HandshakeStage::Handshake => {
            // Its place was reserved in the slot that closes.
            if let Some(choice) = maps.choice(&arrival.key)
                && choice.flags.swap_if(CHOICE_RESERVED, CHOICE_DONE)
                && let Some(cells) = maps.slot(choice.slot & (SLOTS - 1))
            {
                reserve::release(cells, reserve::epoch(choice.at_ns));
            }
            keep(maps, arrival, found, ChoiceReason::Migrated, now, floor, 0);
        }
        HandshakeStage::Queued { cookie, counted } => {
            let is_check =
                arrival.is_own && maps.steered(&arrival.source()).is_some_and(|steered| steered.kind == STEER_CHECK);
            if !is_check {
                super::tally::queued_moves(maps, shared, cookie, counted, from, found);
            }
            keep(maps, arrival, found, ChoiceReason::Migrated, now, 0, CHOICE_DONE);
        }
    }
    maps.count(found, ChoiceReason::Migrated);
    Some((found, ChoiceReason::Migrated))
}
