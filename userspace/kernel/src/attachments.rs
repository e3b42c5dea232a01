//! The program on its interfaces, which outlives the agent.
//!
//! | module | concern |
//! |---|---|
//! | `link` | one link, and those that are pinned in a folder |
//! | `interface` | a configured interface with the link on it |
//! | `place` | a program put in the place of another on all interfaces, or nothing changed |
//! | `care` | what the kernel says, judged; alarms |
//! | `upkeep` | what is in the kernel looked at, and put back |
//!
//! Each interface has one link, pinned, so that the program goes on answering when the agent is killed. The next agent
//! takes the link over and puts its own program in the place of the one before, in one step: no packet meets neither. The same
//! is how a new configuration comes into force. What was there before goes last, once nothing can fail any more.
//!
//! An interface can go and come back under its name (a bond rebuilt, a veth made anew, a module reloaded); the kernel
//! then takes the program off with the old one. Somebody can detach a link, or remove pins. [`Attachments::look_after`] sees all
//! that, because it asks the kernel and remembers nothing, and puts the program back.

mod care;
mod error;
mod interface;
mod link;
mod place;
mod upkeep;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use tracing::{error, info, warn};

use self::{
    care::Care,
    interface::Interface,
    link::{Attachment, links},
    place::PlacementContext,
};
pub use self::{
    care::{AttachmentAlarm, PROGRAM_KINDS},
    error::AttachmentError,
    interface::AttachmentState,
};
use crate::{
    Lasting,
    attach::{self, AttachError, Attached},
    nic::Nics,
    pins::{PinId, Pins},
    sys,
};
use zerottl_core::model::XdpMode;

/// The program on its interfaces.
pub struct Attachments {
    pins: Pins,
    nics: Nics,
    program: Arc<OwnedFd>,
    /// The objects that are pinned besides the links, each with what tells its pin; none while it is not pinned.
    lasting: Vec<(String, OwnedFd, Option<PinId>)>,
    mode: XdpMode,
    interfaces: Vec<Interface>,
    care: Care,
}

/// The attachments that an agent which is to take over has made before the one in force is told to leave: a program
/// that passes everything, on interfaces that have none.
#[derive(Default)]
pub struct Rehearsed(Vec<Attachment>);

impl Rehearsed {
    /// Attaches a program to the interfaces of a configuration that have none of a folder's links, if each can be.
    pub fn new(folder: &Path, program: OwnedFd, mode: XdpMode, interfaces: &[String]) -> Result<Self, AttachmentError> {
        let nics = Nics::new().map_err(AttachmentError::Unknown)?;
        let there = links(&nics, folder)?;
        let program = Arc::new(program);
        let mut attachments = Vec::new();
        for name in interfaces {
            let index =
                nics.index(name).map_err(|error| AttachmentError::Attach(AttachError::unknown(name, mode, error)))?;
            let index = index.ok_or_else(|| AttachmentError::Attach(AttachError::missing(name, mode)))?;
            if there.iter().any(|attachment| attachment.is_on(index)) {
                continue;
            }
            let Attached { link, mode, .. } =
                attach::attach(program.as_fd(), &nics, name, index, mode).map_err(AttachmentError::Attach)?;
            attachments.push(Attachment { link, mode, program: Some(Arc::clone(&program)), pin: None });
        }
        Ok(Self(attachments))
    }
}

impl Drop for Rehearsed {
    fn drop(&mut self) {
        for attachment in &self.0 {
            // At once, and not some time after the last reference has gone.
            let _ = sys::link_detach(attachment.link.as_fd());
        }
    }
}

impl Attachments {
    /// Puts the program on each interface: on a link that was left there, in the place of the program that it has, else on
    /// a new one. Links of other interfaces are removed after that. If one of them cannot be, everything is as it was.
    pub fn start(
        pins: Pins,
        lasting: Lasting,
        mode: XdpMode,
        interfaces: &[String],
        mut rehearsed: Rehearsed,
    ) -> Result<Self, AttachmentError> {
        let nics = Nics::new().map_err(AttachmentError::Unknown)?;
        let mut there = links(&nics, pins.folder())?;
        there.append(&mut rehearsed.0);
        let Lasting { program, pins: own } = lasting;
        let own = own.into_iter().map(|(name, object)| (name, object, None)).collect();
        let none = Vec::new();
        let mut attachments = Self {
            pins,
            nics,
            program: Arc::new(program),
            lasting: own,
            mode,
            interfaces: none,
            care: Care::default(),
        };
        let indices = attachments.indices(interfaces.iter())?;
        let context =
            PlacementContext { pins: &attachments.pins, nics: &attachments.nics, mode, program: &attachments.program };
        let placed = place::place(&context, &mut there, &indices)?;
        attachments.interfaces = place::commit(&context, there, placed);
        attachments.pin_lasting();
        Ok(attachments)
    }

