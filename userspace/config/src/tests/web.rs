//! `[web]`: what it means at each Site.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use super::*;
use zerottl_core::model::{
    AccessFormat, AccessLog, Backend, BackendProbe, BusyConfig, Condition, FlagConfig, InviteConfig, MarkerConfig,
    MarkerMode, Passed, Peers, PriorityClass, RedirectForm, SameSite, Screen, SessionConfig, Web, WebLimits, WebTls,
};

/// [`BASE`](super::BASE) with lines at its end.
pub(super) fn with(lines: &str) -> String {
    format!("{BASE}{lines}")
}

/// boston's and geneva's.
pub(super) fn webs(lines: &str) -> [Arc<Web>; 2] {
    let loaded =
        parse("f", &with(lines), Path::new("/etc/zerottl")).unwrap_or_else(|error| panic!("{}", error.plain()));
    assert_eq!(loaded.warnings.iter().map(Problem::line).collect::<Vec<_>>(), Vec::<String>::new());
    let keys: Vec<_> = loaded.model.sites.iter().map(|site| site.key.as_str()).collect();
    assert_eq!(keys, ["boston", "geneva"]);
    loaded.model.web.try_into().expect("one for each Site")
}

fn places(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address and a port")).collect()
}

#[test]
fn none_without_the_section() {
    assert!(parse("f", BASE, &examples()).expect("valid").model.web.is_empty());
}

/// One file for all Sites, and what one of them has instead; the form is a key of its own.
#[test]
fn an_access_log_for_each_site() {
    let [boston, geneva] = webs("[web]\naccess_log = \"stdout\"\n[web.geneva]\naccess_log = \"none\"\n");
    let stdout = AccessLog { file: None, format: AccessFormat::Combined };
    assert_eq!((&boston.access_log, &geneva.access_log), (&Some(stdout), &None));
    let [boston, geneva] =
        webs("[web]\naccess_log_format = \"common\"\n[web.geneva]\naccess_log = \"/var/log/geneva\"\n");
    let file = Some("/var/log/geneva".into());
    let log = AccessLog { file, format: AccessFormat::Common };
    assert_eq!((&boston.access_log, &geneva.access_log), (&None, &Some(log)));
}

/// The file's defaults are the model's.
#[test]
fn defaults_are_the_sites_own_places() {
    let [boston, geneva] = webs("[web]\n");
    let expect = |address: &str| format!("{:?}", Web::at([address.parse().expect("an address")]));
    assert_eq!(format!("{boston:?}"), expect("192.0.2.10"));
    assert_eq!(format!("{geneva:?}"), expect("198.51.100.10"));
    assert_eq!((&boston.listen, boston.tls.is_none()), (&places(&["192.0.2.10:80"]), true));
    assert_eq!(boston.admin, Some(places(&["127.0.0.1:8054"])[0]));
}

