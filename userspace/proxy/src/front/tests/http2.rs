//! HTTP/2, and what is done to it.

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tokio_rustls::client::TlsStream;

use super::{
    tls::{connect, front, pem},
    *,
};
use crate::front::FrontRefusal;

/// A front with one certificate for app.com; the folder goes with the test.
fn secured(backend: SocketAddr, change: impl FnOnce(&mut Web)) -> (Front, TempDir) {
    let folder = TempDir::new().unwrap();
    pem(folder.path(), "a.pem", &["app.com"]);
    (front(&[backend], &folder, change), folder)
}

#[tokio::test]
async fn requests_share_a_connection() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |_| ());
    let stream = connect(&front, "app.com", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asked = (0..50).map(|number| {
        let mut sender = sender.clone();
        async move {
            let uri = format!("https://app.com/{number}?a");
            let response = sender.send_request(Request::get(uri).body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            let (head, body) = response.into_parts();
            assert_eq!((head.status, head.headers.contains_key("connection")), (http::StatusCode::OK, false));
            assert_eq!(body.collect().await.unwrap().to_bytes(), "app");
        }
    });
    timeout(SOON, futures_util::future::join_all(asked)).await.unwrap();
    let mut lines: Vec<String> = app.seen().iter().map(|seen| seen.line.clone()).collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..50).map(|number| format!("GET /{number}?a HTTP/1.1")).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    for seen in app.seen() {
        assert_eq!((seen.all("host"), seen.all("x-forwarded-proto")), (vec!["app.com"], vec!["https"]));
    }
    assert_eq!(front.counters.accepted.load(SeqCst), 1);
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET, https, `/`, app.com, in HPACK's static table (RFC 7541 appendix A).
const GET: &[u8] = b"\x82\x87\x84\x41\x07app.com";
/// The request of [`GET`] as a POST.
const POST: &[u8] = b"\x83\x87\x84\x41\x07app.com";

/// A connection that has said who it is.
async fn raw(front: &Front, settings: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = connect(front, "app.com", &["h2"]).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    stream
}

/// Writes what `next` gives, with its number, until the other side has had enough; how often that was.
async fn flood(stream: TlsStream<TcpStream>, count: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut read, mut write) = tokio::io::split(stream);
    let reader = tokio::spawn(async move {
        let mut bytes = [0; 16_384];
        while matches!(read.read(&mut bytes).await, Ok(count) if count > 0) {}
    });
    let mut sent = 0;
    timeout(SOON, async {
        while sent < count && !reader.is_finished() && write.write_all(&next(sent)).await.is_ok() {
            let _ = write.flush().await;
            sent += 1;
            if sent % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await
    .expect("a flood comes to its end");
    reader.abort();
    sent
}

/// CVE-2023-44487: streams that are opened and reset at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    let app = raw_backend(|stream| async move {
        sleep(SOON).await;
        drop(stream);
    })
    .await;
    let (front, _folder) = secured(app, |_| ());
    // As fast as can be, and slowly enough that each request is begun before it is reset.
    for pause in [false, true] {
        let stream = raw(&front, &[]).await;
        let before = front.counters.requests.load(SeqCst);
        let pair = |number: u32| {
            let id = number * 2 + 1;
            if pause {
                std::thread::sleep(Duration::from_millis(1));
            }
            let ask = frame(HEADERS, END_STREAM | END_HEADERS, id, GET);
            [ask, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
        };
        let sent = flood(stream, 100_000, pair).await;
        assert!(sent < 100_000, "it was let go on");
        let begun = front.counters.requests.load(SeqCst) - before;
        assert!(begun < 1_000, "{begun} requests were begun");
        until("it is closed", || front.counters.open.load(SeqCst) == 0).await;
    }
}

/// Streams that are opened by requests, and cancelled only once they have been taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_cancels_all_it_asks_for_is_let_go() {
    let app = raw_backend(|stream| async move {
        sleep(SOON).await;
        drop(stream);
    })
    .await;
    let (front, _folder) = secured(app, |_| ());
    let mut stream = raw(&front, &[]).await;
    let mut number = 0_u64;
    let mut closed = false;
    while number < 1_000 && !closed {
        let id = u32::try_from(number).unwrap() * 2 + 1;
        closed = stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, GET)).await.is_err();
        let _ = stream.flush().await;
        let end = Instant::now() + Duration::from_secs(2);
        while front.counters.requests.load(SeqCst) <= number && Instant::now() < end {
            sleep(Duration::from_millis(1)).await;
        }
        closed |= front.counters.open.load(SeqCst) == 0;
        closed |= stream.write_all(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).await.is_err();
        let _ = stream.flush().await;
        number += 1;
    }
    assert!((100..1_000).contains(&number), "{number}");
    assert_eq!(front.counters.refused(FrontRefusal::Resets), 1);
}

