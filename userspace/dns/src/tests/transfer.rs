//! AXFR and IXFR over a real connection.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use domain::{
    base::{Message, MessageBuilder, Rtype, Serial, Ttl},
    rdata::{AllRecordData, Soa},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{BOTH, Bench, ask, model, name, show};
use crate::{DnsService, Sockets, TcpAdmission, Zones, tcp::TcpLimits, view::View};
use zerottl_core::{
    model::{Model, ZoneConfig},
    plan::Plan,
};

const PATIENCE: Duration = Duration::from_secs(20);
const SOA: &str = "static.example 5 SOA ns1.static.example. hostmaster.static.example. 7 3600 600 86400 5";
const RECORDS: &str = r"
$TTL 300
www     A     192.0.2.1
deep.er TXT   below
*.wild  A     192.0.2.2
sub     NS    ns.sub
ns.sub  A     192.0.2.3
";

/// The model's zone without its dynamic names, as `static.example`, beside the one that has them.
fn add_static(model: &mut Model, transfer_to: &[&str]) {
    let transfer_to = transfer_to.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>();
    model.zones[0].transfer_to.clone_from(&transfer_to);
    model.zones.push(ZoneConfig {
        apex: name("static.example."),
        nameservers: vec![name("ns1.static.example.")],
        rname: name("hostmaster.static.example."),
        records: Some("static.zone".into()),
        balance_nameservers: vec![],
        failover_nameservers: vec![],
        transfer_to,
        ..model.zones[0].clone()
    });
}

struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    fn start(records: &str, transfer_to: &[&str], limits: TcpLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("static.zone"), records).unwrap();
        let mut model = model(BOTH, None::<&Path>);
        model.zones[0].failover_nameservers.clear();
        add_static(&mut model, transfer_to);
        let model = Arc::new(model);
        let zones = Zones::load(&model, dir.path()).unwrap_or_else(|error| panic!("{error}"));
        let plan: Plan = Bench::new(BOTH).view.plan().as_ref().clone();
        let shared = Arc::new(DnsService::new(zones, Arc::new(View::new(model, plan))));
        let listen = ["127.0.0.1:0".parse().unwrap()];
        let sockets = (0..20)
            .find_map(|_| Sockets::bind_with(&listen, Arc::new(TcpAdmission::new(limits)), false).ok())
            .expect("a free port");
        let (address, cancel) = (sockets.addresses().unwrap()[0], CancellationToken::new());
        let running = tokio::spawn(sockets.run(shared, cancel.clone()));
        Self { address, cancel, running }
    }

    /// All messages that come, with the end of what was asked.
    async fn ask(&self, query: &[u8]) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it ends").unwrap();
        let mut messages = Vec::new();
        let mut rest = &all[..];
        while let Some((len, behind)) = rest.split_first_chunk::<2>() {
            let (message, behind) = behind.split_at(u16::from_be_bytes(*len).into());
            messages.push(message.to_vec());
            rest = behind;
        }
        messages
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.running).await.expect("it stops").unwrap();
    }
}

/// The records of all messages' answer sections, in their order, and no others.
fn records(messages: &[Vec<u8>]) -> Vec<String> {
    let mut all = Vec::new();
    for message in messages {
        let message = Message::from_slice(message).unwrap();
        let header = message.header();
        assert!(header.aa() && header.qr() && !header.tc() && header.id() == 0x1234);
        assert_eq!((message.header_counts().qdcount(), message.header_counts().nscount()), (1, 0));
        for record in message.answer().unwrap().limit_to::<AllRecordData<_, _>>() {
            let record = record.unwrap();
            let (owner, data) = (record.owner().to_string(), record.data().to_string());
            // Names may be compressed against the question, whose spelling is the client's.
            let line = format!("{owner} {} {} {data}", record.ttl().as_secs(), record.rtype());
            all.push(line.replace("EXAMPLE", "example").replace("Static", "static"));
        }
    }
    all
}

fn ixfr(serial: u32) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    let mut builder = builder.question();
    builder.push((name("Static.example."), Rtype::IXFR)).unwrap();
    let mut builder = builder.authority();
    let zero = Ttl::ZERO;
    let soa = Soa::new(name("m."), name("r."), Serial(serial), zero, zero, zero, zero);
    builder.push((name("static.example."), 0, soa)).unwrap();
    builder.finish()
}

