//! DNS names in wire form (RFC 1035 section 3.1): walking, folding, hashing.
//!
//! Length bytes are at most 63 and so never look like a capital letter: a whole name is folded to lower case eight bytes
//! at a time without minding where its labels begin (RFC 4343).

use crate::{
    frame::Frame,
    layout::{Control, NAME_INLINE, NAME_MAX, NameTail},
    reason::Reason,
    sum::Sum,
};

/// Offsets into a frame are masked with this: far more than any question needs, and small enough for the verifier to
/// accept in pointer arithmetic. It also keeps the compiler from moving a constant out of a sum of offsets, which the
/// verifier would meet as `pointer - constant`.
pub const OFFSET_MASK: usize = 0x7ff;

const WORDS_INLINE: usize = NAME_INLINE / 8;
const WORDS_MAX: usize = NAME_MAX.div_ceil(8);

/// A name in lower case, with its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// The first [`NAME_INLINE`] bytes, zeros behind.
    pub words: [u64; WORDS_INLINE],
    /// Keyed hash of the whole name.
    pub hash: u64,
    /// Sum of the name's bytes as they came.
    pub sum: Sum,
}

/// Length in bytes of the name at `at`, its root label included.
///
/// Errs on a pointer or reserved label type, on over 255 bytes, and where the frame ends first. Four bytes are asked for
/// at each label: a type and a class must follow the root label anyway. Where the label is of one byte the next one's
/// length is among them, and is not waited for: of a name of as many labels as can be, that is half of all waiting.
#[inline(always)]
pub fn walk(frame: Frame, at: usize) -> Result<usize, Reason> {
    let mut len = 0;
    // 127 labels of one byte and the root are the most there can be.
    let mut labels = 0;
    while labels < 128 {
        let bytes = frame.claim::<4>(at + len).ok_or(Reason::PassName)?;
        let label = usize::from(bytes.u8::<0>());
        if label == 0 {
            return Ok(len + 1);
        }
        if label > 63 {
            return Err(Reason::PassName);
        }
        len += label + 1;
        if label == 1 {
            let label = usize::from(bytes.u8::<2>());
            if label == 0 {
                return if len < NAME_MAX { Ok(len + 1) } else { Err(Reason::PassName) };
            }
            if label > 63 {
                return Err(Reason::PassName);
            }
            len += label + 1;
        }
        if len >= NAME_MAX {
            return Err(Reason::PassName);
        }
        labels += 1;
    }
    Err(Reason::PassName)
}

/// Folds and hashes the name of `len` bytes at `at`.
///
/// Eight bytes before the name must be in the frame: they are, the DNS header is there.
#[inline(always)]
#[must_use]
pub fn fold(frame: Frame, at: usize, len: usize, control: &Control) -> Option<Folded> {
    let full = control.forget::<0xff>(len) / 8;
    let mut words = [0; WORDS_INLINE];
    let mut hash = mix(control.seed, len as u64);
    let mut sum = Sum::ZERO;
    for (i, slot) in words.iter_mut().enumerate() {
        if i >= full {
            break;
        }
        let word = frame.claim::<8>(at + 8 * i)?.u64::<0>();
        sum = sum.u64(word);
        *slot = lower(word);
        hash = mix(hash, *slot);
    }
    let mut i = WORDS_INLINE;
    while i < WORDS_MAX {
        if i >= full {
            break;
        }
        let word = frame.claim::<8>(at + 8 * i)?.u64::<0>();
        sum = sum.u64(word);
        hash = mix(hash, lower(word));
        i += 1;
    }
    let last = last_word(frame, at, len)?;
    let folded = lower(last);
    for (i, slot) in words.iter_mut().enumerate() {
        if i == full {
            *slot = folded;
        }
    }
    Some(Folded { words, hash: mix(hash, folded), sum: sum.u64(last) })
}

/// Whether the bytes behind the first [`NAME_INLINE`] equal `tail`.
#[inline(always)]
#[must_use]
pub(crate) fn tail_is(frame: Frame, at: usize, len: usize, tail: &NameTail, control: &Control) -> bool {
    let full = control.forget::<0xff>(len) / 8;
    let Some(last) = last_word(frame, at, len) else { return false };
    for (i, expected) in tail.0.iter().enumerate() {
        let i = i + WORDS_INLINE;
        if i >= full {
            return lower(last) == *expected;
        }
        let Some(bytes) = frame.claim::<8>(at + 8 * i) else { return false };
        if lower(bytes.u64::<0>()) != *expected {
            return false;
        }
    }
    // 256 bytes would be 32 full words; a name has at most 255.
    false
}

/// The bytes behind the last whole word, in a word's low end.
#[inline(always)]
#[must_use]
pub(crate) fn last_word(frame: Frame, at: usize, len: usize) -> Option<u64> {
    let rest = len % 8;
    if rest == 0 {
        return Some(0);
    }
    let word = u64::from_le(frame.claim::<8>((at + len - 8) & OFFSET_MASK)?.u64::<0>());
    Some((word >> (8 * (8 - rest))).to_le())
}

/// Eight bytes in lower case.
#[inline(always)]
#[must_use]
pub const fn lower(word: u64) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let low = word & !HIGH;
    // The high bit of each byte of `from_a` says "at least 'A'", of `past_z` "beyond 'Z'".
    let from_a = low + 0x3f3f_3f3f_3f3f_3f3f;
    let past_z = low + 0x2525_2525_2525_2525;
    let upper = from_a & !past_z & !word & HIGH;
    word | (upper >> 2)
}

/// One round of the keyed hash. Only the operator adds names, so the hash has to spread, not to withstand; what it finds
/// is compared whole (invariant 2).
#[inline(always)]
#[must_use]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

/// Where the perfect hash puts a name, of so many entries: a part of the whole range of hashes each, so that their number
/// need be no power of two. The displacement turns that range.
#[inline(always)]
#[must_use]
pub const fn position(hash: u64, displacement: u32, entries: u32) -> u32 {
    ((((hash as u32).wrapping_add(displacement)) as u64 * entries as u64) >> 32) as u32
}

/// A name as the maps hold it; for the host, from wire form. `None` if it is longer than a name can be.
#[must_use]
pub fn key(wire: &[u8], seed: u64) -> Option<(Folded, NameTail)> {
    const BEFORE: usize = 8;
    let mut bytes = [0; BEFORE + 8 * (WORDS_MAX + 1)];
    bytes.get_mut(BEFORE..BEFORE + wire.len()).filter(|_| wire.len() <= NAME_MAX)?.copy_from_slice(wire);
    let control = Control { seed, ..Control::default() };
    let folded = fold(Frame::of(&mut bytes), BEFORE, wire.len(), &control)?;
    let mut tail = NameTail::default();
    for (word, bytes) in tail.0.iter_mut().zip(bytes[BEFORE + NAME_INLINE..].chunks_exact(8)) {
        *word = lower(u64::from_ne_bytes(bytes.try_into().ok()?));
    }
    Some((folded, tail))
}
