//! Backends that leave requests without an answer, beside others that do not: what nginx's `proxy_next_upstream` and `HAProxy`'s
//! `redispatch` spare clients, they are spared here.

use super::*;
use crate::front::counters::BackendCounters;

/// The behaviour of a bad backend on a connection on which something came.
type Bad = fn(TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A backend that is bad in one way; `asked` counts requests with a body that it was sent.
async fn bad(bad: Bad) -> SocketAddr {
    raw_backend(bad).await
}

fn counted(front: &Front, at: usize) -> &BackendCounters {
    &front.counters.backends[at]
}

/// GETs on one connection after the other; their statuses, and who answered.
async fn gets(front: &Front, count: usize) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let answer = front.get("/a?b").await;
        let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
        answers.push((status(&answer), body));
    }
    answers
}

/// Beside two good ones, one bad one: no GET fails, the bad one is ejected, and the others have half of it each.
async fn no_get_fails(what: &str, backend: SocketAddr, gets: usize, change: impl FnOnce(&mut Web)) {
    let (one, two) = (Recorder::start("one").await, Recorder::start("two").await);
    let front = Front::start(&[one.at, backend, two.at], change);
    let answers = self::gets(&front, gets).await;
    let failed: Vec<_> = answers.iter().filter(|(status, _)| *status != 200).collect();
    assert!(failed.is_empty(), "{what}: {} of {} failed: {failed:?}", failed.len(), answers.len());
    let shares = [one.seen().len(), two.seen().len()];
    let even = gets / 2 - gets / 20..=gets / 2 + gets / 20;
    assert!(shares.iter().all(|share| even.contains(share)), "{what}: {shares:?}");
    let counted = counted(&front, 1);
    assert!(!counted.healthy.load(SeqCst), "{what}");
    assert_eq!((counted.failures.load(SeqCst), counted.retries.load(SeqCst)), (3, 3), "{what}");
}

#[tokio::test]
async fn no_get_fails_by_a_backend_that_does_not_answer() {
    let ways: [(&str, Bad); 8] = [
        ("accepts and closes", |stream| Box::pin(async move { drop(stream) })),
        ("reads the request and closes", |mut stream| {
            Box::pin(async move {
                read_until(&mut stream, "\r\n\r\n").await;
            })
        }),
        ("resets", |stream| {
            Box::pin(async move {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                drop(stream);
            })
        }),
        ("closes within the head", |stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Le")),
        ("speaks another protocol", |stream| says(stream, b"220 mail.app.com ESMTP\r\n")),
        ("speaks TLS", |stream| says(stream, &[0x15, 3, 1, 0, 2, 2, 40])),
        ("says a length that is none", |stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok")),
        ("says two lengths", |stream| {
            says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")
        }),
    ];
    for (what, way) in ways {
        let gets = if what == "accepts and closes" { 300 } else { 60 };
        no_get_fails(what, bad(way).await, gets, |_| ()).await;
    }
}

fn says(mut stream: TcpStream, bytes: &'static [u8]) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let _ = stream.write_all(bytes).await;
    })
}

/// It takes connections and says nothing: one more backend is waited for, not all.
#[tokio::test]
async fn no_get_fails_by_a_backend_that_hangs() {
    let hangs: Bad = |stream| {
        Box::pin(async move {
            sleep(SOON).await;
            drop(stream);
        })
    };
    let quick = |web: &mut Web| web.limits.response_timeout = Duration::from_millis(300);
    no_get_fails("hangs", bad(hangs).await, 60, quick).await;
    let front = Front::start(&[bad(hangs).await, bad(hangs).await, bad(hangs).await], quick);
    assert_eq!(status(&front.get("/").await), 504);
    let requests: Vec<u64> = (0..3).map(|at| counted(&front, at).requests.load(SeqCst)).collect();
    assert_eq!(requests.iter().sum::<u64>(), 2, "{requests:?}");
}

/// One of three is gone: the other two have half of its share each, not its next neighbour all of it.
#[tokio::test]
async fn the_share_of_one_that_is_down_is_spread() {
    for dead in 0..3 {
        let recorders = [Recorder::start("one").await, Recorder::start("two").await, Recorder::start("three").await];
        let mut places = recorders.clone().map(|one| one.at);
        places[dead] = nowhere().await;
        let front = Front::start(&places, |_| ());
        assert!(gets(&front, 300).await.iter().all(|(status, _)| *status == 200));
        let shares: Vec<usize> = recorders.iter().map(|one| one.seen().len()).filter(|seen| *seen > 0).collect();
        assert!(shares.len() == 2 && shares.iter().all(|share| (143..=157).contains(share)), "{dead}: {shares:?}");
    }
}

