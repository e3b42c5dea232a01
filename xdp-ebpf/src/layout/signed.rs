//! The maps of signed zones: every signature that an answer may need, made before anybody asks.
//!
//! | map | kind | entries | written |
//! |---|---|---|---|
//! | `SIGNED_NAMES` | array, mmapable | [`SignedName`], at a name's position in `NAMES` | once before attach |
//! | `SIGNERS` | array, mmapable | [`Signer`], one per signed zone | once before attach |
//! | `PROOFS` | array, mmapable | [`Proof`]: NSEC records, those of one name behind each other | once before attach |
//! | `PROOF_BYTES` | array, mmapable | [`ProofChunk`]: their bytes | once before attach |
//! | `CHILDREN` | array, mmapable | [`NetNode`](super::NetNode): trees over the labels below a name | once before attach |
//! | `ORDINALS` | array, mmapable | [`SlotBlock`](super::SlotBlock): which of a name's signatures an answer has | once before attach |
//! | `COHORTS` | array, mmapable | `u64`: one more than the position in `REGIONS` that a cohort is answered from; 0 is none | one store at any time |
//! | `REGIONS` | array, mmapable | [`Region`] | while no cohort uses it |
//! | `SIGNATURES` | array, mmapable | [`SignatureLine`] | while no cohort uses their region |
//! | `BYTE_BUCKETS` | array | [`Buckets`](crate::limit::Buckets): bytes of signed answers by client network | by the program |
//! | `PROGRAMS` | program array | the program that signs | once before attach |
//!
//! ```text
//! NAMES position ─> SignedName ─┬ cohort ─> COHORTS ─> Region: key tag, times, first line
//!                               ├ choice, slot ─> ORDINALS ─> line within the region ─> SIGNATURES
//!                               ├ nsec, wildcard ─> Proof ─> PROOF_BYTES, line
//!                               └ children ─> CHILDREN ─> Proof of the gap that a missing label lies in
//! ```
//!
//! A cohort's signatures lie in one region with their times. A new cohort is written to a region that is not in use, and
//! then one store of `COHORTS` changes from the old to the new: no answer mixes a signature with another's times.

/// A name of a signed zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SignedName {
    /// Proof of what is here, or, where nothing is but names below, of the gap that this name lies in.
    pub nsec: u32,
    /// Proof that no wildcard stands right below.
    pub wildcard: u32,
    /// Root, in `CHILDREN`, of the tree over the labels right below; 0 is none.
    pub children: u32,
    /// The cohort of its answers: a position in `COHORTS`.
    pub cohort: u32,
    /// By [`choice_of`](super::choice_of): the line of the first answer's signature within a region of the cohort.
    pub answers: [u32; 3],
    /// By [`choice_of`](super::choice_of): what has to be added to a slot to find its ordinal in `ORDINALS`, modulo 2^32.
    pub ordinals: [u32; 3],
    /// Position in `SIGNERS`.
    pub signer: u16,
    /// Its labels, as RRSIGs count them.
    pub labels: u8,
    /// Bits by [`choice_of`](super::choice_of): types of which a proof stands behind `nsec` that lacks that type alone.
    pub narrow: u8,
    /// 1 if everything that may be asked of this name is signed here; 0 leaves it to the socket path.
    pub is_signed: u32,
}

/// A signed zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Signer {
    /// Bytes of `apex` in use.
    pub len: u16,
    /// Sum of `apex`, from an even offset.
    pub sum: u16,
    /// TTL of its SOA as it is signed (be).
    pub soa_ttl: u32,
    /// TTL of its NSEC records (be).
    pub proof_ttl: u32,
    /// The cohort of its SOA.
    pub soa_cohort: u32,
    /// Line of the SOA's signature within a region.
    pub soa_line: u32,
    /// Its labels.
    pub labels: u8,
    /// Padding.
    pub reserved: [u8; 3],
    /// Its name in wire form.
    pub apex: [u64; SIGNER_ROOM / 8],
}

/// Room for a zone's name: a power of two, so that a masked length is seen to stay inside.
pub const SIGNER_ROOM: usize = 256;

/// An NSEC record: its owner, which ends in a pointer to the apex, type to RDLENGTH, and its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Proof {
    /// Position of its bytes in `PROOF_BYTES`.
    pub chunk: u32,
    /// Where in the chunk it begins, below [`PROOF_STARTS`].
    pub offset: u16,
    /// Bytes, below [`PROOF_ROOM`].
    pub len: u16,
    /// Sum of its bytes with the pointer zero, from an even offset.
    pub sum: u16,
    /// Where in it the pointer to the apex stands.
    pub pointer: u16,
    /// Its cohort.
    pub cohort: u32,
    /// Line of its signature within a region.
    pub line: u32,
    /// Labels of its owner.
    pub labels: u8,
    /// Padding.
    pub reserved: [u8; 3],
}

/// Bytes of a chunk in which proofs begin: a power of two.
pub const PROOF_STARTS: usize = 4096;
/// Proofs are shorter than this: a power of two.
pub const PROOF_ROOM: usize = 1024;

/// Bytes of proofs, each whole in one chunk, so that one look-up finds it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ProofChunk(pub [u8; PROOF_STARTS + PROOF_ROOM]);

/// Signatures with one validity, by one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// Its first line in `SIGNATURES`.
    pub first: u32,
    /// As RRSIGs have it (be): seconds since 1970, modulo 2^32.
    pub expiration: u32,
    /// As above.
    pub inception: u32,
    /// Key tag (be).
    pub tag: u16,
    /// Algorithm number.
    pub algorithm: u8,
    /// Padding.
    pub reserved: u8,
}

/// A signature: P-256 and Ed25519 alike. One cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SignatureLine(pub [u64; 8]);

/// In `ORDINALS`, a slot that nothing was signed for.
pub const UNSIGNED: u16 = u16::MAX;

/// Words of a label's key: its bytes in big-endian words, zeros behind, and its length in the last byte, so that keys sort as
/// labels do in canonical order (RFC 4034 section 6.1).
pub const LABEL_WORDS: usize = 8;

/// Nodes on the way from a name's children to a label, at most.
pub const CHILD_STEPS_MAX: u32 = 64;

const _: () = assert!(size_of::<SignedName>() == 48);
const _: () = assert!(size_of::<Signer>() == 24 + SIGNER_ROOM);
const _: () = assert!(size_of::<Proof>() == 24);
const _: () = assert!(size_of::<Region>() == 16);
const _: () = assert!(size_of::<SignatureLine>() == 64);
