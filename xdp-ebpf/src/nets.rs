//! Client nets: which set of groups an address chooses (S4-4C).
//!
//! A family's nets cut its addresses into ranges, each with one set. A static B-tree over the ranges' ends finds an
//! address's own in as many steps whatever the nets look like: 7 for a million of them, and the first of those are in
//! cache. Its keys are the address's upper 64 bits; where a /64 is cut up, its range leads on to a tree over the lower.
//!
//! ```text
//! ends      [ 9 | 19 | 29 | … ]     inner node: child + i has the ranges up to end i
//!           /   |    |    |         leaf:       value i is of the range up to end i
//! i        0    1    2    3
//! ```

use crate::layout::{NET_DIVIDED, NET_ENDS, NetNode};

/// Nodes on the way down, at most: [`NET_ENDS`] + 1 ways at each of 7 make 19,000,000 ranges, and a leaf of an IPv6 tree
/// may lead to a second tree.
pub const LEVELS_MAX: u32 = 14;

/// No range: no end of one that others follow is all ones.
const NONE: u64 = u64::MAX;

/// The range an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its set of groups; 0 is of no group.
    pub set: u32,
    /// Bits above the words below: 64 within a tree of lower halves.
    above: u32,
    /// The address's word.
    key: u64,
    /// The last word of the range before.
    before: u64,
    /// Its own last word, if a range follows.
    end: u64,
}

impl Range {
    /// All of a tree; `none` is [`NONE`].
    #[inline(always)]
    const fn all(above: u32, key: u64, none: u64) -> Self {
        Self { set: 0, above, key, before: none, end: none }
    }

    /// Bits of the address that tell its range from the others: SCOPE PREFIX-LENGTH (RFC 7871 section 7.2.1).
    #[inline(always)]
    #[must_use]
    pub fn scope(&self) -> u8 {
        let mut bits = 0;
        if self.before != NONE {
            bits = (self.key ^ self.before).leading_zeros() + 1;
        }
        if self.end != NONE {
            bits = bits.max((self.key ^ (self.end + 1)).leading_zeros() + 1);
        }
        (self.above + bits) as u8
    }
}

/// The range of an address as it lies in a packet: IPv4 in the first four bytes. `forget` is
/// [`Control::forget_word`](crate::layout::Control::forget_word), `roots` are [`Control::net_roots`](crate::layout::Control::net_roots).
#[inline(always)]
pub fn find<'m>(
    node: impl Fn(u32) -> Option<&'m NetNode>,
    forget: impl Fn(u64) -> u64,
    roots: [u32; 2],
    v6: bool,
    address: [u64; 2],
) -> Option<Range> {
    // The verifier would tell "no range before" from one before, and so on, at every level.
    let unbounded = forget(NONE);
    let (mut at, mut range) = if v6 {
        (roots[1], Range::all(0, u64::from_be(address[0]), unbounded))
    } else {
        (roots[0], Range::all(0, u64::from(u32::from_be(address[0] as u32)) << 32, unbounded))
    };
    let mut level = 0;
    while level < LEVELS_MAX {
        level += 1;
        let node = node(at)?;
        let mut i = 0;
        while i < NET_ENDS {
            if range.key <= node.ends[i] {
                break;
            }
            i += 1;
        }
        // The verifier follows the eleven ways as one.
        let i = (forget(i as u64) & 0xf) as usize;
        let value = *node.values.get(i)?;
        // Forgotten again: before Linux 6.8 the verifier learns nothing from i != 0, to which the compiler turns this.
        let left = (forget((i as u64).wrapping_sub(1)) & 0xf) as usize;
        if let Some(before) = node.ends.get(left) {
            range.before = *before;
        }
        if let Some(end) = node.ends.get(i)
            && *end != NONE
        {
            range.end = *end;
        }
        if node.child != 0 {
            at = node.child + i as u32;
            continue;
        }
        if value & NET_DIVIDED == 0 {
            range.set = value;
            return Some(range);
        }
        at = value & !NET_DIVIDED;
        range = Range::all(64, u64::from_be(address[1]), unbounded);
    }
    None
}
