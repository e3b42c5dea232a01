//! The program on its interfaces, which outlives the agent.
//!
//! | module | concern |
//! |---|---|
//! | `place` | a program put in the place of another on all interfaces, or nothing changed |
//! | `care` | what is in the kernel looked at, and mended |
//!
//! Each interface has one link, pinned, so that the program goes on answering when the agent is killed. The next agent
//! takes the link over and puts its own program in the place of the one before, in one step: no packet meets neither. The same
//! is how a new configuration comes into force. What was there before goes last, once nothing can fail any more.
//!
//! An interface can go and come back under its name (a bond rebuilt, a veth made anew, a module reloaded); the kernel
//! then takes the program off with the old one. Somebody can detach a link, or remove pins. [`Attachments::look_after`] sees all
//! that, because it asks the kernel and remembers nothing, and puts the program back.

mod care;
mod place;

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tracing::{error, info, warn};

pub use self::care::PROGRAM_KINDS;
use self::{
    care::Care,
    place::{Ground, Placed},
};
use crate::admin::{Attach, standing::AlarmPage};
use zerottl_core::model::XdpMode;
use zerottl_kernel::{
    Lasting,
    attach::{self, AttachError, AttachMode, Attached},
    nic::Nics,
    pins::{self, PinError, PinId, Pins},
    sys,
};

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

/// A configured interface.
struct Interface {
    name: String,
    /// Which interface bore the name when the program was last seen on it.
    index: Option<u32>,
    /// None while the program is not on it.
    hook: Option<Attachment>,
    /// Why there is no hook, or the wrong mode; empty if all is well.
    note: String,
    /// When somebody last took the program off.
    taken: care::Recent,
}

/// A link, and what is known of it.
struct Attachment {
    link: OwnedFd,
    mode: AttachMode,
    /// The program that it has, where there is a descriptor of it.
    program: Option<Arc<OwnedFd>>,
    /// The name of its pin and what tells it; none while it has none.
    pin: Option<(String, PinId)>,
}

/// The attachments that an agent which is to take over has made before the one in force is told to leave: a program
/// that passes everything, on interfaces that have none.
#[derive(Default)]
pub struct Rehearsed(Vec<Attachment>);

/// Why the program is not on its interfaces.
#[derive(Debug)]
pub enum HookError {
    /// It cannot be attached.
    Attach(AttachError),
    /// It cannot be pinned.
    Pin(PinError),
    /// The state of the interfaces cannot be told.
    Unknown(io::Error),
    /// Another program is on this interface's link: another agent has taken over.
    Replaced(String, io::Error),
    /// The mode cannot be changed, as the program in force could not be put back if that failed.
    NoWayBack(String, AttachMode),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(error) => error.fmt(f),
            Self::Pin(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "what is attached cannot be told: {error}"),
            Self::Replaced(interface, error) => {
                write!(f, "the program on {interface} is not this agent's any more ({error}): another has taken over")
            }
            Self::NoWayBack(interface, mode) => write!(
                f,
                "a program of another version is on {interface} in {} mode, and could not be put back if another mode \
                 failed: `zerottl detach` first",
                mode.name()
            ),
        }
    }
}

impl std::error::Error for HookError {}

impl Rehearsed {
    /// Attaches a program to the interfaces of a configuration that have none of a folder's links, if each can be.
    pub fn new(
        folder: &std::path::Path,
        program: OwnedFd,
        mode: XdpMode,
        interfaces: &[String],
    ) -> Result<Self, HookError> {
        let nics = Nics::new().map_err(HookError::Unknown)?;
        let there = links(&nics, folder)?;
        let program = Arc::new(program);
        let mut hooks = Vec::new();
        for name in interfaces {
            let index = nics.index(name).map_err(|error| HookError::Attach(AttachError::unknown(name, mode, error)))?;
            let index = index.ok_or_else(|| HookError::Attach(AttachError::missing(name, mode)))?;
            if there.iter().any(|hook| hook.is_on(index)) {
                continue;
            }
            let Attached { link, mode, .. } =
                attach::attach(program.as_fd(), &nics, name, index, mode).map_err(HookError::Attach)?;
            hooks.push(Attachment { link, mode, program: Some(Arc::clone(&program)), pin: None });
        }
        Ok(Self(hooks))
    }
}

