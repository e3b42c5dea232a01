//! The contents of the BPF maps.
//!
//! | map | kind | entries | written |
//! |---|---|---|---|
//! | `CONTROL` | array, mmapable | 1 [`Control`] | once before attach; `word`, `mac`, `vlans`, `clock` and `trace` at any time, each by one store |
//! | `DISPLACE` | array, mmapable | [`Displace`] blocks | once before attach |
//! | `NAMES` | array, mmapable | [`NameEntry`] | once before attach |
//! | `TAILS` | array, mmapable | [`NameTail`], one per long name | once before attach |
//! | `RDATA` | array, mmapable | [`Rdata`]: one SOA per zone, then HTTPS records | once before attach |
//! | `ENDPOINTS` | array, mmapable | [`Endpoint`] | once before attach |
//! | `SERVICES` | array, mmapable | [`ALL_BANKS`] × [`ServiceEntry`] | a bank at a time, never the one in use |
//! | `SLOTS` | array, mmapable | [`ALL_BANKS`] × [`SlotBlock`] | a bank at a time, never the one in use |
//! | `NETS` | array, mmapable | [`NetNode`] | once before attach |
//! | `CHOSEN` | array, mmapable | [`Chosen`], one per pool with client nets and set | once before attach |
//! | `CURSORS` | array, mmapable | possible CPUs × [`Cursor`], at the low bits of a name's position in `NAMES` | by the program |
//! | `ANSWERS` | array, mmapable | possible CPUs × `u64`, at an address's position in `ENDPOINTS`: how often it was answered | by the program |
//! | `BUCKETS` | array | [`Buckets`](crate::limit::Buckets), a power of two | by the program |
//! | `COUNTERS` | per-CPU array | `u64`, one per [`Reason`](crate::reason::Reason) | by the program |
//! | `SCRATCH` | per-CPU array | 1 [`Scratch`](crate::scratch::Scratch) | by the program, within one packet |
//! | `EVENTS` | ring buffer | [`Event`] | by the program, while tracing |
//!
//! Those of signed zones are in [`signed`].
//!
//! A configuration is immutable for the life of a loaded program; a plan is a bank, and [`Control::word`] names the one
//! in use. One packet reads that word once (invariant 4). All integers are native-endian unless marked `be`.

pub mod signed;

use crate::{
    cookie::Secret,
    rtype::{TYPE_A, TYPE_AAAA},
};

/// Plan banks in turn. A retired bank is written again only after a grace period, so several let the publisher work ahead.
pub const BANKS: u32 = 4;
/// The bank behind them: what is answered while the plan is older than [`Control::age_max`]. Written once before attach.
pub const STALE_BANK: u32 = BANKS;
/// All banks of `SERVICES` and `SLOTS`.
pub const ALL_BANKS: u32 = BANKS + 1;
/// Says in [`Control::abi`] that a pinned `CONTROL` is one of ours, of this layout: `"ztl"` and a number that counts up
/// with each change of a struct or a map here.
pub const ABI: u32 = u32::from_le_bytes(*b"ztl\x05");
/// Served addresses per family.
pub const LISTEN_MAX: usize = 8;
/// Interfaces' MAC addresses that are ours.
pub const MAC_MAX: usize = 8;
/// VLANs within VLANs that are ours.
pub const VLAN_PAIRS_MAX: usize = 16;
/// Bits of a VLAN's number (IEEE 802.1Q).
pub const VLAN_BITS: u32 = 12;
/// Bytes of a name that a [`NameEntry`] holds itself.
pub const NAME_INLINE: usize = 48;
/// The longest name, RFC 1035 section 2.3.4.
pub(crate) const NAME_MAX: usize = 255;
/// Slots in a [`SlotBlock`]; a table starts at a block.
pub const BLOCK_SLOTS: usize = 32;
/// The most slots a table has.
pub const TABLE_SLOTS_MAX: usize = 65_536;
/// Displacements in a [`Displace`] block.
pub const BLOCK_DISPLACEMENTS: usize = 16;
/// Range ends in a [`NetNode`].
pub const NET_ENDS: usize = 10;
/// The longest NSID: an answer with it and a fresh cookie is still within 2 times its query (invariant 8).
pub const NSID_MAX: usize = 24;
/// The longest SOA RDATA: two names and five numbers, RFC 1035 section 3.3.13.
pub(crate) const SOA_MAX: usize = 2 * NAME_MAX + 20;
/// Room for prepared RDATA: a power of two, so that a masked length is seen to stay inside.
pub const RDATA_ROOM: usize = 1024;

