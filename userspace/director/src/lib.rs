//! The distributor: makes the listening sockets of a Site, runs its application servers, and hands each of them its
//! connections; the kernel chooses.
//!
//! | module | concern |
//! |---|---|
//! | [`keeper`] | the small parent, which holds descriptors while the worker is another |
//! | [`worker`](run) | the loop: what happens, and what is done about it |
//! | `member` | when a process is started, replaced, stopped, given up; pure |
//! | `stray` | when what nobody holds any more is ended; pure |
//! | `waiting_list` | who waits, in which order, until when; pure |
//! | `balance` | who chooses: the kernel's programs, or this process |
//! | [`spawn`] | processes of servers |
//! | [`listeners`] | their listening sockets |
//! | [`cgroups`] | their cgroups |
//! | `handover` | connections by message |
//! | `busy` | the answer to those that no server had a place for |
//! | `command` | commands to the loop |
//! | `lock` | one director for a place |
//! | `admin`, [`pages`], `metrics` | what is shown, and what is asked |

#![forbid(unsafe_code)]

mod admin;
mod balance;
mod busy;
pub mod cgroups;
mod command;
mod handover;
pub mod keeper;
pub mod listeners;
mod lock;
mod member;
mod metrics;
pub mod pages;
pub mod spawn;
mod stray;
mod waiting_list;
mod worker;

pub use worker::start::{DirectorError, WorkerSetup, run};
