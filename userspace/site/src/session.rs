//! Sessions, and the default by cookie.
//!
//! A request with a valid session bypasses operation 500 (S4-5A-GATE); stage 588 starts one. What a session is to the
//! application is its own business: here it only binds a client to this Site. So the default, [`CookieSessions`], keeps
//! nothing: a cookie says who and until when, and is signed for this Site alone. After a failover another Site does not
//! take it for its own, which is how the client is bound anew (C32).

use std::{
    str,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use ring::hmac;

use super::{
    buckets::Buckets,
    clients::Tally,
    cookies::{self, Cookie},
};
use zerottl_core::model::{SameSite, SessionConfig};
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
    },
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

    /// Sessions that are active, as far as is known.
    fn active(&self, now: u64) -> u64;

    /// Those of one net of clients, as far as they are told apart.
    fn active_of(&self, _net: Option<IpNet>, _now: u64) -> u64 {
        0
    }
}

/// The default: a cookie `id.expiry.mac` of the host that sets it.
///
/// | part | what |
/// |---|---|
/// | `id` | 128 random bits, base64url; kept when the session is prolonged |
/// | `expiry` | when it ends, Unix seconds, decimal; an `n` after it until the cookie has come back |
/// | `mac` | HMAC-SHA256 of both under a key of this Site's name, base64url |
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
#[derive(Debug)]
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
}

