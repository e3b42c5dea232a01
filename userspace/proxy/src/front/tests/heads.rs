//! Tests of what of a head reaches a backend, and what comes back.

use http::{HeaderMap, HeaderValue, Request, Version};

use super::*;
use crate::front::{headers, normalize};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn fields_of_the_connection_go_no_further() {
    let mut headers = map(&[
        ("connection", "close, X-Private"),
        ("connection", "keep-alive, host, Cookie"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eA=="),
        ("proxy-authenticate", "Basic"),
        ("proxy-connection", "keep-alive"),
        ("proxy", "http://evil"),
        ("expect", "100-continue"),
        ("forwarded", "for=6.6.6.6"),
        ("te", "gzip"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("host", "app.com"),
        ("cookie", "a=b"),
        ("x-public", "1"),
    ]);
    assert_eq!(headers::strip(&mut headers), None, "an Upgrade that Connection does not name is none");
    assert_eq!(names(&headers), ["cookie", "forwarded", "host", "x-public"], "what is said of clients goes later");
}

#[test]
fn trailers_may_be_asked_for_and_upgrades_are_named() {
    let mut headers = map(&[("te", "gzip;q=0.5, Trailers")]);
    assert_eq!(headers::strip(&mut headers), None);
    assert_eq!((&headers["te"], &headers["connection"]), (&"trailers".parse().unwrap(), &"te".parse().unwrap()));
    let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(headers::strip(&mut headers).unwrap(), "websocket");
    assert!(headers.is_empty());
    for (protocol, may) in
        [("websocket", true), ("irc/6.9", true), ("h2c", false), ("HTTP/2.0", false), ("websocket, h2c", false)]
    {
        assert_eq!(headers::may_upgrade(&HeaderValue::from_static(protocol)), may, "{protocol}");
    }
}

/// Returns what `normalize::admit` makes of a target and a Host: the Host after it and the target, or the status.
fn taken(version: Version, target: &str, hosts: &[&'static str]) -> Result<(Option<String>, String), u16> {
    let mut request = Request::get(target).version(version).body(()).unwrap();
    for host in hosts {
        request.headers_mut().append("host", HeaderValue::from_static(host));
    }
    normalize::admit(&mut request, 100).map_err(|(status, _)| status.as_u16())?;
    let host = request.headers().get("host").map(|value| value.to_str().unwrap().to_owned());
    Ok((host, request.uri().to_string()))
}

#[test]
fn a_request_has_one_host_and_a_target_in_origin_form() {
    let ok = |host: &str, target: &str| Ok((Some(host.to_owned()), target.to_owned()));
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(taken(one, "/a?b", &["app.com"]), ok("app.com", "/a?b"));
    assert_eq!(taken(one, "//a%2Fb;c?d?e", &["app.com"]), ok("app.com", "//a%2Fb;c?d?e"));
    assert_eq!(taken(one, "/", &[]), Ok((None, "/".into())), "what that means is operation 500's to say (C7)");
    assert_eq!(taken(one, "/", &["a", "a"]), Err(400));
    assert_eq!(taken(one, "http://uri.com:8080/a?b", &["app.com"]), ok("uri.com:8080", "/a?b"));
    assert_eq!(taken(one, "http://uri.com", &["app.com"]), ok("uri.com", "/"));
    assert_eq!(taken(one, "http://uri.com?b", &["app.com"]), ok("uri.com", "/?b"));
    assert_eq!(taken(one, "ftp://uri.com/", &["app.com"]), Err(400));
    assert_eq!(taken(one, "uri.com:80", &["app.com"]), Err(400));
    assert_eq!(taken(one, "*", &["app.com"]), Err(400), "for OPTIONS alone");
    assert_eq!(taken(two, "https://app.com/a", &[]), ok("app.com", "/a"));
    assert_eq!(taken(two, "https://app.com/a", &["APP.com"]), ok("app.com", "/a"));
    assert_eq!(taken(two, "https://app.com/a", &["other.com"]), Err(400));
}

/// RFC 9113 section 8.3.1: in HTTP/2 the target `*` comes with an authority.
#[test]
fn options_of_the_server_stay_what_they_are() {
    let check = |method: &str, target: &str, wanted: Result<&str, u16>| {
        let uri = http::Uri::builder().scheme("https").authority("app.com").path_and_query(target).build().unwrap();
        let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(()).unwrap();
        let taken = normalize::admit(&mut request, 100).map(|()| request.uri().to_string());
        assert_eq!(taken.as_deref().map_err(|(status, _)| status.as_u16()), wanted, "{method} {target}");
    };
    check("OPTIONS", "*", Ok("*"));
    check("OPTIONS", "/", Ok("/"));
    check("OPTIONS", "?a", Ok("/?a"));
    check("GET", "?a", Ok("/?a"));
}

#[tokio::test]
async fn a_backend_learns_whom_it_serves() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |_| ());
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                X-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\n";
    let answer = front.raw(format!("GET /a?b HTTP/1.1\r\nHost: App.com:80\r\nConnection: close\r\n{lies}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\napp"), "{answer}");
    let seen = app.seen().remove(0);
    assert_eq!(seen.line, "GET /a?b HTTP/1.1");
    assert_eq!(seen.all("host"), ["App.com:80"], "as the client sent it");
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["App.com:80"]);
    assert_eq!(seen.all("x-forwarded-port"), [front.at.port().to_string()]);
    assert_eq!((seen.all("forwarded").len(), seen.all("connection").len()), (0, 0));

    let front = Front::start(&[app.at], |web| web.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    front.raw(format!("GET / HTTP/1.1\r\nHost: app.com\r\nConnection: close\r\n{lies}\r\n")).await;
    let seen = app.seen().remove(1);
    assert_eq!(seen.all("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), ["evil"]);
    assert_eq!(seen.all("x-forwarded-port"), ["1"]);
}

#[tokio::test]
async fn old_clients_and_odd_methods_are_served_or_told() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |_| ());
    let answer = front.raw("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\napp"), "{answer}");
    assert_eq!(app.seen()[0].line, "GET / HTTP/1.1");
    assert_eq!(app.seen()[0].all("host"), [app.at.to_string()], "HTTP/1.1 must have one");
    let head = front.raw("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 3") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(status(&front.raw("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await), 200);
    assert_eq!(status(&front.raw("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").await), 501);
    assert_eq!(status(&front.raw("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await), 501);
    assert_eq!(app.seen().len(), 3);
}

#[tokio::test]
async fn what_a_backend_says_of_its_connection_stays_there() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
                      Proxy-Authenticate: x\r\nX-Stays: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nuntil the end";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let front = Front::start(&[at], |_| ());
    let answer = front.get("/").await;
    for gone in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    for stays in ["x-stays: 1", "set-cookie: a=1", "set-cookie: b=2", "until the end"] {
        assert!(answer.contains(stays), "no {stays} in {answer}");
    }
}
