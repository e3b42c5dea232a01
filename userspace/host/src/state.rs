//! The state directory: what a restart should know, in a small file.
//!
//! | module | what it is |
//! |---|---|
//! | [`stamp`] | how old a file is, whatever the wall clock did |
//! | [`mod@file`] | the file: versioned, checksummed, replaced whole |
//! | [`writer`] | the task that writes it |
//! | [`apart`] | reading and writing by another process, which a disk that hangs may hold |
//! | [`lock`] | one agent per directory |
//!
//! What is in it is [`saved_state`](zerottl_core::saved_state)'s.

pub mod apart;
pub mod file;
pub mod lock;
pub mod stamp;
pub mod writer;
