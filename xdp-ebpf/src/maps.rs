//! The maps as the packet code sees them: the program's own, or a host's vectors.

use crate::{
    layout::{
        Chosen, Control, Displace, Endpoint, NameEntry, NameTail, NetNode, Rdata, ServiceEntry, SlotBlock,
        signed::{Proof, ProofChunk, Region, SignatureLine, SignedName, Signer},
    },
    limit::Buckets,
    scratch::Scratch,
};

/// The maps, as the program sees them; `None` is an index beyond the end.
pub trait Maps {
    /// `CONTROL`.
    fn control(&self) -> Option<&Control>;
    /// `DISPLACE`.
    fn displace(&self, block: u32) -> Option<&Displace>;
    /// `NAMES`.
    fn name(&self, index: u32) -> Option<&NameEntry>;
    /// `TAILS`.
    fn tail(&self, index: u32) -> Option<&NameTail>;
    /// `RDATA`.
    fn rdata(&self, index: u32) -> Option<&Rdata>;
    /// `ENDPOINTS`.
    fn endpoint(&self, index: u32) -> Option<&Endpoint>;
    /// `SERVICES`.
    fn service(&self, index: u32) -> Option<&ServiceEntry>;
    /// `SLOTS`.
    fn slots(&self, block: u32) -> Option<&SlotBlock>;
    /// `NETS`.
    fn net(&self, index: u32) -> Option<&NetNode>;
    /// `CHOSEN`.
    fn chosen(&self, index: u32) -> Option<&Chosen>;
    /// Takes the next turn, on this CPU, of the name at `index` for a type's choice: [`Cursor::turn`](crate::layout::Cursor::turn).
    fn turn(&self, index: u32, which: usize) -> Option<u32>;
    /// A random number.
    fn random(&self) -> u32;
    /// Nanoseconds since boot.
    fn boot_ns(&self) -> u64;
    /// Time, in ticks of [`limit`](crate::limit).
    fn ticks(&self) -> u64;
    /// `BUCKETS`.
    fn buckets(&self, block: u32) -> Option<&Buckets>;
    /// `SIGNED_NAMES`.
    fn signed_name(&self, index: u32) -> Option<&SignedName>;
    /// `SIGNERS`.
    fn signer(&self, index: u32) -> Option<&Signer>;
    /// `PROOFS`.
    fn proof(&self, index: u32) -> Option<&Proof>;
    /// `PROOF_BYTES`.
    fn proof_bytes(&self, chunk: u32) -> Option<&ProofChunk>;
    /// `CHILDREN`.
    fn child(&self, index: u32) -> Option<&NetNode>;
    /// `ORDINALS`.
    fn ordinals(&self, block: u32) -> Option<&SlotBlock>;
    /// The region that a cohort is answered from, and `None` where there is none.
    fn region(&self, cohort: u32) -> Option<&Region>;
    /// `SIGNATURES`.
    fn signature(&self, line: u32) -> Option<&SignatureLine>;
    /// `BYTE_BUCKETS`.
    fn byte_buckets(&self, block: u32) -> Option<&Buckets>;
    /// `SCRATCH`.
    fn scratch(&self) -> Option<&Scratch>;
    /// Takes a step up to `times` times, until one is the last.
    fn repeat<S: LoopStep>(&self, times: u32);
}

/// One step of work that is done many times.
pub trait LoopStep {
    /// Does it. `true` is the last time.
    fn step<M: Maps>(maps: &M, control: &Control, scratch: &Scratch) -> bool;
}
