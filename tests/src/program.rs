//! The programs of this workspace: where they are, and their start.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{netns::Netns, process::Process, scratch::find_tool};

/// How long the agent may take to answer after its start, and to end after a signal.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the agent's binary is: `ZEROTTL_BIN`, else the newest build beside this program.
pub fn binary() -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ZEROTTL_BIN") {
        return Ok(path.into());
    }
    built("zerottl", "zerottl")
}

/// The newest build of a program beside this one; `package` is what it is built with.
pub(crate) fn built(name: &str, package: &str) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let builds = program.ancestors().flat_map(|folder| ["", "release", "debug"].map(|of| folder.join(of).join(name)));
    let built = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    // Three levels up from target/debug/deps/… is enough; farther could find another tree's build.
    let newest = builds.take(4 * 3).filter(|path| path.is_file()).max_by_key(built);
    let missing = || format!("no {name} binary: run `cargo build -p {package}`");
    newest.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, missing()))
}

/// Where Debian has libfaketime, which shifts the time of day for who is started with it.
pub fn faketime_library() -> io::Result<PathBuf> {
    let mut folders = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    folders.find(|file| file.is_file()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `zerottl`, to be run in its place by a program that is given with its arguments.
pub(crate) fn under(wrapper: &[String]) -> io::Result<Command> {
    let [program, arguments @ ..] = wrapper else { return Ok(Command::new(binary()?)) };
    let mut command = Command::new(find_tool(program)?);
    command.args(arguments).arg(binary()?);
    Ok(command)
}

/// Starts a `zerottl` that logs into a folder, and waits for its `READY=1`.
pub(crate) fn until_ready(machine: &Netns, folder: &Path, mut command: Command) -> io::Result<Process> {
    let notify_path = folder.join("notify");
    let _ = fs::remove_file(&notify_path);
    let notify = UnixDatagram::bind(&notify_path)?;
    notify.set_nonblocking(true)?;
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    command.env("NOTIFY_SOCKET", notify_path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut process = Process::new(machine.spawn(command)?);
    let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    let end = Instant::now() + PATIENCE;
    let mut note = [0; 512];
    loop {
        if let Ok(length) = notify.recv(&mut note)
            && note[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
        {
            return Ok(process);
        }
        if let Some(status) = process.ended()? {
            return Err(io::Error::other(format!("zerottl ended with {status}:\n{}", log())));
        }
        if Instant::now() >= end {
            return Err(io::Error::other(format!("zerottl is not ready after {PATIENCE:?}:\n{}", log())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
