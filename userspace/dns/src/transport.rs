//! How a message came, and from whom; and how long an answer may be by either way.

use std::{net::IpAddr, time::Duration};

/// The UDP size we offer and never exceed: no fragments on any path with IPv6's least MTU (DNS flag day 2020).
pub(crate) const UDP_LEN_MAX: u16 = 1232;
/// UDP answers to clients without EDNS (RFC 1035 section 2.3.4).
pub(crate) const UDP_LEN_CLASSIC: u16 = 512;
/// How long a TCP connection may be idle, unless places are few.
pub(crate) const TCP_IDLE: Duration = Duration::from_secs(10);

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, whose sender may be forged: the answer is limited.
    Udp,
    /// A stream: up to 65,535 bytes.
    Tcp,
}

/// The client that asks, and how it does.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// How the query came.
    pub transport: Transport,
    /// Where from.
    pub client: IpAddr,
    /// How long its connection may be idle from now on, where it has one.
    pub idle: Duration,
}
