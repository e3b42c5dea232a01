//! The distributor's programs: which server a new connection goes to, and how many each one has.
//!
//! [`DirectorPrograms`] loads them, attaches them and writes their maps. Everything is pinned ([`files`](self)): when the
//! director dies, connections go on being assigned and counted; the next one takes the maps over with their counts, and puts
//! its own programs in place of those that are there.
//!
//! | module | concern |
//! |---|---|
//! | `files` | the folder with the pins |
//! | `bytes` | keys and values of the maps |
//! | `errors` | why something cannot be done |
//! | `load` | loading, attaching, pinning |
//!
//! Needs Linux 5.17; `CAP_BPF`, `CAP_NET_ADMIN` (the program that counts) and `CAP_PERFMON`; a bpffs for the pins; a
//! cgroup v2 in which the listeners are made, for connections belong to the cgroup of the process that made their listener.

#![expect(unsafe_code, reason = "memory shared with the kernel, and a system call")]

mod bytes;
mod errors;
mod files;
mod load;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use aya::programs::SkReuseport;
use rustix::time::{ClockId, clock_gettime};
use xdp_ebpf::director::{
    layout::{
        ADDRESSES_MAX, CHOICE_DONE, HOLDER_CLOSED, HOLDER_COUNTED, SLOTS, STATE_NONE, STATE_READY, STEER_CHECK,
        STEER_RELAY, ServerPage, SharedCells, SlotCells, SlotSettings, UNLIMITED,
    },
    reason::ChoiceReason,
    reserve,
    turn::{self, Moment},
};

pub use self::errors::{DirectorLoadError, DirectorMapError};
use self::{
    bytes::{ChoiceBytes, Holder, HolderBytes, Remembered},
    files::DirectorPins,
    load::Loaded,
};
use crate::{
    mmap_array::{Mapped, store_u32, store_u64},
    sys,
};

/// The longest affinity, some hundred years: a sum with the clock stays within 64 bits.
const AFFINITY_NS_MAX: u64 = 1 << 61;

/// A slot's figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotTally {
    /// Connections that are established and not closed, those included that nobody has accepted yet.
    pub live: u64,
    /// Handshakes that are not over, and reserve a place.
    pub reserved: u64,
    /// Connections that it has been given since [`DirectorPrograms::reset_slot`].
    pub assigned: u64,
}

/// Why the director steers a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteerKind {
    /// It asks whether the server answers; not counted as a connection.
    Check,
    /// It carries on a connection that waited; counted as one.
    Relay,
}

/// The outcome of [`DirectorPrograms::adopt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The connection counts for the slot now, until it closes.
    Counted,
    /// It has closed meanwhile, and counts for none.
    Closed,
    /// The kernel does not count it: it was made before the programs were attached, or is a check.
    Uncounted,
}

/// A choice that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedChoice {
    /// The slot.
    pub slot: u32,
    /// Why.
    pub reason: ChoiceReason,
    /// How long ago.
    pub age: Duration,
    /// Whether its handshake has been completed.
    pub done: bool,
}

/// The loaded and attached programs, and their maps.
pub struct DirectorPrograms(Loaded);

impl DirectorPrograms {
    /// Loads the programs, attaches the one that counts to the cgroup, and pins what is to outlive this process. `addresses`
    /// is how many are listened on, 1 to 16. Maps of the same ABI that are pinned there are taken over with what is in them;
    /// others are removed. An error if another process uses the folder.
    pub fn open(pins: &Path, cgroup: &Path, addresses: usize) -> Result<Self, DirectorLoadError> {
        load::open(pins, cgroup, addresses).map(Self)
    }

    /// Takes the counting program off and removes all pins of a folder; nothing if there is none. Listeners that are open
    /// keep their programs.
    pub fn unpin(pins: &Path) -> Result<(), DirectorLoadError> {
        if !pins.exists() {
            return Ok(());
        }
        let failed = |error| DirectorLoadError::Folder(pins.to_owned(), error);
        DirectorPins::own(pins)?.clear().map_err(failed)
    }

    /// Whether the maps, and so the counts, are those of a director before this one.
    #[must_use]
    pub fn taken_over(&self) -> bool {
        self.0.taken_over
    }

