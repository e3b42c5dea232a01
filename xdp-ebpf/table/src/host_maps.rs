//! The program's maps and packets on the host: slices behind the same traits.

use std::cell::{Cell, RefCell, UnsafeCell};

use xdp_ebpf::{
    answer, decide,
    frame::Frame,
    layout::{
        Chosen, Control, Cursor, Displace, Endpoint, NameEntry, NameTail, NetNode, Rdata, ServiceEntry, SlotBlock,
        signed::{Proof, ProofChunk, Region, SignatureLine, SignedName, Signer},
    },
    limit::Buckets,
    maps::{LoopStep, Maps},
    packet::Packet,
    reason::Reason,
    scratch::Scratch,
    sign,
};

use crate::row::Ran;

/// All maps.
#[derive(Debug, Default)]
pub struct HostMaps {
    pub control: Option<Control>,
    pub displace: Vec<Displace>,
    pub names: Vec<NameEntry>,
    pub tails: Vec<NameTail>,
    pub rdata: Vec<Rdata>,
    pub endpoints: Vec<Endpoint>,
    pub services: Vec<ServiceEntry>,
    pub slots: Vec<SlotBlock>,
    pub nets: Vec<NetNode>,
    pub chosen: Vec<Chosen>,
    pub buckets: Vec<Buckets>,
    /// Time, in nanoseconds since boot.
    pub boot_ns: u64,
    /// Time, in ticks.
    pub now: Cell<u64>,
    pub cursors: RefCell<Vec<Cursor>>,
    pub random: Cell<u32>,
    pub scratch: Option<Scratch>,
    pub signed: SignedHostMaps,
}

/// Those of signed zones.
#[derive(Debug, Default)]
pub struct SignedHostMaps {
    pub names: Vec<SignedName>,
    pub signers: Vec<Signer>,
    pub proofs: Vec<Proof>,
    pub bytes: Vec<ProofChunk>,
    pub children: Vec<NetNode>,
    pub ordinals: Vec<SlotBlock>,
    pub cohorts: Vec<u64>,
    pub regions: Vec<Region>,
    pub lines: Vec<SignatureLine>,
    pub buckets: Vec<Buckets>,
}

impl Maps for HostMaps {
    fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }
    fn displace(&self, block: u32) -> Option<&Displace> {
        self.displace.get(block as usize)
    }
    fn name(&self, index: u32) -> Option<&NameEntry> {
        self.names.get(index as usize)
    }
    fn tail(&self, index: u32) -> Option<&NameTail> {
        self.tails.get(index as usize)
    }
    fn rdata(&self, index: u32) -> Option<&Rdata> {
        self.rdata.get(index as usize)
    }
    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        self.endpoints.get(index as usize)
    }
    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        self.services.get(index as usize)
    }
    fn slots(&self, block: u32) -> Option<&SlotBlock> {
        self.slots.get(block as usize)
    }
    fn net(&self, index: u32) -> Option<&NetNode> {
        self.nets.get(index as usize)
    }
    fn chosen(&self, index: u32) -> Option<&Chosen> {
        self.chosen.get(index as usize)
    }
    fn turn(&self, index: u32, which: usize) -> Option<u32> {
        let mut cursors = self.cursors.borrow_mut();
        let at = index as usize & cursors.len().checked_sub(1)?;
        Some(cursors.get_mut(at)?.turn(index, which, || self.random()))
    }
    fn random(&self) -> u32 {
        // Xorshift: any non-zero start goes through all 32-bit numbers.
        let mut x = self.random.get().max(1);
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
    fn boot_ns(&self) -> u64 {
        self.boot_ns
    }
    fn ticks(&self) -> u64 {
        self.now.get()
    }
    fn buckets(&self, block: u32) -> Option<&Buckets> {
        self.buckets.get(block as usize)
    }
    fn signed_name(&self, index: u32) -> Option<&SignedName> {
        self.signed.names.get(index as usize)
    }
    fn signer(&self, index: u32) -> Option<&Signer> {
        self.signed.signers.get(index as usize)
    }
    fn proof(&self, index: u32) -> Option<&Proof> {
        self.signed.proofs.get(index as usize)
    }
    fn proof_bytes(&self, chunk: u32) -> Option<&ProofChunk> {
        self.signed.bytes.get(chunk as usize)
    }
    fn child(&self, index: u32) -> Option<&NetNode> {
        self.signed.children.get(index as usize)
    }
    fn ordinals(&self, block: u32) -> Option<&SlotBlock> {
        self.signed.ordinals.get(block as usize)
    }
    fn region(&self, cohort: u32) -> Option<&Region> {
        let word = *self.signed.cohorts.get(cohort as usize)?;
        self.signed.regions.get((word as usize).wrapping_sub(1))
    }
    fn signature(&self, line: u32) -> Option<&SignatureLine> {
        self.signed.lines.get(line as usize)
    }
    fn byte_buckets(&self, block: u32) -> Option<&Buckets> {
        self.signed.buckets.get(block as usize)
    }
    fn scratch(&self) -> Option<&Scratch> {
        self.scratch.as_ref()
    }
    fn repeat<S: LoopStep>(&self, times: u32) {
        let (Some(control), Some(scratch)) = (self.control(), self.scratch()) else { return };
        let _is_last = (0..times).any(|_| S::step(self, control, scratch));
    }
}

