//! Client nets: which set of groups an address chooses (S4-4C).
//!
//! A family's nets cut its addresses into ranges, each with one set. A static B-tree over the ranges' ends finds an
//! address's own in as many steps whatever the nets look like: 6 for a million of them, and the first of those are in
//! cache. Its keys are the address's upper 64 bits; where a /64 is cut up, its range leads on to a tree over the lower.
//!
//! ```text
//! ends      [ 9 | 19 | 29 | … ]     inner node: child + i has the ranges up to end i
//!           /   |    |    |         leaf:       value i is of the range up to end i
//! i        0    1    2    3
//! ```

use crate::layout::{NET_DIVIDED, NET_ENDS, NetNode};

/// Nodes on the way down, at most: [`NET_ENDS`] + 1 ways at each make 19,000,000 ranges. Where a /64 is cut up, the tree over
/// its lower halves is part of the way. More levels would cost the verifier 23,000 instructions each.
pub const LEVELS_MAX: u32 = 7;

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

/// 1 if `a` is below `b`, else 0, by the borrow of their difference: BPF has no instruction for it, only branches.
#[inline(always)]
pub(crate) const fn borrow(a: u64, b: u64) -> u64 {
    ((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63
}

/// `a` where `which` is 1, `b` where it is 0.
#[inline(always)]
const fn choose(which: u64, a: u64, b: u64) -> u64 {
    let mask = which.wrapping_neg();
    (a & mask) | (b & !mask)
}

impl NetNode {
    /// The `i`-th eight bytes, modulo 16; the first [`NET_ENDS`] are the ends.
    #[inline(always)]
    const fn word(&self, i: usize) -> u64 {
        // SAFETY: a node is 16 such words, all of it plain numbers.
        unsafe { *(&raw const *self).cast::<u64>().add(i & 15) }
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
        // How many ends are below the key, without a branch: eleven ways would be as many for the verifier to follow, and
        // none of them for the processor to foresee.
        let (mut below, mut i) = (0, 0);
        while i < NET_ENDS {
            below += borrow(node.ends[i], range.key);
            i += 1;
        }
        let i = (forget(below) & 0xf) as usize;
        let value = *node.values.get(i)?;
        // The ends on both sides, again without a branch; where this node has none, that of the node above stays.
        let has_left = borrow(0, i as u64);
        range.before = choose(has_left, node.word(i.wrapping_sub(has_left as usize)), range.before);
        let end = node.word(i);
        range.end = choose(borrow(i as u64, NET_ENDS as u64) & borrow(end, NONE), end, range.end);
        if node.child != 0 {
            at = node.child + i as u32;
            continue;
        }
        if value & NET_DIVIDED == 0 {
            // One range for the verifier, whatever the level.
            let Range { above, key, before, end, .. } = range;
            let (above, key) = (forget(above.into()) as u32, forget(key));
            return Some(Range { set: value, above, key, before: forget(before), end: forget(end) });
        }
        at = value & !NET_DIVIDED;
        range = Range::all(64, u64::from_be(address[1]), unbounded);
    }
    None
}
