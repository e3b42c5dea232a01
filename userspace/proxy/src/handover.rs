//! How a Site is followed by the next process: the sockets that it listens on outlive it.
//!
//! | by | how the sockets go over | who is refused meanwhile |
//! |---|---|---|
//! | SIGUSR2 | this process starts its program anew with them; once that serves, this one stops | nobody, and nobody waits |
//! | a restart by systemd | they are kept in its store (`FileDescriptorStoreMax=`) and given back (`LISTEN_FDS`) | nobody; newcomers wait until the next has begun |
//! | a socket unit | systemd has made them | the same |
//! | a director | each process has sockets of its own, which others' queues are moved to | nobody; it starts the next itself |
//!
//! A socket that is bound twice would be simpler, but what is in the queue of the one that is closed is reset.

use std::{
    env,
    ffi::OsString,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::{self, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt},
    process::{Pid, Signal, getppid, kill_process},
};
use sd_notify::NotifyState;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};
use tracing::{error, info, warn};
use zerottl_host::socket_names::{listener_name, listener_place};
use zerottl_server::{Contract, NamedListener};

use crate::directed::Directed;

/// The variable with what the process before has left: its id and the numbers of its sockets.
const LISTENERS: &str = "ZEROTTL_LISTENERS";
/// systemd's protocol (`sd_listen_fds`).
const FIRST: RawFd = 3;
const SOCKETS_MAX: usize = 128;
/// The time within which the next process has to serve.
const PATIENCE: Duration = Duration::from_mins(1);
/// The time between looks at the next process.
const LOOK: Duration = Duration::from_millis(100);

/// A command to a Site while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteCommand {
    /// Read the file and the certificates again, and open the access log anew.
    Reload,
    /// Open the access log anew.
    Reopen,
    /// Start the program anew, and stop once that serves.
    Follow,
    /// Stop because another process serves already, or is about to.
    Leave,
    /// Stop.
    Stop,
}

/// The reason why no process follows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// A director replaces its servers itself.
    #[error("a director runs this process, and starts the next one itself")]
    Directed,
    /// This process is stopping.
    #[error("this process is stopping already")]
    Leaving,
    /// Another one was started before.
    #[error("the next process is starting already")]
    Starting,
    /// There are no copies of the sockets.
    #[error("copying sockets: {0}")]
    Copies(#[source] Errno),
    /// The program does not start.
    #[error("starting the next process: {0}")]
    Spawn(#[source] io::Error),
    /// The program's path is not known.
    #[error("this program's path: {0}")]
    OwnPath(#[source] io::Error),
    /// The program's path is not UTF-8.
    #[error("{} is no text", .0.display())]
    NotText(OsString),
}

/// Sockets that listen and were given to this process.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
    before: Option<Pid>,
    directed: Option<Directed>,
}

impl Inherited {
    /// Takes those of a director.
    #[must_use]
    pub fn of_director(mut contract: Contract) -> Self {
        // Where the kernel does not choose, nobody but the director connects to these sockets, each at a place of its own: the
        // name says which it stands for.
        let sockets = contract.listeners.drain(..).filter_map(|NamedListener { name, listener }| {
            let place = listener_place(&name).or_else(|| listener.local_addr().ok())?;
            Some((place, listener))
        });
        let sockets = sockets.collect();
        Self { sockets, before: None, directed: Some(Directed::new(contract)) }
    }

    /// Whether a director has given them: others listen at the same addresses, and no socket is made here.
    pub(crate) fn is_directed(&self) -> bool {
        self.directed.is_some()
    }

    /// Takes what else a director has given.
    pub(crate) fn take_directed(&mut self) -> Option<Directed> {
        self.directed.take()
    }

    /// Takes those of the process before, or of systemd: `open` makes descriptors of the numbers that are open. Once in
    /// a process.
    #[must_use]
    pub fn take(open: impl FnOnce(Vec<RawFd>) -> Vec<OwnedFd>) -> Self {
        let said = |name| env::var(name).ok();
        let parent = getppid();
        let handed = said(LISTENERS).and_then(|text| handed(&text, parent));
        let activated = activated(said("LISTEN_PID").as_deref(), said("LISTEN_FDS").as_deref(), process::id());
        let before = handed.as_ref().and(parent);
        let numbers = handed.unwrap_or_default().into_iter().chain(activated).collect();
        let listening = |fd: &OwnedFd| sockopt::socket_acceptconn(fd).unwrap_or(false);
        let sockets = open(numbers).into_iter().filter(listening).map(TcpListener::from);
        let sockets = sockets.filter_map(|one| Some((one.local_addr().ok()?, one))).collect();
        Self { sockets, before, directed: None }
    }

    /// Takes the one that listens there.
    pub(crate) fn find(&mut self, at: SocketAddr) -> Option<TcpListener> {
        let same = |(one, _): &(SocketAddr, TcpListener)| one.ip() == at.ip() && one.port() == at.port();
        let found = self.sockets.iter().position(same)?;
        Some(self.sockets.swap_remove(found).1)
    }

    /// Takes those that listen somewhere at this address: `0.0.0.0` and `::` are all of their family.
    pub(crate) fn find_within(&mut self, at: SocketAddr) -> Vec<(SocketAddr, TcpListener)> {
        let within = |(one, _): &mut (SocketAddr, TcpListener)| {
            let any = at.ip().is_unspecified() && one.is_ipv4() == at.is_ipv4();
            one.port() == at.port() && (any || one.ip() == at.ip())
        };
        self.sockets.extract_if(.., within).collect()
    }

    /// Returns where the sockets listen that nobody has asked for.
    pub(crate) fn rest(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(at, _)| *at).collect()
    }

    /// Closes what nobody has asked for, and tells the process before that it is followed.
    pub(crate) fn close_rest(self) {
        for (at, _) in &self.sockets {
            info!(%at, "no longer listened on");
            notify_with(&format!("FDSTOREREMOVE=1\nFDNAME={}", listener_name(*at)), &[]);
        }
        if let Some(before) = self.before
            && let Err(error) = kill_process(before, Signal::QUIT)
        {
            warn!(%error, "telling the previous process failed");
        }
    }
}