    /// Has an address's program choose for the group of a listener, in place of the one that does.
    pub fn attach(&self, address: usize, listener: BorrowedFd<'_>) -> Result<(), DirectorMapError> {
        let chooser = self.0.choosers.get(address).and_then(|ebpf| ebpf.program(load::CHOOSE));
        let missing = || DirectorMapError::Beyond("address", address, self.0.choosers.len());
        let chooser: &SkReuseport = chooser.ok_or_else(missing)?.try_into().map_err(DirectorMapError::Attach)?;
        chooser.attach(listener).map_err(DirectorMapError::Attach)
    }

    /// Makes a listener that of a slot at an address: connections can be given to it from now on. Those that it gets are
    /// counted for the slot. Whether it is in the slot already does not matter; another that is there makes room.
    pub fn enlist(
        &mut self,
        address: usize,
        slot: u32,
        generation: u64,
        listener: BorrowedFd<'_>,
    ) -> Result<(), DirectorMapError> {
        let index = index(address, slot)?;
        let cookie = cookie(listener)?;
        let known = sys::element(self.0.maps.listeners.as_fd(), &cookie).map_err(DirectorMapError::map("LISTENERS"))?;
        self.forget_listeners(index, Some(cookie))?;
        let fd = listener.as_raw_fd();
        let holder = Holder { flags: 0, generation, slot }.to_bytes();
        sys::set_element(self.0.maps.holders.as_fd(), &fd, &holder).map_err(DirectorMapError::map("HOLDERS"))?;
        sys::set_element(self.0.maps.listeners.as_fd(), &cookie, &index).map_err(DirectorMapError::map("LISTENERS"))?;
        match sys::set_element(self.0.maps.sockets.as_fd(), &index, &fd) {
            // A socket that is in an array already is refused; it is this one.
            Err(error) if known == Some(index) && error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            result => result.map_err(DirectorMapError::map("SOCKETS")),
        }
    }

    /// Takes a slot's listener out at an address: it is given no connection any more. What waits in its queue stays there.
    pub fn dismiss(&mut self, address: usize, slot: u32) -> Result<(), DirectorMapError> {
        let index = index(address, slot)?;
        // It may have gone when the listener closed.
        sys::remove_element(self.0.maps.sockets.as_fd(), &index).map_err(DirectorMapError::map("SOCKETS"))?;
        self.forget_listeners(index, None)
    }

    fn forget_listeners(&self, index: u32, but: Option<u64>) -> Result<(), DirectorMapError> {
        let failed = DirectorMapError::map("LISTENERS");
        let listeners = self.0.maps.listeners.as_fd();
        let of_index = || {
            let mut stale = Vec::new();
            let mut at: Option<u64> = None;
            while let Some(cookie) = sys::next_key(listeners, at.as_ref())? {
                if Some(cookie) != but && sys::element(listeners, &cookie)? == Some(index) {
                    stale.push(cookie);
                }
                at = Some(cookie);
            }
            stale.iter().try_for_each(|cookie| sys::remove_element(listeners, cookie).map(drop))
        };
        of_index().map_err(failed)
    }

    /// Sets the policy (of `layout::POLICY_`), for how long a client's address meets its server again, and the highest slot
    /// in use.
    pub fn set_control(&mut self, policy: u32, affinity: Option<Duration>, top: u32) {
        let control = self.0.control.pointer(0);
        // SAFETY: fields of the mapping's one element; programs read each by itself.
        unsafe {
            store_u32(&raw mut (*control).policy, policy);
            store_u64(
                &raw mut (*control).affinity_ns,
                affinity.map_or(0, |time| nanoseconds(time).min(AFFINITY_NS_MAX)),
            );
            store_u32(&raw mut (*control).top, top.min(SLOTS - 1));
        }
    }

    /// Has new connections wait, behind those that do, for so long from now; none ends that. Renew it while somebody waits.
    pub fn set_waiting_until(&self, from_now: Option<Duration>) {
        let until = from_now.map_or(0, |time| now().saturating_add(nanoseconds(time)));
        // SAFETY: a field of the mapping's one element, read by itself.
        unsafe { store_u64(&raw mut (*self.0.control.pointer(0)).waiting_until, until) };
    }

