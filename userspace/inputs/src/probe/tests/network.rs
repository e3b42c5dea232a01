//! Attempts against real servers on loopback.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, server::WebPkiClientVerifier, version},
};
use tokio_util::sync::CancellationToken;

use super::super::attempt::{Attempt, Network};
use crate::{
    http_check::{Configs, Get, Progress, connect, metered::Metered},
    load::LoadStore,
    probe::{self, Reports},
};
use zerottl_core::fixture;
use zerottl_core::{
    model::{HttpProbe, Probe, ProbeKind, ProbeTls, SiteAddress, SiteId},
    status::Health,
};

/// A server that ends with the test.
struct Server {
    at: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request's header and returns it.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(seen).expect("a request header is ASCII")
}

/// Writes each part after the given pause, then holds the connection open for `hold`.
async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, parts: Vec<(u64, Vec<u8>)>, hold: Duration) {
    request(&mut stream).await;
    for (pause_ms, part) in parts {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if stream.write_all(&part).await.is_err() {
            return;
        }
    }
    tokio::time::sleep(hold).await;
    let _ = stream.shutdown().await;
}

async fn serve(parts: Vec<(u64, Vec<u8>)>, hold: Duration, acceptor: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &acceptor {
                None => respond(stream, parts.clone(), hold).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        respond(stream, parts.clone(), hold).await;
                    }
                }
            }
        }
    });
    Server { at, task: task.abort_handle() }
}

/// One attempt at `at`; the failure's sentence or `ok`.
async fn attempt(at: SocketAddr, probe: &Probe) -> String {
    let address = SiteAddress { answer: at.ip(), probe: at.ip() };
    match Network::new(probe, address, None, &mut Configs::default()) {
        Err(why) => why.to_string(),
        Ok(None) => "nothing to attempt".into(),
        Ok(Some(network)) => network.run().await.map_or_else(|failure| failure.to_string(), |()| "ok".into()),
    }
}

fn http(at: SocketAddr, change: impl FnOnce(&mut HttpProbe)) -> Probe {
    let mut probe = fixture::http(at.port());
    let ProbeKind::Http(http) = &mut probe.kind else { unreachable!("the fixture is HTTP") };
    change(http);
    probe
}

/// A server that writes `response` in one piece and closes; the attempt's outcome.
async fn check(response: impl Into<Vec<u8>>, change: impl FnOnce(&mut HttpProbe), expect: &str) {
    let response = response.into();
    let shown = String::from_utf8_lossy(&response[..response.len().min(60)]).into_owned();
    let server = serve(vec![(0, response)], Duration::ZERO, None).await;
    let outcome = attempt(server.at, &http(server.at, change)).await;
    assert!(outcome.starts_with(expect), "{shown:?}: {outcome}, expected {expect}");
}

fn text(text: &str) -> impl FnOnce(&mut HttpProbe) {
    let text = text.to_owned();
    move |probe| probe.expect_body = Some(text)
}

#[tokio::test]
async fn http_responses_are_judged() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready";
    check(ok, |_| (), "ok").await;
    check(ok, text("read"), "ok").await;
    check(ok, text("steady"), "body: \"steady\" is not in its first 64 KiB").await;
    check("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", |_| (), "status 503, expected 200").await;
    check("HTTP/1.1 204 No\r\n\r\n", |probe| probe.expect_status = vec![200, 204], "ok").await;
    check("HTTP/1.1 204 No\r\n\r\n", text(""), "status 204, expected 200").await;
    check("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n", |_| (), "status 302").await;
    check("HTTP/1.0 200 OK\r\n\r\nuntil the end", text("the end"), "ok").await;
    check("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", |_| (), "ok").await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n";
    check(chunked, text("ready"), "ok").await;
    check("SSH-2.0-OpenSSH_9.2\r\n", |_| (), "http: ").await;
    check("", |_| (), "http: ").await;
}

#[tokio::test]
async fn http_responses_are_bounded() {
    let long = |field: usize, fields: usize| {
        let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
        for n in 0..fields {
            write!(response, "x-{n}: {}\r\n", "a".repeat(field)).expect("a Vec takes it");
        }
        response.extend(b"content-length: 0\r\n\r\n");
        response
    };
    check(long(1000, 20), |_| (), "ok").await;
    check(long(1000, 40), |_| (), "http: ").await;
    check(long(1, 1000), |_| (), "http: ").await;
    // The text's last byte is the last one searched, then one further.
    for (before, expect) in [(64 * 1024 - 5, "ok"), (64 * 1024 - 4, "body: ")] {
        let body = format!("HTTP/1.1 200 OK\r\n\r\n{}ready", "a".repeat(before));
        check(body, text("ready"), expect).await;
    }
}

