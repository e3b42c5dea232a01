//! A director with its servers on a machine of its own, and a client on another, joined by a veth.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    config::Config,
    netns::Netns,
    process::{Process, eventually},
    program::{binary, under},
    scratch::{find_tool, folder},
    server::{AppKind, HttpClient},
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where connections are taken: the director's machine.
pub const PLACE: &str = "10.7.0.1:8080";
/// That place over IPv6.
pub const PLACE_V6: &str = "[fd07::1]:8080";

/// Two machines.
#[derive(Debug)]
pub struct DirectorScene {
    /// Where the director and its servers run.
    pub machine: Arc<Netns>,
    /// Where clients are.
    pub client: Arc<Netns>,
    folder: TempDir,
    process: Option<Process>,
}

/// One of `[[director.server]]`: `server.rs` of `examples/servers`, with other keys.
pub fn server(name: &str, keys: &str) -> io::Result<String> {
    let command = AppKind::Rust.command()?;
    Ok(format!("[[director.server]]\nname = \"{name}\"\ncommand = {command:?}\n{keys}\n"))
}

/// A script of Python as one of `[[director.server]]`, after the contract and the answers of the other servers (`serve`, which
/// does not return).
pub fn script(name: &str, text: &str, keys: &str) -> io::Result<String> {
    let python = find_tool("python3")?;
    let command = [python.display().to_string(), "-c".to_owned(), format!("{PRELUDE}{text}")];
    Ok(format!("[[director.server]]\nname = \"{name}\"\ncommand = {command:?}\n{keys}\n"))
}

const PRELUDE: &str = "\
import os, signal, socket, sys, threading, time
own = os.environ['ZEROTTL_SERVER']
names = os.environ['LISTEN_FDNAMES'].split(':')
listeners = [socket.socket(fileno=3 + i) for i, n in enumerate(names) if n.startswith('tcp-')]
handover = [socket.socket(fileno=3 + i) for i, n in enumerate(names) if n == 'zerottl-handover']
def talk(client):
    lines = client.makefile('rb')
    while lines.readline():
        while lines.readline() not in (b'\\r\\n', b''): pass
        body = (own + '\\n').encode()
        client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b' % (len(body), body))
    client.close()
def take(listener):
    while True: threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
def serve():
    for listener in listeners: threading.Thread(target=take, args=(listener,), daemon=True).start()
    while True: time.sleep(1000)
";

