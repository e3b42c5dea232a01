//! For application servers that workers of zerottl ask by invitation.
//!
//! A worker sends requests to those application servers alone that have opened a *channel* at it, and to each no more at a
//! time than it has given *credits* for. Both ends watch each other by *beats* on the channel. When a worker has stopped, the
//! application server opens a channel at another and names its sessions, which that worker takes over then.
//!
//! | module | concern |
//! |---|---|
//! | [`message`] | what is said on a channel; pure |
//! | [`client`] | an application server's end of it |
//! | `http` | requests to a worker |
//!
//! `examples/servers/invited.rs` is a whole server. In short:
//!
//! ```no_run
//! use zerottl_invited::{Invitation, InvitedServer};
//!
//! # async fn example() {
//! let invitation = Invitation {
//!     workers: vec!["http://10.0.0.1:8055".into(), "http://10.0.0.2:8055".into()],
//!     name: "app-1".into(),
//!     url: "http://10.0.0.9:9000".into(),
//!     credits: 8,
//!     token: None,
//! };
//! let invited = InvitedServer::start(invitation);
//! // Once for each request, when its answer is ready or nobody waits for it any more: the next may come. The ID is that of
//! // the header X-Zerottl-Session.
//! invited.answered(Some("AAECAwQFBgcICQoLDA0O_w"));
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod client;
mod http;
pub mod message;

pub use self::client::{Invitation, InvitedServer};
