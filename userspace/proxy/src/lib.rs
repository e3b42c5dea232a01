//! The stand-alone Site: a server and proxy around operation 500.
//!
//! | module | what |
//! |---|---|
//! | `front` | the server and proxy |
//! | `directed` | a process that a director runs |
//! | `handover` | how the stand-alone Site is followed by the next process |
//! | `sessions` | the sessions that this process hosts |
//! | `invitations` | where application servers invite requests |
//! | `run` | everything wired, from its start to its end |
//! | `admin` | its admin interface: metrics, load, state |
//! | `metrics`, `session_metrics` | its part of the metrics page |

#![forbid(unsafe_code)]

mod admin;
mod directed;
mod front;
mod handover;
mod invitations;
mod metrics;
mod run;
mod session_metrics;
pub mod sessions;

pub use self::{
    directed::is_directed,
    handover::{Inherited, SiteCommand},
    run::{RunError, SiteSetup, run},
};
