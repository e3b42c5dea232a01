//! Parts that only the host's run of the table needs.

pub mod image;
