//! Control of a running agent: commands, and the operator's overrides. Below whoever gives them and whoever takes them.
//!
//! | module | concern |
//! |---|---|
//! | [`commands`] | to stop, and to read the file anew |
//! | `overrides` | `drain`, `maint` and weights: how one is asked for, and what it is while in force |
//! | `target` | which Sites one is for: a key, a group, a pool, a glob |

pub mod commands;
pub(crate) mod overrides;
pub(crate) mod target;
