//! The part that the kernel and the host share: map layouts, reasons, and the pure code that turns a frame into a
//! verdict.
//!
//! The BPF programs (`src/main.rs`) are a thin shell around [`decide`](decide::decide) and [`write`](answer::write); the
//! host compiles the same functions for its tests, for the table that is run through the kernel's test-run, and for the
//! socket path's hashing. Nothing here allocates, panics, or reads a byte it has not bounds-checked.
//!
//! | module | concern |
//! |---|---|
//! | [`reason`] | why a packet went where it went, one enum for counters, actions and documentation |
//! | [`layout`] | what lies in the BPF maps, byte for byte |
//! | [`frame`] | bounds-checked access to packet bytes |
//! | [`packet`] | a packet that is made its answer |
//! | [`sum`] | the Internet checksum (RFC 1071) |
//! | [`net`] | Ethernet, VLAN, IPv4, IPv6 and UDP |
//! | [`name`] | DNS names: walking, folding, hashing |
//! | [`options`] | EDNS options: cookies, NSID, client subnets |
//! | [`rtype`] | the record types that are known |
//! | [`query`] | the DNS message: header, question, EDNS |
//! | [`scratch`] | memory that one packet's work needs beyond registers |
//! | [`walk`] | what a missing name is: NXDOMAIN, out of zone, or another's |
//! | [`nets`] | client nets: which groups an address chooses |
//! | [`cookie`] | server cookies (RFC 9018) |
//! | [`limit`] | response rate limiting |
//! | [`maps`] | the maps as the packet code sees them |
//! | [`decision`] | a decided answer |
//! | [`decide`] | the decision, from frame and maps |
//! | [`answer`] | the reply's bytes |
//! | [`sign`] | signatures and proofs of an answer that has been decided |
//! | [`director`] | the distributor: which server a connection goes to |
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows pointers best through one function, and a BPF call costs"
)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod answer;
pub mod cookie;
pub mod decide;
pub mod decision;
pub mod director;
pub mod frame;
pub mod layout;
pub mod limit;
pub mod maps;
pub mod name;
pub mod net;
pub mod nets;
pub mod options;
pub mod packet;
pub mod query;
pub mod reason;
pub mod rtype;
pub mod scratch;
pub mod sign;
pub mod sum;
pub mod walk;
