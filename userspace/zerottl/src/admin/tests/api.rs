//! The admin interface against its own description, over each way it listens.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::state;
use crate::admin::{
    listen::Listener,
    openapi,
    server::{BODY_MAX, routes, serve},
    sources::Current,
};
use zerottl_core::model::{AdminListen, AdminToken};
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};
use zerottl_inputs::load::push::PUSH_MAX;

const TOKEN: &str = "correct-horse-battery";

struct Running {
    tcp: SocketAddr,
    unix: AdminListen,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// On loopback and on a Unix socket.
async fn start(token: Option<&str>) -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    let unix = AdminListen::Unix(folder.path().join("admin.sock"));
    let any = "127.0.0.1:0".parse().expect("an address");
    let tcp = Listener::bind(&AdminListen::Tcp(any)).await.expect("bound");
    let Listener::Tcp(listener) = &tcp else { panic!("{tcp:?}") };
    let at = listener.local_addr().expect("bound");
    let listeners = vec![tcp, Listener::bind(&unix).await.expect("bound")];
    let current = Arc::new(Current::from_pointee(state(token).0));
    let task = tokio::spawn(serve(listeners, current, CancellationToken::new()));
    Running { tcp: at, unix, task, _folder: folder }
}

fn document() -> Value {
    serde_json::to_value(openapi::document()).expect("plain data")
}

/// Nothing is served that is not described, and nothing described that is not served.
#[test]
fn routes_and_document_are_one_list() {
    let served: BTreeSet<(String, String)> =
        routes().into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys();
            methods.map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    assert_eq!(served, described);
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            let group = if method == "get" { "read" } else { "write" };
            assert_eq!(operation["tags"], json!([group]), "{method} {path}");
        }
    }
}

/// The schema of a page, with all that it refers to.
fn validator(schema: &Value) -> jsonschema::Validator {
    let mut whole = schema.clone();
    whole["components"] = document()["components"].clone();
    jsonschema::validator_for(&whole).expect("a schema")
}

/// Checks that what the server really answers is what its document says: status, content type, and the shape of JSON.
#[tokio::test]
async fn responses_are_as_described() {
    let server = start(None).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let document = document();
    let mut shapes = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        // The one has no end, the other needs a fleet.
        let has_end = !["/v1/trace", "/v1/fleet"].contains(&path.as_str());
        let Some(operation) = item.get("get").filter(|_| has_end) else { continue };
        let asked = match path.as_str() {
            "/v1/explain" => "/v1/explain?name=app.com",
            "/v1/sites/drained" => "/v1/sites/drained?sites=boston",
            path => path,
        };
        let body = client::get(server.tcp, asked).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let content = &operation["responses"]["200"]["content"];
        let Some(json) = content.get("application/json") else {
            assert!(!body.is_empty(), "{path}");
            continue;
        };
        let page: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}"));
        let Some(schema) = json.get("schema").filter(|schema| !schema.is_null()) else { continue };
        shapes += 1;
        let validator = validator(schema);
        let faults: Vec<String> = validator.iter_errors(&page).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(faults, Vec::<String>::new(), "{path}");
        // A page that has lost a field, or has one of another type, is told apart: the schema says something.
        for (key, value) in page.as_object().expect("an object") {
            if !value.is_null() {
                let mut wrong = page.clone();
                wrong[key] = json!({ "of": ["another", "type"] });
                let free = ["reasons"].contains(&key.as_str());
                assert!(free || !validator.is_valid(&wrong), "{path}: `{key}` may be anything");
            }
        }
    }
    assert!(shapes >= 3, "{shapes} pages have a schema");
    let refused = client::get(server.tcp, "/v1/explain?name=a..b").await;
    assert!(matches!(refused, Err(ClientError::Status(400, _))), "{refused:?}");
}

