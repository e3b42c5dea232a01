//! The care for what is in the kernel: links, programs and pins are looked at and fixed.
//!
//! Nothing here is remembered that can be asked, and an answer that does not come says nothing: an interface is gone, or a
//! link detached, only where the kernel says so.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Attachment, Attachments, Interface,
    place::{self, Ground},
};
use crate::admin::{Attach, standing::AlarmPage};
use zerottl_kernel::{pins::link_name, sys};

/// How long something that was mended at once is an alarm: whoever did it may do so again.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Kinds of alarms about the program on its interfaces.
pub const PROGRAM_KINDS: [&str; 5] =
    ["program-off", "program-taken-off", "program-replaced", "pins-lost", "pins-removed"];

/// Said of a link that has another's program.
const REPLACED: &str = "another program is on this agent's link";

/// Something that happened, and may again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    at: Option<Instant>,
    times: u64,
}

impl Recent {
    fn again(&mut self, now: Instant) {
        if self.times(now) == 0 {
            self.times = 0;
        }
        self.times += 1;
        self.at = Some(now);
    }

    /// How often, without a pause that makes it forgotten.
    fn times(self, now: Instant) -> u64 {
        self.at.filter(|at| now.saturating_duration_since(*at) < REMEMBERED).map_or(0, |_| self.times)
    }
}

/// The findings of looking.
#[derive(Default)]
pub struct Care {
    /// Why pins are not where they should be; empty while they are.
    lost: String,
    /// Pins made anew.
    restored: Recent,
    /// The state that was told last.
    told: (Vec<Attach>, Vec<AlarmPage>),
}