/// The one entry of `CONTROL`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Control {
    /// [`ABI`]; first, so that every version finds it.
    pub abi: u32,
    /// The agent's process, in its own namespace.
    pub pid: u32,
    /// Generation in use: `generation << 8 | bank`; 0 before the first plan.
    pub word: u64,
    /// When the agent last found the plan in use to be right: nanoseconds since boot.
    pub confirmed: u64,
    /// From this age on (nanoseconds since `confirmed`) answers are made from [`STALE_BANK`]; 0 is never.
    pub age_max: u64,
    /// Keys the name hash.
    pub seed: u64,
    /// Entries of `NAMES`.
    pub names: u32,
    /// Displacements in use less one.
    pub bucket_mask: u32,
    /// `SERVICES` per bank.
    pub bank_services: u32,
    /// `SLOTS` blocks per bank.
    pub bank_blocks: u32,
    /// Trace one packet in this many; 0 is off.
    pub trace: u32,
    /// Entries of `listen4` in use.
    pub listen4_len: u32,
    /// Entries of `listen6` in use.
    pub listen6_len: u32,
    /// Always 0; see [`Control::forget`].
    pub zero: u32,
    /// Labels of the shortest zone apex, without the root: where the walk for a missing name begins.
    pub walk_from: u32,
    /// The treatment of EDNS options: `OPTION_` bits.
    pub options: u32,
    /// Seconds of the Unix epoch, modulo 2^32, as the agent keeps it: clocks cost more than the rest of a cookie.
    pub clock: u32,
    /// Bytes of `nsid` in use; 0 is none.
    pub nsid_len: u32,
    /// `CURSORS` per CPU, a power of two.
    pub cursors: u32,
    /// `ANSWERS` per CPU: those of `ENDPOINTS`, and some so that CPUs share no cache line.
    pub answers: u32,
    /// Roots of the trees of client nets in `NETS`: IPv4, IPv6.
    pub net_roots: [u32; 2],
    /// The answer to NSID (RFC 5001), zeros after it.
    pub nsid: [u64; NSID_MAX / 8],
    /// Keys of server cookies: the one to make them with, and one that is accepted besides (RFC 9018 section 5).
    pub secrets: [Secret; 2],
    /// Response rate limiting.
    pub limits: Limits,
    /// Metering of signed answers, a byte as an answer is there.
    pub signed_bytes: Limits,
    /// Our interfaces' MACs, in the low six bytes as they lie in a frame read as a little-endian u64; 0 is none.
    pub mac: [u64; MAC_MAX],
    /// Served IPv4 addresses.
    pub listen4: [Listen4; LISTEN_MAX],
    /// Served IPv6 addresses.
    pub listen6: [Listen6; LISTEN_MAX],
    /// VLANs that are ours, a bit each by its number; that of 0, which is a priority and no VLAN, among them.
    pub vlans: [u64; 1 << (VLAN_BITS - 6)],
    /// VLANs within VLANs that are ours, as [`vlan_pair`] puts them; 0 is none.
    pub vlan_pairs: [u32; VLAN_PAIRS_MAX],
}

