//! Which backend gets a request, and what happens when it does not answer.

use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::*;

#[tokio::test]
async fn backends_take_turns_and_connections_are_kept() {
    let (one, two) = (Recorder::start("one").await, Recorder::start("two").await);
    let front = Front::start(&[one.at, two.at], |_| ());
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    for turn in 0..100 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let name = if turn % 2 == 0 { "one" } else { "two" };
        read_until(&mut stream, &format!("\r\n\r\n{name}")).await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (50, 50));
    let connects: Vec<u64> = front.counters.backends.iter().map(|backend| backend.connects.load(SeqCst)).collect();
    assert_eq!(connects, [1, 1]);
}

#[tokio::test]
async fn connections_are_kept_after_bodies_of_every_kind() {
    let at = backend(|request: Request<Incoming>| async move {
        let path = request.uri().path().to_owned();
        let frames = |parts: Vec<&'static str>| {
            let frames =
                parts.into_iter().map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        };
        let mut response = Response::new(frames(match path.as_str() {
            "/chunked" => vec!["a", "b", "c"],
            _ => vec![],
        }));
        match path.as_str() {
            "/204" => *response.status_mut() = http::StatusCode::NO_CONTENT,
            "/304" => *response.status_mut() = http::StatusCode::NOT_MODIFIED,
            "/echo" => *response.body_mut() = request.into_body().map_err(|_| unreachable!()).boxed(),
            "/full" => *response.body_mut() = Full::new(Bytes::from(vec![b'x'; 300_000])).boxed(),
            _ => {}
        }
        response
    })
    .await;
    let front = Front::start(&[at], |_| ());
    for path in ["/chunked", "/204", "/304", "/full", "/empty"] {
        let answer = front.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
    }
    let upload = "z".repeat(200_000);
    let post = format!("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n{upload}");
    assert!(front.raw(post).await.ends_with(&upload));
    let counted = &front.counters.backends[0];
    assert_eq!((counted.connects.load(SeqCst), counted.requests.load(SeqCst)), (1, 6));
}

#[tokio::test]
async fn a_dead_backend_is_passed_over() {
    let live = Recorder::start("live").await;
    let front = Front::start(&[nowhere().await, live.at], |_| ());
    for _ in 0..20 {
        assert!(front.get("/").await.ends_with("live"));
    }
    let dead = &front.counters.backends[0];
    // Probes did not tell yet: three requests found out.
    until("it is seen", || !dead.healthy.load(SeqCst)).await;
    assert!(dead.failures.load(SeqCst) <= 3, "not asked any more");
    assert_eq!(dead.retries.load(SeqCst), dead.failures.load(SeqCst));
    assert_eq!(live.seen().len(), 20);
}

#[tokio::test]
async fn without_a_healthy_backend_there_is_a_page_that_says_so() {
    let at = nowhere().await;
    let probe = BackendProbe { interval: Duration::from_millis(20), ..BackendProbe::default() };
    let front = Front::start(&[at], |web| web.backend_probe = probe);
    until("it is seen", || !front.counters.backends[0].healthy.load(SeqCst)).await;
    let answer = front.get("/").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    // It comes back, and so do requests.
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                read_until(&mut stream, "\r\n\r\n").await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").await.unwrap();
            });
        }
    });
    until("it is healthy", || front.counters.backends[0].healthy.load(SeqCst)).await;
    assert!(front.get("/").await.ends_with("back"));
}

/// Counters go on with a new configuration: what was known of a backend does, too, and is not held for ever.
#[tokio::test]
async fn what_is_known_of_a_backend_outlives_a_reload() {
    let app = Recorder::start("app").await;
    let mut web = Web::at([]);
    web.backends = vec![Backend { url: "app".into(), authority: app.at.to_string() }];
    web.backend_probe.interval = Duration::from_millis(20);
    let counters = FrontCounters::new(&web);
    counters.backends[0].healthy.store(false, SeqCst);
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    let _proxy = Proxy::new(&web, Arc::clone(&counters), None, &cancel);
    until("it is healthy again", || counters.backends[0].healthy.load(SeqCst)).await;
}

