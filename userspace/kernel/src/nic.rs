//! The kernel's facts about an interface, by name: its number, its driver, and a feature that stands against XDP.
//!
//! One socket is kept for all questions, so that asking takes no descriptor: a process that has none left must not take an
//! interface for gone.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::c_void,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with},
};

// Of include/uapi/linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;
/// Of include/uapi/linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// Where interfaces are asked about.
#[derive(Debug)]
pub struct Nics {
    socket: OwnedFd,
}

impl Nics {
    /// Interfaces of the network namespace of this thread.
    pub fn new() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket })
    }

    /// The number of the interface that bears a name now; none if there is none. An error says nothing about either.
    pub fn index(&self, interface: &str) -> io::Result<Option<u32>> {
        match name_to_index(&self.socket, interface) {
            Ok(index) => Ok(Some(index)),
            Err(Errno::NODEV | Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of an interface's driver, where it says.
    #[must_use]
    pub fn driver(&self, interface: &str) -> Option<String> {
        let mut info = DriverInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.ethtool(interface, &mut info).ok()?;
        let end = info.driver.iter().position(|byte| *byte == 0).unwrap_or(info.driver.len());
        std::str::from_utf8(&info.driver[..end]).ok().map(ToOwned::to_owned)
    }

    /// Whether large receive offload (LRO) is known to be on.
    #[must_use]
    pub(crate) fn has_lro(&self, interface: &str) -> bool {
        let mut flags = Value { cmd: ETHTOOL_GFLAGS, data: 0 };
        self.ethtool(interface, &mut flags).is_ok() && flags.data & ETH_FLAG_LRO != 0
    }

    fn ethtool<T>(&self, interface: &str, command: &mut T) -> io::Result<()> {
        // SAFETY: zeroes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        if interface.len() > room {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast::<libc::c_char>();
        let request: *mut c_void = std::ptr::from_mut(&mut request).cast();
        // SAFETY: the request points to one of the structs above, as long as the kernel takes its command to be.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_nothing_else_is_made_up() {
        let nics = Nics::new().expect("a socket");
        assert!(nics.index("lo").expect("known").is_some());
        assert_eq!(nics.index("nowhere0").expect("known"), None);
        assert_eq!(nics.driver("nowhere0"), None);
        assert!(!nics.has_lro("lo") && !nics.has_lro("a-name-that-is-too-long"));
    }
}