/// The result of a look at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
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
fn find(now: Option<u32>, link: Option<(Option<u32>, bool)>, was: Option<u32>) -> Finding {
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

impl Attachments {
    /// Looks at the program's interfaces and its pins, and puts back what is not there. Whether there is anything new to tell.
    pub fn look_after(&mut self) -> bool {
        self.look_at_pins();
        let mut interfaces = std::mem::take(&mut self.interfaces);
        for interface in &mut interfaces {
            self.look_at(interface);
        }
        self.interfaces = interfaces;
        let now = (self.pages(), self.alarms());
        let is_new = now != self.care.told;
        self.care.told = now;
        is_new
    }

    fn look_at(&self, interface: &mut Interface) {
        // Whatever cannot be told is as it was.
        let Ok(now) = self.nics.index(&interface.name) else { return };
        let link = match interface.hook.as_ref().map(|hook| sys::link_info(hook.link.as_fd())) {
            None => None,
            Some(Err(_)) => return,
            Some(Ok(info)) => {
                let Ok(own) = sys::program_id(self.program.as_fd()) else { return };
                Some((info.interface, info.program == own))
            }
        };
        let finding = find(now, link, interface.index);
        let before = interface.note.clone();
        match finding {
            Finding::Well => {
                interface.index = now;
                if interface.note == REPLACED {
                    interface.note.clear();
                }
                return;
            }
            Finding::Replaced => REPLACED.clone_into(&mut interface.note),
            Finding::Gone | Finding::Bare | Finding::Renamed | Finding::Taken => {
                self.let_go(interface, finding);
                self.bring_back(interface, now);
            }
        }
        // Tried again every time, told once.
        if interface.note != before && (interface.hook.is_none() || finding == Finding::Replaced) {
            error!(interface = interface.name, "{}; its queries take the socket path", interface.note);
        }
    }

    /// Lets go of a link that is on no interface, or on one that bears no configured name.
    fn let_go(&self, interface: &mut Interface, finding: Finding) {
        let Some(hook) = interface.hook.take() else { return };
        if finding == Finding::Taken {
            interface.taken.again(Instant::now());
            error!(interface = interface.name, "alarm: somebody has taken the program off");
        } else {
            warn!(interface = interface.name, "the interface is gone, and the program with it");
        }
        // One that was only renamed must not go on answering under a name that nobody configured.
        hook.remove(&self.pins);
    }

    fn bring_back(&self, interface: &mut Interface, now: Option<u32>) {
        let Some(index) = now else {
            "the interface is gone".clone_into(&mut interface.note);
            return;
        };
        let ground = Ground { pins: &self.pins, nics: &self.nics, mode: self.mode, program: &self.program };
        match place::attach_again(&ground, &interface.name, index) {
            Ok((mut hook, note)) => {
                self.pin(&interface.name, &mut hook);
                info!(interface = interface.name, mode = hook.mode.name(), "attached again");
                interface.note = note.unwrap_or_default();
                interface.index = now;
                interface.hook = Some(hook);
            }
            Err(error) => interface.note = error.to_string(),
        }
    }

    /// Pins a link, if that goes; the next look at the pins tells if not.
    fn pin(&self, interface: &str, hook: &mut Attachment) {
        let own = link_name(interface, hook.mode);
        let Ok(id) = self.pins.put(&own, &hook.link) else {
            hook.pin = None;
            return;
        };
        if let Some((before, _)) = hook.pin.replace((own.clone(), id))
            && before != own
        {
            self.pins.remove(&before);
        }
    }

    /// Makes anew what somebody has removed: without pins the end of this process would be the end of the program.
    fn look_at_pins(&mut self) {
        match self.pins.is_there() {
            Ok(true) => {}
            Ok(false) => {
                if let Err(error) = self.pins.own_again() {
                    return self.lose(format!("{} has been removed, and cannot be made anew: {error}", self.folder()));
                }
            }
            Err(_) => return,
        }
        let (mut missing, mut failed) = (0, None);
        for (name, object, id) in &mut self.lasting {
            match self.pins.id(name) {
                Ok(there) if there.is_some() && there == *id => {}
                Ok(_) => match self.pins.put(name, &*object) {
                    Ok(now) => {
                        missing += u64::from(id.replace(now).is_some());
                    }
                    Err(error) => failed = Some(error.to_string()),
                },
                Err(_) => {}
            }
        }
        let mut interfaces = std::mem::take(&mut self.interfaces);
        for interface in &mut interfaces {
            let Some(hook) = &mut interface.hook else { continue };
            let own = link_name(&interface.name, hook.mode);
            let known = hook.pin.as_ref().filter(|(name, _)| *name == own).map(|(_, id)| *id);
            let Ok(there) = self.pins.id(&own) else { continue };
            if there.is_some() && there == known {
                continue;
            }
            self.pin(&interface.name, hook);
            missing += u64::from(hook.pin.is_some() && known.is_some());
            if hook.pin.is_none() {
                failed = Some(format!("{own} cannot be pinned"));
            }
        }
        self.interfaces = interfaces;
        if missing > 0 {
            self.care.restored.again(Instant::now());
            error!(folder = self.folder(), "alarm: somebody has removed pins: made anew");
        }
        match failed {
            Some(error) => self.lose(error),
            None => self.care.lost.clear(),
        }
    }

    fn folder(&self) -> String {
        self.pins.folder().display().to_string()
    }

    fn lose(&mut self, why: String) {
        if self.care.lost != why {
            error!("alarm: the pins are lost: {why}");
        }
        self.care.lost = why;
    }
}

/// Returns what somebody should look at.
pub fn alarms(interfaces: &[Interface], care: &Care) -> Vec<AlarmPage> {
    let now = Instant::now();
    let alarm = |kind: &str, message: String| AlarmPage { kind: kind.to_owned(), pool: String::new(), message };
    let mut all = Vec::new();
    for Interface { name, hook, note, taken, .. } in interfaces {
        if hook.is_none() {
            let message = format!("the program is not on {name}, whose queries take the socket path: {note}");
            all.push(alarm("program-off", message));
        } else if note == REPLACED {
            all.push(alarm("program-replaced", format!("on {name} {note}")));
        }
        let times = taken.times(now);
        if times > 0 {
            let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            let message = format!("somebody has taken the program off {name}, {often}; it has been put back");
            let message = if hook.is_some() { message } else { message.replace("it has been", "it cannot be") };
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
