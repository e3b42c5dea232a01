//! Keys and values of the maps as bytes, as the kernel's calls take them.

use std::net::{IpAddr, SocketAddr};

use xdp_ebpf::director::layout::{ChoiceRecord, ConnectionKey, HolderRecord, SteeredRecord};

/// Bytes of a [`ConnectionKey`].
pub(super) type KeyBytes = [u8; size_of::<ConnectionKey>()];
/// Bytes of a [`ChoiceRecord`].
pub(super) type ChoiceBytes = [u8; size_of::<ChoiceRecord>()];
/// Bytes of a [`HolderRecord`].
pub(super) type HolderBytes = [u8; size_of::<HolderRecord>()];
/// Bytes of a [`SteeredRecord`].
pub(super) type SteeredBytes = [u8; size_of::<SteeredRecord>()];

/// Returns the key of a connection from `client` to a local port.
pub(super) fn key(client: SocketAddr, local_port: u16) -> KeyBytes {
    let address = match client.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut bytes = KeyBytes::default();
    bytes[..16].copy_from_slice(&address.octets());
    bytes[16..18].copy_from_slice(&client.port().to_ne_bytes());
    bytes[18..].copy_from_slice(&local_port.to_ne_bytes());
    bytes
}

/// Returns where a socket of the director's own goes.
pub(super) fn steered(slot: u32, kind: u32) -> SteeredBytes {
    let mut bytes = SteeredBytes::default();
    bytes[..4].copy_from_slice(&slot.to_ne_bytes());
    bytes[4..].copy_from_slice(&kind.to_ne_bytes());
    bytes
}

/// A [`HolderRecord`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// Of `HOLDER_`.
    pub(super) flags: u64,
    /// The process.
    pub(super) generation: u64,
    /// The slot.
    pub(super) slot: u32,
}

impl Holder {
    pub(super) fn to_bytes(self) -> HolderBytes {
        let mut bytes = HolderBytes::default();
        bytes[..8].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.generation.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.slot.to_ne_bytes());
        bytes
    }

    pub(super) fn of_bytes(bytes: &HolderBytes) -> Self {
        Self { flags: word(bytes, 0), generation: word(bytes, 8), slot: half(bytes, 16) }
    }
}

/// A [`ChoiceRecord`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) at_ns: u64,
    pub(super) slot: u32,
    pub(super) reason: u32,
    pub(super) flags: u64,
}

impl Remembered {
    pub(super) fn of_bytes(bytes: &ChoiceBytes) -> Self {
        Self { at_ns: word(bytes, 0), slot: half(bytes, 16), reason: half(bytes, 20), flags: word(bytes, 24) }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// The bytes are the layout's, field by field.
    #[test]
    fn bytes_are_as_the_layout_has_them() {
        let at = |client: &str| key(client.parse().expect("an address"), 0x1234);
        assert_eq!((offset_of!(ConnectionKey, client), offset_of!(ConnectionKey, client_port)), (0, 16));
        assert_eq!(offset_of!(ConnectionKey, local_port), 18);
        assert_eq!(at("192.0.2.1:258")[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(at("192.0.2.1:258")[16..], [258_u16.to_ne_bytes(), 0x1234_u16.to_ne_bytes()].concat());
        assert_eq!(at("[2001:db8::1]:1")[..4], [0x20, 1, 0xd, 0xb8]);
        assert_eq!((offset_of!(SteeredRecord, slot), offset_of!(SteeredRecord, kind)), (0, 4));
        assert_eq!((offset_of!(HolderRecord, flags), offset_of!(HolderRecord, generation)), (0, 8));
        assert_eq!(offset_of!(HolderRecord, slot), 16);
        assert_eq!((offset_of!(ChoiceRecord, at_ns), offset_of!(ChoiceRecord, slot)), (0, 16));
        assert_eq!((offset_of!(ChoiceRecord, reason), offset_of!(ChoiceRecord, flags)), (20, 24));
        let holder = Holder { flags: 1, generation: 2, slot: 3 };
        assert_eq!(Holder::of_bytes(&holder.to_bytes()), holder);
    }
}
