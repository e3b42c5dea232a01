//! Processes that no keeper knows any more, by their cgroup: when they are told to end, and killed. Pure.

use std::time::Instant;

use xdp_ebpf::director::layout::{SLOTS, WAITING};

use crate::member::TERM_GRACE;

/// The processes of a group that no process of this director is in.
#[derive(Debug)]
pub(crate) struct Stray {
    /// `app-1.3`.
    pub(crate) group: String,
    /// The slot that its name ends with.
    pub(crate) slot: Option<u32>,
    /// When it is told to end, and then when it is killed.
    until: Instant,
    /// Whether it was told.
    told: bool,
}

impl Stray {
    /// Makes one that has until then.
    pub(crate) fn new(group: String, until: Instant) -> Self {
        let slot = group.rsplit_once('.').and_then(|(_, slot)| slot.parse().ok());
        Self { group, slot: slot.filter(|slot| (WAITING + 1..SLOTS).contains(slot)), until, told: false }
    }

    /// Returns what is to be done with processes that are there and have `live` connections.
    pub(crate) fn step(&mut self, is_there: bool, live: u64, now: Instant) -> Step {
        if !is_there || self.told && now >= self.until {
            Step::Remove
        } else if !self.told && (live == 0 || now >= self.until) {
            (self.told, self.until) = (true, now + TERM_GRACE);
            Step::Terminate
        } else {
            Step::Wait
        }
    }
}

/// A step with a stray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It finishes what it has, or is about to end.
    Wait,
    /// It is told to end.
    Terminate,
    /// It is killed, if it is there still, and its group removed.
    Remove,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stray_finishes_is_told_and_is_killed() {
        let start = Instant::now();
        let drain = Duration::from_secs(30);
        let second = Duration::from_secs(1);
        let mut stray = Stray::new("app-1.3".into(), start + drain);
        assert_eq!(stray.slot, Some(3));
        assert_eq!(stray.step(true, 2, start + second), Step::Wait, "it finishes");
        assert_eq!(stray.step(true, 0, start + second), Step::Terminate);
        assert_eq!(stray.step(true, 0, start + second * 2), Step::Wait, "it was told");
        assert_eq!(stray.step(true, 0, start + second + TERM_GRACE), Step::Remove);
        let mut stray = Stray::new("app-1.3".into(), start + drain);
        assert_eq!(stray.step(true, 2, start + drain), Step::Terminate, "its time is over");
        assert_eq!(stray.step(false, 2, start + drain), Step::Remove, "it has ended");
        for name in ["app-1", "app-1.0", "app-1.64", "app-1.x"] {
            assert_eq!(Stray::new(name.into(), start).slot, None, "{name}");
        }
    }
}
