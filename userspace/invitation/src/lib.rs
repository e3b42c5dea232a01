//! Application servers by invitation (seed 000): a worker asks those alone that have told it that they are ready.
//!
//! ```text
//!  application server ── opens ──> channel ── beats, both ways
//!                     ── ready ──> credits ──┐
//!  request ─> screened ─> waits for a credit ┴─> that application server
//! ```
//!
//! An application server opens a channel at the worker and gives it credits; each request takes one. A request waits while
//! there is none, in a bounded number and for a bounded time. The worker stops asking a server whose channel has ended or
//! is silent. A request of a session goes to the server that has the session.
//!
//! | module | concern |
//! |---|---|
//! | [`book`] | channels, credits, beats, sessions and who waits; pure |
//! | `places` | which server has which session, bounded; pure |
//! | [`gate`] | the book with its clock and its waiting requests |
//! | [`api`] | what application servers say, over HTTP |
//! | [`takeover`] | a session that is fetched for a server that names it |
//! | [`page`] | the state of all of it, for people |
#![forbid(unsafe_code)]

pub mod api;
pub mod book;
pub mod gate;
pub mod page;
mod places;
pub mod takeover;

pub use self::{
    book::{AskedSession, Channel},
    gate::{Grant, InvitationGate, NoGrant},
    page::InvitePage,
    takeover::{SessionFetcher, TakeoverError, TakeoverFuture},
};
