//! The benchmarks: what an answer costs in the kernel, what rate it sustains, how fast a plan is made and published.
pub mod cost;
pub mod rate;
pub mod scene;
pub mod stats;

/// What ends a benchmark early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
