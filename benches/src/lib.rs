//! The benchmarks: what an answer costs in the kernel, what rate it sustains, how fast a plan is made and published.
pub mod cost;
pub mod scene;
pub mod stats;
