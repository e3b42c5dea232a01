//! Nothing a client does costs more than it may: connections, heads, bodies, time, memory.

use std::sync::atomic::AtomicU64;

use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;
use crate::front::{
    FrontRefusal,
    listen::{ClientAdmission, ClientPlace},
};
use zerottl_core::model::WebLimits;

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_client_is_an_address_or_a_64() {
    let limits = WebLimits { connections: 4, connections_per_client: 2, ..WebLimits::default() };
    let counters = FrontCounters::new(&Web::at([]));
    let admission = Arc::new(ClientAdmission::new(&limits, Arc::clone(&counters)));
    let admit = async |address: &str| admission.admit(address.parse().unwrap(), false).await.inspect(ClientPlace::busy);
    let first = admit("2001:db8::1").await.unwrap();
    let _second = admit("2001:db8::2").await.unwrap();
    assert!(admit("2001:db8::ffff:3").await.is_none());
    let _others = [admit("2001:db8:0:1::1").await.unwrap(), admit("192.0.2.1").await.unwrap()];
    assert!(admit("192.0.2.2").await.is_none(), "full");
    assert_eq!((counters.refused(FrontRefusal::PerClient), counters.refused(FrontRefusal::Full)), (1, 1));
    drop(first);
    assert!(admit("::ffff:192.0.2.1").await.is_some(), "a place is given back; the same client in the other notation");
    assert_eq!(counters.open.load(SeqCst), 3);
}

/// A proxy's connections are those of its clients.
#[tokio::test]
async fn a_trusted_proxy_is_many_clients() {
    let limits = WebLimits { connections: 30, connections_per_client: 2, ..WebLimits::default() };
    let counters = FrontCounters::new(&Web::at([]));
    let admission = Arc::new(ClientAdmission::new(&limits, Arc::clone(&counters)));
    let proxy = "10.0.0.1".parse().unwrap();
    let mut kept = Vec::new();
    for _ in 0..30 {
        kept.push(admission.admit(proxy, true).await.inspect(ClientPlace::busy).unwrap());
    }
    assert!(admission.admit(proxy, true).await.is_none());
    assert_eq!((counters.refused(FrontRefusal::PerClient), counters.refused(FrontRefusal::Full)), (0, 1));
}

#[tokio::test]
async fn connections_at_rest_give_way_to_newcomers() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.connections_per_client = 2);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut stream, "app").await;
        kept.push(stream);
    }
    // One after the other, the client's own that has been at rest for longest.
    for _ in 0..2 {
        let mut next = TcpStream::connect(front.at).await.unwrap();
        next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut next, "app").await;
        assert_eq!(read_to_end(&mut kept.remove(0)).await, "");
        kept.push(next);
    }
    assert_eq!((front.counters.refused(FrontRefusal::PerClient), front.counters.refused(FrontRefusal::Full)), (0, 2));
    until("two are open", || front.counters.open.load(SeqCst) == 2).await;
}

/// Silent connections and heads a byte at a time, more than there are places: each visitor is served all the same. Those with a
/// request under way keep their places, and beyond them there is none.
#[tokio::test]
async fn silent_connections_turn_nobody_away() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| (web.limits.connections, web.limits.connections_per_client) = (20, 20));
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(&b"GET / HT"[..n % 9]).await.unwrap();
        silent.push(stream);
        assert_eq!(status(&front.get("/").await), 200, "beside {n}");
    }
    assert_eq!(front.counters.refused(FrontRefusal::PerClient), 0);
}

#[tokio::test]
async fn heads_are_bounded() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| {
        web.limits.head = 10_000;
        web.limits.headers = 20;
    });
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    let long = |bytes: usize| get(&format!("X-A: {}\r\n", "a".repeat(bytes)));
    let many = |count: usize| get(&"X-A: a\r\n".repeat(count));
    assert_eq!(status(&front.raw(long(9_000)).await), 200);
    assert_eq!(status(&front.raw(long(11_000)).await), 431);
    assert_eq!(status(&front.raw(many(18)).await), 200);
    assert_eq!(status(&front.raw(many(30)).await), 431);
    assert_eq!(status(&front.get(&format!("/{}", "a".repeat(11_000))).await), 431);
    // Counted at the connection's end, which is when the client has closed, too.
    until("all are counted", || front.counters.refused(FrontRefusal::HeadTooLarge) == 3).await;
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.head_timeout = SHORT);
    // Nothing at all; a head a byte at a time; the same as the second request of a connection.
    for (before, slow) in [("", false), ("", true), ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true)] {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        if !before.is_empty() {
            stream.write_all(before.as_bytes()).await.unwrap();
            read_until(&mut stream, "app").await;
            sleep(2 * SHORT).await; // Between requests there is more time.
        }
        let cut = async {
            let mut byte = [0];
            loop {
                if slow && stream.write_all(b"G").await.is_err() {
                    return;
                }
                if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(10), stream.read(&mut byte)).await {
                    return;
                }
            }
        };
        timeout(SOON, cut).await.expect("it is cut");
    }
    assert_eq!(front.counters.refused(FrontRefusal::Slow), 3);
    until("no connection is open", || front.counters.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_connection_at_rest_ends_without_a_word() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.idle_timeout = SHORT);
    let answer = front.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("app"), "{answer}");
    assert_eq!(front.counters.refused(FrontRefusal::Slow), 0);
}

