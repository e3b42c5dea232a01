//! The pure core of zerottl: what a configuration means, what is known of Sites, and the plan that comes of both.
//!
//! Nothing here does I/O or waits; whoever calls hands in what was measured and when.

#![forbid(unsafe_code)]

pub mod bar;
pub mod damping;
pub mod exposition;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod histogram;
pub mod limit;
pub mod model;
pub mod nets;
pub mod plan;
pub mod safety;
pub mod saved_state;
pub mod status;
