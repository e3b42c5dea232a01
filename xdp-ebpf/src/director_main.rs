//! The distributor's programs: a thin shell around [`xdp_ebpf::director`].
//!
//! `choose` runs for each connection that comes to a group of listeners, and for each whose listener closes before it was
//! accepted; it is loaded once for each address that is listened on. `count` runs for sockets of a cgroup, and tells what is
//! live. Needs Linux 5.17 (`bpf_loop`).
#![no_std]
#![no_main]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "what the macros of aya make, and call us with")]
#![expect(clippy::inline_always, reason = "see lib.rs")]
#![expect(clippy::cast_possible_wrap, reason = "flags, far below 2^31")]

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    bindings::{
        BPF_ANY, BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_TCP_CLOSE, BPF_TCP_NEW_SYN_RECV, BPF_TCP_SYN_RECV,
        bpf_hdr_start_off::BPF_HDR_START_NET, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock, bpf_sock_ops,
        sk_action::SK_PASS, sk_reuseport_md,
    },
    btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, ReusePortSockArray},
    helpers::generated::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_loop, bpf_sk_select_reuseport, bpf_sk_storage_get,
        bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_sock_ops_cb_flags_set,
    },
    macros::{btf_map, sk_reuseport, sock_ops},
    programs::{SkReuseportContext, SockOpsContext},
};
use xdp_ebpf::director::{
    choose::{self, HandshakeStage},
    layout::{
        ADDRESSES_MAX, CHOICES_LEN, CLIENTS_LEN, ChoiceRecord, ClientRecord, ConnectionKey, DirectorControl,
        HolderRecord, LISTENERS_LEN, MOVED_LEN, SLOTS, STEERED_LEN, ServerPage, SharedCells, SlotCells, SlotSettings,
        SteeredRecord,
    },
    maps::{Arrival, DirectorMaps},
    reason::ChoiceReason,
    scratch::PickScratch,
    tally, turn,
};

const MMAP: usize = BPF_F_MMAPABLE as usize;
const AF_INET: u32 = 2;
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// The third word of an IPv4 address as IPv6's.
const V4_MAPPED: u32 = 0xffff_u32.to_be();

#[btf_map]
static CONTROL: Array<DirectorControl, 1, MMAP> = Array::new();
#[btf_map]
static SHARED: Array<SharedCells, 1, MMAP> = Array::new();
#[btf_map]
static SETTINGS: Array<SlotSettings, { SLOTS as usize }, MMAP> = Array::new();
#[btf_map]
static TALLY: Array<SlotCells, { SLOTS as usize }, MMAP> = Array::new();
#[btf_map]
static PAGES: ArrayOfMaps<Array<ServerPage, 1, MMAP>, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static SOCKETS: ReusePortSockArray<{ (ADDRESSES_MAX * SLOTS) as usize }> = ReusePortSockArray::new();
#[btf_map]
static HOLDERS: ClonedSkStorage = ClonedSkStorage::new();
#[btf_map]
static LISTENERS: HashMap<u64, u32, { LISTENERS_LEN as usize }> = HashMap::new();
#[btf_map]
static CHOICES: LruHashMap<ConnectionKey, ChoiceRecord, { CHOICES_LEN as usize }> = LruHashMap::new();
#[btf_map]
static CLIENTS: LruHashMap<[u32; 4], ClientRecord, { CLIENTS_LEN as usize }> = LruHashMap::new();
#[btf_map]
static STEERED: LruHashMap<ConnectionKey, SteeredRecord, { STEERED_LEN as usize }> = LruHashMap::new();
#[btf_map]
static MOVED: HashMap<u64, u32, { MOVED_LEN as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static SCRATCH: PerCpuArray<PickScratch, 1> = PerCpuArray::new();
#[btf_map]
static COUNTERS: PerCpuArray<u64, { SLOTS as usize * ChoiceReason::ALL.len() }> = PerCpuArray::new();

/// The address whose listeners this `choose` is for: its part of `SOCKETS`. The loader sets it.
#[unsafe(no_mangle)]
static ADDRESS: Global<u32> = Global::new(0);

/// aya's `SkStorage` with the flag by which a connection inherits its listener's storage.
#[repr(C)]
struct ClonedSkStorage {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const HolderRecord,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: a definition that the loader reads; nothing is behind its pointers.
unsafe impl Sync for ClonedSkStorage {}

impl ClonedSkStorage {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    /// A socket's storage; none if it has none.
    #[inline(always)]
    fn get(&self, socket: *mut bpf_sock) -> Option<&HolderRecord> {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the helper gives the storage of a socket that the context keeps alive, or null.
        unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), 0).cast::<HolderRecord>().as_ref() }
    }
}

/// The maps above, and the context in which a listener is selected.
struct Kernel(*mut sk_reuseport_md);

