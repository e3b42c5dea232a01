//! Plans of whole configurations, as the file says them and the kernel takes them, and the assessments before them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod assess;
mod compile;
mod follow;
mod load;
