//! Sessions of several workers with real session servers: who hosts which, what is copied where, what a death changes. The
//! workers are stores of this process; `session_chaos` has them as processes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::redis::{RedisServer, store_config};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use zerottl_core::{model::WriteMode, session_id::SessionId};
use zerottl_session::{Hint, SessionFault, SessionStore, StoreConfig, StorePage, Worker, WriteCondition};

/// As `store_config` has it.
const LEASE: Duration = Duration::from_millis(1500);

/// Session servers, and the workers that use them.
struct SessionScene {
    servers: Vec<RedisServer>,
    config: StoreConfig,
}

/// A worker that can be killed.
struct SessionWorker {
    store: SessionStore,
    cancel: CancellationToken,
}

impl SessionWorker {
    /// Ends it as a kill would: it tells nobody.
    fn kill(self) {
        self.cancel.cancel();
    }

    fn page(&self) -> StorePage {
        self.store.page()
    }

    fn reads(&self) -> u64 {
        self.page().servers.iter().map(|server| server.reads).sum()
    }
}

impl SessionScene {
    fn new(servers: usize, copies: usize, write: WriteMode) -> Self {
        let servers: Vec<RedisServer> = (0..servers).map(|_| RedisServer::start().unwrap()).collect();
        let config = store_config(&servers, copies, write);
        Self { servers, config }
    }

    /// Starts a worker, which has its lease when this returns.
    async fn worker(&self, name: &str) -> SessionWorker {
        let cancel = CancellationToken::new();
        let worker = Worker::new(name, name, None).unwrap();
        let store = SessionStore::start(self.config.clone(), worker, &cancel).unwrap();
        let worker = SessionWorker { store, cancel };
        until("it has a lease", || worker.page().has_lease).await;
        worker
    }

    fn server(&mut self, name: &str) -> &mut RedisServer {
        self.servers.iter_mut().find(|server| server.at.to_string() == name).unwrap()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not so in 20 s: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn id(number: u128) -> SessionId {
    SessionId(number.to_be_bytes())
}

fn text(number: u64) -> bytes::Bytes {
    number.to_string().into()
}

async fn read(worker: &SessionWorker, id: SessionId) -> Result<Option<String>, SessionFault> {
    let held = worker.store.read(id, Hint::default()).await?;
    Ok(held.map(|held| String::from_utf8(held.data.to_vec()).unwrap()))
}

async fn write(worker: &SessionWorker, id: SessionId, data: &'static str) -> Result<(), SessionFault> {
    worker.store.write(id, Hint::default(), WriteCondition::Any, data.into()).await.map(drop)
}

/// Reads a session that may still be a dead worker's.
async fn read_patiently(worker: &SessionWorker, id: SessionId) -> Result<Option<String>, SessionFault> {
    let begun = Instant::now();
    loop {
        match read(worker, id).await {
            Err(SessionFault::Elsewhere { .. }) if begun.elapsed() < LEASE * 3 => {
                sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// S1-1A, S1-1B: a worker serves the sessions that it hosts without reading anything from elsewhere, each has its copies, and goes on
/// when all session servers have stopped.
#[test]
fn s1_1b_sessions_are_served_from_memory() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckAll);
        let a = scene.worker("a").await;
        for number in 0..50 {
            write(&a, id(number), "cart").await.unwrap();
        }
        let mut copies = 0;
        for server in &scene.servers {
            for number in 0..50 {
                let key = format!("HGET zerottl:boston.app.com:s:{} data", id(number));
                copies += usize::from(server.ask(&key).unwrap().contains("cart"));
            }
        }
        assert_eq!(copies, 100, "two of each");
        for _ in 0..20 {
            for number in 0..50 {
                assert_eq!(read(&a, id(number)).await.unwrap().as_deref(), Some("cart"));
            }
        }
        assert_eq!(a.reads(), 0);
        scene.servers.iter_mut().for_each(RedisServer::kill);
        until("its lease has ended", || !a.page().has_lease).await;
        for number in 0..50 {
            assert_eq!(read(&a, id(number)).await.unwrap().as_deref(), Some("cart"));
        }
        let refused = write(&a, id(1), "more").await.unwrap_err();
        assert_eq!(refused, SessionFault::NoQuorum { answered: 0, servers: 3, quorum: 2 });
        assert_eq!(read(&a, id(1)).await.unwrap().as_deref(), Some("cart"), "what was refused is not seen");
        assert_eq!(a.reads(), 0);
    });
}

/// S1-7: of several workers that start at once with a new Site's servers each serves at once, whichever of them was first at which
/// server; where one has claimed a session already, servers without anything have lost it, and count for nothing for a lease.
#[test]
fn s1_7_workers_that_start_at_once_serve_at_once() {
    runtime().block_on(async {
        for claims in [false, true] {
            let mut scene = SessionScene::new(3, 2, WriteMode::AckOne);
            let all = scene.config.clone();
            // It has reached one server before the other worker reaches any.
            scene.config.servers.truncate(1);
            let first = scene.worker("first").await;
            if claims {
                write(&first, id(1), "cart").await.unwrap();
            }
            scene.config = all;
            let second = scene.worker("second").await;
            let counting = || second.page().servers.iter().filter(|server| server.state == "up").count();
            until("all are reached", || second.page().servers.iter().all(|server| server.state != "down")).await;
            assert_eq!(counting(), if claims { 1 } else { 3 });
            // At once, or after that lease.
            write(&second, id(2), "cart").await.unwrap();
        }
    });
}

/// Session servers that do not answer for a moment, longer than one request to them may take and shorter than a lease, delay
/// requests, and refuse none; those that are away for longer have requests refused at once.
#[test]
fn s1_1b_a_moment_without_session_servers_only_delays() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(1, 1, WriteMode::AckOne);
        let a = scene.worker("a").await;
        write(&a, id(1), "cart").await.unwrap();
        scene.servers[0].signal(Signal::STOP).unwrap();
        let goes_on = async {
            sleep(scene.config.timeout * 2).await;
            scene.servers[0].signal(Signal::CONT).unwrap();
        };
        // One that nobody hosts yet, and a change.
        let (unknown, changed, ()) = tokio::join!(read(&a, id(2)), write(&a, id(1), "more"), goes_on);
        assert_eq!(unknown, Ok(None));
        assert_eq!(changed, Ok(()));
        scene.servers[0].kill();
        let begun = Instant::now();
        assert!(matches!(read(&a, id(3)).await, Err(SessionFault::NoQuorum { .. })));
        assert!(begun.elapsed() >= LEASE / 2, "it has waited");
        sleep(LEASE).await;
        let begun = Instant::now();
        assert!(matches!(read(&a, id(4)).await, Err(SessionFault::NoQuorum { .. })));
        assert!(begun.elapsed() < LEASE, "nobody waits for what is away");
    });
}

