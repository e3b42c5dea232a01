//! Peers found out with real servers on loopback.

use std::{net::SocketAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::sleep,
};

use super::*;
use zerottl_core::fixture;
use zerottl_core::model::{AdminToken, Name, Policy, Pool, PoolId};

const BOSTON: SiteId = SiteId(1);

/// A server that gives everybody one answer, and ends with the test.
struct Server {
    at: SocketAddr,
    answer: Arc<Mutex<String>>,
    /// Heads of requests.
    asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new(status: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let at = listener.local_addr().expect("bound");
        let answer = Arc::new(Mutex::new(response(status, body)));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (says, hears) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let says = says.lock().expect("whole").clone();
                if let Some(head) = answered(stream, &says).await {
                    hears.lock().expect("whole").push(head);
                }
            }
        });
        Self { at, answer, asked, task: task.abort_handle() }
    }

    fn says(&self, status: &str, body: &str) {
        *self.answer.lock().expect("whole") = response(status, body);
    }
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// The request's head, after the answer; an empty one is never given.
async fn answered(mut stream: TcpStream, answer: &str) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        head.push(stream.read_u8().await.ok()?);
    }
    if answer.starts_with("HTTP/1.1 000") {
        sleep(Duration::from_secs(30)).await;
    }
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    String::from_utf8(head).ok()
}

/// Geneva, Boston and Chicago in this order, probed at these ports, and a Site of another pool.
fn model(ports: [u16; 3]) -> Arc<Model> {
    let probe = |port| Some(fixture::http(port));
    let addresses: &[&str] = &["127.0.0.1"];
    let [geneva, boston, chicago] = ports;
    let mut model = fixture::model(&[
        ("geneva", addresses, probe(geneva)),
        ("boston", addresses, probe(boston)),
        ("chicago", addresses, probe(chicago)),
        ("elsewhere", addresses, probe(geneva)),
    ]);
    model.pools[0].sites = [0, 1, 2].map(SiteId).into_iter().collect();
    let name: Name = fixture::name("other.example");
    let mut other = Pool { name, sites: vec![SiteId(3)].into(), ..model.pools[0].clone() };
    other.policy = Policy::Sticky;
    model.pools.push(other);
    model.sites[3].pool = PoolId(1);
    Arc::new(model)
}

fn web(peers: Peers) -> Web {
    Web { peers, ..Web::at([]) }
}

fn by_agent(at: SocketAddr) -> Peers {
    Peers::Agent { at, interval: Duration::from_millis(30) }
}

