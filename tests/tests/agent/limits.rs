//! Behaviour at the bounds: descriptors run out, clients say nothing, targets never end, this machine is starved, a disk
//! hangs. Whoever asks properly is answered all the while, and nobody is blamed for it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use domain::base::Rtype;
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with},
    process::{Resource, Rlimit, Signal, getrlimit, setrlimit},
};
use tests::{
    agent::Agent,
    config::{Config, ProbeConfig},
    lab::{Lab, LabSpec, can_run, front_addresses, front_v4},
    netns::Netns,
    process::{Process, cpu_ticks, eventually},
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
    scratch::find_tool,
    site::Serves,
    target::{Manner, Target},
    turn::alone,
    walk::{Curl, unix_now},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than any part has places for.
const IDLE: usize = 2_000;
/// From so many addresses.
const CLIENTS: usize = 80;

/// Connections that say nothing, from inside a namespace.
struct Silent {
    _open: Vec<OwnedFd>,
    before: Rlimit,
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Agents of other tests are started with this process's limits.
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}

impl Silent {
    /// Opens them, as fast as the server takes them; from addresses of `net`, 1 to [`CLIENTS`], in turn.
    fn open(machine: &Netns, count: usize, net: [u8; 3], to: SocketAddr) -> Self {
        // Both ends of a few thousand connections are not within the usual limit of a process.
        let before = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
        let open = move || -> io::Result<Vec<OwnedFd>> {
            (0..count)
                .map(|n| {
                    let [a, b, c] = net;
                    let from = Ipv4Addr::new(a, b, c, 1 + (n % CLIENTS) as u8);
                    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                    bind(&socket, &SocketAddr::from((from, 0)))?;
                    connect(&socket, &to)?;
                    Ok(socket)
                })
                .collect()
        };
        Self { _open: machine.run(open).expect("the namespace").expect("connections"), before }
    }
}

/// One question over a TCP connection of its own; how long it took.
fn over_tcp(scene: &Scene, name: &str) -> io::Result<Duration> {
    let question = ClientQuestion::new(name, Rtype::A, Some(ClientEdns::USUAL))?;
    let begun = Instant::now();
    let ask = move || -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&(front_v4(0), 53).into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let query = question.query(rand::random(), rand::random());
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        question.judge(&query, answer).and_then(|answer| answer.address()).map(drop).map_err(io::Error::other)
    };
    scene.lab.client.run(ask)??;
    Ok(begun.elapsed())
}

/// Whether everything is right now: answers by UDP and TCP, load, pages over TCP and the Unix socket, Sites, the interface.
/// Returns the longest that an answer by TCP took.
fn all_is_well(scene: &Scene, socket: &str, when: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in 0..12 {
        let report =
            ["geneva", "boston", "chicago"].map(|key| format!("{{\"site\":\"{key}\",\"current\":10}}")).join(",");
        scene.agent.post("/v1/load", &format!("[{report}]")).unwrap_or_else(|e| panic!("{when}: push {round}: {e}"));
        for name in ["app.com", "geneva.app.com", "europe.app.com"] {
            slowest = slowest.max(over_tcp(scene, name).unwrap_or_else(|e| panic!("{when}: {name}: {e}")));
        }
        scene.client(round % 2 == 0).lookup("app.com", false).unwrap_or_else(|e| panic!("{when}: UDP: {e}"));
        scene.agent.zerottl(&["status", "--admin", socket]).unwrap_or_else(|e| panic!("{when}: {e}"));
        let status = scene.agent.status().unwrap_or_else(|e| panic!("{when}: {e}"));
        for key in ["geneva", "boston", "chicago"] {
            assert_eq!(status.site_is_up(key), Some(true), "{when}: {key}:\n{}", scene.agent.log());
        }
        let shares = status.shares("app.com");
        assert!(shares.len() == 3 && shares.iter().all(|(_, share)| *share > 0.1), "{when}: {shares:?}");
        assert_eq!(status.0["front"]["attach"][0]["mode"], "native", "{when}: {}", status.0["front"]);
    }
    slowest
}

