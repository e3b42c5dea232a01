//! The messages on the hand-over socket, one datagram each.
//!
//! ```text
//! director ─> server    a connection for it: one descriptor comes along
//!   0 version, 1 │ 1 'C' │ 2 family: 4, 6 │ 3 0 │ 4–5 port, BE │ 6–7 0 │ 8– address: 4 or 16 bytes
//! server ─> director    a connection for another server: one descriptor goes along
//!   0 version, 1 │ 1 'G' │ 2 length of the name │ 3– name: of a process, of a server, or empty for any
//! server ─> director    a connection that was handed over is closed
//!   0 version, 1 │ 1 'D'
//! ```
//!
//! What else comes is passed over, and descriptors that come with it are closed. Bytes at the end of a message that are
//! not listed here are passed over, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The version of the messages, their first byte.
pub const VERSION: u8 = 1;
/// Bytes of a name, at most.
pub const NAME_MAX: usize = 255;
/// Bytes of a message, at most.
pub const MESSAGE_MAX: usize = 512;

const CONNECTION: u8 = b'C';
const GIVE: u8 = b'G';
const DONE: u8 = b'D';

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The connection that comes along is for a server process or a server of this name, or for any if it is empty.
    Give(String),
    /// A connection that was handed over has been closed.
    Done,
}

/// Writes the director's message that hands the connection of this client over.
#[must_use]
pub fn connection(client: SocketAddr) -> Vec<u8> {
    let [high, low] = client.port().to_be_bytes();
    let family = if client.is_ipv4() { 4 } else { 6 };
    let mut message = vec![VERSION, CONNECTION, family, 0, high, low, 0, 0];
    match client.ip() {
        IpAddr::V4(ip) => message.extend(ip.octets()),
        IpAddr::V6(ip) => message.extend(ip.octets()),
    }
    message
}

/// Reads a director's message: the client of the connection that comes along, if it is that.
#[must_use]
pub fn client(message: &[u8]) -> Option<SocketAddr> {
    let (head, rest) = message.split_first_chunk::<8>()?;
    let [VERSION, CONNECTION, family, _, high, low, _, _] = *head else { return None };
    let ip = match family {
        4 => Ipv4Addr::from(*rest.first_chunk::<4>()?).into(),
        6 => Ipv6Addr::from(*rest.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

impl ServerMessage {
    /// Writes it. `None` is a name of more than [`NAME_MAX`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Give(to) => {
                let mut message = vec![VERSION, GIVE, u8::try_from(to.len()).ok()?];
                message.extend(to.as_bytes());
                Some(message)
            }
            Self::Done => Some(vec![VERSION, DONE]),
        }
    }

    /// Reads a server's message, if it is one.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        match *message {
            [VERSION, GIVE, length, ref rest @ ..] => {
                let name = std::str::from_utf8(rest.get(..length.into())?).ok()?;
                Some(Self::Give(name.to_owned()))
            }
            [VERSION, DONE, ..] => Some(Self::Done),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_written_and_read() {
        let four: SocketAddr = "192.0.2.7:443".parse().unwrap();
        assert_eq!(connection(four), [1, b'C', 4, 0, 1, 187, 0, 0, 192, 0, 2, 7]);
        for address in ["192.0.2.7:443", "[2001:db8::1]:65535"] {
            let address = address.parse().unwrap();
            let mut message = connection(address);
            assert_eq!(client(&message), Some(address));
            for length in 0..message.len() {
                assert_eq!(client(&message[..length]), None, "{length} bytes");
            }
            message.push(9);
            assert_eq!(client(&message), Some(address), "more at the end");
            for (at, other) in [(0, 2), (1, b'X'), (2, 5)] {
                let mut message = message.clone();
                message[at] = other;
                assert_eq!(client(&message), None);
            }
        }
    }

    #[test]
    fn what_a_server_says_is_written_and_read() {
        let give = |name: &str| ServerMessage::Give(name.to_owned());
        assert_eq!(give("app-1").to_bytes().unwrap(), b"\x01G\x05app-1");
        assert_eq!(ServerMessage::Done.to_bytes().unwrap(), b"\x01D");
        for message in [give("app-1"), give(""), give(&"x".repeat(NAME_MAX)), ServerMessage::Done] {
            assert_eq!(ServerMessage::read(&message.to_bytes().unwrap()), Some(message));
        }
        assert_eq!(give(&"x".repeat(NAME_MAX + 1)).to_bytes(), None);
        for nothing in [&b""[..], b"\x01", b"\x02D", b"\x01G", b"\x01G\x05app", b"\x01G\x01\xff", b"\x01X"] {
            assert_eq!(ServerMessage::read(nothing), None, "{nothing:?}");
        }
        assert_eq!(ServerMessage::read(b"\x01G\x03apples"), Some(give("app")));
    }
}
