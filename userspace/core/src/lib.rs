//! The pure core of zerottl: what a configuration means, what is known of Sites, and the plan that comes of both.
//!
//! Nothing here does I/O or waits; whoever calls hands in what was measured and when.
//!
//! | module | what it is |
//! |---|---|
//! | [`ids`] | positions in a model's lists, and what else its parts share |
//! | [`model`] | what a valid configuration means |
//! | [`nets`] | client nets: rules of all pools into ranges and sets of groups |
//! | [`status`] | what is known at one moment: the planner's only changing input |
//! | [`site_load`] | what a Site has said of itself so far |
//! | [`statements`] | the file by which any program states health and says words |
//! | [`overrides`] | what the operator has said of a Site, and how it is asked for |
//! | [`assess`] | verdicts, loads and overrides at one moment into a status |
//! | [`rendezvous`] | which fronts of a fleet probe an address |
//! | [`damping`] | how long a Site that keeps flapping is held back |
//! | [`exclusion`] | what keeps a live Site from being answered, and which cause gives way first |
//! | [`minimums`] | what no deliberate cause may take from a pool |
//! | [`alarms`] | what somebody should look at: pools below their minimum, by name or counted |
//! | [`plan`] | model and status into a plan: for every name and family, who is answered |
//! | [`limit`] | rate limiting on the socket path, and the limits as the kernel takes them |
//! | [`saved_state`] | what a restart should know |
//! | [`histogram`], [`exposition`] | durations counted, and metrics as text |
//! | [`admin_access`] | who may ask an admin interface |
//! | `fixture` | models for tests, of this crate and of those above it |

#![forbid(unsafe_code)]

pub mod admin_access;
pub mod alarms;
pub mod assess;
pub mod damping;
pub mod exclusion;
pub mod exposition;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod histogram;
pub mod ids;
pub mod limit;
pub mod minimums;
pub mod model;
pub mod nets;
pub mod overrides;
pub mod plan;
pub mod rendezvous;
pub mod saved_state;
pub mod session_id;
pub mod site_load;
pub mod statements;
pub mod status;
pub mod votes;
