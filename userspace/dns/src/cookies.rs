//! The socket path's side of server cookies; the hash and its verdict are the kernel's own ([`xdp_ebpf::cookie`]).

use std::net::IpAddr;

use xdp_ebpf::{
    cookie::{CLIENT_LEN, CookieVerdict, SERVER_LEN, check, prefix, server_hash},
    net::words,
};

use super::options::{COOKIE_LEN, CookieOption};
use zerottl_core::model::CookieSecrets;

/// The answer to a COOKIE option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply {
    /// The option's data: the client's cookie and a valid server cookie.
    pub data: [u8; COOKIE_LEN],
    /// Whether the server cookie that came was valid; not if there was none.
    pub known: bool,
}

/// The answer to a COOKIE option from `client` at `now`, seconds since 1970 modulo 2^32 (RFC 9018 section 4).
///
/// A cookie of the present secret that is at most half an hour old comes back as it is; whatever else came, valid or not,
/// is answered with a new one.
#[must_use]
pub fn reply(cookie: CookieOption<'_>, secrets: &CookieSecrets, client: IpAddr, now: u32) -> CookieReply {
    let (ip, v6) = (words(client), client.is_ipv6());
    let own = u64::from_ne_bytes(*cookie.client);
    let verdict = match <[u8; SERVER_LEN]>::try_from(cookie.server) {
        Ok(server) => {
            let [made, hash] = halves(server);
            let judge = |secret| check(secret, own, made, hash, ip, v6, now);
            match (judge(&secrets.present), secrets.previous.as_ref().map(judge)) {
                (CookieVerdict::Bad, None | Some(CookieVerdict::Bad)) => CookieVerdict::Bad,
                (CookieVerdict::Bad, Some(_)) => CookieVerdict::Renew,
                (verdict, _) => verdict,
            }
        }
        // Of another's making, or none.
        Err(_) => CookieVerdict::Bad,
    };
    let mut data = [0; COOKIE_LEN];
    data[..CLIENT_LEN].copy_from_slice(cookie.client);
    if verdict == CookieVerdict::Fresh {
        data[CLIENT_LEN..].copy_from_slice(cookie.server);
    } else {
        let made = prefix(now);
        let hash = server_hash(&secrets.present, own, made, ip, v6);
        data[CLIENT_LEN..CLIENT_LEN + 8].copy_from_slice(&made.to_ne_bytes());
        data[CLIENT_LEN + 8..].copy_from_slice(&hash.to_ne_bytes());
    }
    CookieReply { data, known: verdict != CookieVerdict::Bad }
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(bytes);
    [(whole as u64).to_le(), ((whole >> 64) as u64).to_le()]
}
