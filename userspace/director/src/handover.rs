//! Connections by message: each goes to a server with its client's address, by a socket of whole messages
//! (`SOCK_SEQPACKET`), and a server may give one back. The messages are those of [`zerottl_server::message`].
//!
//! The director keeps the server's end as well: what a server that has died had not yet read is not lost.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use zerottl_server::message::{self, MESSAGE_MAX, ServerMessage};

/// Descriptors of one message that are taken, to be closed but for the first.
const DESCRIPTORS_MAX: usize = 8;

/// A message of a server.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A connection for another server: for the one of this name, or any.
    Given {
        /// A server's or a process's name; empty is any.
        to: String,
        /// The connection.
        connection: OwnedFd,
    },
    /// A connection that it was handed is closed.
    Done,
    /// Nothing that is known.
    Unknown,
}

/// Makes the two ends: ours, and the server's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Sends a connection. `WouldBlock` if the server reads too slowly.
pub(crate) fn send(socket: impl AsFd, client: SocketAddr, connection: BorrowedFd<'_>) -> io::Result<()> {
    let message = message::connection(SocketAddr::new(client.ip().to_canonical(), client.port()));
    let descriptors = [connection];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(&socket, &[IoSlice::new(&message)], &mut with, flags)?;
    Ok(())
}

/// Reads one message: its bytes, and the first descriptor that came with it. `None` at the end.
fn read(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut with, flags)?;
    // All are taken, so that those beyond the first are closed.
    let descriptors: Vec<OwnedFd> = with
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if got.bytes == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    let message = bytes.get(..got.bytes).unwrap_or_default().to_vec();
    Ok(Some((message, descriptors.into_iter().next())))
}

/// Receives a message of a server. `None` once it has closed its end; `WouldBlock` if there is none.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Handed>> {
    let Some((message, descriptor)) = read(socket)? else { return Ok(None) };
    Ok(Some(match (ServerMessage::read(&message), descriptor) {
        (Some(ServerMessage::Give(to)), Some(connection)) => Handed::Given { to, connection },
        (Some(ServerMessage::Done), None) => Handed::Done,
        _ => Handed::Unknown,
    }))
}

/// Returns the bytes of the first message that a server has not read, from its own end; none if it has read all.
pub(crate) fn first_unread(theirs: impl AsFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let (length, _) = recv(theirs, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).ok()?;
    bytes.truncate(length);
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// Takes back what a server had not read, from its own end: connections and their clients.
pub(crate) fn unread(theirs: impl AsFd) -> Vec<(SocketAddr, OwnedFd)> {
    // The kernel keeps no more messages than this in a socket's queue by far.
    const UNREAD_MAX: usize = 4096;
    let one = |_| read(theirs.as_fd()).ok().flatten();
    (0..UNREAD_MAX)
        .map_while(one)
        .filter_map(|(message, descriptor)| Some((message::client(&message)?, descriptor?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("its place")).expect("connect");
        (client, listener.accept().expect("accept").0)
    }

    fn give(socket: &OwnedFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(socket, &[IoSlice::new(message)], &mut with, SendFlags::empty()).expect("send");
    }

    /// A connection that a server had not read when it died is had again, and the client notices nothing.
    #[test]
    fn what_was_not_read_comes_back() {
        let (ours, theirs) = pair().expect("two ends");
        let (mut client, server) = connection();
        let at = client.local_addr().expect("its place");
        send(&ours, at, server.as_fd()).expect("room");
        drop(server);
        let first = first_unread(&theirs).expect("it is there");
        assert_eq!((message::client(&first), first_unread(&theirs)), (Some(at), Some(first.clone())), "it stays there");
        let back = unread(&theirs);
        let [(from, connection)] = &back[..] else { panic!("{back:?}") };
        assert_eq!(*from, at);
        let mut server = TcpStream::from(connection.try_clone().expect("a copy"));
        server.write_all(b"hello").expect("sent");
        let mut said = [0; 5];
        client.read_exact(&mut said).expect("received");
        assert!(unread(&theirs).is_empty() && first_unread(&theirs).is_none());
    }

    #[test]
    fn servers_give_connections_back() {
        let (ours, theirs) = pair().expect("two ends");
        let (_client, server) = connection();
        give(&theirs, b"\x01G\x05app-2", &[server.as_fd()]);
        assert!(matches!(receive(&ours), Ok(Some(Handed::Given { to, .. })) if to == "app-2"));
        give(&theirs, b"\x01G\x00", &[server.as_fd(), server.as_fd()]);
        assert!(matches!(receive(&ours), Ok(Some(Handed::Given { to, .. })) if to.is_empty()));
        give(&theirs, b"\x01D", &[]);
        assert!(matches!(receive(&ours), Ok(Some(Handed::Done))));
        let wrong: [(&[u8], &[BorrowedFd<'_>]); 5] = [
            (b"\x01G\x05app-2", &[]),
            (b"\x01G\x09app-2", &[server.as_fd()]),
            (b"\x01G\x01\xff", &[server.as_fd()]),
            (b"\x01D", &[server.as_fd()]),
            (b"\x02D", &[]),
        ];
        for (message, descriptors) in wrong {
            give(&theirs, message, descriptors);
            assert!(matches!(receive(&ours), Ok(Some(Handed::Unknown))), "{message:?}");
        }
        assert_eq!(receive(&ours).expect_err("nothing there").kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert!(matches!(receive(&ours), Ok(None)));
    }
}