/// `ulimit -n 1024`, as a hard limit, so that nothing can be raised: under 2,000 idle connections from 80 addresses to port 53
/// and 400 to the admin address, everything is right: answers by UDP and TCP, probes in both directions, load, admin pages over TCP
/// and the Unix socket, the interface. So it is when they have gone. With a soft limit of as many, nothing is even short.
#[test]
fn idle_connections_and_few_descriptors_harm_nobody() {
    let _alone = alone();
    for limit in ["1024:1024", "1024:4096"] {
        if !can_run("limits: 1,024 descriptors under 2,000 idle connections") {
            return;
        }
        let lab = Lab::start(&LabSpec::default()).unwrap_or_else(|e| panic!("lab: {e}"));
        let socket = format!("unix:{}", lab.path().join("admin.sock").display());
        let config = Config {
            admin: format!("listen = [\"127.0.0.1:8053\", \"{socket}\"]"),
            site_keys: "load = { kind = \"push\", capacity = 100, stale_after = \"1h\", when_stale = \"drain\" }"
                .into(),
            ..Config::default()
        };
        let prlimit = ["prlimit".to_owned(), format!("--nofile={limit}")];
        let agent = Agent::start_under(&lab, 0, &config, &prlimit).unwrap_or_else(|e| panic!("{e}"));
        let scene = Scene { agent, lab, config };
        let all_up = [("geneva", true), ("boston", true), ("chicago", true)];
        scene.wait_for(&all_up);
        let idle = Silent::open(&scene.lab.client, IDLE, [198, 18, 7], (front_v4(0), 53).into());
        let admin = Silent::open(&scene.lab.fronts[0], 400, [127, 9, 9], ([127, 0, 0, 1], 8053).into());
        let begun = Instant::now();
        let slowest = all_is_well(&scene, &socket, "under idle connections");
        eprintln!("{limit}: 12 rounds under idle ones in {:?}, TCP answers within {slowest:?}", begun.elapsed());
        scene.lab.site("boston").kill();
        scene.wait_for(&[("geneva", true), ("boston", false), ("chicago", true)]);
        scene.lab.site("boston").restart().expect("it starts");
        scene.wait_for(&all_up);
        drop((idle, admin));
        let slowest = all_is_well(&scene, &socket, "after them");
        eprintln!("{limit}: after them TCP answers within {slowest:?}");
        let log = scene.agent.log();
        for words in ["not tried", "is gone", "failed", "too many"] {
            let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
            assert!(lines.len() < 3, "{} lines with {words:?}, such as {}", lines.len(), lines[0]);
        }
        assert_eq!(log.contains("file descriptors are fewer"), limit == "1024:1024", "{log}");
        assert!(scene.agent.attached("eth0").expect("asked").is_some());
    }
}

/// A Site's own server keeps its bounds: 2,000 idle connections to its front, from many addresses, half of them with a head that goes
/// no further, and hard limits of descriptors.
#[test]
fn idle_connections_and_few_descriptors_harm_no_visitor() {
    let _alone = alone();
    let web = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nadmin = \"127.0.0.1:9080\"\n";
    let config = Config { more: web.into(), probe: None, ..Config::default() };
    let serves = Serves::Front(Box::new(config.clone()));
    let what = "limits: a Site's 1,024 descriptors under 2,000 idle connections";
    let spec = LabSpec { sites: config.sites.clone(), serves, ..LabSpec::default() };
    let Some(scene) = Scene::in_lab(what, &spec, config) else { return };
    let boston = scene.lab.site("boston");
    boston
        .restart_front_under(&["prlimit".to_owned(), "--nofile=1024:1024".to_owned()])
        .unwrap_or_else(|e| panic!("{e}"));
    let address = boston.config.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let idle = Silent::open(&scene.lab.client, IDLE, [198, 18, 8], (address.expect("IPv4"), 80).into());
    let client = Curl::new(&scene.lab);
    let visits = |when: &str| {
        let begun = Instant::now();
        for _ in 0..30 {
            let walk = client.go(&format!("http://boston.app.com/distrib={}", unix_now()));
            assert_eq!((walk.status(), walk.site()), (200, "boston"), "{when}: {walk:?}\n{}", boston.log());
        }
        let metrics = boston.machine.read("curl", &["-sSf", "--max-time", "5", "http://127.0.0.1:9080/metrics"]);
        let metrics = metrics.unwrap_or_else(|e| panic!("{when}: {e}"));
        let is_healthy = |line: &str| line.starts_with("zerottl_site_backend_healthy{") && line.contains("} 1");
        assert!(metrics.lines().any(is_healthy), "{when}: {metrics}");
        eprintln!("{when}: 30 visits in {:?}", begun.elapsed());
    };
    visits("under idle connections");
    drop(idle);
    visits("after them");
    let lines = boston.log().lines().filter(|line| line.contains("failed") || line.contains("not healthy")).count();
    assert!(lines < 3, "{}", boston.log());
}

