//! An application server as a process: its start, its signals, its end.
//!
//! ```text
//! worker ── fork, exec ──▶ shim (the same program, `director exec-server`) ── exec ──▶ the server, with the same process id
//!    ◀── a pipe that the second exec closes, or by which the shim says why there was none ──
//! ```
//!
//! The shim joins the server's cgroup, sets its CPUs, its user and `LISTEN_PID`, closes what is not the server's, and gives up
//! every ambient capability: what the director may, its servers may not, unless they run as root.
//!
//! A server has a process group of its own, so that a terminal's Ctrl-C stops the director, which then stops its servers in
//! their order. What a server leaves of that group when it ends is killed with it.

mod process;
mod shim;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, pipe},
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::Signal;
use tokio::{io::AsyncReadExt as _, net::unix::pipe::Receiver, time::timeout};

use crate::keeper;

use self::shim::{Fault, ShimArguments, Stage};

pub use self::{
    process::{ServerEnd, ServerProcess},
    shim::{command, exec_server},
};

/// The first descriptor of a server, as systemd has it.
const FIRST: RawFd = 3;
/// The time within which a shim has to come to its server: it asks who the user is, and reads the program from the disk.
const PATIENCE: Duration = Duration::from_secs(20);
/// The variable with a server's process name.
pub const NAME_VARIABLE: &str = "ZEROTTL_SERVER";
/// Variables of the director that are no server's.
const OWN_VARIABLES: [&str; 8] = [
    keeper::VARIABLE,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "FDSTORE",
    "LISTEN_PID",
    "ZEROTTL_LISTENERS",
    "ZEROTTL_TOKEN",
];

/// All that a server is started with.
#[derive(Clone, Debug)]
pub struct ServerStart<'a> {
    /// Its process name, such as `app-1`.
    pub name: &'a str,
    /// Its program, an absolute path; [`own_program`] for one of this program's commands.
    pub program: &'a Path,
    /// Its arguments, without the program's name.
    pub arguments: &'a [OsString],
    /// Its descriptors from 3 on, each with its name in `LISTEN_FDNAMES`; they are copied.
    pub descriptors: &'a [(String, BorrowedFd<'a>)],
    /// Variables of its environment besides those of the director and of the contract.
    pub environment: &'a [(String, String)],
    /// The user it runs as, a name or a number; the director's own unless given.
    pub user: Option<&'a str>,
    /// The CPUs it may run on; all unless given.
    pub cpus: &'a [u32],
    /// The folder of the cgroup it runs in; the director's own unless given.
    pub cgroup: Option<&'a Path>,
}

/// The reason why a server did not start; it begins with the server's name.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {fault}")]
pub struct SpawnError {
    /// The process name of the server.
    pub name: String,
    /// The reason.
    #[source]
    pub fault: SpawnFault,
}

