//! What all inputs come to at one moment: probes' verdicts, loads and the operator's words into a [`Status`].
//!
//! Whatever depends on time (how old a load figure is, a slow start, a hold-down) is decided here, from a `now` that the
//! caller reads off the monotonic clock, so that the planner needs no clock and a step of the wall clock changes nothing.

pub mod load;
#[cfg(test)]
mod tests_load;

use std::{sync::Arc, time::Instant};

use self::load::{Loads, Returns};
use crate::{
    load::Entry,
    model::Model,
    status::{Status, Verdicts},
};

/// What Sites say of their load, and what they have been given.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadInputs<'a> {
    /// What each Site has said, positions as in the model.
    pub entries: &'a [Entry],
    /// How often each was answered; only ever grows, but for a new start from 0.
    pub answers: &'a [u64],
}

/// Keeps what one moment's assessment needs of those before.
#[derive(Debug)]
pub struct Assessor {
    model: Arc<Model>,
    loads: Loads,
    returns: Returns,
}

impl Assessor {
    /// Nothing assessed yet.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self { loads: Loads::new(Arc::clone(&model)), returns: Returns::new(Arc::clone(&model)), model }
    }

    /// What has been seen so far, for a new configuration: of each Site that was there before, by its key.
    #[must_use]
    pub fn carry_over(&self, model: &Arc<Model>) -> Self {
        Self {
            model: Arc::clone(model),
            loads: self.loads.carry_over(Arc::clone(model)),
            returns: self.returns.carry_over(Arc::clone(model)),
        }
    }

    /// What is known at `now`, which never goes back.
    #[must_use]
    pub fn assess(&mut self, now: Instant, verdicts: &Verdicts, loads: LoadInputs<'_>) -> Status {
        let mut status = Status { health: verdicts.clone(), ..Status::unknown(&self.model) };
        self.loads.observe(now, loads.entries, loads.answers, &mut status);
        // Last: whether a Site is in service depends on all else.
        self.returns.observe(now, &mut status);
        status
    }
}
