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

use super::{Attachment, HookError, Interface};
use zerottl_core::model::XdpMode;
use zerottl_kernel::{
    attach::{self, AttachMode, Attached},
    nic::Nics,
    pins::{PinError, Pins, link_name},
    sys,
};

/// Where a program is put.
pub struct Ground<'a> {
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
pub struct Placed {
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
    ground: &Ground<'_>,
    there: &mut [Attachment],
    wanted: &[(String, u32)],
) -> Result<Vec<Placed>, HookError> {
    let mut placed = Vec::new();
    let result = try_place(ground, there, wanted, &mut placed);
    if let Err(error) = result {
        for done in placed.into_iter().rev() {
            undo(ground, there, done);
        }
        return Err(error);
    }
    Ok(placed)
}

fn try_place(
    ground: &Ground<'_>,
    there: &mut [Attachment],
    wanted: &[(String, u32)],
    placed: &mut Vec<Placed>,
) -> Result<(), HookError> {
    let found: Vec<Option<usize>> =
        wanted.iter().map(|(_, index)| there.iter().position(|hook| hook.is_on(*index))).collect();
    let suits = |at: usize, name: &str| attach::suits(ground.nics, name, there[at].mode, ground.mode);
    let is_kept: Vec<bool> =
        wanted.iter().zip(&found).map(|((name, _), at)| at.is_some_and(|at| suits(at, name))).collect();
    let each = || wanted.iter().zip(&found).zip(&is_kept);
    for ((of, _), _) in each().filter(|((_, at), _)| at.is_none()) {
        new(ground, of, placed)?;
    }
    for ((of, at), _) in each().filter(|(_, is_kept)| !**is_kept) {
        if let Some(at) = *at {
            change(ground, there, at, of, placed)?;
        }
    }
    for (((name, _), at), _) in each().filter(|(_, is_kept)| **is_kept) {
        if let Some(at) = *at {
            keep(ground, &there[at], at, name, placed)?;
        }
    }
    Ok(())
}

fn new(ground: &Ground<'_>, (name, index): &(String, u32), placed: &mut Vec<Placed>) -> Result<(), HookError> {
    let attached = attach::attach(ground.program.as_fd(), ground.nics, name, *index, ground.mode);
    let Attached { link, mode, note } = attached.map_err(HookError::Attach)?;
    let staged = stage(ground, name, mode, &link);
    let is_staged = matches!(staged, Ok(true));
    placed.push(Placed { name: name.clone(), note, mode, way: Way::New(link), is_staged });
    staged.map(drop)
}

/// Where a link has to go before another can come, as the kernel has one mode on an interface at a time. Its queries take
/// the socket path meanwhile.
fn change(
    ground: &Ground<'_>,
    there: &mut [Attachment],
    at: usize,
    (name, index): &(String, u32),
    placed: &mut Vec<Placed>,
) -> Result<(), HookError> {
    if there[at].program.is_none() {
        return Err(HookError::NoWayBack(name.clone(), there[at].mode));
    }
    sys::link_detach(there[at].link.as_fd()).map_err(HookError::Unknown)?;
    match attach::attach(ground.program.as_fd(), ground.nics, name, *index, ground.mode) {
        Ok(Attached { link, mode, note }) => {
            let staged = stage(ground, name, mode, &link);
            let is_staged = matches!(staged, Ok(true));
            placed.push(Placed { name: name.clone(), note, mode, way: Way::Changed(at, link), is_staged });
            staged.map(drop)
        }
        Err(error) => {
            put_back(ground, &mut there[at], name, *index);
            Err(HookError::Attach(error))
        }
    }
}

fn keep(
    ground: &Ground<'_>,
    hook: &Attachment,
    at: usize,
    name: &str,
    placed: &mut Vec<Placed>,
) -> Result<(), HookError> {
    let own = link_name(name, hook.mode);
    let is_pinned = hook
        .pin
        .as_ref()
        .is_some_and(|(pin, id)| *pin == own && ground.pins.id(&own).is_ok_and(|now| now == Some(*id)));
    let is_staged = !is_pinned && stage(ground, name, hook.mode, &hook.link)?;
    let update = sys::link_update(
        hook.link.as_fd(),
        ground.program.as_fd(),
        hook.program.as_ref().map(|program| program.as_fd()),
    );
    match update {
        // The interface has gone this moment: `look_after` will see to it.
        Err(error) if error.raw_os_error() == Some(Errno::NOLINK.raw_os_error()) => {}
        Err(error) => {
            if is_staged {
                ground.pins.unstage(&own);
            }
            return Err(HookError::Replaced(name.to_owned(), error));
        }
        Ok(()) => {}
    }
    let note = attach::reason(ground.nics, name, hook.mode, ground.mode);
    placed.push(Placed { name: name.to_owned(), note, mode: hook.mode, way: Way::Kept(at), is_staged });
    Ok(())
}

/// Whether the pin waits. In a folder that has gone nothing can be pinned, which is said elsewhere and is no reason to stay
/// with an old configuration.
fn stage(ground: &Ground<'_>, name: &str, mode: AttachMode, link: &OwnedFd) -> Result<bool, HookError> {
    match ground.pins.stage(&link_name(name, mode), link) {
        Ok(()) => Ok(true),
        Err(PinError::Pin(..)) if ground.pins.is_there().is_ok_and(|is_there| !is_there) => Ok(false),
        Err(error) => Err(HookError::Pin(error)),
    }
}

