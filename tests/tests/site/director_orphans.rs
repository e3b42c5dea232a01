//! Directors after one that was killed, and beside one that runs.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    agent::binary,
    director::{DirectorScene, PATIENCE, PLACE, script, server, who},
    lab::can_load,
    process::eventually,
};

/// Whether it runs; a zombie does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A director that is killed with its keeper leaves servers: once the next one runs they get no new connections, finish those
/// that they have, and end, also one that does not want to.
#[test]
fn orphans_finish_and_end() {
    if !can_load("a director after one that was killed") {
        return;
    }
    let stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve()\n";
    let director = "drain_timeout = \"5s\"\n";
    let old = [server("a", "count = 2").unwrap(), script("stubborn", stubborn, "").unwrap()];
    let mut scene = DirectorScene::started(&format!("{director}{}", old.concat())).unwrap();
    let names = ["a-1", "a-2", "stubborn-1"];
    let pids = names.map(|name| scene.pid(name).unwrap());
    let mut client = loop {
        let mut client = scene.connect().unwrap();
        if who(&mut client).unwrap() == "a-1" {
            break client;
        }
    };
    scene.keeper().kill();
    assert!(who(&mut scene.connect().unwrap()).is_ok(), "they go on, and the kernel chooses");
    assert!(pids.iter().all(|pid| runs(*pid)));

    // One has the same name, and so might meet the same slot.
    let new = [server("a", "").unwrap(), server("b", "").unwrap()];
    scene.write(&format!("{director}{}", new.concat())).unwrap();
    scene.start().unwrap();
    let begun = Instant::now();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = scene.connect().unwrap();
        who(&mut client).unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
        held.push(client);
    }
    let of = ["a-1", "b-1"].map(|name| scene.figure(name, "live").unwrap());
    assert_eq!(of, [10, 10], "old ones got some\n{:#}", scene.page().unwrap());
    assert!(eventually(PATIENCE, || !runs(pids[1])), "{}", scene.log());
    if begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(who(&mut client).unwrap(), "a-1", "its connection goes on");
        assert!(runs(pids[0]));
    }
    drop(client);
    assert!(eventually(PATIENCE, || pids.iter().all(|pid| !runs(*pid))), "{}", scene.log());
    for client in &mut held {
        who(client).unwrap();
    }
    drop(held);
    scene.stop().unwrap();
}

/// S2-X-DSTATE: the worker is killed in any phase of a rolling restart: it goes on, nobody is refused, and all are ready and
/// others afterwards.
#[test]
fn s2_x_dstate_a_rolling_restart_outlives_the_worker() {
    if !can_load("a rolling restart whose director is killed") {
        return;
    }
    let keys = "count = 3\ncheck = { path = \"/\", interval = \"200ms\", timeout = \"200ms\" }";
    let mut scene = DirectorScene::started(&server("a", keys).unwrap()).unwrap();
    let names = ["a-1", "a-2", "a-3"];
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let faults = Arc::new(std::sync::Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, served, faults) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&faults));
            let connect = scene.connector();
            thread::spawn(move || {
                while !stop.load(SeqCst) {
                    match connect.connect().and_then(|mut client| who(&mut client)) {
                        Ok(_) => drop(served.fetch_add(1, SeqCst)),
                        Err(error) => faults.lock().unwrap().push(error.to_string()),
                    }
                }
            })
        })
        .collect();
    let mut random = u64::from(std::process::id());
    for round in 0..8 {
        let before = names.map(|name| scene.pid(name).unwrap());
        assert_eq!(scene.ask("POST", "/v1/director/restart").unwrap().0, 200);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wait = Duration::from_millis((random >> 33) % 600);
        thread::sleep(wait);
        scene.kill_worker().unwrap();
        let done = eventually(PATIENCE, || {
            names.iter().zip(&before).all(|(name, before)| {
                scene.server(name).is_ok_and(|server| {
                    let pid = server["pid"].as_i64();
                    server["state"] == "ready" && pid.is_some_and(|pid| pid != i64::from(before.as_raw_nonzero().get()))
                })
            })
        });
        assert!(done, "round {round}, killed after {wait:?}\n{:#}\n{}", scene.page().unwrap(), scene.log());
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    println!("{} served", served.load(SeqCst));
    assert_eq!(faults.lock().unwrap().as_slice(), [""; 0], "{}", scene.log());
    scene.stop().unwrap();
}

/// Starts another director on the machine; returns how it ended and what it said.
fn another(scene: &DirectorScene, file: PathBuf) -> io::Result<(bool, String)> {
    let mut command = Command::new(binary()?);
    command.arg("director").arg("--config").arg(file).args(["--as", "boston"]);
    let output = scene.machine.output(command)?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// A second director for a Site is refused with a reason, whether it has the same `control` or the same pins, and does the
/// first no harm, which is not there to see it between two workers.
#[test]
fn a_second_director_is_refused() {
    if !can_load("two directors") {
        return;
    }
    let mut scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let mut client = scene.connect().unwrap();
    let name = who(&mut client).unwrap();
    let check = |scene: &DirectorScene, file: PathBuf, expect: &str| {
        let (success, said) = another(scene, file).unwrap();
        assert!(!success && said.contains(expect), "{said}");
    };
    check(&scene, scene.file(), "another director runs with this `control`");
    let worker = scene.worker().unwrap();
    kill_process(worker, Signal::STOP).unwrap();
    check(&scene, scene.file(), "another director runs with this `control`");
    kill_process(worker, Signal::CONT).unwrap();
    // With places of its own, and still the same Site's.
    let text = fs::read_to_string(scene.file()).unwrap();
    let text = text.replace("director.sock", "other.sock").replace("127.0.0.1:8054", "127.0.0.1:8055");
    let other = scene.beside("other.toml");
    fs::File::create(&other).unwrap().write_all(text.as_bytes()).unwrap();
    check(&scene, other, "another director uses it");
    assert_eq!(who(&mut client).unwrap(), name);
    let mut by: Vec<_> = (0..6).map(|_| scene.who().unwrap()).collect();
    by.sort();
    assert_eq!(by, ["a-1", "a-1", "a-1", "a-2", "a-2", "a-2"], "{}", scene.log());
    assert_eq!(scene.worker().unwrap(), worker);
    scene.stop().unwrap();
}

/// An address that another program has is told, with what to do.
#[test]
fn a_place_that_is_taken_is_told() {
    if !can_load("a place that is taken") {
        return;
    }
    let mut scene = DirectorScene::new(&server("a", "").unwrap()).unwrap();
    let _other = scene.machine.run(|| TcpListener::bind(PLACE)).unwrap().unwrap();
    scene.launch().unwrap();
    assert!(!scene.keeper().wait(PATIENCE).unwrap().success());
    let said = format!("{PLACE} is in use: by another program");
    assert!(scene.log().contains(&said), "{}", scene.log());
}
