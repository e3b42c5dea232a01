//! One timer for many deadlines.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that costs nothing until something is waited for, and one timer for all of a connection's life.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    /// Runs until then.
    pub(super) fn start(&mut self, end: Instant) {
        self.armed = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(end),
            None => self.sleep = Some(Box::pin(sleep_until(end))),
        }
    }

    /// Stops the timer: what was waited for has come.
    pub(super) fn stop(&mut self) {
        self.armed = false;
    }

    /// Waits until it is over. Starts it, if nothing was waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        if !self.armed {
            self.start(Instant::now() + after);
        }
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
