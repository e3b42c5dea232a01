//! The server over loopback, with the command line's client and with rude ones.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::fixture;
use crate::{
    admin::{
        explanation::Explanation,
        handler_state::TRACES_MAX,
        listen::Listener,
        reload::{RELOAD, Reload},
        server::{CONNECTION_MAX, CONNECTIONS_PER_CLIENT_MAX, HEADER_MAX, REQUESTS_MAX, serve},
        sources::{AdminSources, Current},
        status::StatusPage,
    },
    control::{
        commands::{self, AgentCommand, Reloaded},
        health::HealthHandle,
        overrides::OverrideHandle,
    },
    observe::{
        counters::{CounterSource, SocketCounts},
        health_file::HealthFileState,
    },
};
use zerottl_core::{
    assess::Assessor,
    model::{AdminListen, AdminToken},
    plan::Choice,
    saved_state::SavedState,
};
use zerottl_dns::view::View;
use zerottl_host::state::writer::WriteStatus;
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};
use zerottl_inputs::probe::Reports;

struct FixedCounters;

impl CounterSource for FixedCounters {
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)> {
        vec![("answered", "answer", 5)]
    }

    fn socket(&self) -> SocketCounts {
        SocketCounts::default()
    }
}

struct Running {
    at: SocketAddr,
    trace: broadcast::Sender<Arc<str>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A state of the fixture's moment, and where its trace is fed.
pub(super) fn state(token: Option<&str>) -> (AdminSources, broadcast::Sender<Arc<str>>) {
    let mut model = fixture::model();
    model.admin.token = token.map(|token| AdminToken::new(token).expect("a token"));
    let choices = vec![[fixture::table(&model, "0.0.0.0", &["boston", "chicago"]), Choice::NoData]; 4];
    let snapshot = fixture::snapshot(model, choices);
    let plan = Arc::unwrap_or_clone(snapshot.plan);
    let (trace, _) = broadcast::channel(4);
    let memory = SavedState::default();
    let assessor = Assessor::new(Arc::clone(&snapshot.model), &memory, None, Instant::now());
    let state = AdminSources {
        reports: Reports::new(&snapshot.model),
        load_store: zerottl_inputs::load::LoadStore::new(&snapshot.model),
        served: {
            let zones = zerottl_dns::Zones::load(&snapshot.model, std::path::Path::new("")).expect("no records files");
            Arc::new(zerottl_dns::Served {
                zones,
                view: Arc::new(View::new(Arc::clone(&snapshot.model), plan.clone())),
            })
        },
        view: Arc::new(View::new(snapshot.model, plan)),
        status: watch::channel(snapshot.status).1,
        counters: Arc::new(FixedCounters),
        context: watch::channel(snapshot.context).1,
        publication: watch::channel(None).1,
        trace: trace.clone(),
        started: Instant::now(),
        commands: commands::channel().0,
        remarks: watch::channel(Arc::default()).1,
        overrides: OverrideHandle::new().0,
        health: HealthHandle::new(Arc::new(Mutex::new(assessor))),
        health_file: watch::channel(HealthFileState::default()).1,
        write_status: watch::channel(WriteStatus::default()).1,
        fleet: None,
        hooks: Arc::default(),
    };
    (state, trace)
}

async fn start() -> Running {
    let (state, trace) = state(None);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let cancel = CancellationToken::new();
    let task =
        tokio::spawn(serve(vec![Listener::Tcp(listener)], Arc::new(Current::from_pointee(state)), cancel.clone()));
    Running { at, trace, cancel, task }
}

/// Sends `request` as it is; the whole response.
async fn raw(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.expect("the server listens");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    let _ = stream.read_to_string(&mut response).await;
    response
}

#[tokio::test]
async fn pages_are_served_to_the_client() {
    let server = start().await;
    let page = async |path: &str| client::get(server.at, path).await;
    let text = |page: Result<bytes::Bytes, ClientError>| String::from_utf8(page.expect("a page").into()).expect("text");

    assert!(text(page("/").await).contains("/v1/status"));
    assert!(text(page("/metrics").await).contains("\nzerottl_packets_total{"));
    let status: StatusPage = serde_json::from_slice(&page("/v1/status").await.expect("a page")).expect("a status");
    assert_eq!((status.sites.len(), status.names.len(), status.reasons["answered"].count), (3, 4, 5));
    let page_of_one = page("/v1/status?name=Boston.App.com").await.expect("a page");
    let status: StatusPage = serde_json::from_slice(&page_of_one).expect("a status");
    assert_eq!((status.sites.len(), status.names.len(), status.names[0].name.as_str()), (3, 1, "boston.app.com"));
    let path = format!("/v1/explain?name={}&client=192.0.2.1", client::query_value("app.com"));
    let explained: Explanation = serde_json::from_slice(&page(&path).await.expect("a page")).expect("an explanation");
    assert_eq!((explained.name.as_str(), explained.families.len()), ("app.com", 2));

    for (path, status, words) in [
        ("/nothing", 404, ""),
        ("/v1/explain", 400, "name"),
        ("/v1/status?name=a..b", 400, "`a..b` is not a DNS name"),
        ("/v1/explain?name=a..b", 400, "`a..b` is not a DNS name"),
        ("/v1/explain?name=app.com&type=what", 400, "`what` is not a record type"),
        ("/v1/explain?name=app.com&client=me", 400, "client"),
    ] {
        match page(path).await {
            Err(ClientError::Status(got, said)) => {
                assert!(got == status && said.contains(words), "{path}: {got} {said}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn client_says_that_no_agent_runs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    drop(listener);
    let error = client::get(at, "/").await.expect_err("nobody listens");
    assert!(error.to_string().starts_with(&format!("no agent answers at {at}: ")), "{error}");
}

#[test]
fn query_values_are_encoded() {
    assert_eq!(client::query_value("app.com"), "app.com");
    assert_eq!(client::query_value("a&b=c d/é%"), "a%26b%3Dc%20d%2F%C3%A9%25");
}

#[tokio::test]
async fn foreign_hosts_and_methods_are_refused() {
    let at = start().await;
    let check = async |request: &str, expect: &str| {
        let response = raw(at.at, request).await;
        assert!(response.starts_with(expect), "{request:?}: {response:?}");
    };
    check("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 200 ").await;
    check("GET / HTTP/1.1\r\nhost: rebound.example:8053\r\n\r\n", "HTTP/1.1 403 ").await;
    check("GET /metrics HTTP/1.1\r\nhost: rebound.example\r\n\r\n", "HTTP/1.1 403 ").await;
    check("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 403 ").await;
    check("GET / HTTP/1.1\r\nhost: localhost\r\nhost: rebound.example\r\n\r\n", "HTTP/1.1 403 ").await;
    check("GET http://rebound.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 403 ").await;
    check("POST /v1/status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 415 ").await;
    let json = "host: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n";
    check(&format!("POST /v1/status HTTP/1.1\r\n{json}\r\n{{}}"), "HTTP/1.1 405 ").await;
    let foreign = "origin: http://evil.example\r\n";
    check(&format!("POST /v1/status HTTP/1.1\r\n{json}{foreign}\r\n{{}}"), "HTTP/1.1 403 ").await;
    check("what\r\n\r\n", "HTTP/1.1 400 ").await;
}

#[tokio::test]
async fn trace_goes_on_until_the_client_leaves_and_says_what_it_missed() {
    let server = start().await;
    let events = server.trace.clone();
    let sender = tokio::spawn(async move {
        while events.receiver_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // All at once, six into a backlog of four: the server's task has no turn in between.
        for n in 0..6 {
            let _ = events.send(format!("{{\"n\":{n}}}").into());
        }
    });
    let mut seen = Vec::new();
    let read = client::lines(server.at, "/v1/trace", |line| {
        seen.push(line.to_owned());
        if seen.len() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    timeout(Duration::from_secs(20), read).await.expect("in time").expect("lines");
    assert_eq!(seen, ["{\"lost\":2}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}", "{\"n\":5}"]);
    sender.await.expect("sent");
    // The agent notices that no one listens any more.
    timeout(Duration::from_secs(20), async {
        while server.trace.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the trace ends with its client");
}

#[tokio::test]
async fn traces_are_few_and_end_with_the_agent() {
    let mut server = start().await;
    let traces: Vec<_> = (0..TRACES_MAX)
        .map(|_| {
            let at = server.at;
            tokio::spawn(async move { client::lines(at, "/v1/trace", |_| ControlFlow::Continue(())).await })
        })
        .collect();
    timeout(Duration::from_secs(20), async {
        while server.trace.receiver_count() < TRACES_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all traces run");
    match client::get(server.at, "/v1/trace").await {
        Err(ClientError::Status(503, words)) => assert_eq!(words, "8 traces are running already\n"),
        other => panic!("{other:?}"),
    }
    client::get(server.at, "/").await.expect("traces leave room for pages");
    server.cancel.cancel();
    timeout(Duration::from_secs(20), &mut server.task).await.expect("in time").expect("without a panic");
    for trace in traces {
        trace.await.expect("no panic").expect("ended properly");
    }
}

/// On a paused clock, which moves when every task waits: silent and slow clients give way to whoever asks.
#[tokio::test(start_paused = true)]
async fn silent_clients_hold_nobody_up() {
    let server = start().await;
    let begun = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for n in 0..3 * CONNECTIONS_PER_CLIENT_MAX {
        let mut stream = TcpStream::connect(server.at).await.expect("accepted");
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.expect("sent");
        }
        silent.push(stream);
        if n % 16 == 0 {
            let response = raw(server.at, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert!(response.starts_with("HTTP/1.1 200 "), "beside {n} silent ones: {response:?}");
        }
    }
    assert!(begun.elapsed() < HEADER_MAX, "nobody waited for a silent one: {:?}", begun.elapsed());
    // They are bounded in time, too.
    for mut stream in silent {
        let _ = timeout(HEADER_MAX * 2, stream.read_to_end(&mut Vec::new())).await.expect("cut");
    }
}

/// Clients that take nothing of what they asked for hold up no one over the Unix socket, and others for a bounded time.
#[tokio::test]
async fn who_reads_nothing_holds_up_no_unix_socket() {
    let (state, _trace) = state(None);
    let folder = tempfile::tempdir().expect("a folder");
    let place = AdminListen::Unix(folder.path().join("admin.sock"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let unix = Listener::bind(&place).await.expect("bound");
    let current = Arc::new(Current::from_pointee(state));
    let cancel = CancellationToken::new();
    let task = tokio::spawn(serve(vec![Listener::Tcp(listener), unix], current, cancel.clone()));
    let mut stuck = Vec::new();
    for _ in 0..REQUESTS_MAX * 2 {
        let mut stream = TcpStream::connect(at).await.expect("accepted");
        // A body that does not come.
        let head = "POST /v1/sites/word HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        stream.write_all(format!("{head}content-length: 10\r\n\r\n").as_bytes()).await.expect("sent");
        stuck.push(stream);
    }
    let at = AgentAddress { place, token: None };
    for _ in 0..REQUESTS_MAX * 2 {
        timeout(Duration::from_secs(20), client::get(&at, "/v1/status")).await.expect("in time").expect("a page");
    }
    cancel.cancel();
    timeout(Duration::from_secs(20), task).await.expect("in time").expect("without a panic");
}

/// A client that has the token is served while others of the same address hold all that they can.
#[tokio::test]
async fn the_token_has_places_of_its_own() {
    let token = "correct-horse-battery";
    let (state, _trace) = state(Some(token));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let current = Arc::new(Current::from_pointee(state));
    let task = tokio::spawn(serve(vec![Listener::Tcp(listener)], current, CancellationToken::new()));
    let mut idle = Vec::new();
    for n in 0..2 * CONNECTIONS_PER_CLIENT_MAX {
        let mut stream = TcpStream::connect(at).await.expect("accepted");
        // The page that holds no data is for everyone; the others are refused at once.
        let path = ["/", "/v1/status"][n % 2];
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n").as_bytes()).await.expect("sent");
        idle.push(stream);
    }
    let at = AgentAddress { place: AdminListen::Tcp(at), token: AdminToken::new(token).ok() };
    for _ in 0..REQUESTS_MAX * 2 {
        timeout(Duration::from_secs(20), client::get(&at, "/v1/status")).await.expect("in time").expect("a page");
    }
    task.abort();
}

/// A reload of a large configuration takes longer than any page may; whoever asked is told how it went all the same.
#[tokio::test(start_paused = true)]
async fn a_reload_is_waited_for() {
    let (mut state, _trace) = state(None);
    let (give, mut take) = commands::channel();
    state.commands = give;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = AgentAddress { place: AdminListen::Tcp(listener.local_addr().expect("bound")), token: None };
    let cancel = CancellationToken::new();
    let current = Arc::new(Current::from_pointee(state));
    let task = tokio::spawn(serve(vec![Listener::Tcp(listener)], current, cancel));
    let agent = tokio::spawn(async move {
        while let Some(AgentCommand::Reload(Some(reply))) = take.recv().await {
            tokio::time::sleep(CONNECTION_MAX * 4).await;
            let _ = reply.send(Ok(Reloaded { generation: 9, took_ms: 120_000.0, warnings: Vec::new() }));
        }
    });
    let told = client::post_within(&at, RELOAD, &Reload {}, CONNECTION_MAX * 10).await.expect("told how it went");
    let told: Reloaded = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told.generation, 9);
    task.abort();
    agent.abort();
}
