//! The machine of (h): session servers, and applications that keep their sessions there.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ::tests::{
    netns::Netns,
    process::{Process, eventually},
    redis::RedisServer,
    scratch,
};
use rustix::{process::Pid, thread::sched_setaffinity};
use tempfile::TempDir;

use crate::{error::BenchError, process_time, rate};

/// The name that clients begin with.
pub(super) const POOL_NAME: &str = "app.example";
/// Until an application answers after its start.
const START: Duration = Duration::from_secs(20);
/// Where session servers listen, one after the other.
const REDIS: u16 = 6401;
/// Where applications listen, one after the other.
const APPLICATIONS: u16 = 8081;
/// Where applications say what they know: so many above where they listen.
const ADMIN: u16 = 1000;

/// How an application keeps its sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApplicationSetting {
    /// The keeper, as the program has it.
    pub(super) keeper: &'static str,
    /// Of zerottl's keepers: the mode, copies and servers.
    pub(super) write: &'static str,
    pub(super) copies: usize,
    pub(super) servers: usize,
}

/// The machine, with session servers that listen on its loopback.
pub(super) struct SessionScene {
    pub(super) machine: Arc<Netns>,
    servers: Vec<RedisServer>,
    program: PathBuf,
    folder: TempDir,
    started: u16,
}

/// An application that runs.
pub(super) struct Application {
    process: Process,
    pub(super) at: SocketAddr,
    admin: SocketAddr,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl SessionScene {
    /// Makes the machine; `program` is that of the applications.
    pub(super) fn new(program: &Path, servers: u16) -> Result<Self, BenchError> {
        let machine = Arc::new(Netns::new()?);
        machine.sysctl("net/core/somaxconn", "4096")?;
        let server = |number| RedisServer::start_at(loopback(REDIS + number), Some(Arc::clone(&machine)));
        let servers = (0..servers).map(server).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { machine, servers, program: program.to_owned(), folder: scratch::folder()?, started: 0 })
    }

    /// Has all session servers run on CPU 1.
    pub(super) fn pin_servers(&self) -> Result<(), BenchError> {
        for pid in self.servers.iter().filter_map(RedisServer::pid) {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let thread = thread?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
                sched_setaffinity(thread, &rate::cpu(1))?;
            }
        }
        Ok(())
    }

    /// CPU time of all session servers so far, seconds.
    pub(super) fn servers_cpu_s(&self) -> Result<f64, BenchError> {
        self.servers.iter().filter_map(RedisServer::pid).map(process_time::cpu_s).sum()
    }

    /// Writes the configuration of zerottl's keepers. Each `site` has keys of its own at the session servers.
    pub(super) fn configuration(&self, site: u16, setting: ApplicationSetting) -> Result<PathBuf, BenchError> {
        let ApplicationSetting { write, copies, servers, .. } = setting;
        let folder = self.folder.path().join(format!("site{site}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("key"), [7; 32])?;
        let urls = self.servers.iter().take(servers).map(|server| format!("\"{}\"", server.url()));
        let urls: Vec<String> = urls.collect();
        let text = format!(
            "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
             [zone.\"{POOL_NAME}\"]\nnameservers = [\"ns1.{POOL_NAME}\"]\ncontact = \"hostmaster@{POOL_NAME}\"\n\
             [pool.\"{POOL_NAME}\"]\nsites = [\"boston\"]\n\
             [site.boston]\nname = \"site{site}.{POOL_NAME}\"\naddresses = [\"192.0.2.1\"]\n\
             [web]\nlisten = [\"127.0.0.1:80\"]\nadmin = \"none\"\npeers = \"none\"\nclean_url = false\n\
             [web.session]\nkey = \"key\"\nservers = [{}]\ncopies = {copies}\nwrite = \"{write}\"\n",
            urls.join(", ")
        );
        let file = folder.join("zerottl.toml");
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Starts an application, on CPU 0 alone or on any; it answers when this returns.
    pub(super) fn start(
        &mut self,
        setting: ApplicationSetting,
        place: &Path,
        folder: Option<&Path>,
        is_pinned: bool,
    ) -> Result<Application, BenchError> {
        let port = APPLICATIONS + self.started;
        self.started += 1;
        let (at, admin) = (loopback(port), loopback(port + ADMIN));
        let mut command = if is_pinned { crate::web::pinned(0, &self.program) } else { Command::new(&self.program) };
        command.args(["serve", setting.keeper, &at.to_string()]).arg(place).args(["--admin", &admin.to_string()]);
        if let Some(folder) = folder {
            command.arg("--folder").arg(folder);
        }
        let log = self.folder.path().join(format!("log{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let process = Process::new(self.machine.spawn(command)?);
        let connects = || self.machine.run(move || TcpStream::connect(at)).is_ok_and(|connected| connected.is_ok());
        if !eventually(START, connects) {
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("no application answers at {at} after {START:?}\n{log}").into());
        }
        Ok(Application { process, at, admin })
    }

    /// The place of an application that needs the first server alone.
    pub(super) fn redis(&self) -> Result<PathBuf, BenchError> {
        Ok(self.servers.first().ok_or("no session server")?.url().into())
    }

    /// A folder that all processes have in common.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Application {
    /// CPU time of the process so far, seconds.
    pub(super) fn cpu_s(&self) -> Result<f64, BenchError> {
        process_time::cpu_s(self.process.id())
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks what it knows of its sessions.
    pub(super) fn page(&self, machine: &Netns) -> Result<serde_json::Value, BenchError> {
        let url = format!("http://{}/v1/sessions", self.admin);
        Ok(serde_json::from_str(&machine.read("curl", &["-sS", "--max-time", "10", &url])?)?)
    }
}
