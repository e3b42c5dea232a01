//! Forwarding over real sockets: an upstream that is honest, and ones that lie.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use domain::{
    base::{Message, MessageBuilder, Rtype, Serial, Ttl, iana::Rcode, name::ToName},
    rdata::{A, Cname, Ns, Soa, Txt},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{BOTH, Bench, ask, name, show};
use crate::{DnsService, Sockets, forward::concurrent, zone::Data};
use zerottl_core::model::Forward;

/// Longer than anything here takes, so that a fault ends a test instead of hanging it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const TRUTH: &str = "NOERROR ra | host.corp.example 60 A 192.0.2.1 |  | ";

/// A message that an upstream sends, and from where.
pub(super) enum Sent {
    Here(Vec<u8>),
    Elsewhere(Vec<u8>),
}
pub(super) use Sent::{Elsewhere, Here};

pub(super) type Behaviour = fn(&[u8]) -> Vec<Sent>;

/// An upstream, and of each query over UDP its ID and source port. Over TCP it sends the first of what it has to send.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<(u16, u16)>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Stub {
    pub(super) async fn start(udp: Behaviour, tcp: Behaviour) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let address = socket.local_addr().unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let over_udp = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                log.lock().unwrap().push((u16::from_be_bytes([buffer[0], buffer[1]]), from.port()));
                for sent in udp(&buffer[..len]) {
                    match sent {
                        Here(message) => socket.send_to(&message, from).await.unwrap(),
                        Elsewhere(message) => other.send_to(&message, from).await.unwrap(),
                    };
                }
            }
        });
        let over_tcp = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(Here(message) | Elsewhere(message)) = tcp(&query).first() {
                    stream.write_all(&[&(message.len() as u16).to_be_bytes(), &message[..]].concat()).await.unwrap();
                }
            }
        });
        Self { address, asked, tasks: [over_udp, over_tcp] }
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A server with the forward names `corp.example` and, in its zone, `in.app.com`.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(stubs: &[&Stub], limit: Duration, clients: &str) -> Self {
        let upstreams: Vec<_> = stubs.iter().map(|stub| stub.address).collect();
        let forwards = ["corp.example.", "in.app.com."].map(|forward| Forward {
            name: name(forward),
            upstreams: upstreams.clone(),
            timeout: limit,
            attempts: 2,
            clients: vec![clients.parse().unwrap()],
        });
        Self::with(forwards.to_vec())
    }

    pub(super) fn with(forwards: Vec<Forward>) -> Self {
        let bench = Bench::with(BOTH, |model, _| model.forwards = forwards);
        let shared = Arc::new(DnsService::new(bench.zones, bench.view));
        let sockets = (0..20).find_map(|_| Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).ok()).expect("a free port");
        let (address, cancel) = (sockets.addresses().unwrap()[0], CancellationToken::new());
        let running = tokio::spawn(sockets.run(shared, cancel.clone()));
        Self { address, cancel, running }
    }

    pub(super) async fn udp(&self, question: &str) -> String {
        let mut query = ask(question);
        // As long as invariant 8 wants it for any answer here.
        query.resize(600, 0);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query, self.address).await.unwrap();
        let mut buffer = [0; 1500];
        let len = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer comes").unwrap();
        show(&query, &buffer[..len])
    }

    pub(super) async fn tcp(&self, question: &str) -> String {
        let query = ask(question);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).await.unwrap();
        let reading = async {
            let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        };
        show(&query, &timeout(PATIENCE, reading).await.expect("an answer comes"))
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.running).await.expect("it stops").unwrap();
    }
}

