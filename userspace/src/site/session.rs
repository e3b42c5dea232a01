//! What a session is.
//!
//! A request with a valid session bypasses operation 500 (S4-5A-GATE); stage 588 starts one. What a session is to the
//! application is its own business: here it only binds a client to this Site. So the default, [`CookieSessions`], keeps
//! nothing: a cookie says who and until when, and is signed for this Site alone. After a failover another Site does not
//! take it for its own, which is how the client is bound anew (C32).

use std::{
    fs::File,
    io::Read,
    path::Path,
    str,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use ring::hmac;

use super::{
    buckets::Buckets,
    cookies::{self, Cookie},
};
use crate::model::SessionConfig;

/// Cookies of the session's name that are looked at, in one request.
pub const COOKIES_MAX: usize = 32;
/// Bytes of a key file, at least and at most.
pub const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=4096;
/// Parts of a lifetime in which sessions are counted.
const SPANS: u64 = 64;
/// Renewals that are remembered, so that requests made at once do not count as several.
const RENEWALS: usize = 8192;
/// A random ID, and what it is as text.
const ID_LEN: usize = 16;
const ID_TEXT_LEN: usize = 22;
/// An HMAC-SHA256, and what it is as text.
const MAC_LEN: usize = 32;
const MAC_TEXT_LEN: usize = 43;

/// Whether a request belongs to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// No valid one of this Site.
    None,
    /// A valid one.
    Active {
        /// The `Set-Cookie` that prolongs it, if it is time for that.
        renew: Option<HeaderValue>,
    },
}

/// What sessions are. Times are Unix seconds; `secure` is whether the client came by HTTPS.
pub trait Sessions: Send + Sync + 'static {
    /// Whether a request belongs to a valid, active session of this Site: operation 500 is bypassed then (S4-5A-GATE).
    fn find(&self, headers: &HeaderMap, now: u64, secure: bool) -> Session;

    /// Starts one (stage 588): what the response's `Set-Cookie` says, if anything.
    fn start(&self, now: u64, secure: bool) -> Option<HeaderValue>;

    /// Sessions that are active, as far as is known.
    fn active(&self, now: u64) -> u64;
}

/// The default: a cookie `id.expiry.mac` of the host that sets it.
///
/// | part | what |
/// |---|---|
/// | `id` | 128 random bits, base64url; kept when the session is prolonged |
/// | `expiry` | when it ends, Unix seconds, decimal |
/// | `mac` | HMAC-SHA256 of both under a key of this Site's name, base64url |
///
/// A session ends `lifetime` after it was started or last prolonged, which happens with the first request in the second
/// half of its life. Over HTTPS the cookie is `Secure`: plain HTTP does not see it, and has sessions of its own.
///
/// **How many are active** is counted by when they end, in 64 parts of a lifetime: exact when they start, too high by those
/// that ended within the last such part. What is not known is not counted: sessions from before this process was started,
/// until they are prolonged, and that a client dropped its cookie. Two requests that prolong a session at once count
/// once, unless a thousand others came between them.
#[derive(Debug)]
pub struct CookieSessions {
    cookie: String,
    lifetime: u64,
    key: hmac::Key,
    /// By the part of a lifetime in which they end.
    ends: Buckets,
    span: u64,
    /// When this process began to count.
    born: u64,
    /// Of each of the last renewals, bytes of the renewed cookie's MAC.
    renewals: Box<[AtomicU64]>,
}

/// What a valid cookie says.
struct Valid {
    id: [u8; ID_LEN],
    expiry: u64,
    /// Of its MAC: tells one from another.
    print: u64,
}

/// A key file's bytes, all of them: a last line's end, too.
pub fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    let mut key = Vec::new();
    let read = File::open(path).and_then(|file| file.take(*KEY_LEN.end() as u64 + 1).read_to_end(&mut key));
    match read {
        Err(error) => Err(format!("the key file {} cannot be read: {error}", path.display())),
        Ok(_) if !KEY_LEN.contains(&key.len()) => {
            let (least, most) = (KEY_LEN.start(), KEY_LEN.end());
            Err(format!("the key file {} must have {least} to {most} bytes", path.display()))
        }
        Ok(_) => Ok(key),
    }
}

