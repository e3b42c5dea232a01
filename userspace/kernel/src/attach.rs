//! Attaching the program to interfaces, and learning their MACs.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

use super::{nic::Nics, sys};
use zerottl_core::model::XdpMode;

// include/uapi/linux/if_link.h.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The driver whose native answers may not arrive.
const VETH: &str = "veth";
/// Said of `auto` on a veth.
const VETH_AUTO: &str = "veth: native answers arrive only where the other end has an XDP program, too: say native then";
/// Said of `native` on a veth. Neither end can see the other's program, nor whether what it sent was read.
const VETH_NATIVE: &str = "veth: answers arrive only where the other end has an XDP program, too: say generic if not";

/// How the program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the stack, after the socket buffer is made.
    Generic,
}

impl AttachMode {
    /// The word users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
        }
    }
}

/// A program on an interface.
#[derive(Debug)]
pub struct Attached {
    /// It is off once nothing refers to this any more.
    pub link: OwnedFd,
    /// How.
    pub mode: AttachMode,
    /// Why generic, where it was not asked for.
    pub note: Option<String>,
}

/// Why an interface cannot be attached.
#[derive(Debug, thiserror::Error)]
#[error("attaching to {interface} in {} mode failed: {}", .mode.name(), explain(.interface, .cause, *.has_lro))]
pub struct AttachError {
    interface: String,
    mode: AttachMode,
    #[source]
    cause: io::Error,
    has_lro: bool,
}

impl AttachError {
    /// An interface that is not there.
    #[must_use]
    pub fn missing(interface: &str, mode: XdpMode) -> Self {
        let cause = io::Error::new(io::ErrorKind::NotFound, "there is no such interface: see `ip -br link`");
        Self::unknown(interface, mode, cause)
    }

    /// An interface of which the kernel does not tell.
    #[must_use]
    pub fn unknown(interface: &str, mode: XdpMode, cause: io::Error) -> Self {
        let mode = if mode == XdpMode::Generic { AttachMode::Generic } else { AttachMode::Native };
        Self { interface: interface.to_owned(), mode, cause, has_lro: false }
    }
}

/// The modes to try on an interface of this driver, best first. On a veth `auto` does not try native: it would attach,
/// count answers, and have none arrive at an end without a program.
fn modes(mode: XdpMode, driver: Option<&str>) -> &'static [AttachMode] {
    match mode {
        XdpMode::Native => &[AttachMode::Native],
        XdpMode::Generic => &[AttachMode::Generic],
        XdpMode::Auto if driver == Some(VETH) => &[AttachMode::Generic],
        XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
        XdpMode::Off => &[],
    }
}

/// Whether a program that sits like this is as configured.
#[must_use]
pub(crate) fn suits(nics: &Nics, interface: &str, is: AttachMode, configured: XdpMode) -> bool {
    // Which of its modes `auto` came to at the time of attaching may have had its reason.
    modes(configured, nics.driver(interface).as_deref()).contains(&is)
}

/// Why `auto` has come to this, where nothing failed.
#[must_use]
pub fn reason(nics: &Nics, interface: &str, is: AttachMode, configured: XdpMode) -> Option<String> {
    let by_driver = (is, configured) == (AttachMode::Generic, XdpMode::Auto);
    (by_driver && nics.driver(interface).as_deref() == Some(VETH)).then(|| VETH_AUTO.to_owned())
}

/// Returns what should be known of a program that sits like this, though it is as asked for.
#[must_use]
pub(crate) fn caution(nics: &Nics, interface: &str, is: AttachMode) -> Option<String> {
    if is == AttachMode::Generic {
        return None;
    }
    if nics.driver(interface).as_deref() == Some(VETH) {
        return Some(VETH_NATIVE.to_owned());
    }
    nics.has_lro(interface).then(|| {
        format!("large receive offload is on, and what it joins is too long for XDP: `ethtool -K {interface} lro off`")
    })
}

