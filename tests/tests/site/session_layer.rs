//! An application in Rust with the sessions' layer, as several workers with real session servers.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    lab::can_run,
    session_lab::{SessionLab, WorkerMachine},
};

use super::session_journal::Asker;

const SESSION: &str = "write = \"ack-one\"\nlease = \"1s\"\ntimeout = \"200ms\"\n";
const CLIENTS: usize = 9;

fn shop(worker: &WorkerMachine, cookie: &str) -> std::io::Result<Asker> {
    Asker::to(&worker.machine, (worker.ip, 80).into(), &format!("Host: boston.app.com\r\nCookie: {cookie}"))
}

fn lab(workers: u8) -> SessionLab {
    let mut lab = SessionLab::start(workers, 3, SESSION).unwrap();
    lab.workers.iter_mut().for_each(|worker| worker.start_cart().unwrap());
    lab
}

/// Begins a session, as a browser does that comes by the Pool Name.
fn cookie(worker: &WorkerMachine) -> String {
    let (mut host, mut path) = ("app.com".to_owned(), "/".to_owned());
    for _ in 0..5 {
        let mut asker = Asker::to(&worker.machine, (worker.ip, 80).into(), &format!("Host: {host}")).unwrap();
        let (status, set, body) = asker.ask("GET", &path, "").unwrap();
        if status == 200 {
            assert_eq!(body, "[]");
            return set.unwrap().split(';').next().unwrap().to_owned();
        }
        let to = body.split_once("http://").unwrap().1.split('"').next().unwrap().replace("&amp;", "&");
        let (to_host, to_path) = to.split_once('/').unwrap();
        (host, path) = (to_host.to_owned(), format!("/{to_path}"));
    }
    panic!("no session after five redirects; last to {host}{path}");
}

/// Asks until the worker can tell.
fn patiently(worker: &WorkerMachine, cookie: &str, method: &str, target: &str) -> (u16, String) {
    let begun = Instant::now();
    loop {
        let answer = shop(worker, cookie).and_then(|mut shop| shop.ask(method, target, ""));
        match answer {
            Ok((503, ..)) | Err(_) if begun.elapsed() < Duration::from_secs(20) => sleep(Duration::from_millis(20)),
            answer => {
                let (status, _, body) = answer.unwrap();
                return (status, body);
            }
        }
    }
}

/// S1-X-CONC: what three workers put into one cart at once is all there once each, through a death of one of them; a logout at
/// one of them is one at all.
#[test]
fn s1_x_conc_the_layer_loses_no_update() {
    if !can_run("an application whose carts are in sessions") {
        return;
    }
    let mut lab = lab(3);
    let cookie = cookie(&lab.workers[0]);
    let stop = Arc::new(AtomicBool::new(false));
    let (kept, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (machine, ip) = (Arc::clone(&lab.client), lab.workers[client % 3].ip);
            let (cookie, stop) = (cookie.clone(), Arc::clone(&stop));
            let (kept, refused) = (Arc::clone(&kept), Arc::clone(&refused));
            thread::spawn(move || {
                let fields = format!("Host: boston.app.com\r\nCookie: {cookie}");
                let mut open = None;
                for number in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let connect = || Asker::to(&machine, (ip, 80).into(), &fields).ok();
                    let Some(mut connection) = open.take().or_else(connect) else {
                        sleep(Duration::from_millis(50));
                        continue;
                    };
                    let item = format!("{client}.{number}");
                    match connection.ask("POST", "/add", &item) {
                        Ok((200, ..)) => kept.lock().unwrap().push(item),
                        Ok((503, ..)) => drop(refused.fetch_add(1, Relaxed)),
                        Ok(other) => panic!("{other:?}"),
                        Err(_) => continue,
                    }
                    open = Some(connection);
                    sleep(Duration::from_millis(2));
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(4));
    lab.workers[2].kill();
    sleep(Duration::from_secs(3));
    stop.store(true, Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let kept = kept.lock().unwrap();
    println!("{} changes acknowledged, {} refused", kept.len(), refused.load(Relaxed));
    for worker in &lab.workers[..2] {
        let cart: Vec<String> = serde_json::from_str(&patiently(worker, &cookie, "GET", "/").1).unwrap();
        let lost: Vec<_> = kept.iter().filter(|item| cart.iter().filter(|one| one == item).count() != 1).collect();
        assert!(lost.is_empty(), "{} of {} are not there once: {lost:?}", lost.len(), kept.len());
    }
    assert!(kept.len() > 200, "{}", kept.len());
    assert_eq!(patiently(&lab.workers[1], &cookie, "POST", "/logout").0, 200);
    for worker in &lab.workers[..2] {
        assert_eq!(patiently(worker, &cookie, "POST", "/add").0, 410);
        assert_eq!(patiently(worker, &cookie, "GET", "/"), (200, "[]".to_owned()));
    }
}

/// S1-7: a session moves at once to another worker that lives as well, and one that is no worker is not given it.
#[test]
fn s1_7_a_session_is_given_up_to_a_worker_that_is_asked_for_it() {
    if !can_run("an application whose carts are in sessions") {
        return;
    }
    let lab = lab(2);
    let (a, b) = (&lab.workers[0], &lab.workers[1]);
    let cookie = cookie(a);
    for (number, worker) in [a, b, a, b, b, a].into_iter().enumerate() {
        let begun = Instant::now();
        let (status, body) = patiently(worker, &cookie, "POST", "/add");
        assert_eq!((status, body), (200, (number + 1).to_string()));
        assert!(begun.elapsed() < Duration::from_millis(900), "without waiting for a lease: {:?}", begun.elapsed());
    }
    let page = |worker: &WorkerMachine| -> Value {
        let mut asker = Asker::to(&worker.machine, worker.at(), "Host: 127.0.0.1").unwrap();
        serde_json::from_str(&asker.ask("GET", "/v1/sessions", "").unwrap().2).unwrap()
    };
    assert_eq!((page(a)["hosted"].as_u64(), page(b)["hosted"].as_u64()), (Some(1), Some(0)));
    let id = cookie.split_once('=').unwrap().1.split('.').next().unwrap();
    for (worker, status) in [("nobody.1", 403), ("", 403), (page(a)["worker"].as_str().unwrap(), 403)] {
        let fields = format!("Host: 127.0.0.1\r\nX-Zerottl-Worker: {worker}");
        let mut asker = Asker::to(&a.machine, a.at(), &fields).unwrap();
        assert_eq!(asker.ask("POST", &format!("/v1/session/{id}/release"), "").unwrap().0, status, "{worker}");
    }
    assert_eq!(page(a)["hosted"].as_u64(), Some(1));
}
