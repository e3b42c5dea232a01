//! The client that asks, as far as an answer may depend on it.

use std::net::IpAddr;

/// The client that asks, as far as an answer may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryClient {
    /// Where the query came from.
    pub address: IpAddr,
    /// Whom it was asked for, if it says so.
    pub subnet: Option<Subnet>,
}

/// A client subnet (RFC 7871 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The address, all bits behind `source` zero; none is family 0.
    pub address: Option<IpAddr>,
    /// SOURCE PREFIX-LENGTH: bits of the address that are given.
    pub source: u8,
}

impl From<IpAddr> for QueryClient {
    fn from(address: IpAddr) -> Self {
        Self { address, subnet: None }
    }
}

impl QueryClient {
    /// The address whose prefix decides. A subnet of no bits says nothing of the client, so it is as none at all, and the
    /// resolver's own address decides (RFC 7871 section 7.2.1).
    #[must_use]
    pub(crate) fn deciding(self) -> IpAddr {
        self.given().unwrap_or(self.address)
    }

    /// The client's subnet, if that is of some bits.
    pub(crate) fn given(self) -> Option<IpAddr> {
        self.subnet.filter(|subnet| subnet.source > 0)?.address
    }
}
