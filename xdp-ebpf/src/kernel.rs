//! The kernel's side of [`Maps`](xdp_ebpf::maps::Maps) and [`Packet`](xdp_ebpf::packet::Packet): the maps themselves, and
//! the helpers that resize and fill a packet. Shared by the programs.
#![expect(clippy::inline_always, reason = "see lib.rs")]
#![expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "lengths of frames, far below 2^31")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action},
    btf_maps::{Array, PerCpuArray, ProgramArray, RingBuf},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, bpf_loop,
        bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    macros::{btf_map, xdp},
    programs::XdpContext,
};

use xdp_ebpf::{
    answer, decide,
    decision::{Answer, AnswerRecord},
    frame::Frame,
    layout::{
        Chosen, Control, Cursor, Displace, EVENT_FRAME, EVENTS_LEN, Endpoint, Event, NameEntry, NameTail, NetNode,
        Rdata, ServiceEntry, SlotBlock,
        signed::{Proof, ProofChunk, Region, SignatureLine, SignedName, Signer},
    },
    limit::{Buckets, TICK_BITS},
    maps::{LoopStep, Maps},
    name::OFFSET_MASK,
    packet::Packet,
    reason::{Action, Reason},
    scratch::Scratch,
    sign,
};

const MMAP: usize = BPF_F_MMAPABLE as usize;

