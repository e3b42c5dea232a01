//! A Site of several machines: workers that host sessions, session servers, and a client, each a machine of its own at one switch.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    config::Config,
    netns::Netns,
    process::{Process, eventually},
    program::{binary, built, until_ready},
    redis::RedisServer,
    scratch::folder,
};

/// The port of workers' admin interfaces, where sessions' data is.
pub const SESSION_PORT: u16 = 8054;

/// A machine with a worker, a process of `zerottl site`.
#[derive(Debug)]
pub struct WorkerMachine {
    /// Its address.
    pub ip: Ipv4Addr,
    /// The machine.
    pub machine: Arc<Netns>,
    folder: PathBuf,
    process: Option<Process>,
}

/// The machines of the Site, and the switch, where the client is.
#[derive(Debug)]
pub struct SessionLab {
    /// The workers.
    pub workers: Vec<WorkerMachine>,
    /// The session servers.
    pub servers: Vec<RedisServer>,
    /// The client's machine.
    pub client: Arc<Netns>,
    folder: TempDir,
}

impl WorkerMachine {
    /// Makes a machine that is a Site by itself, without session servers, and does not start it. `session` is the rest of
    /// `[web.session]`.
    pub fn alone(folder: &Path, session: &str) -> io::Result<Self> {
        let ip = Ipv4Addr::LOCALHOST;
        fs::write(folder.join("key"), [7; 32])?;
        let more = format!(
            "[web]\nlisten = [\"{ip}:80\"]\nadmin = \"{ip}:{SESSION_PORT}\"\nbackends = [\"http://127.0.0.1:9090\"]\n\
             peers = \"none\"\n[web.session]\nkey = \"key\"\n{session}\n"
        );
        Config { more, ..Config::default() }.write(folder)?;
        Ok(Self { ip, machine: Arc::new(Netns::new()?), folder: folder.to_owned(), process: None })
    }

    /// Where its sessions' data is.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        SocketAddr::from((self.ip, SESSION_PORT))
    }

    /// Returns the path of its configuration.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("zerottl.toml")
    }

    /// Starts its process, which serves when this returns.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("site").arg("--config").arg(self.file()).args(["--as", "boston"]);
        self.process = Some(until_ready(&self.machine, &self.folder, command)?);
        Ok(())
    }

    /// Starts the application whose carts are in sessions, in the place of `zerottl site`; it serves when this returns.
    pub fn start_cart(&mut self) -> io::Result<()> {
        self.process = None;
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut command = Command::new(built("cart", "tests")?);
        command.arg("--config").arg(self.folder.join("zerottl.toml")).args(["--as", "boston"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(Process::new(self.machine.spawn(command)?));
        let at = SocketAddr::from((self.ip, 80));
        let answers = || self.machine.run(move || TcpStream::connect(at).is_ok()).unwrap_or(false);
        if eventually(Duration::from_secs(20), answers) {
            return Ok(());
        }
        Err(io::Error::other(format!("the application does not answer:\n{}", self.log())))
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Ends it in order.
    pub fn end(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        if let Some(mut process) = self.process.take() {
            process.wait(Duration::from_secs(20))?;
        }
        Ok(())
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Cuts it off from an address, or joins it again; the other side still reaches it, and gets no answer.
    pub fn cut(&self, from: IpAddr, cut: bool) -> io::Result<()> {
        self.machine.ip(&format!("route {} blackhole {from}/32", if cut { "add" } else { "delete" }))
    }
}

/// Joins a machine to the switch by a cable.
fn join(switch: &Netns, number: u8, ip: Ipv4Addr) -> io::Result<Arc<Netns>> {
    let machine = Netns::new()?;
    switch.ip(&format!(
        "link add port{number} type veth peer name eth0 netns {}\nlink set port{number} master br0 up",
        machine.path()
    ))?;
    machine.ip(&format!("link set eth0 up\naddress add {ip}/24 dev eth0"))?;
    Ok(Arc::new(machine))
}

impl SessionLab {
    /// Starts so many workers and session servers. `session` is the rest of `[web.session]`.
    pub fn start(workers: u8, servers: u8, session: &str) -> io::Result<Self> {
        let client = Arc::new(Netns::new()?);
        client.ip("link add br0 type bridge\nlink set br0 up\naddress add 10.8.0.1/24 dev br0")?;
        let folder = folder()?;
        let server = |number: u8| {
            let ip = Ipv4Addr::new(10, 8, 0, 100 + number);
            let machine = join(&client, 100 + number, ip)?;
            RedisServer::start_at(SocketAddr::from((ip, 6379)), Some(machine))
        };
        let servers = (0..servers).map(server).collect::<io::Result<Vec<_>>>()?;
        let urls: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
        let worker = |number: u8| -> io::Result<WorkerMachine> {
            let ip = Ipv4Addr::new(10, 8, 0, 10 + number);
            let machine = join(&client, 10 + number, ip)?;
            let folder = folder.path().join(format!("worker{number}"));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("key"), [7; 32])?;
            let more = format!(
                "[web]\nlisten = [\"{ip}:80\"]\nadmin = \"{ip}:{SESSION_PORT}\"\nbackends = [\"http://127.0.0.1:9090\"]\n\
                 peers = \"none\"\n[web.session]\nkey = \"key\"\nservers = [{}]\n{session}\n",
                urls.join(", ")
            );
            Config { more, ..Config::default() }.write(&folder)?;
            let mut worker = WorkerMachine { ip, machine, folder, process: None };
            worker.start()?;
            Ok(worker)
        };
        let workers = (0..workers).map(worker).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { workers, servers, client, folder })
    }

    /// Where files may be kept until the end.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}
