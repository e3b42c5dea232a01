//! A packet that is made its answer.

use crate::frame::Frame;

/// A packet that can be written to.
pub trait Packet {
    /// The packet as it is now.
    fn frame(&self) -> Frame;
    /// Copies the first `len` of `bytes` to `at`; `len` is above 0 and below `SIZE`, a power of two.
    fn store<const SIZE: usize>(&self, at: usize, bytes: *const [u8; SIZE], len: usize) -> Option<()>;
}