/// Two Sites whose probe targets never come to an end cost little, and the third is none the worse.
#[test]
fn targets_without_end_cost_nobody_else() {
    let Some(scene) = Scene::start("limits: targets that send for ever", Config::default()) else { return };
    let mut endless = Vec::new();
    for key in ["geneva", "chicago"] {
        let site = scene.lab.site(key);
        site.kill();
        for address in &site.config.addresses {
            endless.push(Target::start(&site.machine, (*address, 80).into(), Manner::Interim).expect("a target"));
        }
    }
    scene.wait_for(&[("geneva", false), ("boston", true), ("chicago", false)]);
    let (before, begun) = (cpu_ticks(scene.agent.pid()).expect("it runs"), Instant::now());
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(scene.agent.status().expect("a status").site_is_up("boston"), Some(true));
        thread::sleep(Duration::from_millis(100));
    }
    let ticks = u32::try_from(cpu_ticks(scene.agent.pid()).expect("it runs") - before).expect("not for years");
    let share = f64::from(ticks) / 100.0 / begun.elapsed().as_secs_f64();
    eprintln!("four endless targets: {share:.2} of a core");
    assert!(share < 0.5, "{share} of a core");
    let error = scene.agent.get("/v1/status").expect("a status");
    assert!(error.contains("interim responses"), "{error}");
}

/// Busy loops that end with this.
struct Loops {
    _processes: Vec<Process>,
}

impl Loops {
    fn start(machine: &Netns, count: usize) -> Self {
        let one = |_| {
            // Below the Sites, above the agent.
            let mut command = Command::new("nice");
            command.args(["-n", "5", "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            Process::new(machine.spawn(command).expect("a shell"))
        };
        Self { _processes: (0..count).map(one).collect() }
    }
}

/// A target that takes its time: more than half of the timeout. Its threads end with the process.
fn slow(machine: &Netns, address: SocketAddr) {
    let listener = machine.run(move || TcpListener::bind(address)).expect("the namespace").expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || -> io::Result<()> {
                let length = stream.read(&mut [0; 1024])?;
                thread::sleep(Duration::from_millis(230));
                let answer = if length > 0 { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" } else { "" };
                stream.write_all(answer.as_bytes())
            });
        }
    });
}

/// An agent that runs only when nothing else does, beside busy loops on every core: what it misses is not the Sites' fault.
#[test]
fn a_starved_machine_blames_no_site() {
    let _alone = alone();
    let probe = ProbeConfig { interval_ms: 500, timeout_ms: 400, rise: 1, fall: 1 };
    let config = Config { probe: Some(probe), ..Config::default() };
    let Some(scene) = Scene::start("limits: a starved agent", config) else { return };
    for site in &scene.lab.sites {
        site.kill();
        site.config.addresses.iter().for_each(|address| slow(&site.machine, (*address, 80).into()));
    }
    let up = [("geneva", true), ("boston", true), ("chicago", true)];
    let is_steady = || {
        thread::sleep(Duration::from_secs(1));
        scene.agent.wait_for(&up, Duration::ZERO).is_ok()
    };
    assert!(eventually(PATIENCE, || (0..3).all(|_| is_steady())), "they are slow, but not too slow");
    let pid = scene.agent.pid().to_string();
    let before = scene.agent.log().len();
    run("chrt", &["--all-tasks", "--idle", "--pid", "0", &pid]).expect("chrt");
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let loops = Loops::start(&scene.lab.fronts[0], cores * 6);
    thread::sleep(Duration::from_secs(15));
    drop(loops);
    run("chrt", &["--all-tasks", "--other", "--pid", "0", &pid]).expect("chrt");
    let log = scene.agent.log();
    let downs: Vec<_> = log[before..].lines().filter(|line| line.contains("to=Down")).collect();
    assert!(downs.is_empty(), "no Site has failed: {downs:#?}");
    scene.wait_for(&up);
}

/// A file system of its own for the state, which can be frozen: whoever writes there then waits, and no signal frees them.
/// Mounted where the front sees it.
struct Disk {
    machine: Arc<Netns>,
    at: PathBuf,
    frozen: bool,
}

