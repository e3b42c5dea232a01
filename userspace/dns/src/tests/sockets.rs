//! Real sockets on loopback.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{BOTH, Bench, ask, show};
use crate::{DnsService, Sockets, TcpAdmission, tcp::TcpLimits};

/// Longer than anything here takes, so that a fault ends a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(20);
const BOSTON: &str = "NOERROR aa | app.com 0 A 192.0.2.10 |  | ";

struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<DnsService>,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    fn start(limits: TcpLimits) -> Self {
        let bench = Bench::new(BOTH);
        let shared = Arc::new(DnsService::new(bench.zones, bench.view));
        let listen = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        // The free UDP port that the kernel picks may be taken for TCP.
        let sockets = (0..20)
            .find_map(|_| Sockets::bind_with(&listen, Arc::new(TcpAdmission::new(limits)), false).ok())
            .expect("loopback has free ports");
        let (addresses, cancel) = (sockets.addresses().unwrap(), CancellationToken::new());
        let running = tokio::spawn(sockets.run(Arc::clone(&shared), cancel.clone()));
        Self { addresses, shared, cancel, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.running).await.expect("it stops").unwrap();
        assert_eq!(self.shared.counters.tcp_open.load(Relaxed), 0);
    }
}

fn framed(query: &[u8]) -> Vec<u8> {
    [&(query.len() as u16).to_be_bytes(), query].concat()
}

async fn read_answer(stream: &mut TcpStream) -> Vec<u8> {
    let reading = async {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, reading).await.expect("an answer comes")
}