/// Attaches a program to an interface as configured. `auto` falls back to generic whatever native's error was: a
/// driver without XDP, an MTU beyond what it takes in one buffer (ERANGE), a missing queue.
pub fn attach(
    program: BorrowedFd<'_>,
    nics: &Nics,
    interface: &str,
    index: u32,
    mode: XdpMode,
) -> Result<Attached, AttachError> {
    let mut failed: Option<AttachError> = None;
    for try_as in modes(mode, nics.driver(interface).as_deref()) {
        match attach_as(program, nics, interface, index, *try_as) {
            Ok(link) => {
                let before = failed.map(|AttachError { cause, has_lro, mode, .. }| {
                    format!("{} mode failed: {}", mode.name(), explain(interface, &cause, has_lro))
                });
                let note = before.or_else(|| reason(nics, interface, *try_as, mode));
                return Ok(Attached { link, mode: *try_as, note });
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| AttachError::unknown(interface, mode, io::ErrorKind::Unsupported.into())))
}

/// Attaches a program to an interface in one mode.
pub(crate) fn attach_as(
    program: BorrowedFd<'_>,
    nics: &Nics,
    interface: &str,
    index: u32,
    mode: AttachMode,
) -> Result<OwnedFd, AttachError> {
    let failed = |cause| AttachError { interface: interface.to_owned(), mode, cause, has_lro: nics.has_lro(interface) };
    sys::link_create(program, index, mode.flags()).map_err(failed)
}

/// An error and, for the common ones, what to do.
fn explain(interface: &str, error: &io::Error, has_lro: bool) -> String {
    let lro = || if has_lro { format!(", `ethtool -K {interface} lro off`") } else { String::new() };
    let help = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The same mode has another program, or the other mode has, or an interface above this one.
        Some(Errno::BUSY | Errno::EXIST) => {
            format!(
                "another XDP program is attached to it or to a bond above it: see `ip link show {interface}`; `zerottl \
                 detach` removes one of ours"
            )
        }
        Some(Errno::RANGE) => {
            format!("the MTU of {interface} is too large for one buffer: `ip link set {interface} mtu 1500`{}", lro())
        }
        Some(Errno::OPNOTSUPP) => {
            format!(
                "its driver does not run XDP, or not with the features that are on{}: xdp = \"generic\" or \"auto\"",
                lro()
            )
        }
        Some(Errno::INVAL) => {
            format!("its driver takes no program as it is set: `ip link set {interface} mtu 1500`{}", lro())
        }
        Some(Errno::NOMEM | Errno::NOSPC) => {
            format!("its driver may lack a queue for each CPU: `ethtool -l {interface}`")
        }
        _ => return error.to_string(),
    };
    format!("{error}; {help}")
}

/// The MAC of every interface that has one, by name.
pub fn macs() -> io::Result<BTreeMap<String, [u8; 6]>> {
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let mac = entry.address?.as_link_addr()?.addr()?;
        Some((entry.interface_name, mac))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(link).collect())
}

/// Returns the MACs of the configured interfaces.
#[must_use]
pub fn macs_of(interfaces: &[String], macs: &BTreeMap<String, [u8; 6]>) -> Vec<[u8; 6]> {
    interfaces.iter().filter_map(|name| macs.get(name)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_goes_by_driver() {
        let check = |configured, driver, expect: &[AttachMode]| {
            assert_eq!(modes(configured, driver), expect, "{configured:?} on {driver:?}");
        };
        for driver in [None, Some("virtio_net"), Some("ixgbe")] {
            check(XdpMode::Auto, driver, &[AttachMode::Native, AttachMode::Generic]);
        }
        check(XdpMode::Auto, Some("veth"), &[AttachMode::Generic]);
        check(XdpMode::Native, Some("veth"), &[AttachMode::Native]);
        check(XdpMode::Generic, Some("ixgbe"), &[AttachMode::Generic]);
        check(XdpMode::Off, Some("ixgbe"), &[]);
    }

    #[test]
    fn common_errors_say_what_to_do() {
        let check = |errno: Errno, has_lro, words: &[&str]| {
            let said = explain("eth9", &errno.into(), has_lro);
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        check(Errno::BUSY, false, &["another XDP program", "ip link show eth9", "zerottl detach"]);
        check(Errno::EXIST, false, &["another XDP program", "ip link show eth9", "zerottl detach"]);
        check(Errno::RANGE, false, &["mtu 1500"]);
        check(Errno::INVAL, true, &["lro off"]);
        check(Errno::OPNOTSUPP, false, &["\"generic\""]);
        check(Errno::NOMEM, false, &["ethtool -l eth9"]);
        assert!(!explain("eth9", &Errno::MFILE.into(), false).contains(';'));
    }
}
