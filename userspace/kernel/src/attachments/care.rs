//! Judgement of what the kernel says of links, programs and pins, and the alarms that follow. Pure but for the clock.
//!
//! Nothing here is remembered that can be asked, and an answer that does not come says nothing: an interface is gone, or a
//! link detached, only where the kernel says so.

use std::time::Instant;

use super::interface::{AttachmentState, Interface, Recent};

/// Kinds of alarms about the program on its interfaces.
pub const PROGRAM_KINDS: [&str; 5] =
    ["program-off", "program-taken-off", "program-replaced", "pins-lost", "pins-removed"];

/// Said of a link that has another's program.
pub(crate) const REPLACED: &str = "another program is on this agent's link";

/// An alarm about the program on its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentAlarm {
    /// One of [`PROGRAM_KINDS`].
    pub kind: &'static str,
    /// The alarm in a sentence.
    pub message: String,
}

/// The findings of looking.
#[derive(Default)]
pub(crate) struct Care {
    /// Why pins are not where they should be; empty while they are.
    pub lost: String,
    /// Pins made anew.
    pub restored: Recent,
    /// The state that was told last.
    pub told: (Vec<AttachmentState>, Vec<AttachmentAlarm>),
}

/// The result of a look at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The program is on it.
    Well,
    /// There is no such interface.
    Gone,
    /// It is there without the program.
    Bare,
    /// The link is on an interface of another name.
    Renamed,
    /// Somebody has taken the link off.
    Taken,
    /// The link has another's program.
    Replaced,
}

/// Judges what the kernel says: `now` bears the name, `link` is on an interface and has this agent's program or not,
/// and `was` is the one it was on.
pub fn find(now: Option<u32>, link: Option<(Option<u32>, bool)>, was: Option<u32>) -> Finding {
    match (link, now) {
        (Some((Some(on), is_ours)), Some(now)) if on == now => {
            if is_ours {
                Finding::Well
            } else {
                Finding::Replaced
            }
        }
        (Some((Some(_), _)), _) => Finding::Renamed,
        (Some((None, _)), Some(_)) if was == now => Finding::Taken,
        (_, None) => Finding::Gone,
        (_, Some(_)) => Finding::Bare,
    }
}

/// Returns what somebody should look at.
pub fn alarms(interfaces: &[Interface], care: &Care) -> Vec<AttachmentAlarm> {
    let now = Instant::now();
    let alarm = |kind, message: String| AttachmentAlarm { kind, message };
    let mut all = Vec::new();
    for Interface { name, attachment, note, taken, .. } in interfaces {
        if attachment.is_none() {
            let message = format!("the program is not on {name}, whose queries take the socket path: {note}");
            all.push(alarm("program-off", message));
        } else if note == REPLACED {
            all.push(alarm("program-replaced", format!("on {name} {note}")));
        }
        let times = taken.times(now);
        if times > 0 {
            let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            let message = format!("somebody has taken the program off {name}, {often}; it has been put back");
            let message = if attachment.is_some() { message } else { message.replace("it has been", "it cannot be") };
            all.push(alarm("program-taken-off", message));
        }
    }
    if !care.lost.is_empty() {
        let message = format!("if the agent ends now, so does the program: {}", care.lost);
        all.push(alarm("pins-lost", message));
    }
    if care.restored.times(now) > 0 {
        all.push(alarm("pins-removed", "somebody has removed pins of the program; they have been made anew".into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_comes_to() {
        let check = |now, link, was, expect| assert_eq!(find(now, link, was), expect, "{now:?} {link:?} {was:?}");
        check(Some(3), Some((Some(3), true)), Some(3), Finding::Well);
        check(Some(4), Some((Some(4), true)), Some(3), Finding::Well);
        check(Some(3), Some((Some(3), false)), Some(3), Finding::Replaced);
        check(Some(3), Some((None, true)), Some(3), Finding::Taken);
        check(Some(4), Some((None, true)), Some(3), Finding::Bare);
        check(None, Some((None, true)), Some(3), Finding::Gone);
        check(None, Some((Some(3), true)), Some(3), Finding::Renamed);
        check(Some(4), Some((Some(3), true)), Some(3), Finding::Renamed);
        check(None, None, Some(3), Finding::Gone);
        check(Some(3), None, Some(3), Finding::Bare);
        check(Some(3), None, None, Finding::Bare);
    }
}