/// The limits of response rates: [`limit`](crate::limit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limits {
    /// Keys the hash: a secret, so that nobody can choose whose bucket to share.
    pub seed: u64,
    /// Client mask of IPv6, upper half (be).
    pub mask6: u64,
    /// Client mask of IPv4 (be).
    pub mask4: u32,
    /// Ticks between two answers; 0 is no limit.
    pub interval: u32,
    /// Ticks by which answers may run ahead.
    pub burst: u32,
    /// Of the answers held back, one in this many is sent truncated, so that a real client asks by TCP; 0 is none.
    pub slip: u32,
    /// Blocks of buckets less one, a power of two less one.
    pub block_mask: u32,
    /// Whether answers over the limit are sent after all and only counted.
    pub dry_run: u32,
}

/// A VLAN within another, as [`Control::vlan_pairs`] has it.
#[inline(always)]
#[must_use]
pub const fn vlan_pair(outer: u16, inner: u16) -> u32 {
    1 << 31 | (outer as u32) << VLAN_BITS | inner as u32
}

impl Default for Control {
    /// All zeros, which says nothing and answers nothing.
    fn default() -> Self {
        Self {
            abi: 0,
            pid: 0,
            word: 0,
            confirmed: 0,
            age_max: 0,
            seed: 0,
            names: 0,
            bucket_mask: 0,
            bank_services: 0,
            bank_blocks: 0,
            trace: 0,
            listen4_len: 0,
            listen6_len: 0,
            zero: 0,
            walk_from: 0,
            options: 0,
            clock: 0,
            nsid_len: 0,
            cursors: 0,
            answers: 0,
            net_roots: [0; 2],
            nsid: [0; NSID_MAX / 8],
            secrets: Default::default(),
            limits: Limits::default(),
            signed_bytes: Limits::default(),
            mac: [0; MAC_MAX],
            listen4: [Listen4::default(); LISTEN_MAX],
            listen6: [Listen6::default(); LISTEN_MAX],
            vlans: [0; 1 << (VLAN_BITS - 6)],
            vlan_pairs: [0; VLAN_PAIRS_MAX],
        }
    }
}

impl Control {
    /// `value`, of which the verifier then knows nothing but that it is at most `MASK` (a power of two less one).
    ///
    /// Without this the verifier follows what comes after a loop or a branch once for every way through it, and a name
    /// has 127 lengths, a frame three link headers: the program would exceed the million instructions it may look at.
    /// Adding a number that it cannot know makes all those ways one. `zero` is read anew each time, so that the compiler
    /// does not merge two results.
    #[inline(always)]
    #[must_use]
    pub fn forget<const MASK: usize>(&self, value: usize) -> usize {
        // SAFETY: a reference to an aligned u32.
        let zero = unsafe { core::ptr::read_volatile(&raw const self.zero) };
        (value + zero as usize) & MASK
    }

    /// Whether a VLAN, by its number, is ours.
    #[inline(always)]
    #[must_use]
    pub(crate) fn has_vlan(&self, number: u16) -> bool {
        self.vlans[usize::from(number >> 6) % (1 << (VLAN_BITS - 6))] >> (number & 63) & 1 != 0
    }

    /// Whether a VLAN within another is ours. Goes through all of them, so that the verifier has one way to follow.
    #[inline(always)]
    #[must_use]
    pub(crate) fn has_vlan_pair(&self, outer: u16, inner: u16) -> bool {
        let pair = vlan_pair(outer, inner);
        let mut found = false;
        let mut i = 0;
        while i < VLAN_PAIRS_MAX {
            found |= self.vlan_pairs[i] == pair;
            i += 1;
        }
        found
    }

    /// As [`forget`](Self::forget), for a whole word.
    #[inline(always)]
    #[must_use]
    pub fn forget_word(&self, word: u64) -> u64 {
        // SAFETY: as above.
        let zero = unsafe { core::ptr::read_volatile(&raw const self.zero) };
        word + u64::from(zero)
    }
}