/// RFC 5936: the whole zone, SOA first and last; glue and wildcards are sent, empty non-terminals are not.
#[tokio::test]
async fn a_static_zone_is_sent_whole() {
    let server = Server::start(RECORDS, &["127.0.0.0/8"], TcpLimits::default());
    let mut expected = vec![
        "*.wild.static.example 300 A 192.0.2.2",
        "deep.er.static.example 300 TXT below",
        "ns.sub.static.example 300 A 192.0.2.3",
        "ns1.static.example 3600 A 203.0.113.53",
        "ns1.static.example 3600 AAAA 2001:db8::53",
        "static.example 3600 NS ns1.static.example.",
        "sub.static.example 300 NS ns.sub.static.example.",
        "www.static.example 300 A 192.0.2.1",
    ];
    // An IXFR with an older serial gets the same (RFC 1995 section 4), over the wrap of serials as well.
    for query in [ask("static.EXAMPLE AXFR"), ask("static.example AXFR +opt"), ixfr(6), ixfr(u32::MAX)] {
        let mut records = records(&server.ask(&query).await);
        assert_eq!(records.remove(0), SOA);
        assert_eq!(records.pop().unwrap(), SOA);
        records.sort_unstable();
        expected.sort_unstable();
        assert_eq!(records.iter().map(|record| record.replace('"', "")).collect::<Vec<_>>(), expected);
    }
    server.stop().await;
}

/// RFC 1995 section 2: who has it gets the SOA alone.
#[tokio::test]
async fn a_zone_that_is_current_is_its_soa_alone() {
    let server = Server::start(RECORDS, &["127.0.0.0/8"], TcpLimits::default());
    for serial in [7, 8] {
        assert_eq!(records(&server.ask(&ixfr(serial)).await), [SOA], "{serial}");
    }
    let query = ask("static.example IXFR");
    let messages = server.ask(&query).await;
    assert_eq!(show(&query, &messages[0]), "FORMERR |  |  | ", "no SOA of the client's");
    server.stop().await;
}

/// Nobody else, no other name, and no zone that has a plan; over UDP not at all.
#[tokio::test]
async fn all_else_is_refused() {
    for (transfer_to, questions) in [
        (&["127.0.0.0/8"][..], &["app.com AXFR", "app.com IXFR", "www.static.example AXFR", "example AXFR"][..]),
        (&[], &["static.example AXFR", "static.example IXFR"]),
        (&["10.0.0.0/8", "::/0"], &["static.example AXFR", "static.example IXFR"]),
    ] {
        let server = Server::start(RECORDS, transfer_to, TcpLimits::default());
        for question in questions {
            let query = ask(question);
            let messages = server.ask(&query).await;
            assert_eq!(messages.len(), 1);
            assert_eq!(show(&query, &messages[0]), "REFUSED |  |  | ", "{question} for {transfer_to:?}");
        }
        server.stop().await;
    }
    let bench = Bench::with(BOTH, |model, _| model.zones[0].transfer_to = vec!["0.0.0.0/0".parse().unwrap()]);
    bench.check("no transfer over UDP", "app.com AXFR", "NOTIMP |  |  | ");
}

/// A large zone comes in messages of bounded size, every record once, and who does not take them is left.
#[tokio::test]
async fn a_large_zone_is_streamed() {
    const NAMES: usize = 20_000;
    let text = format!("x{}", "y".repeat(99));
    let large = (0..NAMES).map(|i| format!("n{i} 300 TXT {text}")).collect::<Vec<_>>().join("\n");
    let large = format!("{large}\n");
    let limits = TcpLimits { write: Duration::from_millis(500), ..TcpLimits::default() };
    let server = Server::start(&large, &["127.0.0.0/8"], limits);
    let messages = server.ask(&ask("static.example AXFR")).await;
    assert!(messages.len() > 100 && messages.iter().all(|message| message.len() <= 16_384), "{}", messages.len());
    let mut records = records(&messages);
    assert_eq!((records.first().unwrap().as_str(), records.last().unwrap().as_str()), (SOA, SOA));
    let all = records.len();
    records.sort_unstable();
    records.dedup();
    // The SOA twice; NS and two addresses beside.
    assert_eq!((all, records.len()), (NAMES + 5, NAMES + 4));

    // More than any buffer between us holds.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let query = ask("static.example AXFR");
    for _ in 0..40 {
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).await.unwrap();
    }
    tokio::time::sleep(limits.write * 4).await;
    let mut taken = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut taken)).await.expect("the server closes");
    let whole: usize = 40 * messages.iter().map(|message| 2 + message.len()).sum::<usize>();
    assert!(taken.len() < whole, "{} of {whole} bytes were sent to who did not take them", taken.len());
    server.stop().await;
}
