//! Sessions, and the default by cookie.
//!
//! A request with a valid session bypasses operation 500 (S4-5A-GATE); stage 588 starts one. What a session is to the
//! application is its own business: here it only binds a client to this Site. So the default, [`CookieSessions`], keeps
//! nothing: a cookie says who and until when, and is signed for this Site alone. After a failover another Site does not
//! take it for its own, which is how the client is bound anew (C32).

use std::{
    fmt, str,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Extensions, HeaderMap, HeaderValue};
use ipnet::IpNet;
use ring::hmac;

use super::{
    buckets::Buckets,
    clients::Tally,
    cookies::{self, Cookie},
};
use zerottl_core::{
    model::{SameSite, SessionConfig},
    session_id::SessionId,
};
use zerottl_host::key_file::{KeyFileError, read_key};

/// Cookies of the session's name that are looked at, in one request.
pub const COOKIES_MAX: usize = 32;
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
        /// Which one it is; none where sessions are not told apart.
        of: Option<SessionRef>,
    },
}

impl Session {
    /// Returns the cookie that prolongs it, and which it is.
    pub(crate) fn parts(&self) -> (Option<HeaderValue>, Option<SessionRef>) {
        match self {
            Self::Active { renew, of } => (renew.clone(), *of),
            Self::None => (None, None),
        }
    }
}

/// The session of a request: in the extensions of every request that has one and is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// Its ID.
    pub id: SessionId,
    /// The highest epoch of its ownership that the client has seen; 0 for none.
    pub epoch: u64,
}

impl SessionRef {
    /// Finds a request's session in its extensions, for zerottl-session's layer.
    #[must_use]
    pub fn find(extensions: &Extensions) -> Option<(SessionId, u64)> {
        extensions.get::<Self>().map(|session| (session.id, session.epoch))
    }
}

/// The workers that host sessions: who hosts one does so under an epoch, which its cookie carries, so that a worker that was
/// stalled while another took the session over notices with the next request.
pub trait SessionEpochs: Send + Sync + 'static {
    /// Returns the epoch of a session that is hosted here.
    fn epoch(&self, id: SessionId) -> Option<u64>;

    /// A client has seen this epoch.
    fn seen(&self, id: SessionId, epoch: u64);
}

/// The client that asks, how and when.
#[derive(Clone, Copy, Debug)]
pub struct SessionClient {
    /// The client's net; none where clients are not told apart.
    pub net: Option<IpNet>,
    /// Of how many sessions of one net the Site takes notice.
    pub counted_max: u64,
    /// Unix seconds.
    pub now: u64,
    /// Whether it comes by HTTPS.
    pub secure: bool,
}

/// The sessions of a Site. Times are Unix seconds.
pub trait Sessions: Send + Sync + 'static {
    /// Whether a request belongs to a valid, active session of this Site: operation 500 is bypassed then (S4-5A-GATE).
    fn find(&self, headers: &HeaderMap, asker: &SessionClient) -> Session;

    /// Starts one (stage 588): what the response's `Set-Cookie` says, if anything.
    fn start(&self, asker: &SessionClient) -> Option<HeaderValue>;

    /// Starts one as [`Self::start`] does, and says which it is, where sessions are told apart.
    fn begin(&self, asker: &SessionClient) -> (Option<HeaderValue>, Option<SessionRef>) {
        (self.start(asker), None)
    }

    /// Sessions that are active, as far as is known.
    fn active(&self, now: u64) -> u64;

    /// Those of one net of clients, as far as they are told apart.
    fn active_of(&self, _net: Option<IpNet>, _now: u64) -> u64 {
        0
    }
}

