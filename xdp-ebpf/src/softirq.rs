//! How long each CPU is in receiving softirqs, for a benchmark's figure of cycles per packet.
//!
//! /proc/stat cannot tell: without `CONFIG_IRQ_TIME_ACCOUNTING` the kernel looks at each tick what a CPU is doing, an idle CPU has
//! no ticks, and a generator's timers may go in step with them. So seconds at a tenth of a core can count as none.
#![no_std]
#![no_main]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "what the macros of aya make, and call us with")]

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_map, raw_tracepoint},
    programs::RawTracePointContext,
};

/// `NET_RX_SOFTIRQ` of linux/interrupt.h: NAPI polls in it, and XDP runs and transmits there.
const NET_RX: u32 = 3;

/// A CPU's time.
#[repr(C)]
pub struct Spent {
    /// When the softirq that runs began, ns of the kernel's clock; 0 outside.
    begun: u64,
    /// All that have ended, ns.
    all: u64,
}

const _: () = assert!(size_of::<Spent>() == 16 && core::mem::offset_of!(Spent, all) == 8);

#[btf_map]
static SPENT: PerCpuArray<Spent, 1> = PerCpuArray::new();

#[raw_tracepoint(tracepoint = "softirq_entry")]
pub fn softirq_begins(ctx: RawTracePointContext) -> i32 {
    if let Some(spent) = of_this_cpu(&ctx) {
        spent.begun = now();
    }
    0
}

#[raw_tracepoint(tracepoint = "softirq_exit")]
pub fn softirq_ends(ctx: RawTracePointContext) -> i32 {
    if let Some(spent) = of_this_cpu(&ctx)
        // The program may have been attached in between.
        && spent.begun != 0
    {
        spent.all += now() - spent.begun;
        spent.begun = 0;
    }
    0
}

/// This CPU's, if it is about a receiving softirq. The tracepoints' one argument is `unsigned int vec_nr`.
fn of_this_cpu<'a>(ctx: &RawTracePointContext) -> Option<&'a mut Spent> {
    if ctx.arg::<u32>(0) != NET_RX {
        return None;
    }
    // SAFETY: this CPU's value. Softirqs of a CPU do not nest; under PREEMPT_RT they may, which spoils the figure alone.
    SPENT.get_ptr_mut(0).map(|spent| unsafe { &mut *spent })
}

fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
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
