//! Session servers: real Redis, each a process with a folder of its own.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use zerottl_core::model::WriteMode;
use zerottl_session::{RemoteTarget, StoreConfig};

use crate::{
    netns::Netns,
    process::{Process, die_with_parent, eventually},
    scratch::{find_tool, folder},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis that keeps an append-only file, as the documentation asks for.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens.
    pub at: SocketAddr,
    machine: Option<Arc<Netns>>,
    folder: TempDir,
    /// Settings beyond the usual ones, as arguments.
    settings: Vec<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts one on loopback, on a free port.
    pub fn start() -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None)
    }

    /// Starts one at an address, on a machine of its own.
    pub fn start_at(at: SocketAddr, machine: Option<Arc<Netns>>) -> io::Result<Self> {
        Self::start_with(at, machine, Vec::new())
    }

    /// Starts one as [`Self::start_at`] does, with more settings, as arguments.
    pub fn start_with(at: SocketAddr, machine: Option<Arc<Netns>>, settings: Vec<String>) -> io::Result<Self> {
        let mut server = Self { at, machine, folder: folder()?, settings, process: None };
        server.restart()?;
        Ok(server)
    }

    /// The URL for `servers`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.at)
    }

    /// Where a store finds it.
    #[must_use]
    pub fn target(&self) -> RemoteTarget {
        let name = self.at.to_string();
        RemoteTarget { domain: name.clone(), name, url: self.url(), password: None, ca: None }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it again, with what it has on its disk. It answers when this returns.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        fs::create_dir_all(self.data())?;
        let mut command = Command::new(find_tool("redis-server")?);
        let (ip, port) = (self.at.ip().to_string(), self.at.port().to_string());
        command.args(["--bind", &ip, "--port", &port, "--protected-mode", "no", "--appendonly", "yes"]);
        command.args(["--save", "", "--maxmemory-policy", "noeviction", "--dir"]).arg(self.data()).args(&self.settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = if let Some(machine) = &self.machine {
            machine.spawn(command)?
        } else {
            die_with_parent(&mut command);
            command.process_group(0).spawn()?
        };
        self.process = Some(Process::new(child));
        if eventually(PATIENCE, || self.ask("PING").is_ok_and(|answer| answer.starts_with("+PONG"))) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "redis-server does not answer"))
    }

    /// Its process ID; none while it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills it, and removes what it has kept.
    pub fn lose(&mut self) -> io::Result<()> {
        self.kill();
        fs::remove_dir_all(self.data())
    }

    /// Stops it without an end, or lets it go on.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Asks one command, words apart by spaces. Returns what it says, up to 64 KiB.
    pub fn ask(&self, command: &str) -> io::Result<String> {
        let at = self.at;
        let connect = move || TcpStream::connect_timeout(&at, Duration::from_secs(1));
        let mut stream = match &self.machine {
            Some(machine) => machine.run(connect)??,
            None => connect()?,
        };
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(1 << 16).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// The configuration of a store with these servers, whose leases and timeouts are short.
#[must_use]
pub fn store_config(servers: &[RedisServer], copies: usize, write: WriteMode) -> StoreConfig {
    StoreConfig {
        site: "boston.app.com".into(),
        servers: servers.iter().map(RedisServer::target).collect(),
        copies,
        write,
        life: Duration::from_mins(10),
        lease: Duration::from_millis(1500),
        timeout: Duration::from_millis(300),
        size_max: 65_536,
        sessions_max: 10_000,
        repair_rate: 5000,
    }
}
