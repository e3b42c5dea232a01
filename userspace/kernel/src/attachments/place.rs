//! A program put on all interfaces, or nothing changed.
//!
//! | what is on an interface | what is done | undone by |
//! |---|---|---|
//! | no link of ours | the program is attached | detaching it |
//! | a link in a mode that is not wanted | detached, and the program attached in the other mode | attaching the program before in its mode |
//! | a link | the program is put in the place of its own | putting that back |
//!
//! In this order, all of it before anything is taken away for good. [`commit`] does that, and cannot fail.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::io::Errno;
use tracing::{error, info, warn};

use super::{
    error::AttachmentError,
    interface::Interface,
    link::{Attachment, links},
};
use crate::{
    attach::{self, AttachMode, Attached},
    nic::Nics,
    pins::{PinError, Pins, link_name},
    sys,
};
use zerottl_core::model::XdpMode;

/// Where a program is put.
pub(crate) struct PlacementContext<'a> {
    /// Where links are pinned.
    pub pins: &'a Pins,
    /// Where interfaces are asked about.
    pub nics: &'a Nics,
    /// As configured.
    pub mode: XdpMode,
    /// The program.
    pub program: &'a Arc<OwnedFd>,
}

/// The program on one interface.
pub(crate) struct Placed {
    /// The interface.
    pub name: String,
    /// A remark on it that should be known.
    pub note: Option<String>,
    mode: AttachMode,
    way: Way,
    /// Whether a pin waits to be moved into its place.
    is_staged: bool,
}

/// How it came there.
enum Way {
    /// By the link at this position of those that were there.
    Kept(usize),
    /// By another link, in the place of the one at this position.
    Changed(usize, OwnedFd),
    /// By a link where none was.
    New(OwnedFd),
}

/// Puts the program on interfaces, given with their numbers. After an error everything is as it was, and `there` are the
/// links as before.
pub fn place(
    context: &PlacementContext<'_>,
    there: &mut [Attachment],
    wanted: &[(String, u32)],
) -> Result<Vec<Placed>, AttachmentError> {
    let mut placed = Vec::new();
    let result = try_place(context, there, wanted, &mut placed);
    if let Err(error) = result {
        for done in placed.into_iter().rev() {
            undo(context, there, done);
        }
        return Err(error);
    }
    Ok(placed)
}

fn try_place(
    context: &PlacementContext<'_>,
    there: &mut [Attachment],
    wanted: &[(String, u32)],
    placed: &mut Vec<Placed>,
) -> Result<(), AttachmentError> {
    let found: Vec<Option<usize>> =
        wanted.iter().map(|(_, index)| there.iter().position(|attachment| attachment.is_on(*index))).collect();
    let suits = |at: usize, name: &str| attach::suits(context.nics, name, there[at].mode, context.mode);
    let is_kept: Vec<bool> =
        wanted.iter().zip(&found).map(|((name, _), at)| at.is_some_and(|at| suits(at, name))).collect();
    let each = || wanted.iter().zip(&found).zip(&is_kept);
    for ((of, _), _) in each().filter(|((_, at), _)| at.is_none()) {
        new(context, of, placed)?;
    }
    for ((of, at), _) in each().filter(|(_, is_kept)| !**is_kept) {
        if let Some(at) = *at {
            change(context, there, at, of, placed)?;
        }
    }
    for (((name, _), at), _) in each().filter(|(_, is_kept)| **is_kept) {
        if let Some(at) = *at {
            keep(context, &there[at], at, name, placed)?;
        }
    }
    Ok(())
}

fn new(
    context: &PlacementContext<'_>,
    (name, index): &(String, u32),
    placed: &mut Vec<Placed>,
) -> Result<(), AttachmentError> {
    let attached = attach::attach(context.program.as_fd(), context.nics, name, *index, context.mode);
    let Attached { link, mode, note } = attached.map_err(AttachmentError::Attach)?;
    let staged = stage(context, name, mode, &link);
    let is_staged = matches!(staged, Ok(true));
    placed.push(Placed { name: name.clone(), note, mode, way: Way::New(link), is_staged });
    staged.map(drop)
}