/// Writes `first` and then `more` for ever, or until the attempt has gone.
async fn endless(first: &'static [u8], more: &'static [u8]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let block = more.repeat(4096 / more.len() + 1);
            // What comes before the request is no answer to it.
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(first).await;
            while stream.write_all(&block).await.is_ok() {}
        }
    });
    Server { at, task: task.abort_handle() }
}

/// A row: its description, how it begins and goes on, whether over TLS, and the expected outcome.
type Row = (&'static str, &'static [u8], &'static [u8], bool, &'static str);

/// A response that never ends is cut by what it is, long before its time is over: it costs no more than an answer does.
#[tokio::test]
async fn endless_responses_are_cut() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let rows: [Row; 9] = [
        ("100", b"", b"HTTP/1.1 100 Continue\r\n\r\n", false, "it sends more than 16 interim responses (1xx)"),
        ("103", b"", b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n", false, "interim"),
        ("a header", HEAD, b"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", false, "http: "),
        ("a field", b"HTTP/1.1 200 OK\r\nx-a: ", b"aaaaaaaaaaaaaaaa", false, "http: "),
        ("no HTTP", b"", b"\0", false, "http: "),
        ("a body", b"HTTP/1.1 200 OK\r\n\r\n", b"aaaaaaaaaaaaaaaa", false, "body: "),
        ("chunks of a byte", CHUNKED, b"1\r\na\r\n", false, "it sends more than 320 KiB"),
        ("a chunk's extension", CHUNKED, b"aaaaaaaa", false, "http: "),
        ("TLS records", b"\x14\x03\x03\x00\x01\x01", b"\x14\x03\x03\x00\x01\x01", true, "tls: "),
    ];
    for (what, first, more, tls, expect) in rows {
        let server = endless(first, more).await;
        let mut probe = http(server.at, |probe| {
            probe.expect_body = Some("ready".into());
            probe.tls =
                tls.then(|| ProbeTls { server_name: "boston.app.com".into(), verify: false, ca: None, identity: None });
        });
        probe.timeout = Duration::from_mins(5);
        let outcome = tokio::time::timeout(Duration::from_mins(1), attempt(server.at, &probe)).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{what} goes on"));
        assert!(outcome.contains(expect), "{what}: {outcome}, expected {expect}");
        // So is a load that is asked for.
        let ProbeKind::Http(http) = &probe.kind else { unreachable!("the fixture is HTTP") };
        let get = Get::new(http, &mut Configs::default()).expect("a GET");
        let stream = connect(server.at).await.expect("accepted");
        let progress = Progress::default();
        let fetched = get.fetch(stream, &progress, 16 * 1024);
        let fetched = tokio::time::timeout(Duration::from_mins(1), fetched).await;
        assert!(fetched.is_ok_and(|fetched| fetched.map_or(true, |body| body.len() < 1 << 20)), "{what} as a load");
    }
}

/// Bytes that come one by one each cost a wake-up: those are counted, too.
#[tokio::test]
async fn pieces_are_bounded() {
    let (mut far, near) = tokio::io::duplex(1);
    let mut metered = Metered::new(near, usize::MAX);
    let writer = tokio::spawn(async move { while far.write_all(b"a").await.is_ok() {} });
    let error = metered.read_to_end(&mut Vec::new()).await.expect_err("it goes on");
    assert_eq!(error.to_string(), "it sends in more than 4096 pieces");
    drop(metered);
    writer.await.expect("it ends");
}

#[tokio::test]
async fn text_is_found_across_packets() {
    let parts = [(0, "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nnot re"), (30, "ad"), (30, "y ok")];
    let parts = parts.map(|(pause, part)| (pause, part.as_bytes().to_vec())).to_vec();
    let server = serve(parts, Duration::ZERO, None).await;
    assert_eq!(attempt(server.at, &http(server.at, text("ready"))).await, "ok");
}