#[test]
fn every_key_has_a_meaning() {
    let [web, _] = webs(
        r#"
[web]
listen = ["192.0.2.10", "[2001:db8:1::10]:8080", "127.0.0.1:81", "0.0.0.0:82"]
admin = "::1"
tls = { listen = ["192.0.2.10", "192.0.2.10:8443"], certificates = "certs" }
backends = ["http://127.0.0.1:8080", "HTTP://App1/", "http://[2001:DB8::1]", "http://[::1]:1"]
backend_probe = { path = "/health?full=1", interval = "2s", timeout = "1s" }
access_log = "log/access"
access_log_format = "json"
aliases = ["WWW.app.com.", "app.example"]
overflow = false
clean_url = false
redirect = "meta"
trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"]
via = "boston-1"
marker = { mode = "query", lifetime = "2m", skew = "0s", key = "/keys/marker" }
busy = { in_flight = 0, latency = 1.5, sessions = 7, resume = 1, status = 200, retry = "1m", client_share = 0.5, client_prefix_v4 = 32, client_prefix_v6 = 64 }
session = { cookie = "SID", lifetime = "1h", key = "session", same_site = "none" }
flag = { cookie = "G", domain = "App.com.", lifetime = "24h" }
peers = { agent = "127.0.0.1", interval = "500ms" }
limits = { connections = 100, head = 8192, headers = 50, body = 1000, head_timeout = "1s", idle_timeout = "2s", connect_timeout = "3s", response_timeout = "4s", streams = 5, requests_per_client = 6, lame_duck = "7s", grace = "1m" }
[[web.rule]]
group = "all.app.com"
clients = ["192.0.2.0/24"]
header = "X-Region:  eu west "
cookie = "region=eu"
path = "/eu/"
host = "App.Example."
[[web.rule]]
group = "ALL.app.com"
header = "X-Region"
cookie = "region"
[[web.class]]
name = "gold"
share = 1
cookie = "tier=gold=1"
[[web.class]]
name = "rest"
share = 0.5
"#,
    );
    assert_eq!(web.listen, places(&["192.0.2.10:80", "[2001:db8:1::10]:8080", "127.0.0.1:81", "0.0.0.0:82"]));
    assert_eq!(web.admin, Some(places(&["[::1]:8054"])[0]));
    let certificates = "/etc/zerottl/certs".into();
    assert_eq!(web.tls, Some(WebTls { listen: places(&["192.0.2.10:443", "192.0.2.10:8443"]), certificates }));
    let backend = |url: &str, authority: &str| Backend { url: url.into(), authority: authority.into() };
    let backends = [
        backend("http://127.0.0.1:8080", "127.0.0.1:8080"),
        backend("HTTP://App1/", "app1:80"),
        backend("http://[2001:DB8::1]", "[2001:DB8::1]:80"),
        backend("http://[::1]:1", "[::1]:1"),
    ];
    assert_eq!(web.backends, backends);
    let (interval, timeout) = (Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(web.backend_probe, BackendProbe { path: Some("/health?full=1".into()), interval, timeout });
    let file = Some("/etc/zerottl/log/access".into());
    assert_eq!(web.access_log, Some(AccessLog { file, format: AccessFormat::Json }));
    assert_eq!(web.aliases, ["www.app.com", "app.example"]);
    assert_eq!(web.via, "boston-1");
    assert_eq!((web.overflow, web.clean_url, web.redirect), (false, false, RedirectForm::Meta));
    assert_eq!(web.trusted_proxies, ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().expect("a net")));
    let key = Some("/keys/marker".into());
    assert_eq!(web.marker, MarkerConfig { mode: MarkerMode::Query, lifetime: 120, skew: 0, key });
    let retry = Duration::from_mins(1);
    let client = BusyConfig { client_share: 0.5, client_prefix: (32, 64), ..BusyConfig::default() };
    let busy = BusyConfig { in_flight: 0, latency: 1.5, sessions: 7, resume: 1.0, status: 200, retry, ..client };
    assert_eq!(web.busy, busy);
    let (lifetime, key) = (Duration::from_hours(1), Some("/etc/zerottl/session".into()));
    let session =
        SessionConfig { cookie: "SID".into(), lifetime, key, same_site: SameSite::None, ..SessionConfig::default() };
    assert_eq!(web.session, session);
    let lifetime = Duration::from_hours(24);
    assert_eq!(web.flag, Some(FlagConfig { cookie: "G".into(), domain: "app.com".into(), lifetime }));
    let (at, interval) = (places(&["127.0.0.1:8053"])[0], Duration::from_millis(500));
    assert_eq!(web.peers, Peers::Agent { at, interval });
    let limits = WebLimits {
        connections: 100,
        connections_per_client: 100,
        head: 8192,
        headers: 50,
        body: 1000,
        head_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(4),
        streams: 5,
        requests_per_client: 6,
        lame_duck: Duration::from_secs(7),
        grace: Duration::from_mins(1),
    };
    assert_eq!(web.limits, limits);
    rules_and_classes_mean(&web);
}

fn rules_and_classes_mean(web: &Web) {
    let pair = |name: &str, value: Option<&str>| Some((name.to_owned(), value.map(str::to_owned)));
    let first = Condition {
        clients: vec!["192.0.2.0/24".parse().expect("a net")],
        header: pair("x-region", Some("eu west")),
        cookie: pair("region", Some("eu")),
        path: Some("/eu".into()),
        host: Some("app.example".into()),
    };
    let second = Condition { header: pair("x-region", None), cookie: pair("region", None), ..Condition::default() };
    let rules: Vec<_> = web.rules.iter().map(|rule| (rule.group.0, rule.when.clone())).collect();
    assert_eq!(rules, [(0, first), (0, second)]);
    let gold = Condition { cookie: pair("tier", Some("gold=1")), ..Condition::default() };
    let class = |name: &str, when, share| PriorityClass { name: name.into(), when, share };
    assert_eq!(web.classes, [class("gold", gold, 1.0), class("rest", Condition::default(), 0.5)]);
}

#[test]
fn what_is_passed_on_and_by_which_name() {
    let [web, other] = webs(
        "[web]\npass = [\"/.well-known/\", \"POST /hooks\", \"PROPFIND\"]\nbackend_host = \"pool\"\n[web.geneva]\nbackend_host = \"site\"\n",
    );
    let passed = |method: Option<&str>, path: Option<&str>| Passed {
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
    };
    let pass =
        [passed(None, Some("/.well-known")), passed(Some("POST"), Some("/hooks")), passed(Some("PROPFIND"), None)];
    assert_eq!((&web.pass[..], web.backend_host.as_deref()), (&pass[..], Some("app.com")));
    assert_eq!(other.backend_host.as_deref(), Some("geneva.app.com"));
}

