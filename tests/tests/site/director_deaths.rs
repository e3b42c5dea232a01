//! The distributor when something dies, hangs or is replaced: what clients see of it, which is nothing.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};
use tests::{
    director::{DirectorScene, PATIENCE, server, shares, who},
    lab::can_load,
    process::eventually,
};

/// Bytes of a download that takes a while.
const BYTES: usize = 100_000_000;

/// S2-1C: the director is killed in the middle of a download of 100 MB, which completes on the same connection; so is its
/// parent, and new connections go on being assigned.
#[test]
fn a_download_outlives_the_director() {
    if !can_load("a director") {
        return;
    }
    let mut scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let mut client = scene.raw().unwrap();
    let own = client.local_addr().unwrap();
    client.write_all(format!("GET /bytes?n={BYTES} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let mut got = 0;
    let mut killed = 0;
    let mut answered = 0;
    loop {
        let read = client.read(&mut bytes).unwrap();
        if read == 0 {
            break;
        }
        got += read;
        if killed == 0 && got > BYTES / 4 {
            scene.kill_worker().unwrap();
            killed = 1;
        }
        if killed == 1 && got > BYTES / 2 {
            scene.keeper().kill();
            killed = 2;
            answered = (0..20).filter(|_| scene.who().is_ok()).count();
        }
        if got > BYTES {
            break;
        }
    }
    assert_eq!((killed, answered), (2, 20));
    assert!(got >= BYTES, "{got} bytes");
    assert_eq!(client.local_addr().unwrap(), own);
    // The servers are nobody's now.
    for pid in scene.servers().unwrap() {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// S2-2, S2-7, S2-1A: a server that dies is started again, the others go on, and so does the director when it dies.
#[test]
fn whatever_dies_is_started_again() {
    if !can_load("a director") {
        return;
    }
    let mut scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let mut one = scene.connect().unwrap();
    let of_one = who(&mut one).unwrap();
    let other = if of_one == "a-1" { "a-2" } else { "a-1" };
    let before = scene.pid(other).unwrap();
    kill_process(before, Signal::KILL).unwrap();
    scene
        .wait_for("it is there again", |page| {
            let servers = page["servers"].as_array().unwrap();
            servers.iter().all(|server| server["state"] == "ready")
                && servers.iter().any(|server| server["restarts"] == 1)
        })
        .unwrap();
    assert_ne!(scene.pid(other).unwrap(), before);
    assert_eq!(who(&mut one).unwrap(), of_one);
    let pids = ["a-1", "a-2"].map(|name| scene.pid(name).unwrap());
    scene.kill_worker().unwrap();
    assert_eq!(["a-1", "a-2"].map(|name| scene.pid(name).unwrap()), pids, "servers stay");
    assert_eq!(who(&mut one).unwrap(), of_one);
    assert_eq!(scene.figure(&of_one, "live").unwrap(), 1, "S2-X-DSTATE: counts are those of before");
    assert_eq!(shares(&scene, 4).unwrap().values().copied().collect::<Vec<_>>(), [2, 2]);
    scene.stop().unwrap();
}

/// S2-X-DSTATE: who waits when the director dies waits on, in order, and is served by the next one.
#[test]
fn who_waits_outlives_the_director() {
    if !can_load("a director") {
        return;
    }
    let mut scene = DirectorScene::started(&server("a", "max_connections = 1\nhandover = true").unwrap()).unwrap();
    let mut held = scene.connect().unwrap();
    who(&mut held).unwrap();
    let waiting: Vec<_> = (1..=3)
        .map(|number| {
            let mut client = scene.connect().unwrap();
            client.ask("/").unwrap();
            scene.wait_for("it waits", |page| page["waiting"]["now"] == number).unwrap();
            client
        })
        .collect();
    scene.kill_worker().unwrap();
    scene.wait_for("they wait", |page| page["waiting"]["now"] == 3).unwrap();
    drop(held);
    for mut client in waiting {
        // The end of the one before makes room for the next one.
        assert!(client.answer().unwrap().starts_with("a-1"));
    }
    scene.stop().unwrap();
}

/// S2-5, S2-9: live connections are counted exactly, as `ss` sees them, through close, reset and the death of a server.
#[test]
fn counts_are_those_of_ss() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let agree = |when: &str| {
        let last = std::cell::RefCell::new(String::new());
        let same = eventually(PATIENCE, || {
            let counted: u64 = ["a-1", "a-2"].iter().map(|name| scene.figure(name, "live").unwrap_or(9999)).sum();
            let seen = scene.ss_established().unwrap();
            let seen = seen.lines().count() as u64;
            *last.borrow_mut() = format!("{when}: counted {counted}, ss {seen}");
            counted == seen
        });
        println!("{}", last.borrow());
        assert!(same, "{}\n{}\n{}", last.borrow(), scene.ss_established().unwrap(), scene.log());
    };
    let mut clients: Vec<_> = (0..20).map(|_| scene.raw().unwrap()).collect();
    agree("20 connections");
    clients.truncate(14);
    agree("6 closed by clients");
    for client in clients.drain(..4) {
        // No lingering: a reset.
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    agree("4 reset by clients");
    kill_process(scene.pid("a-1").unwrap(), Signal::KILL).unwrap();
    scene
        .wait_for("it is there again", |page| {
            page["servers"][0]["restarts"] == 1 && page["servers"][0]["state"] == "ready"
        })
        .unwrap();
    agree("a server killed");
    clients.clear();
    agree("all closed");
    assert_eq!(scene.figure("a-1", "live").unwrap() + scene.figure("a-2", "live").unwrap(), 0);
    scene.stop().unwrap();
}

/// A server that stands still gets no new connection 200 ms later, by its page, and is started again; what its queue holds
/// is served by others.
#[test]
fn a_hung_server_gets_nothing() {
    if !can_load("a director") {
        return;
    }
    let keys = "count = 2\nhang_after = \"200ms\"";
    let scene = DirectorScene::started(&server("a", keys).unwrap()).unwrap();
    let hung = scene.pid("a-1").unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    let stopped = Instant::now();
    thread::sleep(Duration::from_millis(201));
    let mut asked = 0;
    while stopped.elapsed() < Duration::from_millis(1500) {
        assert_eq!(scene.who().unwrap(), "a-2", "{:?} after the stop", stopped.elapsed());
        asked += 1;
    }
    println!("{asked} connections, all to the other one");
    scene
        .wait_for("it is there again", |page| {
            page["servers"][0]["state"] == "ready" && page["servers"][0]["restarts"] == 1
        })
        .unwrap();
    assert_ne!(scene.pid("a-1").unwrap(), hung);
    scene.stop().unwrap();
}

/// S2-2: kill -9 with 100 connections in its queue: none is reset, all are served by another.
#[test]
fn a_killed_servers_queue_goes_to_others() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let dead = scene.pid("a-1").unwrap();
    kill_process(dead, Signal::STOP).unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| scene.connect().unwrap()).collect();
    let queued = scene.figure("a-1", "live").unwrap();
    assert!((99..=101).contains(&queued), "{queued} in the queue of the one that stands still");
    for client in &mut clients {
        client.ask("/").unwrap();
    }
    kill_process(dead, Signal::KILL).unwrap();
    let mut by = BTreeMap::<String, usize>::new();
    for client in &mut clients {
        let said = client.answer().unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
        *by.entry(said.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    println!("{queued} were queued; served: {by:?}");
    assert_eq!(by.values().sum::<usize>(), 200);
    scene.stop().unwrap();
}

/// A rolling restart under load: no connection is refused or reset, and every process is another one afterwards.
#[test]
fn a_rolling_restart_loses_nobody() {
    if !can_load("a director") {
        return;
    }
    let keys = "count = 3\ncheck = { path = \"/\", interval = \"200ms\", timeout = \"200ms\" }";
    let scene =
        Arc::new(DirectorScene::started(&format!("drain_timeout = \"5s\"\n{}", server("a", keys).unwrap())).unwrap());
    let names = ["a-1", "a-2", "a-3"];
    let before = names.map(|name| scene.pid(name).unwrap());
    let (stop, failed, served) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (scene, stop, failed, served) =
                (Arc::clone(&scene), Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&served));
            thread::spawn(move || {
                while !stop.load(SeqCst) {
                    match scene.who() {
                        Ok(_) => served.fetch_add(1, SeqCst),
                        Err(error) => {
                            println!("{error}");
                            failed.fetch_add(1, SeqCst)
                        }
                    };
                }
            })
        })
        .collect();
    let (status, body) = scene.ask("POST", "/v1/director/restart").unwrap();
    assert_eq!(status, 200, "{body}");
    let done = eventually(PATIENCE * 2, || {
        let is_new = |(name, pid): (&&str, &rustix::process::Pid)| {
            scene.server(name).is_ok_and(|server| server["state"] == "ready" && server["finishing"] == 0)
                && scene.pid(name).is_ok_and(|now| now != *pid)
        };
        names.iter().zip(&before).all(is_new)
    });
    stop.store(true, SeqCst);
    for thread in load {
        thread.join().unwrap();
    }
    println!("{} served, {} failed", served.load(SeqCst), failed.load(SeqCst));
    assert!(done, "{:#}\n{}", scene.page().unwrap(), scene.log());
    assert_eq!(failed.load(SeqCst), 0, "{}", scene.log());
    assert!(served.load(SeqCst) > 100);
    Arc::into_inner(scene).unwrap().stop().unwrap();
}
