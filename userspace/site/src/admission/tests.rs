//! The admission with everything behind it, but for the network: whole requests in, whole verdicts out.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::{
    Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, COOKIE, HOST, LOCATION, ORIGIN, RETRY_AFTER,
        SET_COOKIE,
    },
};
use http_body_util::BodyExt;
use ipnet::IpNet;
use serde_json::json;

use super::{super::fixture::appendix_a, *};
use crate::session::CookieSessions;

/// Busy or not, as a test says.
#[derive(Default)]
struct Switch(AtomicBool);

impl Overload for Switch {
    fn is_busy(&self, _ask: Ask) -> bool {
        self.0.load(Relaxed)
    }

    fn begin(&self, _client: Option<IpNet>) -> Guard {
        Guard::none()
    }

    fn report(&self, sessions: u64) -> Value {
        json!({ "sessions": sessions })
    }

    fn in_flight(&self) -> u64 {
        0
    }
}

struct Boston {
    admission: Admission,
    busy: Arc<Switch>,
}

/// The outcome of a request.
#[derive(Debug, PartialEq)]
enum Came {
    /// The application was asked for this.
    Served(String),
    /// Sent to this, by this status.
    Sent(u16, String),
    /// Another page.
    Page(u16),
}

impl Boston {
    fn new(web: &str) -> Self {
        let model = appendix_a(&format!("[web]\n{web}"));
        let site = model.site_by_key("boston").unwrap();
        let busy = Arc::new(Switch::default());
        let sessions = CookieSessions::new(&model.web[site.0].session, "boston.app.com").unwrap();
        let peers = PeerHealth::fixed([true, true, true].into());
        let admission = Admission::with(&model, site, peers, Arc::new(sessions), Arc::<Switch>::clone(&busy)).unwrap();
        Self { admission, busy }
    }

    fn judge(&self, request: http::request::Builder) -> (Came, Vec<String>, Evaluation) {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let connection = Connection { client: [192, 0, 2, 99].into(), secure: false, server_name: None };
        let judged = self.admission.evaluate(&head, &connection);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let (came, cookies) = match &judged.verdict {
            Verdict::Serve(pass) => {
                let target = pass.target.as_ref().or(head.uri.path_and_query()).unwrap();
                (Came::Served(target.to_string()), pass.cookies.iter().map(text).collect())
            }
            Verdict::Respond(page) => {
                let cookies = page.headers().get_all(SET_COOKIE).iter().map(text).collect();
                let came = match page.headers().get(LOCATION) {
                    Some(location) => Came::Sent(page.status().as_u16(), text(location)),
                    None => Came::Page(page.status().as_u16()),
                };
                (came, cookies)
            }
        };
        (came, cookies, judged)
    }

    /// A GET of a URL without its scheme, with cookies.
    fn get(&self, url: &str, cookies: &[String]) -> (Came, Vec<String>) {
        let (host, target) = url.trim_start_matches("http://").split_once('/').unwrap();
        let mut request = Request::get(format!("/{target}")).header(HOST, host);
        for cookie in cookies {
            request = request.header(COOKIE, cookie.split(';').next().unwrap());
        }
        let (came, set, _) = self.judge(request);
        (came, set)
    }

    /// Follows redirects as a client does that keeps cookies, or none, for 10 at most; how many there were.
    fn follow(&self, url: &str, keeps: bool, jar: &mut Vec<String>) -> (Came, usize) {
        let mut url = url.to_owned();
        for hops in 0..10 {
            let (came, set) = self.get(&url, jar);
            if keeps {
                let name = |cookie: &String| cookie.split('=').next().unwrap_or_default().to_owned();
                jar.retain(|old| !set.iter().any(|new| name(new) == name(old)));
                jar.extend(set);
            }
            match came {
                Came::Sent(_, location) => url = location,
                came => return (came, hops),
            }
        }
        panic!("no end: {url}");
    }
}

fn served(target: &str) -> Came {
    Came::Served(target.into())
}

/// S4-5A-BIND, S4-5B-588: from the Pool Name to a session under the Site Name, which then passes at once.
#[test]
fn s4_5a_bind_by_redirect_and_session() {
    let boston = Boston::new("");
    let mut jar = Vec::new();
    assert_eq!(boston.follow("http://app.com:8080/a?b", true, &mut jar), (served("/a?b"), 3));
    assert!(jar[0].starts_with("ZSESSION="), "{jar:?}");
    assert_eq!(boston.follow("http://boston.app.com:8080/c", true, &mut jar), (served("/c"), 0));
    // Another Site's name, with that session: it is none there, and the browser would not even send it.
    assert_eq!(boston.follow("http://chicago.app.com/c", false, &mut Vec::new()), (served("/c"), 2));
}