#[tokio::test]
async fn a_probe_reads_the_status() {
    let at = backend(|request: Request<Incoming>| async move {
        let mut response = Response::new(Full::new(Bytes::new()));
        if request.uri().path() == "/health" {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    })
    .await;
    let probed = |path: &str| BackendProbe {
        path: Some(path.into()),
        interval: Duration::from_millis(20),
        ..BackendProbe::default()
    };
    let sick = Front::start(&[at], |web| web.backend_probe = probed("/health"));
    let well = Front::start(&[at], |web| web.backend_probe = probed("/other"));
    until("500 is a failure", || !sick.counters.backends[0].healthy.load(SeqCst)).await;
    assert!(well.counters.backends[0].healthy.load(SeqCst));
    assert_eq!(status(&sick.get("/").await), 503);
}

#[tokio::test]
async fn failures_have_their_statuses() {
    let refused = Front::start(&[nowhere().await], |_| ());
    assert_eq!(status(&refused.get("/").await), 502);

    let closes = raw_backend(|stream| async move { drop(stream) }).await;
    let front = Front::start(&[closes], |_| ());
    assert_eq!(status(&front.get("/").await), 502);

    let babbles = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"220 mail.app.com ESMTP\r\n").await.unwrap();
    })
    .await;
    let front = Front::start(&[babbles], |_| ());
    assert_eq!(status(&front.get("/").await), 502);
    assert_eq!(front.counters.backends[0].failures.load(SeqCst), 1);

    let silent = raw_backend(|stream| async move {
        sleep(SOON).await;
        drop(stream);
    })
    .await;
    let front = Front::start(&[silent], |web| web.limits.response_timeout = Duration::from_millis(100));
    let answer = front.get("/").await;
    assert_eq!(status(&answer), 504);
    assert!(answer.contains("cache-control: no-store"), "{answer}");
}

/// A backend that closes a connection at rest: what is asked next goes over another one.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let front = Front::start(&[at], |_| ());
    for _ in 0..5 {
        assert!(front.get("/").await.ends_with("\r\n\r\nok"));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(front.counters.backends[0].connects.load(SeqCst), 5);
}

/// A backend that closes a connection just as it is used again: a GET is asked once more, a POST is not.
#[tokio::test]
async fn only_what_changes_nothing_is_asked_twice() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let record = Arc::clone(&seen);
    let at = raw_backend(move |mut stream| {
        let record = Arc::clone(&record);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            let again = read_until(&mut stream, "\r\n\r\n").await;
            record.lock().unwrap().push(again.lines().next().unwrap().to_owned());
        }
    })
    .await;
    let front = Front::start(&[at], |_| ());
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&front.get("/").await), 200);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(status(&front.get("/a").await), 200);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(status(&front.raw(post).await), 502);
    assert_eq!(*seen.lock().unwrap(), ["GET /a HTTP/1.1", "POST /b HTTP/1.1"]);
}

/// A client that goes away takes its request along.
#[tokio::test]
async fn a_request_ends_with_its_client() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    let gone = Mutex::new(Some(gone));
    let at = raw_backend(move |mut stream| {
        let gone = gone.lock().unwrap().take();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
            gone.unwrap().send(()).unwrap();
        }
    })
    .await;
    let front = Front::start(&[at], |_| ());
    let mut client = TcpStream::connect(front.at).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("it is asked", || front.counters.backends[0].requests.load(SeqCst) == 1).await;
    drop(client);
    timeout(SOON, is_gone).await.expect("the backend sees it").unwrap();
    until("no connection is open", || front.counters.open.load(SeqCst) == 0).await;
}

/// A backend that closes after each answer without a word of it: whoever comes next, at once or a moment later, is asked over
/// another connection and waits for nothing.
#[tokio::test]
async fn a_connection_closed_just_after_an_answer_holds_nobody_up() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let front = Front::start(&[at], |web| web.limits.response_timeout = Duration::from_secs(3));
    for round in 0..200_u64 {
        sleep(Duration::from_micros(round * 25)).await;
        let answer = front.get("/a").await;
        assert_eq!(status(&answer), 200, "GET {round}: {answer}");
    }
    assert_eq!(front.counters.backends[0].failures.load(SeqCst), 0);
}