/// S1-X-CONC: an end is known again to session servers that lose all one after the other, also when the worker that ended the session
/// is dead by then; and an end that a worker could tell one server only is told to the others.
#[test]
fn s1_x_conc_an_end_outlives_its_worker_and_all_servers() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckOne);
        let (a, b) = (scene.worker("a").await, scene.worker("b").await);
        let names: Vec<String> = scene.servers.iter().map(|server| server.at.to_string()).collect();
        write(&a, id(1), "cart").await.unwrap();
        a.store.end(id(1), Hint::default()).await.unwrap();
        until("it is copied", || a.page().under_replicated == 0).await;
        a.kill();
        for name in &names {
            let server = scene.server(name);
            server.lose().unwrap();
            server.restart().unwrap();
            until("it is up", || b.page().servers.iter().all(|server| server.state == "up")).await;
            sleep(LEASE).await;
            until("it is up", || b.page().servers.iter().all(|server| server.state == "up")).await;
        }
        for server in &scene.servers {
            let ended = server.ask(&format!("HGET zerottl:boston.app.com:s:{} ended", id(1))).unwrap();
            assert!(ended.contains("\r\n1\r\n"), "{}: {ended}", server.at);
        }
        assert_eq!(read(&b, id(1)).await, Err(SessionFault::Ended));
        // One that the dead worker ended at one server.
        let record = format!("HSET zerottl:boston.app.com:s:{} epoch 65537 owner", id(2));
        let asked = |server: usize, rest: &str| scene.servers[server].ask(&format!("{record} {rest}")).unwrap();
        asked(0, "x ended 1");
        asked(1, "x number 3 data cart written 65537");
        assert_eq!(read(&b, id(2)).await, Err(SessionFault::Ended));
        until("all know", || {
            scene.servers.iter().all(|server| {
                server.ask(&format!("HGET zerottl:boston.app.com:s:{} ended", id(2))).unwrap().contains("\r\n1\r\n")
            })
        })
        .await;
    });
}

