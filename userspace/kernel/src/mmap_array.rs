//! A BPF array, mapped into our memory: publication is a plain store.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::{io, marker::PhantomData, os::fd::AsFd, ptr::NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array map of `T`, created with `BPF_F_MMAPABLE` (Linux 5.5).
///
/// The kernel rounds an element's size up to 8 bytes; layouts are multiples of 8 already, and that is checked here.
#[derive(Debug)]
pub struct Mapped<T> {
    start: NonNull<T>,
    len: usize,
    _owns: PhantomData<T>,
}

// SAFETY: the mapping is process-wide, and `T` is plain data.
unsafe impl<T: Send> Send for Mapped<T> {}
// SAFETY: a shared reference only reads, each element by one volatile read; what writes takes a mutable one.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// Maps `len` elements of the array behind `map`.
    pub fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        Self::window(map, 0, len)
    }

    /// Maps `len` elements of the array behind `map` from a byte on, which begins a page.
    fn window(map: impl AsFd, from: u64, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let bytes = len * size_of::<T>();
        // SAFETY: a new mapping, at an address of the kernel's choosing.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, map, from)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len, _owns: PhantomData })
    }

    /// How many elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.len
    }

    /// Writes `values` from element `at` on. The caller sees to it that no program reads these elements meanwhile, or
    /// that each is one word.
    ///
    /// # Panics
    /// If they reach beyond the end.
    pub fn write(&mut self, at: usize, values: &[T]) {
        assert!(at + values.len() <= self.len, "{} values at {at} of {}", values.len(), self.len);
        // SAFETY: within the mapping, by the assertion; `T` is plain data and `values` is not in the mapping.
        unsafe { self.start.add(at).copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
    }

    /// A copy of an element.
    ///
    /// # Panics
    /// If `at` is beyond the end.
    #[must_use]
    pub fn read(&self, at: usize) -> T {
        assert!(at < self.len, "{at} of {}", self.len);
        // SAFETY: within the mapping, by the assertion; `T` is plain data.
        unsafe { self.start.add(at).read_volatile() }
    }

    /// A pointer to an element, for single fields stored by `store_u64` and `store_u32`.
    ///
    /// # Panics
    /// If `at` is beyond the end.
    #[must_use]
    pub fn pointer(&self, at: usize) -> *mut T {
        assert!(at < self.len, "{at} of {}", self.len);
        // SAFETY: within the mapping, by the assertion.
        unsafe { self.start.add(at).as_ptr() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, used by nobody else.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len * size_of::<T>()) };
        if let Err(error) = unmapped {
            tracing::error!("unmapping a BPF map failed: {error}");
        }
    }
}

/// Elements that are mapped at a time by [`write_all`]: whatever their size, whole pages.
const WINDOW: usize = 1 << 16;

/// Writes a whole array that no program reads yet, a window at a time, so that it is never all in our memory.
pub fn write_all<T: Copy>(map: impl AsFd, values: &[T]) -> io::Result<()> {
    for (values, window) in values.chunks(WINDOW).zip(0_u64..) {
        let at = window * (WINDOW * size_of::<T>()) as u64;
        Mapped::window(&map, at, values.len())?.write(0, values);
    }
    Ok(())
}

/// Stores a word that a program reads at any time: in one piece, and after everything stored before it.
///
/// # Safety
/// `at` must point into a live mapping.
pub(crate) unsafe fn store_u64(at: *mut u64, value: u64) {
    use std::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: valid and aligned by contract; only ever written like this while shared.
    unsafe { AtomicU64::from_ptr(at) }.store(value, Ordering::Release);
}

/// As [`store_u64`], for a half word.
///
/// # Safety
/// `at` must point into a live mapping.
pub(crate) unsafe fn store_u32(at: *mut u32, value: u32) {
    use std::sync::atomic::{AtomicU32, Ordering};
    // SAFETY: as above.
    unsafe { AtomicU32::from_ptr(at) }.store(value, Ordering::Release);
}