/// Where a link has to go before another can come, as the kernel has one mode on an interface at a time. Its queries take
/// the socket path meanwhile.
fn change(
    context: &PlacementContext<'_>,
    there: &mut [Attachment],
    at: usize,
    (name, index): &(String, u32),
    placed: &mut Vec<Placed>,
) -> Result<(), AttachmentError> {
    if there[at].program.is_none() {
        return Err(AttachmentError::NoWayBack(name.clone(), there[at].mode));
    }
    sys::link_detach(there[at].link.as_fd()).map_err(AttachmentError::Unknown)?;
    match attach::attach(context.program.as_fd(), context.nics, name, *index, context.mode) {
        Ok(Attached { link, mode, note }) => {
            let staged = stage(context, name, mode, &link);
            let is_staged = matches!(staged, Ok(true));
            placed.push(Placed { name: name.clone(), note, mode, way: Way::Changed(at, link), is_staged });
            staged.map(drop)
        }
        Err(error) => {
            put_back(context, &mut there[at], name, *index);
            Err(AttachmentError::Attach(error))
        }
    }
}

fn keep(
    context: &PlacementContext<'_>,
    attachment: &Attachment,
    at: usize,
    name: &str,
    placed: &mut Vec<Placed>,
) -> Result<(), AttachmentError> {
    let own = link_name(name, attachment.mode);
    let is_pinned = attachment
        .pin
        .as_ref()
        .is_some_and(|(pin, id)| *pin == own && context.pins.id(&own).is_ok_and(|now| now == Some(*id)));
    let is_staged = !is_pinned && stage(context, name, attachment.mode, &attachment.link)?;
    let update = sys::link_update(
        attachment.link.as_fd(),
        context.program.as_fd(),
        attachment.program.as_ref().map(|program| program.as_fd()),
    );
    match update {
        // The interface has gone this moment: `look_after` will see to it.
        Err(error) if error.raw_os_error() == Some(Errno::NOLINK.raw_os_error()) => {}
        Err(error) => {
            if is_staged {
                context.pins.unstage(&own);
            }
            return Err(AttachmentError::Replaced(name.to_owned(), error));
        }
        Ok(()) => {}
    }
    let note = attach::reason(context.nics, name, attachment.mode, context.mode);
    placed.push(Placed { name: name.to_owned(), note, mode: attachment.mode, way: Way::Kept(at), is_staged });
    Ok(())
}

/// Whether the pin waits. In a folder that has gone nothing can be pinned, which is said elsewhere and is no reason to stay
/// with an old configuration.
fn stage(
    context: &PlacementContext<'_>,
    name: &str,
    mode: AttachMode,
    link: &OwnedFd,
) -> Result<bool, AttachmentError> {
    match context.pins.stage(&link_name(name, mode), link) {
        Ok(()) => Ok(true),
        Err(PinError::Pin(..)) if context.pins.is_there().is_ok_and(|is_there| !is_there) => Ok(false),
        Err(error) => Err(AttachmentError::Pin(error)),
    }
}

fn undo(context: &PlacementContext<'_>, there: &mut [Attachment], done: Placed) {
    let Placed { name, mode, way, is_staged, .. } = done;
    if is_staged {
        context.pins.unstage(&link_name(&name, mode));
    }
    match way {
        Way::New(link) => drop(sys::link_detach(link.as_fd())),
        Way::Changed(at, link) => {
            let index = sys::link_info(link.as_fd()).ok().and_then(|info| info.interface);
            let _ = sys::link_detach(link.as_fd());
            if let Some(index) = index {
                put_back(context, &mut there[at], &name, index);
            }
        }
        Way::Kept(at) => {
            let Some(before) = &there[at].program else {
                error!(interface = name, "the previous program cannot be put back: this one keeps answering");
                return;
            };
            let program = Some(context.program.as_fd());
            if let Err(error) = sys::link_update(there[at].link.as_fd(), before.as_fd(), program) {
                error!(interface = name, "the previous program cannot be put back: {error}");
            }
        }
    }
}

