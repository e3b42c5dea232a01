//! Sessions of a Site: in the memory of the worker that hosts them, with copies at remote session servers, so that any worker
//! or session server may die without a user noticing (seeds 001 and 003).
//!
//! ```text
//!             request ─> SessionStore ─> hosted entry (memory) ─> answer
//!                            │ not hosted        │ changed
//!                            v                   v
//!                     claim at a quorum      copier of each server ─> Redis
//! ```
//!
//! A worker serves a session that it hosts from its memory. It may do so while enough session servers have granted it a
//! *lease*: nobody else can claim its sessions then. A change is copied to the servers that [`placement`] chooses.
//! Whoever is asked for a session that it does not host *claims* it, under a higher *epoch*, which fences the one before.
//!
//! | module | concern |
//! |---|---|
//! | [`api`] | the same for applications in any language, over HTTP |
//! | `relay` | a request to the worker that hosts a session |
//! | [`placement`] | which servers hold the copies of a session; pure |
//! | [`version`] | epochs and versions; pure |
//! | `reply` | what a server's scripts answer, as values; pure |
//! | `ballot` | what the answers of all servers together mean; pure |
//! | `lease` | until when this worker may serve from memory; pure |
//! | `entry` | a session that is hosted here |
//! | [`store`] | all that are, and how they are read, written and ended |
//! | `claim` | how one that is not becomes one that is |
//! | `remote` | one session server: connection, lease, scripts |
//! | `copier` | changes on their way to one server |
//! | `repair` | copies that are made again after a server has died |
//! | [`page`] | the state of all of it, for people |
#![forbid(unsafe_code)]

pub mod api;
mod ballot;
mod claim;
mod clock;
mod copier;
mod counts;
mod entry;
mod fault;
mod heartbeat;
mod lease;
pub mod page;
pub mod placement;
mod relay;
mod remote;
mod repair;
mod reply;
pub mod store;
pub mod version;
pub mod worker;

pub use self::{
    fault::{SessionFault, SessionStartError},
    page::StorePage,
    remote::RemoteTarget,
    store::{Held, Hint, SessionStore, StoreConfig, WriteCondition},
    version::{Epoch, Tag},
    worker::{LeaseHolder, Worker},
};