/// S0-X-FENCE, S1-X-STALE: a worker that has lost its leases and does not know it changes nothing that another one hosts by now.
#[test]
fn s0_x_fence_a_host_that_is_none_any_more_is_refused() {
    runtime().block_on(async {
        for mode in [WriteMode::AckOne, WriteMode::AckAll] {
            let scene = SessionScene::new(3, 2, mode);
            let (a, b) = (scene.worker("a").await, scene.worker("b").await);
            for number in 0..20 {
                write(&a, id(number), "cart").await.unwrap();
            }
            let token = a.page().worker;
            for number in 0..20 {
                // As if they had ended: it learns of it when it renews them.
                for server in &scene.servers {
                    server.ask(&format!("DEL zerottl:boston.app.com:w:{token}")).unwrap();
                }
                if read(&b, id(number)).await.is_err() {
                    // It has just renewed them.
                    continue;
                }
                let refused = write(&a, id(number), "old").await.unwrap_err();
                assert!(matches!(refused, SessionFault::Fenced | SessionFault::Elsewhere { .. }), "{refused}");
                assert_eq!(read(&b, id(number)).await.unwrap().as_deref(), Some("cart"));
            }
            let fenced: u64 = a.page().servers.iter().map(|server| server.fenced).sum();
            assert!(fenced > 0, "it has tried");
        }
    });
}

/// S0-X-FENCE: two living workers of which each is a session's owner at some servers, and neither hosts it, as two claims leave it
/// that did not hold, do not send each other's clients to and fro.
#[test]
fn s0_x_fence_claims_that_did_not_hold_keep_nobody_away() {
    runtime().block_on(async {
        let scene = SessionScene::new(3, 2, WriteMode::AckAll);
        let (a, b) = (scene.worker("a").await, scene.worker("b").await);
        let tokens = [&a, &b].map(|worker| worker.page().worker);
        for (server, (epoch, owner)) in scene.servers.iter().zip([(131_073, &tokens[1]), (65_537, &tokens[0]), (65_537, &tokens[0])]) {
            let record = format!("epoch {epoch} owner {owner} number 3 data cart written 65537");
            assert!(server.ask(&format!("HSET zerottl:boston.app.com:s:{} {record}", id(1))).unwrap().starts_with(':'));
        }
        assert!(matches!(read(&a, id(1)).await, Err(SessionFault::Elsewhere { worker }) if worker.contains("\"reach\":\"b\"")));
        assert_eq!(read(&b, id(1)).await.unwrap().as_deref(), Some("cart"));
    });
}

/// S1-7, S1-11, S1-13, S1-16, S1-20: the sessions of a dead worker are served by another once its lease has ended, each read from a
/// session server once; while it lived they were its own.
#[test]
fn s1_16_a_dead_workers_sessions_move() {
    runtime().block_on(async {
        let scene = SessionScene::new(3, 2, WriteMode::AckOne);
        let (a, b) = (scene.worker("a").await, scene.worker("b").await);
        for number in 0..100 {
            write(&a, id(number), "cart").await.unwrap();
        }
        let elsewhere = read(&b, id(7)).await.unwrap_err();
        assert!(matches!(elsewhere, SessionFault::Elsewhere { worker } if worker.contains("\"reach\":\"a\"")));
        let died = Instant::now();
        a.kill();
        for number in 0..100 {
            assert_eq!(read_patiently(&b, id(number)).await.unwrap().as_deref(), Some("cart"));
        }
        println!("all served again {:?} after the death; leases of {LEASE:?}", died.elapsed());
        until("all have moved", || b.page().moves == 100).await;
        assert_eq!(b.reads(), 100);
        for number in 0..100 {
            assert_eq!(read(&b, id(number)).await.unwrap().as_deref(), Some("cart"));
        }
        assert_eq!(b.reads(), 100, "from memory now");
        // Who leaves in order is not waited for.
        write(&b, id(3), "more").await.unwrap();
        let c = scene.worker("c").await;
        b.store.resign().await;
        b.kill();
        assert_eq!(read(&c, id(3)).await.unwrap().as_deref(), Some("more"));
    });
}