impl DirectorScene {
    /// Makes the machines, with `[director]` as it is given; `listen`, `admin`, `control` are set.
    pub fn new(director: &str) -> io::Result<Self> {
        let (machine, client, folder) = (Netns::new()?, Netns::new()?, folder()?);
        client.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}\nlink set eth0 up\naddress add 10.7.0.2/24 dev eth0\n\
             address add fd07::2/64 dev eth0 nodad",
            machine.path()
        ))?;
        machine.ip("link set eth0 up\naddress add 10.7.0.1/24 dev eth0\naddress add fd07::1/64 dev eth0 nodad")?;
        let scene = Self { machine: Arc::new(machine), client: Arc::new(client), folder, process: None };
        scene.write(director)?;
        Ok(scene)
    }

    /// Makes the machines and starts the director, whose servers are ready.
    pub fn started(director: &str) -> io::Result<Self> {
        let mut scene = Self::new(director)?;
        scene.start()?;
        Ok(scene)
    }

    /// Writes the configuration.
    pub fn write(&self, director: &str) -> io::Result<()> {
        let mut more = String::from("[director]\n");
        let _ = writeln!(more, "listen = [\"{PLACE}\", \"{PLACE_V6}\"]");
        if !director.contains("admin =") {
            more.push_str("admin = \"127.0.0.1:8054\"\n");
        }
        let _ = writeln!(more, "control = \"{}\"", self.control().display());
        if !director.contains("drain_timeout") {
            // Clients of a test hold their connections to the end.
            more.push_str("drain_timeout = \"1s\"\n");
        }
        more.push_str(director);
        Config { more, ..Config::default() }.write(self.folder.path())?;
        Ok(())
    }

    /// The director's Unix socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("director.sock")
    }

    /// The configuration's file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("zerottl.toml")
    }

    /// The director's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts the director, and waits until all its servers are ready.
    pub fn start(&mut self) -> io::Result<()> {
        self.launch()?;
        self.wait_until_ready()
    }

    /// Waits until all servers are ready.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        self.wait_for("all servers are ready", |page| {
            let states = page["servers"].as_array().into_iter().flatten().map(|server| server["state"].as_str());
            let mut states = states.peekable();
            states.peek().is_some() && states.all(|state| state == Some("ready"))
        })
    }

    /// Starts the director.
    pub fn launch(&mut self) -> io::Result<()> {
        self.launch_under(&[])
    }

    /// Starts it under another program that runs it in its own place, such as `prlimit` with its arguments.
    pub fn launch_under(&mut self, wrapper: &[String]) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = under(wrapper)?;
        command.arg("director").arg("--config").arg(self.file()).args(["--as", "boston"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(Process::new(self.machine.spawn(command)?));
        Ok(())
    }

    /// Waits until the page is so.
    pub fn wait_for(&self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> io::Result<()> {
        let mut last = None;
        if eventually(PATIENCE, || match self.page() {
            Ok(page) => {
                let so = is_so(&page);
                last = Some(page);
                so
            }
            Err(_) => false,
        }) {
            return Ok(());
        }
        Err(io::Error::other(format!("never: {what}\n{last:#?}\n{}", self.log())))
    }

    /// The parent process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn keeper(&mut self) -> &mut Process {
        self.process.as_mut().expect("a director that was started")
    }

    /// Returns what `zerottl director status` prints; nothing while the director is being started again.
    pub fn status(&self) -> io::Result<Option<String>> {
        let mut command = Command::new(binary()?);
        command.args(["director", "status", "--control"]).arg(self.control());
        let output = command.stdin(Stdio::null()).output()?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Fails with the log if the director has ended.
    pub fn check(&mut self) -> io::Result<()> {
        match self.keeper().ended()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("the director has ended, {status}:\n{}", self.log()))),
        }
    }

    /// The worker's process ID.
    pub fn worker(&mut self) -> io::Result<Pid> {
        let keeper = self.keeper().id();
        worker_of(keeper).ok_or_else(|| io::Error::other(format!("no worker\n{}", self.log())))
    }

    /// Kills the worker and waits for the next one.
    pub fn kill_worker(&mut self) -> io::Result<()> {
        let before = self.worker()?;
        kill_process(before, Signal::KILL)?;
        if eventually(PATIENCE, || self.worker().is_ok_and(|now| now != before) && self.page().is_ok()) {
            return Ok(());
        }
        Err(io::Error::other(format!("no next worker\n{}", self.log())))
    }

    /// Asks the director's Unix socket; returns the status and the body.
    pub fn ask(&self, method: &str, path: &str) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.control())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        response(stream)
    }

    /// Returns the page that the director shows.
    pub fn page(&self) -> io::Result<Value> {
        let (status, body) = self.ask("GET", "/v1/director")?;
        if status != 200 {
            return Err(io::Error::other(format!("{status}: {body}")));
        }
        serde_json::from_str(&body).map_err(io::Error::other)
    }

    /// Returns the part of the page about a process.
    pub fn server(&self, name: &str) -> io::Result<Value> {
        let page = self.page()?;
        let mut servers = page["servers"].as_array().into_iter().flatten();
        servers.find(|server| server["name"] == name).cloned().ok_or_else(|| io::Error::other(format!("no {name}")))
    }

    /// A figure of a process.
    pub fn figure(&self, name: &str, figure: &str) -> io::Result<u64> {
        self.server(name)?[figure].as_u64().ok_or_else(|| io::Error::other(format!("no {figure} of {name}")))
    }

    /// The process ID of a server.
    pub fn pid(&self, name: &str) -> io::Result<Pid> {
        let pid = self.figure(name, "pid")?;
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process ID"))
    }

    /// The process IDs of all servers that run, whoever their director was.
    pub fn servers(&self) -> io::Result<Vec<Pid>> {
        let text = self.machine.read("ss", &["-Hltnp", "sport", "=", ":8080"])?;
        let pids = text.split("pid=").skip(1).filter_map(|rest| rest.split(',').next()?.parse().ok());
        Ok(pids.filter_map(Pid::from_raw).collect())
    }

    /// Does something with a server or a process.
    pub fn act(&self, name: &str, verb: &str) -> io::Result<()> {
        let (status, body) = self.ask("POST", &format!("/v1/director/servers/{name}/{verb}"))?;
        if status == 200 { Ok(()) } else { Err(io::Error::other(format!("{status}: {body}"))) }
    }

    /// Connects as a client.
    pub fn connect(&self) -> io::Result<HttpClient> {
        self.connect_to(PLACE)
    }

    /// Connects as a client that says whatever it likes.
    pub fn raw(&self) -> io::Result<TcpStream> {
        let at: SocketAddr = PLACE.parse().map_err(io::Error::other)?;
        let stream = self.client.run(move || TcpStream::connect(at))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Connects as a client, in other threads than this one.
    #[must_use]
    pub fn connector(&self) -> DirectorClient {
        DirectorClient(Arc::clone(&self.client))
    }

    /// Connects as a client to one of the places.
    pub fn connect_to(&self, place: &str) -> io::Result<HttpClient> {
        HttpClient::connect(&self.client, place.parse().map_err(io::Error::other)?)
    }

    /// Asks as a client, on a connection of its own; returns the name of the process that answered.
    pub fn who(&self) -> io::Result<String> {
        who(&mut self.connect()?)
    }

    /// Counts the established connections of a server by `ss`, those in its accept queues included, by their local port and
    /// the process that holds them.
    pub fn ss_established(&self) -> io::Result<String> {
        self.machine.read("ss", &["-Htnp", "state", "established", "sport", "=", ":8080"])
    }

    /// A path beside the configuration.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops it in order.
    pub fn stop(mut self) -> io::Result<()> {
        self.keeper().signal(Signal::TERM)?;
        let status = self.keeper().wait(PATIENCE)?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{status}\n{}", self.log()))) }
    }
}

