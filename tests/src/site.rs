//! A Site's HTTP server: nginx as one process in the Site's namespace.

use std::{
    fs,
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    config::SiteConfig,
    netns::Netns,
    process::{Process, eventually},
    scratch::find_tool,
};

/// One Site: a machine with an HTTP server on port 80, which says `ok` at `/health` and the Site's key elsewhere.
#[derive(Debug)]
pub struct Site {
    /// What the configuration says of it.
    pub config: SiteConfig,
    /// Its machine.
    pub machine: Netns,
    folder: PathBuf,
    server: Mutex<Option<Process>>,
}

impl Site {
    /// Starts the server and waits until it answers.
    pub fn start(config: &SiteConfig, machine: Netns, folder: &Path) -> io::Result<Self> {
        fs::create_dir(folder)?;
        let text = nginx_configuration(&config.key, folder);
        fs::write(folder.join("nginx.conf"), text)?;
        let site = Self { config: config.clone(), machine, folder: folder.into(), server: Mutex::new(None) };
        site.restart()?;
        Ok(site)
    }

    /// Starts the server again after [`kill`](Self::kill), and waits until it answers.
    pub fn restart(&self) -> io::Result<()> {
        let mut command = Command::new(find_tool("nginx")?);
        command.arg("-p").arg(&self.folder).arg("-c").arg(self.folder.join("nginx.conf"));
        command.arg("-e").arg(self.folder.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.server() = Some(Process::new(self.machine.spawn(command)?));
        let answers = || self.machine.read("curl", &["-sf", "--max-time", "1", "http://127.0.0.1/health"]).is_ok();
        if eventually(Duration::from_secs(10), answers) {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.join("error.log")).unwrap_or_default();
        Err(io::Error::other(format!("nginx of {} does not answer: {log}", self.config.key)))
    }

    /// SIGKILL; returns the moment before it was sent.
    pub fn kill(&self) -> Instant {
        let before = Instant::now();
        if let Some(mut server) = self.server().take() {
            server.kill();
        }
        before
    }

    /// Stops the server without closing its sockets: connections are accepted by the kernel and never answered.
    pub fn hang(&self, hung: bool) -> io::Result<()> {
        let signal = if hung { Signal::STOP } else { Signal::CONT };
        self.server().as_mut().map_or(Ok(()), |server| server.signal(signal))
    }

    /// Says this at `/load` from now on; nothing (404) where none.
    pub fn report(&self, text: Option<&str>) -> io::Result<()> {
        let (file, new) = (self.folder.join("load"), self.folder.join("load.new"));
        match text {
            Some(text) => fs::write(&new, text).and_then(|()| fs::rename(new, file)),
            None => fs::remove_file(file),
        }
    }

    /// The server's process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut server = self.server();
        server.as_mut().and_then(|process| matches!(process.ended(), Ok(None)).then(|| process.id()))
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Site's agent check: says a line to whoever connects, and hangs up. Ends when dropped.
#[derive(Debug)]
pub struct AgentCheck {
    line: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AgentCheck {
    /// Listens on a port of a machine.
    pub fn start(machine: &Netns, port: u16, line: &str) -> io::Result<Self> {
        let listener = machine.run(move || TcpListener::bind(("0.0.0.0", port)))??;
        listener.set_nonblocking(true)?;
        let (line, stop) = (Arc::new(Mutex::new(line.to_owned())), Arc::new(AtomicBool::new(false)));
        let (says, ends) = (Arc::clone(&line), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    let line = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    // Who has gone meanwhile has missed it.
                    let _ = stream.write_all(line.as_bytes());
                } else {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Ok(Self { line, stop, thread: Some(thread) })
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
