//! Frames as they are, right or not, put on a machine's wire.
#![expect(unsafe_code, reason = "addresses of packet sockets, which no library here has")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use crate::netns::Netns;

/// A sender of frames on one interface.
#[derive(Debug)]
pub struct FrameSender {
    socket: OwnedFd,
}

impl FrameSender {
    /// Opens one on an interface of a machine.
    pub fn new(machine: &Netns, interface: &'static str) -> io::Result<Self> {
        machine.run(move || {
            let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            let index = name_to_index(&any, interface)?;
            // SAFETY: a call without pointers; protocol 0 receives nothing.
            let number = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: a new descriptor that nothing else owns.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            // SAFETY: zeros are a valid value of it.
            let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as libc::c_ushort;
            address.sll_ifindex = index.cast_signed();
            let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: the address lives until the call returns, and its length is given.
            let failed = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
            if failed == 0 { Ok(Self { socket }) } else { Err(io::Error::last_os_error()) }
        })?
    }

    /// Sends a frame; whether there was room for it. The kernel takes none without an Ethernet header.
    pub fn send(&self, frame: &[u8]) -> io::Result<bool> {
        match rustix::net::send(&self.socket, frame, rustix::net::SendFlags::empty()) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOBUFS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