impl Drop for DirectorScene {
    /// Ends what a killed director has left.
    fn drop(&mut self) {
        drop(self.process.take());
        end_remains(&self.machine);
    }
}

/// Returns the process ID of a director's worker, by its parent's.
#[must_use]
pub fn worker_of(keeper: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    let is_worker = |pid: &&str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == b"worker")
    };
    children.split_whitespace().find(is_worker).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw)
}

/// Ends the servers that boston's director, killed or not, has left on a machine, and removes their cgroups.
pub fn end_remains(machine: &Netns) {
    let Ok(namespace) = fs::metadata(machine.path()) else { return };
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let group = PathBuf::from(mount).join(format!("zerottl-boston.{}", namespace.ino()));
        if fs::write(group.join("cgroup.kill"), "1").is_err() {
            continue;
        }
        // The kernel takes its time.
        eventually(PATIENCE, || {
            for child in fs::read_dir(&group).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            fs::remove_dir(&group).is_ok()
        });
    }
}

/// The machine of clients.
#[derive(Clone, Debug)]
pub struct DirectorClient(Arc<Netns>);

impl DirectorClient {
    /// Connects to the director's machine.
    pub fn connect(&self) -> io::Result<HttpClient> {
        HttpClient::connect(&self.0, PLACE.parse().map_err(io::Error::other)?)
    }
}

/// Asks who serves an open connection.
pub fn who(client: &mut HttpClient) -> io::Result<String> {
    let body = client.get("/")?;
    Ok(body.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Asks until `count` have answered; returns who did, how often.
pub fn shares(scene: &DirectorScene, count: usize) -> io::Result<BTreeMap<String, usize>> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(scene.who()?).or_default() += 1;
    }
    Ok(shares)
}

/// Reads a response that ends with its connection.
fn response(mut stream: impl io::Read) -> io::Result<(u16, String)> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no response: {text}")))?;
    Ok((status, body.to_owned()))
}
