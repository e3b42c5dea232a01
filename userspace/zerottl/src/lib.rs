//! zerottl: DNS answers that live zero seconds, decided in the kernel, from real health.
//!
//! Data flows one way: [`probe`] results make a [`status`], the pure [`plan`]ner makes a plan of it, the kernel
//! publisher writes it into BPF maps, and the XDP program and the [`dns`] socket path answer from it.
//!
//! This crate is the programs: the agent, the stand-alone Site, and the commands. What they are made of are the crates
//! below it, under the names that they have here.

#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod assess;
pub mod hooks;
pub mod machine;
pub mod operator;
pub mod proxy;
pub mod simulate;
