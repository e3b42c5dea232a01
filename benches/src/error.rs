//! The error that ends a benchmark early.

/// The error that ends a benchmark early.
pub type BenchError = Box<dyn std::error::Error + Send + Sync>;