impl Drop for Rehearsed {
    fn drop(&mut self) {
        for hook in &self.0 {
            // At once, and not some time after the last reference has gone.
            let _ = sys::link_detach(hook.link.as_fd());
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
    ) -> Result<Self, HookError> {
        let nics = Nics::new().map_err(HookError::Unknown)?;
        let mut there = links(&nics, pins.folder())?;
        there.append(&mut rehearsed.0);
        let Lasting { program, pins: own } = lasting;
        let own = own.into_iter().map(|(name, object)| (name, object, None)).collect();
        let none = Vec::new();
        let mut hooks = Self {
            pins,
            nics,
            program: Arc::new(program),
            lasting: own,
            mode,
            interfaces: none,
            care: Care::default(),
        };
        let indices = hooks.indices(interfaces.iter())?;
        let ground = Ground { pins: &hooks.pins, nics: &hooks.nics, mode, program: &hooks.program };
        let placed = place::place(&ground, &mut there, &indices)?;
        hooks.interfaces = place::commit(&ground, there, placed);
        hooks.pin_lasting();
        Ok(hooks)
    }

    /// Puts another program in the place of this one on every interface, and attaches it to those that are new. If one
    /// of them cannot be, everything is as it was.
    pub fn switch(&mut self, lasting: Lasting, interfaces: &[String]) -> Result<(), HookError> {
        // One that is off meanwhile, as it has gone or is another's, is none of a reload's.
        let is_off = |name: &String| self.interfaces.iter().any(|known| known.name == *name && known.hook.is_none());
        let indices = self.indices(interfaces.iter().filter(|name| !is_off(name)))?;
        let Lasting { program, pins: own } = lasting;
        let program = Arc::new(program);
        let mut there = Vec::new();
        let mut names = Vec::new();
        for interface in &mut self.interfaces {
            if let Some(hook) = interface.hook.take() {
                names.push(interface.name.clone());
                there.push(hook);
            }
        }
        let ground = Ground { pins: &self.pins, nics: &self.nics, mode: self.mode, program: &program };
        match place::place(&ground, &mut there, &indices) {
            Err(error) => {
                for (name, hook) in names.into_iter().zip(there) {
                    if let Some(known) = self.interfaces.iter_mut().find(|known| known.name == name) {
                        known.hook = Some(hook);
                    }
                }
                Err(error)
            }
            Ok(placed) => {
                let mut now = place::commit(&ground, there, placed);
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
    fn indices<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<Vec<(String, u32)>, HookError> {
        let index = |name: &String| {
            let index = self.nics.index(name);
            let index = index.map_err(|error| HookError::Attach(AttachError::unknown(name, self.mode, error)))?;
            let index = index.ok_or_else(|| HookError::Attach(AttachError::missing(name, self.mode)))?;
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

    /// For the admin pages.
    #[must_use]
    pub fn pages(&self) -> Vec<Attach> {
        let page = |interface: &Interface| Attach {
            interface: interface.name.clone(),
            mode: interface.hook.as_ref().map_or("off", |hook| hook.mode.name()).to_owned(),
            note: interface.note.clone(),
        };
        self.interfaces.iter().map(page).collect()
    }

    /// Returns what should be known of interfaces where all is as asked for.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let caution = |interface: &Interface| {
            let mode = interface.hook.as_ref()?.mode;
            let caution = attach::caution(&self.nics, &interface.name, mode)?;
            Some(format!("[front]: {}: {caution}", interface.name))
        };
        self.interfaces.iter().filter_map(caution).collect()
    }

    /// Returns what somebody should look at.
    #[must_use]
    pub fn alarms(&self) -> Vec<AlarmPage> {
        care::alarms(&self.interfaces, &self.care)
    }

    /// Takes the program off, and leaves nothing.
    pub fn detach(self) {
        let folder = self.pins.folder().display().to_string();
        // Also those whose pins somebody has removed.
        for hook in self.interfaces.iter().filter_map(|interface| interface.hook.as_ref()) {
            let _ = sys::link_detach(hook.link.as_fd());
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
        info!(?interfaces, "left in place: the program goes on answering from its last plan");
        self.pins
    }
}

impl Attachment {
    fn is_on(&self, index: u32) -> bool {
        sys::link_info(self.link.as_fd()).is_ok_and(|info| info.interface == Some(index))
    }

    /// Takes the program off, at once, and its pin away.
    fn remove(self, pins: &Pins) {
        // Refused by one that is on no interface any more.
        let _ = sys::link_detach(self.link.as_fd());
        if let Some((name, _)) = &self.pin {
            pins.remove(name);
        }
    }
}

impl Interface {
    fn of(placed: Placed, hook: Attachment) -> Self {
        let Placed { name, note, .. } = placed;
        let index = sys::link_info(hook.link.as_fd()).ok().and_then(|info| info.interface);
        Self { name, index, hook: Some(hook), note: note.unwrap_or_default(), taken: care::Recent::default() }
    }
}

/// The links that are pinned in a folder. What cannot be read is an error: it may be one that answers.
fn links(nics: &Nics, folder: &std::path::Path) -> Result<Vec<Attachment>, HookError> {
    let mut hooks = Vec::new();
    let mut last: Option<(u32, Arc<OwnedFd>)> = None;
    for left in pins::links(folder).map_err(HookError::Unknown)? {
        let link = match sys::get(&left.path) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(HookError::Unknown(error)),
        };
        let id = std::fs::symlink_metadata(&left.path).map(|now| pins::id(&now)).map_err(HookError::Unknown)?;
        let pin = Some((left.name, id));
        let info = match sys::link_info(link.as_fd()) {
            Ok(info) => info,
            // Something else by that name: of no use, and removed with the rest.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                hooks.push(Attachment { link, mode: left.mode, program: None, pin });
                continue;
            }
            Err(error) => return Err(HookError::Unknown(error)),
        };
        if last.as_ref().is_none_or(|(id, _)| *id != info.program) {
            last = program(folder, info.program).map(|program| (info.program, Arc::new(program)));
        }
        let program = last.as_ref().map(|(_, program)| Arc::clone(program));
        if info.interface.is_some() && info.interface == nics.index(&left.interface).map_err(HookError::Unknown)? {
            info!(interface = left.interface, mode = left.mode.name(), "found the program there");
        }
        hooks.push(Attachment { link, mode: left.mode, program, pin });
    }
    Ok(hooks)
}

/// The program with this number: as it is pinned, or as the kernel gives it to who may have any.
fn program(folder: &std::path::Path, id: u32) -> Option<OwnedFd> {
    let pinned = sys::get(&folder.join(pins::PROGRAM)).ok();
    let pinned = pinned.filter(|program| sys::program_id(program.as_fd()).is_ok_and(|own| own == id));
    pinned.or_else(|| sys::program_by_id(id).ok())
}

/// The MACs of the configured interfaces.
#[must_use]
pub fn macs_of(interfaces: &[String], macs: &BTreeMap<String, [u8; 6]>) -> Vec<[u8; 6]> {
    interfaces.iter().filter_map(|name| macs.get(name)).copied().collect()
}
