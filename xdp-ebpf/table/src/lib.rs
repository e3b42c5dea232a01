//! The kernel table: packets, and what must become of each.
//!
//! [`check(description, packet, action, out, reason)`](row::check) makes one row. The same rows run on the host, over maps
//! made by hand (`xdp-ebpf/tests/rows/main.rs`), and through the kernel's test-run of the loaded program
//! (`tests/tests/kernel/table.rs`). A row holds if the action, the reason and every byte are as it says: an answer is compared with one composed here by
//! other code, and a packet passed on or dropped with itself.
//!
//! [`Internal`](xdp_ebpf::reason::Reason::Internal) has no row: no packet reaches it with whole maps; the host tests take maps away. Nor
//! has [`PassNoRoom`](xdp_ebpf::reason::Reason::PassNoRoom): test-run gives every frame 3,520 bytes to grow into and refuses larger ones,
//! so that neither end runs out; the end-to-end tests have frames from sockets, whose tail does.
//!
//! | module | concern |
//! |---|---|
//! | [`mod@wire`] | names in wire form |
//! | [`world`] | the configurations that rows are for |
//! | [`mod@existing`] | the names that exist there |
//! | [`packet`] | frames and messages to send |
//! | [`mutate`] | frames that are nearly right |
//! | [`row`] | a row, and its short forms |
//! | [`rows`] | the rows, by concern |
//! | [`verify`] | whether an outcome is as a row says |
//! | [`runner`] | running rows, and what they cover |
//! | [`policies`] | sequences of answers, by policy |
//! | [`host_maps`] | the program's maps on the host |

#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    reason = "test code: rows are read as they stand, and a panic is how a test fails"
)]

pub mod existing;
pub mod host_maps;
pub mod mutate;
pub mod packet;
pub mod policies;
pub mod row;
pub mod rows;
pub mod runner;
pub mod verify;
pub mod wire;
pub mod world;