fn undo(ground: &Ground<'_>, there: &mut [Attachment], done: Placed) {
    let Placed { name, mode, way, is_staged, .. } = done;
    if is_staged {
        ground.pins.unstage(&link_name(&name, mode));
    }
    match way {
        Way::New(link) => drop(sys::link_detach(link.as_fd())),
        Way::Changed(at, link) => {
            let index = sys::link_info(link.as_fd()).ok().and_then(|info| info.interface);
            let _ = sys::link_detach(link.as_fd());
            if let Some(index) = index {
                put_back(ground, &mut there[at], &name, index);
            }
        }
        Way::Kept(at) => {
            let Some(before) = &there[at].program else {
                error!(interface = name, "the program before cannot be put back: this one answers on");
                return;
            };
            let program = Some(ground.program.as_fd());
            if let Err(error) = sys::link_update(there[at].link.as_fd(), before.as_fd(), program) {
                error!(interface = name, "the program before cannot be put back: {error}");
            }
        }
    }
}

/// Attaches the program before again, in its mode, and pins it under its name.
fn put_back(ground: &Ground<'_>, hook: &mut Attachment, name: &str, index: u32) {
    let Some(program) = &hook.program else { return };
    match attach::attach_as(program.as_fd(), ground.nics, name, index, hook.mode) {
        Ok(link) => {
            if let Some((pin, id)) = &mut hook.pin {
                match ground.pins.put(pin, &link) {
                    Ok(now) => *id = now,
                    Err(error) => error!("{error}"),
                }
            }
            hook.link = link;
            info!(interface = name, mode = hook.mode.name(), "put back");
        }
        Err(error) => error!(interface = name, "the program before cannot be put back: {error}"),
    }
}

/// Moves pins into their places and takes away what is not wanted any more.
pub fn commit(ground: &Ground<'_>, there: Vec<Attachment>, placed: Vec<Placed>) -> Vec<Interface> {
    let mut there: Vec<Option<Attachment>> = there.into_iter().map(Some).collect();
    let mut interfaces = Vec::new();
    let mut gone = Vec::new();
    for mut placed in placed {
        let own = link_name(&placed.name, placed.mode);
        let program = Some(Arc::clone(ground.program));
        let is_new = !matches!(placed.way, Way::Kept(_));
        let mut hook = match std::mem::replace(&mut placed.way, Way::Kept(usize::MAX)) {
            Way::New(link) => Attachment { link, mode: placed.mode, program, pin: None },
            Way::Changed(at, link) => {
                gone.extend(there[at].take());
                Attachment { link, mode: placed.mode, program, pin: None }
            }
            // Each is kept for one interface, as it is on one.
            Way::Kept(at) => match there[at].take() {
                Some(hook) => Attachment { program, ..hook },
                None => continue,
            },
        };
        if placed.is_staged {
            let before = hook.pin.take();
            match ground.pins.settle(&own) {
                Ok(id) => hook.pin = Some((own, id)),
                Err(error) => error!("{error}"),
            }
            if let Some((name, _)) = before.filter(|(name, _)| hook.pin.as_ref().is_none_or(|(own, _)| own != name)) {
                ground.pins.remove(&name);
            }
        }
        let (interface, mode) = (&placed.name, placed.mode.name());
        match &placed.note {
            None if is_new => info!(interface, mode, "attached"),
            Some(note) if is_new => warn!(interface, mode, "attached; {note}"),
            None => info!(interface, mode, "put in the place of the program before"),
            Some(note) => warn!(interface, mode, "put in the place of the program before; {note}"),
        }
        interfaces.push(Interface::of(placed, hook));
    }
    gone.extend(there.into_iter().flatten());
    for mut hook in gone {
        let name = hook.pin.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        // A pin of its name is another link's by now.
        hook.pin = hook.pin.filter(|(name, id)| ground.pins.id(name).is_ok_and(|now| now == Some(*id)));
        hook.remove(ground.pins);
        info!(pin = name, "a link that is not wanted any more: detached");
    }
    interfaces
}

/// Attaches the program to an interface that has come back or lost it, or takes back a link of ours that is on it; the
/// pin is left to others.
pub fn attach_again(ground: &Ground<'_>, name: &str, index: u32) -> Result<(Attachment, Option<String>), HookError> {
    let program = Some(Arc::clone(ground.program));
    let mine = |hook: &Attachment| hook.is_on(index) && attach::suits(ground.nics, name, hook.mode, ground.mode);
    let found = super::links(ground.nics, ground.pins.folder())?.into_iter().find(mine);
    if let Some(hook) = found {
        // The folder's lock says that nobody else is at work.
        let updated = sys::link_update(hook.link.as_fd(), ground.program.as_fd(), None);
        updated.map_err(|error: io::Error| HookError::Replaced(name.to_owned(), error))?;
        let note = attach::reason(ground.nics, name, hook.mode, ground.mode);
        return Ok((Attachment { program, ..hook }, note));
    }
    let attached = attach::attach(ground.program.as_fd(), ground.nics, name, index, ground.mode);
    let Attached { link, mode, note } = attached.map_err(HookError::Attach)?;
    Ok((Attachment { link, mode, program, pin: None }, note))
}
