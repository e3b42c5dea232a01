//! Hooks: events of the agent, told outside of it by signed POSTs and by commands.
//!
//! Whoever has an event gives it to [`Hooks::send`], which never waits: it goes into the bounded queue of every hook that
//! wants it, and the oldest of a queue that is full is dropped and counted. Each hook has a task of its own that takes one event
//! after the other, so that a dead hook holds up nothing but itself. An event that cannot be delivered is tried again, always with
//! the same id, until its attempts are used up.
//!
//! | module | what it is |
//! |---|---|
//! | [`event`] | what has happened, and its text for others |
//! | `queue` | events that wait for one hook, and its counts |
//! | `sign` | signatures of POSTs |
//! | `post`, `command`, `failure` | one attempt |
//! | [`ready`] | a hook with all that it needs from files |
//! | `runner` | the task of a hook: attempts and pauses |
//! | `hooks` | all hooks of an agent |
#![forbid(unsafe_code)]

mod command;
pub mod event;
mod failure;
mod hooks;
mod post;
mod queue;
pub mod ready;
mod runner;
mod sign;

pub use event::HookEvent;
pub use hooks::Hooks;
pub use queue::HookCounts;
pub use ready::{HookSetupError, ReadyHook};
