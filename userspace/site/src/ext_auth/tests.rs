//! Tests of what servers that ask are told, without a network.

use std::path::Path;

use http::Request;

use super::*;
use crate::peers::PeerHealth;
use zerottl_config as config;

const TEXT: &str = r#"
[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster@app.com"
[pool."app.com"]
sites = ["geneva", "boston", "chicago"]
[group."europe.app.com"]
pool = "app.com"
sites = ["geneva"]
[site.geneva]
name = "geneva.app.com"
addresses = ["198.51.100.10"]
[site.boston]
name = "boston.app.com"
addresses = ["192.0.2.10"]
[site.chicago]
name = "chicago.app.com"
addresses = ["192.0.2.20"]
[web]
listen = []
clean_url = false
trusted_proxies = ["10.0.0.0/8"]
[[web.rule]]
group = "europe.app.com"
clients = ["198.51.100.0/24"]
"#;

fn admission(more: &str) -> Admission {
    let text = TEXT.replace("[[web.rule]]", &format!("{more}\n[[web.rule]]"));
    let model =
        config::parse("test", &text, Path::new("")).unwrap_or_else(|error| panic!("{}", error.render(false))).model;
    let boston = model.site_by_key("boston").unwrap();
    Admission::new(&model, boston, PeerHealth::fixed([false, true, false].into())).unwrap()
}

fn head(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

/// As nginx asks, for plain HTTP and a client of no group.
fn asking(method: &str, host: &str, target: &str) -> http::request::Builder {
    Request::get(NGINX)
        .header("host", "127.0.0.1:8054")
        .header("x-original-uri", target)
        .header("x-original-method", method)
        .header("x-original-host", host)
        .header("x-forwarded-proto", "http")
        .header("x-forwarded-for", "192.0.2.99")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("nothing to wait for")
}

fn field<'a>(page: &'a Page, name: &str) -> &'a str {
    page.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// A marker that holds now, of an overflow that began at the Site after this one: all others have been asked.
fn last_of_all(admission: &Admission, host: &str) -> String {
    let page = run(nginx(admission, head(asking("GET", "app.com", "/a"))));
    let marked = field(&page, "x-zerottl-location").strip_prefix("http://boston.app.com").unwrap().to_owned();
    assert!(host.ends_with("app.com") && marked.starts_with("/a/distrib="), "{marked}");
    format!("{marked}+chicago.app.com++1")
}

/// S4-B-FORM: nginx is told where the Pool Name leads, then what to ask the application for, and whose session it is.
#[test]
fn s4_b_form_nginx_from_the_pool_name_into_a_session() {
    let admission = admission("");
    let moved = run(nginx(&admission, head(asking("GET", "app.com:8080", "/a/?b=1"))));
    assert_eq!((moved.status().as_u16(), field(&moved, "x-zerottl-status")), (401, "302"));
    let location = field(&moved, "x-zerottl-location").to_owned();
    assert!(location.starts_with("http://boston.app.com:8080/a/distrib=") && location.ends_with(",?b=1"), "{location}");
    let posted = run(nginx(&admission, head(asking("POST", "app.com", "/"))));
    assert_eq!((posted.status().as_u16(), field(&posted, "x-zerottl-status")), (401, "307"));

    let target = location.strip_prefix("http://boston.app.com:8080").unwrap();
    let admitted = run(nginx(&admission, head(asking("GET", "boston.app.com:8080", target))));
    assert_eq!((admitted.status().as_u16(), field(&admitted, "x-zerottl-uri")), (204, "/a/?b=1"));
    let cookie = field(&admitted, "x-zerottl-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("ZSESSION="), "{cookie}");

    let later = |cookie: &str| {
        let later = asking("POST", "boston.app.com:8080", "/c%2Fd?e=%").header("cookie", cookie);
        let later = run(nginx(&admission, head(later)));
        assert_eq!((later.status().as_u16(), field(&later, "x-zerottl-uri")), (204, "/c%2Fd?e=%"));
        field(&later, "x-zerottl-cookie").split(';').next().unwrap().to_owned()
    };
    // Once it has come back, it is exchanged for one that counts.
    let lasting = later(&cookie);
    assert!(lasting.starts_with("ZSESSION=") && lasting != cookie, "{lasting}");
    assert_eq!(later(&lasting), "");
}

/// S4-B-FORM: scheme and client are what nginx says of them; other proxies before it are believed if they are trusted.
#[test]
fn s4_b_form_nginx_says_how_a_request_came() {
    let admission = admission("");
    let located = |proto: &str, forwarded: &str| {
        let mut request = asking("GET", "app.com", "/");
        let headers = request.headers_mut().unwrap();
        headers.insert("x-forwarded-proto", proto.parse().unwrap());
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        field(&run(nginx(&admission, head(request))), "x-zerottl-location").split("/distrib").next().unwrap().to_owned()
    };
    assert_eq!(located("https", "192.0.2.99"), "https://boston.app.com");
    // No Site of Europe is up, so the group of these clients counts for nothing; with geneva up it would be there.
    assert_eq!(located("http", "198.51.100.7"), "http://boston.app.com");
    let model = config::parse("test", TEXT, Path::new("")).unwrap().model;
    let boston = model.site_by_key("boston").unwrap();
    let admission = Admission::new(&model, boston, PeerHealth::fixed([true, true, true].into())).unwrap();
    for (forwarded, group) in [
        ("198.51.100.7", true),
        ("192.0.2.99", false),
        // The client's own word.
        ("198.51.100.7, 192.0.2.99", false),
        // A trusted proxy's.
        ("198.51.100.7, 10.0.0.1", true),
        ("192.0.2.99, 10.0.0.1", false),
        ("nonsense", false),
    ] {
        let mut request = asking("GET", "app.com", "/");
        request.headers_mut().unwrap().insert("x-forwarded-for", forwarded.parse().unwrap());
        let page = run(nginx(&admission, head(request)));
        assert_eq!(field(&page, "x-zerottl-location") == "http://europe.app.com/", group, "{forwarded}: {page:?}");
    }
}

/// S4-B-FORM, S4-C13: refusals and the busy page go to the client by 403, the page and its status in fields.
#[test]
fn s4_b_form_nginx_gets_pages() {
    let admission = admission("[web.busy]\nin_flight = 0\nsessions = 1");
    let unknown = run(nginx(&admission, head(asking("GET", "other.example", "/"))));
    assert_eq!((unknown.status().as_u16(), field(&unknown, "x-zerottl-status")), (403, "421"));
    assert!(field(&unknown, "x-zerottl-page").contains(Refusal::UnknownHost.text()));
    let broken = run(nginx(&admission, head(asking("GET", "boston.app.com", "no path"))));
    assert_eq!((broken.status().as_u16(), field(&broken, "x-zerottl-status")), (403, "400"));

    let target = last_of_all(&admission, "boston.app.com");
    let first = run(nginx(&admission, head(asking("GET", "boston.app.com", &target))));
    assert_eq!(first.status().as_u16(), 401, "a marker that counts hops is taken off first (C18): {first:?}");
    // It counts once its cookie has come back.
    let cookie = field(&first, "x-zerottl-cookie").split(';').next().unwrap().to_owned();
    run(nginx(&admission, head(asking("POST", "boston.app.com", "/").header("cookie", cookie))));
    let busy = run(nginx(&admission, head(asking("GET", "boston.app.com", &target))));
    assert_eq!((busy.status().as_u16(), field(&busy, "x-zerottl-status")), (403, "503"), "{busy:?}");
    assert_eq!(field(&busy, "x-zerottl-retry-after"), "10");
    assert!(field(&busy, "x-zerottl-page").contains("content=\"10;url=http://boston.app.com/a/distrib="), "{busy:?}");
}

/// S4-C14: on HTTP/2 a name of the pool that the connection was not made for is asked for anew.
#[test]
fn s4_c14_nginx_says_protocol_and_server_name() {
    let admission = admission("");
    let status = |protocol: &str, server_name: &str| {
        let request = asking("GET", "app.com", "/");
        let request = request.header("x-original-protocol", protocol).header("x-original-server-name", server_name);
        field(&run(nginx(&admission, head(request))), "x-zerottl-status").to_owned()
    };
    assert_eq!(status("HTTP/2.0", "geneva.app.com"), "421");
    assert_eq!(status("HTTP/2.0", "App.com"), "302");
    assert_eq!(status("HTTP/1.1", "geneva.app.com"), "302");
}

/// A configuration that does not say what was asked for serves nobody.
#[test]
fn nginx_must_say_what_the_request_was() {
    let admission = admission("");
    for missing in ["x-original-uri", "x-original-method"] {
        let mut request = asking("GET", "app.com", "/");
        request.headers_mut().unwrap().remove(missing);
        assert_eq!(run(nginx(&admission, head(request))).status().as_u16(), 500, "{missing}");
    }
    // HTTP/1.0 without a Host (C7).
    let mut request = asking("GET", "app.com", "/");
    request.headers_mut().unwrap().remove("x-original-host");
    let page = run(nginx(&admission, head(request)));
    assert!(field(&page, "x-zerottl-location").starts_with("http://boston.app.com/distrib="), "{page:?}");
}

/// S4-B-FORM: Envoy gets the response itself, or 200 with what is to be added.
#[test]
fn s4_b_form_envoy_gets_the_response_itself() {
    let admission = admission("");
    let ask = |host: &str, target: &str| {
        Request::get(format!("{ENVOY}{target}"))
            .header("host", host)
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", "192.0.2.99")
    };
    let moved = envoy(&admission, head(ask("app.com", "/a?b")));
    assert_eq!(moved.status().as_u16(), 302);
    let location = field(&moved, "location").to_owned();
    let marked = location.strip_prefix("https://boston.app.com").unwrap();
    let admitted = envoy(&admission, head(ask("boston.app.com", marked)));
    assert_eq!((admitted.status().as_u16(), field(&admitted, "x-zerottl-uri")), (200, "/a?b"));
    assert!(field(&admitted, "set-cookie").starts_with("ZSESSION="));
    assert_eq!(envoy(&admission, head(ask("other.example", "/"))).status().as_u16(), 421);
    assert_eq!(envoy(&admission, head(Request::get("/elsewhere").header("host", "app.com"))).status().as_u16(), 400);
}

/// To Envoy 200 alone means that the request may pass: pages never say it.
#[test]
fn s4_b_form_envoy_lets_no_page_through() {
    let admission = admission("redirect = \"meta\"");
    let ask = Request::get(format!("{ENVOY}/a")).header("host", "app.com").header("x-forwarded-proto", "http");
    let page = envoy(&admission, head(ask));
    assert_eq!(page.status().as_u16(), 203);
    let Ok(body) = run(page.into_body().collect());
    assert!(String::from_utf8(body.to_bytes().to_vec()).unwrap().contains("http-equiv=\"refresh\""));
}

/// Forward auth, as Caddy and Traefik ask by their documentation: all in `X-Forwarded-` fields, the response for the client.
#[test]
fn s4_b_form_who_forwards_is_told_the_response_itself() {
    let admission = admission("");
    let ask = |method: &str, host: Option<&str>, target: &str, more: &[(&str, &str)]| {
        let mut request = Request::get(FORWARD).header("host", "127.0.0.1:8054");
        request = request.header("x-forwarded-method", method).header("x-forwarded-uri", target);
        request = request.header("x-forwarded-proto", "https").header("x-forwarded-for", "192.0.2.99");
        if let Some(host) = host {
            request = request.header("x-forwarded-host", host);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        forward(&admission, head(request))
    };
    let field = |page: &Page, name: &str| {
        page.headers().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let moved = ask("PUT", Some("app.com"), "/a%2Fb?c", &[]);
    assert_eq!((moved.status(), field(&moved, "cache-control")), (StatusCode::TEMPORARY_REDIRECT, "no-store".into()));
    let marked = field(&moved, "location").split_once("boston.app.com").expect("the Site Name").1.to_owned();
    let admitted = ask("PUT", Some("boston.app.com"), &marked, &[]);
    assert_eq!((admitted.status(), field(&admitted, "x-zerottl-uri")), (StatusCode::OK, "/a%2Fb?c".into()));
    let set = field(&admitted, "x-zerottl-cookie");
    assert!(set.ends_with("; Secure") && set == field(&admitted, "set-cookie"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let inside = ask("GET", Some("boston.app.com"), "/", &[("cookie", &cookie)]);
    assert_eq!((inside.status(), field(&inside, "x-zerottl-uri")), (StatusCode::OK, "/".into()));
    for host in [Some("other.example"), Some("a b")] {
        let refused = ask("GET", host, "/", &[("cookie", &cookie), ("x-original-protocol", "HTTP/1.1")]);
        assert!(!refused.status().is_success(), "{host:?}");
    }
    let coalesced = [("x-original-protocol", "HTTP/2.0"), ("x-original-server-name", "boston.app.com")];
    assert_eq!(ask("GET", Some("chicago.app.com"), "/", &coalesced).status(), StatusCode::MISDIRECTED_REQUEST);
    let silent = Request::get(FORWARD).header("host", "boston.app.com");
    assert_eq!(forward(&admission, head(silent)).status(), StatusCode::INTERNAL_SERVER_ERROR);
}

/// Whoever forwards takes any 2xx for a yes.
#[test]
fn s4_b_form_no_page_lets_a_forwarded_request_pass() {
    let admission = admission("redirect = \"meta\"");
    let request = Request::get(FORWARD).header("x-forwarded-method", "GET").header("x-forwarded-uri", "/");
    let request = request.header("x-forwarded-host", "app.com").header("x-forwarded-for", "192.0.2.99");
    assert_eq!(forward(&admission, head(request)).status(), StatusCode::SERVICE_UNAVAILABLE);
}