/// S1-9, S1-18: the sessions of a dead session server are copied again, from the memory of their host, to the next in order: then
/// the host may die as well, with the other one that had them.
#[test]
fn s1_9_a_dead_servers_sessions_are_copied_again() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckAll);
        let (a, b) = (scene.worker("a").await, scene.worker("b").await);
        for number in 0..60 {
            write(&a, id(number), "cart").await.unwrap();
        }
        scene.servers[0].kill();
        until("all have two copies at the others", || {
            let page = a.page();
            page.under_replicated == 0 && page.servers[1].copies == 60 && page.servers[2].copies == 60
        })
        .await;
        assert_eq!(a.reads(), 0, "from memory");
        // Writes go on with the two that are left.
        write(&a, id(1), "more").await.unwrap();
        a.kill();
        assert_eq!(read_patiently(&b, id(1)).await.unwrap().as_deref(), Some("more"));
        for number in 2..60 {
            assert_eq!(read_patiently(&b, id(number)).await.unwrap().as_deref(), Some("cart"));
        }
        // It comes back: the copies go home.
        scene.servers[0].restart().unwrap();
        until("the third has copies again", || b.page().servers[0].copies > 20).await;
    });
}

/// S1-7, S1-9: sessions whose worker has died and that nobody asks for have a host all the same, which copies them again: they
/// outlive the session servers that held them then, one after the other.
#[test]
fn s1_9_sessions_that_nobody_asks_for_are_adopted() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckAll);
        let (a, b, c) = (scene.worker("a").await, scene.worker("b").await, scene.worker("c").await);
        for number in 0..90 {
            write(&a, id(number), "cart").await.unwrap();
        }
        a.kill();
        until("the others have them all", || b.page().hosted + c.page().hosted == 90).await;
        assert!(b.page().adoptions >= 20 && c.page().adoptions >= 20, "{:?} {:?}", b.page(), c.page());
        assert_eq!(b.reads() + c.reads(), 90, "each was read once");
        for at in 0..3 {
            scene.servers[at].lose().unwrap();
            let copied = |worker: &SessionWorker| worker.page().under_replicated == 0;
            sleep(scene.config.timeout * 2).await;
            until("all have two copies", || copied(&b) && copied(&c)).await;
            scene.servers[at].restart().unwrap();
            until("it counts again", || [&b, &c].iter().all(|worker| worker.page().servers[at].state == "up")).await;
        }
        b.kill();
        for number in 0..90 {
            assert_eq!(read_patiently(&c, id(number)).await.unwrap().as_deref(), Some("cart"), "{number}");
        }
    });
}

/// S1-X-CONC: changes of a session that are made at once are all made.
#[test]
fn s1_x_conc_no_update_is_lost() {
    runtime().block_on(async {
        let scene = SessionScene::new(3, 2, WriteMode::AckOne);
        let (a, b) = (scene.worker("a").await, scene.worker("b").await);
        let stores = [a.store.clone(), b.store.clone()];
        let tasks = (0..8).map(|task| {
            let store = stores[task % 2].clone();
            tokio::spawn(async move {
                let mut made = 0_u64;
                for _ in 0..50 {
                    let number = |data: Option<&bytes::Bytes>| {
                        data.map_or(0, |data| std::str::from_utf8(data).unwrap().parse::<u64>().unwrap())
                    };
                    let changed = store.update(id(1), Hint::default(), |data| Some(text(number(data) + 1))).await;
                    match changed {
                        Ok(_) => made += 1,
                        Err(SessionFault::Elsewhere { .. } | SessionFault::Contended) => {}
                        Err(fault) => panic!("{fault}"),
                    }
                }
                made
            })
        });
        let mut made = 0;
        for task in tasks.collect::<Vec<_>>() {
            made += task.await.unwrap();
        }
        assert!(made >= 200, "one of both has it: {made}");
        let (of_a, of_b) = (read(&a, id(1)).await, read(&b, id(1)).await);
        let said = of_a.or(of_b).unwrap().unwrap();
        assert_eq!(said, made.to_string());
        // Compare and swap: of those who have read the same state one succeeds.
        let owner = if read(&a, id(1)).await.is_ok() { &a } else { &b };
        let held = owner.store.read(id(1), Hint::default()).await.unwrap().unwrap();
        let swap = |data| owner.store.write(id(1), Hint::default(), WriteCondition::Is(held.tag), text(data));
        let (one, other) = tokio::join!(swap(1001), swap(1002));
        assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1, "{one:?} {other:?}");
        assert!(one.is_err_and(|fault| fault == SessionFault::Changed) || other == Err(SessionFault::Changed));
    });
}

