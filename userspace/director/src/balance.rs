//! The one that chooses: the kernel's programs, or, where they cannot be, this process alone.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use xdp_ebpf::director::{
    layout::{POLICY_LEAST, POLICY_ROUND_ROBIN, STATE_READY, ServerPage, SlotSettings, UNLIMITED, WAITING},
    reason::ChoiceReason,
};
use zerottl_core::model::ConnectionPolicy;
use zerottl_kernel::director::{DirectorMapError, DirectorPrograms, RememberedChoice, SlotTally, SteerKind};

/// The one that chooses and counts.
pub(crate) enum Balance {
    /// The kernel: connections go to servers directly.
    Kernel(Box<DirectorPrograms>),
    /// This process: all connections come here and are handed on.
    Own(OwnBalance),
}

/// The state that the kernel's maps have otherwise.
#[derive(Debug, Default)]
pub(crate) struct OwnBalance {
    slots: BTreeMap<u32, (SlotSettings, SlotTally)>,
    /// Where each slot stands in turn.
    passes: BTreeMap<u32, u64>,
    /// Where the policy stands: the least pass of all when somebody was chosen last.
    time: u64,
}

impl OwnBalance {
    fn tally(&mut self, slot: u32) -> &mut SlotTally {
        &mut self.slots.entry(slot).or_default().1
    }
}

impl Balance {
    /// Whether the kernel chooses.
    pub(crate) fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Sets what holds for all slots; `top` is the last that is in use.
    pub(crate) fn set_control(&mut self, policy: ConnectionPolicy, affinity: Option<Duration>, top: u32) {
        match self {
            Self::Kernel(programs) => {
                let policy = match policy {
                    ConnectionPolicy::WeightedRoundRobin => POLICY_ROUND_ROBIN,
                    ConnectionPolicy::LeastConnections => POLICY_LEAST,
                };
                programs.set_control(policy, affinity, top);
            }
            Self::Own(_) => {}
        }
    }

    /// Sets what holds for one slot.
    pub(crate) fn set_slot(&mut self, slot: u32, settings: SlotSettings) {
        match self {
            Self::Kernel(programs) => complain(programs.set_slot(slot, settings)),
            Self::Own(own) => own.slots.entry(slot).or_default().0 = settings,
        }
    }

    /// Sends newcomers behind those that wait, for so long; not at all without a time.
    pub(crate) fn set_waiting(&self, time: Option<Duration>) {
        if let Self::Kernel(programs) = self {
            programs.set_waiting_until(time);
        }
    }

    /// Reads what is counted for a slot.
    pub(crate) fn tally(&self, slot: u32) -> SlotTally {
        match self {
            Self::Kernel(programs) => programs.tally(slot),
            Self::Own(own) => own.slots.get(&slot).map(|(_, tally)| *tally).unwrap_or_default(),
        }
    }

    /// Makes a slot new.
    pub(crate) fn reset(&mut self, slot: u32) {
        match self {
            Self::Kernel(programs) => complain(programs.reset_slot(slot)),
            Self::Own(own) => {
                own.slots.remove(&slot);
                own.passes.remove(&slot);
            }
        }
    }

    /// Makes a listener of a server one that can be chosen.
    pub(crate) fn enlist(
        &mut self,
        address: usize,
        slot: u32,
        generation: u64,
        listener: BorrowedFd<'_>,
    ) -> Result<(), String> {
        let Self::Kernel(programs) = self else { return Ok(()) };
        programs.enlist(address, slot, generation, listener).map_err(|error| error.to_string())
    }

    /// Takes a listener out.
    pub(crate) fn dismiss(&mut self, address: usize, slot: u32) {
        if let Self::Kernel(programs) = self {
            complain(programs.dismiss(address, slot));
        }
    }

    /// Makes a page for the server in a slot, where there are any.
    pub(crate) fn new_page(&mut self, slot: u32) -> Option<OwnedFd> {
        let Self::Kernel(programs) = self else { return None };
        match programs.new_page(slot) {
            Ok(page) => Some(page),
            Err(error) => {
                tracing::warn!(%error, slot, "no page for this server: it is not known when it hangs");
                None
            }
        }
    }

