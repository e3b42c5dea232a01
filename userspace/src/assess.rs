//! What all inputs come to at one moment: probes' verdicts, loads and the operator's words into a [`Status`].
//!
//! Whatever depends on time (how old a load figure is, a slow start, a hold-down) is decided here, from a `now` that the
//! caller reads off the monotonic clock, so that the planner needs no clock and a step of the wall clock changes nothing.

use std::{sync::Arc, time::Instant};

use crate::{
    model::Model,
    status::{Status, Verdicts},
};

/// Keeps what one moment's assessment needs of those before.
#[derive(Debug)]
pub struct Assessor {
    model: Arc<Model>,
}

impl Assessor {
    /// Nothing assessed yet.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self { model }
    }

    /// What is known at `now`, which never goes back.
    #[must_use]
    pub fn assess(&mut self, _now: Instant, verdicts: &Verdicts) -> Status {
        Status { health: verdicts.clone(), ..Status::unknown(&self.model) }
    }
}
