//! A fleet: several front ends that share words and observations, and never plans. Each makes its own plan of what it knows.
//!
//! | module | concern |
//! |---|---|
//! | `shared` | what the fronts share, as this one knows it |
//! | `own` | what this front tells, and what of it is written |
//! | `keys`, `values` | the shape of both in the engine |
//! | [`member`] | this front's part in it |
//! | `inner` | the state that the client and the agent share |
//! | `etcd`, `gateway` | the etcd backend, and its JSON gateway |
//! | [`tally`] | the others' votes, positions as in the model |
//!
//! The engine is asked by a task of its own. The planning round reads what is known by then, and never waits: whatever the engine
//! does, or does not, answers go on.
#![forbid(unsafe_code)]

mod etcd;
mod gateway;
mod inner;
mod keys;
pub mod member;
mod own;
mod shared;
pub mod tally;
mod values;

pub use self::{
    gateway::GatewayError,
    inner::FleetError,
    member::{Fleet, FleetView, PendingWord},
    shared::{EngineLink, FrontReport},
    tally::VoteTally,
    values::{Ack, MadeSecret, Presence, Said, Words},
};
