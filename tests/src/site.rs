//! A Site's HTTP servers in the Site's namespace: nginx as one process, or the example application with operation 500.

use std::{
    fs,
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    config::{Config, SiteConfig},
    netns::Netns,
    process::{Process, eventually},
    program::{binary, built, under, until_ready},
    scratch::find_tool,
};

/// Where the application listens behind `zerottl site`.
const BACKEND: &str = "127.0.0.1:8080";

/// The servers at the Sites of a lab.
#[derive(Clone, Debug, Default)]
pub enum Serves {
    /// nginx: `ok` at `/health`, a test's report at `/load`, and the Site's key elsewhere.
    #[default]
    Nginx,
    /// The application `counter` as a backend, and `zerottl site` before it, by this file's `[web]`.
    Front(Box<Config>),
    /// `counter` alone, with operation 500 as a layer, by this file's `[web]`.
    Layer(Box<Config>),
}

/// One Site: a machine with an HTTP server on port 80.
#[derive(Debug)]
pub struct LabSite {
    /// The Site's part of the configuration.
    pub config: SiteConfig,
    /// Its machine.
    pub machine: Netns,
    folder: PathBuf,
    serves: Serves,
    /// The server that faces the network, and then what is behind it.
    servers: Mutex<Vec<Process>>,
}

impl LabSite {
    /// Starts the servers and waits until they answer.
    pub fn start(config: &SiteConfig, machine: Netns, folder: &Path, serves: &Serves) -> io::Result<Self> {
        fs::create_dir(folder)?;
        match serves {
            Serves::Nginx => {
                fs::write(folder.join("nginx.conf"), nginx_configuration(&config.key, folder))?;
            }
            Serves::Front(file) | Serves::Layer(file) => {
                file.write(folder)?;
            }
        }
        let (folder, serves) = (folder.into(), serves.clone());
        let site = Self { config: config.clone(), machine, folder, serves, servers: Mutex::default() };
        site.restart()?;
        Ok(site)
    }

    /// Starts the servers again after [`kill`](Self::kill), and waits until they answer.
    pub fn restart(&self) -> io::Result<()> {
        self.kill();
        let servers = match self.serves {
            Serves::Nginx => vec![self.nginx()?],
            Serves::Front(_) => {
                let application = self.counter(&["--plain", BACKEND], &format!("http://{BACKEND}/health"))?;
                vec![self.front()?, application]
            }
            Serves::Layer(_) => {
                let file = self.folder.join("zerottl.toml");
                let address = self.config.addresses.iter().find(|address| address.is_ipv4());
                let address = address.ok_or_else(|| io::Error::other("a LabSite without IPv4"))?;
                vec![self.counter(&["--config", &file.to_string_lossy()], &format!("http://{address}/health"))?]
            }
        };
        *self.servers() = servers;
        Ok(())
    }

