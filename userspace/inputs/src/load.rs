//! Load: what Sites say of themselves, and when they said it.
//!
//! | module     | what it is                                                                   |
//! |------------|------------------------------------------------------------------------------|
//! | [`report`] | a JSON report into a [`Report`], pure                                         |
//! | [`agent_check`]  | a line of `HAProxy`'s agent-check grammar into a [`Report`], pure             |
//! | [`orca`]   | the header `endpoint-load-metrics` into a [`Report`], pure                    |
//! | [`body`]   | a response's body of either form, pure                                        |
//! | [`push`]   | reports sent to the admin interface, pure                                    |
//! | [`store`]  | the newest of each Site, with its age                                        |
//! | `poll`     | the tasks that ask Sites                                                     |
//!
//! What figures come to, and how old they may be, is `assess`'s to say; what shares come of it, the
//! planner's.

pub mod agent_check;
pub mod body;
pub mod orca;
mod poll;
pub mod push;
pub mod report;
pub mod store;

#[cfg(test)]
mod tests;

pub use poll::{CONCURRENT_MAX, start};
pub use report::{BadReport, Report};
pub use store::LoadStore;