/// Attaches the program before again, in its mode, and pins it under its name.
fn put_back(context: &PlacementContext<'_>, attachment: &mut Attachment, name: &str, index: u32) {
    let Some(program) = &attachment.program else { return };
    match attach::attach_as(program.as_fd(), context.nics, name, index, attachment.mode) {
        Ok(link) => {
            if let Some((pin, id)) = &mut attachment.pin {
                match context.pins.put(pin, &link) {
                    Ok(now) => *id = now,
                    Err(error) => error!("{error}"),
                }
            }
            attachment.link = link;
            info!(interface = name, mode = attachment.mode.name(), "put back");
        }
        Err(error) => error!(interface = name, "the previous program cannot be put back: {error}"),
    }
}

/// Moves pins into their places and takes away what is not wanted any more.
pub fn commit(context: &PlacementContext<'_>, there: Vec<Attachment>, placed: Vec<Placed>) -> Vec<Interface> {
    let mut there: Vec<Option<Attachment>> = there.into_iter().map(Some).collect();
    let mut interfaces = Vec::new();
    let mut gone = Vec::new();
    for mut placed in placed {
        let own = link_name(&placed.name, placed.mode);
        let program = Some(Arc::clone(context.program));
        let is_new = !matches!(placed.way, Way::Kept(_));
        let mut attachment = match std::mem::replace(&mut placed.way, Way::Kept(usize::MAX)) {
            Way::New(link) => Attachment { link, mode: placed.mode, program, pin: None },
            Way::Changed(at, link) => {
                gone.extend(there[at].take());
                Attachment { link, mode: placed.mode, program, pin: None }
            }
            // Each is kept for one interface, as it is on one.
            Way::Kept(at) => match there[at].take() {
                Some(attachment) => Attachment { program, ..attachment },
                None => continue,
            },
        };
        if placed.is_staged {
            let before = attachment.pin.take();
            match context.pins.settle(&own) {
                Ok(id) => attachment.pin = Some((own, id)),
                Err(error) => error!("{error}"),
            }
            if let Some((name, _)) =
                before.filter(|(name, _)| attachment.pin.as_ref().is_none_or(|(own, _)| own != name))
            {
                context.pins.remove(&name);
            }
        }
        let (interface, mode) = (&placed.name, placed.mode.name());
        match &placed.note {
            None if is_new => info!(interface, mode, "attached"),
            Some(note) if is_new => warn!(interface, mode, "attached; {note}"),
            None => info!(interface, mode, "replaced the previous program"),
            Some(note) => warn!(interface, mode, "replaced the previous program; {note}"),
        }
        interfaces.push(Interface::new(placed.name, attachment, placed.note));
    }
    gone.extend(there.into_iter().flatten());
    for mut attachment in gone {
        let name = attachment.pin.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        // A pin of its name is another link's by now.
        attachment.pin = attachment.pin.filter(|(name, id)| context.pins.id(name).is_ok_and(|now| now == Some(*id)));
        attachment.remove(context.pins);
        info!(pin = name, "detached a link that is no longer wanted");
    }
    interfaces
}

/// Attaches the program to an interface that has come back or lost it, or takes back a link of ours that is on it; the
/// pin is left to others.
pub(crate) fn attach_again(
    context: &PlacementContext<'_>,
    name: &str,
    index: u32,
) -> Result<(Attachment, Option<String>), AttachmentError> {
    let program = Some(Arc::clone(context.program));
    let mine = |attachment: &Attachment| {
        attachment.is_on(index) && attach::suits(context.nics, name, attachment.mode, context.mode)
    };
    let found = links(context.nics, context.pins.folder())?.into_iter().find(mine);
    if let Some(attachment) = found {
        // The folder's lock says that nobody else is at work.
        let updated = sys::link_update(attachment.link.as_fd(), context.program.as_fd(), None);
        updated.map_err(|error: io::Error| AttachmentError::Replaced(name.to_owned(), error))?;
        let note = attach::reason(context.nics, name, attachment.mode, context.mode);
        return Ok((Attachment { program, ..attachment }, note));
    }
    let attached = attach::attach(context.program.as_fd(), context.nics, name, index, context.mode);
    let Attached { link, mode, note } = attached.map_err(AttachmentError::Attach)?;
    Ok((Attachment { link, mode, program, pin: None }, note))
}