// Entries are what the smallest use needs; the loader sizes each map to the configuration.
#[btf_map]
static CONTROL: Array<Control, 1, MMAP> = Array::new();
#[btf_map]
static DISPLACE: Array<Displace, 1, MMAP> = Array::new();
#[btf_map]
static NAMES: Array<NameEntry, 1, MMAP> = Array::new();
#[btf_map]
static TAILS: Array<NameTail, 1, MMAP> = Array::new();
#[btf_map]
static RDATA: Array<Rdata, 1, MMAP> = Array::new();
#[btf_map]
static ENDPOINTS: Array<Endpoint, 1, MMAP> = Array::new();
#[btf_map]
static SERVICES: Array<ServiceEntry, 5, MMAP> = Array::new();
#[btf_map]
static SLOTS: Array<SlotBlock, 5, MMAP> = Array::new();
#[btf_map]
static NETS: Array<NetNode, 1, MMAP> = Array::new();
#[btf_map]
static CHOSEN: Array<Chosen, 1, MMAP> = Array::new();
#[btf_map]
static CURSORS: Array<Cursor, 1, MMAP> = Array::new();
#[btf_map]
static ANSWERS: Array<u64, 1, MMAP> = Array::new();
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
static BUCKETS: Array<Buckets, 1> = Array::new();
#[btf_map]
static SIGNED_NAMES: Array<SignedName, 1, MMAP> = Array::new();
#[btf_map]
static SIGNERS: Array<Signer, 1, MMAP> = Array::new();
#[btf_map]
static PROOFS: Array<Proof, 1, MMAP> = Array::new();
#[btf_map]
static PROOF_BYTES: Array<ProofChunk, 1, MMAP> = Array::new();
#[btf_map]
static CHILDREN: Array<NetNode, 1, MMAP> = Array::new();
#[btf_map]
static ORDINALS: Array<SlotBlock, 1, MMAP> = Array::new();
#[btf_map]
static COHORTS: Array<u64, 1, MMAP> = Array::new();
#[btf_map]
static REGIONS: Array<Region, 1, MMAP> = Array::new();
#[btf_map]
static SIGNATURES: Array<SignatureLine, 1, MMAP> = Array::new();
#[btf_map]
static BYTE_BUCKETS: Array<Buckets, 1> = Array::new();
#[btf_map]
static PROGRAMS: ProgramArray<1> = ProgramArray::new();
#[btf_map]
static COUNTERS: PerCpuArray<u64, { Reason::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<(), { EVENTS_LEN as usize }> = RingBuf::new();

/// The maps above.
struct Kernel;

impl Maps for Kernel {
    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        CONTROL.get(0)
    }
    #[inline(always)]
    fn displace(&self, block: u32) -> Option<&Displace> {
        DISPLACE.get(block)
    }
    #[inline(always)]
    fn name(&self, index: u32) -> Option<&NameEntry> {
        NAMES.get(index)
    }
    #[inline(always)]
    fn tail(&self, index: u32) -> Option<&NameTail> {
        TAILS.get(index)
    }
    #[inline(always)]
    fn rdata(&self, index: u32) -> Option<&Rdata> {
        RDATA.get(index)
    }
    #[inline(always)]
    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        ENDPOINTS.get(index)
    }
    #[inline(always)]
    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        SERVICES.get(index)
    }
    #[inline(always)]
    fn slots(&self, block: u32) -> Option<&SlotBlock> {
        SLOTS.get(block)
    }
    #[inline(always)]
    fn net(&self, index: u32) -> Option<&NetNode> {
        NETS.get(index)
    }
    #[inline(always)]
    fn chosen(&self, index: u32) -> Option<&Chosen> {
        CHOSEN.get(index)
    }
    #[inline(always)]
    fn turn(&self, index: u32, which: usize) -> Option<u32> {
        let cursors = self.control()?.cursors;
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let cursor = CURSORS.get_ptr_mut(cpu * cursors + (index & cursors.wrapping_sub(1)))?;
        // SAFETY: this CPU's element, and nothing else runs on this CPU meanwhile: XDP runs with bottom halves off, and the
        // agent writes no cursors.
        Some(unsafe { &mut *cursor }.turn(index, which, || self.random()))
    }
    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }
    #[inline(always)]
    fn boot_ns(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_boot_ns() }
    }
    #[inline(always)]
    fn ticks(&self) -> u64 {
        // A few milliseconds are fine enough for a rate, and this clock costs a load.
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() >> TICK_BITS }
    }
    #[inline(always)]
    fn buckets(&self, block: u32) -> Option<&Buckets> {
        BUCKETS.get(block)
    }
    #[inline(always)]
    fn signed_name(&self, index: u32) -> Option<&SignedName> {
        SIGNED_NAMES.get(index)
    }
    #[inline(always)]
    fn signer(&self, index: u32) -> Option<&Signer> {
        SIGNERS.get(index)
    }
    #[inline(always)]
    fn proof(&self, index: u32) -> Option<&Proof> {
        PROOFS.get(index)
    }
    #[inline(always)]
    fn proof_bytes(&self, chunk: u32) -> Option<&ProofChunk> {
        PROOF_BYTES.get(chunk)
    }
    #[inline(always)]
    fn child(&self, index: u32) -> Option<&NetNode> {
        CHILDREN.get(index)
    }
    #[inline(always)]
    fn ordinals(&self, block: u32) -> Option<&SlotBlock> {
        ORDINALS.get(block)
    }
    #[inline(always)]
    fn region(&self, cohort: u32) -> Option<&Region> {
        // SAFETY: an aligned u64; volatile because the agent stores to it while we run.
        let word = unsafe { core::ptr::read_volatile(COHORTS.get_ptr(cohort)?) };
        REGIONS.get((word as u32).wrapping_sub(1))
    }
    #[inline(always)]
    fn signature(&self, line: u32) -> Option<&SignatureLine> {
        SIGNATURES.get(line)
    }
    #[inline(always)]
    fn byte_buckets(&self, block: u32) -> Option<&Buckets> {
        BYTE_BUCKETS.get(block)
    }
    #[inline(always)]
    fn scratch(&self) -> Option<&Scratch> {
        // This CPU's own, and one packet at a time runs on a CPU.
        SCRATCH.get(0)
    }
    #[inline(always)]
    fn repeat<S: LoopStep>(&self, times: u32) {
        // SAFETY: the callback has the form the helper asks for, and takes no context.
        unsafe { bpf_loop(times, step::<S> as *mut c_void, core::ptr::null_mut(), 0) };
    }
}

/// One step for `bpf_loop`: 1 stops it. The parameters have names, as the kernel refuses type information of any without.
extern "C" fn step<S: LoopStep>(_number: u32, _context: *mut c_void) -> i64 {
    let (Some(control), Some(scratch)) = (Kernel.control(), Kernel.scratch()) else { return 1 };
    i64::from(S::step(&Kernel, control, scratch))
}

struct Xdp<'a>(&'a XdpContext);