/// A value in a Site's own table replaces the key's whole value, and nothing else.
#[test]
fn a_sites_own_table_goes_before() {
    let [boston, geneva] = webs(
        r#"
[web]
admin = "none"
backends = ["http://app:80"]
busy = { in_flight = 5, sessions = 6 }
tls = { listen = ["0.0.0.0:443"], certificates = "shared" }
[web.geneva]
busy = { sessions = 7 }
listen = []
tls = { certificates = "own" }
[[web.geneva.class]]
name = "all"
share = 0.5
[[web.rule]]
group = "all.app.com"
"#,
    );
    assert_eq!((boston.busy.in_flight, boston.busy.sessions), (5, 6));
    assert_eq!((geneva.busy.in_flight, geneva.busy.sessions), (1000, 7));
    assert_eq!((boston.admin, geneva.admin), (None, None));
    assert_eq!((boston.listen.len(), geneva.listen.len()), (1, 0));
    let tls = |web: &Web| web.tls.clone().expect("it has TLS");
    assert_eq!(tls(&boston), WebTls { listen: places(&["0.0.0.0:443"]), certificates: "/etc/zerottl/shared".into() });
    let own = WebTls { listen: places(&["198.51.100.10:443"]), certificates: "/etc/zerottl/own".into() };
    assert_eq!(tls(&geneva), own);
    assert_eq!((boston.classes.len(), geneva.classes.len()), (0, 1));
    assert_eq!((boston.rules.len(), geneva.rules.len()), (1, 1));
    assert_eq!(boston.backends, geneva.backends);
}

/// A `[web.SITE]` may stand without, or before, `[web]`; and only the other Sites get what it leaves open.
#[test]
fn a_sites_table_alone() {
    let [boston, geneva] = webs("[web.boston]\nredirect = \"meta\"\n");
    assert_eq!((boston.redirect, geneva.redirect), (RedirectForm::Meta, RedirectForm::Status));
}

#[test]
fn peers_and_modes() {
    let peers = |text: &str| webs(&format!("[web]\npeers = {text}\n"))[0].peers.clone();
    assert_eq!(peers("\"probe\""), Peers::Probe);
    assert_eq!(peers("\"none\""), Peers::None);
    let (at, interval) = (places(&["[::1]:9"])[0], Duration::from_secs(1));
    assert_eq!(peers("{ agent = \"[::1]:9\" }"), Peers::Agent { at, interval });
    let marker = |text: &str| webs(&format!("[web]\nmarker = {text}\n"))[0].marker.clone();
    assert_eq!(
        marker("{ mode = \"cookie\", domain = \"APP.com\" }").mode,
        MarkerMode::Cookie { domain: "app.com".into() }
    );
    assert_eq!(marker("{ mode = \"path\" }"), MarkerConfig::default());
    // The default gives way to a shorter life.
    assert_eq!((marker("{ lifetime = \"2s\" }").lifetime, marker("{ lifetime = \"2s\" }").skew), (2, 2));
}

/// Rules of several pools in one file: each for its own pool's Sites.
#[test]
fn rules_are_for_their_pools_sites() {
    let text = r#"
[pool."two.app.com"]
sites = ["paris"]
[group."one.two.app.com"]
pool = "two.app.com"
sites = ["paris"]
[site.paris]
name = "paris.two.app.com"
addresses = ["203.0.113.1"]
probe = { kind = "http" }
[web]
[[web.rule]]
group = "one.two.app.com"
path = "/two"
[[web.rule]]
group = "all.app.com"
path = "/one"
"#;
    let loaded = parse("f", &with(text), &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    let paths = loaded
        .model
        .web
        .iter()
        .map(|web| web.rules.iter().map(|rule| rule.when.path.clone().expect("a path")).collect::<Vec<_>>());
    assert_eq!(paths.collect::<Vec<_>>(), [vec!["/one"], vec!["/one"], vec!["/two"]]);
}

/// A table for each of very many Sites costs each its own reading and no more.
#[test]
fn many_sites_have_tables_of_their_own() {
    use std::fmt::Write;

    let mut text = changed("[group", "[nothing").split("[pool").next().expect("the head").to_owned();
    let keys: Vec<_> = (0..5_000).map(|i| format!("\"s{i}\"")).collect();
    writeln!(text, "[pool.\"app.com\"]\nsites = [{}]", keys.join(", ")).expect("written");
    for i in 0..5_000 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + i);
        writeln!(text, "[site.s{i}]\nname = \"s{i}.app.com\"\naddresses = [\"{address}\"]").expect("written");
        writeln!(
            text,
            "[web.s{i}]\nbusy = {{ in_flight = {i} }}\nmarker = {{ mode = \"cookie\", domain = \"app.com\" }}"
        )
        .expect("written");
    }
    let loaded = parse("f", &text, &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    let in_flight: Vec<_> = loaded.model.web.iter().map(|web| web.busy.in_flight).collect();
    assert_eq!(in_flight, (0..5_000).collect::<Vec<u32>>());
}

