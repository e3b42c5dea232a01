//! Control of a running agent: commands, and the operator's overrides. Below whoever gives them and whoever takes them.
//!
//! | module | concern |
//! |---|---|
//! | [`commands`] | to stop, and to read the file anew |
//! | `health` | statements of health from outside |
//! | `overrides` | requests for overrides on their way to the planning loop, and their outcomes |
//! | `target` | which Sites one is for: a key, a group, a pool, a glob |

pub mod commands;
pub(crate) mod health;
pub(crate) mod overrides;
pub(crate) mod target;
