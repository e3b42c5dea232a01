//! Listening sockets: one for each process and address, all of an address in one group (`SO_REUSEPORT`).
//!
//! The kernel lets a socket into a group only if all are of one user, so the director makes them all. Sockets of servers block, as
//! programs in any language expect of a socket that they did not make; the director's own ones, where connections
//! wait, do not. Blocking is a property of the open socket, which the copies that the director holds share: it must not be
//! changed through them.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, ipproto, listen, shutdown, socket_with,
        sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport},
    },
};
use zerottl_host::socket_names::listener_name;

/// Connections that may wait to be accepted, at most; `net.core.somaxconn` bounds it.
const BACKLOG: i32 = 4096;

/// The process that accepts from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerOwner {
    /// A server: the socket blocks.
    Server,
    /// The director: it does not.
    Director,
}

/// The reason why there is no listening socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the address.
    #[error(
        "{0} is in use: by another program, which has to be stopped or moved (`ss -ltnp` shows it), or by a director or \
         server of another user, whose sockets cannot be joined"
    )]
    InUse(SocketAddr),
    /// The address is not of this machine.
    #[error("{0} is no address of this machine: give it to an interface, or change `listen` of [director] or [web]")]
    NotOurs(SocketAddr),
    /// A port below 1024.
    #[error("{0}: the port is reserved: run this as root, or with CAP_NET_BIND_SERVICE")]
    Reserved(SocketAddr),
    /// The kernel has no such addresses.
    #[error("{0}: this machine has no such addresses; is IPv6 off? Change `listen` of [director] or [web]")]
    NoFamily(SocketAddr),
    /// Anything else.
    #[error("listening on {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

impl ListenError {
    fn new(at: SocketAddr, errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => Self::InUse(at),
            Errno::ADDRNOTAVAIL => Self::NotOurs(at),
            Errno::ACCESS => Self::Reserved(at),
            Errno::AFNOSUPPORT => Self::NoFamily(at),
            errno => Self::Other(at, errno.into()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// Its address.
    pub at: SocketAddr,
    socket: OwnedFd,
}

impl Listener {
    /// Makes one, close-on-exec, in the group of those that listen there already. It takes connections from now on, unless a
    /// program of the group chooses others.
    pub fn new(at: SocketAddr, owner: ListenerOwner) -> Result<Self, ListenError> {
        let made = || -> Result<Self, Errno> {
            let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
            let mut flags = SocketFlags::CLOEXEC;
            flags.set(SocketFlags::NONBLOCK, owner == ListenerOwner::Director);
            let socket = socket_with(family, SocketType::STREAM, flags, None)?;
            set_socket_reuseaddr(&socket, true)?;
            set_socket_reuseport(&socket, true)?;
            if at.is_ipv6() {
                set_ipv6_v6only(&socket, true)?;
            }
            bind(&socket, &at)?;
            listen(&socket, BACKLOG)?;
            // With port 0 the kernel has found one.
            let at = SocketAddr::try_from(getsockname(&socket)?)?;
            Ok(Self { at, socket })
        };
        made().map_err(|errno| ListenError::new(at, errno))
    }

    /// Makes one for each address, in their order.
    pub fn all(at: &[SocketAddr], owner: ListenerOwner) -> Result<Vec<Self>, ListenError> {
        at.iter().map(|at| Self::new(*at, owner)).collect()
    }

    /// Takes one that the keeper has held; none if it does not listen any more, or not over TCP.
    #[must_use]
    pub fn adopt(socket: OwnedFd) -> Option<Self> {
        use rustix::net::sockopt::{socket_acceptconn, socket_protocol};
        let is_tcp = socket_protocol(&socket).is_ok_and(|protocol| protocol == Some(ipproto::TCP));
        let listens = socket_acceptconn(&socket).unwrap_or(false);
        let at = getsockname(&socket).ok().and_then(|at| SocketAddr::try_from(at).ok());
        at.filter(|_| is_tcp && listens).map(|at| Self { at, socket })
    }

    /// Returns its name in `LISTEN_FDNAMES`.
    #[must_use]
    pub fn name(&self) -> String {
        listener_name(self.at)
    }

    /// Stops listening, whoever else has a copy: what is in its queue goes to the others of its group if their program migrates,
    /// and is reset otherwise. It cannot be undone.
    pub fn stop(&self) -> io::Result<()> {
        match shutdown(&self.socket, Shutdown::Both) {
            // It has stopped already.
            Err(Errno::NOTCONN) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.socket
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::{
        fs::{OFlags, fcntl_getfl},
        io::{FdFlags, fcntl_getfd},
    };

    use super::*;

    #[test]
    fn several_listen_at_one_place() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let server = Listener::new(any.parse().unwrap(), ListenerOwner::Server).unwrap();
            // Its port is taken from here on: nobody else's listener comes between.
            let place = server.at;
            let own = Listener::new(place, ListenerOwner::Director).unwrap();
            for (listener, blocks) in [(&server, true), (&own, false)] {
                assert_eq!(!fcntl_getfl(listener).unwrap().contains(OFlags::NONBLOCK), blocks);
                assert!(fcntl_getfd(listener).unwrap().contains(FdFlags::CLOEXEC));
            }
            server.stop().unwrap();
            server.stop().unwrap();
            let copy = server.as_fd().try_clone_to_owned().unwrap();
            assert!(Listener::adopt(copy).is_none(), "it has stopped, copies too");
            let name = own.name();
            let own = Listener::adopt(own.into()).unwrap();
            assert_eq!((own.at, own.name()), (place, name));
            TcpStream::connect(place).unwrap();
        }
        assert!(Listener::adopt(tempfile::tempfile().unwrap().into()).is_none());
    }

    #[test]
    fn a_port_that_the_kernel_finds_is_known() {
        let any = "127.0.0.1:0".parse().unwrap();
        TcpStream::connect(Listener::new(any, ListenerOwner::Server).unwrap().at).unwrap();
    }

    #[test]
    fn a_fault_says_where_and_what_to_do() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let foreign = "192.0.2.77:80".parse().unwrap();
        let fault = |at| Listener::new(at, ListenerOwner::Server).unwrap_err().to_string();
        assert!(fault(taken).starts_with(&format!("{taken} is in use: by another program")), "{}", fault(taken));
        assert!(fault(foreign).starts_with("192.0.2.77:80 is no address of this machine"), "{}", fault(foreign));
        let all = Listener::all(&["127.0.0.1:0".parse().unwrap(), taken], ListenerOwner::Director);
        assert!(matches!(all, Err(ListenError::InUse(at)) if at == taken));
    }
}
