//! Upkeep of what is in the kernel: links, programs and pins are looked at, and put back where they are missing.

use std::{os::fd::AsFd, time::Instant};

use tracing::{error, info, warn};

use super::{
    Attachments,
    care::{Finding, REPLACED, find},
    interface::Interface,
    link::Attachment,
    place::{PlacementContext, attach_again},
};
use crate::{pins::link_name, sys};

impl Attachments {
    /// Looks at the program's interfaces and its pins, and puts back what is not there. Whether there is anything new to tell.
    pub fn look_after(&mut self) -> bool {
        self.look_at_pins();
        let mut interfaces = std::mem::take(&mut self.interfaces);
        for interface in &mut interfaces {
            self.look_at(interface);
        }
        self.interfaces = interfaces;
        let now = (self.states(), self.alarms());
        let is_new = now != self.care.told;
        self.care.told = now;
        is_new
    }

    fn look_at(&self, interface: &mut Interface) {
        // Whatever cannot be told is as it was.
        let Ok(now) = self.nics.index(&interface.name) else { return };
        let link = match interface.attachment.as_ref().map(|attachment| sys::link_info(attachment.link.as_fd())) {
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
        if interface.note != before && (interface.attachment.is_none() || finding == Finding::Replaced) {
            error!(interface = interface.name, "{}; its queries take the socket path", interface.note);
        }
    }

    /// Lets go of a link that is on no interface, or on one that bears no configured name.
    fn let_go(&self, interface: &mut Interface, finding: Finding) {
        let Some(attachment) = interface.attachment.take() else { return };
        if finding == Finding::Taken {
            interface.taken.again(Instant::now());
            error!(interface = interface.name, "alarm: somebody has taken the program off");
        } else {
            warn!(interface = interface.name, "the interface is gone, and the program with it");
        }
        // One that was only renamed must not go on answering under a name that nobody configured.
        attachment.remove(&self.pins);
    }

    fn bring_back(&self, interface: &mut Interface, now: Option<u32>) {
        let Some(index) = now else {
            "the interface is gone".clone_into(&mut interface.note);
            return;
        };
        let context = PlacementContext { pins: &self.pins, nics: &self.nics, mode: self.mode, program: &self.program };
        match attach_again(&context, &interface.name, index) {
            Ok((mut attachment, note)) => {
                self.pin(&interface.name, &mut attachment);
                info!(interface = interface.name, mode = attachment.mode.name(), "attached again");
                interface.note = note.unwrap_or_default();
                interface.index = now;
                interface.attachment = Some(attachment);
            }
            Err(error) => interface.note = error.to_string(),
        }
    }

    /// Pins a link, if that goes; the next look at the pins tells if not.
    fn pin(&self, interface: &str, attachment: &mut Attachment) {
        let own = link_name(interface, attachment.mode);
        let Ok(id) = self.pins.put(&own, &attachment.link) else {
            attachment.pin = None;
            return;
        };
        if let Some((before, _)) = attachment.pin.replace((own.clone(), id))
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
            let Some(attachment) = &mut interface.attachment else { continue };
            let own = link_name(&interface.name, attachment.mode);
            let known = attachment.pin.as_ref().filter(|(name, _)| *name == own).map(|(_, id)| *id);
            let Ok(there) = self.pins.id(&own) else { continue };
            if there.is_some() && there == known {
                continue;
            }
            self.pin(&interface.name, attachment);
            missing += u64::from(attachment.pin.is_some() && known.is_some());
            if attachment.pin.is_none() {
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
