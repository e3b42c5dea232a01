//! The programs of the benchmarks: the fast path beside a bare reflector.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on what its last run left of the packet. So each timed program first restores a
//! query, the next of a walk over all names, and then does one thing: nothing, resize, reflect, or answer. What the
//! thing costs is the difference to `bench_restore`. The code timed is the agent's own, by way of the `kernel` module.
#![no_std]
#![no_main]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "what the macro of aya makes, and calls us with")]
#![expect(clippy::inline_always, reason = "see lib.rs")]
#![expect(clippy::cast_possible_wrap, reason = "lengths of frames, far below 2^31")]

mod kernel;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_store_bytes,
    },
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use xdp_ebpf::{frame::Frame, reason::Reason, sum::Sum};

/// The query for the first name, and the walk over the names. All in one map value; userspace fills it.
///
/// Names differ in their first label alone: eight letters, the low eight hexadecimal digits of the name's number as
/// `a` to `p`, lowest first. So one template makes every query, and the queries themselves take no room in the caches.
#[repr(C)]
pub struct FrameWalk {
    /// The frame, its ID such that the checksum holds for letters and ID both zero.
    frame: [u64; 12],
    /// The frame's length, 80 or 91.
    len: u32,
    /// The number of the name asked for next.
    next: u32,
    /// Names.
    names: u32,
    /// From one number to the next: prime to `names`, so that the walk meets every name before one again.
    step: u32,
    /// The number of the walk's first name: behind those that exist, all are missing.
    first: u32,
    /// As [`Fixed::spread`].
    spread: u32,
    /// 0 is the walk. Else names are asked for at random, the n-th with a probability of about 1 / n (Zipf): this is the
    /// binary logarithm of their number, in 65,536ths.
    zipf: u32,
    /// Padding.
    reserved: u32,
}

#[btf_map]
static WALK: Array<FrameWalk, 1> = Array::new();

/// A walk of each CPU's own, for runs on several at once: they share nothing that is written but what the agent's program has.
#[btf_map]
static OWN_WALK: PerCpuArray<FrameWalk, 1> = PerCpuArray::new();

/// The interface that `flood` sends to.
#[btf_map]
static TARGET: Array<u32, 1> = Array::new();

/// Bytes that an A record adds.
const RECORD: i32 = 16;
/// Where the letters begin in the frame: Ethernet, IPv4, UDP, DNS header, length byte.
const LETTERS: usize = 14 + 20 + 8 + 12 + 1;
/// Length of the frame up to the question's end.
const PLAIN: usize = 80;
/// Length of the OPT record.
const OPT: usize = 11;
/// Bytes that a packet can grow at its head: XDP's 256, less what the kernel keeps of a frame there.
const HEAD_ROOM: i32 = 256 - 40;

/// Writes the next query over the packet.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<()> {
    restore_next(ctx, WALK.get_ptr_mut(0)?)
}

/// Writes the next query of this CPU's own walk over the packet.
#[inline(always)]
fn restore_own(ctx: &XdpContext) -> Option<()> {
    restore_next(ctx, OWN_WALK.get_ptr_mut(0)?)
}