impl Packet for Xdp<'_> {
    #[inline(always)]
    fn frame(&self) -> Frame {
        // SAFETY: the kernel's own bounds of this packet. They change when it is resized, so they are read anew here.
        unsafe { Frame::new(self.0.data() as *const u8, self.0.data_end() as *const u8) }
    }

    #[inline(always)]
    fn store<const SIZE: usize>(&self, at: usize, bytes: *const [u8; SIZE], len: usize) -> Option<()> {
        if len == 0 {
            return None;
        }
        let len = bounded::<SIZE>(len as u32);
        // SAFETY: `bytes` is within a map value; the helper checks the packet's bounds itself.
        let failed = unsafe { bpf_xdp_store_bytes(self.0.ctx, at as u32, bytes.cast_mut().cast(), len) };
        (failed == 0).then_some(())
    }
}

/// A length from 1 to `SIZE`, a power of two, in a form the verifier can follow: it loses the bounds of a comparison made
/// on a copy of the register, and before Linux 6.8 it learns nothing from `!= 0`, but it never loses those of an AND and
/// an addition. The compiler would drop the AND as needless if it saw the comparison, so it is kept from seeing it. A
/// length of 0 becomes `SIZE`.
#[inline(always)]
fn bounded<const SIZE: usize>(len: u32) -> u32 {
    const { assert!(SIZE.is_power_of_two()) };
    (core::hint::black_box(len).wrapping_sub(1) & (SIZE as u32 - 1)) + 1
}

/// All that is done with a packet. Returns the XDP action.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    let packet = Xdp(ctx);
    let reason = match decide::decide(packet.frame(), &Kernel) {
        Ok(answer) => match SCRATCH.get(0) {
            Some(scratch) if answer.is_to_sign(scratch) => {
                // SAFETY: the context is ours; the other program's verdict is this one's, and nothing here is to be dropped.
                unsafe { PROGRAMS.tail_call(ctx, 0) };
                // Nobody has put it there: the socket path has the signatures, too.
                Reason::PassStatic
            }
            _ => reply::<false>(&packet, &answer),
        },
        Err(reason) => reason,
    };
    conclude(ctx, reason)
}

/// All that is done with a packet whose answer is to be signed.
#[inline(always)]
fn run_signed(ctx: &XdpContext) -> u32 {
    let packet = Xdp(ctx);
    let reason = match sign::resume(packet.frame(), &Kernel) {
        Ok(answer) => reply::<true>(&packet, &answer),
        Err(reason) => reason,
    };
    conclude(ctx, reason)
}

/// Signs the answers of signed zones that another program has decided, and hands over by a tail call: with an instruction
/// budget of its own at the verifier. In every object, as programs share maps only within one.
#[xdp]
pub fn zerottl_sign(ctx: XdpContext) -> u32 {
    run_signed(&ctx)
}

/// Counts and traces the packet, and returns the XDP action.
#[inline(always)]
fn conclude(ctx: &XdpContext, reason: Reason) -> u32 {
    count(reason);
    trace(ctx, reason);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "reason {} action {}", reason as u32, reason.action() as u32);
    match reason.action() {
        Action::Answer => xdp_action::XDP_TX,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Pass => xdp_action::XDP_PASS,
        Action::Abort => xdp_action::XDP_ABORTED,
    }
}

/// Makes the packet its answer.
#[inline(always)]
fn reply<const SIGNED: bool>(packet: &Xdp<'_>, answer: &Answer) -> Reason {
    match resize(packet, answer) {
        Ok(()) => match answer::write::<SIGNED, _, _>(packet, &Kernel, answer) {
            Some(()) => {
                let answer = if SIGNED { SCRATCH.get(0).map(Answer::taken_over) } else { Some(*answer) };
                let Some(answer) = answer else { return Reason::Internal };
                count_address(&answer);
                answer.reason()
            }
            None => Reason::Internal,
        },
        Err(reason) => reason,
    }
}