/// S4-5A-505, C10: scheme and port stay, also behind a proxy that ends TLS; other methods keep theirs by 307.
#[test]
fn s4_5a_505_scheme_port_and_method_stay() {
    let boston = Boston::new("trusted_proxies = [\"192.0.2.0/24\"]\n");
    let ask = |name: &str, value: &str| {
        let request =
            Request::builder().method(Method::POST).uri("/a").header(HOST, "app.com:8443").header(name, value);
        boston.judge(request).0
    };
    let Came::Sent(307, location) = ask("x-forwarded-proto", "https") else { panic!("307") };
    assert!(location.starts_with("https://boston.app.com:8443/a/distrib="), "{location}");
    let Came::Sent(307, location) = ask("x-forwarded-host", "www.app.com, europe.app.com:81") else { panic!("307") };
    assert!(location.starts_with("http://boston.app.com:81/a/distrib="), "{location}");
    let untrusting = Boston::new("");
    let request = Request::get("/a").header(HOST, "app.com").header("x-forwarded-proto", "https");
    let (Came::Sent(302, location), ..) = untrusting.judge(request) else { panic!("302") };
    assert!(location.starts_with("http://boston.app.com/a/"), "{location}");
}

/// S4-5A-530, S4-5A-545: the wrong group is left for the right one, by rule; and the client's net is that of the forwarded client.
#[test]
fn s4_5a_530_the_proper_group_by_a_rule() {
    let rule = "[[web.rule]]\ngroup = \"europe.app.com\"\npath = \"/eu\"\n";
    let boston = Boston::new(rule);
    assert_eq!(boston.get("app.com/eu/x", &[]).0, Came::Sent(302, "http://europe.app.com/eu/x".into()));
    let Came::Sent(302, location) = boston.get("app.com/europe", &[]).0 else { panic!("302") };
    assert!(location.starts_with("http://boston.app.com/europe/distrib="), "{location}");
}

/// S4-4C-FLAG: the group is recorded with the session, once.
#[test]
fn s4_4c_flag_is_set_with_the_session() {
    let boston = Boston::new("flag = { cookie = \"ZGROUP\", domain = \"app.com\" }\n");
    let mut jar = Vec::new();
    boston.follow("app.com/", true, &mut jar);
    let flag = jar.iter().find(|cookie| cookie.starts_with("ZGROUP=")).expect("a flag");
    assert!(flag.starts_with("ZGROUP=americas.app.com;") && flag.contains("Domain=app.com"), "{flag}");
    let only = vec![flag.clone()];
    let Came::Sent(_, location) = boston.get("app.com/", &only).0 else { panic!("sent") };
    let (_, set) = boston.get(&location, &only);
    assert!(!set.iter().any(|cookie| cookie.starts_with("ZGROUP=")), "{set:?}");
}