/// CVE-2024-27316 and its like: a head without an end.
#[tokio::test]
async fn a_head_in_endless_frames_ends_the_connection() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |_| ());
    let stream = raw(&front, &[]).await;
    // Each a field of its own, without indexing: `x: aaa…`.
    let field = [b"\x00\x01x\x7f\x01".as_slice(), &[b'a'; 128]].concat();
    let endless = |number: u32| match number {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &field),
    };
    let sent = flood(stream, 100_000, endless).await;
    assert!(sent < 20_000, "{sent} frames were taken");
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn a_head_over_the_bounds_is_431() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |web| web.limits.headers = 20);
    let stream = connect(&front, "app.com", &["h2"]).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get("https://app.com/").body(Empty::<Bytes>::new()).unwrap();
    for _ in 0..30 {
        request.headers_mut().append("x-a", http::HeaderValue::from_static("a"));
    }
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let other = Request::get("https://app.com/").header("host", "other.com").body(Empty::new()).unwrap();
    let response = sender.send_request(other).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::BAD_REQUEST);
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn what_a_body_announces_is_what_it_has() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |_| ());
    let mut stream = raw(&front, &[]).await;
    // content-length: 3, then five bytes: the length would frame it for the backend.
    let head = [POST, b"\x0f\x0d\x013"].concat();
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
    stream.write_all(&frame(DATA, END_STREAM, 1, b"abcde")).await.unwrap();
    stream.flush().await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(app.seen().is_empty(), "{:?}", app.seen());
}

/// The next frame: kind, stream, payload.
async fn next_frame(stream: &mut TlsStream<TcpStream>) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload)
}

/// A stream without a window holds a response, and its backend, for no longer than a connection that is not read from.
#[tokio::test]
async fn a_stream_that_takes_nothing_is_reset() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |web| web.limits.idle_timeout = Duration::from_millis(300));
    // SETTINGS_INITIAL_WINDOW_SIZE: 0.
    let mut stream = raw(&front, &[0, 4, 0, 0, 0, 0]).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, GET)).await.unwrap();
    let mut answered = false;
    let reset = async {
        loop {
            match next_frame(&mut stream).await {
                (HEADERS, 1, _) => answered = true,
                (DATA, 1, payload) => panic!("{} bytes without a window", payload.len()),
                (RST_STREAM, 1, _) => break,
                _ => {}
            }
        }
    };
    timeout(SOON, reset).await.expect("it is reset");
    assert!(answered);
    assert_eq!(front.counters.refused(FrontRefusal::Slow), 1);
    // Its connection goes on.
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 3, GET)).await.unwrap();
    let other = async { while next_frame(&mut stream).await.0 != HEADERS {} };
    timeout(SOON, other).await.expect("the next is answered");
}

