//! Memory that one packet's work needs beyond registers: a per-CPU map value in the kernel.
//!
//! What is read from a map is unknown to the verifier, so passing intermediate results through here, and not in
//! registers, keeps the ways it follows few. And a masked offset into a map value needs no bounds check, where each
//! access to the packet does.

use core::cell::Cell;

use crate::layout::NAME_MAX;

/// Bytes of a name, and zeros behind: the last word of a suffix reaches up to 8 beyond its end.
const NAME_ROOM: usize = 512;

/// See the module. Cells, as whoever takes a step has the only access there is, but not the only reference.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Scratch {
    /// A name in lower case, at least 8 zeros behind.
    name: [Cell<u64>; NAME_ROOM / 8],
    /// Where its labels begin, the root's last.
    starts: [Cell<u8>; NAME_MAX + 1],
    /// Labels, without the root.
    pub labels: Cell<u32>,
    /// The label that the walk looks at next: the suffix from there on.
    pub next: Cell<u32>,
    /// The name met last, as [`walk`](crate::walk) puts it.
    pub encloser: Cell<u64>,
    /// The values that [`decide`](crate::decide) puts away while steps are taken, and for the program that signs.
    pub parked: [Cell<u64>; 6],
    /// Position in `NAMES` of the name asked for, or of the one that a missing name's walk met last.
    pub owner: Cell<u32>,
    /// Whether the answer is to be signed.
    pub is_signed: Cell<u32>,
    /// Where the label begins whose gap is searched for.
    pub sought: Cell<u32>,
    /// The word of it that is compared next.
    pub sought_word: Cell<u32>,
    /// The node that it is compared in.
    pub sought_in: Cell<u32>,
    /// The proof of the gap: a position in `PROOFS`.
    pub gap: Cell<u32>,
    /// The line of a positive answer's signature within a region.
    pub line: Cell<u32>,
    /// The proofs that a negative answer carries: positions in `PROOFS`.
    pub proofs: [Cell<u32>; 2],
    /// The query's EDNS options, and the answer's.
    pub options: Options,
}

/// The options that [`options`](crate::options) reads and composes.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Options {
    /// The query's options, as they came.
    asked: [Cell<u64>; OPTIONS_ROOM / 8],
    /// The answer's.
    said: [Cell<u64>; SAID_ROOM / 8],
    /// The client's address, as in the packet; IPv4 in the first four bytes.
    pub client: [Cell<u64>; 2],
    /// The server cookie to answer with.
    pub server: [Cell<u64>; 2],
    /// Where the next option begins.
    pub at: Cell<u32>,
    /// Where the last one ends.
    pub end: Cell<u32>,
    /// The findings: bits of [`options`](crate::options).
    pub found: Cell<u32>,
    /// Where the cookie begins, behind its option's header, and its length.
    pub cookie: [Cell<u32>; 2],
    /// Where the client subnet begins, behind its option's header.
    pub subnet: Cell<u32>,
    /// The scope to answer the client subnet with.
    pub scope: Cell<u32>,
    /// Length of the answer's options.
    pub said_len: Cell<u32>,
    /// Whether `client` is IPv6.
    pub v6: Cell<u32>,
    /// Whether the client gave back a cookie of ours.
    pub known: Cell<u32>,
}

/// Room for a query's options, [`OPTIONS_MAX`] of them in use, and what is read beyond the end.
const OPTIONS_ROOM: usize = 512 + 64;
/// Bytes of options that are read.
pub const OPTIONS_MAX: usize = 511;
/// Room for an answer's options: a power of two, and 8 beyond.
const SAID_ROOM: usize = SAID_MAX + 8;
/// Bytes of an answer's options are below this: NSID 28, COOKIE 28, client subnet 24.
pub(crate) const SAID_MAX: usize = 128;

impl Default for Scratch {
    fn default() -> Self {
        Self {
            name: [const { Cell::new(0) }; NAME_ROOM / 8],
            starts: [const { Cell::new(0) }; NAME_MAX + 1],
            labels: Cell::default(),
            next: Cell::default(),
            encloser: Cell::default(),
            parked: Default::default(),
            owner: Cell::default(),
            is_signed: Cell::default(),
            sought: Cell::default(),
            sought_word: Cell::default(),
            sought_in: Cell::default(),
            gap: Cell::default(),
            line: Cell::default(),
            proofs: Default::default(),
            options: Options::default(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            asked: [const { Cell::new(0) }; OPTIONS_ROOM / 8],
            said: [const { Cell::new(0) }; SAID_ROOM / 8],
            client: Default::default(),
            server: Default::default(),
            at: Cell::default(),
            end: Cell::default(),
            found: Cell::default(),
            cookie: Default::default(),
            subnet: Cell::default(),
            scope: Cell::default(),
            said_len: Cell::default(),
            v6: Cell::default(),
            known: Cell::default(),
        }
    }
}

impl Options {
    /// Sets word `i` of what came, modulo 64.
    #[inline(always)]
    pub(crate) fn set_asked(&self, i: usize, word: u64) {
        self.asked[i % 64].set(word);
    }

