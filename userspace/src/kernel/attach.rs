//! Attaching the program to interfaces, and learning their MACs.

use std::{collections::BTreeMap, error::Error, fmt};

use aya::programs::{ProgramError, Xdp, XdpMode as Flags, xdp::XdpLinkId};

use crate::model::XdpMode;

/// How the program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, after the socket buffer is made.
    Generic,
}

impl Mode {
    /// The word users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// One attached interface.
#[derive(Debug)]
pub struct Attached {
    /// Its name.
    pub interface: String,
    /// How.
    pub mode: Mode,
    /// Why generic, where native was tried.
    pub note: Option<String>,
    link: XdpLinkId,
}

/// Why an interface cannot be attached.
#[derive(Debug)]
pub struct AttachError {
    interface: String,
    mode: Mode,
    cause: String,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, mode, cause } = self;
        write!(f, "attaching to {interface} in {} mode failed: {cause}", mode.name())
    }
}

impl Error for AttachError {}

/// Attaches the program to an interface as configured. `auto` falls back to generic whatever native's error was: a
/// driver without XDP, an MTU beyond what it takes in one buffer (ERANGE), a missing queue.
pub fn attach(program: &mut Xdp, interface: &str, mode: XdpMode) -> Result<Attached, AttachError> {
    let attached = |link, mode, note| Attached { interface: interface.to_owned(), mode, note, link };
    let failed = |mode, cause: &ProgramError| AttachError {
        interface: interface.to_owned(),
        mode,
        cause: explain(interface, cause),
    };
    if mode != XdpMode::Generic {
        match program.attach(interface, Flags::Driver) {
            Ok(link) => return Ok(attached(link, Mode::Native, None)),
            Err(error) if mode == XdpMode::Auto && !matches!(error, ProgramError::UnknownInterface { .. }) => {
                let note = format!("native mode failed: {}", explain(interface, &error));
                let link = program.attach(interface, Flags::Skb).map_err(|error| failed(Mode::Generic, &error))?;
                return Ok(attached(link, Mode::Generic, Some(note)));
            }
            Err(error) => return Err(failed(Mode::Native, &error)),
        }
    }
    let link = program.attach(interface, Flags::Skb).map_err(|error| failed(Mode::Generic, &error))?;
    Ok(attached(link, Mode::Generic, None))
}

/// Takes the program off an interface.
pub fn detach(program: &mut Xdp, attached: Attached) -> Result<(), ProgramError> {
    program.detach(attached.link)
}

/// An error with its causes and, for the common ones, what to do.
fn explain(interface: &str, error: &ProgramError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    let mut code = None;
    while let Some(cause) = source {
        code = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error).or(code);
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    match code.map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::BUSY) => {
            format!("{text}; another XDP program is attached: see `ip link show {interface}`")
        }
        Some(rustix::io::Errno::RANGE) => {
            format!("{text}; the MTU of {interface} is too large for one buffer: `ip link set {interface} mtu 1500`")
        }
        _ => text,
    }
}

/// The number of the interface that bears a name now.
#[must_use]
pub fn index(interface: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(interface).ok()
}

/// The MAC of every interface that has one, by name.
pub fn macs() -> std::io::Result<BTreeMap<String, [u8; 6]>> {
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let mac = entry.address?.as_link_addr()?.addr()?;
        Some((entry.interface_name, mac))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(link).collect())
}
