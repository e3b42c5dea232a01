//! The maps between the director and its kernel programs: sizes, states, entries, byte by byte.
//!
//! Integers are in the machine's order. `Control` and the `…Settings` are written by the director alone; `Tally` by the
//! programs, and by the director with atomic additions only.

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
/// No limit on connections.
pub const UNLIMITED: u32 = u32::MAX;
/// The stride of weight 1; of weight `w` it is this by `w`.
pub const STRIDE_ONE: u64 = 1 << 32;

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
pub struct Control {
    /// [`ABI`].
    pub abi: u32,
    /// One of `POLICY_`.
    pub policy: u32,
    /// Slots from 1 to this one are looked at.
    pub top: u32,
    /// Zero.
    pub spare: u32,
    /// As long as the clock (`CLOCK_MONOTONIC`, nanoseconds) is before this, connections wait, and new ones go behind
    /// them. The director renews it while somebody waits; when it dies, newcomers are chosen for again.
    pub waiting_until: u64,
    /// Nanoseconds for which a client's address meets its server again; 0 is off.
    pub affinity_ns: u64,
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
pub struct Page {
    /// When it last went round its loop: `CLOCK_MONOTONIC`, nanoseconds. 0 until it has said so for the first time; it is
    /// not judged before.
    pub looped_at: u64,
    /// Work that it has taken and not yet done, in units of its own, such as requests; counts for least-connections
    /// instead of connections if `has_pending` is 1.
    pub pending: u32,
    /// 1 if `pending` is kept.
    pub has_pending: u32,
}

// A page of memory each, so that a server maps its own alone.
const _: () = assert!(size_of::<Page>() == 16);
const _: () = assert!(size_of::<Control>() == 32);
const _: () = assert!(size_of::<SlotSettings>() == 32);