/// The default: a cookie `id.expiry.mac` or `id.expiry.epoch.mac` of the host that sets it.
///
/// | part | what |
/// |---|---|
/// | `id` | 128 random bits, base64url; kept when the session is prolonged |
/// | `expiry` | when it ends, Unix seconds, decimal; an `n` after it until the cookie has come back |
/// | `epoch` | the epoch under which a worker hosts the session, decimal; not there until one does ([`SessionEpochs`]) |
/// | `mac` | HMAC-SHA256 of all that under a key of this Site's name, base64url |
///
/// A session ends `lifetime` after it was started or last prolonged, which happens with the first request in the second
/// half of its life. Over HTTPS the cookie is `Secure`: plain HTTP does not see it, and has sessions of its own.
///
/// **How many are active** is counted by when they end, in 64 parts of a lifetime; too high by those that ended within the
/// last such part. One counts from when its cookie has come back: whoever keeps none has none, and could start a
/// thousand in a second. Then it gets a cookie that says so. Of one net of clients no more count than
/// [`SessionClient::counted_max`]. What is not known is not counted: sessions from before this process was started, until they are
/// prolonged, and that a client dropped its cookie. Two requests that bring a cookie back, or prolong a session, at once
/// count once, unless a thousand others came between them.
pub struct CookieSessions {
    cookie: String,
    lifetime: u64,
    key: hmac::Key,
    /// By the part of a lifetime in which they end.
    ends: Buckets,
    span: u64,
    /// Sessions by client, and by when they end.
    clients: Tally,
    same_site: SameSite,
    /// Of each of the last renewals, bytes of the renewed cookie's MAC.
    renewals: Box<[AtomicU64]>,
    epochs: Option<Arc<dyn SessionEpochs>>,
}

impl fmt::Debug for CookieSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieSessions").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// The content of a valid cookie.
struct Valid {
    id: [u8; ID_LEN],
    expiry: u64,
    epoch: u64,
    /// Whether it is seen for the first time.
    is_new: bool,
    /// Of its MAC: tells one from another.
    print: u64,
}

/// Why there can be no sessions.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The cookie cannot be called so.
    #[error("`{0}` cannot be a cookie's name")]
    CookieName(String),
    /// The key file is at fault.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl CookieSessions {
    /// Creates the sessions of the Site of this name; reads the key file.
    pub fn new(config: &SessionConfig, site_name: &str) -> Result<Self, SessionError> {
        if !cookies::is_name(&config.cookie) {
            return Err(SessionError::CookieName(config.cookie.clone()));
        }
        let key = match &config.key {
            Some(path) => read_key(path)?,
            None => rand::random::<[u8; 32]>().to_vec(),
        };
        Ok(Self::with_key(config, site_name, &key))
    }

    fn with_key(config: &SessionConfig, site_name: &str, key: &[u8]) -> Self {
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
            clients: Tally::new(lifetime),
            same_site: config.same_site,
            renewals: (0..RENEWALS).map(|_| AtomicU64::new(0)).collect(),
            epochs: None,
        }
    }

    /// Has cookies carry the epochs of those who host sessions.
    #[must_use]
    pub fn with_epochs(self, epochs: Arc<dyn SessionEpochs>) -> Self {
        Self { epochs: Some(epochs), ..self }
    }

    /// Signs `id` and `expiry`, and one byte more for a cookie that has not come back yet, or the epoch and another one, so
    /// that none becomes the other.
    fn sign(&self, id: [u8; ID_LEN], expiry: u64, epoch: u64, is_new: bool) -> hmac::Tag {
        let mut message = Vec::with_capacity(ID_LEN + 17);
        message.extend_from_slice(&id);
        message.extend_from_slice(&expiry.to_be_bytes());
        if is_new {
            message.push(b'n');
        }
        if epoch != 0 {
            message.push(b'e');
            message.extend_from_slice(&epoch.to_be_bytes());
        }
        hmac::sign(&self.key, &message)
    }

    fn header(&self, id: [u8; ID_LEN], expiry: u64, epoch: u64, is_new: bool, secure: bool) -> Option<HeaderValue> {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (mac, new) = (self.sign(id, expiry, epoch, is_new), if is_new { "n" } else { "" });
        let epoch = if epoch == 0 { String::new() } else { format!("{epoch}.") };
        let value = format!("{}.{expiry}{new}.{epoch}{}", text(&id), text(mac.as_ref()));
        let (name, same_site) = (&*self.cookie, self.same_site);
        Cookie { name, value: &value, domain: None, max_age: self.lifetime, secure, same_site }.header()
    }

    /// Reads what a cookie says, if this Site signed it and it has not ended.
    fn read(&self, value: &[u8], now: u64) -> Option<Valid> {
        let (id, rest) = value.split_at_checked(ID_TEXT_LEN)?;
        let (times, mac) = rest.strip_prefix(b".")?.split_at_checked(rest.len().checked_sub(MAC_TEXT_LEN + 2)?)?;
        let mac = mac.strip_prefix(b".")?;
        let mut times = times.splitn(2, |byte| *byte == b'.');
        let (expiry, epoch) = (times.next()?, times.next());
        let epoch = epoch.map_or(Some(0), |digits| number(digits).filter(|epoch| *epoch != 0))?;
        let (expiry, is_new) = expiry.strip_suffix(b"n").map_or((expiry, false), |digits| (digits, true));
        let expiry = number(expiry)?;
        if expiry <= now {
            return None;
        }
        let id: [u8; ID_LEN] = decode(id)?;
        let mac: [u8; MAC_LEN] = decode(mac)?;
        let right = self.sign(id, expiry, epoch, is_new);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&mac[..], right.as_ref())) {
            return None;
        }
        let print = mac.first_chunk().map_or(0, |print| u64::from_be_bytes(*print));
        Some(Valid { id, expiry, epoch, is_new, print })
    }

    /// A session is there to stay, or one that was to end at one time ends at another.
    fn counts(&self, valid: &Valid, expiry: u64, asker: &SessionClient) {
        let at = (valid.print % RENEWALS as u64) as usize;
        if self.renewals[at].swap(valid.print, Relaxed) == valid.print {
            return;
        }
        let before = (!valid.is_new).then_some(valid.expiry);
        // Beyond its client's share it counts for nobody. One from before this process was started is counted now.
        if self.clients.add(asker.net, before, expiry, asker.now, asker.counted_max) {
            if let Some(before) = before {
                self.ends.take(before / self.span);
            }
            self.ends.add(expiry / self.span);
        }
    }
}