/// Returns the numbers of the sockets that the process before hands over, where it is our parent.
fn handed(text: &str, parent: Option<Pid>) -> Option<Vec<RawFd>> {
    let (by, numbers) = text.split_once(':')?;
    let by = Pid::from_raw(by.parse().ok()?)?;
    let numbers = numbers.split(',').filter_map(|number| number.parse().ok()).filter(|number| *number >= FIRST);
    (Some(by) == parent).then(|| numbers.take(SOCKETS_MAX).collect())
}

/// Returns the numbers of the sockets that systemd hands over, where it says so to us.
fn activated(pid: Option<&str>, count: Option<&str>, own: u32) -> Vec<RawFd> {
    let ours = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count = count.and_then(|count| count.parse().ok()).filter(|_| ours).unwrap_or(0);
    (FIRST..).take(count).take(SOCKETS_MAX).collect()
}

/// The sockets that this process listens on, to be given on.
#[derive(Debug)]
pub(crate) struct HandoverSockets {
    sockets: Vec<(SocketAddr, OwnedFd)>,
    follower: Arc<AtomicU32>,
    /// Whether this process serves nobody new any more.
    released: Arc<AtomicBool>,
    /// Whether a director starts the next process.
    is_directed: bool,
}

impl HandoverSockets {
    /// Keeps copies, and has systemd keep them, too, where that is asked to.
    pub(crate) fn new<'a>(sockets: impl IntoIterator<Item = (SocketAddr, BorrowedFd<'a>)>) -> io::Result<Self> {
        let own = |(at, fd): (SocketAddr, BorrowedFd<'a>)| Ok((at, fd.try_clone_to_owned()?));
        let sockets = sockets.into_iter().map(own).collect::<io::Result<Vec<_>>>()?;
        for (at, fd) in &sockets {
            notify_with(&format!("FDSTORE=1\nFDNAME={}", listener_name(*at)), &[fd.as_fd()]);
        }
        Ok(Self { sockets, follower: Arc::default(), released: Arc::default(), is_directed: false })
    }

    /// Keeps none, since a director has them.
    pub(crate) fn of_director() -> Self {
        Self { sockets: Vec::new(), follower: Arc::default(), released: Arc::default(), is_directed: true }
    }

    /// Lets go of them: who connects is refused, once nobody else has them.
    pub(crate) fn release(&mut self) {
        self.sockets.clear();
        self.released.store(true, SeqCst);
    }

    /// Returns the process that follows, if one was started and lives.
    pub(crate) fn follower(&self) -> Option<u32> {
        Some(self.follower.load(SeqCst)).filter(|pid| *pid != 0)
    }

    /// Starts this program anew, with the same arguments and these sockets. It says by SIGQUIT that it serves; if it does
    /// not, this process goes on.
    pub(crate) fn follow(&self) -> Result<(), FollowError> {
        if self.is_directed {
            return Err(FollowError::Directed);
        }
        if self.released.load(SeqCst) {
            return Err(FollowError::Leaving);
        }
        if self.follower().is_some() {
            return Err(FollowError::Starting);
        }
        // Without close-on-exec, which the copies that are kept have.
        let copies = self.sockets.iter().map(|(_, fd)| rustix::io::dup(fd)).collect::<Result<Vec<_>, _>>();
        let copies = copies.map_err(FollowError::Copies)?;
        let numbers: Vec<String> = copies.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut command = Command::new(program()?);
        command.args(env::args_os().skip(1)).env(LISTENERS, format!("{}:{}", process::id(), numbers.join(",")));
        let child = command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS").stdin(Stdio::null()).spawn();
        let child = child.map_err(FollowError::Spawn)?;
        self.follower.store(child.id().unwrap_or(0), SeqCst);
        info!(pid = child.id(), "started the next process");
        tokio::spawn(watch(child, Arc::clone(&self.follower), Arc::clone(&self.released)));
        Ok(())
    }
}

