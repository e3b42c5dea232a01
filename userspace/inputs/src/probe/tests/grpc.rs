//! The gRPC health protocol against servers that speak HTTP/2 and break it in one way or another.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::server::SendResponse;
use hyper::{HeaderMap, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::super::attempt::{Attempt, Network};
use crate::http_check::Configs;
use zerottl_core::{
    fixture,
    model::{GrpcProbe, Probe, ProbeKind, SiteAddress},
};

/// An answer: its content type, its grpc-status where the header is, its body, and its grpc-status and words in the trailers.
#[derive(Clone)]
struct Answer {
    status: u16,
    kind: &'static str,
    early: Option<&'static str>,
    body: Vec<u8>,
    trailers: Option<(&'static str, &'static str)>,
}

/// The answer of a service that serves.
fn serving() -> Answer {
    let body = vec![0, 0, 0, 0, 2, 8, 1];
    Answer { status: 200, kind: "application/grpc", early: None, body, trailers: Some(("0", "")) }
}

fn respond(answer: &Answer, mut respond: SendResponse<Bytes>) {
    let mut response = Response::builder().status(answer.status).header("content-type", answer.kind);
    if let Some(status) = answer.early {
        response = response.header("grpc-status", status);
    }
    let is_all = answer.body.is_empty() && answer.trailers.is_none();
    let Ok(mut stream) = respond.send_response(response.body(()).expect("a response"), is_all) else { return };
    if is_all {
        return;
    }
    let _ = stream.send_data(answer.body.clone().into(), answer.trailers.is_none());
    if let Some((status, words)) = answer.trailers {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().expect("a value"));
        trailers.insert("grpc-message", words.parse().expect("a value"));
        let _ = stream.send_trailers(trailers);
    }
}

async fn serve(stream: TcpStream, answer: Answer) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, sender))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/grpc.health.v1.Health/Check"));
        assert_eq!(head.uri.host(), Some("boston.app.com"));
        assert_eq!(
            (&head.headers["te"], &head.headers["content-type"]),
            (&"trailers".parse().expect("a value"), &"application/grpc".parse().expect("a value"))
        );
        let message = async { body.data().await };
        let asked = tokio::select! {
            data = message => data,
            _ = connection.accept() => None,
        };
        assert_eq!(asked.expect("a body").expect("data"), &b"\0\0\0\0\x05\x0a\x03api"[..]);
        respond(&answer, sender);
    }
}

struct Server {
    at: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server<F: Future<Output = ()> + Send + 'static>(run: impl Fn(TcpStream) -> F + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(run(stream));
        }
    });
    Server { at, task: task.abort_handle() }
}

async fn attempt(at: SocketAddr) -> String {
    let grpc = GrpcProbe { service: "api".into(), host: "boston.app.com".into(), tls: None };
    let base = fixture::tcp(Duration::from_mins(5), Duration::from_mins(5), 1, 1);
    let probe = Probe { kind: ProbeKind::Grpc(grpc), port: at.port(), ..base };
    let address = SiteAddress { answer: at.ip(), probe: at.ip() };
    let network = Network::new(&probe, address, None, &mut Configs::default()).expect("ready").expect("an attempt");
    let run = tokio::time::timeout(Duration::from_mins(1), network.run());
    let outcome = run.await.expect("it ends long before its time is over");
    outcome.map_or_else(|failure| failure.to_string(), |()| "ok".into())
}

#[tokio::test]
async fn answers_are_judged() {
    let message = |body: &[u8]| Answer { body: body.to_vec(), ..serving() };
    let rows = [
        ("ok", serving()),
        ("ok", Answer { kind: "application/grpc+proto", ..serving() }),
        ("grpc: the status is NOT_SERVING, not SERVING", message(&[0, 0, 0, 0, 2, 8, 2])),
        ("grpc: the status is UNKNOWN, not SERVING", message(&[0, 0, 0, 0, 0])),
        ("grpc: the status is SERVICE_UNKNOWN, not SERVING", message(&[0, 0, 0, 0, 2, 8, 3])),
        ("grpc: the status is a status that the protocol does not have", message(&[0, 0, 0, 0, 2, 8, 9])),
        ("grpc: the answer is no HealthCheckResponse", message(&[0, 0, 0, 0, 9, 8, 1])),
        ("grpc: the answer is no HealthCheckResponse", message(&[1, 0, 0, 0, 2, 8, 1])),
        ("grpc: the answer is no HealthCheckResponse", message(&[])),
        ("grpc: the answer is longer than 4096 bytes", message(&[0; 5000])),
        ("grpc: the answer has no grpc-status", Answer { trailers: None, ..serving() }),
        ("grpc: the call failed with NOT_FOUND: \"who?\"", Answer { trailers: Some(("5", "who?")), ..serving() }),
        ("grpc: the call failed with code \"99\"", Answer { trailers: Some(("99", "")), ..serving() }),
        (
            "grpc: the call failed with UNIMPLEMENTED",
            Answer { early: Some("12"), body: vec![], trailers: None, ..serving() },
        ),
        ("grpc: the answer is not of type application/grpc", Answer { kind: "text/html", ..serving() }),
        ("status 503, expected 200", Answer { status: 503, ..serving() }),
    ];
    for (expect, answer) in rows {
        let server = server(move |stream| serve(stream, answer.clone())).await;
        let outcome = attempt(server.at).await;
        assert!(outcome.starts_with(expect), "{outcome}, expected {expect}");
    }
}

/// Other protocols, and answers without end, are cut long before their time is over.
#[tokio::test]
async fn other_protocols_and_endless_answers_are_cut() {
    /// A frame of settings, which begins a connection, and frames that follow it without end: pings, empty headers that go on, data of a
    /// stream that is not there.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const CONTINUATION: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 0, 1];
    let rows: [(&[u8], &[u8]); 6] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
        (b"", b""),
        (b"", b"\0"),
        (SETTINGS, PING),
        (SETTINGS, SETTINGS),
        (&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], CONTINUATION),
    ];
    for (first, more) in rows {
        let server = server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(first).await;
            let block = more.repeat(200);
            while !block.is_empty() && stream.write_all(&block).await.is_ok() {}
        })
        .await;
        let outcome = attempt(server.at).await;
        assert!(outcome.starts_with("http/2: "), "{outcome}");
    }
}
