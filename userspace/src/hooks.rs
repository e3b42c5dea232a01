//! The program on its interfaces, for as long as the agent runs.
//!
//! An interface can go and come back under its name (a bond rebuilt, a veth made anew, a module reloaded); the kernel
//! then takes the program off with the old one. [`Hooks::look_after`] sees that and attaches to the new one.

use std::collections::BTreeMap;

use tracing::{error, info, warn};

use crate::{
    admin::Attach,
    kernel::{
        Fastpath, PROGRAM,
        attach::{self, AttachError, Attached, Mode},
    },
    model::{Model, XdpMode},
};

/// The attached program; it is taken off when this is dropped, too.
pub struct Hooks {
    fastpath: Fastpath,
    mode: XdpMode,
    interfaces: Vec<Interface>,
}

/// A configured interface.
struct Interface {
    name: String,
    /// Which interface bore the name at attaching; none while nobody does.
    index: Option<u32>,
    /// None while the program is not on it.
    hook: Option<Attached>,
    /// Why there is no hook, or the wrong mode; empty if all is well.
    note: String,
}

impl Hooks {
    /// A loaded program that is on no interface yet.
    #[must_use]
    pub fn new(fastpath: Fastpath, mode: XdpMode) -> Self {
        Self { fastpath, mode, interfaces: Vec::new() }
    }

    /// Attaches to a further interface.
    pub fn attach(&mut self, name: &str) -> Result<(), AttachError> {
        let mut interface = Interface { name: name.to_owned(), index: None, hook: None, note: String::new() };
        interface.attach(&mut self.fastpath, self.mode)?;
        self.interfaces.push(interface);
        Ok(())
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
            changed |= interface.look_after(&mut self.fastpath, self.mode);
        }
        changed
    }

    /// Takes the program off.
    pub fn detach(mut self) {
        for interface in self.interfaces {
            let (name, Some(hook)) = (interface.name, interface.hook) else { continue };
            let mode = hook.mode;
            match attach::detach(self.fastpath.program(PROGRAM), hook) {
                Ok(()) => info!(interface = name, "detached"),
                // The kernel has done it.
                Err(_) if attach::index(&name) != interface.index => {}
                Err(error) => {
                    let flag = if mode == Mode::Generic { "xdpgeneric" } else { "xdp" };
                    error!("detaching from {name} failed: {error}; try `ip link set {name} {flag} off`");
                }
            }
        }
    }
}

impl Interface {
    fn attach(&mut self, fastpath: &mut Fastpath, mode: XdpMode) -> Result<(), AttachError> {
        // Read first: if the name changes hands meanwhile, the next look at it tells.
        let index = attach::index(&self.name);
        let hook = attach::attach(fastpath.program(PROGRAM), &self.name, mode)?;
        let mode = hook.mode.name();
        match &hook.note {
            None => info!(interface = self.name, mode, "attached"),
            Some(note) => warn!(interface = self.name, mode, "attached; {note}"),
        }
        self.note = hook.note.clone().unwrap_or_default();
        self.index = index;
        self.hook = Some(hook);
        Ok(())
    }

    fn look_after(&mut self, fastpath: &mut Fastpath, mode: XdpMode) -> bool {
        let now = attach::index(&self.name);
        if now == self.index && (self.hook.is_some() || now.is_none()) {
            return false;
        }
        let before = std::mem::take(&mut self.note);
        if let Some(hook) = self.hook.take() {
            warn!(interface = self.name, "the interface is gone, and the program with it");
            // This only frees what stood for the old one.
            let _ = attach::detach(fastpath.program(PROGRAM), hook);
        }
        self.index = now;
        if now.is_none() {
            "the interface is gone".clone_into(&mut self.note);
        } else if let Err(error) = self.attach(fastpath, mode) {
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
pub fn macs_of(model: &Model, macs: &BTreeMap<String, [u8; 6]>) -> Vec<[u8; 6]> {
    model.front.interfaces.iter().filter_map(|name| macs.get(name)).copied().collect()
}
