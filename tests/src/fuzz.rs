//! Whatever parses bytes from the network or from the operator's files, given any bytes. One function per target, which
//! panics where something that must always hold does not; `tests/fuzz` gives them to libFuzzer, `tests/tests/pure/fuzz.rs` to
//! a plain test.
//!
//! | target | bytes | what must hold |
//! |---|---|---|
//! | [`frame`] | a frame | what is not answered is unmodified; an answer is well-formed and small (invariants 1 and 8), its options the socket path's (7) |
//! | [`socket`] | a DNS message | an answer can be read to its end and is small |
//! | [`trace`] | a traced packet | no panic; a plain question is read as others read it |
//! | [`records`] | a master file | no panic; what was read is served |
//! | [`load`] | what a Site says of its load | no panic; what is taken are figures that can be counted with |
//! | [`site`] | a request's host, target and cookie | nobody is sent to a name that is not ours, no URL has two markers, what is added comes off to the byte (S4-5A-535) |
//! | [`config`] | a configuration file | no panic; a valid one can be planned and laid out for the kernel, and answers no other address |
//!
//! TCP's framing has no target: it is a length and a buffer inside the connection's task, tested over real sockets. Nor
//! have HTTP responses of probes: hyper parses them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, reason = "a panic is the finding")]

mod bytes;
pub mod corpus;
mod files;
mod load;
mod message;
pub mod mutation;
mod packet;
mod site;

pub use files::{config, is_valid, records};
pub use load::load;
pub use message::{socket, trace};
pub use packet::{frame, reason};
pub use site::site;

/// A target's name and function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [FuzzTarget; 7] = [
    ("config", config),
    ("frame", frame),
    ("load", load),
    ("records", records),
    ("site", site),
    ("socket", socket),
    ("trace", trace),
];