/// Reads a decimal number of 64 bits, which has one text.
fn number(digits: &[u8]) -> Option<u64> {
    let canonical = digits.iter().all(u8::is_ascii_digit) && (digits.len() < 2 || digits[0] != b'0');
    str::from_utf8(digits).ok().filter(|_| canonical)?.parse().ok()
}

/// Base64url of exactly so many bytes.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

impl Sessions for CookieSessions {
    fn find(&self, headers: &HeaderMap, asker: &SessionClient) -> Session {
        let mut found = cookies::values(headers, &self.cookie).take(COOKIES_MAX);
        let Some(valid) = found.find_map(|value| self.read(value, asker.now)) else { return Session::None };
        let left = valid.expiry - asker.now;
        let id = SessionId(valid.id);
        let epoch = self.epochs.as_ref().and_then(|epochs| {
            epochs.seen(id, valid.epoch);
            epochs.epoch(id)
        });
        let epoch = epoch.unwrap_or_default().max(valid.epoch);
        let of = Some(SessionRef { id, epoch });
        // More than a whole life is left where the lifetime has been made shorter.
        if !valid.is_new && left > self.lifetime / 2 && left <= self.lifetime {
            let is_another = epoch != valid.epoch;
            let renew = is_another.then(|| self.header(valid.id, valid.expiry, epoch, false, asker.secure)).flatten();
            return Session::Active { renew, of };
        }
        let expiry = asker.now.saturating_add(self.lifetime);
        self.counts(&valid, expiry, asker);
        Session::Active { renew: self.header(valid.id, expiry, epoch, false, asker.secure), of }
    }

    fn start(&self, asker: &SessionClient) -> Option<HeaderValue> {
        self.begin(asker).0
    }

    fn begin(&self, asker: &SessionClient) -> (Option<HeaderValue>, Option<SessionRef>) {
        let id = rand::random();
        let cookie = self.header(id, asker.now.saturating_add(self.lifetime), 0, true, asker.secure);
        (cookie, Some(SessionRef { id: SessionId(id), epoch: 0 }))
    }

    fn active(&self, now: u64) -> u64 {
        self.ends.sum(now / self.span..=now.saturating_add(self.lifetime) / self.span)
    }

    fn active_of(&self, net: Option<IpNet>, now: u64) -> u64 {
        self.clients.of(net, now)
    }
}

#[cfg(test)]
mod tests;