#[tokio::test]
async fn request_is_as_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let probe = http(at, |probe| probe.path = "/health?full=1".into());
    let (seen, outcome) = tokio::join!(
        async {
            let (mut stream, _) = listener.accept().await.expect("the probe connects");
            let seen = request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("the probe reads");
            seen
        },
        attempt(at, &probe)
    );
    assert_eq!(outcome, "ok");
    assert!(seen.starts_with("GET /health?full=1 HTTP/1.1\r\n"), "{seen}");
    for header in ["host: boston.app.com\r\n", "connection: close\r\n", "user-agent: zerottl/"] {
        assert!(seen.contains(header), "{header} in {seen}");
    }
}

/// The limit covers each stage, and the sentence says which one it was. No upper bound is asserted: machines stall.
#[tokio::test]
async fn timeout_names_what_it_waited_for() {
    let never = Duration::from_hours(1);
    let mut seen = Vec::new();
    for (part, tls, body) in [("", true, false), ("", false, false), ("HTTP/1.1 200 OK\r\n\r\nalmost", false, true)] {
        let server = serve(vec![(0, part.into())], never, None).await;
        let mut probe = http(server.at, |probe| {
            probe.tls =
                tls.then(|| ProbeTls { server_name: "boston.app.com".into(), verify: false, ca: None, identity: None });
            probe.expect_body = body.then(|| "ready".into());
        });
        probe.timeout = Duration::from_millis(200);
        // On a machine that is too busy it says that.
        seen.push(loop {
            let said = attempt(server.at, &probe).await;
            if !said.starts_with("not tried") {
                break said;
            }
        });
    }
    assert_eq!(
        seen,
        [
            "timeout after 200ms in the TLS handshake",
            "timeout after 200ms waiting for the response",
            "timeout after 200ms reading the body",
        ]
    );
}

#[tokio::test]
async fn tcp_connects_or_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let mut probe = fixture::tcp(Duration::from_secs(5), Duration::from_secs(5), 1, 1);
    probe.port = at.port();
    assert_eq!(attempt(at, &probe).await, "ok");
    drop(listener);
    assert_eq!(attempt(at, &probe).await, "connect: connection refused");
}

/// A certificate authority for one test, its certificate in a file that goes with it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(issuer.pem().as_bytes()).expect("written");
        Self { issuer, file }
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        change(&mut params);
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// The files of a certificate for `name`, and of its key.
    fn identity(&self, name: &str) -> [tempfile::NamedTempFile; 2] {
        let (certificate, key) = self.issue(name, |_| ());
        [certificate.pem(), key.serialize_pem()].map(|text| {
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            file.write_all(text.as_bytes()).expect("written");
            file
        })
    }

    /// A server for `name`.
    fn acceptor(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let (certificate, key) = self.issue(name, change);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key fits");
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn tls_is_verified_as_configured() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = ours.acceptor("boston.app.com", |_| ());
    let expired = ours.acceptor("boston.app.com", |params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let rows = [
        (&good, "boston.app.com", true, Some(ours.path()), "ok"),
        (&good, "boston.app.com", true, Some(theirs.path()), "certificate: its issuer is not trusted"),
        (&good, "geneva.app.com", true, Some(ours.path()), "certificate: certificate not valid for name"),
        (&expired, "boston.app.com", true, Some(ours.path()), "certificate: certificate expired"),
        (&expired, "geneva.app.com", false, None, "ok"),
        (&good, "not a name", true, None, "`not a name` is not a TLS server name"),
        (&good, "boston.app.com", true, Some("/nonexistent/ca.pem".into()), "trust anchors /nonexistent/ca.pem: "),
    ];
    for (acceptor, server_name, verify, ca, expect) in rows {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready".to_vec();
        let server = serve(vec![(0, response)], Duration::ZERO, Some(acceptor.clone())).await;
        let probe = http(server.at, |probe| {
            probe.tls = Some(ProbeTls { server_name: server_name.into(), verify, ca, identity: None });
        });
        let outcome = attempt(server.at, &probe).await;
        assert!(outcome.starts_with(expect), "{server_name}, verify {verify}: {outcome}, expected {expect}");
    }
}

/// A server that asks for certificates of an authority lets in who shows one, and the others' failure says why; by the rules of
/// TLS 1.2, too.
#[tokio::test]
async fn certificates_are_shown() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let rows = [
        (Some(&ours), "ok"),
        (None, "tls: the server wants a certificate, and none was shown"),
        (Some(&theirs), "tls: the server does not trust the certificate"),
    ];
    for (shown, expect) in rows {
        let files = shown.map(|authority| authority.identity("probe"));
        let identity = files.as_ref().map(|[chain, key]| Box::new((chain.path().to_owned(), key.path().to_owned())));
        for versions in [[&version::TLS13], [&version::TLS12]] {
            let roots = Arc::new(zerottl_host::trust::trust_anchors(&ours.path()).expect("a certificate"));
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let (certificate, key) = ours.issue("boston.app.com", |_| ());
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&versions)
                .expect("versions")
                .with_client_cert_verifier(verifier.expect("anchors"))
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
                )
                .expect("the key fits");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let server = serve(vec![(0, b"HTTP/1.1 200 OK\r\n\r\n".to_vec())], Duration::ZERO, Some(acceptor)).await;
            let probe = http(server.at, |probe| {
                let ca = Some(ours.path());
                probe.tls = Some(ProbeTls {
                    server_name: "boston.app.com".into(),
                    verify: true,
                    ca,
                    identity: identity.clone(),
                });
            });
            let outcome = attempt(server.at, &probe).await;
            assert!(outcome.starts_with(expect), "{versions:?}: {outcome}, expected {expect}");
        }
    }
}