/// Makes the packet as long as its answer, with everything up to the question's end where it was from the start.
///
/// It grows at the head, where XDP guarantees room: frames that came from a socket over veth have only the slack of their
/// allocation at the tail, often none. Only an answer that is too long for that room grows at the tail.
#[inline(always)]
fn resize(packet: &Xdp<'_>, answer: &Answer) -> Result<(), Reason> {
    let delta = answer.frame_len() as i32 - packet.frame().len() as i32;
    if delta == 0 {
        return Ok(());
    }
    // SAFETY: the context is ours; all packet pointers are made anew afterwards.
    if delta > 0 && unsafe { bpf_xdp_adjust_head(packet.0.ctx, -delta) } == 0 {
        // From here on the packet is no longer as it came: a failure may not pass it on.
        return move_down(packet.frame(), answer, delta as usize).ok_or(Reason::Internal);
    }
    // SAFETY: as above.
    if unsafe { bpf_xdp_adjust_tail(packet.0.ctx, delta) } == 0 { Ok(()) } else { Err(Reason::PassNoRoom) }
}

/// Moves everything up to the question's end `delta` bytes down, to the start of the frame.
#[inline(always)]
fn move_down(frame: Frame, answer: &Answer, delta: usize) -> Option<()> {
    /// Bytes moved at a time; headers and question are never fewer.
    const STEP: usize = 16;
    /// Headers and question are at most 341 bytes.
    const STEPS_MAX: usize = 341 / STEP;
    let control = Kernel.control()?;
    let delta = delta & OFFSET_MASK;
    let len = answer.question_end();
    // What is left over behind whole steps is moved with the bytes before it. It is read first, as a step may overwrite it.
    let last = frame.claim::<STEP>((delta + len - STEP) & OFFSET_MASK)?;
    let last = [last.u64::<0>(), last.u64::<8>()];
    let full = control.forget::<0x1f>(len / STEP);
    let mut i = 0;
    while i < STEPS_MAX {
        if i == full {
            break;
        }
        let from = frame.claim::<STEP>((delta + STEP * i) & OFFSET_MASK)?;
        let words = [from.u64::<0>(), from.u64::<8>()];
        let to = frame.claim::<STEP>(STEP * i)?;
        to.set_u64::<0>(words[0]);
        to.set_u64::<8>(words[1]);
        i += 1;
    }
    let to = frame.claim::<STEP>((len - STEP) & OFFSET_MASK)?;
    to.set_u64::<0>(last[0]);
    to.set_u64::<8>(last[1]);
    Some(())
}

/// Counts a packet under its reason.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: a per-CPU element, as for the cursors; the agent only reads it.
        unsafe { *counter += 1 };
    }
}

/// Counts an answered address, which is what a Site's share came to.
#[inline(always)]
fn count_address(answer: &Answer) {
    if answer.body.record != AnswerRecord::ADDRESS {
        return;
    }
    let Some(control) = CONTROL.get(0) else { return };
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(count) = ANSWERS.get_ptr_mut(cpu * control.answers + answer.body.index) {
        // SAFETY: this CPU's element, as for the cursors; the agent only reads it.
        unsafe { *count += 1 };
    }
}

/// Sends a sample of packets to `zerottl trace`, if one is listening.
#[inline(always)]
fn trace(ctx: &XdpContext, reason: Reason) {
    let Some(control) = CONTROL.get(0) else { return };
    // SAFETY: a reference to an aligned u32; volatile because the agent stores to it while we run.
    let one_in = unsafe { core::ptr::read_volatile(&raw const control.trace) };
    // SAFETY: a helper without arguments.
    if one_in == 0 || unsafe { bpf_get_prandom_u32() } % one_in != 0 {
        return;
    }
    let Some(mut event) = EVENTS.reserve_untyped::<Event>(0) else { return };
    let at = event.as_mut_ptr();
    let frame_len = (ctx.data_end() - ctx.data()) as u32;
    let kept = bounded::<EVENT_FRAME>(frame_len.min(EVENT_FRAME as u32 - 1));
    // SAFETY: `at` is a reserved ring-buffer record of an Event's size, and `kept` is at most its frame's.
    unsafe {
        (*at).at_ns = bpf_ktime_get_boot_ns();
        (*at).reason = reason as u32;
        (*at).len = frame_len;
        if bpf_xdp_load_bytes(ctx.ctx, 0, (&raw mut (*at).frame).cast(), kept) != 0 {
            (*at).len = 0;
        }
    }
    event.submit(0);
}
