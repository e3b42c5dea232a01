//! The nature of a missing name: NXDOMAIN in a zone of ours, in no zone of ours, or another's to say.
//!
//! The walk goes from the shortest apex down, one label at a time, and stops at the first name that is not there; since
//! every empty non-terminal has an entry, nothing below that exists (RFC 8020). It makes at most one look-up more than the
//! deepest configured name has labels, however many labels are asked for.
//!
//! It runs over a copy of the name in lower case: masked offsets there need no bounds checks, and steps are made by
//! `bpf_loop`, whose body the verifier looks at once and not 127 times.

use crate::{
    frame::Frame,
    layout::{
        BLOCK_DISPLACEMENTS, Control, NAME_ABOVE, NAME_HAS_WILDCARD, NAME_INLINE, NAME_IS_SIGNED, NAME_OPAQUE,
        NameEntry, NameTail,
    },
    maps::{LoopStep, Maps},
    name,
    reason::Reason,
    scratch::Scratch,
};

const WORDS_INLINE: usize = NAME_INLINE / 8;
/// Labels of a name, the root's not counted.
const LABELS_MAX: u32 = 127;

/// The nature of a missing name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// NXDOMAIN.
    InZone {
        /// Position of the zone's SOA in `RDATA`.
        soa: u16,
        /// Where the apex begins within the name.
        apex: u8,
    },
    /// In no zone of ours.
    NoZone,
}

/// Finds out what the missing name of `len` bytes at `at` is.
#[inline(always)]
pub fn missing<M: Maps>(frame: Frame, maps: &M, control: &Control, at: usize, len: usize) -> Result<Missing, Reason> {
    let scratch = maps.scratch().ok_or(Reason::Internal)?;
    copy(frame, control, scratch, at, len).ok_or(Reason::Internal)?;
    scratch.labels.set(0);
    scratch.next.set(0);
    maps.repeat::<Split>(LABELS_MAX + 1);
    let labels = scratch.labels.get();
    scratch.next.set(labels.wrapping_sub(control.walk_from));
    if labels < control.walk_from {
        return Ok(Missing::NoZone);
    }
    scratch.encloser.set(0);
    maps.repeat::<Descend>(LABELS_MAX + 1);
    let encloser = Encloser(scratch.encloser.get());
    scratch.is_signed.set(u32::from(encloser.flags()));
    match control.forget::<7>(usize::from(encloser.kind())) as u8 {
        0 | NAME_ABOVE => Ok(Missing::NoZone),
        NAME_OPAQUE => Err(Reason::PassStatic),
        _ if encloser.flags() & NAME_HAS_WILDCARD != 0 => Err(Reason::PassWildcard),
        _ => Ok(Missing::InZone { soa: encloser.soa(), apex: encloser.apex() }),
    }
}

/// Whether answers of a name with these flags are to be signed, 1 or 0. Computed, as a branch would be a way more.
#[inline(always)]
#[must_use]
pub(crate) fn is_to_sign(control: &Control, flags: u8, dnssec_ok: bool) -> u32 {
    let dnssec_ok = control.forget::<1>(usize::from(dnssec_ok)) as u32;
    (u32::from(flags) / u32::from(NAME_IS_SIGNED)) & dnssec_ok
}

/// The facts that the walk needs of the name it met last, in one word: a value in the scratch area is unknown to the
/// verifier, where a pointer to an entry would be followed.
#[derive(Clone, Copy)]
struct Encloser(u64);

impl Encloser {
    #[inline(always)]
    fn new(entry: &NameEntry, at: usize) -> Self {
        let apex = (at as u64 + u64::from(entry.apex)) & 0xff;
        Self(u64::from(entry.kind) | u64::from(entry.flags) << 8 | apex << 16 | u64::from(entry.soa) << 32)
    }

