//! Sessions under load while workers and session servers die, stop, come back and are cut off from each other: nothing that was
//! acknowledged is lost, nothing old is seen again, and no session comes back that was ended.
//!
//! One round of each kind; `cargo xtask test --long` makes fifty (`ZEROTTL_CHAOS_ROUNDS`). Histories of what failed are kept in
//! `target/chaos`.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    env,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{lab::can_run, scratch::root, session_chaos::SessionLoad, session_lab::SessionLab};
use tokio::{
    net::TcpSocket,
    runtime::{Handle, Runtime},
};
use zerottl_session::StorePage;

const LEASE: Duration = Duration::from_secs(1);
const SESSION: &str = "lease = \"1s\"\ntimeout = \"200ms\"\n";
const CLIENTS: usize = 24;

/// Something that goes wrong, and is put right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// A worker is killed, and started again.
    KillWorker,
    /// A worker is stopped for longer than its lease, and goes on.
    StopWorker,
    /// A session server is killed, and started again with what it had.
    KillServer,
    /// A session server is stopped, and goes on.
    StopServer,
    /// A session server is killed, and started again empty.
    LoseServer,
    /// A worker and a session server are killed at once.
    KillBoth,
    /// A worker and a session server are stopped at once.
    StopBoth,
    /// A worker is cut off from one session server, another worker from another.
    Partition,
}

