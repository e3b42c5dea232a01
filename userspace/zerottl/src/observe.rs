//! Observation of a running agent: what is known of it at one moment. Below the pages of `admin` and the log lines of `agent`.
//!
//! | module | concern |
//! |---|---|
//! | `snapshot` | everything known at one moment |
//! | `counters` | counters of both paths and of planning |
//! | `context` | the program on its interfaces, and the machine |
//! | `health_file` | the file of `[health]` as it was read last |
//! | `fleet` | the fleet, and who votes what |
//! | `publication` | when plans were published, and how long that took |
//! | `signing` | signed zones: how long their signatures last, and whether the clock is right |
//! | `shares` | shares counted in a plan's tables |
//! | `labels` | words for states, policies and choices |

pub mod context;
pub mod counters;
pub mod fleet;
pub mod health_file;
pub mod labels;
pub mod publication;
pub mod shares;
pub mod signing;
pub mod snapshot;
