//! zerottl: DNS answers that live zero seconds, decided in the kernel, from real health.
//!
//! Data flows one way: [`probe`] results make a [`status`], the pure [`plan`]ner makes a plan of it, the kernel
//! publisher writes it into BPF maps, and the XDP program and the [`dns`] socket path answer from it.
pub mod admin;
pub mod agent;
pub mod assess;
pub mod bar;
pub mod config;
pub mod damping;
pub mod dns;
pub mod hooks;
pub mod kernel;
pub mod limit;
pub mod load;
pub mod log_limit;
pub mod machine;
pub mod model;
pub mod nets;
pub mod operator;
pub mod patience;
pub mod places;
pub mod plan;
pub mod probe;
pub mod resources;
pub mod safety;
pub mod simulate;
pub mod site;
pub mod state;
pub mod status;
pub mod view;