    #[inline(always)]
    fn kind(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    fn apex(self) -> u8 {
        (self.0 >> 16) as u8
    }

    #[inline(always)]
    fn soa(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// Copies the name, in lower case, zeros behind.
#[inline(always)]
fn copy(frame: Frame, control: &Control, scratch: &Scratch, at: usize, len: usize) -> Option<()> {
    let full = control.forget::<0xff>(len) / 8;
    let mut i = 0;
    while i < 32 {
        if i >= full {
            break;
        }
        scratch.set_name_word(i, name::lower(frame.claim::<8>(at + 8 * i)?.u64::<0>()));
        i += 1;
    }
    let full = control.forget::<0x1f>(full);
    scratch.set_name_word(full, name::lower(name::last_word(frame, at, len)?));
    scratch.set_name_word(full + 1, 0);
    Some(())
}

/// Notes where the next label begins. Before the last step, `next` is the place of the label itself.
struct Split;

impl LoopStep for Split {
    #[inline(always)]
    fn step<M: Maps>(_: &M, _: &Control, scratch: &Scratch) -> bool {
        let (at, labels) = (scratch.next.get(), scratch.labels.get());
        let len = scratch.name_byte(at as usize);
        scratch.set_start(labels as usize, at as u8);
        if len == 0 {
            return true;
        }
        scratch.labels.set(labels + 1);
        scratch.next.set(at + u32::from(len) + 1);
        false
    }
}

/// Looks up the suffix from the label `next` on, and goes one label down. The whole name is not looked up: it is missing.
struct Descend;

impl LoopStep for Descend {
    #[inline(always)]
    fn step<M: Maps>(maps: &M, control: &Control, scratch: &Scratch) -> bool {
        let label = scratch.next.get();
        if label == 0 {
            return true;
        }
        let at = scratch.start(label as usize);
        // The root's label begins at the last byte of the name.
        let len = scratch.start(scratch.labels.get() as usize) + 1 - at;
        let Some((index, entry)) = find(maps, control, scratch, at, len) else { return true };
        scratch.owner.set(index);
        scratch.encloser.set(Encloser::new(entry, at).0);
        scratch.next.set(label - 1);
        entry.kind == NAME_OPAQUE
    }
}

/// Finds the suffix of `len` bytes at `at`, compared whole (invariant 2).
#[inline(always)]
fn find<'m, M: Maps>(
    maps: &'m M,
    control: &Control,
    scratch: &Scratch,
    at: usize,
    len: usize,
) -> Option<(u32, &'m NameEntry)> {
    // At most 31, which the compiler is not told: it would count down from it and drop the loop's own bound, the only one
    // that the verifier can follow.
    let full = control.forget_word((len & 0xff) as u64 / 8) as usize;
    let mut hash = name::mix(control.seed, len as u64);
    let mut i = 0;
    while i < 32 {
        // Behind the name are zeros, as `name::fold` has them in a name's last word.
        hash = name::mix(hash, scratch.name_word(at, i));
        if i >= full {
            break;
        }
        i += 1;
    }
    // The verifier would tell the loop's ends apart from here on.
    let full = control.forget::<0x1f>(full);
    let bucket = (hash >> 32) as u32 & control.bucket_mask;
    let displacement = maps.displace(bucket / BLOCK_DISPLACEMENTS as u32)?.0[bucket as usize % BLOCK_DISPLACEMENTS];
    let index = name::position(hash, displacement, control.names);
    let entry = maps.name(index)?;
    let mut differs = u64::from(entry.len) ^ len as u64;
    let mut i = 0;
    while i < WORDS_INLINE {
        // Behind the name's last word the scratch area holds anything.
        let word = if i <= full { scratch.name_word(at, i) } else { 0 };
        differs |= entry.name[i] ^ word;
        i += 1;
    }
    if differs != 0 || (len > NAME_INLINE && !tail_is(scratch, at, full, maps.tail(entry.tail)?)) {
        return None;
    }
    Some((index, entry))
}

/// Whether the words behind the first [`NAME_INLINE`] bytes equal `tail`.
#[inline(always)]
fn tail_is(scratch: &Scratch, at: usize, full: usize, tail: &NameTail) -> bool {
    let mut differs = 0;
    let mut i = 0;
    while i < tail.0.len() {
        let word = i + WORDS_INLINE;
        if word > full {
            break;
        }
        differs |= tail.0[i] ^ scratch.name_word(at, word);
        i += 1;
    }
    differs == 0
}
