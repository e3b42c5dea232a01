//! The Internet checksum (RFC 1071), over words as they lie in memory.
//!
//! The one's complement sum does not mind byte order: summing native-endian words gives the byte-swapped sum, and the
//! result is stored as it is. A part that starts at an odd offset contributes its sum with the bytes swapped.

/// A running sum; carries are folded in at the end. Adding fewer than 2^32 words cannot overflow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub const ZERO: Self = Self(0);

    /// A sum that was folded before.
    #[inline(always)]
    #[must_use]
    pub const fn of(folded: u16) -> Self {
        Self(folded as u64)
    }

    /// Adds 8 bytes.
    #[inline(always)]
    #[must_use]
    pub const fn u64(self, word: u64) -> Self {
        Self(self.0 + (word & 0xffff_ffff) + (word >> 32))
    }

    /// Adds 4 bytes.
    #[inline(always)]
    #[must_use]
    pub const fn u32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds 2 bytes.
    #[inline(always)]
    #[must_use]
    pub const fn u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds another sum, of a part that starts at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds another sum, of a part that starts at `offset`.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn add_at(self, offset: usize, other: Self) -> Self {
        // Shifting by 8 before folding swaps the bytes of the folded sum; folding first keeps the shift from overflowing.
        let folded = other.fold() as u64;
        Self(self.0 + if offset & 1 == 0 { folded } else { folded << 8 })
    }

    /// The 16-bit one's complement sum.
    #[inline(always)]
    #[must_use]
    pub const fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// Returns the value for a header's checksum field.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Returns the value for UDP's field, where 0 means "none" and is sent as all ones (RFC 768).
    #[inline(always)]
    #[must_use]
    pub(crate) const fn udp_checksum(self) -> u16 {
        let sum = self.checksum();
        if sum == 0 { 0xffff } else { sum }
    }

    /// Of bytes that start at an even offset; for the host.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut sum = Self::ZERO;
        for pair in bytes.chunks(2) {
            sum = sum.u16(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        sum
    }
}
