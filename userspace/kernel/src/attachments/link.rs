//! One link of the program to an interface, and the links that are pinned in a folder.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use tracing::info;

use super::error::AttachmentError;
use crate::{
    attach::AttachMode,
    nic::Nics,
    pins::{self, PinId, Pins},
    sys,
};

/// A link, and what is known of it.
pub(crate) struct Attachment {
    /// The link.
    pub link: OwnedFd,
    /// How it is attached.
    pub mode: AttachMode,
    /// The program that it has, where there is a descriptor of it.
    pub program: Option<Arc<OwnedFd>>,
    /// The name of its pin and what tells it; none while it has none.
    pub pin: Option<(String, PinId)>,
}

impl Attachment {
    /// Whether it is on the interface with this number.
    pub fn is_on(&self, index: u32) -> bool {
        sys::link_info(self.link.as_fd()).is_ok_and(|info| info.interface == Some(index))
    }

    /// Takes the program off, at once, and its pin away.
    pub fn remove(self, pins: &Pins) {
        // Refused by one that is on no interface any more.
        let _ = sys::link_detach(self.link.as_fd());
        if let Some((name, _)) = &self.pin {
            pins.remove(name);
        }
    }
}

/// The links that are pinned in a folder. What cannot be read is an error: it may be one that answers.
pub fn links(nics: &Nics, folder: &Path) -> Result<Vec<Attachment>, AttachmentError> {
    let mut attachments = Vec::new();
    let mut last: Option<(u32, Arc<OwnedFd>)> = None;
    for left in pins::links(folder).map_err(AttachmentError::Unknown)? {
        let link = match sys::get(&left.path) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(AttachmentError::Unknown(error)),
        };
        let id = fs::symlink_metadata(&left.path).map(|now| pins::id(&now)).map_err(AttachmentError::Unknown)?;
        let pin = Some((left.name, id));
        let info = match sys::link_info(link.as_fd()) {
            Ok(info) => info,
            // Something else by that name: of no use, and removed with the rest.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                attachments.push(Attachment { link, mode: left.mode, program: None, pin });
                continue;
            }
            Err(error) => return Err(AttachmentError::Unknown(error)),
        };
        if last.as_ref().is_none_or(|(id, _)| *id != info.program) {
            last = program(folder, info.program).map(|program| (info.program, Arc::new(program)));
        }
        let program = last.as_ref().map(|(_, program)| Arc::clone(program));
        if info.interface.is_some()
            && info.interface == nics.index(&left.interface).map_err(AttachmentError::Unknown)?
        {
            info!(interface = left.interface, mode = left.mode.name(), "found the program there");
        }
        attachments.push(Attachment { link, mode: left.mode, program, pin });
    }
    Ok(attachments)
}

/// The program with this number: as it is pinned, or as the kernel gives it to who may have any.
fn program(folder: &Path, id: u32) -> Option<OwnedFd> {
    let pinned = sys::get(&folder.join(pins::PROGRAM)).ok();
    let pinned = pinned.filter(|program| sys::program_id(program.as_fd()).is_ok_and(|own| own == id));
    pinned.or_else(|| sys::program_by_id(id).ok())
}
