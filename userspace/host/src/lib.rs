//! The resources of this machine for zerottl's programs: descriptors and places for connections, clocks, and the files
//! that are neither configuration nor zones.
//!
//! | module | what it is |
//! |---|---|
//! | [`resources`] | this machine's own errors, descriptors and who gets how many, the clock since boot |
//! | [`places`] | how many connections may be open, in all and by one client, and which idle one gives way |
//! | [`patience`] | waiting within a limit of which only the time counts in which this machine ran |
//! | [`log_limit`] | lines that repeat: one in a while, with how many were left out |
//! | [`state`] | the state directory: reading, writing, one agent per directory |
//! | [`socket_names`] | what a listening socket is called between processes |
//! | [`locks`] | who holds a lock on a folder |
//! | [`key_file`], [`trust`], [`certificates`] | keys, trust anchors and certificates from files |

#![forbid(unsafe_code)]

pub mod certificates;
pub mod key_file;
pub mod locks;
pub mod log_limit;
pub mod patience;
pub mod places;
pub mod resources;
pub mod socket_names;
pub mod state;
pub mod trust;