/// [`Control::options`]: COOKIE is answered.
pub const OPTION_COOKIE: u32 = 1;
/// [`Control::options`]: client subnets are used and answered.
pub const OPTION_SUBNET: u32 = 2;

/// A served IPv4 address and port.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Listen4 {
    /// Address, as in the packet (be).
    pub address: u32,
    /// Port, as in the packet (be).
    pub port: u16,
    /// Padding.
    pub reserved: u16,
}

/// A served IPv6 address and port.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Listen6 {
    /// Address, as in the packet (be), in two words.
    pub address: [u64; 2],
    /// Port, as in the packet (be).
    pub port: u16,
    /// Padding.
    pub reserved: [u16; 3],
}

/// Displacements of the perfect hash, by bucket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Displace(pub [u32; BLOCK_DISPLACEMENTS]);

/// A configured name: one cache line, so that finding it is one miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NameEntry {
    /// Length in wire form, 1 to 255; 0 is an empty entry.
    pub len: u8,
    /// Where the zone's apex begins within the name, for the SOA's owner.
    pub apex: u8,
    /// One of the `NAME_` kinds.
    pub kind: u8,
    /// `NAME_HAS_` bits.
    pub flags: u8,
    /// Position in a bank of `SERVICES`, of a served name.
    pub service: u32,
    /// Position in `TAILS` where `len` is over [`NAME_INLINE`].
    pub tail: u32,
    /// Position of the zone's SOA in `RDATA`.
    pub soa: u16,
    /// The types that the zone has records of here: [`type_bit`]s.
    pub types: u16,
    /// The first [`NAME_INLINE`] bytes in wire form, lower case, zeros behind.
    pub name: [u64; NAME_INLINE / 8],
}

/// [`NameEntry::kind`]: a Pool, Group or Site Name that is answered here.
pub const NAME_SERVED: u8 = 1;
/// [`NameEntry::kind`]: another machine has the role (invariant 10).
pub const NAME_REFERRED: u8 = 2;
/// [`NameEntry::kind`]: a name of the records file, or an empty non-terminal (RFC 4592 section 2.2.2).
pub const NAME_STATIC: u8 = 3;
/// [`NameEntry::kind`]: the name and all below it are the socket path's: an alias, a delegation.
pub const NAME_OPAQUE: u8 = 4;
/// [`NameEntry::kind`]: no zone's, but a zone lies below.
pub const NAME_ABOVE: u8 = 5;

/// [`NameEntry::flags`]: a wildcard stands right below, so that what is missing here may exist after all.
pub const NAME_HAS_WILDCARD: u8 = 1;

/// [`NameEntry::flags`]: a served name with HTTPS records (RFC 9460), which the plan decides.
pub const NAME_HAS_HTTPS: u8 = 2;

/// [`NameEntry::flags`]: the zone is signed, so that whoever asks for signatures gets them.
pub const NAME_IS_SIGNED: u8 = 4;

/// A type's bit in [`NameEntry::types`]: one each for the types that are asked for, one for all others together.
#[inline(always)]
#[must_use]
pub const fn type_bit(rtype: u16) -> u16 {
    let bit = match rtype {
        // A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, NAPTR, DS, TLSA, SVCB, HTTPS, CAA.
        1 => 0,
        2 => 1,
        5 => 2,
        6 => 3,
        12 => 4,
        15 => 5,
        16 => 6,
        28 => 7,
        33 => 8,
        35 => 9,
        43 => 10,
        52 => 11,
        64 => 12,
        65 => 13,
        257 => 14,
        _ => 15,
    };
    1 << bit
}

/// The bytes of a name behind the first [`NAME_INLINE`], zeros behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NameTail(pub [u64; (NAME_MAX + 1 - NAME_INLINE) / 8]);

