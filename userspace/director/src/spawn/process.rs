//! A server's process, by a descriptor that names no other one, whoever its parent is.

use std::{
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
    },
};
use tokio::io::unix::AsyncFd;
use zerottl_kernel::readiness::readable;

/// A server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEnd {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Not known: it was started by an earlier worker.
    Unknown,
}

impl fmt::Display for ServerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Signaled(signal) => write!(f, "ended by signal {signal}"),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// A server's process. Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct ServerProcess {
    pid: Pid,
    fd: AsyncFd<OwnedFd>,
    /// Held while it is reaped, so that nobody else finds it gone.
    end: Mutex<Option<ServerEnd>>,
}

impl ServerProcess {
    /// Watches a child that was not reaped.
    pub(super) fn of_child(id: u32) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Self::new(pid, pidfd_open(pid, PidfdFlags::empty())?)
    }

    /// Takes over one of an earlier worker by its descriptor (`pidfd_open(2)`), which the keeper has held; `NotFound` if it
    /// has ended and is reaped. Must be called within a tokio runtime.
    pub fn from_pidfd(fd: OwnedFd) -> io::Result<Self> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok());
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        Self::new(Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?, fd)
    }

    fn new(pid: Pid, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pid, fd: readable(fd)?, end: Mutex::default() })
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it runs, as far as is known: one that has just ended may still count.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&now)) == Ok(0)
    }

    /// Sends it a signal; nothing if it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal to it and to all of its process group; nothing if it has ended.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill_process_group(self.pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends when it has ended, also for several who wait, and again after that. What is left of its process group is killed, unless an
    /// earlier worker has started it. Dropping the future is no loss.
    pub async fn ended(&self) -> ServerEnd {
        loop {
            match self.fd.readable().await {
                Ok(mut ready) => {
                    let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
                    *end = end.or_else(|| self.reap());
                    match *end {
                        Some(end) => return end,
                        None => ready.clear_ready(),
                    }
                }
                // The runtime is ending.
                Err(_) => return ServerEnd::Unknown,
            }
        }
    }

    fn reap(&self) -> Option<ServerEnd> {
        let wait =
            |options| waitid(WaitId::PidFd(self.fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options);
        match wait(WaitIdOptions::NOWAIT) {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // Not our child, or reaped by somebody who asked at the same time.
            Err(_) => return Some(ServerEnd::Unknown).filter(|_| !self.is_alive()),
        }
        // As long as it is not reaped, no other group can have its number.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = wait(WaitIdOptions::empty()).ok().flatten();
        let end = status.and_then(|status| {
            let exited = status.exit_status().map(ServerEnd::Exited);
            exited.or_else(|| status.terminating_signal().map(ServerEnd::Signaled))
        });
        Some(end.unwrap_or(ServerEnd::Unknown))
    }
}

impl AsFd for ServerProcess {
    /// Returns its descriptor, for the keeper to hold.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use rustix::process::test_kill_process;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "the wait is by its descriptor")]
    fn shell(text: &str) -> ServerProcess {
        let child = Command::new("/bin/sh").args(["-c", text]).process_group(0).spawn().unwrap();
        ServerProcess::of_child(child.id()).unwrap()
    }

    #[tokio::test]
    async fn an_end_is_told_to_all_who_wait() {
        let process = shell("exit 7");
        let (one, two) = tokio::join!(process.ended(), process.ended());
        assert_eq!([one, two, process.ended().await], [ServerEnd::Exited(7); 3]);
        assert!(!process.is_alive());
        process.signal(Signal::KILL).unwrap();
        process.signal_group(Signal::KILL).unwrap();

        let process = shell("sleep 1000");
        assert!(process.is_alive());
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.ended().await.to_string(), "ended by signal 15");
    }

    #[tokio::test]
    async fn what_a_server_leaves_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let process = shell(&format!("sleep 1000 & echo $! > {}; kill -9 $$", file.display()));
        assert_eq!(process.ended().await, ServerEnd::Signaled(9));
        let left = fs::read_to_string(file).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
        let state = || fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        // Who reaps it here may take a while.
        for _ in 0..3000 {
            if test_kill_process(left).is_err() || state().contains(") Z ") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it lives: {}", state());
    }

    #[tokio::test]
    async fn one_is_taken_over_by_its_descriptor() {
        let process = shell("sleep 1000");
        let copy = || process.as_fd().try_clone_to_owned().unwrap();
        let other = ServerProcess::from_pidfd(copy()).unwrap();
        assert_eq!((other.pid(), other.is_alive()), (process.pid(), true));
        other.signal(Signal::KILL).unwrap();
        process.ended().await;
        assert_eq!(other.ended().await, ServerEnd::Unknown, "reaped already");
        assert_eq!(ServerProcess::from_pidfd(copy()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = tempfile::tempfile().unwrap().into();
        assert_eq!(ServerProcess::from_pidfd(file).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