    /// Sets what a slot may take. A slot of [`layout::SLOTS`](SLOTS) or beyond is refused.
    pub fn set_slot(&mut self, slot: u32, settings: SlotSettings) -> Result<(), DirectorMapError> {
        let at = self.0.settings.pointer(checked(slot)? as usize);
        // SAFETY: fields of an element of the mapping; programs read each by itself. It is closed before, and opened after
        // everything else is as it is to be.
        unsafe {
            if settings.state != STATE_READY {
                store_u32(&raw mut (*at).state, settings.state);
            }
            store_u32(&raw mut (*at).cap, settings.cap);
            store_u64(&raw mut (*at).stride, settings.stride.clamp(1, u64::from(u32::MAX)));
            store_u64(&raw mut (*at).hang_ns, settings.hang_ns);
            store_u64(&raw mut (*at).generation, settings.generation);
            store_u32(&raw mut (*at).state, settings.state);
        }
        Ok(())
    }

    /// Returns what a slot may take.
    #[must_use]
    pub fn slot(&self, slot: u32) -> SlotSettings {
        self.0.settings.read((slot % SLOTS) as usize)
    }

    /// Returns a slot's figures.
    #[must_use]
    pub fn tally(&self, slot: u32) -> SlotTally {
        let cells = self.cells(slot);
        SlotTally {
            live: cells.live.load(),
            reserved: reserve::reserved(cells, reserve::epoch(now())),
            assigned: cells.assigned.load(),
        }
    }

    /// Whether a slot has a place for one more connection than the `coming`, as a program would see it now.
    #[must_use]
    pub fn has_place(&self, slot: u32, coming: u32) -> bool {
        let mut settings = self.slot(slot);
        if settings.cap != UNLIMITED {
            settings.cap = settings.cap.saturating_sub(coming);
        }
        Moment::new(self.shared_cells(), now()).has_place(&settings, self.cells(slot), 0)
    }

    /// Returns where a slot stands in turn: the least is next. For those that waited, whom the director chooses for.
    #[must_use]
    pub fn pass(&self, slot: u32) -> u64 {
        self.cells(slot).pass.load().max(self.shared_cells().virtual_time.load())
    }

    /// Empties a slot for another process: no state, no page, nothing assigned. Connections that still are live stay
    /// counted; leave a slot alone until there are none.
    pub fn reset_slot(&mut self, slot: u32) -> Result<(), DirectorMapError> {
        self.set_slot(slot, SlotSettings { state: STATE_NONE, ..SlotSettings::default() })?;
        let cells = self.cells(slot);
        // The programs take no pass for earlier than the virtual time.
        cells.pass.store(0);
        cells.assigned.store(0);
        sys::remove_element(self.0.maps.pages.as_fd(), &slot).map_err(DirectorMapError::map("PAGES"))?;
        if let Some(page) = self.0.pages.get_mut(slot as usize) {
            *page = None;
        }
        self.0.pins.remove_page(slot);
        Ok(())
    }

    /// Makes a page for a slot's process, in place of the one that it has; the descriptor is to be mapped by the server, and
    /// shows nothing but this page.
    pub fn new_page(&mut self, slot: u32) -> Result<OwnedFd, DirectorMapError> {
        let failed = |error: io::Error| DirectorMapError::Page(slot, error);
        checked(slot)?;
        let page = load::page_map().map_err(failed)?;
        let mapped = Mapped::new(&page, 1).map_err(failed)?;
        self.0.pins.remove_page(slot);
        sys::pin(page.as_fd(), &self.0.pins.page(slot)).map_err(failed)?;
        sys::set_element(self.0.maps.pages.as_fd(), &slot, &page.as_raw_fd())
            .map_err(DirectorMapError::map("PAGES"))?;
        if let Some(kept) = self.0.pages.get_mut(slot as usize) {
            *kept = Some(mapped);
        }
        Ok(page)
    }

    /// Returns what a slot's process has published; none where it has no page.
    #[must_use]
    pub fn page(&self, slot: u32) -> Option<ServerPage> {
        self.0.pages.get(slot as usize)?.as_ref().map(|page| page.read(0))
    }

