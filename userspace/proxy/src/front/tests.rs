//! The front over real sockets: a client's bytes on one side, a small backend on the other.

mod backends;
mod bounds;
mod failures;
mod gateway;
mod heads;
mod http2;
mod smuggling;
mod tls;
mod told;
mod upgrade;
mod uploads;

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Arrivals, Bound, Certificates, FrontCounters, Proxy, bind, serve};
use crate::handover::Inherited;
use zerottl_core::model::{Backend, BackendProbe, Web};

/// Long enough for anything that is to happen on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// A front with its proxy, until it is dropped.
struct Front {
    at: SocketAddr,
    secure: Option<SocketAddr>,
    certificates: Option<Arc<Certificates>>,
    counters: Arc<FrontCounters>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Front {
    /// In front of these backends, with what `change` makes of the defaults.
    fn start(backends: &[SocketAddr], change: impl FnOnce(&mut Web)) -> Self {
        let mut web = Web::at([]);
        web.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        web.backends =
            backends.iter().map(|at| Backend { url: format!("http://{at}"), authority: at.to_string() }).collect();
        // Not in the way of tests that count connections.
        web.backend_probe = BackendProbe { interval: Duration::from_hours(1), ..BackendProbe::default() };
        change(&mut web);
        let (counters, cancel) = (FrontCounters::new(&web), CancellationToken::new());
        let bound = bind(&web, &mut Inherited::default()).unwrap();
        let at = |tls| bound.iter().find(|one| one.certificates().is_some() == tls).map(Bound::local);
        let (plain, secure) = (at(false).unwrap(), at(true));
        let certificates = bound.iter().find_map(Bound::certificates).cloned();
        let proxy = Proxy::new(&web, Arc::clone(&counters), None, &cancel);
        let (limits, counted, stop) = (web.limits, Arc::clone(&counters), cancel.clone());
        let task = tokio::spawn(async move { serve(Arrivals::new(bound, None), proxy, &limits, counted, stop).await });
        Self { at: plain, secure, certificates, counters, cancel, task }
    }

    /// Sends bytes on one connection, and gives what comes until it is closed.
    async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// One GET on a connection of its own.
    async fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: app.com\r\nConnection: close\r\n\r\n")).await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end, too.
    let _ = timeout(SOON, stream.read_to_end(&mut text)).await.expect("the connection is closed");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    timeout(SOON, async {
        while !String::from_utf8_lossy(&text).contains(end) {
            let mut some = [0; 4096];
            let count = stream.read(&mut some).await.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&some[..count]);
        }
    })
    .await
    .expect("it comes in time");
    String::from_utf8(text).unwrap()
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The status of a response.
fn status(response: &str) -> u16 {
    response.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status: {response:?}"))
}

/// A request as a backend saw it: request line, fields by name, body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    fields: Vec<(String, String)>,
    body: Bytes,
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A backend that answers 200 with its name, and remembers requests.
#[derive(Clone)]
struct Recorder {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    async fn start(name: &'static str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let record = Arc::clone(&seen);
        let at = backend(move |request: Request<Incoming>| {
            let record = Arc::clone(&record);
            async move {
                let (parts, body) = request.into_parts();
                let line = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
                let field = |(field, value): (&http::HeaderName, &http::HeaderValue)| {
                    (field.to_string(), value.to_str().unwrap().to_owned())
                };
                let fields = parts.headers.iter().map(field).collect();
                if let Ok(body) = body.collect().await {
                    record.lock().unwrap().push(Seen { line, fields, body: body.to_bytes() });
                }
                Response::new(Full::new(Bytes::from_static(name.as_bytes())))
            }
        })
        .await;
        Self { at, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// An HTTP/1.1 server for as long as the test's runtime lives.
async fn backend<F, R, B>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<B>> + Send,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = answer(request);
                    async { Ok::<_, Infallible>(response.await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    at
}

/// A server that is given each connection that something is sent on.
async fn raw_backend<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A probe says nothing.
            if stream.peek(&mut [0]).await.is_ok_and(|count| count > 0) {
                tokio::spawn(serve(stream));
            }
        }
    });
    at
}

/// An address where nothing listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
