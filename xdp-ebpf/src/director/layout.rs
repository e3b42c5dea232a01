//! The maps between the director and its kernel programs: sizes, states, entries, byte by byte.
//!
//! Integers are in the machine's order. `DirectorControl` and `SlotSettings` are written by the director alone;
//! [`SlotCells`] and [`SharedCells`] by the programs, and by the director in single atomic steps only.

use super::cell::Cell64;

/// Counts up with every change of a layout: pins of another version are not taken over.
pub const ABI: u32 = 1;
/// Slots of one address. Slot 0 is the director's own listener, where connections wait; each other one is a process.
pub const SLOTS: u32 = 64;
/// Addresses that are listened on, at most. The socket of address `a` in slot `s` is at `a * SLOTS + s` of `SOCKETS`.
pub const ADDRESSES_MAX: u32 = 16;
/// The slot of the director's own listeners.
pub const WAITING: u32 = 0;
/// Connections whose choice is remembered: for SYN cookies, for reservations, for `explain`.
pub const CHOICES_LEN: u32 = 65_536;
/// Clients that are remembered for affinity.
pub const CLIENTS_LEN: u32 = 65_536;
/// Sockets of the director's own that are steered, at a time.
pub const STEERED_LEN: u32 = 4096;
/// Listeners, and as many again that are being replaced.
pub const LISTENERS_LEN: u32 = 2 * SLOTS * ADDRESSES_MAX;
/// Connections whose listener closed before they were accepted, and which live.
pub const MOVED_LEN: u32 = 65_536;
/// No limit on connections.
pub const UNLIMITED: u32 = u32::MAX;
/// The stride of weight 1; of weight `w` it is this by `w`.
///
/// Passes are sums of strides in 64 bits: of weight 1, 2^40 connections.
pub const STRIDE_ONE: u64 = 1 << 24;

/// `SlotSettings::state`: nothing is there.
pub const STATE_NONE: u32 = 0;
/// It takes connections.
pub const STATE_READY: u32 = 1;
/// It takes no connections by choice or affinity: draining, in maintenance, down. Its socket stays.
pub const STATE_CLOSED: u32 = 2;

/// `Control::policy`.
pub const POLICY_ROUND_ROBIN: u32 = 0;
/// Fewest connections by weight.
pub const POLICY_LEAST: u32 = 1;

/// `CONTROL`, one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DirectorControl {
    /// [`ABI`].
    pub abi: u32,
    /// One of `POLICY_`.
    pub policy: u32,
    /// Slots from 1 to this one are looked at.
    pub top: u32,
    /// Zero. The verifier does not know that: [`DirectorControl::forget`].
    pub zero: u32,
    /// As long as the clock (`CLOCK_MONOTONIC`, nanoseconds) is before this, connections wait, and new ones go behind
    /// them. The director renews it while somebody waits; when it dies, newcomers are chosen for again.
    pub waiting_until: u64,
    /// Nanoseconds for which a client's address meets its server again; 0 is off.
    pub affinity_ns: u64,
    /// Zero.
    pub spare: u64,
}

impl DirectorControl {
    /// The slot, of which the verifier knows no more than that it is one: ways that differ in it are one way.
    #[inline(always)]
    #[must_use]
    pub fn forget(&self, slot: u32) -> u32 {
        slot.wrapping_add(self.zero) & (SLOTS - 1)
    }
}

/// `SETTINGS`, one for each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SlotSettings {
    /// One of `STATE_`.
    pub state: u32,
    /// Connections at a time, at most; [`UNLIMITED`].
    pub cap: u32,
    /// [`STRIDE_ONE`] by its weight of this moment.
    pub stride: u64,
    /// Nanoseconds without a round of its loop after which it hangs; 0 where it has no page.
    pub hang_ns: u64,
    /// Counts up with each process that has the slot.
    pub generation: u64,
}

/// `PAGES`, a map of one element for each process, which maps it into its memory: where a server says that it lives. All of it is the server's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServerPage {
    /// When it last went round its loop: `CLOCK_MONOTONIC`, nanoseconds. 0 until it has said so for the first time; it is
    /// not judged before.
    pub looped_at: u64,
    /// Work that it has taken and not yet done, in units of its own, such as requests; counts for least-connections
    /// instead of connections if `has_pending` is 1.
    pub pending: u32,
    /// 1 if `pending` is kept.
    pub has_pending: u32,
}

