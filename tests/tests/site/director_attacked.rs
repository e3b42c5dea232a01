//! A director under hostile servers, hostile clients, and an operator without descriptors.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
};
use tests::{
    director::{DirectorScene, PATIENCE, PLACE, script, server, who},
    lab::can_load,
    process::eventually,
    scratch::root,
};

fn open_descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Connections of clients that send nothing.
fn silent(scene: &DirectorScene, count: usize) -> Vec<TcpStream> {
    let at: SocketAddr = PLACE.parse().unwrap();
    let connect = move || (0..count).map(|_| TcpStream::connect(at)).collect::<Result<Vec<_>, _>>();
    scene.client.run(connect).unwrap().unwrap()
}

/// A server whose child keeps the listener open in a session of its own, and is killed: the child goes with it, and whoever
/// waits in its queue is served by another.
#[test]
fn what_a_killed_server_leaves_gets_nothing() {
    if !can_load("a server's children") {
        return;
    }
    // The child accepts nothing: who came to it would wait for ever.
    let forks = "if os.fork() == 0:\n    os.setsid()\n    while True: time.sleep(1000)\nserve()\n";
    let servers = [script("forks", forks, "").unwrap(), server("a", "").unwrap()];
    let scene = DirectorScene::started(&servers.concat()).unwrap();
    let parent = scene.pid("forks-1").unwrap();
    let children = || fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    assert!(eventually(PATIENCE, || !children().trim().is_empty()));
    let child = children().trim().to_owned();
    kill_process(parent, Signal::STOP).unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| scene.connect().unwrap()).collect();
    for client in &mut clients {
        client.ask("/").unwrap();
    }
    kill_process(parent, Signal::KILL).unwrap();
    for client in &mut clients {
        client.answer().unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
    }
    let is_gone = || fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
    assert!(eventually(PATIENCE, is_gone), "its child lives");
    scene.wait_until_ready().unwrap();
    for _ in 0..4 {
        scene.who().unwrap();
    }
    scene.stop().unwrap();
}

/// A server that ends at once is started later each time, given up, and brought back by `ready`; the others notice nothing.
#[test]
fn a_server_that_ends_at_once_is_given_up() {
    if !can_load("a server that ends at once") {
        return;
    }
    let scene = DirectorScene::new("").unwrap();
    let flag = scene.beside("may-run");
    let ends = format!("if not os.path.exists('{}'): sys.exit(3)\nserve()\n", flag.display());
    let restart = "restart = { delay = \"100ms\", delay_max = \"200ms\", budget = 3, window = \"1m\" }\n";
    let servers = [script("ends", &ends, "").unwrap(), server("a", "").unwrap()];
    scene.write(&format!("{restart}{}", servers.concat())).unwrap();
    let mut scene = scene;
    scene.launch().unwrap();
    scene.wait_for("it is given up", |page| page["servers"][0]["state"] == "down").unwrap();
    let given_up = scene.server("ends-1").unwrap();
    assert!(given_up["why"].as_str().unwrap().contains("exit code 3"), "{given_up:#}");
    for _ in 0..4 {
        assert_eq!(scene.who().unwrap(), "a-1");
    }
    fs::write(&flag, "").unwrap();
    scene.act("ends-1", "ready").unwrap();
    scene.wait_until_ready().unwrap();
    assert!(eventually(PATIENCE, || scene.who().unwrap() == "ends-1"));
    scene.stop().unwrap();
}

/// 1,000 clients wait and reset all at once: the list is empty, and the next one is served.
#[test]
fn a_thousand_leave_at_once() {
    if !can_load("a thousand that wait") {
        return;
    }
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let keys = "max_connections = 1\nhandover = true";
    let director = format!("waiting = {{ max = 1000, timeout = \"10m\" }}\n{}", server("a", keys).unwrap());
    let mut scene = DirectorScene::started(&director).unwrap();
    let mut held = scene.connect().unwrap();
    who(&mut held).unwrap();
    let waiting = silent(&scene, 1000);
    scene.wait_for("they wait", |page| page["waiting"]["now"] == 1000).unwrap();
    let worker = scene.worker().unwrap();
    for client in &waiting {
        set_socket_linger(client, Some(Duration::ZERO)).unwrap();
    }
    drop(waiting);
    scene.wait_for("they have left", |page| page["waiting"]["now"] == 0 && page["waiting"]["left"] == 1000).unwrap();
    let mut next = scene.connect().unwrap();
    next.ask("/").unwrap();
    drop(held);
    assert!(next.answer().unwrap().starts_with("a-1"));
    assert_eq!(scene.figure("a-1", "live").unwrap(), 1);
    assert!(open_descriptors(worker) < 100, "{}", open_descriptors(worker));
    assert_eq!(scene.worker().unwrap(), worker);
    scene.stop().unwrap();
}

