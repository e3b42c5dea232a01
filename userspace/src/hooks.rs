//! The program on its interfaces, which outlives the agent.
//!
//! Each interface has one link, pinned, so that the program goes on answering when the agent is killed. The next agent
//! takes the link over and puts its own program in the place of the one before, in one step: no packet meets neither. The same
//! is how a new configuration comes into force.
//!
//! An interface can go and come back under its name (a bond rebuilt, a veth made anew, a module reloaded); the kernel
//! then takes the program off with the old one. [`Hooks::look_after`] sees that and attaches to the new one.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
};

use tracing::{error, info, warn};

use crate::{
    admin::Attach,
    kernel::{
        attach::{self, AttachError, Attached, Mode},
        pins::{PinError, Pins},
        sys,
    },
    model::XdpMode,
};

/// The program on its interfaces.
pub struct Hooks {
    pins: Pins,
    program: OwnedFd,
    mode: XdpMode,
    interfaces: Vec<Interface>,
}

/// A configured interface.
struct Interface {
    name: String,
    /// Which interface bore the name at attaching; none while nobody does.
    index: Option<u32>,
    /// None while the program is not on it.
    hook: Option<Hook>,
    /// Why there is no hook, or the wrong mode; empty if all is well.
    note: String,
}

struct Hook {
    link: OwnedFd,
    mode: Mode,
}

/// Why the program is not on its interfaces.
#[derive(Debug)]
pub enum HookError {
    /// It cannot be attached.
    Attach(AttachError),
    /// It cannot be pinned.
    Pin(PinError),
    /// Another program is on this interface's link: another agent has taken over.
    Replaced(String, io::Error),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(error) => error.fmt(f),
            Self::Pin(error) => error.fmt(f),
            Self::Replaced(interface, error) => {
                write!(f, "the program on {interface} is not this agent's any more ({error}): another has taken over")
            }
        }
    }
}

impl std::error::Error for HookError {}

impl Hooks {
    /// Puts the program on each interface: on a link that was left there, in the place of the program that it has, else on
    /// a new one. Links of other interfaces are removed.
    pub fn start(pins: Pins, program: OwnedFd, mode: XdpMode, interfaces: &[String]) -> Result<Self, HookError> {
        let mut hooks = Self { pins, program, mode, interfaces: Vec::new() };
        for left in hooks.pins.links() {
            let index = attach::index(&left.interface);
            let wanted = interfaces.contains(&left.interface) && suits(left.mode, mode);
            let link = sys::get(&left.path).ok().filter(|link| wanted && attach::index_of(link) == index);
            // Whatever it has: the folder's lock says that nobody else is at work.
            let adopted = link.filter(|link| sys::link_update(link.as_fd(), hooks.program.as_fd(), None).is_ok());
            let Some(link) = adopted else {
                info!(interface = left.interface, "a link that was left is of no use: removed");
                let _ = std::fs::remove_file(&left.path);
                continue;
            };
            info!(interface = left.interface, mode = left.mode.name(), "taken over");
            let hook = Some(Hook { link, mode: left.mode });
            hooks.interfaces.push(Interface { name: left.interface, index, hook, note: String::new() });
        }
        for name in interfaces {
            if hooks.interfaces.iter().all(|interface| interface.name != *name) {
                hooks.attach(name)?;
            }
        }
        Ok(hooks)
    }

    /// Attaches to a further interface.
    fn attach(&mut self, name: &str) -> Result<(), HookError> {
        let mut interface = Interface { name: name.to_owned(), index: None, hook: None, note: String::new() };
        interface.attach(&self.program, self.mode, &self.pins)?;
        self.interfaces.push(interface);
        Ok(())
    }

    /// Puts another program in the place of this one on every interface, and attaches it to those that are new. If one
    /// of them cannot be, everything is as it was.
    pub fn switch(&mut self, program: OwnedFd, interfaces: &[String]) -> Result<(), HookError> {
        let before = std::mem::replace(&mut self.program, program);
        let known = self.interfaces.len();
        let new = interfaces.iter().filter(|name| self.interfaces.iter().all(|known| known.name != **name));
        let new: Vec<&String> = new.collect();
        let result = new.into_iter().try_for_each(|name| self.attach(name)).and_then(|()| {
            self.interfaces[..known].iter().try_for_each(|interface| interface.update(&self.program, &before))
        });
        if let Err(error) = result {
            for interface in &self.interfaces[..known] {
                // Those that were not updated refuse it, as they have another program.
                let _ = interface.update(&before, &self.program);
            }
            for interface in self.interfaces.split_off(known) {
                interface.remove(&self.pins);
            }
            self.program = before;
            return Err(error);
        }
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.interfaces).into_iter().partition(|known| interfaces.contains(&known.name));
        self.interfaces = kept;
        for interface in gone {
            interface.remove(&self.pins);
        }
        Ok(())
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