#[tokio::test]
async fn a_token_is_asked_over_tcp_and_not_over_the_socket() {
    let server = start(Some(TOKEN)).await;
    let with = |token: Option<&str>| AgentAddress {
        place: AdminListen::Tcp(server.tcp),
        token: token.map(|token| AdminToken::new(token).expect("a token")),
    };
    for (_, path, _) in routes().into_iter().filter(|(method, path, _)| *method == "get" && *path != "/") {
        for token in [None, Some("another-horse-battery")] {
            let refused = client::get(&with(token), path).await;
            assert!(
                matches!(&refused, Err(ClientError::Status(401, words)) if words.contains("token")),
                "{path}: {refused:?}"
            );
        }
    }
    client::get(&with(Some(TOKEN)), "/v1/status").await.expect("let in");
    let page = client::get(&with(None), "/").await.expect("the page is open");
    let page = String::from_utf8(page.into()).expect("text");
    assert!(page.contains("<!doctype html>") && !page.contains("boston"), "it holds no data");
    client::get(&AgentAddress { place: server.unix.clone(), token: None }, "/v1/status")
        .await
        .expect("the socket's mode decides");
    // Nobody without the token learns what paths there are.
    let refused = client::post(&with(None), "/v1/nothing", &json!({})).await;
    assert!(matches!(refused, Err(ClientError::Status(401, _))), "{refused:?}");
    let refused = client::post(&with(Some(TOKEN)), "/v1/nothing", &json!({})).await;
    assert!(matches!(refused, Err(ClientError::Status(404, _))), "{refused:?}");
}

/// The dashboard runs its own script and nothing else, and no other page can frame it or read the others.
#[tokio::test]
async fn responses_tell_browsers_what_not_to_do() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start(None).await;
    let head = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(server.tcp).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("text");
        response
    };
    let page = head("/").await;
    let policy = page.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).expect("a policy");
    let (_, nonce) = policy.split_once("script-src 'nonce-").expect("scripts by nonce");
    let nonce = &nonce[..32];
    assert!(nonce.bytes().all(|byte| byte.is_ascii_hexdigit()), "{nonce}");
    assert_eq!(page.matches(nonce).count(), 4, "in the policy for script and style, and at each of the two");
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert!(!head("/").await.contains(nonce), "a nonce is used once");
    let body = page.split_once("\r\n\r\n").expect("a body").1;
    for outside in ["src=", "http://", "https://", "@import", "url(", "innerHTML", "eval("] {
        let inside = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!inside.contains(outside), "the page has {outside}");
    }
    for path in ["/v1/status", "/metrics", "/nothing"] {
        let response = head(path).await;
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(response.contains(header), "{path}: {response}");
        }
    }
}

/// Whatever is not known is told, at every path, and nothing is done.
#[tokio::test]
async fn what_is_not_known_is_refused() {
    let server = start(None).await;
    for (method, path, _) in routes() {
        let refused = match method {
            "get" => client::get(server.tcp, &format!("{path}?colour=blue")).await,
            _ => client::post(server.tcp, &format!("{path}?colour=blue"), &json!({})).await,
        };
        assert!(matches!(refused, Err(ClientError::Status(400, _))), "{method} {path}: {refused:?}");
        assert!(document()["paths"][path][method]["responses"]["400"].is_object(), "{method} {path} does not say so");
    }
    for path in [
        "/v1/explain?name=app.com&clinet=192.0.2.1",
        "/v1/explain?name=app.com&name=b.app.com",
        "/v1/sites/drained?sites=a&session=3",
    ] {
        let refused = client::get(server.tcp, path).await;
        assert!(matches!(refused, Err(ClientError::Status(400, _))), "{path}: {refused:?}");
    }
    for (path, body, words) in [
        ("/v1/sites/weight", json!({ "sites": "boston" }), "weight"),
        ("/v1/sites/weight", json!({ "sites": "boston", "weight": "7" }), "weight"),
        ("/v1/sites/word", json!({ "sites": "boston" }), "word"),
        ("/v1/sites/word", json!({ "sites": "boston", "word": "drain", "forced": true }), "forced"),
        ("/v1/reload", json!({ "all": true }), "all"),
        ("/v1/health", json!({ "site": "boston" }), "state"),
        ("/v1/health", json!({ "site": "boston", "state": "unknown" }), "unknown"),
        ("/v1/health", json!({ "site": "boston", "state": "up", "for": 3 }), "for"),
        ("/v1/health", json!({ "site": "boston", "state": "up", "for_s": 0 }), "1s to 366 days"),
    ] {
        match client::post(server.tcp, path, &body).await {
            Err(ClientError::Status(400, said)) => {
                assert!(said.contains(words) && said.contains("\"error\":\"invalid\""), "{path} {body}: {said}");
            }
            other => panic!("{path} {body}: {other:?}"),
        }
    }
    let weight = &document()["components"]["schemas"]["SayWeight"];
    assert_eq!(weight["required"], json!(["sites", "weight"]), "{weight}");
}