/// The reason, without the server's name.
#[derive(Debug, thiserror::Error)]
pub enum SpawnFault {
    /// A descriptor's name would end the list of names.
    #[error("`{0}` cannot name a descriptor: it has a colon")]
    Name(String),
    /// The shim did not start.
    #[error("starting a process failed: {0}")]
    Fork(#[source] io::Error),
    /// The shim did not come to the program.
    #[error("`{0}` was not running after {1:?}; is its disk, or the directory of users, not answering?")]
    Late(PathBuf, Duration),
    /// The program.
    #[error("`{0}` cannot be executed: {1}")]
    Program(PathBuf, #[source] io::Error),
    /// The user is not known.
    #[error("there is no user `{0}` on this machine: create it, or change `user` of [[director.server]]")]
    NoUser(String),
    /// The user cannot be taken on.
    #[error("running as the user `{0}` failed: {1}; it takes root, or CAP_SETUID and CAP_SETGID")]
    User(String, #[source] io::Error),
    /// None of the CPUs is there.
    #[error("running on the CPUs {0:?} failed: {1}; `nproc --all` shows how many there are, the first is 0")]
    Cpus(Vec<u32>, #[source] io::Error),
    /// The cgroup cannot be joined.
    #[error("joining the cgroup {0} failed: {1}")]
    Cgroup(PathBuf, #[source] io::Error),
}

/// Returns this program's path as it is now on disk, an upgrade's if there was one.
#[must_use]
pub fn own_program() -> PathBuf {
    let running = || PathBuf::from("/proc/self/exe");
    let Ok(path) = env::current_exe() else { return running() };
    let path =
        path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| path.clone(), PathBuf::from);
    if path.is_file() { path } else { running() }
}

/// Starts a server, and returns once its program runs. Its standard input is empty, its outputs are the director's. Must be
/// called within a tokio runtime; dropping the future leaves the process to itself.
pub async fn start(start: &ServerStart<'_>) -> Result<ServerProcess, SpawnError> {
    spawn(start).await.map_err(|fault| SpawnError { name: start.name.to_owned(), fault })
}

async fn spawn(start: &ServerStart<'_>) -> Result<ServerProcess, SpawnFault> {
    let (said, status) = pipe().map_err(SpawnFault::Fork)?;
    let mut said = Receiver::from_owned_fd(said.into()).map_err(SpawnFault::Fork)?;
    let process = fork(start, status.into())?;
    let mut message = Vec::new();
    let read = timeout(PATIENCE, (&mut said).take(Fault::BYTES as u64).read_to_end(&mut message)).await;
    let fault = match read {
        Ok(Ok(_)) if message.is_empty() => return Ok(process),
        Ok(Ok(_)) => Fault::from_bytes(&message)
            .map_or_else(|| SpawnFault::Fork(io::ErrorKind::InvalidData.into()), |fault| explained(start, fault)),
        Ok(Err(error)) => SpawnFault::Fork(error),
        Err(_) => SpawnFault::Late(start.program.to_owned(), PATIENCE),
    };
    let _ = process.signal(Signal::KILL);
    // One that hangs in the kernel ends when it can; the keeper or the kernel reaps it with the worker's end.
    let _ = timeout(Duration::from_secs(1), process.ended()).await;
    Err(fault)
}

/// Starts the shim.
fn fork(start: &ServerStart<'_>, status: OwnedFd) -> Result<ServerProcess, SpawnFault> {
    if let Some((name, _)) = start.descriptors.iter().find(|(name, _)| name.contains(':')) {
        return Err(SpawnFault::Name(name.clone()));
    }
    let copies = start.descriptors.iter().map(|(_, fd)| fd.try_clone_to_owned());
    let copies = copies.chain([Ok(status)]).collect::<io::Result<Vec<_>>>().map_err(SpawnFault::Fork)?;
    let names: Vec<&str> = start.descriptors.iter().map(|(name, _)| name.as_str()).collect();
    let shim = ShimArguments {
        status: FIRST + i32::try_from(names.len()).unwrap_or(i32::MAX - FIRST),
        program: start.program.as_os_str().to_owned(),
        cgroup: start.cgroup.map(Path::to_owned),
        user: start.user.map(str::to_owned),
        cpus: start.cpus.to_vec(),
        arguments: start.arguments.to_vec(),
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("zerottl").args(shim.to_arguments());
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    command.envs(start.environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command.env(NAME_VARIABLE, start.name).env("LISTEN_FDS", names.len().to_string());
    command.env("LISTEN_FDNAMES", names.join(":"));
    command.stdin(Stdio::null()).process_group(0);
    let mappings = (FIRST..).zip(copies).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).map_err(|error| SpawnFault::Fork(io::Error::other(error)))?;
    // It and its descriptors are dropped here, so that the pipe has no other end than the shim's.
    let child = command.spawn().map_err(SpawnFault::Fork)?;
    ServerProcess::of_child(child.id()).map_err(SpawnFault::Fork)
}

/// Puts a shim's fault into words.
fn explained(start: &ServerStart<'_>, Fault { stage, errno }: Fault) -> SpawnFault {
    let error = io::Error::from_raw_os_error(errno);
    let user = || start.user.unwrap_or_default().to_owned();
    match stage {
        Stage::Arguments => SpawnFault::Fork(error),
        Stage::Cgroup => SpawnFault::Cgroup(start.cgroup.map(Path::to_owned).unwrap_or_default(), error),
        Stage::Cpus => SpawnFault::Cpus(start.cpus.to_vec(), error),
        Stage::NoUser => SpawnFault::NoUser(user()),
        Stage::User => SpawnFault::User(user(), error),
        Stage::Program => SpawnFault::Program(start.program.to_owned(), error),
    }
}