/// S4-5B-DEFER: a key waits with who was turned away, is kept when they return too early, and admits once.
#[tokio::test]
async fn s4_5b_defer_a_key_admits_once() {
    let boston = Boston::new("clean_url = false\nbusy = { retry = \"1s\" }\n");
    boston.busy.0.store(true, Relaxed);
    // Chicago sends it on to here as the last of the group.
    let now = unix_now();
    let url = format!("/a/distrib={now}+chicago.app.com+americas.app.com+1");
    let (came, _, judged) = boston.judge(Request::get(&url).header(HOST, "boston.app.com"));
    assert_eq!(came, Came::Page(503));
    let Verdict::Respond(page) = judged.verdict else { panic!("a page") };
    assert!(page.headers().contains_key(RETRY_AFTER));
    let html = String::from_utf8(page.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let back = html.split("<a href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link").to_owned();
    let key = back.split('!').nth(1).expect("a key").to_owned();
    // At once is too early: busy or not, the same key.
    boston.busy.0.store(false, Relaxed);
    if unix_now() == now {
        assert_eq!(boston.get(&back, &[]).0, Came::Page(503));
    }
    while boston.admission.deferrals.key_state(&key, unix_now()) != KeyState::Due {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(boston.get(&back, &[]).0, served("/a"));
    assert_eq!(boston.admission.deferrals.key_state(&key, unix_now()), KeyState::Unknown);
    // A POST has no place to return to.
    boston.busy.0.store(true, Relaxed);
    let (came, ..) = boston.judge(Request::post(&url).header(HOST, "boston.app.com"));
    assert_eq!(came, Came::Page(503));
}

/// C18: `clean_url` leaves no marker with who keeps cookies, and serves who does not.
#[test]
fn c18_clean_urls_for_those_who_keep_cookies() {
    let boston = Boston::new("");
    assert_eq!(boston.follow("app.com/a/", true, &mut Vec::new()), (served("/a/"), 3));
    assert_eq!(boston.follow("app.com/a/", false, &mut Vec::new()), (served("/a/"), 2));
    // A bookmark that has gone round is tidied whatever the configuration.
    let boston = Boston::new("clean_url = false\n");
    let marked = "boston.app.com/a/distrib=17";
    let Came::Sent(302, location) = boston.get(marked, &[]).0 else { panic!("302") };
    assert_eq!(location, "http://americas.app.com/a/distrib=0+++1".replace("americas.app.com", "app.com"));
    assert_eq!(boston.follow(marked, true, &mut Vec::new()), (served("/a"), 4));
    assert_eq!(boston.follow(marked, false, &mut Vec::new()), (served("/a"), 3));
}

/// C18: who is bound and opens the Pool Name again is shown no marker, either; a WebSocket's handshake cannot be sent on.
#[test]
fn c18_a_url_is_clean_in_a_session() {
    let boston = Boston::new("");
    let mut jar = Vec::new();
    boston.follow("app.com/", true, &mut jar);
    let Came::Sent(302, location) = boston.get("app.com:8080/b/?c=1", &[]).0 else { panic!("302") };
    assert_eq!(boston.get(&location, &jar).0, Came::Sent(303, "http://boston.app.com:8080/b/?c=1".into()));
    assert_eq!(boston.get("boston.app.com/b/?c=1", &jar).0, served("/b/?c=1"));
    let target = location.trim_start_matches("http://boston.app.com:8080");
    let cookie = jar[0].split(';').next().unwrap();
    let ask = |method: Method, more: &'static str| {
        let request = Request::builder().method(method).uri(target).header(HOST, "boston.app.com");
        boston.judge(request.header(COOKIE, cookie).header(more, "websocket")).0
    };
    assert_eq!(ask(Method::POST, "x-none"), served("/b/?c=1"));
    assert_eq!(ask(Method::GET, "upgrade"), served("/b/?c=1"));
    let dated = Boston::new("clean_url = false\n");
    let mut jar = Vec::new();
    assert_eq!(dated.follow("app.com/", true, &mut jar), (served("/"), 1));
    let Came::Sent(302, location) = dated.get("app.com/b", &[]).0 else { panic!("302") };
    assert_eq!(dated.get(&location, &jar).0, served("/b"));
}

/// C13, S4-5A-GATE: whose name it is comes before everything else: a session, a probe's path, what is passed on.
#[test]
fn c13_a_host_is_looked_at_before_everything_else() {
    let boston = Boston::new("pass = [\"/hooks\"]\n");
    let mut jar = Vec::new();
    boston.follow("app.com/", true, &mut jar);
    let cookie = jar[0].split(';').next().unwrap().to_owned();
    let preflight = (Method::OPTIONS, "/c");
    for (method, path) in [(Method::GET, "/c"), (Method::GET, "/health"), (Method::POST, "/hooks/x"), preflight] {
        let ask = |host: Option<&str>| {
            let request = Request::builder().method(method.clone()).uri(path).header(COOKIE, &cookie);
            let request = request.header(ORIGIN, "https://shop.example").header(ACCESS_CONTROL_REQUEST_METHOD, "PUT");
            let request = if let Some(host) = host { request.header(HOST, host) } else { request };
            boston.judge(request).0
        };
        assert_eq!(ask(Some("boston.app.com")), served(path), "{method} {path}");
        for (host, status) in [
            (Some("other.example"), 421),
            (Some("boston.app.com.other.example"), 421),
            (Some("203.0.113.9"), 421),
            (Some("user@boston.app.com"), 400),
            (Some("boston.app.com:80:80"), 400),
            (Some("boston..app.com"), 400),
            (Some(""), 400),
            (None, 400),
        ] {
            assert_eq!(ask(host), Came::Page(status), "{method} {path} {host:?}");
        }
    }
    // Monitors ask for health by address.
    let (came, ..) = boston.judge(Request::get("/health").header(HOST, "192.0.2.10:80"));
    assert_eq!(came, served("/health"));
    let (came, ..) = boston.judge(Request::post("/health").header(HOST, "192.0.2.10"));
    assert_eq!(came, Came::Page(421));
}

/// CORS: no browser follows a redirect of a preflight, nor one that does not say that its page may.
#[test]
fn preflights_and_listed_requests_are_passed_on() {
    let boston = Boston::new("pass = [\"/.well-known/\", \"POST /hooks\"]\n");
    let ask = |method: &str, target: &str, fields: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(target).header(HOST, "app.com");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (came, cookies, judged) = boston.judge(request);
        assert!(cookies.is_empty(), "{cookies:?}");
        (came, judged)
    };
    let origin = ("origin", "https://shop.example");
    let asks = ("access-control-request-method", "DELETE");
    assert_eq!(ask("OPTIONS", "/cart", &[origin, asks]).0, served("/cart"));
    assert_eq!(ask("GET", "/.well-known/acme-challenge/x", &[]).0, served("/.well-known/acme-challenge/x"));
    assert_eq!(ask("POST", "/hooks/paid?n=1", &[]).0, served("/hooks/paid?n=1"));
    for (method, target) in [("GET", "/hooks/paid"), ("POST", "/.well-known/../cart"), ("OPTIONS", "/cart")] {
        assert!(matches!(ask(method, target, &[origin]).0, Came::Sent(..)), "{method} {target}");
    }
    let (came, judged) = ask("DELETE", "/cart", &[origin]);
    let (Came::Sent(307, _), Verdict::Respond(page)) = (&came, &judged.verdict) else { panic!("{came:?}") };
    assert_eq!(page.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
    let text = boston.admission.metrics(None, Format::Prometheus).unwrap();
    for line in ["{what=\"preflight\"} 1", "{what=\"listed\"} 2"] {
        assert!(text.contains(&format!("zerottl_site_requests_passed_total{line}")), "{line}: {text}");
    }
}

/// S4-5A-TERM: a client that encodes each URL anew has gone round as often as it has, in every mode.
#[test]
fn s4_5a_term_encoded_markers_count() {
    let encoded = |location: &str, all: bool| {
        let at = location.find("distrib=").unwrap_or(location.len());
        let (before, marker) = location.split_at(at);
        let (marker, after) = marker.split_at(marker.find('?').unwrap_or(marker.len()));
        let encode = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() && !all => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        };
        format!("{before}{}{after}", marker.bytes().map(encode).collect::<String>())
    };
    for mode in ["path", "query"] {
        for all in [false, true] {
            for stale in [false, true] {
                let boston = Boston::new(&format!("clean_url = false\nmarker = {{ mode = \"{mode}\" }}\n"));
                let mut url = "app.com/a?b".to_owned();
                if stale {
                    // As of a clock that is an hour behind.
                    let at = unix_now() - 3600;
                    url = format!(
                        "boston.app.com/a{}",
                        if mode == "path" { format!("/distrib={at}?b") } else { format!("?b&distrib={at}") }
                    );
                }
                let mut hops = 0_usize;
                let came = loop {
                    match boston.get(&encoded(&url, all), &[]).0 {
                        Came::Sent(_, location) if hops < 12 => (hops, url) = (hops + 1, location),
                        came => break came,
                    }
                };
                assert_eq!(came, served("/a?b"), "{mode}, all: {all}, stale: {stale}, after {hops}: {url}");
            }
        }
    }
}