/// As many reports as are documented, and no more; other bodies are small.
#[tokio::test]
async fn pushes_may_be_as_large_as_they_are_said_to_be() {
    let server = start(None).await;
    let report = json!({ "site": "a-site-of-some-length", "current": 123_456.75, "capacity": 1_000_000 });
    let taken = client::post(server.tcp, "/v1/load", &vec![&report; 10_000]).await;
    // There is no such Site, which is found out once all of it has been read.
    assert!(matches!(&taken, Err(ClientError::Status(400, why)) if why.contains("no Site")), "{taken:?}");
    let many = client::post(server.tcp, "/v1/load", &vec![&report; 10_001]).await;
    assert!(matches!(&many, Err(ClientError::Status(400, why)) if why.contains("10000")), "{many:?}");
    for (path, bytes) in [("/v1/load", PUSH_MAX), ("/v1/sites/word", BODY_MAX)] {
        let huge = client::post(server.tcp, path, &json!({ "site": "a".repeat(bytes) })).await;
        assert!(matches!(huge, Err(ClientError::Status(413, _) | ClientError::Http(_))), "{path}: {huge:?}");
    }
}

/// Checks who says a word: as told; else whoever the kernel says is at the other end.
#[tokio::test]
async fn words_bear_a_name() {
    let (mut state, _) = state(None);
    let (overrides, mut asked) = crate::control::overrides::OverrideHandle::new();
    state.overrides = overrides;
    let folder = tempfile::tempdir().expect("a folder");
    let unix = AdminListen::Unix(folder.path().join("admin.sock"));
    let listeners = vec![Listener::bind(&unix).await.expect("bound")];
    let task = tokio::spawn(serve(listeners, Arc::new(Current::from_pointee(state)), CancellationToken::new()));
    let heard = tokio::spawn(async move {
        let mut names = Vec::new();
        while let Some((request, answer)) = asked.recv().await {
            names.push(request.by);
            drop(answer.send(Err(zerottl_core::overrides::OverrideError::Stopping)));
            if names.len() == 2 {
                break;
            }
        }
        names
    });
    let at = AgentAddress { place: unix, token: None };
    for by in [Value::Null, json!("mallory")] {
        let _ = client::post(&at, "/v1/sites/word", &json!({ "sites": "boston", "word": "drain", "by": by })).await;
    }
    let uid = rustix::process::getuid().as_raw();
    let user = crate::admin::listen::user_name(uid).expect("whoever runs the tests has a name");
    let names = heard.await.expect("two words");
    assert_eq!(names, [format!("{user} (uid {uid})"), format!("mallory (uid {uid}, {user})")]);
    task.abort();
}

/// F-FILE: a statement of health is taken for a Site's addresses or one of them, and refused where there is none.
#[tokio::test]
async fn f_file_health_is_stated() {
    let server = start(None).await;
    let state = async |body: Value| client::post(server.tcp, "/v1/health", &body).await;
    let taken = state(json!({ "site": "boston", "state": "down", "for_s": 300, "by": "cron", "reason": "disk" })).await;
    let taken: Value = serde_json::from_slice(&taken.expect("taken")).expect("JSON");
    assert_eq!(taken, json!({ "site": "boston", "addresses": ["192.0.2.10", "2001:db8:1::10"] }));
    let taken = state(json!({ "site": "boston", "address": "192.0.2.10", "state": "up" })).await.expect("taken");
    let taken: Value = serde_json::from_slice(&taken).expect("JSON");
    assert_eq!(taken["addresses"], json!(["192.0.2.10"]));
    for (body, words) in [
        (json!({ "site": "bostn", "state": "up" }), "no Site `bostn`"),
        (json!({ "site": "boston", "address": "192.0.2.20", "state": "up" }), "it has 192.0.2.10, 2001:db8:1::10"),
    ] {
        let refused = state(body).await;
        assert!(matches!(&refused, Err(ClientError::Status(404, said)) if said.contains(words)), "{refused:?}");
    }
}