/// A request that is not idempotent, or has a body, is sent once: to nobody after a backend that may have seen it. One
/// that was not reached at all is no such backend.
#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let start = |seen: &Arc<Mutex<Vec<String>>>| {
        let seen = Arc::clone(seen);
        raw_backend(move |mut stream| {
            let seen = Arc::clone(&seen);
            async move {
                let head = read_until(&mut stream, "\r\n\r\n").await;
                seen.lock().unwrap().push(head.split(' ').take(2).collect::<Vec<_>>().join(" "));
            }
        })
    };
    let front = Front::start(&[start(&seen).await, start(&seen).await, start(&seen).await], |_| ());
    for request in [
        "POST /1 HTTP/1.1\r\nContent-Length: 2\r\n",
        "POST /2 HTTP/1.1\r\nContent-Length: 0\r\n",
        "PATCH /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        "PUT /4 HTTP/1.1\r\nContent-Length: 2\r\n",
        "LOCK /5 HTTP/1.1\r\n",
        "GET /6 HTTP/1.1\r\nContent-Length: 2\r\n",
    ] {
        let body = if request.contains("chunked") { "2\r\nab\r\n0\r\n\r\n" } else { "ab" };
        let body = if request.contains(": 0") || request.starts_with("LOCK") { "" } else { body };
        let answer = front.raw(format!("{request}Host: a\r\nConnection: close\r\n\r\n{body}")).await;
        assert_eq!(status(&answer), 502, "{request}");
    }
    let once = ["POST /1", "POST /2", "PATCH /3", "PUT /4", "LOCK /5", "GET /6"];
    assert_eq!(*seen.lock().unwrap(), once);
    // Idempotent ones without a body go to all three.
    seen.lock().unwrap().clear();
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        let answer = front.raw(format!("{method} /7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), 502, "{method}");
        assert_eq!(seen.lock().unwrap().drain(..).collect::<Vec<_>>(), vec![format!("{method} /7"); 3]);
    }

    let live = Recorder::start("live").await;
    let front = Front::start(&[nowhere().await, live.at], |_| ());
    for _ in 0..6 {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab";
        assert!(front.raw(post).await.ends_with("live"));
    }
    assert_eq!(live.seen().len(), 6);
}

/// Another backend gets what the first one got, over new connections and over kept ones.
#[tokio::test]
async fn a_request_is_sent_again_as_it_was() {
    let closes: Bad = |stream| Box::pin(async move { drop(stream) });
    let live = Recorder::start("live").await;
    let front = Front::start(&[bad(closes).await, live.at], |_| ());
    for (method, length) in [("GET", ""), ("PUT", "Content-Length: 0\r\n"), ("DELETE", "")] {
        let again = format!(
            "{method} /a%20b/\"c\";d=1?e=f&g=/ HTTP/1.1\r\nHost: App.com:80\r\nCookie: a=b; c=d\r\nX-Two: 1\r\nX-Two: 2\r\n\
             X-Empty:\r\nX-Long: {}\r\nTE: trailers\r\nConnection: close, TE\r\n{length}\r\n",
            "x".repeat(5000)
        );
        live.seen.lock().unwrap().clear();
        for _ in 0..2 {
            assert!(front.raw(&again).await.ends_with("live"), "{method}");
        }
        let seen = live.seen();
        assert_eq!((&seen[0].line, &seen[0].fields), (&seen[1].line, &seen[1].fields), "{method}");
        assert_eq!(seen[0].all("x-two"), ["1", "2"]);
    }
    assert_eq!(counted(&front, 0).retries.load(SeqCst), 3);
}

/// A request that nobody answers is sent to four at most, however many there are.
#[tokio::test]
async fn a_request_does_not_go_through_all() {
    let closes: Bad = |stream| Box::pin(async move { drop(stream) });
    let mut places = Vec::new();
    for _ in 0..7 {
        places.push(bad(closes).await);
    }
    let front = Front::start(&places, |_| ());
    assert_eq!(status(&front.get("/").await), 502);
    let requests: u64 = (0..7).map(|at| counted(&front, at).requests.load(SeqCst)).sum();
    assert_eq!(requests, 4);
}

