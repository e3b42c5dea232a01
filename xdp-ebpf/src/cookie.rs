//! Interoperable DNS server cookies (RFC 9018): SipHash-2-4 over what the client and this server know of each other.
//!
//! ```text
//!  COOKIE option (RFC 7873 §4)               hashed (RFC 9018 §4.4)
//!  +--------------------------------+        +--------------------------------+
//!  | client cookie                8 |  --->  | client cookie                8 |
//!  +------+--------------+----------+        +--------------------------------+
//!  | ver 1| reserved   3 | time   4 |  --->  | version, reserved, time      8 |  "prefix"
//!  +------+--------------+----------+        +--------------------------------+
//!  | server hash                  8 |  <---  | client address         4 or 16 |
//!  +--------------------------------+        +--------------------------------+
//! ```
//!
//! Words are 64 bits as they lie in the packet, loaded and stored natively. `SipHash` itself is defined over little-endian
//! words, so on such a machine nothing is turned round. The input is 20 or 32 bytes long, hence the hash is written out
//! for these two: BPF has neither division nor cheap variable indexes.

use core::fmt;

/// Seconds for which a server cookie is accepted (RFC 9018 §4.3).
pub(crate) const AGE_MAX_S: i32 = 3600;
/// Seconds by which a server cookie may be ahead of this machine's clock (RFC 9018 §4.3).
pub(crate) const AHEAD_MAX_S: i32 = 300;
/// Seconds of age up to which a server cookie is sent back unchanged (RFC 9018 §4.3: renewed when over half an hour old).
pub const FRESH_MAX_S: i32 = 1800;
/// The version of a server cookie's construction (RFC 9018 §4.1).
pub const VERSION: u8 = 1;
/// Bytes of a client cookie (RFC 7873 §4.1).
pub const CLIENT_LEN: usize = 8;
/// Bytes of a server cookie as made here: prefix and hash (RFC 9018 §4).
pub const SERVER_LEN: usize = 16;

/// The server secret: the values of its 16 bytes read as two little-endian words.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Secret(pub [u64; 2]);

const _: () = assert!(size_of::<Secret>() == 16);

/// The verdict on a received server cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CookieVerdict {
    /// Ours and at most [`FRESH_MAX_S`] old: it is sent back as it is.
    Fresh,
    /// Ours and acceptable, but old, or from a clock ahead of this one: the answer carries a new one.
    Renew,
    /// Not ours, of another version, or out of time: the answer is the usual one and carries a new cookie.
    Bad,
}

impl Secret {
    /// The secret made of these bytes, in the order in which operators write them down.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let whole = u128::from_le_bytes(bytes);
        Self([whole as u64, (whole >> 64) as u64])
    }
}

/// Never the secret itself: models are printed in tests and logs.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The prefix of a server cookie made at `now` (seconds since 1970, modulo 2^32): version, zeroes, time.
#[inline(always)]
#[must_use]
pub fn prefix(now: u32) -> u64 {
    (u64::from(VERSION) | u64::from(now.swap_bytes()) << 32).to_le()
}

/// The hash part of a server cookie, to be stored as it is.
///
/// `client` is the client cookie, `prefix` the 8 bytes before the hash. An IPv4 address is the first 4 bytes of `ip`, the
/// others zero.
#[inline(always)]
#[must_use]
pub fn server_hash(secret: &Secret, client: u64, prefix: u64, ip: [u64; 2], v6: bool) -> u64 {
    let mut state = Sip::new(secret);
    state.word(u64::from_le(client));
    state.word(u64::from_le(prefix));
    let last = if v6 {
        state.word(u64::from_le(ip[0]));
        state.word(u64::from_le(ip[1]));
        32 << 56
    } else {
        (u64::from_le(ip[0]) & 0xffff_ffff) | 20 << 56
    };
    state.word(last);
    state.finish().to_le()
}

/// Judges a received server cookie of [`SERVER_LEN`] bytes, `prefix` and `hash`, at `now` (seconds since 1970, modulo 2^32).
///
/// The reserved bytes are hashed as received and otherwise ignored (RFC 9018 §4.2); times are compared by serial number
/// arithmetic (RFC 1982), so that the year 2106 is no event.
#[inline(always)]
#[must_use]
pub fn check(secret: &Secret, client: u64, prefix: u64, hash: u64, ip: [u64; 2], v6: bool, now: u32) -> CookieVerdict {
    // First and always: after a branch the verifier would follow all of SipHash once for each of its ways.
    let genuine = server_hash(secret, client, prefix, ip, v6) == hash;
    match age(prefix, now) {
        verdict if genuine => verdict,
        _ => CookieVerdict::Bad,
    }
}

/// Returns the best verdict that a prefix's version and time allow.
#[inline(always)]
#[must_use]
pub fn age(prefix: u64, now: u32) -> CookieVerdict {
    let prefix = u64::from_le(prefix);
    let made = ((prefix >> 32) as u32).swap_bytes();
    let age = now.wrapping_sub(made).cast_signed();
    if prefix & 0xff != u64::from(VERSION) || !(-AHEAD_MAX_S..=AGE_MAX_S).contains(&age) {
        CookieVerdict::Bad
    } else if (0..=FRESH_MAX_S).contains(&age) {
        CookieVerdict::Fresh
    } else {
        CookieVerdict::Renew
    }
}