/// Waits until exactly these count as up.
async fn becomes(peers: &PeerHealth, expect: [bool; 3], why: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while *peers.up() != expect {
        assert!(Instant::now() < until, "{why}: {:?} and not {expect:?}", peers.up());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn c14_c15_by_probes_of_the_others() {
    let (geneva, chicago) = (Server::new("200 OK", "").await, Server::new("503 Busy", "").await);
    let cancel = CancellationToken::new();
    // Nobody listens at the own port, and nobody asks.
    let model = model([geneva.at.port(), 1, chicago.at.port()]);
    let peers = PeerHealth::start(&model, BOSTON, &web(Peers::Probe), cancel.clone()).expect("started");
    assert_eq!(*peers.up(), [true; 3], "unknown is up");
    becomes(&peers, [true, true, false], "Chicago answers 503").await;
    chicago.says("200 OK", "");
    becomes(&peers, [true; 3], "Chicago has recovered").await;
    geneva.says("404 Not Found", "");
    becomes(&peers, [false, true, true], "Geneva answers 404").await;
    let hosts = geneva.asked.lock().expect("whole").join("");
    assert!(hosts.contains("GET /health"));
    cancel.cancel();
}

#[tokio::test]
async fn only_the_pools_other_sites_are_probed() {
    let (own, other) = (Server::new("200 OK", "").await, Server::new("503 Busy", "").await);
    let cancel = CancellationToken::new();
    let elsewhere = Server::new("200 OK", "").await;
    let mut model = Arc::unwrap_or_clone(model([other.at.port(), own.at.port(), other.at.port()]));
    model.sites[3].probes = vec![fixture::http(elsewhere.at.port())];
    let peers = PeerHealth::start(&Arc::new(model), BOSTON, &web(Peers::Probe), cancel.clone()).expect("started");
    becomes(&peers, [false, true, false], "the others are down").await;
    assert!(own.asked.lock().expect("whole").is_empty() && elsewhere.asked.lock().expect("whole").is_empty());
    cancel.cancel();
}

/// A page as the agent makes it, with what is not looked at.
fn page(states: [&str; 3]) -> String {
    let site =
        |(name, state): (&str, &str)| format!("{{\"key\":\"x\",\"name\":\"{name}.app.com\",\"weight\":1,{state}}}");
    let sites: Vec<_> = ["geneva", "boston", "chicago"].into_iter().zip(states).map(site).collect();
    format!("{{\"version\":\"1\",\"sites\":[{}],\"names\":[]}}", sites.join(","))
}

#[tokio::test]
async fn c15_by_the_agent_s_word() {
    let up = "\"up\":true,\"eligible\":true";
    let agent = Server::new("200 OK", &page([up, "\"up\":false", "\"up\":true,\"eligible\":false"])).await;
    let cancel = CancellationToken::new();
    let mut model = Arc::unwrap_or_clone(model([1; 3]));
    model.admin.token = Some(AdminToken::new("correct-horse-battery").expect("a token"));
    let by = by_agent(agent.at);
    let peers = PeerHealth::start(&Arc::new(model), BOSTON, &web(by), cancel.clone()).expect("started");
    becomes(&peers, [true, true, false], "Chicago is drained; this Site is up whatever the agent says").await;
    let asked = agent.asked.lock().expect("whole").first().expect("a request").to_ascii_lowercase();
    assert!(asked.starts_with("get /v1/status http/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: bearer correct-horse-battery"), "{asked}");
    agent.says("200 OK", &page(["\"up\":false", "\"up\":true", "\"up\":true"]));
    becomes(&peers, [false, true, true], "an agent that does not say who is eligible").await;
    agent.says("200 OK", "{\"sites\":[]}");
    becomes(&peers, [true; 3], "Sites that the agent does not know").await;
    cancel.cancel();
}

/// Without news for ten intervals nothing counts any more.
#[tokio::test]
async fn c15_what_is_stale_is_up() {
    let down = page(["\"up\":false", "\"up\":true", "\"up\":true"]);
    for (status, body) in [("500 Fault", ""), ("200 OK", "no JSON"), ("200 OK", "{\"sites\":3}"), ("000", "")] {
        let agent = Server::new("200 OK", &down).await;
        let cancel = CancellationToken::new();
        let by = by_agent(agent.at);
        let peers = PeerHealth::start(&model([1; 3]), BOSTON, &web(by), cancel.clone()).expect("started");
        becomes(&peers, [false, true, true], "Geneva is down").await;
        agent.says(status, body);
        becomes(&peers, [true; 3], status).await;
        cancel.cancel();
    }
    let agent = Server::new("200 OK", &down).await;
    let cancel = CancellationToken::new();
    let by = by_agent(agent.at);
    let peers = PeerHealth::start(&model([1; 3]), BOSTON, &web(by), cancel.clone()).expect("started");
    becomes(&peers, [false, true, true], "Geneva is down").await;
    let heard = agent.asked.lock().expect("whole").len();
    drop(agent);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(*peers.up(), [false, true, true], "not yet stale, after {heard} answers");
    becomes(&peers, [true; 3], "the agent is gone").await;
    cancel.cancel();
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_to_be_known() {
    let server = Server::new("503 Busy", "").await;
    let model = model([server.at.port(); 3]);
    let peers = PeerHealth::start(&model, BOSTON, &web(Peers::None), CancellationToken::new()).expect("started");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(*peers.up(), [true; 3]);
    assert!(server.asked.lock().expect("whole").is_empty());
    assert_eq!(*PeerHealth::fixed([true, false].into()).up(), [true, false]);
}