/// S1-X-CONC: a session that was ended stays so: for its worker, for others, and after a session server has lost all.
#[test]
fn s1_x_conc_logout_is_final() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckOne);
        let a = scene.worker("a").await;
        write(&a, id(1), "cart").await.unwrap();
        a.store.end(id(1), Hint::default()).await.unwrap();
        assert_eq!(read(&a, id(1)).await, Err(SessionFault::Ended));
        assert_eq!(write(&a, id(1), "again").await, Err(SessionFault::Ended));
        a.store.end(id(1), Hint::default()).await.unwrap();
        let b = scene.worker("b").await;
        assert_eq!(read_patiently(&b, id(1)).await, Err(SessionFault::Ended));
        a.kill();
        let lost = scene.servers[0].at.to_string();
        scene.server(&lost).lose().unwrap();
        scene.server(&lost).restart().unwrap();
        until("it is seen", || b.page().servers[0].restarts == 1).await;
        let c = scene.worker("c").await;
        for _ in 0..20 {
            assert_eq!(read_patiently(&c, id(1)).await, Err(SessionFault::Ended));
            sleep(LEASE / 10).await;
        }
    });
}

/// S1-X-ACK: with `ack-all` a change waits for all that hold copies; one that is stopped is replaced, and then it does not. With
/// `ack-one` one is enough, and with `async` none.
#[test]
fn s1_x_ack_changes_wait_for_as_many_as_the_mode_says() {
    runtime().block_on(async {
        for (mode, waits) in [(WriteMode::AckAll, true), (WriteMode::AckOne, false), (WriteMode::Async, false)] {
            let mut scene = SessionScene::new(3, 2, mode);
            let a = scene.worker("a").await;
            write(&a, id(1), "one").await.unwrap();
            until("both have it", || a.page().under_replicated == 0).await;
            let holds = |server: &RedisServer| {
                let key = format!("HGET zerottl:boston.app.com:s:{} data", id(1));
                server.ask(&key).unwrap().contains("one")
            };
            let name = scene.servers.iter().find(|server| holds(server)).unwrap().at.to_string();
            scene.server(&name).signal(Signal::STOP).unwrap();
            let begun = Instant::now();
            write(&a, id(1), "two").await.unwrap();
            let took = begun.elapsed();
            println!("{mode:?}: {took:?}");
            assert_eq!(took >= scene.config.timeout / 2, waits, "{mode:?}: {took:?}");
            assert_eq!(read(&a, id(1)).await.unwrap().as_deref(), Some("two"));
            scene.server(&name).signal(Signal::CONT).unwrap();
            until("both have it again", || a.page().under_replicated == 0).await;
        }
    });
}

/// S1-X-BOTH: a worker and a session server die together: with `ack-all` nothing that was acknowledged is lost.
#[test]
fn s1_x_both_nothing_is_lost_when_a_worker_and_a_server_die() {
    runtime().block_on(async {
        for down in 0..3 {
            let mut scene = SessionScene::new(3, 2, WriteMode::AckAll);
            let (a, b) = (scene.worker("a").await, scene.worker("b").await);
            for number in 0..30 {
                write(&a, id(number), "one").await.unwrap();
                write(&a, id(number), "two").await.unwrap();
            }
            a.kill();
            scene.servers[down].lose().unwrap();
            for number in 0..30 {
                assert_eq!(read_patiently(&b, id(number)).await.unwrap().as_deref(), Some("two"));
            }
        }
    });
}

/// S1-2: more sessions than there are places: the least recently used leave the memory, and lose nothing.
#[test]
fn s1_2_eviction_loses_nothing() {
    runtime().block_on(async {
        let mut scene = SessionScene::new(3, 2, WriteMode::AckOne);
        scene.config.sessions_max = 100;
        let a = scene.worker("a").await;
        for number in 0..300 {
            loop {
                match write(&a, id(number), "cart").await {
                    Err(SessionFault::TooMany(100)) => sleep(Duration::from_millis(20)).await,
                    other => break other.unwrap(),
                }
            }
        }
        assert!(a.page().evictions >= 195, "{:?}", a.page());
        for number in 0..300 {
            let data = timeout(Duration::from_secs(20), async {
                loop {
                    match read(&a, id(number)).await {
                        Err(SessionFault::TooMany(_)) => sleep(Duration::from_millis(20)).await,
                        other => break other,
                    }
                }
            });
            assert_eq!(data.await.unwrap().unwrap().as_deref(), Some("cart"), "{number}");
        }
        assert!(a.store.page().hosted <= 100);
    });
}
