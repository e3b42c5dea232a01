//! The packet program in the kernel's test run, loaded as the agent loads it: no network, no namespace.
//!
//! | module | concern |
//! |---|---|
//! | [`planned`] | a configuration's text into planner, zones and plan |
//! | [`machine`] | a loaded program, run over one frame at a time |
//! | [`torn`] | answers while plans flip |
//! | [`maps`] | the same maps on the host, for the worlds of the kernel table |
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod machine;
pub mod maps;
pub mod planned;
pub mod torn;