impl Disk {
    fn new(machine: &Arc<Netns>, folder: &Path) -> io::Result<Self> {
        let (image, at) = (folder.join("disk"), folder.join("mnt"));
        File::create(&image)?.set_len(8 << 20)?;
        fs::create_dir(&at)?;
        run("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
        machine.read("mount", &["-o", "loop", &image.to_string_lossy(), &at.to_string_lossy()])?;
        Ok(Self { machine: Arc::clone(machine), at, frozen: false })
    }

    fn freeze(&mut self, frozen: bool) {
        let how = if frozen { "-f" } else { "-u" };
        self.machine.read("fsfreeze", &[how, &self.at.to_string_lossy()]).expect("fsfreeze");
        self.frozen = frozen;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen {
            self.freeze(false);
        }
        eventually(PATIENCE, || self.machine.read("umount", &[&self.at.to_string_lossy()]).is_ok());
    }
}

fn run(tool: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(find_tool(tool)?).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// A state directory on a disk that hangs holds up neither the end nor the next start, and it is said.
#[test]
fn a_state_disk_that_hangs_holds_up_nothing() {
    let _alone = alone();
    if !can_run("limits: a state disk that hangs") {
        return;
    }
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).unwrap_or_else(|e| panic!("lab: {e}"));
    let mut disk = match Disk::new(&lab.fronts[0], &lab.folder("disk").expect("a folder")) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("NOT TESTED: a state disk that hangs ({error})"),
    };
    let config = Config { probe: None, state: Some(disk.at.join("state")), ..Config::default() };
    let mut agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
    let word = |agent: &Agent, word: &str| {
        agent
            .post("/v1/sites/word", &format!(r#"{{"sites":"boston","word":"{word}"}}"#))
            .unwrap_or_else(|e| panic!("{e}"))
    };
    assert!(word(&agent, "drain").contains(r#""kept":true"#));
    disk.freeze(true);
    assert!(word(&agent, "ready").contains(r#""kept":false"#), "nobody is told that it is kept");
    let is_told = || agent.log().contains("the state cannot be saved (the disk has not answered");
    assert!(eventually(PATIENCE, is_told), "{}", agent.log());
    let begun = Instant::now();
    agent.end(Signal::TERM).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("ended within {:?} over a frozen disk", begun.elapsed());
    assert!(agent.log().contains("the last state is not saved"), "{}", agent.log());
    // What was kept before is read all the same; where not even that can be, the agent starts without.
    agent.restart(&[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(agent.get("/v1/status").is_ok());
    disk.freeze(false);
    let is_kept = || word(&agent, "drain").contains(r#""kept":true"#);
    assert!(eventually(PATIENCE, is_kept), "{}", agent.log());
    agent.stop(Signal::TERM).unwrap_or_else(|e| panic!("{e}"));
}

/// Reading that hangs: a named pipe where the file should be.
#[test]
fn a_state_file_that_hangs_does_not_hold_up_the_start() {
    let config = Config { probe: None, ..Config::default() };
    let Some(mut scene) = Scene::start("limits: a state file that hangs", config) else { return };
    let said = scene.agent.post("/v1/sites/word", r#"{"sites":"boston","word":"drain"}"#).expect("said");
    assert!(said.contains(r#""kept":true"#), "{said}");
    scene.agent.end(Signal::TERM).expect("it ends");
    let file = scene.agent.folder().join("state/state.json");
    fs::remove_file(&file).expect("it was kept");
    run("mkfifo", &[&file.to_string_lossy()]).expect("a pipe");
    scene.agent.restart(&[]).unwrap_or_else(|e| panic!("{e}"));
    let log = scene.agent.log();
    assert!(log.contains("the saved state cannot be used: the disk has not answered within"), "{log}");
    scene.agent.end(Signal::TERM).unwrap_or_else(|e| panic!("{e}"));
}

/// Two agents do not keep their state in one directory: the second is refused, and told by whom.
#[test]
fn a_state_directory_has_one_agent() {
    let what = "limits: two agents with one state directory";
    if !can_run(what) {
        return;
    }
    let spec = LabSpec { fronts: 2, sites: vec![], ..LabSpec::default() };
    let lab = Lab::start(&spec).unwrap_or_else(|e| panic!("lab: {e}"));
    let state = Some(lab.folder("state").expect("a folder"));
    let config = |number: usize| Config {
        addresses: front_addresses(number).map(|at| at.ip()).into(),
        probe: None,
        state: state.clone(),
        ..Config::default()
    };
    let first = Agent::start(&lab, 0, &config(0)).unwrap_or_else(|e| panic!("{e}"));
    let error = Agent::start(&lab, 1, &config(1)).expect_err("refused").to_string();
    let words = format!("another agent (process {}) keeps its state there", first.pid());
    assert!(error.contains(&words) && error.contains("[state] `directory`"), "{error}");
    first.stop(Signal::TERM).expect("it ends");
    Agent::start(&lab, 1, &config(1)).unwrap_or_else(|e| panic!("{e}"));
}
