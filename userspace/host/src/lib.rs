//! What this machine gives zerottl's programs: descriptors and places for connections, clocks, and the files that are
//! neither configuration nor zones.

#![forbid(unsafe_code)]

pub mod certificates;
pub mod key_file;
pub mod locks;
pub mod log_limit;
pub mod patience;
pub mod places;
pub mod resources;
pub mod state;
pub mod trust;
