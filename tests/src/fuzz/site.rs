//! URLs, markers and hosts through operation 500.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Method, Request, Version, header::LOCATION, request::Parts, uri::PathAndQuery};
use http_body_util::BodyExt;
use ipnet::IpNet;
use serde_json::Value;
use zerottl_config as config;
use zerottl_core::model::{Model, RedirectForm, SiteId};
use zerottl_site::{
    admission::{Admission, Connection, Verdict},
    decide::{Decision, Facts, Redirect, Rules, decide},
    marker::{Marker, MarkerCarrier, Markers, split as split_target},
    overload::{Ask, Guard, Overload},
    peers::PeerHealth,
    respond::{self, Page},
    session::CookieSessions,
    topology::Topology,
};

use super::bytes::split;

const MODES: [MarkerCarrier; 3] = [MarkerCarrier::Path, MarkerCarrier::Query, MarkerCarrier::Cookie];
/// The first byte: its two lowest bits choose the mode, these the rest.
const SIGNED: u8 = 1 << 2;
const THROUGH_GATE: u8 = 1 << 3;
const BUSY: u8 = 1 << 4;
const POST: u8 = 1 << 5;
const OTHER_VERSION: u8 = 1 << 6;
const SECURE: u8 = 1 << 7;
/// Stands between host, target and cookie.
const SEPARATOR: u8 = 0;
/// In a target, the time.
const NOW: &str = "NOW";
const RULES: Rules = Rules { lifetime: 60, skew: 5, overflow: true };
/// The names that anybody may be sent to.
const NAMES: [&str; 6] =
    ["app.com", "europe.app.com", "americas.app.com", "geneva.app.com", "boston.app.com", "chicago.app.com"];
const BOSTON: SiteId = SiteId(1);

fn model(mode: MarkerCarrier) -> Model {
    let marker = match mode {
        MarkerCarrier::Path => "mode = \"path\"",
        MarkerCarrier::Query => "mode = \"query\"",
        MarkerCarrier::Cookie => "mode = \"cookie\", domain = \"app.com\"",
    };
    let redirect = if mode == MarkerCarrier::Query { "meta" } else { "status" };
    let site =
        |key: &str, last: u8| format!("[site.{key}]\nname = \"{key}.app.com\"\naddresses = [\"192.0.2.{last}\"]\n");
    let sites = [site("geneva", 1), site("boston", 2), site("chicago", 3)].concat();
    let text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"h@app.com\"\n\
         [pool.\"app.com\"]\nsites = [\"geneva\", \"boston\", \"chicago\"]\n\
         [group.\"europe.app.com\"]\npool = \"app.com\"\nsites = [\"geneva\", \"chicago\"]\n\
         [group.\"americas.app.com\"]\npool = \"app.com\"\nsites = [\"boston\", \"chicago\"]\n{sites}\
         [web]\nbackends = [\"http://127.0.0.1:8080\"]\nredirect = \"{redirect}\"\nmarker = {{ {marker} }}\n\
         [[web.rule]]\ngroup = \"europe.app.com\"\ncookie = \"eu\"\n"
    );
    config::parse("fuzz.toml", &text, Path::new("")).unwrap_or_else(|e| panic!("{e:?}")).model
}

/// Always, or never.
struct Fixed(bool);

impl Overload for Fixed {
    fn is_busy(&self, _: Ask) -> bool {
        self.0
    }

    fn begin(&self, _: Option<IpNet>) -> Guard {
        Guard::none()
    }

    fn report(&self, _: u64) -> Value {
        Value::Null
    }

    fn in_flight(&self) -> u64 {
        0
    }
}

/// By mode, idle and busy.
static GATES: LazyLock<Vec<[Admission; 2]>> = LazyLock::new(|| {
    let admission = |model: &Model, busy| {
        let sessions = CookieSessions::new(&model.web[BOSTON.0].session, NAMES[4]).unwrap();
        let peers = PeerHealth::fixed(Arc::new([true, true, true]));
        Admission::with(model, BOSTON, peers, Arc::new(sessions), Arc::new(Fixed(busy))).unwrap()
    };
    MODES.map(model).iter().map(|model| [admission(model, false), admission(model, true)]).collect()
});
static PLACE: LazyLock<Topology> = LazyLock::new(|| Topology::of(&model(MarkerCarrier::Path), BOSTON));

/// A request's host, target and cookie, as they come to the decision, or through all of operation 500. Nobody is sent to a
/// name that is not ours, no URL has two markers, and what is added comes off again.
pub fn site(data: &[u8]) {
    let (how, bytes) = split(data);
    let mut fields = bytes.split(|byte| *byte == SEPARATOR);
    let [host, target, cookie] = [(); 3].map(|()| fields.next().unwrap_or_default());
    if how & THROUGH_GATE != 0 {
        through_gate(how, host, target, cookie);
        return;
    }
    let [host, target, cookie] = [host, target, cookie].map(String::from_utf8_lossy);
    let markers = Markers::new(MODES[usize::from(how % 3)], (how & SIGNED != 0).then_some(b"a key of this Site"));
    markers_hold(&markers, &target);
    decided(&markers, how, &host, &target, Some(&*cookie).filter(|cookie| !cookie.is_empty()));
}

