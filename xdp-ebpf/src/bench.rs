//! The programs of the benchmarks: the fast path beside a bare reflector.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on what its last run left of the packet. So each timed program first restores a
//! query, the next of a walk over prepared ones, and then does one thing: nothing, resize, reflect, or answer. What the
//! thing costs is the difference to `bench_restore`. The code timed is the agent's own, by way of the `kernel` module.
#![no_std]
#![no_main]

mod kernel;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use xdp_ebpf::frame::Frame;

/// A query as it comes from the wire. Userspace writes it as 128 bytes.
#[repr(C)]
pub struct Prepared {
    len: u32,
    frame: [u8; 124],
}

/// Where the walk is, and how many prepared queries there are.
#[repr(C)]
pub struct Walk {
    next: u32,
    len: u32,
}

#[btf_map]
static QUERIES: Array<Prepared, { 1 << 17 }> = Array::new();
#[btf_map]
static WALK: PerCpuArray<Walk, 1> = PerCpuArray::new();

/// Writes the next prepared query over the packet.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<()> {
    let walk = WALK.get_ptr_mut(0)?;
    // SAFETY: a per-CPU element; userspace writes it only between runs.
    let (next, len) = unsafe { ((*walk).next, (*walk).len) };
    let query = QUERIES.get(next)?;
    // SAFETY: as above.
    unsafe { (*walk).next = if next + 1 < len { next + 1 } else { 0 } };
    let delta = query.len as i32 - (ctx.data_end() - ctx.data()) as i32;
    // SAFETY: the context is ours; no pointer into the packet is kept.
    if delta != 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } != 0 {
        return None;
    }
    let len = core::hint::black_box(query.len) & 0x7f;
    if len == 0 || len > 124 {
        return None;
    }
    let frame = query.frame.as_ptr().cast_mut().cast();
    // SAFETY: `frame` is 124 bytes of a map value, and `len` is at most that; the helper checks the packet's bounds.
    (unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, frame, len) } == 0).then_some(())
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

/// Restores the next query, and no more.
#[xdp]
pub fn bench_restore(ctx: XdpContext) -> u32 {
    done(restore(&ctx))
}

/// Restores the next query and makes room for an A record: what resizing costs, here and in the next run's restoring.
#[xdp]
pub fn bench_resize(ctx: XdpContext) -> u32 {
    // SAFETY: the context is ours; no pointer into the packet is kept.
    done(restore(&ctx).filter(|()| unsafe { bpf_xdp_adjust_tail(ctx.ctx, 16) } == 0))
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
