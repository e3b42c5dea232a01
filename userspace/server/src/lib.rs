//! For application servers that `zerottl director` runs: what is handed to such a process when it starts.
//!
//! The contract itself, for servers in any language, is `docs/director/contract.md`; a whole server is
//! `examples/servers/server.rs`.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use zerottl_server::Contract;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listeners: Vec<TcpListener> = match Contract::from_env()? {
//!     Some(contract) => contract.listeners.into_iter().map(|one| one.listener).collect(),
//!     // Started by hand.
//!     None => vec![TcpListener::bind("127.0.0.1:8080")?],
//! };
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | `contract` | descriptors and variables that a process begins with |
//! | `handover` | connections that are handed over, in both directions |
//! | [`message`] | the messages of that, byte by byte |
//! | `page` | the page where a server says that it lives |
//! | `raw` | numbers that become descriptors, a descriptor that becomes memory: the only `unsafe` |

#![deny(unsafe_code)]

mod contract;
mod handover;
pub mod message;
mod page;
mod raw;

pub use self::{
    contract::{Contract, ContractError, HANDOVER, NamedListener, PAGE},
    handover::{GiveError, Handover},
    page::LoopPage,
};
