//! A configured interface, and the state of the program on it.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::link::Attachment;
use crate::sys;

/// How long something that was mended at once is an alarm: whoever did it may do so again.
const REMEMBERED: Duration = Duration::from_mins(10);

/// A configured interface.
pub(crate) struct Interface {
    /// Its name.
    pub name: String,
    /// Which interface bore the name when the program was last seen on it.
    pub index: Option<u32>,
    /// None while the program is not on it.
    pub attachment: Option<Attachment>,
    /// Why there is no attachment, or the wrong mode; empty if all is well.
    pub note: String,
    /// When somebody last took the program off.
    pub taken: Recent,
}

/// The state of the program on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentState {
    /// The interface.
    pub interface: String,
    /// `native`, `generic`, or `off` while the program is not there.
    pub mode: &'static str,
    /// Why it is not what was asked for, such as an interface that has gone; empty if it is.
    pub note: String,
}

impl Interface {
    /// Creates one that the program has just been put on.
    pub fn new(name: String, attachment: Attachment, note: Option<String>) -> Self {
        let index = sys::link_info(attachment.link.as_fd()).ok().and_then(|info| info.interface);
        Self { name, index, attachment: Some(attachment), note: note.unwrap_or_default(), taken: Recent::default() }
    }

    /// The state of the program on it.
    pub fn state(&self) -> AttachmentState {
        AttachmentState {
            interface: self.name.clone(),
            mode: self.attachment.as_ref().map_or("off", |attachment| attachment.mode.name()),
            note: self.note.clone(),
        }
    }
}

/// Something that happened, and may again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recent {
    at: Option<Instant>,
    times: u64,
}

impl Recent {
    /// Counts one more.
    pub fn again(&mut self, now: Instant) {
        if self.times(now) == 0 {
            self.times = 0;
        }
        self.times += 1;
        self.at = Some(now);
    }

    /// How often, without a pause that makes it forgotten.
    pub fn times(self, now: Instant) -> u64 {
        self.at.filter(|at| now.saturating_duration_since(*at) < REMEMBERED).map_or(0, |_| self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let start = Instant::now();
        let mut recent = Recent::default();
        assert_eq!(recent.times(start), 0);
        recent.again(start);
        recent.again(start + REMEMBERED / 2);
        assert_eq!(recent.times(start + REMEMBERED), 2);
        assert_eq!(recent.times(start + REMEMBERED * 2), 0);
        recent.again(start + REMEMBERED * 2);
        assert_eq!(recent.times(start + REMEMBERED * 2), 1);
    }
}