/// A server that says 10,000 things that mean nothing, with descriptors, and gives connections away in a loop: the director
/// goes on at its pace, holds no more descriptors, and the other server is served as before.
#[test]
fn a_server_that_raves_starves_nobody() {
    if !can_load("a server that raves") {
        return;
    }
    let raves = "\
def rave():
    pipe = os.pipe()[0]
    file = os.open('/dev/null', os.O_RDONLY)
    link = handover[0]
    for number in range(10000):
        text = [b'\\x01G\\x00', b'\\x01X' + os.urandom(40), b'\\x01D', b'', b'\\x01G\\x05nobod'][number % 5]
        socket.send_fds(link, [text or b'\\x00'], [pipe, file] * (1 + number % 100))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect(('10.7.0.2', 9))
    one = listeners[0].accept()[0]
    while True:
        socket.send_fds(link, [b'\\x01G\\x00'], [udp.fileno()])
        socket.send_fds(link, [b'\\x01G\\x00'], [one.fileno()])
threading.Thread(target=rave, daemon=True).start()
while True: time.sleep(1000)
";
    let servers = [script("raves", raves, "handover = true").unwrap(), server("a", "handover = true").unwrap()];
    let director = format!("waiting = {{ max = 100 }}\n{}", servers.concat());
    let mut scene = DirectorScene::started(&director).unwrap();
    let worker = scene.worker().unwrap();
    // One of these is what it gives away again and again.
    let _to_rave = silent(&scene, 2);
    let (mut most, mut slowest) = (0, Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        scene.page().unwrap_or_else(|error| panic!("{error}\n{}", scene.log()));
        slowest = slowest.max(asked.elapsed());
        most = most.max(open_descriptors(worker));
    }
    println!("at most {most} descriptors; the slowest page took {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(most < 2000, "{most} descriptors");
    assert_eq!(scene.worker().unwrap(), worker, "{}", scene.log());
    let page = scene.page().unwrap();
    assert_eq!((&page["waiting"]["full"], &page["waiting"]["now"]), (&0.into(), &0.into()), "{page:#}");
    assert!(page["servers"][1]["handed_over"].as_u64().unwrap() <= 3, "the one, not again and again: {page:#}");
    scene.act("raves-1", "drain").unwrap();
    for _ in 0..20 {
        assert_eq!(scene.who().unwrap(), "a-1");
    }
    scene.stop().unwrap();
}

/// A server that reads none of the connections that it is handed: who waited for it is given to another within seconds.
#[test]
fn a_server_that_reads_nothing_keeps_nobody() {
    if !can_load("a server that does not read") {
        return;
    }
    let keys = "max_connections = 1\nhandover = true";
    let servers = [script("deaf", "serve()\n", keys).unwrap(), server("a", keys).unwrap()];
    let scene = DirectorScene::started(&servers.concat()).unwrap();
    let (mut one, mut other) = (scene.connect().unwrap(), scene.connect().unwrap());
    let name = who(&mut one).unwrap();
    who(&mut other).unwrap();
    let (of_deaf, of_a) = if name == "deaf-1" { (one, other) } else { (other, one) };
    let mut client = scene.connect().unwrap();
    client.ask("/").unwrap();
    scene.wait_for("it waits", |page| page["waiting"]["now"] == 1).unwrap();
    drop(of_deaf);
    scene.wait_for("it was handed over", |page| page["servers"][0]["handed_over"] == 1).unwrap();
    drop(of_a);
    assert!(client.answer().unwrap().starts_with("a-1"), "{}", scene.log());
    scene.stop().unwrap();
}

/// The worker stands still for 5 s while clients wait: they wait on, nobody is lost, and nobody is thought to hang.
#[test]
fn a_worker_that_stood_still_goes_on() {
    if !can_load("a worker that stands still") {
        return;
    }
    let keys = "max_connections = 1\nhandover = true\nhang_after = \"200ms\"\ncheck = { interval = \"200ms\", timeout = \"200ms\" }";
    let mut scene = DirectorScene::started(&server("a", keys).unwrap()).unwrap();
    let mut held = scene.connect().unwrap();
    who(&mut held).unwrap();
    let waiting: Vec<_> = (1..=5)
        .map(|number| {
            let mut client = scene.connect().unwrap();
            client.ask("/").unwrap();
            scene.wait_for("it waits", |page| page["waiting"]["now"] == number).unwrap();
            client
        })
        .collect();
    let (worker, pid) = (scene.worker().unwrap(), scene.pid("a-1").unwrap());
    kill_process(worker, Signal::STOP).unwrap();
    thread::sleep(Duration::from_secs(5));
    kill_process(worker, Signal::CONT).unwrap();
    drop(held);
    for mut client in waiting {
        assert!(client.answer().unwrap().starts_with("a-1"), "{}", scene.log());
    }
    assert_eq!((scene.worker().unwrap(), scene.pid("a-1").unwrap()), (worker, pid), "{}", scene.log());
    scene.stop().unwrap();
}

/// The whole machine stands still for 5 s, and its server goes on a little later than the director: it is not thought to hang.
#[test]
fn a_machine_that_stood_still_goes_on() {
    if !can_load("a machine that stands still") {
        return;
    }
    let mut scene = DirectorScene::started(&server("a", "hang_after = \"200ms\"").unwrap()).unwrap();
    scene.who().unwrap();
    let (worker, pid) = (scene.worker().unwrap(), scene.pid("a-1").unwrap());
    for process in [worker, pid] {
        kill_process(process, Signal::STOP).unwrap();
    }
    thread::sleep(Duration::from_secs(5));
    kill_process(worker, Signal::CONT).unwrap();
    // Some looks of the director, at a page that is 5 s old.
    thread::sleep(Duration::from_millis(300));
    kill_process(pid, Signal::CONT).unwrap();
    scene.wait_for("it serves", |page| page["servers"][0]["state"] == "ready").unwrap();
    thread::sleep(Duration::from_millis(300));
    scene.who().unwrap();
    assert_eq!((scene.worker().unwrap(), scene.pid("a-1").unwrap()), (worker, pid), "{}", scene.log());
    assert_eq!(scene.figure("a-1", "restarts").unwrap(), 0);
    scene.stop().unwrap();
}

/// A director with few descriptors lets fewer wait, and says so; a server that dies is started again all the same.
#[test]
fn few_descriptors_are_shared_out() {
    if !can_load("a director with few descriptors") {
        return;
    }
    let keys = "max_connections = 1\nhandover = true";
    let director = format!("waiting = {{ max = 1000, timeout = \"10m\" }}\n{}", server("a", keys).unwrap());
    let mut scene = DirectorScene::new(&director).unwrap();
    scene.launch_under(&["prlimit", "--nofile=400:400", "--"].map(str::to_owned)).unwrap();
    scene.wait_until_ready().unwrap();
    assert!(scene.log().contains("400 file descriptors are fewer than"), "{}", scene.log());
    let mut held = scene.connect().unwrap();
    who(&mut held).unwrap();
    let _waiting = silent(&scene, 500);
    let all =
        |page: &serde_json::Value| page["waiting"]["now"].as_u64().unwrap() + page["waiting"]["full"].as_u64().unwrap();
    scene.wait_for("they wait, or are told", |page| all(page) == 500).unwrap();
    let page = scene.page().unwrap();
    assert!(page["waiting"]["now"].as_u64().unwrap() >= 8, "{page:#}");
    let before = scene.pid("a-1").unwrap();
    kill_process(before, Signal::KILL).unwrap();
    scene
        .wait_for("it is there again", |page| {
            page["servers"][0]["state"] == "ready" && page["servers"][0]["restarts"] == 1
        })
        .unwrap();
    assert_ne!(scene.pid("a-1").unwrap(), before);
    scene.stop().unwrap();
}

/// The capabilities of the unit and no others are enough: the kernel chooses.
#[test]
fn the_units_capabilities_are_enough() {
    if !can_load("a director with the unit's capabilities") {
        return;
    }
    let unit = fs::read_to_string(root().join("packaging/systemd/zerottl-director@.service")).unwrap();
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned();
    assert_eq!(of("CapabilityBoundingSet"), of("AmbientCapabilities"));
    let mut words: Vec<String> = of("CapabilityBoundingSet")
        .split_whitespace()
        .map(|word| word.to_lowercase().replacen("cap_", "+", 1))
        .collect();
    // For its cgroup, which systemd would have delegated.
    words.push("+dac_override".to_owned());
    let mut scene = DirectorScene::new(&server("a", "count = 2").unwrap()).unwrap();
    scene.launch_under(&["setpriv".to_owned(), format!("--bounding-set=-all,{}", words.join(","))]).unwrap();
    scene.wait_until_ready().unwrap();
    assert_eq!(scene.page().unwrap()["kernel"], true, "{}", scene.log());
    let status = fs::read_to_string(format!("/proc/{}/status", scene.worker().unwrap())).unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(u64::from_str_radix(bounding, 16).unwrap().count_ones() as usize, words.len(), "{status}");
    for _ in 0..4 {
        scene.who().unwrap();
    }
    scene.stop().unwrap();
}
