//! A word that programs on all CPUs, and the director, change in single steps.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

/// Tries of a change that others may come before; each that fails is another's that succeeded.
const TRIES: u32 = 8;

/// Such a word.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Cell64(AtomicU64);

impl Cell64 {
    /// A word of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Returns its value.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> u64 {
        // A plain load on BPF: its backend has no relaxed one, and none tears there.
        #[cfg(target_arch = "bpf")]
        // SAFETY: a reference's own memory.
        return unsafe { self.0.as_ptr().read_volatile() };
        #[cfg(not(target_arch = "bpf"))]
        self.0.load(Relaxed)
    }

    /// Sets its value.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as above; the map is the program's to write.
        unsafe {
            self.0.as_ptr().write_volatile(value);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(value, Relaxed);
    }

    /// Adds to it.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: one instruction on a reference's own memory, aligned. In assembly because the target says of itself that it
        // has none of them; it has since Linux 5.12.
        unsafe {
            core::arch::asm!("lock *(u64 *)({at} + 0) += {value}", at = in(reg) self.0.as_ptr(), value = in(reg) value);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_add(value, Relaxed);
    }

    /// Subtracts from it.
    #[inline(always)]
    pub fn sub(&self, value: u64) {
        self.add(value.wrapping_neg());
    }

    /// Sets these bits; returns the value from before.
    #[inline(always)]
    pub fn set_bits(&self, bits: u64) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let mut value = bits;
            // SAFETY: as for `add`.
            unsafe {
                core::arch::asm!(
                    "{value} = atomic_fetch_or((u64 *)({at} + 0), {value})",
                    at = in(reg) self.0.as_ptr(),
                    value = inout(reg) value,
                );
            }
            value
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.fetch_or(bits, AcqRel)
    }

    /// Sets its value if it is `old`; whether it was.
    #[inline(always)]
    pub fn swap_if(&self, old: u64, new: u64) -> bool {
        #[cfg(target_arch = "bpf")]
        {
            let found: u64;
            // SAFETY: as for `add`.
            unsafe {
                core::arch::asm!(
                    "r0 = cmpxchg_64({at} + 0, r0, {new})",
                    at = in(reg) self.0.as_ptr(),
                    new = in(reg) new,
                    inout("r0") old => found,
                );
            }
            found == old
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.compare_exchange(old, new, AcqRel, Relaxed).is_ok()
    }

    /// Changes it by a function of its value; false if others were always quicker, and where the function says none.
    #[inline(always)]
    pub fn change(&self, mut to: impl FnMut(u64) -> Option<u64>) -> bool {
        let mut tries = 0;
        while tries < TRIES {
            let old = self.load();
            let Some(new) = to(old) else { return false };
            if self.swap_if(old, new) {
                return true;
            }
            tries += 1;
        }
        false
    }

    /// Raises it to a value, if it is less.
    #[inline(always)]
    pub fn raise(&self, to: u64) {
        self.change(|old| (old < to).then_some(to));
    }
}
