//! BIRD, which announces routes: real daemons in the lab's namespaces.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    netns::Netns,
    process::{Process, eventually},
    scratch::find_tool,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    folder: PathBuf,
    _process: Process,
}

impl Bird {
    /// Starts it with this configuration and a folder for its files, and waits until it can be asked.
    pub fn start(machine: &Netns, folder: &Path, config: &str) -> io::Result<Self> {
        fs::write(folder.join("bird.conf"), config)?;
        let log = File::options().create(true).append(true).open(folder.join("bird.log"))?;
        let mut command = Command::new(find_tool("bird")?);
        command.arg("-f").arg("-c").arg(folder.join("bird.conf")).arg("-s").arg(folder.join("bird.ctl"));
        command.arg("-P").arg(folder.join("bird.pid")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let bird = Self { folder: folder.to_owned(), _process: Process::new(machine.spawn(command)?) };
        if eventually(PATIENCE, || bird.ask("show status").is_ok()) {
            return Ok(bird);
        }
        Err(io::Error::other(format!("BIRD does not answer:\n{}", bird.log())))
    }

    /// The path of its control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.folder.join("bird.ctl")
    }

    /// Gives it a command, and returns what it says.
    pub fn ask(&self, command: &str) -> io::Result<String> {
        let output = Command::new(find_tool("birdc")?).arg("-s").arg(self.control()).arg(command).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(io::Error::other(said)) }
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("bird.log")).unwrap_or_default()
    }
}
