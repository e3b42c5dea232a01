//! Upstreams over real sockets: which are asked, how many wait for them, and what is said of them.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use domain::base::iana::Rcode;
use tokio::{net::UdpSocket, time::timeout};

use super::{
    ask,
    forward::{Behaviour, Here, PATIENCE, Server, Stub, TRUTH, answer, honest, silent, truth},
    name,
};
use crate::forward::concurrent;
use zerottl_core::model::Forward;

/// As short as a loaded machine lets an honest upstream answer within.
const LIMIT: Duration = Duration::from_millis(400);

fn forward(of: &str, stubs: &[&Stub]) -> Forward {
    Forward {
        name: name(of),
        upstreams: stubs.iter().map(|stub| stub.address).collect(),
        timeout: LIMIT,
        attempts: 2,
        clients: vec!["127.0.0.0/8".parse().unwrap()],
    }
}

/// Sends a query that waits, and waits until one of the stubs has it.
async fn leave_waiting(client: &UdpSocket, server: &Server, stubs: &[&Stub], question: &str) {
    let count = || stubs.iter().map(|stub| stub.count()).sum::<usize>();
    let before = count();
    client.send_to(&ask(question), server.address).await.unwrap();
    timeout(PATIENCE, async {
        while count() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

/// One that is dead is not asked first for ever: a few queries find it out.
#[tokio::test]
async fn a_dead_upstream_is_passed_over() {
    let (dead, good) = (Stub::start(silent, silent).await, Stub::start(honest, silent).await);
    let server = Server::with(vec![forward("corp.example.", &[&dead, &good])]);
    for _ in 0..40 {
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    }
    assert_eq!(good.count(), 40);
    // Three queries, and one now and then from a second later on: four in fifteen seconds.
    assert!((3..=8).contains(&dead.count()), "{} queries for the dead one", dead.count());
    server.stop().await;
}

/// A copy of a client's query finds out that it lives again, and no client waits for that.
#[tokio::test]
async fn an_upstream_that_comes_back_is_asked_again() {
    static LIVES: AtomicBool = AtomicBool::new(false);
    let sometimes: Behaviour = |query| if LIVES.load(Relaxed) { honest(query) } else { vec![] };
    let (first, second) = (Stub::start(sometimes, silent).await, Stub::start(honest, silent).await);
    let server = Server::with(vec![forward("corp.example.", &[&first, &second])]);
    for _ in 0..5 {
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    }
    LIVES.store(true, Relaxed);
    let asking = async {
        loop {
            let before = second.count();
            assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
            if second.count() == before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("the first is asked first again");
    server.stop().await;
}

/// A refusal is an answer: an upstream that cannot answer one name is not down for all others.
#[tokio::test]
async fn what_fails_for_one_name_is_not_down() {
    let refusing: Behaviour = |query| {
        // "bad" begins with a b.
        if query[13] == b'b' {
            vec![Here(answer(query, Rcode::SERVFAIL, [vec![], vec![], vec![]]))]
        } else {
            honest(query)
        }
    };
    let (first, second) = (Stub::start(refusing, silent).await, Stub::start(honest, silent).await);
    let server = Server::with(vec![forward("corp.example.", &[&first, &second])]);
    for _ in 0..10 {
        // Its answer is for another name, of which nothing is passed on.
        assert_eq!(server.udp("bad.corp.example A +rd").await, "NOERROR ra |  |  | ");
    }
    let before = second.count();
    assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    assert_eq!(second.count(), before, "the first has answered it");
    server.stop().await;
}

/// Those who wait for one zone's upstreams leave room for all others' queries.
#[tokio::test]
async fn a_zone_does_not_take_anothers_places() {
    let (dead, good) = (Stub::start(silent, silent).await, Stub::start(honest, silent).await);
    let slow = |of: &str, stub: &Stub| Forward { timeout: Duration::from_secs(10), ..forward(of, &[stub]) };
    let server = Server::with(vec![slow("dead.example.", &dead), slow("corp.example.", &good)]);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let most = concurrent();
    for _ in 0..most / 2 {
        leave_waiting(&client, &server, &[&dead], "host.dead.example A +rd").await;
    }
    // RFC 6891 section 7, in every early answer.
    assert_eq!(server.udp("x.dead.example A +rd +opt").await, "SERVFAIL ra |  |  |  | opt 1232");
    for _ in 0..most {
        client.send_to(&ask("host.dead.example A +rd"), server.address).await.unwrap();
        assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    }
    assert_eq!(good.count(), most);
    server.stop().await;
}

/// RFC 4343: a server that answers in small letters is believed, its ID and its port being right.
#[tokio::test]
async fn spelling_is_the_upstreams_own() {
    let lower: Behaviour = |query| {
        let mut message = truth(query);
        message[12..].make_ascii_lowercase();
        vec![Here(message)]
    };
    let stub = Stub::start(lower, silent).await;
    let server = Server::with(vec![forward("corp.example.", &[&stub])]);
    // The question is echoed as this client spelt it.
    let shown = server.udp("HOST.Corp.example A +rd").await;
    assert_eq!(shown.to_ascii_lowercase(), TRUTH.to_ascii_lowercase());
    assert_eq!(server.udp("host.corp.example A +rd").await, TRUTH);
    assert_eq!(stub.count(), 2);
    server.stop().await;
}