/// S4-5A-535: `strip(add(uri)) == uri` for any URI that has no marker, to the byte; and one that has any has none then.
fn markers_hold(markers: &Markers, target: &str) {
    let plain = markers.plain(target);
    assert_eq!(markers.plain(&plain), plain, "{target:?}: once is enough");
    let hidden = markers.find(&plain, None);
    assert_eq!(markers.plain(&hidden.clean), hidden.clean, "{target:?}: none is left");
    let found = markers.find(target, None);
    assert_eq!(found.was_marked, marks(markers.mode, target) > 0, "{target:?}");
    let clean = &*found.clean;
    assert_eq!(marks(markers.mode, clean), 0, "{target:?} leaves {clean:?}");
    if !clean.starts_with('/') {
        return;
    }
    let plain = Marker { at: 1_763_748_000, ..Marker::default() };
    let full = Marker { initial: Some(NAMES[3]), group: Some(NAMES[1]), hops: 3, ..plain };
    for marker in [plain, full, found.marker.unwrap_or(plain)] {
        let marked = markers.add(clean, &marker);
        assert_eq!(marks(markers.mode, &marked), 1, "{marked:?}");
        let again = markers.find(&marked, None);
        assert_eq!((&*again.clean, again.marker), (clean, Some(marker)), "{marked:?}");
    }
}

/// How many markers a target ends in, by no code of zerottl's. A comma says that the path before ended in a slash, so that
/// what stands before it is no last segment.
fn marks(mode: MarkerCarrier, target: &str) -> usize {
    let (path, query) = split_target(target);
    let is_marker = |piece: &&str| piece.to_ascii_lowercase().starts_with("distrib=");
    // What has no slash before it is no segment of a path that begins with one.
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match mode {
        MarkerCarrier::Path => {
            let is_last = |piece: &&str| piece.split(['+', '!', '~']).next().is_some_and(|time| time.ends_with(','));
            let count = segments.iter().copied().rev().take_while(is_marker).count();
            let ends = segments.iter().copied().rev().take(count).position(|piece| is_last(&piece));
            ends.map_or(count, |at| at + 1)
        }
        MarkerCarrier::Query | MarkerCarrier::Cookie => {
            query.map_or(0, |query| query.rsplit('&').take_while(is_marker).count())
        }
    }
}

fn decided(markers: &Markers, how: u8, host: &str, target: &str, cookie: Option<&str>) {
    let plain = markers.plain(target);
    let found = markers.find(&plain, cookie);
    let facts = Facts {
        in_session: false,
        version: if how & OTHER_VERSION == 0 { Version::HTTP_11 } else { Version::HTTP_10 },
        authority: Some(host).filter(|host| !host.is_empty()),
        server_name: None,
        found: &found,
        by_cookie: markers.mode == MarkerCarrier::Cookie,
        now: 1_763_748_000,
        proper: (how & SECURE != 0).then_some(0),
        busy: how & BUSY != 0,
        waiting: false,
        up: &[],
    };
    let (decision, path) = decide(&PLACE, &RULES, &facts);
    assert!(path.end().is_some(), "no stage was gone through");
    if let Decision::Redirect(Redirect { host, marker }) = decision {
        assert!(NAMES.contains(&host), "to {host:?}");
        let target = marker.map_or_else(|| found.clean.to_string(), |marker| markers.add(&found.clean, &marker));
        for form in [RedirectForm::Status, RedirectForm::Meta] {
            sound(&respond::redirect(format!("http://{host}{target}"), &Method::GET, form, Vec::new()), markers.mode);
        }
    }
}

fn through_gate(how: u8, host: &[u8], target: &[u8], cookie: &[u8]) {
    let mode = usize::from(how % 3);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let target = String::from_utf8_lossy(target).replace(NOW, &now);
    let mut request = Request::builder().uri(target.as_str());
    request = if how & POST == 0 { request } else { request.method(Method::POST) };
    request = if how & OTHER_VERSION == 0 { request } else { request.version(Version::HTTP_2) };
    for (name, value) in [("host", host), ("cookie", cookie)] {
        request = if value.is_empty() { request } else { request.header(name, value) };
    }
    // What hyper would not take, either.
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
        secure: how & SECURE != 0,
        server_name: (how & SECURE != 0).then_some(NAMES[4]),
    };
    match GATES[mode][usize::from(how & BUSY != 0)].evaluate(&head, &connection).verdict {
        Verdict::Respond(page) => sound(&page, MODES[mode]),
        Verdict::Serve(pass) => {
            let target = pass.target.as_ref().or(head.uri.path_and_query()).map_or("", PathAndQuery::as_str);
            assert_eq!(marks(MODES[mode], target), 0, "the application sees the marker: {target:?}");
            assert!(is_ours(&head), "served under {:?}", head.headers);
        }
    }
}