/// The content of a valid cookie.
struct Valid {
    id: [u8; ID_LEN],
    expiry: u64,
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
        }
    }

    /// Signs `id` and `expiry`, and one byte more for a cookie that has not come back yet, so that none becomes the
    /// other.
    fn sign(&self, id: [u8; ID_LEN], expiry: u64, is_new: bool) -> hmac::Tag {
        let mut message = [0; ID_LEN + 9];
        message[..ID_LEN].copy_from_slice(&id);
        message[ID_LEN..ID_LEN + 8].copy_from_slice(&expiry.to_be_bytes());
        message[ID_LEN + 8] = b'n';
        hmac::sign(&self.key, if is_new { &message } else { &message[..ID_LEN + 8] })
    }

    fn header(&self, id: [u8; ID_LEN], expiry: u64, is_new: bool, secure: bool) -> Option<HeaderValue> {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (mac, new) = (self.sign(id, expiry, is_new), if is_new { "n" } else { "" });
        let value = format!("{}.{expiry}{new}.{}", text(&id), text(mac.as_ref()));
        let (name, same_site) = (&*self.cookie, self.same_site);
        Cookie { name, value: &value, domain: None, max_age: self.lifetime, secure, same_site }.header()
    }

    /// Reads what a cookie says, if this Site signed it and it has not ended.
    fn read(&self, value: &[u8], now: u64) -> Option<Valid> {
        let (id, rest) = value.split_at_checked(ID_TEXT_LEN)?;
        let (expiry, mac) = rest.strip_prefix(b".")?.split_at_checked(rest.len().checked_sub(MAC_TEXT_LEN + 2)?)?;
        let mac = mac.strip_prefix(b".")?;
        let (expiry, is_new) = expiry.strip_suffix(b"n").map_or((expiry, false), |digits| (digits, true));
        let expiry: u64 =
            str::from_utf8(expiry).ok().filter(|_| expiry.iter().all(u8::is_ascii_digit))?.parse().ok()?;
        if expiry <= now {
            return None;
        }
        let id: [u8; ID_LEN] = decode(id)?;
        let mac: [u8; MAC_LEN] = decode(mac)?;
        let right = self.sign(id, expiry, is_new);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&mac[..], right.as_ref())) {
            return None;
        }
        let print = mac.first_chunk().map_or(0, |print| u64::from_be_bytes(*print));
        Some(Valid { id, expiry, is_new, print })
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
        // More than a whole life is left where the lifetime has been made shorter.
        if !valid.is_new && left > self.lifetime / 2 && left <= self.lifetime {
            return Session::Active { renew: None };
        }
        let expiry = asker.now.saturating_add(self.lifetime);
        self.counts(&valid, expiry, asker);
        Session::Active { renew: self.header(valid.id, expiry, false, asker.secure) }
    }

    fn start(&self, asker: &SessionClient) -> Option<HeaderValue> {
        self.header(rand::random(), asker.now.saturating_add(self.lifetime), true, asker.secure)
    }

    fn active(&self, now: u64) -> u64 {
        self.ends.sum(now / self.span..=now.saturating_add(self.lifetime) / self.span)
    }

    fn active_of(&self, net: Option<IpNet>, now: u64) -> u64 {
        self.clients.of(net, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::COOKIE;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const LIFETIME: u64 = 1800;

    fn config() -> SessionConfig {
        SessionConfig { lifetime: Duration::from_secs(LIFETIME), ..SessionConfig::default() }
    }

    fn site(name: &str) -> CookieSessions {
        CookieSessions::with_key(&config(), name, b"0123456789abcdef")
    }

    /// Somebody whose net is not known.
    fn at(now: u64) -> SessionClient {
        SessionClient { net: None, counted_max: u64::MAX, now, secure: false }
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_str(field).expect("a field"));
        }
        headers
    }

    /// Returns what a browser keeps of a `Set-Cookie`.
    fn kept(set: &HeaderValue) -> String {
        let text = set.to_str().expect("text");
        text.split(';').next().expect("a part").to_owned()
    }

    /// A cookie that has come back: the one that it is exchanged for.
    fn started(sessions: &CookieSessions) -> String {
        started_by(sessions, &at(NOW))
    }

    fn started_by(sessions: &CookieSessions, asker: &SessionClient) -> String {
        let first = kept(&sessions.start(asker).expect("a cookie"));
        let Session::Active { renew: Some(lasting) } = sessions.find(&headers(&[&first]), asker) else {
            panic!("the first one is exchanged")
        };
        kept(&lasting)
    }

    fn is_found(sessions: &CookieSessions, cookie: &str, now: u64) -> bool {
        sessions.find(&headers(&[cookie]), &at(now)) != Session::None
    }

    #[test]
    fn s4_5b_588_a_session_s_cookie_is_of_the_host_alone() {
        let set = |secure| {
            site("boston.app.com")
                .start(&SessionClient { secure, ..at(NOW) })
                .expect("a cookie")
                .to_str()
                .expect("text")
                .to_owned()
        };
        let (_, attributes) =
            set(false).split_once("; ").map(|(one, two)| (one.to_owned(), two.to_owned())).expect("two");
        assert_eq!(attributes, "Path=/; Max-Age=1800; HttpOnly; SameSite=Lax");
        assert!(set(true).ends_with("; SameSite=Lax; Secure"));
        assert_ne!(set(true), set(true), "IDs are random");
    }

    /// S4-5A-GATE: valid from the start to its end, and not a second longer.
    #[test]
    fn s4_5a_gate_a_session_bypasses_until_it_ends() {
        let sessions = site("boston.app.com");
        let cookie = started(&sessions);
        let find = |now| sessions.find(&headers(&[&cookie]), &at(now));
        assert_eq!(find(NOW), Session::Active { renew: None });
        assert_eq!(find(NOW + LIFETIME / 2 - 1), Session::Active { renew: None });
        let Session::Active { renew: Some(renewed) } = find(NOW + LIFETIME / 2) else {
            panic!("half its life is over")
        };
        assert!(matches!(find(NOW + LIFETIME - 1), Session::Active { renew: Some(_) }));
        assert_eq!(find(NOW + LIFETIME), Session::None);
        let renewed = kept(&renewed);
        assert!(is_found(&sessions, &renewed, NOW + LIFETIME / 2 + LIFETIME - 1), "it lives a whole life from then on");
        assert!(!is_found(&sessions, &renewed, NOW + LIFETIME / 2 + LIFETIME));
        assert_eq!(renewed.split('.').next(), cookie.split('.').next(), "and is the same");
        assert_eq!(sessions.find(&HeaderMap::new(), &at(NOW)), Session::None);
        let Session::Active { renew: Some(secure) } =
            sessions.find(&headers(&[&cookie]), &SessionClient { secure: true, ..at(NOW + 1000) })
        else {
            panic!("renewed")
        };
        assert!(secure.to_str().expect("text").ends_with("; Secure"));
    }

    /// C32: what another Site signed is none of this one's, though the key is the same.
    #[test]
    fn c32_a_session_is_of_one_site() {
        let boston = site("boston.app.com");
        let cookie = started(&boston);
        assert!(is_found(&site("Boston.APP.com."), &cookie, NOW), "another machine of the same Site");
        assert!(!is_found(&site("geneva.app.com"), &cookie, NOW));
        let other_key = CookieSessions::with_key(&config(), "boston.app.com", b"0123456789abcdeF");
        assert!(!is_found(&other_key, &cookie, NOW));
        let random = || CookieSessions::new(&config(), "boston.app.com").expect("sessions");
        assert!(!is_found(&random(), &started(&random()), NOW), "keys are random where none is configured");
    }

    #[test]
    fn a_shorter_lifetime_holds_for_sessions_that_are_there() {
        let cookie = started(&site("boston.app.com"));
        let shorter = SessionConfig { lifetime: Duration::from_mins(1), ..config() };
        let shorter = CookieSessions::with_key(&shorter, "boston.app.com", b"0123456789abcdef");
        let Session::Active { renew: Some(renewed) } = shorter.find(&headers(&[&cookie]), &at(NOW)) else {
            panic!("it is shortened at once")
        };
        assert!(!is_found(&shorter, &kept(&renewed), NOW + 60));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let sessions = site("boston.app.com");
        let cookie = started(&sessions);
        let forged = format!("{}A", &cookie[..cookie.len() - 1]);
        let forged = if forged == cookie { format!("{}B", &cookie[..cookie.len() - 1]) } else { forged };
        let check = |fields: &[&str], is: bool| {
            assert_eq!(sessions.find(&headers(fields), &at(NOW)) != Session::None, is, "{fields:?}");
        };
        check(&[&format!("a=b; {cookie}; c=d")], true);
        check(&[&format!("a=b;{cookie};;=;c")], true);
        check(&["a=b", &cookie, "c=d"], true);
        check(&[&forged, &cookie], true);
        check(&[&format!("{forged}; {cookie}")], true);
        check(&[&forged], false);
        check(&[&format!("X{cookie}")], false);
        check(&[&cookie.replacen("ZSESSION", "zsession", 1)], false);
        check(&[&cookie.replacen("ZSESSION=", "ZSESSION2=", 1)], false);
        // Bounded: so many of its name, so many bytes.
        let many = format!("{}{cookie}", format!("{forged}; ").repeat(COOKIES_MAX - 1));
        check(&[&many], true);
        check(&[&format!("{forged}; {many}")], false);
        let others = "a=b; ".repeat(cookies::BYTES_MAX / 5 - 100);
        check(&[&format!("{others}{cookie}")], true);
        check(&[&others, &others, &cookie], false);
        check(&[&cookie, &others, &others], true);
    }

    #[test]
    fn active_sessions_are_counted_until_they_end() {
        let sessions = site("boston.app.com");
        assert_eq!(sessions.active(NOW), 0);
        let cookies: Vec<String> = (0..100).map(|_| started(&sessions)).collect();
        assert_eq!((sessions.active(NOW), sessions.active(NOW + LIFETIME - 1)), (100, 100));
        assert_eq!(sessions.active(NOW + LIFETIME + LIFETIME / SPANS + 2), 0);
        // Half of them go on. A browser's requests at once, and a client that never takes the new cookie, count once.
        let later = NOW + LIFETIME - 100;
        for cookie in &cookies[..50] {
            for _ in 0..6 {
                assert!(is_found(&sessions, cookie, later));
            }
        }
        assert_eq!(sessions.active(later), 100);
        assert_eq!(sessions.active(NOW + LIFETIME + LIFETIME / SPANS + 2), 50);
        assert_eq!(sessions.active(later + LIFETIME + LIFETIME / SPANS + 2), 0);
    }

    #[test]
    fn sessions_from_before_the_start_count_once_they_are_prolonged() {
        let cookie = started(&site("boston.app.com"));
        let restarted = site("boston.app.com");
        assert!(is_found(&restarted, &cookie, NOW + 100));
        assert_eq!(restarted.active(NOW + 100), 0);
        assert!(is_found(&restarted, &cookie, NOW + 1000) && is_found(&restarted, &cookie, NOW + 1000));
        assert_eq!(restarted.active(NOW + 1000), 1);
    }

    /// Whoever keeps no cookie has no session; who brings it back has one, however often.
    #[test]
    fn a_session_counts_once_its_cookie_has_come_back() {
        let sessions = site("boston.app.com");
        let first: Vec<String> = (0..3000).map(|_| kept(&sessions.start(&at(NOW)).expect("a cookie"))).collect();
        assert_eq!(sessions.active(NOW), 0);
        assert!((0..20).all(|_| is_found(&sessions, &first[7], NOW + 1)));
        assert_eq!(sessions.active(NOW + 1), 1);
        // What is signed for the one kind is none of the other.
        let lasting = started(&sessions);
        assert!(!is_found(&sessions, &first[0].replacen("n.", ".", 1), NOW));
        assert!(!is_found(
            &sessions,
            &lasting.replacen(&format!("{}.", NOW + LIFETIME), &format!("{}n.", NOW + LIFETIME), 1),
            NOW
        ));
    }

    /// One client fills no more than its share, whatever it does with its cookies.
    #[test]
    fn sessions_of_one_client_count_up_to_its_share() {
        let sessions = site("boston.app.com");
        let of = |net: &str, now| SessionClient { net: net.parse().ok(), counted_max: 10, ..at(now) };
        let (hog, other) = (of("198.51.100.0/24", NOW), of("203.0.113.0/24", NOW));
        let cookies: Vec<String> = (0..500).map(|_| started_by(&sessions, &hog)).collect();
        assert_eq!((sessions.active(NOW), sessions.active_of(hog.net, NOW)), (10, 10));
        for _ in 0..4 {
            started_by(&sessions, &other);
        }
        assert_eq!((sessions.active(NOW), sessions.active_of(other.net, NOW)), (14, 4));
        // All go on, again and again: none is a new one.
        for later in [1000, 1001, 1500, 1700] {
            for cookie in &cookies {
                let found = sessions.find(&headers(&[cookie]), &SessionClient { now: NOW + later, ..hog });
                assert!(matches!(found, Session::Active { renew: Some(_) }));
            }
            assert!(sessions.active(NOW + later) <= 14, "{}", sessions.active(NOW + later));
        }
        let end = NOW + 1700 + 2 * LIFETIME;
        assert_eq!((sessions.active(end), sessions.active_of(hog.net, end)), (0, 0));
    }

    #[test]
    fn what_cannot_be_is_said_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let with = |name: &str, bytes: Option<&[u8]>| {
            let path = folder.path().join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).expect("written");
            }
            CookieSessions::new(&SessionConfig { key: Some(path), ..config() }, "boston.app.com")
        };
        let error = |name, bytes| with(name, bytes).expect_err("an error").to_string();
        assert!(error("none", None).contains("none cannot be read: "));
        assert!(error("short", Some(&[7; 15])).ends_with("short must have 16 to 4096 bytes"));
        assert!(error("long", Some(&[7; 4097])).ends_with("long must have 16 to 4096 bytes"));
        let (one, other) = (with("good", Some(&[7; 16])).expect("sessions"), with("good", None).expect("sessions"));
        let cookie = kept(&one.start(&at(NOW)).expect("a cookie"));
        assert!(is_found(&other, &cookie, NOW));
        let bad = SessionConfig { cookie: "a b".into(), ..config() };
        assert_eq!(
            CookieSessions::new(&bad, "a").expect_err("an error").to_string(),
            "`a b` cannot be a cookie's name"
        );
    }

    proptest! {
        /// S4-5A-GATE: no change of a valid cookie is a valid one, nor is anything made up.
        #[test]
        fn s4_5a_gate_no_other_cookie_is_a_session(at in 9_usize..86, byte in 0x21_u8..0x7f, any in "[ -~]{0,120}") {
            let sessions = site("boston.app.com");
            let cookie = started(&sessions);
            let mut changed = cookie.clone().into_bytes();
            if let Some(old) = changed.get_mut(at) {
                *old = byte;
            }
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assert!(changed == cookie || !is_found(&sessions, &changed, NOW), "{changed}");
            prop_assert!(!is_found(&sessions, &cookie[..cookie.len().min(at)], NOW));
            let made_up = format!("ZSESSION={any}");
            prop_assert!(!is_found(&sessions, &made_up, NOW));
        }
    }
}