pub(super) type Records = Vec<(&'static str, Data)>;

pub(super) fn a(last: u8) -> Data {
    A::from_octets(192, 0, 2, last).into()
}

/// The query's answer, its question echoed as it came.
pub(super) fn answer(query: &[u8], rcode: Rcode, sections: [Records; 3]) -> Vec<u8> {
    let query = Message::from_slice(query).unwrap();
    let mut builder = MessageBuilder::new_vec().start_answer(query, rcode).unwrap();
    let [first, second, third] =
        sections.map(|records| records.into_iter().map(|(owner, data)| (name(owner), 60, data)));
    first.for_each(|record| builder.push(record).unwrap());
    let mut builder = builder.authority();
    second.for_each(|record| builder.push(record).unwrap());
    let mut builder = builder.additional();
    third.for_each(|record| builder.push(record).unwrap());
    builder.finish()
}

pub(super) fn truth(query: &[u8]) -> Vec<u8> {
    answer(query, Rcode::NOERROR, [vec![("host.corp.example.", a(1))], vec![], vec![]])
}

/// Returns what a liar would have us believe.
fn lie(query: &[u8]) -> Vec<u8> {
    answer(query, Rcode::NOERROR, [vec![("host.corp.example.", a(66))], vec![], vec![]])
}

pub(super) fn honest(query: &[u8]) -> Vec<Sent> {
    vec![Here(truth(query))]
}

pub(super) fn silent(_: &[u8]) -> Vec<Sent> {
    vec![]
}

fn changed(query: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut message = lie(query);
    message[at] ^= bits;
    message
}

fn wrong_id(query: &[u8]) -> Vec<Sent> {
    vec![Here(changed(query, 1, 1))]
}

fn wrong_name(query: &[u8]) -> Vec<Sent> {
    // "host" becomes "iost".
    vec![Here(changed(query, 13, 1))]
}

fn wrong_type(query: &[u8]) -> Vec<Sent> {
    vec![Here(changed(query, 12 + "host.corp.example.".len() + 1 + 1, 2))]
}

fn wrong_source(query: &[u8]) -> Vec<Sent> {
    vec![Elsewhere(lie(query))]
}

fn no_response(query: &[u8]) -> Vec<Sent> {
    vec![Here(changed(query, 2, 0x80))]
}

fn two_questions(query: &[u8]) -> Vec<Sent> {
    vec![Here(changed(query, 5, 3))]
}

fn cut_short(query: &[u8]) -> Vec<Sent> {
    vec![Here(lie(query)[..20].to_vec()), Here(vec![1, 2, 3]), Here(vec![])]
}

fn refusing(query: &[u8]) -> Vec<Sent> {
    vec![Here(answer(query, Rcode::REFUSED, [vec![], vec![], vec![]]))]
}

fn malformed(query: &[u8]) -> Vec<Sent> {
    let mut message = lie(query);
    message.truncate(message.len() - 1);
    vec![Here(message)]
}

/// S4-3A-330R, S4-3B-375: a client's query is answered by what an upstream says, with RA and without AA.
#[tokio::test]
async fn a_query_is_forwarded_and_answered() {
    let stub = Stub::start(honest, silent).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    assert_eq!(server.tcp("host.corp.example A +rd").await, TRUTH);
    // Our own EDNS, and the client's spelling.
    let shown = server.udp("host.corp.example A +rd +do").await;
    assert_eq!(shown, format!("{TRUTH} | opt 1232 do"));
    assert_eq!(stub.count(), 3);
    server.stop().await;
}

/// S4-3A-330R: within a zone as well, with the zone's own names as they were; an alias into a forward name is not followed.
#[tokio::test]
async fn a_forward_name_in_a_zone() {
    let stub = Stub::start(|query| vec![Here(answer(query, Rcode::NXDOMAIN, [vec![], vec![], vec![]]))], silent).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    assert_eq!(server.udp("deep.in.app.com A +rd").await, "NXDOMAIN ra |  |  | ");
    assert_eq!(server.udp("in.app.com A +rd").await, "NXDOMAIN ra |  |  | ");
    assert_eq!(server.udp("xin.app.com A +rd").await.split(' ').next(), Some("NXDOMAIN"));
    assert_eq!(server.udp("mail.app.com A +rd").await, "NOERROR aa | mail.app.com 300 A 192.0.2.25 |  | ");
    assert_eq!(stub.count(), 2);
    server.stop().await;
}

/// S4-3A-330R: nobody else's relay. None of these reaches the upstream.
#[tokio::test]
async fn only_what_may_be_forwarded_is() {
    let stub = Stub::start(honest, honest).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    for question in
        ["host.corp.example A", "in.app.com A", "host.corp.example A +rd class=3", "host.corp.example TYPE250 +rd"]
    {
        assert_eq!(server.udp(question).await, "REFUSED |  |  | ", "{question}");
    }
    assert_eq!(server.tcp("host.corp.example AXFR +rd").await, "REFUSED |  |  | ");
    assert_eq!(server.udp("xcorp.example A +rd").await, "REFUSED |  |  | ");
    server.stop().await;
    let server = Server::start(&[&stub], PATIENCE, "10.0.0.0/8");
    assert_eq!(server.udp("host.corp.example A +rd").await, "REFUSED |  |  | ");
    server.stop().await;
    assert_eq!(stub.count(), 0);
}

/// RFC 5452: none of these is believed, nor keeps the true answer behind it from being; where there is none, the next
/// upstream is asked.
#[tokio::test]
async fn lies_are_not_believed() {
    let lies: [(&str, Behaviour, Behaviour); 7] = [
        ("ID", wrong_id, |query| [wrong_id(query), honest(query)].into_iter().flatten().collect()),
        ("name", wrong_name, |query| [wrong_name(query), honest(query)].into_iter().flatten().collect()),
        ("type", wrong_type, |query| [wrong_type(query), honest(query)].into_iter().flatten().collect()),
        ("source", wrong_source, |query| [wrong_source(query), honest(query)].into_iter().flatten().collect()),
        ("QR", no_response, |query| [no_response(query), honest(query)].into_iter().flatten().collect()),
        ("QDCOUNT", two_questions, |query| [two_questions(query), honest(query)].into_iter().flatten().collect()),
        ("length", cut_short, |query| [cut_short(query), honest(query)].into_iter().flatten().collect()),
    ];
    let good = Stub::start(honest, silent).await;
    for (what, alone, before_the_truth) in lies {
        let stub = Stub::start(before_the_truth, silent).await;
        let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH, "{what}");
        assert_eq!(stub.count(), 1, "{what}: the lie is waited past");
        server.stop().await;

        let (stub, before) = (Stub::start(alone, silent).await, good.count());
        let server = Server::start(&[&stub, &good], Duration::from_millis(100), "127.0.0.0/8");
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH, "{what}");
        assert_eq!((stub.count(), good.count() - before), (1, 1), "{what}: one try each");
        server.stop().await;
    }
}