fn rounds() -> usize {
    env::var("ZEROTTL_CHAOS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Strikes, waits, and puts it right.
fn strike(lab: &mut SessionLab, blow: Blow, round: usize) {
    let (worker, server) = (round % lab.workers.len(), (round / 2) % lab.servers.len());
    let hold = || std::thread::sleep(LEASE * 2);
    match blow {
        Blow::KillWorker => {
            lab.workers[worker].kill();
            hold();
            lab.workers[worker].start().unwrap();
        }
        Blow::StopWorker => {
            lab.workers[worker].signal(Signal::STOP).unwrap();
            hold();
            lab.workers[worker].signal(Signal::CONT).unwrap();
        }
        Blow::KillServer => {
            lab.servers[server].kill();
            hold();
            lab.servers[server].restart().unwrap();
        }
        Blow::StopServer => {
            lab.servers[server].signal(Signal::STOP).unwrap();
            hold();
            lab.servers[server].signal(Signal::CONT).unwrap();
        }
        Blow::LoseServer => {
            lab.servers[server].lose().unwrap();
            hold();
            lab.servers[server].restart().unwrap();
        }
        Blow::KillBoth => {
            lab.workers[worker].kill();
            lab.servers[server].kill();
            hold();
            lab.servers[server].restart().unwrap();
            lab.workers[worker].start().unwrap();
        }
        Blow::StopBoth => {
            lab.workers[worker].signal(Signal::STOP).unwrap();
            lab.servers[server].signal(Signal::STOP).unwrap();
            hold();
            lab.servers[server].signal(Signal::CONT).unwrap();
            lab.workers[worker].signal(Signal::CONT).unwrap();
        }
        Blow::Partition => {
            let other = (worker + 1) % lab.workers.len();
            let second = (server + 1) % lab.servers.len();
            let (one, two) = (lab.servers[server].at.ip(), lab.servers[second].at.ip());
            lab.workers[worker].cut(one, true).unwrap();
            lab.workers[other].cut(two, true).unwrap();
            hold();
            lab.workers[worker].cut(one, false).unwrap();
            lab.workers[other].cut(two, false).unwrap();
        }
    }
}

/// Waits until everything is as it was before: all workers have their leases, all session servers count, each session has a host and
/// all of its copies. What may fail is one at a time, and so is promised no more.
fn heal(lab: &SessionLab, load: &SessionLoad) {
    let begun = Instant::now();
    loop {
        std::thread::sleep(LEASE / 4);
        let page = |at: SocketAddr| {
            let text = lab.client.read("curl", &["-sS", "--max-time", "5", &format!("http://{at}/v1/sessions")]);
            text.ok().and_then(|text| serde_json::from_str::<StorePage>(&text).ok())
        };
        let pages: Vec<Option<StorePage>> = lab.workers.iter().map(|worker| page(worker.at())).collect();
        let is_well = |page: &StorePage| {
            page.has_lease && page.under_replicated == 0 && page.servers.iter().all(|server| server.state == "up")
        };
        let well = pages.iter().all(|page| page.as_ref().is_some_and(is_well));
        let hosted: u64 = pages.iter().flatten().map(|page| page.hosted).sum();
        if well && hosted >= load.with_data() {
            return;
        }
        let patience = Duration::from_mins(2);
        assert!(
            begun.elapsed() < patience,
            "not healed after {patience:?}: {} with data; {pages:#?}\n{}",
            load.with_data(),
            unserved(lab, load)
        );
    }
}

/// Returns what is known of some sessions that are not served, for people.
fn unserved(lab: &SessionLab, load: &SessionLoad) -> String {
    let at = lab.workers[0].at();
    let asked = load.ids().filter_map(|id| {
        let url = format!("http://{at}/v1/session/{id}");
        let answer = lab.client.read("curl", &["-sS", "-i", "--max-time", "10", &url]).unwrap_or_default();
        (!answer.contains(" 200 ")).then_some((id, answer))
    });
    asked.take(5).fold(String::new(), |mut text, (id, answer)| {
        let _ = writeln!(text, "{id}: {answer}");
        for server in &lab.servers {
            let _ =
                writeln!(text, "{}: {:?}", server.at, server.ask(&format!("HGETALL zerottl:boston.app.com:s:{id}")));
        }
        text
    })
}

fn chaos(name: &str, mode: &str, blows: &[Blow], ends: u32) {
    if !can_run("sessions under load while machines die") {
        return;
    }
    let mut lab = SessionLab::start(3, 3, &format!("copies = 2\nwrite = \"{mode}\"\n{SESSION}")).unwrap();
    let workers: Vec<SocketAddr> = lab.workers.iter().map(tests::session_lab::WorkerMachine::at).collect();
    let load = SessionLoad::new(workers, 2000, ends);
    let runtime = Runtime::new().unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (load, machine) = (Arc::clone(&load), Arc::clone(&lab.client));
            let connect = async move |at: SocketAddr| {
                let runtime = Handle::current();
                let socket = machine.run(move || {
                    let _inside = runtime.enter();
                    TcpSocket::new_v4()
                })??;
                socket.connect(at).await
            };
            runtime.spawn(load.client(connect))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    assert!(load.answered.load(Relaxed) > 0, "{load:?}");
    for round in 0..rounds() {
        for blow in blows {
            let (answered, failed, begun) = (load.answered.load(Relaxed), load.failed.load(Relaxed), Instant::now());
            strike(&mut lab, *blow, round);
            let struck = begun.elapsed();
            heal(&lab, &load);
            let (answered, failed) = (load.answered.load(Relaxed) - answered, load.failed.load(Relaxed) - failed);
            println!(
                "{mode} {blow:?} {round}: {answered} answered, {failed} not {:?}; {:.1} s, healed after {:.1}",
                load.reasons(),
                struck.as_secs_f64(),
                begun.elapsed().saturating_sub(struck).as_secs_f64()
            );
            let violations = load.violations();
            if !violations.is_empty() {
                let mut text = String::new();
                for (id, why, lines) in &violations {
                    let _ = writeln!(text, "{id}: {why}all of it:\n{lines}");
                }
                let folder = root().join("target/chaos");
                fs::create_dir_all(&folder).unwrap();
                let file = folder.join(format!("{name}-{blow:?}-{round}.txt"));
                keep(&file, &text, &lab);
                panic!(
                    "{blow:?}, round {round}: {} sessions, the first {}: {}",
                    violations.len(),
                    violations[0].0,
                    violations[0].1
                );
            }
            assert!(answered > 0, "the others did not go on");
        }
    }
    load.stop();
    for client in clients {
        runtime.block_on(client).unwrap();
    }
    assert!(load.violations().is_empty());
    println!(
        "{mode}: {} requests, {} of them failed; nothing lost, nothing old",
        load.requests(),
        load.failed.load(Relaxed)
    );
}

fn keep(file: &Path, text: &str, lab: &SessionLab) {
    let mut all = text.to_owned();
    for worker in &lab.workers {
        let _ = write!(all, "\n--- {}\n{}", worker.ip, worker.log());
    }
    fs::write(file, all).unwrap();
}

/// S1-X-ACK, S1-X-STALE, S0-X-FENCE: with `ack-one`, any one worker or any one session server.
#[test]
fn any_one_may_die_with_ack_one() {
    let blows = [Blow::KillWorker, Blow::StopWorker, Blow::KillServer, Blow::StopServer];
    chaos("ack-one", "ack-one", &blows, 0);
}

/// S1-X-BOTH: with `ack-all`, one of each at once.
#[test]
fn one_of_each_may_die_with_ack_all() {
    let blows = [Blow::KillBoth, Blow::StopBoth, Blow::LoseServer, Blow::Partition];
    chaos("ack-all", "ack-all", &blows, 0);
}

/// S1-X-CONC: sessions that are ended meanwhile do not come back.
#[test]
fn no_session_comes_back_that_was_ended() {
    let blows = [Blow::KillWorker, Blow::StopWorker, Blow::LoseServer];
    chaos("ends", "ack-one", &blows, 20);
}
