//! A Site that is followed by the next process: nobody who connects is refused, and a WebSocket goes on for a while.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    io::{self, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tests::{
    agent::binary,
    config::Config,
    lab::can_run,
    netns::Netns,
    process::{Process, eventually},
    scratch::folder,
    walk::unix_now,
};

const PATIENCE: Duration = Duration::from_secs(30);
const FRONT: &str = "127.0.0.1:80";
const BACKEND: &str = "127.0.0.1:8080";

/// Answers `/ws` by 101 and then with what it is sent, and all else by 200.
fn application(machine: &Netns) {
    let listener = machine.run(|| TcpListener::bind(BACKEND)).unwrap().unwrap();
    let serve = |mut stream: TcpStream| -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            let head = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if !head.to_lowercase().contains("upgrade: websocket") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp")?;
                continue;
            }
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            io::copy(&mut stream.try_clone()?, &mut stream)?;
        }
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
}

/// A stand-in for systemd: it is told when the service is ready, and keeps its sockets.
struct Supervisor {
    notify: UnixDatagram,
    folder: TempDir,
    kept: Vec<OwnedFd>,
    said: Vec<String>,
}

impl Supervisor {
    fn new(web: &str) -> Self {
        let folder = folder().unwrap();
        let web = format!("[web]\nlisten = [\"{FRONT}\"]\nbackends = [\"http://{BACKEND}\"]\npeers = \"none\"\n{web}");
        Config { more: web, ..Config::default() }.write(folder.path()).unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { notify, folder, kept: Vec::new(), said: Vec::new() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts the Site, with the sockets that it kept.
    fn start(&mut self, machine: &Netns) -> Process {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let given = self.kept.iter().enumerate().map(|(i, fd)| format!(" {}<&{}", i + 3, fd.as_raw_fd()));
        let script = format!("exec \"$0\" \"$@\"{}", given.collect::<String>());
        // The shell makes the numbers; another, whose process the Site becomes, says whose they are.
        let own = "LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &script, "/bin/bash", "-c", own]).arg(binary().unwrap());
        command.arg("site").arg("--config").arg(self.folder.path().join("zerottl.toml")).args(["--as", "boston"]);
        command.env("LISTEN_FDS", self.kept.len().to_string());
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Inheritable for the moment: the shell is to find them.
        for fd in &self.kept {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        }
        let process = Process::new(machine.spawn(command).unwrap());
        self.kept.clear();
        self.said.clear();
        assert!(self.hears("READY=1"), "{}", self.log());
        process
    }

    /// Waits until it is told this.
    fn hears(&mut self, line: &str) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.said.iter().any(|said| said.starts_with(line)) {
            self.receive();
        }
        self.said.iter().any(|said| said.starts_with(line))
    }

    fn receive(&mut self) {
        let mut bytes = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let Ok(got) = recvmsg(&self.notify, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC) else { return };
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.kept.extend(fds);
            }
        }
        self.said.extend(String::from_utf8_lossy(&bytes[..got.bytes]).lines().map(str::to_owned));
    }
}