/// Without `ca` it is the system that is asked, which has never heard of this authority (or has no anchors at all).
#[tokio::test]
async fn tls_trusts_no_stranger_by_default() {
    let acceptor = Authority::new("unknown").acceptor("boston.app.com", |_| ());
    let server = serve(vec![(0, b"HTTP/1.1 200 OK\r\n\r\n".to_vec())], Duration::ZERO, Some(acceptor)).await;
    let probe = http(server.at, |probe| {
        probe.tls = Some(ProbeTls { server_name: "boston.app.com".into(), verify: true, ca: None, identity: None });
    });
    let outcome = attempt(server.at, &probe).await;
    assert!(
        outcome == "certificate: its issuer is not trusted" || outcome.starts_with("the system has no trust anchors"),
        "{outcome}"
    );
}

#[tokio::test]
async fn tls_to_a_server_that_speaks_none_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let probe = http(at, |probe| {
        probe.tls = Some(ProbeTls { server_name: "boston.app.com".into(), verify: false, ca: None, identity: None });
    });
    let (outcome, ()) = tokio::join!(attempt(at, &probe), async {
        let (mut stream, _) = listener.accept().await.expect("the probe connects");
        stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.expect("the probe reads");
    });
    assert!(outcome.starts_with("tls: "), "{outcome}");
}

/// S4-2C, S4-3B-BACK over real sockets: a Site goes down after `fall` bad answers and comes back after `rise` good ones.
#[tokio::test]
async fn s4_2c_s4_3b_back_down_after_fall_and_up_after_rise() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let at = listener.local_addr().expect("bound");
    let status = Arc::new(AtomicU16::new(200));
    let answers = Arc::clone(&status);
    let site = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            request(&mut stream).await;
            let line = format!("HTTP/1.1 {} -\r\ncontent-length: 0\r\n\r\n", answers.load(Ordering::Relaxed));
            let _ = stream.write_all(line.as_bytes()).await;
        }
    });
    let model = Arc::new(fixture::model(&[("boston", &["127.0.0.1"], Some(fixture::http(at.port())))]));
    let cancel = CancellationToken::new();
    let mut probes =
        probe::start(&model, Reports::new(&model), &LoadStore::new(&model), cancel.clone()).expect("starts");
    let mut attempts_before = 0;
    for (now, expect, at_least) in
        [(200, Health::Up, 2), (503, Health::Down, 3), (200, Health::Up, 2), (0, Health::Down, 3)]
    {
        if now == 0 {
            site.abort();
        }
        status.store(now, Ordering::Relaxed);
        tokio::time::timeout(Duration::from_secs(20), probes.verdicts.changed()).await.expect("soon").expect("open");
        assert_eq!(probes.verdicts.borrow_and_update()[0][0], expect);
        let report = probes.reports.get(SiteId(0), 0);
        assert!(report.attempts - attempts_before >= at_least, "{report:?} after {attempts_before}");
        attempts_before = report.attempts;
        if now == 503 {
            assert_eq!(report.last_error.as_deref(), Some("status 503, expected 200"));
        }
    }
    cancel.cancel();
    probes.task.await.expect("the runner ends");
}
