use std::sync::atomic::AtomicUsize;

use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};
use zerottl_core::model::Backend;
use zerottl_invited::message::SessionTaken;

use super::*;
use crate::takeover::TakeoverFuture;

const BEAT: Duration = Duration::from_millis(20);

fn config() -> InviteConfig {
    InviteConfig {
        workers: vec![Backend { url: "http://b:1".into(), authority: "b:1".into() }],
        beat: BEAT,
        stall: BEAT * 5,
        waiting: 2,
        patience: Duration::from_millis(400),
        ..InviteConfig::at("127.0.0.1:0".parse().unwrap())
    }
}

fn gate(fetcher: Option<Arc<dyn SessionFetcher>>) -> InvitationGate {
    InvitationGate::start(&config(), "worker", fetcher, CancellationToken::new())
}

async fn next(lines: &mut ChannelLines) -> Option<InviteEvent> {
    let line = timeout(Duration::from_secs(5), lines.next()).await.expect("a line in time")?;
    Some(serde_json::from_slice(&line.unwrap()).unwrap())
}

async fn welcome(lines: &mut ChannelLines) -> Channel {
    let Some(InviteEvent::Welcome(welcome)) = next(lines).await else { panic!("no welcome") };
    assert_eq!((&*welcome.worker, welcome.beat_ms), ("worker", 20));
    welcome.channel.parse().unwrap()
}

/// S0-3, S0-6, S0-17: a channel begins with the other workers, goes on with beats, and ends when its server is silent.
#[tokio::test]
async fn s0_6_a_channel_from_its_welcome_to_its_end() {
    let gate = gate(None);
    let mut lines = gate.open("one", "http://a:1", 0).unwrap();
    let Some(InviteEvent::Welcome(hello)) = next(&mut lines).await else { panic!("no welcome") };
    assert_eq!(hello.workers, [OtherWorker { name: "b:1".into(), url: "http://b:1".into() }]);
    assert_eq!(next(&mut lines).await, Some(InviteEvent::Beat));
    let bye = loop {
        match next(&mut lines).await {
            Some(InviteEvent::Beat) => {}
            other => break other,
        }
    };
    assert_eq!(bye, Some(InviteEvent::Bye { why: ChannelEnd::Stalled.text().into() }));
    assert_eq!(next(&mut lines).await, None);
    let channel = hello.channel.parse().unwrap();
    let signal = InviteSignal { ready: Some(1), ..InviteSignal::default() };
    assert_eq!(gate.signal(channel, &signal).await, Err(SignalError::NoChannel));
}

/// S0-2: a request waits for a credit, and takes none if it goes away or is not sent.
#[tokio::test]
async fn s0_2_a_credit_that_is_not_used_is_given_back() {
    let gate = gate(None);
    assert_eq!(gate.acquire(None, vec![]).await.map(drop), Err(NoGrant::Late));
    let mut lines = gate.open("one", "http://a:1", 0).unwrap();
    let channel = welcome(&mut lines).await;
    let waits = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire(None, vec![]).await }
    });
    sleep(BEAT).await;
    assert_eq!(gate.page().waiting, 1);
    let signal = InviteSignal { ready: Some(1), ..InviteSignal::default() };
    gate.signal(channel, &signal).await.unwrap();
    let grant = waits.await.unwrap().unwrap();
    assert_eq!((&*grant.name, &*grant.url), ("one", "http://a:1"));
    assert_eq!(gate.page().servers[0].credits, 0);
    drop(grant);
    assert_eq!(gate.page().servers[0].credits, 1);
    gate.acquire(None, vec![]).await.unwrap().sent();
    assert_eq!(gate.page().servers[0].credits, 0);
    // One that goes away while it waits, and one that is granted and never looked at.
    assert!(timeout(BEAT, gate.acquire(None, vec![])).await.is_err());
    assert_eq!(gate.page().waiting, 0);
    let mut unseen = Box::pin(gate.acquire(None, vec![]));
    assert!(futures_util::poll!(&mut unseen).is_pending());
    gate.signal(channel, &signal).await.unwrap();
    drop(unseen);
    assert_eq!(gate.page().servers[0].credits, 1);
    drop(lines);
    assert!(!gate.is_open(channel), "a server that closes its channel is asked no more");
}

struct Slow(AtomicUsize);

impl SessionFetcher for Slow {
    fn fetch(&self, id: SessionId) -> TakeoverFuture<'_> {
        let count = self.0.fetch_add(1, Relaxed);
        Box::pin(async move {
            match (id.0[0], count) {
                (9, _) => Err(TakeoverError::Ended),
                (_, 0) => Err(TakeoverError::Elsewhere("b".into())),
                _ => Ok(SessionTaken { id: id.to_string(), tag: None, bytes: 3 }),
            }
        })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// S0-8, S0-9, S0-11: a session is named, fetched although its worker seems to live at first, and then its request goes to the
/// server that named it.
#[tokio::test]
async fn s0_9_a_named_session_is_fetched_first() {
    let gate = gate(Some(Arc::new(Slow(AtomicUsize::new(0)))));
    let mut lines = gate.open("one", "http://a:1", 1).unwrap();
    let channel = welcome(&mut lines).await;
    let session = AskedSession { id: SessionId([1; 16]), is_new: false };
    let asked = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire(Some(session), vec![]).await }
    });
    sleep(BEAT).await;
    assert!(!asked.is_finished(), "not before the signal");
    let signal = InviteSignal { session: Some(session.id.to_string()), ..InviteSignal::default() };
    let taken = gate.signal(channel, &signal).await.unwrap().session.unwrap();
    assert_eq!((taken.id, taken.bytes), (session.id.to_string(), 3));
    assert_eq!(&*asked.await.unwrap().unwrap().name, "one");
    let ended = InviteSignal { session: Some(SessionId([9; 16]).to_string()), ..InviteSignal::default() };
    assert_eq!(gate.signal(channel, &ended).await, Err(SignalError::Takeover(TakeoverError::Ended)));
    let page = gate.page();
    assert_eq!((page.takeovers, page.takeover_failures, page.sessions), (1, 0, 1), "one that is over is no failure");
}