/// Prepared RDATA: a zone's SOA for negative answers, or an HTTPS record.
///
/// An SOA's names are compressed against each other and the apex. A pointer's target depends on where the question puts
/// things, so up to two pointers are filled in per answer: [`Fixup`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rdata {
    /// Length of `bytes` in use.
    pub len: u16,
    /// One's complement sum of `bytes` with pointers zero, from an even offset.
    pub sum: u16,
    /// An SOA's TTL (be): min(SOA TTL, MINIMUM), RFC 2308 section 5. HTTPS records have their service's.
    pub ttl: u32,
    /// The pointer ending MNAME, and the one ending RNAME.
    pub fixups: [Fixup; 2],
    /// The RDATA, pointers zero.
    pub bytes: [u8; RDATA_ROOM],
}

/// A compression pointer to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Fixup {
    /// Where in RDATA; [`FIXUP_NONE`] if there is none.
    pub at: u16,
    /// The target: [`FIXUP_APEX`], or an offset within RDATA.
    pub target: u16,
}

/// [`Fixup::at`]: no pointer.
pub const FIXUP_NONE: u16 = 0xffff;
/// [`Fixup::target`]: the zone's apex within the question.
pub const FIXUP_APEX: u16 = 0xffff;

/// An address that may be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    /// As in RDATA (be): IPv4 in the first four bytes, or IPv6.
    pub address: [u32; 4],
}

/// The answers of a set of equal names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceEntry {
    /// By [`choice_of`].
    pub choice: [ChoiceEntry; CHOICES],
    /// TTL of positive answers (be).
    pub ttl: u32,
    /// IPv4 client mask for sticky (be).
    pub mask4: u32,
    /// IPv6 client mask for sticky (be).
    pub mask6: [u64; 2],
    /// Where a pool's part of `CHOSEN` begins; 0 where no group has client nets.
    pub chosen: u32,
    /// Bits set in `mask4` and in `mask6`: the scope of an answer to a client subnet.
    pub prefix: [u8; 2],
    /// Padding.
    pub reserved: [u8; 2],
}

/// The answers of a service for one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ChoiceEntry {
    /// The table's first block within a bank of `SLOTS`; of a table of one slot, what it holds.
    pub block: u32,
    /// Slots less one; slots are a power of two.
    pub mask: u16,
    /// One of the `CHOICE_` constants.
    pub kind: u8,
    /// Padding.
    pub reserved: u8,
}

/// Entries of [`ServiceEntry::choice`]: a power of two, so that a masked position is seen to stay inside; the last is unused.
pub(crate) const CHOICES: usize = 4;

/// Where a type's choice stands in [`ServiceEntry::choice`]: A, AAAA, HTTPS.
#[inline(always)]
#[must_use]
pub const fn choice_of(rtype: u16) -> usize {
    match rtype {
        TYPE_A => 0,
        TYPE_AAAA => 1,
        _ => 2,
    }
}

/// [`ChoiceEntry::kind`]: NODATA.
pub const CHOICE_NODATA: u8 = 1;
/// [`ChoiceEntry::kind`]: SERVFAIL, said by the socket path.
pub const CHOICE_SERVFAIL: u8 = 2;
/// [`ChoiceEntry::kind`]: the slot at a cursor.
pub const CHOICE_CURSOR: u8 = 3;
/// [`ChoiceEntry::kind`]: a slot at random.
pub const CHOICE_RANDOM: u8 = 4;
/// [`ChoiceEntry::kind`]: the slot of the client's prefix.
pub const CHOICE_STICKY: u8 = 5;

/// [`ChoiceEntry::kind`]: always the one that [`ChoiceEntry::block`] itself says, as a slot would.
pub const CHOICE_ONE: u8 = 6;

/// A node of a tree of client nets: one of [`nets`](crate::nets)' nodes, two cache lines that are fetched as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NetNode {
    /// The last words of all its ranges but the last, in order; `u64::MAX` where there are fewer.
    pub ends: [u64; NET_ENDS],
    /// In a leaf, by how many ends are below an address: the range's set of groups, or [`NET_DIVIDED`] and a root.
    pub values: [u32; NET_ENDS + 1],
    /// In an inner node, its first child; the others follow. 0 in a leaf.
    pub child: u32,
}

