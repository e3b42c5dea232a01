//! zerottl: DNS answers that live zero seconds, decided in the kernel, from real health.
//!
//! Data flows one way: probe results ([`zerottl_inputs`]) make a status, the pure planner ([`zerottl_core::plan`]) makes a plan of
//! it, the publisher ([`zerottl_kernel`]) writes it into BPF maps, and the XDP program and the sockets ([`zerottl_dns`]) answer from
//! it.
//!
//! This crate is the programs: the agent, the stand-alone Site ([`zerottl_proxy`]), and the commands.
//! [`bundles`] are signatures from another host, beside the configuration that they are to fit.

#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod bundles;
pub mod control;
pub mod machine;
mod observe;
pub mod simulate;