/// RFC 5452: whoever floods us with guesses ends the try, and the next one has another ID and port.
#[tokio::test]
async fn guesses_end_the_try() {
    let flood: Behaviour = |query| (0..200_u8).map(|i| Here(changed(query, 0, i | 1))).collect();
    let (stub, good) = (Stub::start(flood, silent).await, Stub::start(honest, silent).await);
    let server = Server::start(&[&stub, &good], PATIENCE, "127.0.0.0/8");
    assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    server.stop().await;
}

/// Silence, a refusal and a broken answer are all the same: the next, round and round, and SERVFAIL at the end.
#[tokio::test]
async fn upstreams_are_asked_in_turn() {
    let limit = Duration::from_millis(100);
    for useless in [silent, refusing, malformed] {
        let (bad, good) = (Stub::start(useless, silent).await, Stub::start(honest, silent).await);
        let server = Server::start(&[&bad, &good], limit, "127.0.0.0/8");
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
        assert_eq!((bad.count(), good.count()), (1, 1));
        server.stop().await;
        let server = Server::start(&[&bad], limit, "127.0.0.0/8");
        assert_eq!(server.udp("host.corp.example A +rd").await, "SERVFAIL ra |  |  | ");
        assert_eq!(bad.count(), 3, "`attempts` times");
        server.stop().await;
    }
}

/// Only what belongs to the question is passed on.
#[tokio::test]
async fn what_is_out_of_bailiwick_is_dropped() {
    let poison: Behaviour = |query| {
        let ns = |target: &str| Data::Ns(Ns::new(name(target)));
        let soa = Soa::new(name("m."), name("r."), Serial(1), Ttl::ZERO, Ttl::ZERO, Ttl::ZERO, Ttl::ZERO);
        vec![Here(answer(
            query,
            Rcode::NOERROR,
            [
                vec![
                    ("www.bank.example.", a(66)),
                    ("real.corp.example.", a(1)),
                    ("host.corp.example.", Data::Cname(Cname::new(name("real.corp.example.")))),
                    ("host.corp.example.", Data::Txt(Txt::<Bytes>::build_from_slice(b"not asked for").unwrap())),
                ],
                vec![
                    ("corp.example.", ns("ns.corp.example.")),
                    ("bank.example.", ns("ns.evil.example.")),
                    ("example.", Data::Soa(soa)),
                    ("corp.example.", a(66)),
                ],
                vec![("ns.corp.example.", a(66)), ("www.bank.example.", a(66))],
            ],
        ))]
    };
    let stub = Stub::start(poison, silent).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    assert_eq!(
        server.udp("host.corp.example A +rd +opt").await,
        "NOERROR ra | host.corp.example 60 CNAME real.corp.example., real.corp.example 60 A 192.0.2.1 \
         | corp.example 60 NS ns.corp.example., example 60 SOA m. r. 1 0 0 0 0 |  | opt 1232"
    );
    server.stop().await;
}