    /// The eight bytes at `at` of what came, modulo 512, and `offset`, under 57, behind.
    #[inline(always)]
    #[must_use]
    pub fn asked(&self, at: usize, offset: usize) -> u64 {
        let start = (&raw const self.asked).cast::<u8>();
        // SAFETY: at most 511 + 56, and 8 bytes there: within the 576.
        unsafe { load(start.add((at & 511) + offset)) }
    }

    /// Sets the eight bytes at `at` of what is said, modulo 128.
    #[inline(always)]
    pub fn say(&self, at: usize, word: u64) {
        let start = (&raw const self.said).cast::<u8>().cast_mut();
        // SAFETY: at most 127, and 8 bytes there: within the 136, which are cells.
        unsafe { store(start.add(at & (SAID_MAX - 1)), word) };
    }

    /// Word `i` of what is said, modulo 16.
    #[inline(always)]
    #[must_use]
    pub(crate) fn said_word(&self, i: usize) -> u64 {
        self.said[i % 16].get()
    }

    /// Returns the answer's options, as bytes.
    #[inline(always)]
    #[must_use]
    pub fn said(&self) -> *const [u8; SAID_MAX] {
        (&raw const self.said).cast()
    }
}

/// Eight bytes at any address.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn load(at: *const u8) -> u64 {
    #[expect(clippy::cast_ptr_alignment, reason = "read unaligned")]
    let at = at.cast::<u64>();
    // A plain load on BPF, as in `frame`: `read_unaligned` compiles to one load per byte.
    #[cfg(target_arch = "bpf")]
    // SAFETY: by contract; the verifier accepts unaligned access to map values where the architecture has it.
    return unsafe { *at };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: by contract.
    return unsafe { at.read_unaligned() };
}

/// Sets eight bytes at any address.
///
/// # Safety
/// They must be writable.
#[inline(always)]
unsafe fn store(at: *mut u8, word: u64) {
    #[expect(clippy::cast_ptr_alignment, reason = "written unaligned")]
    let at = at.cast::<u64>();
    #[cfg(target_arch = "bpf")]
    // SAFETY: by contract; a plain store for the reason given at the load.
    unsafe {
        *at = word;
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: by contract.
    unsafe {
        at.write_unaligned(word);
    }
}

impl Scratch {
    /// Sets the name's word `i`; `i` is taken modulo the room.
    #[inline(always)]
    pub(crate) fn set_name_word(&self, i: usize, word: u64) {
        self.name[i % (NAME_ROOM / 8)].set(word);
    }

    /// The name's byte at `at`, modulo 256.
    #[inline(always)]
    #[must_use]
    pub(crate) fn name_byte(&self, at: usize) -> u8 {
        let start = (&raw const self.name).cast::<u8>();
        // SAFETY: the name has 512 bytes.
        unsafe { *start.add(at & NAME_MAX) }
    }

    /// The eight bytes of the name `8 * word` behind `at`; `at` is taken modulo 256, `word` modulo 32.
    #[inline(always)]
    #[must_use]
    pub(crate) fn name_word(&self, at: usize, word: usize) -> u64 {
        let start = (&raw const self.name).cast::<u8>();
        // SAFETY: at most 255 + 248, and 8 bytes there: within the 512.
        unsafe { load(start.add((at & NAME_MAX) + 8 * (word & 31))) }
    }

    /// Notes where a label begins; `label` is taken modulo 256.
    #[inline(always)]
    pub(crate) fn set_start(&self, label: usize, at: u8) {
        self.starts[label % (NAME_MAX + 1)].set(at);
    }

    /// Where a label begins; `label` is taken modulo 256.
    #[inline(always)]
    #[must_use]
    pub fn start(&self, label: usize) -> usize {
        usize::from(self.starts[label % (NAME_MAX + 1)].get())
    }
}

const _: () = assert!(size_of::<Scratch>() == NAME_ROOM + 256 + 16 + 48 + 40 + size_of::<Options>());