    fn nginx(&self) -> io::Result<Process> {
        let mut command = Command::new(find_tool("nginx")?);
        command.arg("-p").arg(&self.folder).arg("-c").arg(self.folder.join("nginx.conf"));
        command.arg("-e").arg(self.folder.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Process::new(self.machine.spawn(command)?);
        self.wait_for("http://127.0.0.1/health", "error.log")?;
        Ok(server)
    }

    fn counter(&self, arguments: &[&str], health: &str) -> io::Result<Process> {
        let mut command = Command::new(built("counter", "tests")?);
        let log = fs::File::options().create(true).append(true).open(self.folder.join("counter.log"))?;
        command.args(["--as", &self.config.key]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = Process::new(self.machine.spawn(command)?);
        self.wait_for(health, "counter.log")?;
        Ok(server)
    }

    fn front(&self) -> io::Result<Process> {
        self.front_by(Command::new(binary()?))
    }

    fn front_by(&self, mut command: Command) -> io::Result<Process> {
        command.arg("site").arg("--config").arg(self.folder.join("zerottl.toml")).args(["--as", &self.config.key]);
        // Which way each request went.
        command.env("ZEROTTL_LOG", "info,zerottl::site=debug");
        until_ready(&self.machine, &self.folder, command)
    }

    fn wait_for(&self, health: &str, log: &str) -> io::Result<()> {
        let answers = || self.machine.read("curl", &["-sfg", "--max-time", "1", health]).is_ok();
        if eventually(Duration::from_secs(10), answers) {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.join(log)).unwrap_or_default();
        Err(io::Error::other(format!("{health} of {} does not answer: {log}", self.config.key)))
    }

    /// Starts what faces the network again, after it was killed or instead of the one that runs; what is behind it stays.
    pub fn restart_front(&self) -> io::Result<()> {
        if let Some(front) = self.servers().first_mut() {
            front.kill();
        }
        let front = self.front()?;
        if let Some(before) = self.servers().first_mut() {
            *before = front;
        }
        Ok(())
    }

    /// Restarts it as [`Self::restart_front`] does, under another program that runs it in its own place, such as
    /// `prlimit` with its arguments.
    pub fn restart_front_under(&self, wrapper: &[String]) -> io::Result<()> {
        if let Some(front) = self.servers().first_mut() {
            front.kill();
        }
        let front = self.front_by(under(wrapper)?)?;
        if let Some(before) = self.servers().first_mut() {
            *before = front;
        }
        Ok(())
    }

    /// Has what faces the network read a new file, and waits until it says that it has.
    pub fn reload(&self, file: &Config) -> io::Result<()> {
        file.write(&self.folder)?;
        let done = || self.log().matches("reloaded").count();
        let before = done();
        self.servers().first_mut().map_or(Ok(()), |front| front.signal(Signal::HUP))?;
        if eventually(Duration::from_secs(10), || done() > before) && !self.log().contains("not reloaded") {
            return Ok(());
        }
        Err(io::Error::other(format!("{} has not reloaded:\n{}", self.config.key, self.log())))
    }

    /// Returns what `zerottl site` has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// SIGKILL to all servers; returns the moment before it was sent.
    pub fn kill(&self) -> Instant {
        let before = Instant::now();
        for mut server in self.servers().drain(..) {
            server.kill();
        }
        before
    }

    /// SIGKILL to what is behind the one that faces the network.
    pub fn kill_application(&self) {
        for mut server in self.servers().drain(1..) {
            server.kill();
        }
    }

    /// Stops the servers without closing their sockets: connections are accepted by the kernel and never answered.
    pub fn hang(&self, hung: bool) -> io::Result<()> {
        let signal = if hung { Signal::STOP } else { Signal::CONT };
        self.servers().iter_mut().try_for_each(|server| server.signal(signal))
    }

    /// Says this at `/load` from now on; nothing (404) where none.
    pub fn report(&self, text: Option<&str>) -> io::Result<()> {
        let (file, new) = (self.folder.join("load"), self.folder.join("load.new"));
        match text {
            Some(text) => fs::write(&new, text).and_then(|()| fs::rename(new, file)),
            None => fs::remove_file(file),
        }
    }

    /// The process id of what faces the network, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut servers = self.servers();
        let front = servers.first_mut()?;
        matches!(front.ended(), Ok(None)).then(|| front.id())
    }

    /// The process ids of all servers that were started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers().iter().map(Process::id).collect()
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Process>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Site's agent check: says a line to whoever connects, and hangs up. Ends when dropped.
#[derive(Debug)]
pub struct AgentCheck {
    line: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AgentCheck {
    /// Listens on a port of a machine.
    pub fn start(machine: &Netns, port: u16, line: &str) -> io::Result<Self> {
        let listener = machine.run(move || TcpListener::bind(("0.0.0.0", port)))??;
        listener.set_nonblocking(true)?;
        let (line, stop) = (Arc::new(Mutex::new(line.to_owned())), Arc::new(AtomicBool::new(false)));
        let asked = Arc::<AtomicU64>::default();
        let (says, ends, count) = (Arc::clone(&line), Arc::clone(&stop), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    count.fetch_add(1, Ordering::Relaxed);
                    let line = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    // Who has gone meanwhile has missed it.
                    let _ = stream.write_all(line.as_bytes());
                } else {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Ok(Self { line, asked, stop, thread: Some(thread) })
    }

    /// Returns how often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Says this line from now on.
    pub fn say(&self, line: &str) {
        line.clone_into(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for AgentCheck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One process, everything it writes in `folder`: `kill -9` of its pid is the death of the whole Site.
fn nginx_configuration(key: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  default_type text/plain;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 80;
    listen [::]:80;
    location = /health {{ return 200 \"ok\\n\"; }}
    location = /load {{ alias {folder}/load; }}
    location / {{ return 200 \"{key}\\n\"; }}
  }}
}}
"
    )
}
