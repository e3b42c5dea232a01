//! Tests of what is told of requests: the access log, and numbers.

use std::fs;

use super::*;
use crate::front::AccessLogWriter;
use zerottl_core::model::{AccessFormat, AccessLog};

/// A front with a log of this form, and the lines that it wrote for what was done.
async fn lines<R: Future<Output = ()>>(
    backends: &[SocketAddr],
    format: AccessFormat,
    act: impl FnOnce(Arc<Front>) -> R,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access");
    let front = Arc::new(Front::start(backends, |web| web.limits.body = 10));
    let log = AccessLogWriter::open(&AccessLog { file: Some(file.clone()), format }).unwrap();
    front.counters.access.store(Some(Arc::clone(&log)));
    act(Arc::clone(&front)).await;
    until("all connections are closed", || front.counters.open.load(SeqCst) == 0).await;
    log.finish();
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_request_has_a_line() {
    let app = Recorder::start("app").await;
    let lines = lines(&[app.at], AccessFormat::Combined, |front| async move {
        let head = "Host: a\r\nUser-Agent: test/1\r\nReferer: http://b/\r\nConnection: close\r\n";
        front.raw(format!("GET /a%20b?c HTTP/1.1\r\n{head}\r\n")).await;
        front.raw(format!("POST /big HTTP/1.1\r\n{head}Content-Length: 11\r\n\r\nhello world")).await;
        front.raw(format!("TRACE / HTTP/1.1\r\n{head}\r\n")).await;
        front.raw("no HTTP at all\r\n\r\n").await;
        front.raw("GET /old HTTP/1.0\r\n\r\n").await;
    })
    .await;
    let rest: Vec<&str> = lines.iter().map(|line| line.split_once("] ").unwrap().1).collect();
    assert_eq!(
        rest,
        [
            r#""GET /a%20b?c HTTP/1.1" 200 3 "http://b/" "test/1""#,
            r#""POST /big HTTP/1.1" 413 37 "http://b/" "test/1""#,
            r#""TRACE / HTTP/1.1" 501 34 "http://b/" "test/1""#,
            r#""" 400 0 "-" "-""#,
            r#""GET /old HTTP/1.0" 200 3 "-" "-""#,
        ]
    );
    assert!(lines.iter().all(|line| line.starts_with("127.0.0.1 - - [") && line.contains(" +0000] ")), "{lines:?}");
}

#[tokio::test]
async fn a_line_tells_who_answered_and_what_was_whole() {
    let app = Recorder::start("app").await;
    let cut = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this").await.unwrap();
    })
    .await;
    let dead = nowhere().await;
    let asked = |front: Arc<Front>| async move {
        front.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\ntraceparent: 00-1-2-01\r\n\r\n").await;
    };
    let field = |lines: &[String], name: &str| {
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        line[name].clone()
    };
    let whole = lines(&[dead, app.at], AccessFormat::Json, asked).await;
    assert_eq!(field(&whole, "backend"), format!("http://{}", app.at));
    assert_eq!((field(&whole, "backends_asked"), field(&whole, "whole")), (2.into(), true.into()), "{whole:?}");
    assert_eq!(field(&whole, "traceparent"), "00-1-2-01");
    assert_eq!(app.seen()[0].all("traceparent"), ["00-1-2-01"], "and the application sees it");
    let broken = lines(&[cut], AccessFormat::Json, asked).await;
    assert_eq!((field(&broken, "bytes"), field(&broken, "whole")), (9.into(), false.into()), "{broken:?}");
    let none = lines(&[dead], AccessFormat::Json, asked).await;
    assert_eq!((field(&none, "status"), field(&none, "backend")), (502.into(), format!("http://{dead}").into()));
}

/// nginx says 499 of it.
#[tokio::test]
async fn a_client_that_goes_away_has_a_line() {
    let silent = raw_backend(|mut stream| async move {
        let _ = read_to_end(&mut stream).await;
    })
    .await;
    let lines = lines(&[silent], AccessFormat::Common, |front| async move {
        let mut client = TcpStream::connect(front.at).await.unwrap();
        client.write_all(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until("it is asked", || front.counters.backends[0].requests.load(SeqCst) == 1).await;
    })
    .await;
    assert!(lines.len() == 1 && lines[0].ends_with("\"GET /gone HTTP/1.1\" 499 0"), "{lines:?}");
}

#[tokio::test]
async fn responses_are_counted_by_status_and_time() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.body = 10);
    for _ in 0..3 {
        front.get("/").await;
    }
    front.raw("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world").await;
    front.raw("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    front.raw("no HTTP at all\r\n\r\n").await;
    until("all are counted", || front.counters.responses().map(|(_, count)| count).sum::<u64>() == 6).await;
    let counted: Vec<_> = front.counters.responses().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(200, 3), (400, 1), (413, 1), (501, 1)]);
    let (buckets, sum) = front.counters.took();
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
    assert!(sum > 0.0 && buckets.last().is_some_and(|(bound, _)| bound.is_infinite()), "{buckets:?}");
}
