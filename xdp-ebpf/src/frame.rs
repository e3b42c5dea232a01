//! Bounds-checked access to packet bytes.
//!
//! The verifier follows pointers, not slices: it wants `pointer + size > end` on the same register that is then read. So
//! a [`Frame`] is the pair of raw pointers the kernel gives us, and every read goes through
//! [`Frame::claim`].

/// A packet: its first byte and the one behind its last.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    start: *const u8,
    end: *const u8,
}

impl Frame {
    /// A frame over raw memory.
    ///
    /// # Safety
    /// `start..end` must be readable, and writable if [`claim`](Self::claim)ed pointers are written, for as long as the
    /// frame or a pointer from it is used.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: *const u8, end: *const u8) -> Self {
        Self { start, end }
    }

    /// A frame over a slice, for the host.
    #[must_use]
    pub fn of(bytes: &mut [u8]) -> Self {
        let range = bytes.as_mut_ptr_range();
        Self { start: range.start, end: range.end }
    }

    /// Length in bytes.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.end as usize - self.start as usize
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pointer `offset` bytes in, if `SIZE` bytes are there.
    ///
    /// `SIZE` must be at least 2: from `p + 1 > end` the verifier learns nothing about an offset-0 pointer.
    #[inline(always)]
    #[must_use]
    pub fn claim<const SIZE: usize>(&self, offset: usize) -> Option<Bytes<SIZE>> {
        const { assert!(SIZE >= 2) };
        let at = opaque(self.start.wrapping_add(offset));
        if at.wrapping_add(SIZE) > self.end { None } else { Some(Bytes(at)) }
    }
}

/// Keeps the compiler from moving constants from one side of the bounds check to the other: the verifier prohibits
/// arithmetic on the packet's end, and subtraction from a pointer of variable offset.
#[inline(always)]
fn opaque(pointer: *const u8) -> *const u8 {
    #[cfg(target_arch = "bpf")]
    {
        let mut pointer = pointer;
        // A move to itself and not nothing: two lines at one instruction make line info that the kernel refuses.
        // SAFETY: changes nothing.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
        pointer
    }
    #[cfg(not(target_arch = "bpf"))]
    pointer
}

/// `SIZE` bytes of a frame that are known to be there.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<const SIZE: usize>(*const u8);

macro_rules! accessors {
    ($(#[$lint:meta])? $int:ident $read:ident $write:ident) => {
        #[doc = concat!("The native-endian `", stringify!($int), "` at `AT`.")]
        #[inline(always)]
        #[must_use]
        $(#[$lint])?
        pub fn $read<const AT: usize>(self) -> $int {
            const { assert!(AT + size_of::<$int>() <= SIZE) };
            let at = self.0.wrapping_add(AT).cast::<$int>();
            // On BPF a plain load: `read_unaligned` compiles to one load per byte there. The verifier accepts unaligned
            // packet access where the architecture has it, and the range was checked by `claim`.
            #[cfg(target_arch = "bpf")]
            // SAFETY: `claim` checked SIZE bytes and the assertion above keeps this access within them.
            return unsafe { *at };
            #[cfg(not(target_arch = "bpf"))]
            // SAFETY: as above.
            return unsafe { at.read_unaligned() };
        }

        #[doc = concat!("Writes a native-endian `", stringify!($int), "` at `AT`.")]
        #[inline(always)]
        $(#[$lint])?
        pub fn $write<const AT: usize>(self, value: $int) {
            const { assert!(AT + size_of::<$int>() <= SIZE) };
            let at = self.0.wrapping_add(AT).cast_mut().cast::<$int>();
            #[cfg(target_arch = "bpf")]
            // SAFETY: `claim` checked SIZE bytes, the assertion above keeps this access within them, and whoever made the
            // frame vouched that it may be written; a plain store for the reason given at the load.
            unsafe {
                *at = value;
            }
            #[cfg(not(target_arch = "bpf"))]
            // SAFETY: as above.
            unsafe {
                at.write_unaligned(value);
            }
        }
    };
}

impl<const SIZE: usize> Bytes<SIZE> {
    accessors!(u8 u8 set_u8);
    accessors!(#[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")] u16 u16 set_u16);
    accessors!(#[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")] u32 u32 set_u32);
    accessors!(#[expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")] u64 u64 set_u64);
}