/// A client over UDP gets TC, one over TCP the whole.
#[tokio::test]
async fn truncated_answers_are_fetched_over_tcp_where_they_fit() {
    let truncated: Behaviour = |query| vec![Here(changed(query, 2, 2))];
    let stub = Stub::start(truncated, honest).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    assert_eq!(server.udp("host.corp.example A +rd").await, "NOERROR tc ra |  |  | ");
    assert_eq!(server.tcp("host.corp.example A +rd").await, TRUTH);
    server.stop().await;
    // Over TCP as well it must be the answer.
    for lying in [wrong_id, wrong_name, truncated] {
        let stub = Stub::start(truncated, lying).await;
        let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
        assert_eq!(server.tcp("host.corp.example A +rd").await, "SERVFAIL ra |  |  | ");
        server.stop().await;
    }
}

/// RFC 5452 section 9.2: over 1,000 queries, IDs and ports are spread as random ones are, and do not follow each other.
#[tokio::test]
async fn ids_and_ports_cannot_be_guessed() {
    const QUERIES: usize = 1_000;
    let stub = Stub::start(honest, silent).await;
    let server = Server::start(&[&stub], PATIENCE, "127.0.0.0/8");
    for _ in 0..QUERIES {
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    }
    let asked = stub.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), QUERIES);
    for (what, values) in [
        ("IDs", asked.iter().map(|asked| asked.0).collect::<Vec<_>>()),
        ("ports", asked.iter().map(|asked| asked.1).collect()),
    ] {
        // Of 1,000 in 64,512, 8 are expected twice; 40 never happen.
        let distinct = values.iter().collect::<HashSet<_>>().len();
        assert!(distinct > QUERIES - 40, "{distinct} {what} are distinct");
        // The upper half in half of all cases, within 7 standard deviations of 16.
        let high = values.iter().filter(|value| **value >= 33_280).count();
        assert!((385..=615).contains(&high), "{high} {what} are in the upper half");
        let near = values.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
        assert!(near < 20, "{near} {what} are near the one before");
    }
    server.stop().await;
}

/// Over the limit there is SERVFAIL at once; what needs no upstream is answered all the while.
#[tokio::test]
async fn waiting_queries_are_limited_and_hinder_nobody() {
    let stub = Stub::start(silent, silent).await;
    let server = Server::start(&[&stub], Duration::from_secs(10), "127.0.0.0/8");
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let query = ask("host.corp.example A +rd");
    // A name gets half of the free places.
    let most = concurrent() / 2;
    for sent in 0..most {
        client.send_to(&query, server.address).await.unwrap();
        // Each has arrived before the next is sent, so that no buffer has to hold them all.
        timeout(PATIENCE, async {
            while stub.count() <= sent {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    assert_eq!(server.udp("app.com A").await, "NOERROR aa | app.com 0 A 192.0.2.10 |  | ");
    assert_eq!(server.udp("host.corp.example A +rd").await, "SERVFAIL ra |  |  | ");
    assert_eq!(server.tcp("host.corp.example A +rd").await, "SERVFAIL ra |  |  | ");
    assert_eq!(stub.count(), most);
    // Those that wait do not hold up the end.
    server.stop().await;
}

/// An upstream is asked with RD, the client's spelling, and EDNS of our own without options.
#[tokio::test]
async fn upstreams_see_nothing_of_the_client() {
    let check: Behaviour = |query| {
        let message = Message::from_slice(query).unwrap();
        let opt = message.opt().unwrap();
        let question = message.sole_question().unwrap();
        let good = message.header().rd()
            && opt.udp_payload_size() == 1232
            && !opt.dnssec_ok()
            && opt.opt().is_empty()
            && question.qtype() == Rtype::A
            && question.qname().to_name::<Vec<u8>>().as_slice() == name("HosT.corp.EXAMPLE.").as_slice();
        if good { honest(query) } else { vec![] }
    };
    let stub = Stub::start(check, silent).await;
    let server = Server::start(&[&stub], Duration::from_millis(100), "127.0.0.0/8");
    let shown = server.udp("HosT.corp.EXAMPLE A +rd +do +o=10:0102030405060708 +o=8:00011800c63364").await;
    assert!(shown.starts_with("NOERROR ra | HosT.corp.EXAMPLE 60 A 192.0.2.1 |  |  | opt 1232 do 10:"), "{shown}");
    server.stop().await;
}