    /// Gives the connection that a socket of this machine, bound to `from`, is about to make from that address to that very
    /// address to a slot, whatever state that is in. [`unsteer`](Self::unsteer) it once it is closed.
    pub fn steer(&self, from: SocketAddr, slot: u32, kind: SteerKind) -> Result<(), DirectorMapError> {
        let kind = match kind {
            SteerKind::Check => STEER_CHECK,
            SteerKind::Relay => STEER_RELAY,
        };
        sys::set_element(self.0.maps.steered.as_fd(), &bytes::key(from, 0), &bytes::steered(checked(slot)?, kind))
            .map_err(DirectorMapError::map("STEERED"))
    }

    /// Forgets that a socket was steered.
    pub fn unsteer(&self, from: SocketAddr) -> Result<(), DirectorMapError> {
        sys::remove_element(self.0.maps.steered.as_fd(), &bytes::key(from, 0))
            .map(drop)
            .map_err(DirectorMapError::map("STEERED"))
    }

    /// Has a connection count for another slot from now on: it is handed over to that slot's process. Not for one connection
    /// from two threads at once.
    pub fn adopt(&self, connection: BorrowedFd<'_>, slot: u32, generation: u64) -> Result<Adoption, DirectorMapError> {
        let to = self.cells(checked(slot)?);
        let (fd, cookie) = (connection.as_raw_fd(), cookie(connection)?);
        let holders = self.0.maps.holders.as_fd();
        let held = || sys::element::<_, HolderBytes>(holders, &fd).map_err(DirectorMapError::map("HOLDERS"));
        let Some(before) = held()?.map(|bytes| Holder::of_bytes(&bytes)) else { return Ok(Adoption::Uncounted) };
        if before.flags & HOLDER_COUNTED == 0 {
            return Ok(Adoption::Uncounted);
        }
        if before.flags & HOLDER_CLOSED != 0 {
            return Ok(Adoption::Closed);
        }
        // Where its count is: migrated from the slot that it inherited, perhaps.
        let moved: Option<u32> = self.moved_to(cookie)?;
        let from = self.cells(moved.unwrap_or(before.slot));
        to.live.add(1);
        let after = Holder { flags: HOLDER_COUNTED, generation, slot };
        sys::set_element(holders, &fd, &after.to_bytes()).map_err(|error| {
            to.live.sub(1);
            DirectorMapError::Map("HOLDERS", error)
        })?;
        let taken = moved.is_some() && self.forget_moved(cookie)?;
        // Waits for whoever has the socket, and so until a close that is going on has been counted.
        if is_open(connection)? {
            from.live.sub(1);
            to.assigned.add(1);
            turn::advance(self.shared_cells(), to, self.slot(slot).stride, 0);
            return Ok(Adoption::Counted);
        }
        // It has closed: what was the slot that the close was counted for?
        let told = held()?.map(|bytes| Holder::of_bytes(&bytes));
        if moved.is_some() && !taken {
            // That which it had been moved to.
            to.live.sub(1);
        } else if told.is_some_and(|told| told.flags & HOLDER_CLOSED != 0) {
            // The new one.
            from.live.sub(1);
        } else {
            // That which it inherited, read just before it was written here.
            self.cells(before.slot).live.add(1);
            from.live.sub(1);
            to.live.sub(1);
        }
        Ok(Adoption::Closed)
    }

    /// Returns the slot that an open connection counts for; none if it counts for none.
    pub fn holder(&self, connection: BorrowedFd<'_>) -> Result<Option<u32>, DirectorMapError> {
        let fd = connection.as_raw_fd();
        let held: Option<HolderBytes> =
            sys::element(self.0.maps.holders.as_fd(), &fd).map_err(DirectorMapError::map("HOLDERS"))?;
        let Some(held) = held.map(|bytes| Holder::of_bytes(&bytes)) else { return Ok(None) };
        if held.flags & (HOLDER_COUNTED | HOLDER_CLOSED) != HOLDER_COUNTED {
            return Ok(None);
        }
        Ok(Some(self.moved_to(cookie(connection)?)?.unwrap_or(held.slot)))
    }

    fn moved_to(&self, cookie: u64) -> Result<Option<u32>, DirectorMapError> {
        sys::element(self.0.maps.moved.as_fd(), &cookie).map_err(DirectorMapError::map("MOVED"))
    }

