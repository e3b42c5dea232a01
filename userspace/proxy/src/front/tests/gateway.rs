//! Tests of what a gateway owes both sides: framing, `Via`, fields as they came.

use super::{
    tls::{connect, front, pem},
    *,
};
use crate::front::FrontRefusal;

/// A backend that answers any request with these bytes, and closes.
async fn says(answer: &'static str) -> SocketAddr {
    raw_backend(move |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

/// Asks over HTTP/1.1 or HTTP/2: status, fields and body; an error where the body is cut or malformed.
async fn ask(front: &Front, two: bool, fields: &[(&str, &str)]) -> Result<Response<Bytes>, String> {
    let protocol = if two { "h2" } else { "http/1.1" };
    let io = TokioIo::new(connect(front, "app.com", &[protocol]).await.map_err(|error| error.to_string())?);
    let uri = if two { "https://app.com/a" } else { "/a" };
    let mut request = Request::get(uri).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let all = fields.iter().chain((!two).then_some(&("host", "app.com")));
    for (name, value) in all {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let said = |error: hyper::Error| format!("{error:?}");
    let response = if two {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().max_headers(1000).handshake(io).await.map_err(said)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(said)?
    };
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await.map_err(said)?.to_bytes()))
}

fn secured(app: SocketAddr, change: impl FnOnce(&mut Web)) -> (Front, tempfile::TempDir) {
    let folder = tempfile::TempDir::new().unwrap();
    pem(folder.path(), "a.pem", &["app.com"]);
    (front(&[app], &folder, change), folder)
}

/// RFC 9112 section 6.3: chunks say where a body ends, a length beside them is taken off. `HAProxy` does so; nginx answers 502.
#[tokio::test]
async fn a_response_with_a_length_and_chunks_is_whole() {
    let cases = [
        (
            "a length that is less",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
            200,
        ),
        (
            "a length that is more",
            "Transfer-Encoding: Chunked\r\nContent-Length: 99\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
            200,
        ),
        ("chunks alone", "Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n", 200),
        ("a length alone", "Content-Length: 11\r\n\r\nhello world", 200),
        ("a coding under the chunks", "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 502),
        ("a coding alone", "Transfer-Encoding: gzip\r\n\r\nabc", 502),
        ("two lengths", "Content-Length: 3\r\nContent-Length: 11\r\n\r\nhello world", 502),
    ];
    for (what, rest, expected) in cases {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{rest}").leak();
        let (front, _folder) = secured(says(answer).await, |_| ());
        for two in [false, true] {
            let response = ask(&front, two, &[]).await.unwrap_or_else(|error| panic!("{what}, HTTP/2 {two}: {error}"));
            assert_eq!(response.status(), expected, "{what}");
            if expected == 200 {
                assert_eq!(response.body(), "hello world", "{what}, HTTP/2 {two}");
            }
        }
    }
}

/// RFC 9110 section 7.6.3; W3C Trace Context: what traces a request is nobody's to change.
#[tokio::test]
async fn requests_and_responses_say_what_they_have_passed() {
    let app = backend(|request: Request<Incoming>| async move {
        let of = |name: &str| request.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
        let seen: Vec<String> = ["via", "traceparent", "tracestate"].into_iter().flat_map(of).collect();
        Response::builder().header("via", "1.1 inner").body(Full::new(Bytes::from(seen.join("|")))).unwrap()
    })
    .await;
    let trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ];
    let passed = trace.map(|(_, value)| value).join("|");
    for (name, two, came, expected, back) in [
        ("zerottl", false, None, "1.1 zerottl|", "1.1 inner|1.1 zerottl"),
        ("zerottl", true, Some("1.0 fred, 1.1 zerottl"), "1.0 fred, 1.1 zerottl|2.0 zerottl|", "1.1 inner|1.1 zerottl"),
        ("edge-7", true, None, "2.0 edge-7|", "1.1 inner|1.1 edge-7"),
        ("", true, Some("1.1 other"), "1.1 other|", "1.1 inner"),
    ] {
        let (front, _folder) = secured(app, |web| web.via = name.into());
        let fields: Vec<(&str, &str)> = came.map(|via| ("via", via)).into_iter().chain(trace).collect();
        let response = ask(&front, two, &fields).await.unwrap();
        assert_eq!(*response.body(), format!("{expected}{passed}"), "{name}, {came:?}");
        let via: Vec<_> = response.headers().get_all("via").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(via.join("|"), back, "{name}");
    }
}

/// A front that is its own backend, by a mistake or through others: it ends, and is counted.
#[tokio::test]
async fn a_request_that_goes_round_is_508() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |_| ());
    let rounds = |count: usize| vec!["1.1 ZeroTTL (a comment)"; count].join(", 1.0 other:80, ");
    for (count, expected) in [(7, 200), (8, 508), (100, 508)] {
        let response = ask(&front, false, &[("via", &rounds(count))]).await.unwrap();
        assert_eq!(response.status(), expected, "{count}");
    }
    assert_eq!(front.counters.refused(FrontRefusal::Loop), 2);
    assert_eq!(app.seen().len(), 1);
}

/// nginx and `HAProxy` bound a response's head by its bytes, hyper's own bound is 100 fields.
#[tokio::test]
async fn a_response_may_have_many_fields() {
    for (count, expected) in [(99, 200), (101, 200), (240, 200), (300, 200), (1100, 502)] {
        let app = backend(move |_| async move {
            let fields = (0..count).map(|number| (format!("x-{number}"), number.to_string()));
            let response = fields.fold(Response::builder(), |response, (name, value)| response.header(name, value));
            response.body(Full::new(Bytes::from_static(b"app"))).unwrap()
        })
        .await;
        let (front, _folder) = secured(app, |_| ());
        for two in [false, true] {
            let response = ask(&front, two, &[]).await.unwrap();
            assert_eq!(response.status(), expected, "{count}");
            let passed = response.headers().keys().filter(|name| name.as_str().starts_with("x-")).count();
            assert_eq!(passed, if expected == 200 { count } else { 0 }, "HTTP/2 {two}");
        }
    }
}

/// RFC 9113 section 8.2.1: such a field makes a request malformed.
#[tokio::test]
async fn http2_values_have_no_spaces_at_their_edges() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |_| ());
    let value = |bytes: &'static [u8]| http::HeaderValue::from_bytes(bytes).unwrap();
    for (bytes, expected) in [
        (b"a".as_slice(), 200),
        (b"a b\tc", 200),
        (b"", 200),
        (b" a", 400),
        (b"a ", 400),
        (b"\ta", 400),
        (b"a\t", 400),
        (b" ", 400),
    ] {
        let io = TokioIo::new(connect(&front, "app.com", &["h2"]).await.unwrap());
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get("https://app.com/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        request.headers_mut().insert("x-a", value(bytes));
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{bytes:?}");
    }
    assert_eq!(app.seen().len(), 3);
}

/// Interim responses, which hyper has no way to pass on: a final response follows, and reaches the client alone.
#[tokio::test]
async fn interim_responses_end_here() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let answer: &'static str = format!("{early}{early}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp").leak();
    let (front, _folder) = secured(says(answer).await, |_| ());
    for two in [false, true] {
        let response = ask(&front, two, &[]).await.unwrap();
        assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, b"app".as_slice()));
        assert!(!response.headers().contains_key("link"));
    }
}