    /// Reads a server's page.
    pub(crate) fn page(&self, slot: u32) -> Option<ServerPage> {
        let Self::Kernel(programs) = self else { return None };
        programs.page(slot)
    }

    /// Counts a connection that waited for the slot that it goes to now.
    pub(crate) fn adopt(&mut self, connection: BorrowedFd<'_>, slot: u32, generation: u64) {
        match self {
            Self::Kernel(programs) => {
                if let Err(error) = programs.adopt(connection, slot, generation) {
                    // It has ended meanwhile, as a rule.
                    tracing::debug!(%error, slot, "a connection is counted where it was");
                }
            }
            Self::Own(own) => {
                let stride = own.slots.get(&slot).map_or(0, |(settings, _)| settings.stride);
                let tally = own.tally(slot);
                tally.live += 1;
                tally.assigned += 1;
                let pass = own.passes.entry(slot).or_default();
                let at = (*pass).max(own.time);
                *pass = at + stride;
                own.time = at;
            }
        }
    }

    /// Whether a connection is that of a slot, to give away, as far as is known.
    pub(crate) fn is_of(&self, connection: BorrowedFd<'_>, slot: u32) -> bool {
        let Self::Kernel(programs) = self else { return true };
        programs.holder(connection).is_ok_and(|holder| holder == Some(slot))
    }

    /// Counts one off that this process has to count off itself.
    pub(crate) fn closed(&mut self, slot: u32) {
        if let Self::Own(own) = self {
            let tally = own.tally(slot);
            tally.live = tally.live.saturating_sub(1);
        }
    }

    /// Has connections of this machine from `from` go to a slot, whatever the policy says.
    pub(crate) fn steer(&self, from: SocketAddr, slot: u32, kind: SteerKind) -> bool {
        let Self::Kernel(programs) = self else { return true };
        programs.steer(from, slot, kind).is_ok()
    }

    /// How the connection of a client was chosen for.
    pub(crate) fn choice(&self, client: SocketAddr, port: u16) -> Option<RememberedChoice> {
        let Self::Kernel(programs) = self else { return None };
        programs.choice(client, port).ok().flatten()
    }

    /// How many connections were chosen for, by slot and reason.
    pub(crate) fn reasons(&self) -> Vec<(u32, ChoiceReason, u64)> {
        let Self::Kernel(programs) = self else { return Vec::new() };
        programs.counters().unwrap_or_default()
    }

    /// Whether a slot has a place for one more connection. Places that handshakes have reserved are taken, as long as
    /// most handshakes come to an end.
    fn has_place(&self, slot: u32, settings: &SlotSettings, coming: u32) -> bool {
        match self {
            Self::Kernel(programs) => programs.has_place(slot, coming),
            Self::Own(_) => settings.cap == UNLIMITED || self.tally(slot).live < u64::from(settings.cap),
        }
    }

    /// Where a slot stands in turn: the least is next.
    fn pass(&self, slot: u32) -> u64 {
        match self {
            Self::Kernel(programs) => programs.pass(slot),
            Self::Own(own) => own.passes.get(&slot).copied().unwrap_or_default().max(own.time),
        }
    }

    /// Finds the slot for one that waits, out of those that take connections: each with how many are coming to it that are
    /// not counted yet.
    pub(crate) fn pick(
        &self,
        policy: ConnectionPolicy,
        open: impl Iterator<Item = (u32, SlotSettings, u32)>,
    ) -> Option<u32> {
        let candidate = |(slot, settings, coming): (u32, SlotSettings, u32)| {
            (settings.state == STATE_READY && slot != WAITING && self.has_place(slot, &settings, coming)).then(|| {
                let stride = u128::from(settings.stride);
                let share = (u128::from(self.tally(slot).live) + u128::from(coming)) * stride;
                let first = if policy == ConnectionPolicy::LeastConnections { share } else { 0 };
                (first, u128::from(self.pass(slot)) + u128::from(coming) * stride, slot)
            })
        };
        open.filter_map(candidate).min().map(|(_, _, slot)| slot)
    }
}

/// A map that refuses what it must take is a fault of this program or of the machine; connections go on as before.
fn complain(result: Result<(), DirectorMapError>) {
    if let Err(error) = result {
        tracing::error!(%error, "the kernel was not told");
    }
}