/// One client turns nobody else away: not by sessions that it never comes back to, nor by ones that it does, nor by
/// requests, nor by keys.
#[test]
fn s4_5b_550_one_client_leaves_room_for_newcomers() {
    let model = appendix_a(
        "[web]\nclean_url = false\nbusy = { in_flight = 40, sessions = 40 }\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    );
    let site = model.site_by_key("boston").unwrap();
    let admission = Admission::new(&model, site, PeerHealth::fixed([true, true, true].into())).unwrap();
    // Both by one proxy, whose word is good, ports and all.
    let ask = |client: &str, method: Method, cookie: Option<&str>| {
        let target = format!("/a/distrib={}", unix_now());
        let request = Request::builder().method(method).uri(target).header(HOST, "boston.app.com");
        let request = request.header("x-forwarded-for", format!("{client}:4711"));
        let request = if let Some(cookie) = cookie { request.header(COOKIE, cookie) } else { request };
        let (head, ()) = request.body(()).unwrap().into_parts();
        let connection = Connection { client: [10, 0, 0, 1].into(), secure: false, server_name: None };
        admission.evaluate(&head, &connection).verdict
    };
    let is_admitted = |verdict: &Verdict| matches!(verdict, Verdict::Serve(_));
    let cookie = |verdict: &Verdict| match verdict {
        Verdict::Serve(pass) => {
            pass.cookies.first().map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned())
        }
        Verdict::Respond(_) => None,
    };
    let sessions = || admission.sessions.active(unix_now());
    let (hog, other) = ("198.51.100.7", "203.0.113.9");
    for _ in 0..1000 {
        assert!(is_admitted(&ask(hog, Method::HEAD, None)));
    }
    assert_eq!(sessions(), 0, "no cookie has come back");
    for _ in 0..100 {
        let begun = ask(hog, Method::POST, None);
        if let Some(cookie) = cookie(&begun) {
            assert!(is_admitted(&ask(hog, Method::POST, Some(&cookie))));
        }
    }
    assert_eq!(sessions(), 10, "a quarter");
    assert!(!is_admitted(&ask(hog, Method::POST, None)) && is_admitted(&ask(other, Method::POST, None)));
    // In one of its sessions, so that nothing holds it back.
    let begun = cookie(&ask("192.0.2.200", Method::POST, None)).expect("a cookie");
    let held: Vec<Verdict> = (0..500).map(|_| ask("192.0.2.200", Method::POST, Some(&begun))).collect();
    assert_eq!((admission.overload.in_flight(), admission.overload.beyond_shares()), (500, 490));
    assert!(!is_admitted(&ask("192.0.2.200", Method::POST, None)));
    for at in 0..20 {
        assert!(is_admitted(&ask(&format!("203.0.113.{at}"), Method::POST, None)), "{at}");
    }
    drop(held);
    let text = admission.metrics(None, Format::Prometheus).unwrap();
    let full = text.lines().find(|line| line.starts_with("zerottl_site_client_share_full_total ")).expect("a metric");
    assert!(!full.ends_with(" 0"), "{full}");
}