fn connect(machine: &Netns) -> io::Result<TcpStream> {
    let at: SocketAddr = FRONT.parse().unwrap();
    let stream = machine.run(move || TcpStream::connect(at))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, path: &str, fields: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: boston.app.com\r\n{fields}\r\n")?;
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// A connection that has become a WebSocket's.
fn web_socket(machine: &Netns) -> TcpStream {
    let mut stream = connect(machine).unwrap();
    let path = format!("/ws/distrib={}", unix_now());
    let head = ask(&mut stream, &path, "Connection: upgrade\r\nUpgrade: websocket\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(echoes(&mut stream));
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"ping"
}

/// Connects and asks, over and over, each time on a connection of its own.
struct Newcomers {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Newcomers {
    fn start(machine: &Arc<Netns>) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (machine, stopped, counted) = (Arc::clone(machine), Arc::clone(&stop), Arc::clone(&served));
        let thread = thread::spawn(move || {
            let mut failures = Vec::new();
            while !stopped.load(SeqCst) {
                let answer =
                    connect(&machine).and_then(|mut stream| ask(&mut stream, "/health", "Connection: close\r\n"));
                match answer {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") => drop(counted.fetch_add(1, SeqCst)),
                    other => failures.push(format!("{other:?}")),
                }
            }
            failures
        });
        Self { stop, served, thread }
    }

    /// Waits until so many more were served.
    fn go_on(&self, count: u64) {
        let before = self.served.load(SeqCst);
        assert!(eventually(PATIENCE, || self.served.load(SeqCst) >= before + count), "newcomers are served");
    }

    fn end(self) {
        self.stop.store(true, SeqCst);
        let failures = self.thread.join().unwrap();
        assert_eq!(failures, Vec::<String>::new(), "after {} were served", self.served.load(SeqCst));
    }
}

/// The process that has followed; killed when dropped, as it is nobody's child here.
struct Follower(Pid);

impl Follower {
    /// The one that the supervisor was told of.
    fn told(supervisor: &mut Supervisor) -> Self {
        assert!(supervisor.hears("MAINPID="), "{}", supervisor.log());
        let pid = supervisor.said.iter().rev().find_map(|line| line.strip_prefix("MAINPID=")).unwrap();
        Self(Pid::from_raw(pid.parse().unwrap()).unwrap())
    }

    fn lives(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.0)).is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

/// SIGUSR2: the next process serves beside the old one, which ends once its WebSocket has. nginx does the same (USR2, QUIT).
#[test]
fn a_site_is_followed_and_nobody_is_refused() {
    if !can_run("a Site that is followed") {
        return;
    }
    let machine = Arc::new(Netns::new().unwrap());
    application(&machine);
    let mut supervisor = Supervisor::new("limits = { grace = \"10m\" }\n");
    let mut first = supervisor.start(&machine);
    let mut socket = web_socket(&machine);
    let newcomers = Newcomers::start(&machine);
    newcomers.go_on(20);
    first.signal(Signal::USR2).unwrap();
    let second = Follower::told(&mut supervisor);
    newcomers.go_on(50);
    assert!(echoes(&mut socket), "the WebSocket goes on: {}", supervisor.log());
    assert_eq!(first.ended().unwrap(), None, "for it the old process is there");
    drop(socket);
    assert!(first.wait(PATIENCE).unwrap().success(), "{}", supervisor.log());

    // And so on.
    supervisor.said.clear();
    kill_process(second.0, Signal::USR2).unwrap();
    let third = Follower::told(&mut supervisor);
    assert!(eventually(PATIENCE, || !second.lives()), "{}", supervisor.log());
    newcomers.go_on(50);
    // One that cannot start leaves everything as it was.
    fs::write(supervisor.folder.path().join("zerottl.toml"), "[web]\nbackends = 7\n").unwrap();
    kill_process(third.0, Signal::USR2).unwrap();
    assert!(eventually(PATIENCE, || supervisor.log().contains("this one continues")), "{}", supervisor.log());
    newcomers.go_on(50);
    newcomers.end();
    assert!(third.lives());
}

/// A restart by systemd: the sockets are in its store while there is no process, and who connects then is served by the next.
#[test]
fn a_restart_with_a_web_socket_open_refuses_nobody() {
    if !can_run("a Site that is restarted") {
        return;
    }
    let machine = Arc::new(Netns::new().unwrap());
    application(&machine);
    let mut supervisor = Supervisor::new("limits = { grace = \"2s\" }\n");
    let mut site = supervisor.start(&machine);
    let newcomers = Newcomers::start(&machine);
    for _ in 0..2 {
        let mut socket = web_socket(&machine);
        newcomers.go_on(20);
        assert!(supervisor.kept.len() >= 2, "{:?}", supervisor.said);
        let begun = Instant::now();
        site.signal(Signal::QUIT).unwrap();
        assert!(echoes(&mut socket), "it goes on for a while");
        assert!(site.wait(PATIENCE).unwrap().success(), "{}", supervisor.log());
        assert!(begun.elapsed() >= Duration::from_secs(2), "for as long as is configured");
        site = supervisor.start(&machine);
        newcomers.go_on(20);
    }
    newcomers.end();
}

/// SIGTERM: first DNS is told by the probe's path, while everybody is served; then the Site goes.
#[test]
fn a_lame_duck_serves_all_but_the_probe() {
    if !can_run("a Site that is about to stop") {
        return;
    }
    let machine = Arc::new(Netns::new().unwrap());
    application(&machine);
    let mut supervisor = Supervisor::new("clean_url = false\nlimits = { lame_duck = \"3s\" }\n");
    let mut site = supervisor.start(&machine);
    let status = |path: &str| {
        let answer = connect(&machine).and_then(|mut stream| ask(&mut stream, path, "Connection: close\r\n"));
        answer.ok().and_then(|answer| answer.get(9..12)?.parse::<u16>().ok())
    };
    assert_eq!(status("/health"), Some(200));
    let begun = Instant::now();
    site.signal(Signal::TERM).unwrap();
    assert!(eventually(PATIENCE, || status("/health") == Some(503)), "{}", supervisor.log());
    if begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(status(&format!("/distrib={}", unix_now())), Some(200), "newcomers are let in meanwhile");
    }
    assert!(supervisor.hears("STOPPING=1"));
    assert!(site.wait(PATIENCE).unwrap().success(), "{}", supervisor.log());
    assert!(begun.elapsed() >= Duration::from_secs(3));
    supervisor.kept.clear();
    assert!(connect(&machine).is_err(), "nobody has its sockets any more");
}
