//! Addresses of the lab's machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The client's addresses on its wires to the fronts.
pub const CLIENT: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 200), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x200));
/// The resolver's.
pub const RESOLVER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 53), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x53));

/// The address front `number` serves, IPv4.
#[must_use]
pub fn front_v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 53 + number as u8)
}

/// The address front `number` serves, IPv6.
#[must_use]
pub fn front_v6(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53 + number as u16)
}

/// Both addresses of front `number`, port 53.
#[must_use]
pub fn front_addresses(number: usize) -> [SocketAddr; 2] {
    [(IpAddr::from(front_v4(number)), 53).into(), (IpAddr::from(front_v6(number)), 53).into()]
}

/// Front `number`'s address on the network of the fronts and their peers.
#[must_use]
pub fn fleet_v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 53, 0, 1 + number as u8)
}

/// The address of peer `number` on that network.
#[must_use]
pub fn peer_v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 53, 0, 101 + number as u8)
}