    /// Notices interfaces that have gone, and attaches to those that have come back. Whether anything changed.
    pub fn look_after(&mut self) -> bool {
        let mut changed = false;
        for interface in &mut self.interfaces {
            changed |= interface.look_after(&self.program, self.mode, &self.pins);
        }
        changed
    }

    /// Takes the program off, and leaves nothing.
    pub fn detach(self) {
        let folder = self.pins.folder().display().to_string();
        // The last references to the links, once their pins are gone.
        let links: Vec<_> = self.interfaces.into_iter().filter_map(|interface| interface.hook).collect();
        match self.pins.clear() {
            Ok(interfaces) => {
                drop(links);
                info!(?interfaces, "detached");
            }
            Err(error) => error!("removing {folder} failed: {error}; try `zerottl detach`"),
        }
    }

    /// Leaves the program where it is, answering from its last plan.
    pub fn keep(self) {
        let interfaces: Vec<_> = self.interfaces.iter().map(|interface| &interface.name).collect();
        info!(?interfaces, "left in place: the program goes on answering from its last plan");
    }
}

/// Whether a program that sits like this is as configured.
fn suits(is: Mode, configured: XdpMode) -> bool {
    match configured {
        XdpMode::Native => is == Mode::Native,
        XdpMode::Generic => is == Mode::Generic,
        XdpMode::Auto => true,
        XdpMode::Off => false,
    }
}

impl Interface {
    fn attach(&mut self, program: &OwnedFd, mode: XdpMode, pins: &Pins) -> Result<(), HookError> {
        // Read first: if the name changes hands meanwhile, the next look at it tells.
        let index = attach::index(&self.name);
        let Attached { link, mode, note } =
            attach::attach(program.as_fd(), &self.name, mode).map_err(HookError::Attach)?;
        pins.pin_link(&link, &self.name, mode).map_err(HookError::Pin)?;
        match &note {
            None => info!(interface = self.name, mode = mode.name(), "attached"),
            Some(note) => warn!(interface = self.name, mode = mode.name(), "attached; {note}"),
        }
        self.note = note.unwrap_or_default();
        self.index = index;
        self.hook = Some(Hook { link, mode });
        Ok(())
    }

    /// Puts a program in the place of another; nothing to do while the interface is gone.
    fn update(&self, to: &OwnedFd, from: &OwnedFd) -> Result<(), HookError> {
        let Some(hook) = &self.hook else { return Ok(()) };
        match sys::link_update(hook.link.as_fd(), to.as_fd(), Some(from.as_fd())) {
            // `look_after` will see to it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOLINK.raw_os_error()) => Ok(()),
            result => result.map_err(|error| HookError::Replaced(self.name.clone(), error)),
        }
    }

    /// Takes the program off.
    fn remove(self, pins: &Pins) {
        self.unpin(pins);
        info!(interface = self.name, "detached");
    }

    fn unpin(&self, pins: &Pins) {
        for link in pins.links().into_iter().filter(|link| link.interface == self.name) {
            if let Err(error) = std::fs::remove_file(&link.path) {
                error!("removing {} failed: {error}", link.path.display());
            }
        }
    }

    fn look_after(&mut self, program: &OwnedFd, mode: XdpMode, pins: &Pins) -> bool {
        let now = attach::index(&self.name);
        if now == self.index && (self.hook.is_some() || now.is_none()) {
            return false;
        }
        let before = std::mem::take(&mut self.note);
        if self.hook.is_some() {
            warn!(interface = self.name, "the interface is gone, and the program with it");
            // One that was only renamed must not go on answering under a name that nobody configured.
            self.unpin(pins);
            self.hook = None;
        }
        self.index = now;
        if now.is_none() {
            "the interface is gone".clone_into(&mut self.note);
        } else if let Err(error) = self.attach(program, mode, pins) {
            self.note = error.to_string();
            // Tried again every time, told once.
            if self.note != before {
                error!(interface = self.name, "{error}; queries take the socket path");
            }
        }
        self.hook.is_some() || self.note != before
    }
}

/// The MACs of the configured interfaces.
#[must_use]
pub fn macs_of(interfaces: &[String], macs: &BTreeMap<String, [u8; 6]>) -> Vec<[u8; 6]> {
    interfaces.iter().filter_map(|name| macs.get(name)).copied().collect()
}