#[tokio::test]
async fn a_connection_at_rest_ends() {
    let app = Recorder::start("app").await;
    let (front, _folder) = secured(app.at, |web| web.limits.idle_timeout = Duration::from_millis(300));
    let stream = connect(&front, "app.com", &["h2"]).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let running = tokio::spawn(connection);
    let request = Request::get("https://app.com/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), http::StatusCode::OK);
    let _ = timeout(SOON, running).await.expect("it ends");
    until("it is closed", || front.counters.open.load(SeqCst) == 0).await;
}

/// All HTTP/2 connections of one client together have so many requests under way; nginx counts so in `limit_conn`.
#[tokio::test]
async fn requests_of_one_client_are_bounded_over_its_connections() {
    let app = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        sleep(Duration::from_millis(500)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let (front, _folder) = secured(app, |web| web.limits.requests_per_client = 5);
    let mut senders = Vec::new();
    for _ in 0..2 {
        let stream = connect(&front, "app.com", &["h2"]).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    let round = async |count: usize| {
        let asked = (0..count).map(|number| {
            let request = Request::get("https://app.com/").body(Empty::<Bytes>::new()).unwrap();
            let answer = senders[number % 2].clone().send_request(request);
            async { answer.await.unwrap().status().as_u16() }
        });
        let mut statuses = timeout(SOON, futures_util::future::join_all(asked)).await.unwrap();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(round(8).await, [200, 200, 200, 200, 200, 503, 503, 503]);
    assert_eq!(front.counters.refused(FrontRefusal::Requests), 3);
    assert_eq!(round(5).await, [200; 5], "places are given back");
}

/// This process's memory, bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

/// The bounds that docs/site/stand-alone.md states: of a request 288 KiB, of a connection that does not send 256 KiB.
const PER_REQUEST: usize = 288 << 10;
const PER_CONNECTION: usize = 256 << 10;

/// Set for the process that measures.
const ALONE: &str = "ZEROTTL_TEST_ALONE";

/// One client that opens all connections and streams that it may, gives them all windows there are, and reads nothing. The
/// measure is a process's of its own; the client's side and the backend's count, too. nginx holds about 64 kB of a request.
#[test]
fn a_client_that_reads_nothing_holds_no_more_than_is_said() {
    if std::env::var_os(ALONE).is_some() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        return runtime.worker_threads(2).enable_all().build().unwrap().block_on(hold_all_that_may_be());
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
    eprintln!("{err}");
}

async fn hold_all_that_may_be() {
    const CONNECTIONS: usize = 256;
    let app = raw_backend(|mut stream| async move {
        static BLOCK: [u8; 65_536] = [b'a'; 65_536];
        read_until(&mut stream, "\r\n\r\n").await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        while stream.write_all(&BLOCK).await.is_ok() {}
    })
    .await;
    let (front, _folder) = secured(app, |web| web.limits.connect_timeout = SOON);
    let before = resident();
    let (window, update) = ([0, 4, 0x7f, 0xff, 0xff, 0xff], (i32::MAX - 65_535).to_be_bytes());
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = raw(&front, &window).await;
        stream.write_all(&frame(8, 0, 0, &update)).await.unwrap();
        let asked: Vec<u8> = (0..100).flat_map(|i| frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, GET)).collect();
        stream.write_all(&asked).await.unwrap();
        stream.flush().await.unwrap();
        kept.push(stream);
    }
    until("all that may be is under way", || front.counters.requests.load(SeqCst) >= 1024).await;
    let (mut most, mut still, mut last) = (0, 0, 0);
    while still < 20 {
        sleep(Duration::from_millis(100)).await;
        let now = resident();
        still = if now > last + (1 << 20) { 0 } else { still + 1 };
        (most, last) = (most.max(now), now.max(last));
    }
    let bound = 1024 * PER_REQUEST + CONNECTIONS * PER_CONNECTION;
    // Besides: the other ends of all these connections, which are here, too.
    let others = 64 << 20;
    let held = most.saturating_sub(before);
    eprintln!("{CONNECTIONS} connections that read nothing: {} MiB of {} MiB", held >> 20, bound >> 20);
    assert!(held < bound + others, "{held} of {bound}");
    drop(kept);
}