#[tokio::test]
async fn bodies_are_bounded_in_size() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.body = 1000);
    let known = |bytes: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{}",
            "a".repeat(bytes)
        )
    };
    let chunked = |bytes: usize| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{bytes:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(bytes))
    };
    assert_eq!(status(&front.raw(known(1000)).await), 200);
    assert_eq!(status(&front.raw(known(1001)).await), 413);
    assert_eq!(status(&front.raw(chunked(1000)).await), 200);
    assert_eq!(status(&front.raw(chunked(1001)).await), 413);
    assert_eq!(app.seen().len(), 2);
    assert_eq!(front.counters.refused(FrontRefusal::BodyTooLarge), 2);
    assert_eq!(front.counters.backends[0].failures.load(SeqCst), 0, "the client's fault, not the backend's");
}

#[tokio::test]
async fn bodies_are_bounded_in_time() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.idle_timeout = SHORT);
    let answer = front.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(status(&answer), 408);

    let stalls = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
        sleep(SOON).await;
    })
    .await;
    let front = Front::start(&[stalls], |web| web.limits.idle_timeout = SHORT);
    let answer = front.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nabc"), "cut short, so that the client knows: {answer}");
}

/// An upload that takes long is no slow backend.
#[tokio::test]
async fn a_slow_upload_is_not_a_slow_response() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.response_timeout = Duration::from_secs(1));
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    for _ in 0..8 {
        sleep(Duration::from_millis(200)).await;
        stream.write_all(b"a").await.unwrap();
    }
    read_until(&mut stream, "app").await;
}

/// A backend that can produce for ever, and a client that does not read: little is held between them.
#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back() {
    let produced = Arc::<AtomicU64>::default();
    let count = Arc::clone(&produced);
    let at = backend(move |_| {
        let count = Arc::clone(&count);
        async move {
            let block = Bytes::from(vec![0; 65_536]);
            let frames = std::iter::repeat_with(move || {
                count.fetch_add(65_536, SeqCst);
                Ok::<_, Infallible>(Frame::data(block.clone()))
            });
            Response::new(StreamBody::new(futures_util::stream::iter(frames)))
        }
    })
    .await;
    let front = Front::start(&[at], |web| web.limits.idle_timeout = Duration::from_millis(400));
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // It is cut, too: a client that takes nothing for so long.
    until("it is cut", || front.counters.refused(FrontRefusal::Slow) == 1).await;
    until("no connection is open", || front.counters.open.load(SeqCst) == 0).await;
    let held = produced.load(SeqCst);
    assert!((65_536..64 << 20).contains(&held), "{held} bytes, of which the kernel's buffers take up to 10 MB each");
}

/// Of 64 kB each.
const CHUNKS: usize = 512;

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let at = backend(|request: Request<Incoming>| async move { Response::new(request.into_body()) }).await;
    let front = Front::start(&[at], |_| ());
    let stream = TcpStream::connect(front.at).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let writer = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        write.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b'a'; 65_536], b"\r\n"].concat();
        for _ in 0..CHUNKS {
            write.write_all(&chunk).await.unwrap();
        }
        write.write_all(b"0\r\n\r\n").await.unwrap();
        write
    });
    let mut all = Vec::new();
    timeout(SOON, read.read_to_end(&mut all)).await.unwrap().unwrap();
    drop(writer.await.unwrap());
    let passed = memchr::memchr_iter(b'a', &all).count();
    assert_eq!(passed / 65_536, CHUNKS);
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_closes_the_rest() {
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let asked = Mutex::new(Some(asked));
    let at = raw_backend(move |mut stream| {
        let asked = asked.lock().unwrap().take();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let _ = asked.unwrap().send(());
            sleep(Duration::from_millis(200)).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
        }
    })
    .await;
    let mut front = Front::start(&[at], |_| ());
    let mut idle = TcpStream::connect(front.at).await.unwrap();
    let mut busy = TcpStream::connect(front.at).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    is_asked.await.unwrap();
    front.cancel.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(read_to_end(&mut busy).await.ends_with("done"));
    timeout(SOON, &mut front.task).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(front.at).await.is_err(), "nothing is accepted");
}
