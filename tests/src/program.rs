//! The programs of this workspace: where they are, and their start.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    netns::Netns,
    process::Process,
    scratch::{find_tool, folder},
};

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

/// A time of day of one's own for programs that are started with it, by libfaketime; other clocks are the machine's.
#[derive(Debug)]
pub struct WallClock {
    folder: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// A clock that goes right; none where libfaketime is not installed, which is said.
    ///
    /// # Panics
    /// If it has no place for its file.
    #[must_use]
    pub fn new(what: &str) -> Option<Self> {
        let Ok(library) = faketime_library() else {
            eprintln!("NOT TESTED: {what} (libfaketime is not installed)");
            return None;
        };
        let clock = Self { folder: folder().expect("a folder"), library };
        clock.step("+0");
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// The variables that a program is started with to have this clock.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Sets it so far from the machine's, such as `+1d`.
    ///
    /// # Panics
    /// If its file cannot be written.
    pub fn step(&self, offset: &str) {
        // Renamed, so that nobody reads half of it.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{offset}\n")).and_then(|()| fs::rename(new, self.file())).expect("written");
    }
}

/// `zerottl`, to be run in its place by a program that is given with its arguments.
pub(crate) fn under(wrapper: &[String]) -> io::Result<Command> {
    let [program, arguments @ ..] = wrapper else { return Ok(Command::new(binary()?)) };
    let mut command = Command::new(find_tool(program)?);
    command.args(arguments).arg(binary()?);
    Ok(command)
}

/// Starts a `zerottl` that logs into a folder, and waits for its `READY=1`.
pub fn until_ready(machine: &Netns, folder: &Path, mut command: Command) -> io::Result<Process> {
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
