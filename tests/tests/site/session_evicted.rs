//! Sessions that left their worker's memory, as there were too many, and session servers that are lost one after the other.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use tests::redis::{RedisServer, store_config};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use zerottl_core::{model::WriteMode, session_id::SessionId};
use zerottl_session::{Hint, SessionFault, SessionStore, StorePage, Worker, WriteCondition};

const SESSIONS: u128 = 300;
const PLACES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker whose memory has places for some of its sessions alone.
struct FullScene {
    servers: Vec<RedisServer>,
    worker: SessionStore,
    _cancel: tokio_util::sync::DropGuard,
}

fn id(number: u128) -> SessionId {
    SessionId(number.to_be_bytes())
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not so in {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

impl FullScene {
    async fn new(mode: WriteMode) -> Self {
        let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start().unwrap()).collect();
        let mut config = store_config(&servers, 2, mode);
        config.sessions_max = PLACES;
        let cancel = CancellationToken::new();
        let worker = SessionStore::start(config, Worker::new("a", "a", None).unwrap(), &cancel).unwrap();
        let scene = Self { servers, worker, _cancel: cancel.drop_guard() };
        until("it has a lease", || scene.page().has_lease).await;
        for number in 0..SESSIONS {
            let write = || scene.worker.write(id(number), Hint::default(), WriteCondition::Any, "cart".into());
            while let Err(fault) = write().await {
                assert_eq!(fault, SessionFault::TooMany(PLACES));
                sleep(Duration::from_millis(20)).await;
            }
        }
        until("some have left", || scene.page().hosted < 96 && scene.page().under_replicated == 0).await;
        assert_eq!(scene.copies(), [0, 0, SESSIONS, 0]);
        scene
    }

    fn page(&self) -> StorePage {
        self.worker.page()
    }

    fn reads(&self) -> u64 {
        self.page().servers.iter().map(|server| server.reads).sum()
    }

    /// How many sessions have no copy, one, two and three at servers that run.
    fn copies(&self) -> [u128; 4] {
        let mut copies = [0; SESSIONS as usize];
        let command = "KEYS zerottl:boston.app.com:s:*";
        for server in self.servers.iter().filter(|server| server.pid().is_some()) {
            let keys = server.ask(command).unwrap();
            for (number, count) in copies.iter_mut().enumerate() {
                let key = format!("zerottl:boston.app.com:s:{}", id(number as u128));
                if keys.contains(&key) && server.ask(&format!("HEXISTS {key} data")).unwrap().starts_with(":1") {
                    *count += 1;
                }
            }
        }
        let mut counts = [0; 4];
        for count in &copies {
            counts[*count] += 1;
        }
        counts
    }

    /// Waits for two seconds in which nothing is read: those that have room take some in first.
    async fn nothing_is_read(&self) {
        let begun = Instant::now();
        loop {
            let before = self.reads();
            sleep(Duration::from_secs(2)).await;
            if self.reads() == before {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{} reads, and no end in {PATIENCE:?}", self.reads());
        }
    }

    async fn all_are_there(&self) {
        for number in 0..SESSIONS {
            let begun = Instant::now();
            let held = loop {
                match self.worker.read(id(number), Hint::default()).await {
                    Err(SessionFault::TooMany(_)) if begun.elapsed() < PATIENCE => {
                        sleep(Duration::from_millis(20)).await;
                    }
                    other => break other.unwrap(),
                }
            };
            assert_eq!(held.map(|held| held.data).as_deref(), Some(&b"cart"[..]), "{number}");
        }
    }
}

/// S1-2: sessions without data, as visitors make them who keep nothing, give way to others: nothing of them can be lost.
#[test]
fn s1_2_sessions_without_data_give_way() {
    Runtime::new().unwrap().block_on(async {
        let scene = FullScene::new(WriteMode::AckOne).await;
        for number in 0..PLACES as u128 * 3 {
            let begun = Instant::now();
            while let Err(fault) = scene.worker.read(id(1000 + number), Hint::default()).await {
                assert_eq!(fault, SessionFault::TooMany(PLACES));
                assert!(begun.elapsed() < PATIENCE, "no place becomes free");
                sleep(Duration::from_millis(20)).await;
            }
        }
        scene.all_are_there().await;
    });
}

/// S1-2, S1-9: each session server in turn comes back empty; once it counts again, those sessions have all their copies, too, that
/// nobody had in memory.
#[test]
fn s1_9_sessions_that_left_the_memory_are_copied_again() {
    Runtime::new().unwrap().block_on(async {
        for mode in [WriteMode::AckOne, WriteMode::AckAll] {
            let mut scene = FullScene::new(mode).await;
            scene.nothing_is_read().await;
            for at in 0..3 {
                scene.servers[at].lose().unwrap();
                scene.servers[at].restart().unwrap();
                until("it is seen", || scene.page().servers[at].restarts == 1).await;
                until("it counts again", || scene.page().servers[at].state == "up").await;
                let [none, one, ..] = scene.copies();
                assert_eq!((none, one), (0, 0), "{mode:?}, server {at}: {:?}", scene.copies());
                until("as many are in memory as may be", || scene.page().hosted <= PLACES as u64).await;
            }
            scene.all_are_there().await;
            until("all is copied", || scene.page().under_replicated == 0).await;
            scene.nothing_is_read().await;
        }
    });
}

/// S1-2, S1-9: a session server is gone for good, and then another; with the last one, and one that is new, all goes on.
#[test]
fn s1_9_sessions_that_left_the_memory_outlive_all_servers_but_one() {
    Runtime::new().unwrap().block_on(async {
        for mode in [WriteMode::AckOne, WriteMode::AckAll] {
            let mut scene = FullScene::new(mode).await;
            scene.servers[0].lose().unwrap();
            until("all have two copies at the others", || scene.copies() == [0, 0, SESSIONS, 0]).await;
            until("where they are is recorded", || scene.page().under_replicated == 0).await;
            scene.servers[1].lose().unwrap();
            assert_eq!(scene.copies(), [0, SESSIONS, 0, 0]);
            scene.servers[0].restart().unwrap();
            until("it counts", || scene.page().servers[0].state == "up" && scene.page().has_lease).await;
            scene.all_are_there().await;
        }
    });
}
