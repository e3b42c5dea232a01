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
//! | [`store`] | the sessions of this worker: how they are read, written and ended |
//! | [`layer`], [`data`] | the same for applications in Rust, as a tower layer |
//! | [`api`] | the same for applications in any language, over HTTP |
//! | [`page`] | the state of all of it, for people |
//! | `look_up` | what session servers know of one session, for people |
//! | [`placement`] | which servers hold the copies of a session; pure |
//! | [`version`] | epochs, versions, tags; pure |
//! | `lease` | until when this worker may serve from memory; pure |
//! | `ballot` | what the answers of all servers together mean; pure |
//! | `reply` | answers of a server's scripts, as values; pure |
//! | `entry` | a session that is hosted here |
//! | `inner` | the table of sessions |
//! | `claim` | how a session comes to be hosted here |
//! | `remote` | one session server: connection and scripts |
//! | `heartbeats`, `heartbeat` | leases, and how it is seen that a server is down, back, or has lost all |
//! | `journal`, `journal_writer` | the file that keeps sessions where there are no servers |
//! | `copier` | changes on their way to one server |
//! | `repair` | copies that are made again after a server has died; what is forgotten |
//! | `absent` | sessions that left the memory, whose copies are looked after all the same |
//! | `adopt` | sessions whose worker has died and that nobody has asked for since |
//! | `handoff` | a session on its way to another worker |
//! | `relay` | a request to the worker that hosts a session |
//! | [`worker`] | a worker, as others know it |
//! | `clock`, `counts`, `fault` | the clock of leases; counters; why something cannot be done |
#![forbid(unsafe_code)]

mod absent;
mod adopt;
pub mod api;
mod ballot;
mod claim;
mod clock;
mod copier;
mod counts;
pub mod data;
mod entry;
mod fault;
mod handoff;
mod heartbeat;
mod heartbeats;
mod inner;
mod journal;
mod journal_writer;
pub mod layer;
mod lease;
mod look_up;
pub mod page;
pub mod placement;
pub mod relay;
mod remote;
mod repair;
mod reply;
pub mod store;
pub mod version;
pub mod worker;

pub use bytes::Bytes;

pub use self::{
    data::SessionData,
    fault::{SessionFault, SessionStartError},
    handoff::ReleaseFault,
    inner::{Hint, StoreConfig},
    journal::JournalError,
    layer::SessionLayer,
    page::StorePage,
    remote::RemoteTarget,
    store::{SessionState, SessionStore, WriteCondition},
    version::{Epoch, Tag},
    worker::{LeaseHolder, Worker},
};
