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
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            name: [const { Cell::new(0) }; NAME_ROOM / 8],
            starts: [const { Cell::new(0) }; NAME_MAX + 1],
            labels: Cell::default(),
            next: Cell::default(),
            encloser: Cell::default(),
        }
    }
}

impl Scratch {
    /// Sets the name's word `i`; `i` is taken modulo the room.
    #[inline(always)]
    pub fn set_name_word(&self, i: usize, word: u64) {
        self.name[i % (NAME_ROOM / 8)].set(word);
    }

    /// The name's byte at `at`, modulo 256.
    #[inline(always)]
    #[must_use]
    pub fn name_byte(&self, at: usize) -> u8 {
        let start = (&raw const self.name).cast::<u8>();
        // SAFETY: the name has 512 bytes.
        unsafe { *start.add(at & NAME_MAX) }
    }

    /// The eight bytes of the name `8 * word` behind `at`; `at` is taken modulo 256, `word` modulo 32.
    #[inline(always)]
    #[must_use]
    pub fn name_word(&self, at: usize, word: usize) -> u64 {
        let start = (&raw const self.name).cast::<u8>();
        let at = (at & NAME_MAX) + 8 * (word & 31);
        #[expect(clippy::cast_ptr_alignment, reason = "read unaligned")]
        // SAFETY: at most 255 + 248, and 8 bytes there: within the 512.
        let word = unsafe { start.add(at) }.cast::<u64>();
        // A plain load on BPF, as in `frame`: `read_unaligned` compiles to one load per byte.
        #[cfg(target_arch = "bpf")]
        // SAFETY: as above; the verifier accepts unaligned access to map values where the architecture has it.
        return unsafe { *word };
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: as above.
        return unsafe { word.read_unaligned() };
    }

    /// Notes where a label begins; `label` is taken modulo 256.
    #[inline(always)]
    pub fn set_start(&self, label: usize, at: u8) {
        self.starts[label % (NAME_MAX + 1)].set(at);
    }

    /// Where a label begins; `label` is taken modulo 256.
    #[inline(always)]
    #[must_use]
    pub fn start(&self, label: usize) -> usize {
        usize::from(self.starts[label % (NAME_MAX + 1)].get())
    }
}

const _: () = assert!(size_of::<Scratch>() == NAME_ROOM + 256 + 16);
