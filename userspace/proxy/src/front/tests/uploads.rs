//! An answer that comes before the request's body has come: the client sends all of it, and then reads the answer.

use super::{
    tls::{connect, front, pem},
    *,
};

const MEGABYTE: usize = 1 << 20;

/// A client that writes everything before it reads anything, as Python's does; what it has read, and the reset if there
/// was one.
async fn converse<IO>(mut stream: IO, bytes: &[u8]) -> Result<String, String>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let talk = async {
        stream.write_all(bytes).await.map_err(|error| format!("writing: {error}"))?;
        stream.flush().await.map_err(|error| format!("writing: {error}"))?;
        sleep(Duration::from_millis(50)).await;
        let mut some = vec![0; 4096];
        let count = stream.read(&mut some).await.map_err(|error| format!("reading: {error}"))?;
        some.truncate(count);
        Ok(String::from_utf8_lossy(&some).into_owned())
    };
    timeout(SOON, talk).await.map_err(|_| "in no time".to_owned())?
}

fn known(fields: &str, bytes: usize) -> Vec<u8> {
    let head = format!("POST /a HTTP/1.1\r\nHost: app.com\r\n{fields}Content-Length: {bytes}\r\n\r\n");
    [head.as_bytes(), &vec![b'a'; bytes]].concat()
}

fn chunked(bytes: usize) -> Vec<u8> {
    let head = format!("POST /a HTTP/1.1\r\nHost: app.com\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n");
    [head.as_bytes(), &vec![b'a'; bytes], b"\r\n0\r\n\r\n"].concat()
}

/// Returns the cases: a name, what is sent, its status, and whether the connection goes on.
fn cases() -> Vec<(&'static str, Vec<u8>, u16, bool)> {
    let head = format!("X: {}\r\n", "a".repeat(40_000));
    let strange = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n10000000\r\n";
    vec![
        ("a length over the bound", known("", MEGABYTE), 413, false),
        ("chunks over the bound", chunked(MEGABYTE), 413, false),
        ("a method that is not served", known("", MEGABYTE).replacen_trace(), 501, false),
        ("two Hosts", known("Host: other\r\n", MEGABYTE), 400, false),
        ("a field without a colon", known("nonsense\r\n", MEGABYTE), 400, false),
        ("a head over the bound", known(&head, MEGABYTE), 431, false),
        ("a coding that is not known", [strange.as_slice(), &vec![b'a'; MEGABYTE]].concat(), 501, false),
        ("a backend that answers first", known("X-Early: yes\r\n", 60_000), 403, true),
    ]
}

trait Trace {
    fn replacen_trace(self) -> Self;
}

impl Trace for Vec<u8> {
    fn replacen_trace(self) -> Self {
        [b"TRACE", &self[4..]].concat()
    }
}

/// RFC 9112 section 9.6: the answer is said, the connection half closed, and what still comes read on. nginx lingers 30 s
/// (`lingering_time`), `HAProxy` drains, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_read_by_a_client_that_sends_first() {
    let app = backend(|request: Request<Incoming>| async move {
        if request.headers().contains_key("x-early") {
            return Response::builder().status(403).body(Full::new(Bytes::from_static(b"no"))).unwrap();
        }
        let _ = request.into_body().collect().await;
        Response::new(Full::new(Bytes::from_static(b"app")))
    })
    .await;
    let folder = tempfile::TempDir::new().unwrap();
    pem(folder.path(), "a.pem", &["app.com"]);
    let front = front(&[app], &folder, |web| web.limits.body = 65_536);
    for (what, bytes, expected, goes_on) in cases() {
        for tls in [false, true] {
            for _ in 0..10 {
                let answer = if tls {
                    converse(connect(&front, "app.com", &["http/1.1"]).await.unwrap(), &bytes).await
                } else {
                    converse(TcpStream::connect(front.at).await.unwrap(), &bytes).await
                };
                let answer = answer.unwrap_or_else(|error| panic!("{what}, TLS {tls}: {error}"));
                assert_eq!(status(&answer), expected, "{what}, TLS {tls}: {answer}");
                let closes = answer.to_lowercase().contains("connection: close");
                assert_eq!(closes, !goes_on, "{what}, TLS {tls}: {answer}");
            }
        }
    }
    until("no connection is open", || front.counters.open.load(SeqCst) == 0).await;
}

/// An upload that was not wanted is read to its end, and the next request of the connection is answered.
#[tokio::test]
async fn a_connection_goes_on_after_an_upload_that_was_not_wanted() {
    let app = backend(|request: Request<Incoming>| async move {
        let status = if request.method() == "POST" { 403 } else { 200 };
        Response::builder().status(status).body(Full::new(Bytes::from_static(b"end"))).unwrap()
    })
    .await;
    let front = Front::start(&[app], |_| ());
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    let (mut read, mut write) = stream.split();
    let writing = async {
        for _ in 0..3 {
            write.write_all(&known("", MEGABYTE)).await.unwrap();
        }
        write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    };
    let mut answers = String::new();
    let both = async { tokio::join!(writing, read.read_to_string(&mut answers)).1 };
    timeout(SOON, both).await.expect("in time").unwrap();
    let statuses: Vec<u16> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| status(&answers[at..])).collect();
    assert_eq!(statuses, [403, 403, 403, 200]);
    assert_eq!(front.counters.accepted.load(SeqCst), 1);
}

/// A client that waits for `100 Continue` is told the status instead, and that the connection ends: whether it sends its
/// body now cannot be known (RFC 9110 section 10.1.1).
#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| web.limits.body = 1000);
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!((status(&answer), answer.contains("connection: close")), (413, true), "{answer}");
    assert!(!answer.contains(" 100 "), "{answer}");
}

/// Neither who sends for ever nor who falls silent holds a connection for longer than is said.
#[tokio::test]
async fn what_is_read_on_is_bounded_in_time() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |web| {
        web.limits.body = 10;
        web.limits.idle_timeout = Duration::from_millis(200);
    });
    for fields in ["", "Transfer-Encoding: gzip\r\nX: "] {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(&known(fields, MEGABYTE)[..1000]).await.unwrap();
        let mut text = String::new();
        timeout(SOON, stream.read_to_string(&mut text)).await.expect("it is closed").unwrap();
        assert!([413, 400].contains(&status(&text)), "{text}");
    }
    until("no connection is open", || front.counters.open.load(SeqCst) == 0).await;
}