impl DirectorMaps for Kernel {
    #[inline(always)]
    fn control(&self) -> Option<&DirectorControl> {
        CONTROL.get(0)
    }
    #[inline(always)]
    fn shared(&self) -> Option<&SharedCells> {
        SHARED.get(0)
    }
    #[inline(always)]
    fn settings(&self, slot: u32) -> Option<&SlotSettings> {
        SETTINGS.get(slot)
    }
    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<&SlotCells> {
        TALLY.get(slot)
    }
    #[inline(always)]
    fn page(&self, slot: u32) -> Option<&ServerPage> {
        PAGES.get_value(slot, &0)
    }
    #[inline(always)]
    fn scratch(&self) -> Option<&PickScratch> {
        // This CPU's own: such programs run with bottom halves off, one at a time.
        SCRATCH.get(0)
    }
    #[inline(always)]
    fn look_at_slots(&self, top: u32) {
        // SAFETY: the callback has the form the helper asks for, and takes no context.
        unsafe { bpf_loop(top, look as *mut c_void, core::ptr::null_mut(), 0) };
    }
    #[inline(always)]
    fn steered(&self, key: &ConnectionKey) -> Option<SteeredRecord> {
        // SAFETY: read at once; an element that is replaced meanwhile is an entry that was there a moment ago.
        unsafe { STEERED.get(key).copied() }
    }
    #[inline(always)]
    fn choice(&self, key: &ConnectionKey) -> Option<&ChoiceRecord> {
        // SAFETY: an element that is evicted meanwhile becomes another connection's: a reservation may then be given back
        // that was another's, which is wrong by one for a second.
        unsafe { CHOICES.get(key) }
    }
    #[inline(always)]
    fn keep_choice(&self, key: &ConnectionKey, choice: ChoiceRecord) {
        // A map without a free element evicts one; what fails all the same is not remembered.
        let _ = CHOICES.insert(key, choice, u64::from(BPF_ANY));
    }
    #[inline(always)]
    fn client(&self, client: &[u32; 4]) -> Option<ClientRecord> {
        // SAFETY: as for `steered`.
        unsafe { CLIENTS.get(client).copied() }
    }
    #[inline(always)]
    fn keep_client(&self, client: &[u32; 4], record: ClientRecord) {
        let _ = CLIENTS.insert(client, record, u64::from(BPF_ANY));
    }
    #[inline(always)]
    fn select(&self, slot: u32) -> bool {
        let mut at = ADDRESS.load() * SLOTS + slot;
        let map = (&raw const SOCKETS).cast_mut().cast();
        // SAFETY: the context of this run, and a key on the stack.
        unsafe { bpf_sk_select_reuseport(self.0, map, (&raw mut at).cast(), 0) == 0 }
    }
    #[inline(always)]
    fn count(&self, slot: u32, reason: ChoiceReason) {
        let at = slot * ChoiceReason::ALL.len() as u32 + reason as u32;
        if let Some(counter) = COUNTERS.get_ptr_mut(at) {
            // SAFETY: this CPU's element, and one such program at a time runs on a CPU; the director only reads it.
            unsafe { *counter += 1 };
        }
    }
    #[inline(always)]
    fn listener(&self, cookie: u64) -> Option<u32> {
        // SAFETY: as for `steered`.
        unsafe { LISTENERS.get(cookie).copied() }
    }
    #[inline(always)]
    fn moved(&self, cookie: u64) -> Option<u32> {
        // SAFETY: as for `steered`.
        unsafe { MOVED.get(cookie).copied() }
    }
    #[inline(always)]
    fn keep_moved(&self, cookie: u64, slot: u32) -> bool {
        MOVED.insert(cookie, slot, u64::from(BPF_ANY)).is_ok()
    }
    #[inline(always)]
    fn forget_moved(&self, cookie: u64) -> bool {
        MOVED.remove(cookie).is_ok()
    }
}

/// One step for `bpf_loop`: 1 would stop it. The parameters have names, as the kernel refuses type information of any without.
extern "C" fn look(number: u32, _context: *mut c_void) -> i64 {
    turn::look(&Kernel(core::ptr::null_mut()), number + 1);
    0
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn mapped(v4: u32) -> [u32; 4] {
    [0, 0, V4_MAPPED, v4]
}

/// Chooses the listener for a connection.
#[sk_reuseport(migrate)]
pub fn choose(ctx: SkReuseportContext) -> u32 {
    let md = ctx.md;
    // SAFETY: the context is the kernel's, with these fields since Linux 5.14.
    let (listener, migrating) = unsafe { ((*md).__bindgen_anon_3.sk, (*md).__bindgen_anon_4.migrating_sk) };
    if migrating.is_null() {
        if let Some(arrival) = of_packet(md) {
            let _ = choose::choose(&Kernel(md), &arrival, now());
        }
    } else {
        let (arrival, state) = of_socket(migrating);
        // SAFETY: both are sockets that the context keeps alive.
        let (listener, cookie) =
            unsafe { (bpf_get_socket_cookie(listener.cast()), bpf_get_socket_cookie(migrating.cast())) };
        let handshake = if state == BPF_TCP_NEW_SYN_RECV {
            HandshakeStage::Handshake
        } else {
            HandshakeStage::Queued { cookie, counted: state != BPF_TCP_SYN_RECV }
        };
        let _ = choose::migrate(&Kernel(md), &arrival, listener, handshake, now());
    }
    // Without a selection the kernel takes its own hash: better any server than none.
    SK_PASS
}

/// The connection of the packet at hand.
#[inline(always)]
fn of_packet(md: *mut sk_reuseport_md) -> Option<Arrival> {
    let mut ports = [0_u16; 2];
    // SAFETY: the helpers check the packet's bounds; each writes as many bytes as its buffer has.
    let protocol = unsafe {
        if bpf_skb_load_bytes(md.cast(), 0, (&raw mut ports).cast(), 4) != 0 {
            return None;
        }
        (*md).eth_protocol
    };
    let relative = |offset, to: *mut c_void, len| {
        // SAFETY: as above.
        unsafe { bpf_skb_load_bytes_relative(md.cast(), offset, to, len, BPF_HDR_START_NET) == 0 }
    };
    let (client, is_own) = if protocol == ETH_P_IP {
        let mut ends = [0_u32; 2];
        if !relative(12, (&raw mut ends).cast(), 8) {
            return None;
        }
        (mapped(ends[0]), ends[0] == ends[1])
    } else if protocol == ETH_P_IPV6 {
        let mut ends = [[0_u32; 4]; 2];
        if !relative(8, (&raw mut ends).cast(), 32) {
            return None;
        }
        (ends[0], same(&ends[0], &ends[1]))
    } else {
        return None;
    };
    let key = ConnectionKey { client, client_port: u16::from_be(ports[0]), local_port: u16::from_be(ports[1]) };
    Some(Arrival { key, is_own })
}

#[inline(always)]
fn same(one: &[u32; 4], other: &[u32; 4]) -> bool {
    one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3]
}