/// Ends a process that does not come to serve. Once this one has left, it does.
async fn watch(mut child: Child, follower: Arc<AtomicU32>, released: Arc<AtomicBool>) {
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            _ if released.load(SeqCst) => return,
            Ok(None) if Instant::now() < end => sleep(LOOK).await,
            Ok(None) => {
                let _ = child.start_kill();
                break error!("the next process does not serve after {PATIENCE:?}: this one continues");
            }
            Ok(Some(status)) => break error!("the next process ended with {status}: this one continues"),
            Err(error) => break error!(%error, "waiting for the next process failed"),
        }
    }
    let _ = child.wait().await;
    follower.store(0, SeqCst);
}

/// Returns the program's path as it is now on disk, an upgrade's if there was one.
fn program() -> Result<PathBuf, FollowError> {
    let path = env::current_exe().map_err(FollowError::OwnPath)?;
    let text = path.into_os_string().into_string().map_err(FollowError::NotText)?;
    Ok(text.strip_suffix(" (deleted)").unwrap_or(&text).into())
}

/// Tells the service manager, if there is one.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        warn!(%error, "telling the supervisor failed");
    }
}

/// Tells the service manager, if there is one, with descriptors.
fn notify_with(text: &str, fds: &[BorrowedFd<'_>]) {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&place)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            with.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&socket, &[io::IoSlice::new(text.as_bytes())], &mut with, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    if let Err(error) = send() {
        warn!(%error, "telling the supervisor failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_is_taken() {
        let pid = Pid::from_raw(70);
        for (text, taken) in [
            ("70:5,6,9", Some(vec![5, 6, 9])),
            ("71:5", None),
            ("70:0,2,x,7", Some(vec![7])),
            ("70:", Some(vec![])),
            ("70", None),
            ("0:5", None),
            ("", None),
        ] {
            assert_eq!(handed(text, pid), taken, "{text}");
        }
        assert_eq!(handed("70:5", None), None);
        for (pid, count, taken) in [
            (Some("70"), Some("2"), vec![3, 4]),
            (Some("71"), Some("2"), vec![]),
            (None, Some("2"), vec![]),
            (Some("70"), Some("-1"), vec![]),
            (Some("70"), None, vec![]),
        ] {
            assert_eq!(activated(pid, count, 70), taken);
        }
        assert_eq!(activated(Some("70"), Some("100000"), 70).len(), SOCKETS_MAX);
    }

    #[test]
    fn a_directors_sockets_are_found_below_any_address() {
        let all = ["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81", "[::1]:80"];
        let check = |at: &str, left: &[&str]| {
            let socket = |at: &&str| (at.parse().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
            let mut inherited = Inherited { sockets: all.iter().map(socket).collect(), before: None, directed: None };
            let found = inherited.find_within(at.parse().unwrap()).len();
            assert_eq!(found, all.len() - left.len(), "{at}");
            assert_eq!(inherited.rest().iter().map(SocketAddr::to_string).collect::<Vec<_>>(), left, "{at}");
        };
        check("0.0.0.0:80", &["127.0.0.1:81", "[::1]:80"]);
        check("[::]:80", &["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81"]);
        check("127.0.0.1:81", &["127.0.0.1:80", "127.0.0.2:80", "[::1]:80"]);
        check("0.0.0.0:82", &all);
    }
}