/// Whether the request is for this Site by its own words.
fn is_ours(head: &Parts) -> bool {
    let header = head.headers.get(http::header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let host = head.uri.authority().map(ToString::to_string).or(header).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    name.trim_end_matches('.') == NAMES[4]
}

/// A page of ours sends nobody elsewhere, by a header or by a link, and may not be stored.
fn sound(page: &Page, mode: MarkerCarrier) {
    assert!([200, 302, 303, 307, 400, 421, 503].contains(&page.status().as_u16()), "{}", page.status());
    assert_eq!(page.headers()["cache-control"], "no-store");
    let mut links: Vec<String> = Vec::new();
    if let Some(location) = page.headers().get(LOCATION) {
        assert!(!location.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)), "{location:?}");
        links.push(String::from_utf8_lossy(location.as_bytes()).into_owned());
    }
    let text = text(page);
    for opener in ["url=", "href=\""] {
        let found = text.match_indices(opener).filter_map(|(at, _)| text[at + opener.len()..].split('"').next());
        links.extend(found.map(unescaped));
    }
    for link in links {
        let (scheme, rest) = link.split_once("://").unwrap_or_else(|| panic!("{link:?} has no scheme"));
        // As browsers take URLs apart.
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (name, port) = authority.split_once(':').unwrap_or((authority, "0"));
        assert!(["http", "https"].contains(&scheme) && NAMES.contains(&name), "sent to {link:?}");
        assert!(port.parse::<u16>().is_ok(), "{link:?}");
        assert!(target.starts_with('/') && marks(mode, target) <= 1, "{link:?}");
    }
}

fn text(page: &Page) -> String {
    let mut whole = pin!(page.body().clone().collect());
    let Poll::Ready(Ok(body)) = whole.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a body in memory is there at once")
    };
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// Requests for every branch, and what has sent clients elsewhere in other servers.
pub(super) fn made() -> BTreeMap<String, Vec<u8>> {
    let inputs: [(&str, u8, &str, &str, &str); 26] = [
        ("pool", 0, "app.com", "/shop?a=1", ""),
        ("group", 0, "americas.app.com", "/", ""),
        ("own", 0, "boston.app.com", "/shop/", ""),
        ("failed-over", 0, "Chicago.App.Com.:8080", "//a//b;c=d/%2F?x=?&y", ""),
        ("fresh", 0, "boston.app.com", "/a/Distrib=1763747990?b", ""),
        ("expired", 0, "boston.app.com", "/a/distrib=1763740000,+geneva.app.com+europe.app.com+2", ""),
        ("two", 0, "app.com", "/a/distrib=1/distrib=2", ""),
        ("query", 1, "app.com", "/a?b&distrib=1763747990+geneva.app.com", ""),
        ("cookie", 2, "boston.app.com", "/a?distrib=0+++1", "1763747990"),
        ("signed", SIGNED, "boston.app.com", "/a/distrib=1763747990~AAAAAAAAAAAAAAAAAAAAAA", ""),
        ("key", 0, "boston.app.com", "/a/distrib=1763749000!0123456789abcdefghij-_", ""),
        ("overflow", BUSY, "boston.app.com", "/a/distrib=1763747990", ""),
        ("overflow-on", BUSY, "boston.app.com", "/a/distrib=1763747990+geneva.app.com++1", ""),
        ("no-host", OTHER_VERSION, "", "/a", ""),
        ("star", 0, "app.com", "*", ""),
        ("evil-path", 0, "app.com", "//evil.example/", ""),
        ("evil-backslash", 0, "app.com", "/\\evil.example/", ""),
        ("evil-at", 0, "app.com", "@evil.example/", ""),
        ("evil-lines", 0, "app.com", "/\r\nLocation: http://evil.example/\r\n", ""),
        ("evil-host", 0, "app.com@evil.example", "/", ""),
        ("evil-markup", 0, "app.com", "/\"><script>alert('é')</script>", ""),
        ("admission-pool", THROUGH_GATE, "app.com", "/shop?a=1", "eu=1"),
        ("admission-own", THROUGH_GATE, "boston.app.com:8080", "/a/distrib=NOW?b", ""),
        (
            "admission-busy",
            THROUGH_GATE | BUSY,
            "boston.app.com",
            "/a/distrib=NOW+chicago.app.com+americas.app.com+1?b",
            "",
        ),
        ("admission-absolute", THROUGH_GATE | POST | 1, "", "http://americas.app.com/a?b", ""),
        ("admission-cookie", THROUGH_GATE | SECURE | OTHER_VERSION | 2, "boston.app.com", "/a", "distrib=NOW"),
    ];
    let input = |(name, how, host, target, cookie): &(&str, u8, &str, &str, &str)| {
        ((*name).to_owned(), [&[*how], host.as_bytes(), b"\0", target.as_bytes(), b"\0", cookie.as_bytes()].concat())
    };
    inputs.iter().map(input).collect()
}
