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
    let Session::Active { renew: Some(lasting), .. } = sessions.find(&headers(&[&first]), asker) else {
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
    let (_, attributes) = set(false).split_once("; ").map(|(one, two)| (one.to_owned(), two.to_owned())).expect("two");
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
    assert!(matches!(find(NOW), Session::Active { renew: None, .. }));
    assert!(matches!(find(NOW + LIFETIME / 2 - 1), Session::Active { renew: None, .. }));
    let Session::Active { renew: Some(renewed), .. } = find(NOW + LIFETIME / 2) else {
        panic!("half its life is over")
    };
    assert!(matches!(find(NOW + LIFETIME - 1), Session::Active { renew: Some(_), .. }));
    assert_eq!(find(NOW + LIFETIME), Session::None);
    let renewed = kept(&renewed);
    assert!(is_found(&sessions, &renewed, NOW + LIFETIME / 2 + LIFETIME - 1), "it lives a whole life from then on");
    assert!(!is_found(&sessions, &renewed, NOW + LIFETIME / 2 + LIFETIME));
    assert_eq!(renewed.split('.').next(), cookie.split('.').next(), "and is the same");
    assert_eq!(sessions.find(&HeaderMap::new(), &at(NOW)), Session::None);
    let Session::Active { renew: Some(secure), .. } =
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
    let Session::Active { renew: Some(renewed), .. } = shorter.find(&headers(&[&cookie]), &at(NOW)) else {
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
            assert!(matches!(found, Session::Active { renew: Some(_), .. }));
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
    assert_eq!(CookieSessions::new(&bad, "a").expect_err("an error").to_string(), "`a b` cannot be a cookie's name");
}

/// Hosts each session under an epoch, and remembers what was seen.
#[derive(Default)]
struct Hosts(AtomicU64, std::sync::Mutex<Vec<u64>>);

impl SessionEpochs for Hosts {
    fn epoch(&self, _: SessionId) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|epoch| *epoch != 0)
    }
    fn seen(&self, _: SessionId, epoch: u64) {
        self.1.lock().unwrap().push(epoch);
    }
}

/// S1-X-STALE: the cookie carries the epoch of the session's host, and tells every worker that it meets; nobody changes it.
#[test]
fn s1_x_stale_the_cookie_carries_the_epoch() {
    let hosts = Arc::new(Hosts::default());
    let sessions = site("boston.app.com").with_epochs(Arc::clone(&hosts) as Arc<dyn SessionEpochs>);
    let before = started(&sessions);
    let find = |cookie: &str| sessions.find(&headers(&[cookie]), &at(NOW));
    let Session::Active { renew: None, of: Some(of) } = find(&before) else { panic!("nothing is new") };
    assert_eq!(of.epoch, 0);
    hosts.0.store(65_537, Relaxed);
    let Session::Active { renew: Some(renewed), of: Some(with) } = find(&before) else { panic!("a new epoch") };
    assert_eq!(with, SessionRef { id: of.id, epoch: 65_537 });
    let cookie = kept(&renewed);
    assert!(cookie.contains(&format!(".{}.65537.", NOW + LIFETIME)), "{cookie}");
    assert!(matches!(find(&cookie), Session::Active { renew: None, .. }));
    // A worker that hosted it before is told.
    hosts.0.store(9, Relaxed);
    let Session::Active { renew: None, of: Some(stale) } = find(&cookie) else { panic!("it is a session") };
    assert_eq!((stale.epoch, hosts.1.lock().unwrap().last()), (65_537, Some(&65_537)));
    for other in ["65538", "065537", "0", "", "x"] {
        let changed = cookie.replace(".65537.", &format!(".{other}."));
        assert_eq!(find(&changed), Session::None, "{changed}");
    }
    assert_eq!(find(&cookie.replace(".65537.", ".")), Session::None);
    // Those without epochs read it all the same.
    assert!(matches!(site("boston.app.com").find(&headers(&[&cookie]), &at(NOW)), Session::Active { .. }));
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