async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn udp_answers_from_the_address_that_was_asked() {
    let server = Server::start(TcpLimits::default());
    for &address in &server.addresses {
        let any: SocketAddr = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
        let client = UdpSocket::bind(any).await.unwrap();
        let mut buffer = [0; 1500];
        // Neither a response nor a fragment of a header is answered; the next query is.
        for silent in [&[0x12, 0x34, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 3], &[]] {
            client.send_to(silent, address).await.unwrap();
        }
        let query = ask("app.com A");
        client.send_to(&query, address).await.unwrap();
        let (len, from) = timeout(PATIENCE, client.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!((show(&query, &buffer[..len]).as_str(), from), (BOSTON, address));
    }
    let counters = &server.shared.counters;
    assert_eq!((counters.udp_queries.load(Relaxed), counters.dropped.load(Relaxed)), (8, 6));
    assert_eq!(counters.answers().next(), Some(("NOERROR", 2)));
    server.stop().await;
}

#[tokio::test]
async fn a_truncated_udp_answer_is_whole_over_tcp() {
    let server = Server::start(TcpLimits::default());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let query = ask("huge.app.com TXT +opt");
    let mut buffer = [0; 1500];
    client.send_to(&query, server.addresses[0]).await.unwrap();
    let len = timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(show(&query, &buffer[..len]), "NOERROR aa tc |  |  |  | opt 1232");
    assert_eq!(server.shared.counters.truncated.load(Relaxed), 1);
    let mut stream = server.connect().await;
    stream.write_all(&framed(&query)).await.unwrap();
    let answer = show(&query, &read_answer(&mut stream).await);
    assert!(answer.starts_with("NOERROR aa | huge.app.com 300 TXT \"0123"), "{answer}");
    server.stop().await;
}

/// RFC 7828: what a client is told is what it gets.
#[tokio::test]
async fn keepalive_says_how_long_a_connection_may_be_idle() {
    let idle = Duration::from_millis(2_350);
    let server = Server::start(TcpLimits { idle, ..TcpLimits::default() });
    let mut stream = server.connect().await;
    let query = ask("app.com A +o=11:");
    stream.write_all(&framed(&query)).await.unwrap();
    assert_eq!(show(&query, &read_answer(&mut stream).await), format!("{BOSTON} | opt 1232 11:0017"));
    let begun = std::time::Instant::now();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap(), 0, "the server has closed");
    assert!(begun.elapsed() >= Duration::from_millis(2_200), "not before what it said: {:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn tcp_pipelines_and_answers_after_the_clients_end() {
    let server = Server::start(TcpLimits::default());
    let mut stream = server.connect().await;
    let query = ask("app.com A");
    let all: Vec<u8> = (0..1000_u16)
        .flat_map(|id| {
            let mut query = query.clone();
            query[..2].copy_from_slice(&id.to_be_bytes());
            framed(&query)
        })
        .collect();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(&all).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut answers = Vec::new();
    let read = async { reader.read_to_end(&mut answers).await.unwrap() };
    timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("all are answered, then closed");
    let len = usize::from(u16::from_be_bytes([answers[0], answers[1]])) + 2;
    let ids: Vec<u16> = answers.chunks(len).map(|answer| u16::from_be_bytes([answer[2], answer[3]])).collect();
    assert!(ids.iter().copied().eq(0..1000), "every answer, in order");
    assert_eq!(server.shared.counters.tcp_queries.load(Relaxed), 1000);
    server.stop().await;
}

#[tokio::test]
async fn tcp_queries_may_come_in_pieces_and_be_long() {
    let server = Server::start(TcpLimits::default());
    let mut stream = server.connect().await;
    let mut query = ask("app.com A");
    for &byte in &framed(&query) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(show(&query, &read_answer(&mut stream).await), BOSTON);
    query.resize(65_535, 0);
    stream.write_all(&framed(&query)).await.unwrap();
    assert_eq!(show(&query, &read_answer(&mut stream).await), BOSTON);
    server.stop().await;
}

#[tokio::test]
async fn tcp_without_a_query_is_closed() {
    let limits = TcpLimits { idle: Duration::from_secs(1), ..TcpLimits::default() };
    let server = Server::start(limits);
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    let mut no_client = server.connect().await;
    no_client.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    closed(&mut no_client).await;
    // A byte now and then does not help.
    let trickle = async {
        for byte in framed(&ask("app.com A")) {
            if slow.write_all(&[byte]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    };
    assert!(timeout(PATIENCE, trickle).await.unwrap(), "closed before the query was whole");
    closed(&mut silent).await;
    assert_eq!(server.shared.counters.tcp_timed_out.load(Relaxed), 2);
    server.stop().await;
}

/// A client that reads nothing is neither read from for ever nor kept.
#[tokio::test]
async fn tcp_that_takes_no_answers_is_closed() {
    let limits = TcpLimits { write: Duration::from_millis(300), ..TcpLimits::default() };
    let server = Server::start(limits);
    let mut stream = server.connect().await;
    let queries = framed(&ask("large.app.com TXT")).repeat(1000);
    let flood = async { while stream.write_all(&queries).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the server gives up");
    assert_eq!(server.shared.counters.tcp_timed_out.load(Relaxed), 1);
    server.stop().await;
}

/// No more connections than may be, in all and by one client; a newcomer gets the place of who has been silent for longest.
#[tokio::test]
async fn silent_tcp_connections_give_way_to_newcomers() {
    let limits = TcpLimits { connections: 3, connections_per_client: 2, idle: PATIENCE * 100, ..TcpLimits::default() };
    let server = Server::start(limits);
    let query = ask("app.com A");
    let answered = async |address: SocketAddr| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&framed(&query)).await.unwrap();
        assert_eq!(show(&query, &read_answer(&mut stream).await), BOSTON);
        stream
    };
    let [v4, v6] = [server.addresses[0], server.addresses[1]];
    let mut first = answered(v4).await;
    let mut second = answered(v4).await;
    let mut third = answered(v6).await;
    let counters = &server.shared.counters;
    assert_eq!((counters.tcp_open.load(Relaxed), counters.tcp_refused.load(Relaxed)), (3, 0));
    // Its client's own first one goes; then, since all places are taken, the one of the client that has two.
    let mut fourth = answered(v4).await;
    closed(&mut first).await;
    let _fifth = answered(v6).await;
    closed(&mut second).await;
    for stream in [&mut third, &mut fourth] {
        stream.write_all(&framed(&query)).await.unwrap();
        assert_eq!(show(&query, &read_answer(stream).await), BOSTON, "it has its place");
    }
    assert!(counters.tcp_open.load(Relaxed) <= 3 && counters.tcp_refused.load(Relaxed) == 0);
    server.stop().await;
}

/// More silent connections than there are places, of few bytes or none: whoever asks is answered, and within seconds the silent
/// ones are gone.
#[tokio::test]
async fn many_silent_tcp_connections_turn_nobody_away() {
    let limits = TcpLimits { connections: 40, connections_per_client: 40, ..TcpLimits::default() };
    let server = Server::start(limits);
    let query = ask("app.com A");
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(server.addresses[n % 2]).await.unwrap();
        // The first byte of a length.
        stream.write_all(&vec![0; n % 2]).await.unwrap();
        silent.push(stream);
        let mut honest = TcpStream::connect(server.addresses[(n + 1) % 2]).await.unwrap();
        honest.write_all(&framed(&query)).await.unwrap();
        assert_eq!(show(&query, &read_answer(&mut honest).await), BOSTON, "beside {n}");
    }
    assert_eq!(server.shared.counters.tcp_refused.load(Relaxed), 0);
    server.stop().await;
}

#[tokio::test]
async fn stopping_closes_connections_and_frees_the_address() {
    let server = Server::start(TcpLimits::default());
    let address = server.addresses[0];
    let mut stream = server.connect().await;
    stream.write_all(&framed(&ask("app.com A"))).await.unwrap();
    read_answer(&mut stream).await;
    server.stop().await;
    closed(&mut stream).await;
    Sockets::bind(&[address]).expect("free again, TIME_WAIT or not");
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let server = Server::start(TcpLimits::default());
    let address = server.addresses[0];
    let error = Sockets::bind(&[address]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address} (UDP): ")), "{error}");
    server.stop().await;
}
