//! Connections that are handed over: from the director to this process, and from it to others.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    io::{Errno, ioctl_fionbio},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

use crate::message::{self, MESSAGE_MAX, NAME_MAX, ServerMessage};

/// Descriptors of one message that are looked at; the kernel closes what is beyond them.
const DESCRIPTORS_MAX: usize = 4;

/// The socket by which connections that have waited are handed to this process, and by which it hands its own on.
///
/// A thread that receives is the simplest way to have it beside an event loop; one that waits for descriptors itself waits
/// for this one, see [`Handover::set_nonblocking`]. Sending never blocks.
#[derive(Debug)]
pub struct Handover(OwnedFd);

/// A connection that was not given on, and still is this process's.
#[derive(Debug, thiserror::Error)]
#[error("handing the connection over to `{to}`: {source}")]
pub struct GiveError {
    /// The connection.
    pub stream: TcpStream,
    to: String,
    #[source]
    source: io::Error,
}

impl Handover {
    /// Takes a connected socket of type `SOCK_SEQPACKET`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sets whether [`Handover::receive`] fails with `WouldBlock` instead of waiting. The director has another socket, whose
    /// mode stays.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(ioctl_fionbio(&self.0, nonblocking)?)
    }

    /// Receives the next connection and its client: nothing was read from it, and it blocks. `None` is that nothing will
    /// come any more, since the director has closed its end; connections at the listeners still do.
    ///
    /// What is no such message is passed over.
    pub fn receive(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            let mut bytes = [0; MESSAGE_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let got = match recvmsg(&self.0, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut fds: Vec<OwnedFd> = with
                .drain()
                .flat_map(|one| match one {
                    RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                    _ => Vec::new(),
                })
                .collect();
            // There are no messages without bytes.
            if got.bytes == 0 {
                return Ok(None);
            }
            let is_whole = !got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
            if let (true, Some(client), 1, Some(fd)) =
                (is_whole, message::client(&bytes[..got.bytes]), fds.len(), fds.pop())
            {
                let stream = TcpStream::from(fd);
                stream.set_nonblocking(false)?;
                return Ok(Some((stream, client)));
            }
        }
    }

    /// Hands a connection to another server process or server by its name, or to any if `to` is empty: for a session that
    /// the other one holds. What was read from it is gone, so look without taking (`TcpStream::peek`). It fails with
    /// `WouldBlock` while the director reads nothing.
    pub fn give(&self, stream: TcpStream, to: &str) -> Result<(), GiveError> {
        let given = match ServerMessage::Give(to.to_owned()).to_bytes() {
            Some(message) => self.send(&message, &[stream.as_fd()]),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a name has {NAME_MAX} bytes at most"))),
        };
        given.map_err(|source| GiveError { stream, to: to.to_owned(), source })
    }

    /// Tells the director that a connection which was handed over is closed. Where the kernel counts connections this is
    /// not needed and does no harm.
    pub fn closed(&self) -> io::Result<()> {
        ServerMessage::Done.to_bytes().map_or(Ok(()), |message| self.send(&message, &[]))
    }

    fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(message)], &mut with, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Handover {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Handover {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// The director's end, and the server's.
    fn pair() -> (Handover, Handover) {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Handover::new(one), Handover::new(other))
    }

    /// A client, and its connection as a server has it.
    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn sends(director: &Handover, message: &[u8], fds: &[&TcpStream]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&director.0, &[IoSlice::new(message)], &mut with, SendFlags::NOSIGNAL).unwrap();
    }

    #[test]
    fn a_connection_comes_with_its_client() {
        let (director, server) = pair();
        let (mut client, connection) = connected();
        let address = client.local_addr().unwrap();
        sends(&director, &message::connection(address), &[&connection]);
        drop(connection);
        let (mut stream, from) = server.receive().unwrap().unwrap();
        assert_eq!((from, stream.peer_addr().unwrap()), (address, address));
        stream.write_all(b"hello").unwrap();
        drop(stream);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    /// Whatever comes with a message that is not understood is closed, and the next message is read.
    #[test]
    fn other_messages_are_passed_over_and_their_descriptors_closed() {
        let (director, server) = pair();
        let (mut client, connection) = connected();
        let address = client.local_addr().unwrap();
        let right = message::connection(address);
        sends(&director, b"\x02C and more of a later version", &[&connection]);
        sends(&director, &right, &[]);
        sends(&director, &right, &[&connection, &connection]);
        sends(&director, &right, &[&connection; 8]);
        sends(&director, &[1; 2 * MESSAGE_MAX], &[]);
        sends(&director, &right, &[&connection]);
        drop(connection);
        let (stream, from) = server.receive().unwrap().unwrap();
        assert_eq!(from, address);
        drop(stream);
        // Nobody has the connection any more: its client meets the end.
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop(director);
        assert!(server.receive().unwrap().is_none());
    }

    #[test]
    fn without_blocking_nothing_is_an_error_of_its_own() {
        let (_director, server) = pair();
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_connection_is_given_on_or_kept() {
        let (director, server) = pair();
        let (mut client, connection) = connected();
        let long = "x".repeat(NAME_MAX + 1);
        let kept = server.give(connection, &long).unwrap_err();
        assert!(kept.to_string().contains("255 bytes"), "{kept}");
        server.give(kept.stream, "app-2").unwrap();
        server.closed().unwrap();
        let read = || {
            let mut bytes = [0; MESSAGE_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(&director.0, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC).unwrap();
            let fds = with.drain().map(|one| match one {
                RecvAncillaryMessage::ScmRights(fds) => fds.count(),
                _ => 0,
            });
            (fds.sum::<usize>(), ServerMessage::read(&bytes[..got.bytes]))
        };
        assert_eq!(read(), (1, Some(ServerMessage::Give("app-2".to_owned()))));
        assert_eq!(read(), (0, Some(ServerMessage::Done)));
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop(director);
        let (_client, connection) = connected();
        assert!(server.give(connection, "").is_err());
    }
}