    /// Puts another program in the place of this one on every interface, and attaches it to those that are new. If one
    /// of them cannot be, everything is as it was.
    pub fn switch(&mut self, lasting: Lasting, interfaces: &[String]) -> Result<(), AttachmentError> {
        // One that is off meanwhile, as it has gone or is another's, is none of a reload's.
        let is_off =
            |name: &String| self.interfaces.iter().any(|known| known.name == *name && known.attachment.is_none());
        let indices = self.indices(interfaces.iter().filter(|name| !is_off(name)))?;
        let Lasting { program, pins: own } = lasting;
        let program = Arc::new(program);
        let mut there = Vec::new();
        let mut names = Vec::new();
        for interface in &mut self.interfaces {
            if let Some(attachment) = interface.attachment.take() {
                names.push(interface.name.clone());
                there.push(attachment);
            }
        }
        let context = PlacementContext { pins: &self.pins, nics: &self.nics, mode: self.mode, program: &program };
        match place::place(&context, &mut there, &indices) {
            Err(error) => {
                for (name, attachment) in names.into_iter().zip(there) {
                    if let Some(known) = self.interfaces.iter_mut().find(|known| known.name == name) {
                        known.attachment = Some(attachment);
                    }
                }
                Err(error)
            }
            Ok(placed) => {
                let mut now = place::commit(&context, there, placed);
                let mut before = std::mem::take(&mut self.interfaces);
                before.retain(|known| interfaces.contains(&known.name));
                for known in before {
                    match now.iter_mut().find(|interface| interface.name == known.name) {
                        Some(interface) => interface.taken = known.taken,
                        None => now.push(known),
                    }
                }
                let position = |name: &String| interfaces.iter().position(|of| of == name);
                now.sort_by_key(|interface| position(&interface.name));
                self.interfaces = now;
                self.program = program;
                self.lasting = own.into_iter().map(|(name, object)| (name, object, None)).collect();
                self.pin_lasting();
                Ok(())
            }
        }
    }

    /// The numbers of interfaces; an error for one that is not there.
    fn indices<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<Vec<(String, u32)>, AttachmentError> {
        let index = |name: &String| {
            let index = self.nics.index(name);
            let index = index.map_err(|error| AttachmentError::Attach(AttachError::unknown(name, self.mode, error)))?;
            let index = index.ok_or_else(|| AttachmentError::Attach(AttachError::missing(name, self.mode)))?;
            Ok((name.clone(), index))
        };
        names.map(index).collect()
    }

    /// Pins what has to outlive the agent beside the links. It is only for whoever comes after, so its lack is said and no
    /// more.
    fn pin_lasting(&mut self) {
        for (name, object, id) in &mut self.lasting {
            match self.pins.put(name, &*object) {
                Ok(now) => *id = Some(now),
                Err(error) => warn!("{error}"),
            }
        }
        self.pins.remove_foreign();
    }

    /// The folder that holds what outlives the agent.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The state of the program on each interface.
    #[must_use]
    pub fn states(&self) -> Vec<AttachmentState> {
        self.interfaces.iter().map(Interface::state).collect()
    }

    /// Returns what should be known of interfaces where all is as asked for.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let caution = |interface: &Interface| {
            let mode = interface.attachment.as_ref()?.mode;
            let caution = attach::caution(&self.nics, &interface.name, mode)?;
            Some(format!("[front]: {}: {caution}", interface.name))
        };
        self.interfaces.iter().filter_map(caution).collect()
    }

    /// Returns what somebody should look at.
    #[must_use]
    pub fn alarms(&self) -> Vec<AttachmentAlarm> {
        care::alarms(&self.interfaces, &self.care)
    }

    /// Takes the program off, and leaves nothing.
    pub fn detach(self) {
        let folder = self.pins.folder().display().to_string();
        // Also those whose pins somebody has removed.
        for attachment in self.interfaces.iter().filter_map(|interface| interface.attachment.as_ref()) {
            let _ = sys::link_detach(attachment.link.as_fd());
        }
        let interfaces: Vec<_> = self.interfaces.iter().map(|interface| interface.name.clone()).collect();
        match self.pins.clear() {
            Ok(_) => info!(?interfaces, "detached"),
            Err(error) => error!("removing {folder} failed: {error}; try `zerottl detach`"),
        }
    }

    /// Leaves the program where it is, answering from its last plan; the folder's lock, which goes when this does.
    #[must_use]
    pub fn keep(self) -> Pins {
        let interfaces: Vec<_> = self.interfaces.iter().map(|interface| &interface.name).collect();
        info!(?interfaces, "left in place: the program keeps answering from its last plan");
        self.pins
    }
}
