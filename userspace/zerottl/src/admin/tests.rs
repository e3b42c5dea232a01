//! Tests of the pages, of the metrics, of the server and of what it serves.

mod api;
mod bounds;
pub(super) mod fixture;
mod metrics;
mod pages;
mod server;
