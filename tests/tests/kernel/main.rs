//! The packet program in the kernel's test run: no network, no namespace; and the distributor's with
//! sockets, in a namespace where one can be made. `cargo xtask test --kernel` runs `table`, `limit`,
//! `differential` and `distributor` on the oldest kernel that is promised.
//!
//! | module | concern |
//! |---|---|
//! | `table` | the kernel table, and mutated packets against the host |
//! | `differential` | generated questions to kernel and socket path |
//! | `distributor` | which server a connection goes to, with real sockets |
//! | `limit` | response rates |
//! | `stale` | plans that nobody confirms |
//! | `torn` | answers while plans flip |
//! | `libbpf` | the object with another loader |
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod differential;
mod distributor;
mod libbpf;
mod limit;
mod signed;
mod stale;
mod table;
mod torn;
mod torn_signed;
