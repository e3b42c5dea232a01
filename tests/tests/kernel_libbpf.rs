//! The shipped object with libbpf instead of the agent's loader: no one is tied to aya.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "kernel_table/agent.rs"]
mod agent;
#[path = "../../xdp-ebpf/tests/table/mod.rs"]
mod table;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};
use table::world::World;
use xdp_ebpf::{layout::Control, reason::Reason};
use zerottl::kernel::{
    OBJECT, PROGRAM,
    image::{Bank, Image},
};