/// Where the certificates are on this machine, `check` looks at them: names of the pool without one, and ends.
#[test]
fn certificates_that_lack_a_name_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = format!("[web]\ntls = {{ certificates = \"{}\" }}\n", folder.path().display());
    let told = || -> Vec<String> {
        let loaded = parse("f", &with(&line), Path::new("/")).unwrap_or_else(|error| panic!("{}", error.plain()));
        loaded
            .warnings
            .iter()
            .map(Problem::line)
            .map(|line| line.replace(&folder.path().display().to_string(), "DIR"))
            .collect()
    };
    let write = |file: &str, names: &[&str], year: i32| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let text = params.self_signed(&key).expect("a certificate").pem() + &key.serialize_pem();
        fs::write(folder.path().join(file), text).expect("written");
    };
    let says = |all: &[String], text: &str| assert!(all.len() == 1 && all[0].contains(text), "{text}: {all:#?}");
    says(&told(), "[web]: no certificate is in DIR: NAME.pem, or NAME.crt and NAME.key");
    write("sites.pem", &["*.app.com"], 2090);
    says(&told(), "[web]: no certificate is for app.com (add one, or a wildcard");
    write("pool.pem", &["app.com"], 2090);
    assert_eq!(told(), Vec::<String>::new());
    write("old.pem", &["app.com"], 2020);
    says(&told(), "[web]: the certificate DIR/old.pem has ended (renew it");
    fs::write(folder.path().join("old.pem"), "nothing").expect("written");
    says(&told(), "[web]: no certificate is in DIR/old.pem");
    let key = folder.path().join("short");
    fs::write(&key, "short").expect("written");
    let line = format!("[web]\nsession = {{ key = \"{}\" }}\n", key.display());
    let loaded = parse("f", &with(&line), Path::new("/")).unwrap_or_else(|error| panic!("{}", error.plain()));
    let told: Vec<_> = loaded.warnings.iter().map(Problem::line).collect();
    assert!(told.len() == 1 && told[0].contains("must have 16 to 4096 bytes"), "{told:?}");
}

/// A Site's own `invite` is instead of the backends of all, and the other way round.
#[test]
fn invitations_and_a_screen() {
    let [boston, geneva] = webs(
        "[web]\nbackends = [\"http://b\"]\nscreen = \"http://127.0.0.1:9000/auth?a=1\"\n[web.boston]\ninvite = { listen = \"10.0.0.1\", token = \"token\", \
         workers = [\"http://10.0.0.1:8055\", \"http://10.0.0.2:8055\"], beat = \"100ms\", stall = \"500ms\", waiting = 7, \
         patience = \"2s\" }\n[web.geneva]\ninvite = { listen = \"127.0.0.1:9\", beat = \"2s\" }\nscreen = \"http://a\"\n",
    );
    let backend = |url: &str, authority: &str| Backend { url: url.into(), authority: authority.into() };
    let invite = InviteConfig {
        token: Some("/etc/zerottl/token".into()),
        workers: ["10.0.0.1:8055", "10.0.0.2:8055"].map(|at| backend(&format!("http://{at}"), at)).into(),
        beat: Duration::from_millis(100),
        stall: Duration::from_millis(500),
        waiting: 7,
        patience: Duration::from_secs(2),
        ..InviteConfig::at(places(&["10.0.0.1:8055"])[0])
    };
    assert_eq!((boston.invite.as_ref(), boston.backends.len()), (Some(&invite), 0));
    let at = backend("http://127.0.0.1:9000", "127.0.0.1:9000");
    assert_eq!(boston.screen, Some(Screen { at, path: "/auth?a=1".into() }));
    let slow = InviteConfig {
        beat: Duration::from_secs(2),
        stall: Duration::from_secs(6),
        ..InviteConfig::at(places(&["127.0.0.1:9"])[0])
    };
    assert_eq!(geneva.invite, Some(slow));
    assert_eq!(geneva.screen, Some(Screen { at: backend("http://a", "a:80"), path: "/".into() }));
    let [boston, geneva] =
        webs("[web]\ninvite = { listen = \"127.0.0.1\" }\n[web.boston]\nbackends = [\"http://b\"]\n");
    assert_eq!((boston.invite.is_some(), boston.backends.len()), (false, 1));
    assert_eq!((geneva.invite.is_some(), geneva.backends.len()), (true, 0));
}
