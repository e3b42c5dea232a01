//! The system's allocator, and how many bytes of it are in use.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The system's allocator, which counts. For a program of its own, as all others would count, too.
#[derive(Clone, Copy, Debug)]
pub struct CountedMemory;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

impl CountedMemory {
    /// The bytes that are in use now, as they were asked for.
    #[must_use]
    pub fn in_use() -> usize {
        IN_USE.load(Relaxed)
    }
}

// SAFETY: all is the system's allocator's.
unsafe impl GlobalAlloc for CountedMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}