/// SipHash-2-4's state (Aumasson and Bernstein, 2012).
struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    fn new(&Secret([k0, k1]): &Secret) -> Self {
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// Two rounds over one little-endian word.
    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    /// The four closing rounds.
    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const SECRET: Secret = Secret::new(0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes());

    fn v4(address: [u8; 4]) -> [u64; 2] {
        let [a, b, c, d] = Ipv4Addr::from(address).octets();
        [u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0]
    }

    fn v6(address: Ipv6Addr) -> [u64; 2] {
        let octets = address.octets();
        [0, 8].map(|at| u64::from_ne_bytes(octets[at..at + 8].try_into().unwrap()))
    }

    /// A COOKIE option of 24 bytes as RFC 9018 prints it: client cookie, prefix, hash.
    fn words(option: &str) -> [u64; 3] {
        assert_eq!(option.len(), 48);
        [0, 16, 32].map(|at| u64::from_str_radix(&option[at..at + 16], 16).unwrap().to_be())
    }

    fn same(secret: &Secret, option: &str, ip: [u64; 2], is_v6: bool) {
        let [client, prefix, hash] = words(option);
        assert_eq!(server_hash(secret, client, prefix, ip, is_v6), hash, "{option}");
    }

    /// RFC 9018 Appendix A.1 and A.2: one client, its first cookie and its next one, 40 minutes later.
    #[test]
    fn rfc9018_a1_a2_new_and_renewed() {
        let ip = v4([198, 51, 100, 100]);
        let (first, next) =
            ("2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        same(&SECRET, first, ip, false);
        same(&SECRET, next, ip, false);
        let [client, of_first, hash] = words(first);
        let [_, of_next, _] = words(next);
        assert_eq!(of_first, prefix(0x5cf7_9f11));
        assert_eq!(of_next, prefix(0x5cf7_a871));
        let at = |now| check(&SECRET, client, of_first, hash, ip, false, now);
        assert_eq!(at(0x5cf7_9f11), CookieVerdict::Fresh);
        assert_eq!(at(0x5cf7_a871), CookieVerdict::Renew);
    }

    /// RFC 9018 Appendix A.3: reserved bytes that are not zero are hashed as they came.
    #[test]
    fn rfc9018_a3_reserved_bytes() {
        let ip = v4([203, 0, 113, 203]);
        let query = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        same(&SECRET, query, ip, false);
        same(&SECRET, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e", ip, false);
        let [client, prefix, hash] = words(query);
        assert_eq!(check(&SECRET, client, prefix, hash, ip, false, 0x5cf7_8f71), CookieVerdict::Fresh);
    }

    /// RFC 9018 Appendix A.4: IPv6, and the secret before the present one.
    #[test]
    fn rfc9018_a4_ipv6_and_rollover() {
        let ip = v6("2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap());
        let previous = Secret::new(0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715_u128.to_be_bytes());
        let present = Secret::new(0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes());
        let query = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        same(&previous, query, ip, true);
        same(&present, "22681ab97d52c298010000005cf7c609a6bb79d16625507a", ip, true);
        let [client, prefix, hash] = words(query);
        let now = 0x5cf7_c609;
        assert_eq!(check(&previous, client, prefix, hash, ip, true, now), CookieVerdict::Fresh);
        assert_eq!(check(&present, client, prefix, hash, ip, true, now), CookieVerdict::Bad);
    }

    #[test]
    fn times_are_serial_numbers() {
        for made in [0x5cf7_9f11_u32, 0, 100, u32::MAX - 100, 0x7fff_ffff, 0x8000_0000] {
            let table = [
                (-301, CookieVerdict::Bad),
                (-300, CookieVerdict::Renew),
                (-1, CookieVerdict::Renew),
                (0, CookieVerdict::Fresh),
                (1800, CookieVerdict::Fresh),
                (1801, CookieVerdict::Renew),
                (3600, CookieVerdict::Renew),
                (3601, CookieVerdict::Bad),
                (i32::MAX, CookieVerdict::Bad),
                (i32::MIN, CookieVerdict::Bad),
            ];
            let ip = v4([192, 0, 2, 1]);
            let prefix = prefix(made);
            let hash = server_hash(&SECRET, 7, prefix, ip, false);
            for (age, expected) in table {
                let now = made.wrapping_add_signed(age);
                assert_eq!(check(&SECRET, 7, prefix, hash, ip, false, now), expected, "{made:#x} {age}");
            }
        }
    }

    #[test]
    fn every_input_counts() {
        let now = 0x5cf7_9f11;
        let whole = v6("2001:db8::1".parse().unwrap());
        for is_v6 in [false, true] {
            let ip = if is_v6 { whole } else { v4([192, 0, 2, 1]) };
            let good = prefix(now);
            let hash = server_hash(&SECRET, 7, good, ip, is_v6);
            let judge = |secret, client, prefix, hash, ip| check(secret, client, prefix, hash, ip, is_v6, now);
            assert_eq!(judge(&SECRET, 7, good, hash, ip), CookieVerdict::Fresh);
            for bit in 0..64 {
                assert_eq!(judge(&SECRET, 7 ^ 1 << bit, good, hash, ip), CookieVerdict::Bad);
                assert_eq!(judge(&SECRET, 7, good ^ 1 << bit, hash, ip), CookieVerdict::Bad);
                assert_eq!(judge(&SECRET, 7, good, hash ^ 1 << bit, ip), CookieVerdict::Bad);
            }
            let bits = if is_v6 { 128 } else { 32 };
            for bit in 0..bits {
                let mut other = ip.map(u64::from_le);
                other[bit / 64] ^= 1 << (bit % 64);
                assert_eq!(judge(&SECRET, 7, good, hash, other.map(u64::to_le)), CookieVerdict::Bad);
            }
            let other = Secret([SECRET.0[0], !SECRET.0[1]]);
            assert_eq!(judge(&other, 7, good, hash, ip), CookieVerdict::Bad);
        }
        let four = server_hash(&SECRET, 7, prefix(now), v4([0, 0, 0, 0]), false);
        assert_ne!(four, server_hash(&SECRET, 7, prefix(now), [0, 0], true));
    }
}