impl CookieSessions {
    /// Sessions of the Site of this name; reads the key file. The error is a sentence.
    pub fn new(config: &SessionConfig, site_name: &str) -> Result<Self, String> {
        if !cookies::is_name(&config.cookie) {
            return Err(format!("`{}` cannot be a cookie's name", config.cookie));
        }
        let key = match &config.key {
            Some(path) => read_key(path)?,
            None => rand::random::<[u8; 32]>().to_vec(),
        };
        let born = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self::with_key(config, site_name, &key, born))
    }

    fn with_key(config: &SessionConfig, site_name: &str, key: &[u8], born: u64) -> Self {
        // A key of its own for each Site and purpose, so that one file can serve them all.
        let purpose = format!("zerottl session {}", site_name.trim_end_matches('.').to_ascii_lowercase());
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose.as_bytes());
        let lifetime = config.lifetime.as_secs().max(1);
        Self {
            cookie: config.cookie.clone(),
            lifetime,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            ends: Buckets::new(SPANS as usize + 2),
            span: lifetime.div_ceil(SPANS),
            born,
            renewals: (0..RENEWALS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// What is signed.
    fn message(id: [u8; ID_LEN], expiry: u64) -> [u8; ID_LEN + 8] {
        let mut message = [0; ID_LEN + 8];
        message[..ID_LEN].copy_from_slice(&id);
        message[ID_LEN..].copy_from_slice(&expiry.to_be_bytes());
        message
    }

    fn header(&self, id: [u8; ID_LEN], expiry: u64, secure: bool) -> Option<HeaderValue> {
        let mac = hmac::sign(&self.key, &Self::message(id, expiry));
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let value = format!("{}.{expiry}.{}", text(&id), text(mac.as_ref()));
        let cookie = Cookie { name: &self.cookie, value: &value, domain: None, max_age: self.lifetime, secure };
        cookie.header()
    }

    /// What a cookie says, if this Site signed it and it has not ended.
    fn read(&self, value: &[u8], now: u64) -> Option<Valid> {
        let (id, rest) = value.split_at_checked(ID_TEXT_LEN)?;
        let (expiry, mac) = rest.strip_prefix(b".")?.split_at_checked(rest.len().checked_sub(MAC_TEXT_LEN + 2)?)?;
        let mac = mac.strip_prefix(b".")?;
        let expiry: u64 =
            str::from_utf8(expiry).ok().filter(|_| expiry.iter().all(u8::is_ascii_digit))?.parse().ok()?;
        if expiry <= now {
            return None;
        }
        let id: [u8; ID_LEN] = decode(id)?;
        let mac: [u8; MAC_LEN] = decode(mac)?;
        hmac::verify(&self.key, &Self::message(id, expiry), &mac).ok()?;
        let print = mac.first_chunk().map_or(0, |print| u64::from_be_bytes(*print));
        Some(Valid { id, expiry, print })
    }

    /// A session that was to end at one time ends at another.
    fn prolonged(&self, valid: &Valid, expiry: u64) {
        let at = (valid.print % RENEWALS as u64) as usize;
        if self.renewals[at].swap(valid.print, Relaxed) == valid.print {
            return;
        }
        // One from before this process was started has not been counted yet.
        let is_new = valid.expiry.saturating_sub(self.lifetime) < self.born;
        if self.ends.take(valid.expiry / self.span) || is_new {
            self.ends.add(expiry / self.span);
        }
    }
}

/// Base64url of exactly so many bytes.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

impl Sessions for CookieSessions {
    fn find(&self, headers: &HeaderMap, now: u64, secure: bool) -> Session {
        let mut found = cookies::values(headers, &self.cookie).take(COOKIES_MAX);
        let Some(valid) = found.find_map(|value| self.read(value, now)) else { return Session::None };
        let left = valid.expiry - now;
        // More than a whole life is left where the lifetime has been made shorter.
        if left > self.lifetime / 2 && left <= self.lifetime {
            return Session::Active { renew: None };
        }
        let expiry = now.saturating_add(self.lifetime);
        self.prolonged(&valid, expiry);
        Session::Active { renew: self.header(valid.id, expiry, secure) }
    }

    fn start(&self, now: u64, secure: bool) -> Option<HeaderValue> {
        let expiry = now.saturating_add(self.lifetime);
        self.ends.add(expiry / self.span);
        self.header(rand::random(), expiry, secure)
    }

    fn active(&self, now: u64) -> u64 {
        self.ends.sum(now / self.span..=now.saturating_add(self.lifetime) / self.span)
    }
}
