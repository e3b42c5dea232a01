//! Attaching the program to interfaces, and learning their MACs.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, fs, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use super::sys;
use crate::model::XdpMode;

// include/uapi/linux/if_link.h.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

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

/// A program on an interface.
#[derive(Debug)]
pub struct Attached {
    /// It is off once nothing refers to this any more.
    pub link: OwnedFd,
    /// How.
    pub mode: Mode,
    /// Why generic, where native was tried.
    pub note: Option<String>,
}

/// Why an interface cannot be attached.
#[derive(Debug)]
pub struct AttachError {
    interface: String,
    mode: Mode,
    cause: io::Error,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, mode, cause } = self;
        write!(f, "attaching to {interface} in {} mode failed: {}", mode.name(), explain(interface, cause))
    }
}

impl Error for AttachError {}

/// Attaches a program to an interface as configured. `auto` falls back to generic whatever native's error was: a
/// driver without XDP, an MTU beyond what it takes in one buffer (ERANGE), a missing queue.
pub fn attach(program: BorrowedFd<'_>, interface: &str, mode: XdpMode) -> Result<Attached, AttachError> {
    let failed = |mode| move |cause| AttachError { interface: interface.to_owned(), mode, cause };
    let native_first = mode != XdpMode::Generic;
    let Some(index) = index(interface) else {
        let mode = if native_first { Mode::Native } else { Mode::Generic };
        return Err(failed(mode)(io::Error::new(io::ErrorKind::NotFound, "there is no such interface")));
    };
    let mut note = None;
    if native_first {
        match sys::link_create(program, index, XDP_FLAGS_DRV_MODE) {
            Ok(link) => return Ok(Attached { link, mode: Mode::Native, note: None }),
            Err(error) if mode == XdpMode::Auto => {
                note = Some(format!("native mode failed: {}", explain(interface, &error)));
            }
            Err(error) => return Err(failed(Mode::Native)(error)),
        }
    }
    let link = sys::link_create(program, index, XDP_FLAGS_SKB_MODE).map_err(failed(Mode::Generic))?;
    Ok(Attached { link, mode: Mode::Generic, note })
}

/// The number of the interface that a link is on, by /proc/self/fdinfo; none once that has gone.
#[must_use]
pub fn index_of(link: &OwnedFd) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).ok()?;
    let index = info.lines().find_map(|line| line.strip_prefix("ifindex:"))?;
    index.trim().parse().ok().filter(|index| *index != 0)
}

/// An error and, for the common ones, what to do.
fn explain(interface: &str, error: &io::Error) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::BUSY) => {
            format!(
                "{error}; another XDP program is attached: see `ip link show {interface}`; `zerottl detach` removes one of ours"
            )
        }
        Some(rustix::io::Errno::RANGE) => {
            format!("{error}; the MTU of {interface} is too large for one buffer: `ip link set {interface} mtu 1500`")
        }
        _ => error.to_string(),
    }
}

/// The number of the interface that bears a name now.
#[must_use]
pub fn index(interface: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(interface).ok()
}

/// The MAC of every interface that has one, by name.
pub fn macs() -> io::Result<BTreeMap<String, [u8; 6]>> {
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let mac = entry.address?.as_link_addr()?.addr()?;
        Some((entry.interface_name, mac))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(link).collect())
}
