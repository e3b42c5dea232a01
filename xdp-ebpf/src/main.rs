//! The XDP programs: a thin shell around [`xdp_ebpf::decide`] and [`xdp_ebpf::sign`].
//!
//! Needs Linux 5.18 (`bpf_xdp_load_bytes`); tested on 6.18.
#![no_std]
#![no_main]
#![expect(missing_docs, clippy::needless_pass_by_value, reason = "what the macro of aya makes, and calls us with")]

mod kernel;

use aya_ebpf::{macros::xdp, programs::XdpContext};

/// Answers what it can, passes on the rest.
#[xdp]
pub fn zerottl(ctx: XdpContext) -> u32 {
    kernel::run(&ctx)
}

/// The helpers used are GPL-only; the sources are MIT OR Apache-2.0 as well.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: nothing here panics, and the linker drops what is not called.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