/// `TALLY`, one for each slot, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SlotCells {
    /// Its connections: established and not yet closed, also those that it has not accepted.
    pub live: Cell64,
    /// Its pass: the virtual time at which it is due next (stride scheduling).
    pub pass: Cell64,
    /// Connections that it has been given, ever.
    pub assigned: Cell64,
    /// Zero.
    pub spare: Cell64,
    /// Choices whose handshake is not over, in two buckets; see [`reserve`](super::reserve).
    pub reserved: [Cell64; 2],
    /// Zero.
    pub padding: [u64; 10],
}

/// Times of a window of [`SharedCells::window`].
pub const WINDOW: usize = 16;

/// Choices of one short time, and how many of their handshakes were completed.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WindowCell {
    /// Which time.
    pub time: Cell64,
    /// Choices that reserved.
    pub made: Cell64,
    /// Those of them that were completed.
    pub done: Cell64,
    /// Zero.
    pub spare: Cell64,
}

/// `SHARED`, one element.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SharedCells {
    /// The virtual time: no slot that can be chosen is due before it.
    pub virtual_time: Cell64,
    /// Entries of `MOVED`.
    pub moved: Cell64,
    /// The part by which a reservation counts less, of [`FULL`](super::trust::FULL); so that zeros are full.
    pub doubt: Cell64,
    /// Zero.
    pub spare: [u64; 5],
    /// By time, modulo [`WINDOW`].
    pub window: [WindowCell; WINDOW],
}

/// The key of a connection, or of a client's socket with `local_port` 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ConnectionKey {
    /// The client's address, in network order; IPv4's as IPv6's `::ffff:0:0/96`.
    pub client: [u32; 4],
    /// The client's port.
    pub client_port: u16,
    /// The port that it came to.
    pub local_port: u16,
}

/// The handshake is not over, and a place is reserved for it.
pub const CHOICE_RESERVED: u64 = 1;
/// The handshake is over.
pub const CHOICE_DONE: u64 = 2;

/// `CHOICES`, by [`ConnectionKey`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct ChoiceRecord {
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// The least pass of all that could be chosen then.
    pub floor: u64,
    /// The slot.
    pub slot: u32,
    /// The place of the reason in [`ChoiceReason::ALL`](super::reason::ChoiceReason::ALL).
    pub reason: u32,
    /// Of `CHOICE_`.
    pub flags: Cell64,
}

/// `CLIENTS`, by the client's address as in [`ConnectionKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClientRecord {
    /// Until when its connections go there: `CLOCK_MONOTONIC`, nanoseconds.
    pub until: u64,
    /// The process that it is: `SlotSettings::generation`.
    pub generation: u64,
    /// The slot.
    pub slot: u32,
    /// Zero.
    pub spare: u32,
}

/// `SteeredRecord::kind`: the director asks whether the server answers; it counts as no connection.
pub const STEER_CHECK: u32 = 0;
/// `SteeredRecord::kind`: a connection that waited, and goes on through the director.
pub const STEER_RELAY: u32 = 1;

/// `STEERED`, by the [`ConnectionKey`] of the socket that is about to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SteeredRecord {
    /// Where it goes, whatever its state.
    pub slot: u32,
    /// Of `STEER_`.
    pub kind: u32,
}

/// `HolderRecord::flags`: it is counted as live.
pub const HOLDER_COUNTED: u64 = 1;
/// `HolderRecord::flags`: it was counted, and is closed.
pub const HOLDER_CLOSED: u64 = 2;

/// `HOLDERS`, the storage of listeners, which their connections inherit.
#[derive(Debug, Default)]
#[repr(C)]
pub struct HolderRecord {
    /// Of `HOLDER_`; a listener has none.
    pub flags: Cell64,
    /// The process: `SlotSettings::generation`.
    pub generation: u64,
    /// The slot.
    pub slot: u32,
    /// Zero.
    pub spare: u32,
}

// A page of memory each, so that a server maps its own alone.
const _: () = assert!(size_of::<ServerPage>() == 16);
const _: () = assert!(size_of::<DirectorControl>() == 40);
const _: () = assert!(size_of::<SlotSettings>() == 32);
const _: () = assert!(size_of::<SlotCells>() == 128);
const _: () = assert!(size_of::<SharedCells>() == 64 + WINDOW * 32);
const _: () = assert!(size_of::<ConnectionKey>() == 20);
const _: () = assert!(size_of::<ChoiceRecord>() == 32);
const _: () = assert!(size_of::<ClientRecord>() == 24);
const _: () = assert!(size_of::<HolderRecord>() == 24);