/// [`NetNode::values`]: this /64 is cut up; the rest is the root of a tree over its lower halves.
pub const NET_DIVIDED: u32 = 1 << 31;

/// The target of a set of groups in one pool: the service that answers its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Chosen {
    /// Position in a bank of `SERVICES`.
    pub service: u32,
    /// Whose cursor turns: a position in `NAMES`.
    pub name: u32,
}

/// Slots: positions in `ENDPOINTS`, or of HTTPS records in `RDATA`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SlotBlock(pub [u16; BLOCK_SLOTS]);

/// Entries of `NAMES` at least, so that one CPU's cursors fill whole cache lines.
pub const NAMES_MIN: usize = 8;

/// `CURSORS` per CPU, at most: 64 KiB, which stay in the cache however many names there are.
pub const CURSORS_MAX: usize = 4096;

/// A name's turns on one CPU: whose they are, as a position in `NAMES` and one, and its turn of each type by [`choice_of`].
///
/// Up to [`CURSORS_MAX`] names each have their own, and their answers go round. Beyond that, some share a cursor, and whoever
/// comes after another begins anew at random: wherever it begins, each slot is as likely as any, so that the shares hold.
/// A plain array and not a per-CPU one, which is a pointer to follow for every element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cursor(pub [u32; CHOICES]);

impl Cursor {
    /// Takes the next turn of the name at a position for one of the three types. `random` gives it a start where the
    /// cursor is not its own: one for each type, or browsers that ask for all of them would be given A of one Site and
    /// AAAA of the next.
    #[inline(always)]
    pub fn turn(&mut self, name: u32, which: usize, random: impl FnOnce() -> u32) -> u32 {
        let whose = name.wrapping_add(1);
        if self.0[0] != whose {
            let start = u64::from(random()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = [whose, start as u32, (start >> 16) as u32, (start >> 32) as u32];
        }
        let turn = &mut self.0[(1 + which) % CHOICES];
        let now = *turn;
        *turn = now.wrapping_add(1);
        now
    }
}

/// Bytes of `EVENTS`.
pub const EVENTS_LEN: u32 = 1 << 20;

/// Bytes of a frame kept in an [`Event`].
pub const EVENT_FRAME: usize = 512;

/// A traced packet, as it left: a query passed or dropped, or the answer it became.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    /// A [`Reason`](crate::reason::Reason).
    pub reason: u32,
    /// The frame's length in bytes; `frame` holds the first [`EVENT_FRAME`] less one.
    pub len: u32,
    /// The frame.
    pub frame: [u8; EVENT_FRAME],
}

const _: () = assert!(size_of::<NameEntry>() == 64);
const _: () = assert!(size_of::<NameTail>() == 208);
const _: () = assert!(size_of::<Displace>() == 64);
const _: () = assert!(size_of::<SlotBlock>() == 64);
const _: () = assert!(size_of::<ServiceEntry>() == 64);
const _: () = assert!(size_of::<NetNode>() == 128);
const _: () = assert!(size_of::<Chosen>() == 8);
const _: () = assert!(size_of::<Cursor>() == 16);
const _: () = assert!(size_of::<ChoiceEntry>() == 8);
const _: () = assert!(size_of::<Endpoint>() == 16);
const _: () = assert!(size_of::<Rdata>() == 16 + RDATA_ROOM && SOA_MAX < RDATA_ROOM);
const _: () = assert!(
    size_of::<Control>()
        == 184 + NSID_MAX + 32 + 8 * MAC_MAX + 32 * LISTEN_MAX + (1 << VLAN_BITS) / 8 + 4 * VLAN_PAIRS_MAX
);
const _: () = assert!(size_of::<Event>() == 528);
const _: () = assert!(size_of::<Limits>() == 40);