    /// Whether it was there; the programs' count of entries follows.
    fn forget_moved(&self, cookie: u64) -> Result<bool, DirectorMapError> {
        let taken = sys::remove_element(self.0.maps.moved.as_fd(), &cookie).map_err(DirectorMapError::map("MOVED"))?;
        if taken {
            self.shared_cells().moved.sub(1);
        }
        Ok(taken)
    }

    /// Returns the last choice for a client's address and port at a local port, while it is remembered.
    pub fn choice(&self, client: SocketAddr, local_port: u16) -> Result<Option<RememberedChoice>, DirectorMapError> {
        let found: Option<ChoiceBytes> = sys::element(self.0.maps.choices.as_fd(), &bytes::key(client, local_port))
            .map_err(DirectorMapError::map("CHOICES"))?;
        Ok(found.map(|bytes| Remembered::of_bytes(&bytes)).and_then(|found| {
            Some(RememberedChoice {
                slot: found.slot,
                reason: *ChoiceReason::ALL.get(found.reason as usize)?,
                age: Duration::from_nanos(now().saturating_sub(found.at_ns)),
                done: found.flags & CHOICE_DONE != 0,
            })
        }))
    }

    /// Returns how often each slot was chosen for each reason, those alone that were.
    pub fn counters(&self) -> Result<Vec<(u32, ChoiceReason, u64)>, DirectorMapError> {
        let mut found = Vec::new();
        for slot in 0..SLOTS {
            for reason in ChoiceReason::ALL {
                let at = slot * ChoiceReason::ALL.len() as u32 + *reason as u32;
                let count = self.0.counters.get(&at, 0)?.iter().sum();
                if count != 0 {
                    found.push((slot, *reason, count));
                }
            }
        }
        Ok(found)
    }

    /// Returns how many instructions the verifier looked at, and of how many, for the program that chooses and the one that
    /// counts, where the kernel tells (Linux 5.16).
    #[must_use]
    pub fn verified(&self) -> Vec<(&'static str, u32, u32)> {
        let of = |name: &'static str| {
            let info = self.0.choosers.first()?.program(name)?.info().ok()?;
            Some((name, info.verified_instruction_count()?, info.size_translated().map_or(0, |bytes| bytes / 8)))
        };
        [load::CHOOSE, load::COUNT].into_iter().filter_map(of).collect()
    }

    fn cells(&self, slot: u32) -> &SlotCells {
        let at = self.0.tally.pointer((slot % SLOTS) as usize);
        // SAFETY: an element of the mapping, which lives as long as `self`; `SlotCells` is of the element's size and
        // alignment, its words are changed in single atomic steps by everybody, and any bits are a value of it.
        unsafe { &*at.cast::<SlotCells>() }
    }

    fn shared_cells(&self) -> &SharedCells {
        // SAFETY: as for `cells`; the map's one element.
        unsafe { &*self.0.shared.pointer(0).cast::<SharedCells>() }
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds, as the programs have it.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn checked(slot: u32) -> Result<u32, DirectorMapError> {
    if slot < SLOTS { Ok(slot) } else { Err(DirectorMapError::Beyond("slot", slot as usize, SLOTS as usize)) }
}

/// The place of a listener in `SOCKETS`.
fn index(address: usize, slot: u32) -> Result<u32, DirectorMapError> {
    match u32::try_from(address) {
        Ok(at) if at < ADDRESSES_MAX => Ok(at * SLOTS + checked(slot)?),
        _ => Err(DirectorMapError::Beyond("address", address, ADDRESSES_MAX as usize)),
    }
}

/// The number by which the programs know a socket.
fn cookie(socket: BorrowedFd<'_>) -> Result<u64, DirectorMapError> {
    rustix::net::sockopt::socket_cookie(socket).map_err(|error| DirectorMapError::Socket("cookie", error.into()))
}

/// Whether a connection is not closed. The kernel takes the socket's lock to tell.
fn is_open(connection: BorrowedFd<'_>) -> Result<bool, DirectorMapError> {
    const TCP_CLOSE: u8 = 7;
    // The first byte of `struct tcp_info`; the kernel copies as much as there is room for.
    let mut state = [0_u8; 8];
    let mut len = state.len() as libc::socklen_t;
    // SAFETY: a buffer of the length given.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            state.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(state[0] != TCP_CLOSE)
    } else {
        Err(DirectorMapError::Socket("state", io::Error::last_os_error()))
    }
}