/// Each connection serves two requests, the second by closing: so does a server that closes what is at rest, just then.
#[tokio::test]
async fn no_get_fails_where_kept_connections_are_closed_just_then() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        // Within the time in which nobody looked for it, before.
        read_until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    let front = Front::start(&[at], |_| ());
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    for _ in 0..100 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\nok").await;
        assert_eq!(status(&answer), 200);
    }
    let counted = counted(&front, 0);
    assert_eq!((counted.failures.load(SeqCst), counted.healthy.load(SeqCst)), (0, true), "that is not its fault");
    assert_eq!(counted.retries.load(SeqCst), 99);
}

/// The only one is asked although it is ejected: some of its answers are better than none.
#[tokio::test]
async fn the_last_one_is_asked_whatever_it_does() {
    let turn = Arc::<std::sync::atomic::AtomicU64>::default();
    let at = raw_backend(move |mut stream| {
        let is_bad = turn.fetch_add(1, SeqCst) % 2 == 0;
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            if !is_bad {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    let front = Front::start(&[at, nowhere().await], |_| ());
    let statuses: Vec<u16> = gets(&front, 40).await.into_iter().map(|(status, _)| status).collect();
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(answered, 20, "{statuses:?}");
    assert!(counted(&front, 0).ejected.load(SeqCst));
    assert_eq!(counted(&front, 0).ejections.load(SeqCst), 1);
}

/// An ejected backend comes back by a probe, not before its time.
#[tokio::test(start_paused = true)]
async fn an_ejected_backend_comes_back_by_its_probes() {
    let is_bad = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let bad = Arc::clone(&is_bad);
    let at = raw_backend(move |mut stream| {
        let is_bad = bad.load(SeqCst);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            if !is_bad {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nback")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let live = Recorder::start("live").await;
    let front = Front::start(&[at, live.at], |web| web.backend_probe = BackendProbe::default());
    assert!(gets(&front, 10).await.iter().all(|(_, body)| body == "live"));
    assert!(counted(&front, 0).ejected.load(SeqCst));
    is_bad.store(false, SeqCst);
    until("it takes requests again", || counted(&front, 0).healthy.load(SeqCst)).await;
    let answers = gets(&front, 10).await;
    assert_eq!(answers.iter().filter(|(_, body)| body == "back").count(), 5, "{answers:?}");
}

/// An answer that breaks off is cut at the client, and counts: nobody else can take it over.
#[tokio::test]
async fn an_answer_that_breaks_off_counts() {
    let cut = bad(|stream| says(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")).await;
    let live = Recorder::start("live").await;
    let front = Front::start(&[cut, live.at], |_| ());
    let mut whole = 0;
    for _ in 0..20 {
        whole += usize::from(front.get("/").await.ends_with("live"));
    }
    assert_eq!((whole, live.seen().len()), (17, 17));
    assert_eq!((counted(&front, 0).failures.load(SeqCst), counted(&front, 0).ejected.load(SeqCst)), (3, true));
    // A client that goes away in the middle is no failure.
    let slow = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin").await.unwrap();
        let _ = stream.read(&mut [0; 10]).await;
    })
    .await;
    let front = Front::start(&[slow], |_| ());
    for _ in 0..5 {
        let mut client = TcpStream::connect(front.at).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut client, "begin").await;
    }
    until("they are gone", || front.counters.open.load(SeqCst) == 0).await;
    assert_eq!(counted(&front, 0).failures.load(SeqCst), 0);
}

/// Over a hundred fields, which is `HAProxy`'s bound and not nginx's.
#[tokio::test]
async fn answers_with_many_fields_are_passed_on() {
    let at = raw_backend(|mut stream| async move {
        loop {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            let count: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let fields: Vec<String> = (0..count).map(|number| format!("x-field-{number}: {number}\r\n")).collect();
            let fields = fields.concat();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let front = Front::start(&[at], |_| ());
    for count in [10, 99, 100, 300, 900, 10] {
        let answer = front.get(&format!("/{count}")).await;
        assert_eq!(status(&answer), 200, "{count} fields");
        assert_eq!(answer.matches("x-field-").count(), count);
    }
    assert_eq!(status(&front.get("/2000").await), 502);
    assert!(counted(&front, 0).healthy.load(SeqCst));
}

/// A machine that has no descriptors left says nothing of its backends, and what is kept goes on.
#[test]
fn errors_of_this_machine_are_no_verdict() {
    use crate::front::cause::{Cause, is_ours};
    let full = || std::io::Error::from_raw_os_error(libc::EMFILE);
    assert!(is_ours(&full()) && !is_ours(&std::io::ErrorKind::ConnectionRefused.into()));
    assert!(matches!(Cause::of_connect(full()), Cause::Ours(_)));
}
