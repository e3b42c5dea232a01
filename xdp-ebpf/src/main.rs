//! The XDP program: a thin shell around [`xdp_ebpf::decide`].
//!
//! Needs Linux 5.18 (`bpf_xdp_load_bytes`); tested on 6.18.
#![no_std]
#![no_main]

mod kernel;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use xdp_ebpf::reason::Action;

/// Answers what it can, passes on the rest.
#[xdp]
pub fn zerottl(ctx: XdpContext) -> u32 {
    let reason = kernel::handle(&ctx);
    kernel::count(reason);
    kernel::trace(&ctx, reason);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&ctx, "reason {} action {}", reason as u32, reason.action() as u32);
    match reason.action() {
        Action::Answer => xdp_action::XDP_TX,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Pass => xdp_action::XDP_PASS,
        Action::Abort => xdp_action::XDP_ABORTED,
    }
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