/// A packet in a vector.
struct Owned(UnsafeCell<Vec<u8>>);

impl Packet for Owned {
    fn frame(&self) -> Frame {
        // SAFETY: nobody else borrows the bytes while a frame is in use; they are resized only between frames.
        Frame::of(unsafe { &mut *self.0.get() })
    }

    fn store<const SIZE: usize>(&self, at: usize, bytes: *const [u8; SIZE], len: usize) -> Option<()> {
        // SAFETY: what the answer's writer stores lives in the maps.
        let bytes = unsafe { &*bytes };
        // SAFETY: as above.
        let own = unsafe { &mut *self.0.get() };
        own.get_mut(at..at + len).filter(|_| len > 0)?.copy_from_slice(&bytes[..len]);
        Some(())
    }
}

/// Where a frame that must grow does so. Whatever the answer does not overwrite shows up as `JUNK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grow {
    Tail,
    /// As the program does where there is no room at the tail: only headers and question are moved.
    Head,
}

const JUNK: u8 = 0xa5;

/// Runs the program's decision and answer over a frame, and the signing program's where that comes in.
pub fn run(maps: &HostMaps, frame: &[u8], grow: Grow) -> Ran {
    let mut bytes = frame.to_vec();
    let decided = decide::decide(Frame::of(&mut bytes), maps);
    let to_sign = decided.ok().filter(|answer| maps.scratch().is_some_and(|scratch| answer.is_to_sign(scratch)));
    let decided = if to_sign.is_some() { sign::resume(Frame::of(&mut bytes), maps) } else { decided };
    let answer = match decided {
        Ok(answer) => answer,
        Err(reason) => return Ran { action: reason.action(), reason, frame: bytes },
    };
    assert_eq!(bytes, frame, "written to before the answer was decided");
    let len = answer.frame_len();
    let mut resized = bytes[..len.min(bytes.len())].to_vec();
    if grow == Grow::Head && len > bytes.len() {
        let kept = answer.question_end();
        resized[kept..].fill(JUNK);
    }
    resized.resize(len, JUNK);
    let packet = Owned(UnsafeCell::new(resized));
    let written = match to_sign {
        Some(_) => answer::write::<true, _, _>(&packet, maps, &answer),
        None => answer::write::<false, _, _>(&packet, maps, &answer),
    };
    let reason = match written {
        Some(()) => answer.reason(),
        None => Reason::Internal,
    };
    Ran { action: reason.action(), reason, frame: packet.0.into_inner() }
}
