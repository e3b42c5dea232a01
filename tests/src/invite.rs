//! Workers of a Site that application servers invite, all in one namespace, each worker with a configuration of its own.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agent::binary,
    config::Config,
    netns::Netns,
    process::{Process, eventually},
    program::built,
    redis::RedisServer,
    scratch::{find_tool, folder, root},
    walk::unix_now,
};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where something is, on loopback.
#[must_use]
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A namespace, its session server, and a folder.
#[derive(Debug)]
pub struct InviteScene {
    /// The namespace.
    pub machine: Arc<Netns>,
    /// The session server, if there is one.
    pub redis: Option<RedisServer>,
    folder: TempDir,
}

/// A worker.
#[derive(Debug)]
pub struct InviteWorker {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub at: SocketAddr,
    /// Where its admin interface is.
    pub admin: SocketAddr,
    /// Where it takes invitations.
    pub invite: SocketAddr,
    log: PathBuf,
}

/// A client's answer.
#[derive(Clone, Debug)]
pub struct InviteAnswer {
    /// The status.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

impl InviteAnswer {
    fn read(mut stream: TcpStream) -> io::Result<Self> {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("no answer: {text}")))?;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The fields of a name.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct InFlight(TcpStream);

impl InFlight {
    /// Waits for the answer.
    pub fn answer(self) -> io::Result<InviteAnswer> {
        InviteAnswer::read(self.0)
    }

    /// Whether it is answered within this time.
    pub fn is_answered_within(&self, limit: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(limit))?;
        Ok(self.0.peek(&mut [0]).is_ok())
    }
}

impl InviteScene {
    /// Makes one, with a session server or without.
    pub fn new(has_sessions: bool) -> io::Result<Self> {
        let machine = Arc::new(Netns::new()?);
        let redis = has_sessions.then(|| RedisServer::start_at(local(6379), Some(Arc::clone(&machine)))).transpose()?;
        let folder = folder()?;
        fs::write(folder.path().join("key"), "0123456789abcdef0123456789abcdef")?;
        Ok(Self { machine, redis, folder })
    }

