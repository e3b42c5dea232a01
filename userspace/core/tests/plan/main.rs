//! Plans of whole configurations, as the file says them and the kernel takes them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod compile;
mod follow;
mod load;