#[inline(always)]
fn restore_next(ctx: &XdpContext, walk: *mut FrameWalk) -> Option<()> {
    // SAFETY: a map value; nothing else uses it while a timed program runs.
    let walk = unsafe { &mut *walk };
    let number = if walk.zipf == 0 {
        let next = walk.next + walk.step;
        core::mem::replace(&mut walk.next, if next < walk.names { next } else { next - walk.names })
    } else {
        zipf(walk.zipf)
    };
    undo_growth(ctx, walk.len)?;
    // SAFETY: the kernel's own bounds of this packet.
    let frame = unsafe { Frame::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    let plain = frame.claim::<PLAIN>(0)?;
    plain.set_u64::<0>(walk.frame[0]);
    plain.set_u64::<8>(walk.frame[1]);
    plain.set_u64::<16>(walk.frame[2]);
    plain.set_u64::<24>(walk.frame[3]);
    plain.set_u64::<32>(walk.frame[4]);
    plain.set_u64::<40>(walk.frame[5]);
    plain.set_u64::<48>(walk.frame[6]);
    plain.set_u64::<56>(walk.frame[7]);
    plain.set_u64::<64>(walk.frame[8]);
    plain.set_u64::<72>(walk.frame[9]);
    let letters = letters(walk.first + number);
    plain.set_u64::<LETTERS>(letters);
    // The ID makes up for the letters, which begin at an odd offset, so that one checksum is right for all.
    let mut made_up = Sum::of(Sum::ZERO.u64(letters).fold().swap_bytes());
    if walk.spread != 0 {
        let client = any_client();
        plain.set_u32::<26>(client);
        plain.set_u16::<18>(!Sum::ZERO.u32(client).fold());
        made_up = made_up.u32(client);
    }
    plain.set_u16::<42>(!made_up.fold());
    if walk.len as usize > PLAIN {
        let opt = frame.claim::<OPT>(PLAIN)?;
        opt.set_u64::<0>(walk.frame[10]);
        opt.set_u32::<7>((walk.frame[10] >> 56) as u32 | (walk.frame[11] << 8) as u32);
    }
    Some(())
}

/// Makes the packet as long as a query again, at the end where the answer grew: at the head, unless it was longer than the
/// room there.
#[inline(always)]
fn undo_growth(ctx: &XdpContext, len: u32) -> Option<()> {
    // The black box keeps the subtraction of pointers from being reordered, which the verifier prohibits.
    let grown = core::hint::black_box(ctx.data_end() - ctx.data()) as i32 - len as i32;
    if grown == 0 {
        return Some(());
    }
    // SAFETY: the context is ours; no pointer into the packet is kept.
    let failed = unsafe {
        if grown > HEAD_ROOM { bpf_xdp_adjust_tail(ctx.ctx, -grown) } else { bpf_xdp_adjust_head(ctx.ctx, grown) }
    };
    (failed == 0).then_some(())
}

/// Some client of 128.0.0.0/2, as it lies in a packet.
#[inline(always)]
fn any_client() -> u32 {
    // SAFETY: a helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    random & !0xc0 | 0x80
}

/// A name's number, by Zipf: two to the power of a number that is uniform, less one, between powers of two a straight line.
#[inline(always)]
fn zipf(log2: u32) -> u32 {
    // SAFETY: a helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    let power = (u64::from(random) * u64::from(log2)) >> 32;
    let whole = (power >> 16) & 0x1f;
    ((1 << whole) + (((power & 0xffff) << whole) >> 16) - 1) as u32
}

/// A number's eight letters.
#[inline(always)]
fn letters(number: u32) -> u64 {
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    digits + 0x6161_6161_6161_6161
}

/// The bare reflector: whatever comes goes back with addresses and ports swapped and QR set. IPv4 without options.
#[inline(always)]
fn reflect(ctx: &XdpContext) -> Option<()> {
    // SAFETY: the kernel's own bounds of this packet.
    let frame = unsafe { Frame::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    let packet = frame.claim::<46>(0)?;
    if packet.u16::<12>() != 0x0800_u16.to_be() || packet.u8::<23>() != 17 || packet.u16::<36>() != 53_u16.to_be() {
        return None;
    }
    let (to, to_end, from, from_end) = (packet.u32::<0>(), packet.u16::<4>(), packet.u32::<6>(), packet.u16::<10>());
    packet.set_u32::<0>(from);
    packet.set_u16::<4>(from_end);
    packet.set_u32::<6>(to);
    packet.set_u16::<10>(to_end);
    let (source, destination) = (packet.u32::<26>(), packet.u32::<30>());
    packet.set_u32::<26>(destination);
    packet.set_u32::<30>(source);
    let (source, destination) = (packet.u16::<34>(), packet.u16::<36>());
    packet.set_u16::<34>(destination);
    packet.set_u16::<36>(source);
    packet.set_u8::<44>(packet.u8::<44>() | 0x80);
    let checksum = packet.u16::<40>();
    if checksum != 0 {
        // RFC 1624: QR adds 0x80 to the word's first byte, which is its low one in memory.
        let sum = u32::from(!checksum) + 0x80;
        packet.set_u16::<40>(!((sum + (sum >> 16)) as u16));
    }
    Some(())
}

/// One query of any kind, asked again and again. Userspace fills it.
#[repr(C)]
pub struct Fixed {
    /// The frame.
    frame: [u8; FIXED_ROOM],
    /// Its length.
    len: u32,
    /// Whether each comes from another client, all over 128.0.0.0/2. The frame then has none, and IDs of 0xffff.
    spread: u32,
}

/// Room for a query with the longest name and options: a power of two.
const FIXED_ROOM: usize = 512;

#[btf_map]
static FIXED: Array<Fixed, 1> = Array::new();

/// Writes the fixed query over the packet.
#[inline(always)]
fn restore_fixed(ctx: &XdpContext) -> Option<()> {
    let fixed = FIXED.get(0)?;
    undo_growth(ctx, fixed.len)?;
    // From 1 to FIXED_ROOM, as in `kernel::bounded`.
    let len = (core::hint::black_box(fixed.len).wrapping_sub(1) & (FIXED_ROOM as u32 - 1)) + 1;
    // SAFETY: a map value of FIXED_ROOM bytes; the helper checks the packet's bounds itself.
    let failed = unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, fixed.frame.as_ptr().cast_mut().cast(), len) };
    if failed != 0 {
        return None;
    }
    if fixed.spread == 0 {
        return Some(());
    }
    let client = any_client();
    // SAFETY: the kernel's own bounds of this packet.
    let frame = unsafe { Frame::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    let packet = frame.claim::<44>(0)?;
    packet.set_u32::<26>(client);
    // IDs make up for the address, so that the checksums are right for all.
    let id = !Sum::ZERO.u32(client).fold();
    packet.set_u16::<18>(id);
    packet.set_u16::<42>(id);
    Some(())
}

/// Restores the fixed query, and no more.
#[xdp]
pub fn fixed_restore(ctx: XdpContext) -> u32 {
    done(restore_fixed(&ctx))
}

/// Restores the fixed query and answers it.
#[xdp]
pub fn fixed_answer(ctx: XdpContext) -> u32 {
    if restore_fixed(&ctx).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    kernel::run(&ctx)
}

/// Nothing: what one round of the test run's own loop costs.
#[xdp]
pub fn bench_empty(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Restores the next query, and no more.
#[xdp]
pub fn bench_restore(ctx: XdpContext) -> u32 {
    done(restore(&ctx))
}

/// Restores the next query and makes room for an A record: what resizing costs, here and in the next run's restoring.
#[xdp]
pub fn bench_resize(ctx: XdpContext) -> u32 {
    // SAFETY: the context is ours; no pointer into the packet is kept.
    done(restore(&ctx).filter(|()| unsafe { bpf_xdp_adjust_head(ctx.ctx, -RECORD) } == 0))
}

/// Restores the next query and reflects it.
#[xdp]
pub fn bench_reflect(ctx: XdpContext) -> u32 {
    done(restore(&ctx).and_then(|()| reflect(&ctx)))
}

/// Restores the next query and answers it, counting and tracing included: all of the agent's program.
#[xdp]
pub fn bench_answer(ctx: XdpContext) -> u32 {
    if restore(&ctx).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    kernel::run(&ctx)
}

/// The reflector alone, for traffic.
#[xdp]
pub fn reflector(ctx: XdpContext) -> u32 {
    match reflect(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// The reflector, and it counts as the agent's program does: for interfaces where nobody else counts.
#[xdp]
pub fn counted_reflector(ctx: XdpContext) -> u32 {
    if reflect(&ctx).is_none() {
        return xdp_action::XDP_PASS;
    }
    kernel::count(Reason::AnswerA);
    xdp_action::XDP_TX
}

/// The reflector, whose reply is as long as an answer of one A record: grown at the head, with all that came moved there, as
/// the agent's program does. The new bytes say nothing, and there is no UDP checksum.
#[xdp]
pub fn long_reflector(ctx: XdpContext) -> u32 {
    match reflect(&ctx).and_then(|()| lengthen(&ctx)) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// Makes a frame of [`PLAIN`] bytes longer by [`RECORD`].
#[inline(always)]
fn lengthen(ctx: &XdpContext) -> Option<()> {
    const BY: usize = RECORD as usize;
    // SAFETY: the context is ours; no pointer into the packet is kept.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -RECORD) } != 0 {
        return None;
    }
    // SAFETY: the kernel's own bounds of this packet.
    let frame = unsafe { Frame::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    let (to, from) = (frame.claim::<PLAIN>(0)?, frame.claim::<PLAIN>(BY)?);
    to.set_u64::<0>(from.u64::<0>());
    to.set_u64::<8>(from.u64::<8>());
    to.set_u64::<16>(from.u64::<16>());
    to.set_u64::<24>(from.u64::<24>());
    to.set_u64::<32>(from.u64::<32>());
    to.set_u64::<40>(from.u64::<40>());
    to.set_u64::<48>(from.u64::<48>());
    to.set_u64::<56>(from.u64::<56>());
    to.set_u64::<64>(from.u64::<64>());
    to.set_u64::<72>(from.u64::<72>());
    let (ip_len, udp_len) = (u16::from_be(to.u16::<16>()), u16::from_be(to.u16::<38>()));
    to.set_u16::<16>((ip_len + BY as u16).to_be());
    to.set_u16::<38>((udp_len + BY as u16).to_be());
    to.set_u16::<40>(0);
    // RFC 1624, as in `reflect`: the length grew by 16, in the word's high byte in memory.
    let sum = u32::from(!to.u16::<24>()) + u32::from((BY as u16).to_be());
    to.set_u16::<24>(!((sum + (sum >> 16)) as u16));
    Some(())
}

/// Restores the next query of this CPU's own walk, and no more.
#[xdp]
pub fn own_restore(ctx: XdpContext) -> u32 {
    done(restore_own(&ctx))
}

/// Restores the next query of this CPU's own walk and reflects it.
#[xdp]
pub fn own_reflect(ctx: XdpContext) -> u32 {
    done(restore_own(&ctx).and_then(|()| reflect(&ctx)))
}

/// Restores the next query of this CPU's own walk and answers it.
#[xdp]
pub fn own_answer(ctx: XdpContext) -> u32 {
    if restore_own(&ctx).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    kernel::run(&ctx)
}

/// Sends the next query of this CPU's own walk: a generator in the kernel, by `BPF_PROG_TEST_RUN` with live frames.
#[xdp]
pub fn flood(ctx: XdpContext) -> u32 {
    let (Some(()), Some(target)) = (restore_own(&ctx), TARGET.get(0)) else { return xdp_action::XDP_ABORTED };
    // SAFETY: a helper that takes numbers.
    let redirected = unsafe { bpf_redirect(*target, 0) } == i64::from(xdp_action::XDP_REDIRECT);
    if redirected { xdp_action::XDP_REDIRECT } else { xdp_action::XDP_ABORTED }
}

/// Drops everything: the end of a flood's answers.
#[xdp]
pub fn sink(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Passes everything: a veth is sent to by `XDP_TX` only while it has a program itself.
#[xdp]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn done(result: Option<()>) -> u32 {
    if result.is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// As in `main.rs`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached, as in `main.rs`.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