    /// A file in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the worker of this number, 1 or 2, with more keys of `[web]` and of `[web.invite]`. It serves when this returns.
    pub fn worker(&self, number: u16, web: &str, invite: &str) -> io::Result<InviteWorker> {
        let folder = self.path(&format!("worker-{number}"));
        fs::create_dir_all(&folder)?;
        let (at, admin, place) = (local(8100 + number), local(8200 + number), local(8300 + number));
        let servers = self.redis.as_ref().map_or(String::new(), |redis| {
            format!("servers = [\"{}\"]\nwrite = \"ack-one\"\nlease = \"1s\"\ntimeout = \"200ms\"\n", redis.url())
        });
        let key = self.path("key").display().to_string();
        let more = format!(
            "[web]\nlisten = [\"{at}\"]\nadmin = \"{admin}\"\npeers = \"none\"\nclean_url = false\npass = [\"/free\"]\n{web}\
             [web.invite]\nlisten = \"{place}\"\nworkers = [\"http://127.0.0.1:8301\", \"http://127.0.0.1:8302\"]\n\
             beat = \"100ms\"\n{invite}[web.session]\nkey = \"{key}\"\n{servers}"
        );
        Config { more, ..Config::default() }.write(&folder)?;
        let log = folder.join("log");
        let mut command = Command::new(binary()?);
        command.args(["site", "--config"]).arg(folder.join("zerottl.toml")).args(["--as", "boston"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).env("NO_COLOR", "1");
        let process = Process::new(self.machine.spawn(command)?);
        let worker = InviteWorker { process, at, admin, invite: place, log };
        if eventually(PATIENCE, || self.page(&worker).is_ok()) {
            return Ok(worker);
        }
        Err(io::Error::other(format!("no worker: {}", worker.log())))
    }

    /// Starts `invited.py` at a port, with one worker to begin with. Returns it and its log.
    pub fn python(&self, name: &str, port: u16, first: &InviteWorker) -> io::Result<(Process, PathBuf)> {
        let log = self.path(&format!("{name}.log"));
        let mut command = Command::new(find_tool("python3")?);
        command.arg(root().join("examples/servers/invited.py"));
        command.args(["--name", name, "--listen", &local(port).to_string()]);
        command.args(["--worker", &format!("http://{}", first.invite)]);
        command.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(Stdio::inherit());
        Ok((Process::new(self.machine.spawn(command)?), log))
    }

    /// Starts `invited.rs`, which uses the Rust client, with one credit and one worker to begin with.
    pub fn rust(&self, name: &str, port: u16, first: &InviteWorker, token: &str) -> io::Result<Process> {
        let mut command = Command::new(built("invited-server", "tests")?);
        command.args([name, &local(port).to_string(), "1", &format!("http://{}", first.invite)]);
        command.env("INVITE_TOKEN", token).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Ok(Process::new(self.machine.spawn(command)?))
    }

    /// Opens a channel by curl, as the documentation has it. Returns the process, which prints the channel's lines, and the channel.
    pub fn channel(
        &self,
        worker: &InviteWorker,
        name: &str,
        at: SocketAddr,
        credits: u32,
    ) -> io::Result<(Process, String)> {
        let url = format!("http://{}/v1/invite?name={name}&url=http://{at}&credits={credits}", worker.invite);
        let mut command = Command::new(find_tool("curl")?);
        command.args(["--silent", "--no-buffer", "--json", "", &url]).stdout(Stdio::piped());
        let mut process = Process::new(self.machine.spawn(command)?);
        let lines = process.child().stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut lines = BufReader::new(lines);
        let mut welcome = String::new();
        lines.read_line(&mut welcome)?;
        let json: Value = serde_json::from_str(&welcome).map_err(|_| io::Error::other(welcome.clone()))?;
        // Who does not read is taken for stalled.
        thread::spawn(move || lines.lines().for_each(drop));
        Ok((process, json["channel"].as_str().unwrap_or_default().to_owned()))
    }

    /// Sends a signal by curl. Returns the status and the answer.
    pub fn signal(&self, worker: &InviteWorker, channel: &str, signal: &str) -> io::Result<(u16, String)> {
        let url = format!("http://{}/v1/invite/{channel}", worker.invite);
        let mut command = Command::new(find_tool("curl")?);
        command.args(["--silent", "--json", signal, "--write-out", "%{stderr}%{http_code}", &url]);
        let output = self.machine.output(command)?;
        let status = String::from_utf8_lossy(&output.stderr).parse().map_err(io::Error::other)?;
        Ok((status, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Sends a GET, with a cookie or none.
    pub fn begin(&self, at: SocketAddr, target: &str, fields: &str) -> io::Result<InFlight> {
        let mut stream = self.machine.run(move || TcpStream::connect(at))??;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: boston.app.com\r\n{fields}Connection: close\r\n\r\n")?;
        Ok(InFlight(stream))
    }

    /// Sends a GET and waits for its answer.
    pub fn get(&self, at: SocketAddr, target: &str, fields: &str) -> io::Result<InviteAnswer> {
        self.begin(at, target, fields)?.answer()
    }

    /// A worker's page.
    pub fn page(&self, worker: &InviteWorker) -> io::Result<Value> {
        let answer = self.get_own(worker.admin, "/v1/site")?;
        serde_json::from_str(&answer.body).map_err(io::Error::other)
    }

    /// Asks an admin interface, which goes by the name of its address.
    pub fn get_own(&self, at: SocketAddr, target: &str) -> io::Result<InviteAnswer> {
        self.ask_own(at, "GET", target, "", "")
    }

    /// Asks an admin interface with a method, more fields, and a body.
    pub fn ask_own(
        &self,
        at: SocketAddr,
        method: &str,
        target: &str,
        fields: &str,
        body: &str,
    ) -> io::Result<InviteAnswer> {
        let mut stream = self.machine.run(move || TcpStream::connect(at))??;
        let length = body.len();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{fields}\
             Connection: close\r\n\r\n{body}"
        )?;
        InviteAnswer::read(stream)
    }
}

impl InviteWorker {
    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A client that keeps cookies.
#[derive(Debug, Default)]
pub struct InviteBrowser {
    cookies: HashMap<String, String>,
}

impl InviteBrowser {
    /// The fields that it sends.
    #[must_use]
    pub fn fields(&self) -> String {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) }
    }

    /// The target of its next request: the first brings a fresh marker.
    #[must_use]
    pub fn target(&self) -> String {
        if self.cookies.is_empty() { format!("/distrib={}", unix_now()) } else { "/".to_owned() }
    }

    /// Keeps an answer's cookies.
    pub fn keep(&mut self, answer: &InviteAnswer) {
        for cookie in answer.fields("set-cookie") {
            if let Some((name, value)) = cookie.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Sends a request, waits for its answer, and keeps its cookies.
    pub fn go(&mut self, scene: &InviteScene, at: SocketAddr) -> io::Result<InviteAnswer> {
        let answer = scene.get(at, &self.target(), &self.fields())?;
        self.keep(&answer);
        Ok(answer)
    }

    /// The session's ID.
    #[must_use]
    pub fn session(&self) -> String {
        self.cookies.get("ZSESSION").and_then(|cookie| cookie.split('.').next()).unwrap_or_default().to_owned()
    }
}

/// A server that notes what it is asked. It answers by the last word of the path: a status, or `hang`.
#[derive(Clone, Debug, Default)]
pub struct NotingServer(Arc<Mutex<Vec<String>>>);

impl NotingServer {
    /// Starts it, and has it write in the same notes as another.
    pub fn start(&self, machine: &Netns, name: &'static str, at: SocketAddr) -> io::Result<()> {
        let listener = machine.run(move || TcpListener::bind(at))??;
        let notes = Arc::clone(&self.0);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let notes = Arc::clone(&notes);
                thread::spawn(move || Self::serve(&notes, name, stream));
            }
        });
        Ok(())
    }

    fn serve(notes: &Mutex<Vec<String>>, name: &str, mut stream: TcpStream) -> io::Result<()> {
        let note = |text: String| notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        note(format!("{name} connected"));
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let fields: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let original =
            fields.iter().find_map(|field| field.strip_prefix("x-original-uri: ")).unwrap_or_default().to_owned();
        note(format!("{name} {first} {original}").trim_end().to_owned());
        for field in fields {
            note(format!("{name} field {field}"));
        }
        let word = original.rsplit('/').next().unwrap_or_default();
        if word == "hang" {
            thread::sleep(PATIENCE);
        }
        let (status, more) = match word.parse() {
            Ok(401) => (401, "WWW-Authenticate: Basic realm=\"x\"\r\nX-Secret: 1\r\n"),
            Ok(status) => (status, ""),
            Err(_) => (200, ""),
        };
        let body = format!("{name} says {status}\n");
        write!(
            stream,
            "HTTP/1.1 {status} Word\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n{body}",
            body.len()
        )
    }

    /// Returns its notes.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes without fields and connections.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.notes().into_iter().filter(|note| note.contains("HTTP/1.1")).collect()
    }
}