/// An entry of a trusted proxy that is no address is counted, and the proxy is the client.
#[test]
fn malformed_addresses_are_counted() {
    let boston = Boston::new("trusted_proxies = [\"192.0.2.0/24\"]\n");
    let ask = |of: &str| boston.judge(Request::get("/a").header(HOST, "app.com").header("x-forwarded-for", of));
    ask("198.51.100.7:80, 192.0.2.8:443");
    ask("what");
    ask("198.51.100.7, what, 192.0.2.8");
    let text = boston.admission.metrics(None, Format::Prometheus).unwrap();
    assert!(text.contains("zerottl_site_forwarded_malformed_total 2"), "{text}");
}

/// S4-5A-TERM in mode `cookie`: who keeps cookies is bound without a trace in the URL; who keeps none is served in the end.
#[test]
fn s4_5a_term_markers_in_cookies() {
    let boston = Boston::new("marker = { mode = \"cookie\", domain = \"app.com\" }\n");
    let mut jar = Vec::new();
    let (came, set) = boston.get("app.com/a", &[]);
    assert_eq!(came, Came::Sent(302, "http://boston.app.com/a".into()));
    assert!(set[0].starts_with("distrib=") && set[0].contains("Domain=app.com"), "{set:?}");
    assert_eq!(boston.follow("app.com/a", true, &mut jar), (served("/a"), 1));
    let (came, hops) = boston.follow("app.com/a", false, &mut Vec::new());
    assert_eq!(came, served("/a"));
    assert!(hops <= 8, "{hops}");
}

/// Requests of the DNS side pass by: its probe reaches a backend, its load is answered here.
#[test]
fn probes_and_loads_pass_by() {
    let boston = Boston::new("");
    let (came, ..) = boston.judge(Request::get("/health").header(HOST, "192.0.2.10"));
    assert_eq!(came, served("/health"));
    assert_eq!(boston.get("boston.app.com/health?x", &[]).0, Came::Sent(302, "http://app.com/health?x".into()));
}

/// Two hosts are none; the target's own goes before the header's (RFC 9112 section 3.2.2).
#[test]
fn c13_one_host_alone() {
    let boston = Boston::new("");
    let two = Request::get("/a").header(HOST, "app.com").header(HOST, "boston.app.com");
    assert_eq!(boston.judge(two).0, Came::Page(400));
    let absolute = Request::get("http://evil.example/a").header(HOST, "app.com");
    assert_eq!(boston.judge(absolute).0, Came::Page(421));
    let odd = Request::options("*").header(HOST, "app.com");
    assert_eq!(boston.judge(odd).0, Came::Page(StatusCode::BAD_REQUEST.as_u16()));
}