/// Reads a field of a context or a socket in one access of its own size: the verifier takes no other.
macro_rules! field {
    ($of:expr, $($field:tt)+) => {
        // SAFETY: the kernel's own, which lives as long as the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$of).$($field)+) }
    };
}

/// Reads an address of four words as [`field`] does.
macro_rules! words {
    ($of:expr, $field:ident) => {
        [field!($of, $field[0]), field!($of, $field[1]), field!($of, $field[2]), field!($of, $field[3])]
    };
}

/// The ends of a connection: the client's and this machine's, each of both families. Both are read in any case: a branch would
/// become arithmetic on the pointer, which is prohibited.
#[inline(always)]
fn ends(is_v4: bool, v4: [u32; 2], v6: [[u32; 4]; 2]) -> ([u32; 4], bool) {
    if is_v4 { (mapped(v4[0]), v4[0] == v4[1]) } else { (v6[0], same(&v6[0], &v6[1])) }
}

/// The connection of a socket, and the state that it is in.
#[inline(always)]
fn of_socket(socket: *mut bpf_sock) -> (Arrival, u32) {
    let v4 = [field!(socket, dst_ip4), field!(socket, src_ip4)];
    let v6 = [words!(socket, dst_ip6), words!(socket, src_ip6)];
    let (client, is_own) = ends(field!(socket, family) == AF_INET, v4, v6);
    let client_port = u16::from_be(field!(socket, dst_port));
    let key = ConnectionKey { client, client_port, local_port: field!(socket, src_port) as u16 };
    (Arrival { key, is_own }, field!(socket, state))
}

/// Counts connections.
#[sock_ops]
pub fn count(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    let op = field!(ops, op);
    if op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        established(ops);
    } else if op == BPF_SOCK_OPS_STATE_CB
        && field!(ops, __bindgen_anon_1.args[1]) == BPF_TCP_CLOSE
        && let Some(holder) = holder(ops)
    {
        tally::closed(&Kernel(core::ptr::null_mut()), holder, cookie(ops));
    }
    1
}

/// The storage of the socket at hand.
#[inline(always)]
fn holder<'a>(ops: *mut bpf_sock_ops) -> Option<&'a HolderRecord> {
    // SAFETY: the context's own; null if it is no full socket.
    let socket = unsafe { (*ops).__bindgen_anon_2.sk };
    if socket.is_null() { None } else { HOLDERS.get(socket) }
}

#[inline(always)]
fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the helper takes this context.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

#[inline(always)]
fn established(ops: *mut bpf_sock_ops) {
    let Some(holder) = holder(ops) else { return };
    let v4 = [field!(ops, remote_ip4), field!(ops, local_ip4)];
    let v6 = [words!(ops, remote_ip6), words!(ops, local_ip6)];
    let (client, is_own) = ends(field!(ops, family) == AF_INET, v4, v6);
    // In network order in all 32 bits, while the local one is a number.
    let client_port = u32::from_be(field!(ops, remote_port)) as u16;
    let key = ConnectionKey { client, client_port, local_port: field!(ops, local_port) as u16 };
    let arrival = Arrival { key, is_own };
    if tally::established(&Kernel(core::ptr::null_mut()), &arrival, holder, cookie(ops), now()) {
        let flags = field!(ops, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG;
        // SAFETY: the helper takes this context.
        unsafe { bpf_sock_ops_cb_flags_set(ops, flags as i32) };
    }
}

/// The helpers used are GPL-only; the sources are MIT OR Apache-2.0 as well.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: nothing here panics, and the linker drops what is not called.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
