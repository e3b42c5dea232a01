//! The keeper: the small parent of the director's worker, which outlives it.
//!
//! | who dies | what happens |
//! |---|---|
//! | the worker | it is started again and given everything that the keeper holds for it; servers go on, now as the keeper's children |
//! | the keeper | the kernel kills the worker; servers go on |
//! | a server | its parent reaps it: the worker, or the keeper for one that was started by an earlier worker |
//!
//! It is one thread without a runtime: it waits for signals and for messages of the worker, and holds what those name. Nothing that
//! the worker says ends it, and all that it holds is bounded.
//!
//! The service manager knows the keeper alone, which tells it what the worker says (`READY=1`, `STATUS=`): `NotifyAccess=main`
//! is enough, and no server can speak for the director.

mod link;
mod message;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Read as _},
    ops::Bound::{Excluded, Unbounded},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair},
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait},
};
use sd_notify::NotifyState;
use tracing::{error, info, warn};
use zerottl_host::resources::Descriptors;

use self::message::{Answer, LINK, MESSAGE_MAX, Said, receive, send};

pub(crate) use self::message::VARIABLE;
pub use self::{
    link::{KeeperLink, Kept, LinkError},
    message::{DESCRIPTORS_MAX, NOTES_MAX},
};

/// The first delay before a worker is started again.
const DELAY: Duration = Duration::from_millis(100);
/// The longest one.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// A worker that has lived for so long is started again after the first delay.
const STEADY: Duration = Duration::from_secs(10);
/// Messages that are taken before signals are looked at again.
const MESSAGES: usize = 256;
/// Messages of a worker that has ended, which its socket can hold.
const MESSAGES_LEFT: usize = 65_536;
/// Signals that are passed on to the worker.
const PASSED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The command that is the worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program: the keeper's own, `/proc/self/exe`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// The reason why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Orphans cannot be adopted.
    #[error("adopting the processes of a worker that dies: {0}")]
    Subreaper(#[source] Errno),
    /// Signals cannot be waited for.
    #[error("installing a signal handler failed: {0}")]
    Signals(#[source] io::Error),
    /// The first worker cannot be started.
    #[error("starting the worker failed: {0}")]
    Spawn(#[source] io::Error),
}

/// Runs the worker until it has stopped, and starts it again each time that it dies.
///
/// It has stopped when it ends with exit code 0, with any code after SIGTERM, SIGINT or SIGQUIT, or with any code before a first
/// worker was ready, which is how a fault of the configuration ends the command. Returns that code. Must be called by
/// a process of a single thread, before it starts others.
pub fn keep(worker: &WorkerCommand) -> Result<ExitCode, KeeperError> {
    set_child_subreaper(Some(getpid())).map_err(KeeperError::Subreaper)?;
    let _ = Descriptors::raised();
    let signals = Signals::new().map_err(KeeperError::Signals)?;
    let mut keeper =
        Keeper { command: worker, store: Store::default(), running: None, stopping: false, was_ready: false };
    keeper.running = Some(keeper.start().map_err(KeeperError::Spawn)?);
    Ok(keeper.run(&signals))
}

/// Signals as they come, by a socket that wakes a poll.
struct Signals {
    wake: UnixStream,
    came: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (wake, waking) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waking.set_nonblocking(true)?;
        let mut came = Vec::new();
        for signal in PASSED.into_iter().chain([Signal::CHILD]) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: who is woken finds the flag.
            signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal.as_raw(), waking.try_clone()?)?;
            came.push((signal, flag));
        }
        Ok(Self { wake, came })
    }

    /// Returns those that have come since the last time.
    fn take(&self) -> impl Iterator<Item = Signal> {
        let mut bytes = [0; 64];
        while let Ok(1..) = (&self.wake).read(&mut bytes) {}
        self.came.iter().filter(|(_, flag)| flag.swap(false, SeqCst)).map(|(signal, _)| *signal)
    }
}

/// Descriptors and notes that are held for the worker.
#[derive(Debug, Default)]
struct Store {
    descriptors: BTreeMap<String, OwnedFd>,
    notes: BTreeMap<String, String>,
}

impl Store {
    fn is_empty(&self) -> bool {
        self.descriptors.is_empty() && self.notes.is_empty()
    }

    /// Holds something in the place of what it holds by that name; false if there is no room.
    fn hold<T>(all: &mut BTreeMap<String, T>, name: &str, one: T, max: usize) -> bool {
        let has_room = all.len() < max || all.contains_key(name);
        if has_room {
            all.insert(name.to_owned(), one);
        }
        has_room
    }

    fn next<'a, T>(all: &'a BTreeMap<String, T>, after: &str) -> Option<(&'a String, &'a T)> {
        all.range::<str, _>((Excluded(after), Unbounded)).next()
    }
}

/// A worker that was started.
struct Running {
    pid: Pid,
    link: Option<OwnedFd>,
    since: Instant,
    was_ready: bool,
}

struct Keeper<'a> {
    command: &'a WorkerCommand,
    store: Store,
    running: Option<Running>,
    /// Whether the director has been told to stop.
    stopping: bool,
    /// Whether a worker has ever been ready.
    was_ready: bool,
}

impl Keeper<'_> {
    fn run(&mut self, signals: &Signals) -> ExitCode {
        let mut delay = DELAY;
        let mut next = Instant::now();
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            if self.running.is_none() && Instant::now() >= next {
                match self.start() {
                    Ok(running) => self.running = Some(running),
                    Err(fault) => {
                        error!("starting the worker failed: {fault}; trying again in {delay:?}");
                        next = Instant::now() + delay;
                        delay = (delay * 2).min(DELAY_MAX);
                    }
                }
            }
            self.wait(signals, next);
            for signal in signals.take() {
                self.pass(signal);
            }
            self.listen(MESSAGES, &mut buffer);
            let Some(status) = self.reap() else {
                if self.running.is_none() && self.stopping {
                    if self.store.is_empty() {
                        return ExitCode::SUCCESS;
                    }
                    // Somebody has to stop the servers.
                    next = next.min(Instant::now() + DELAY);
                }
                continue;
            };
            // What it said last counts.
            self.listen(MESSAGES_LEFT, &mut buffer);
            let lived = self.running.take().map_or(Duration::ZERO, |running| running.since.elapsed());
            if let Some(code) = self.is_final(status) {
                return ExitCode::from(code);
            }
            if lived >= STEADY {
                delay = DELAY;
            }
            error!("the worker ended {}: starting it again in {delay:?}; servers go on", how(status));
            next = Instant::now() + delay;
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    fn start(&self) -> io::Result<Running> {
        let (link, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.arguments).env(VARIABLE, LINK.to_string()).stdin(Stdio::null());
        // The service manager is told by the keeper alone.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        // So that a terminal's Ctrl-C reaches the worker once: by the keeper.
        command.process_group(0);
        let mappings = vec![FdMapping { parent_fd: theirs, child_fd: LINK }];
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without an id"))?;
        Ok(Running { pid, link: Some(link), since: Instant::now(), was_ready: false })
    }

    /// Waits for a signal, a message, or the time of the next start.
    fn wait(&self, signals: &Signals, next: Instant) {
        let link = self.running.as_ref().and_then(|running| running.link.as_ref());
        let mut fds = vec![PollFd::new(&signals.wake, PollFlags::IN)];
        fds.extend(link.map(|link| PollFd::new(link, PollFlags::IN)));
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let limit = self.running.is_none().then_some(&left);
        if let Err(error) = poll(&mut fds, limit)
            && error != Errno::INTR
        {
            warn!("waiting failed: {error}");
            std::thread::sleep(DELAY);
        }
    }

    fn pass(&mut self, signal: Signal) {
        if signal == Signal::CHILD {
            return;
        }
        if [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) && !self.stopping {
            self.stopping = true;
            notify(NotifyState::Stopping);
        }
        if let Some(running) = &self.running
            && let Err(error) = kill_process(running.pid, signal)
        {
            warn!("passing a signal to the worker failed: {error}");
        }
    }

    /// Takes what the worker has said.
    fn listen(&mut self, messages: usize, buffer: &mut [u8]) {
        for _ in 0..messages {
            let Some(link) = self.running.as_ref().and_then(|running| running.link.as_ref()) else { return };
            match receive(link, buffer, RecvFlags::DONTWAIT) {
                Ok((length @ 1.., fd)) => self.obey(buffer.get(..length).unwrap_or_default(), fd),
                Err(Errno::AGAIN) => return,
                // It has closed its end; it is not asked why.
                Ok((0, _)) | Err(_) => return self.hang_up(),
            }
        }
    }

    fn hang_up(&mut self) {
        if let Some(running) = &mut self.running {
            running.link = None;
        }
    }

    fn obey(&mut self, message: &[u8], fd: Option<OwnedFd>) {
        let Some(said) = Said::parse(message) else {
            return warn!(
                "the worker says what is not understood: {}",
                String::from_utf8_lossy(message).escape_debug()
            );
        };
        match said {
            Said::Keep(name) => {
                let Some(fd) = fd else {
                    return warn!("`{name}` is not kept: it did not come over; is the limit on open files too low?");
                };
                if !Store::hold(&mut self.store.descriptors, name, fd, DESCRIPTORS_MAX) {
                    warn!("`{name}` is not kept: {DESCRIPTORS_MAX} descriptors are");
                }
            }
            Said::Drop(name) => drop(self.store.descriptors.remove(name)),
            Said::Note(name, text) => {
                if !Store::hold(&mut self.store.notes, name, text.to_owned(), NOTES_MAX) {
                    warn!("the note `{name}` is not kept: {NOTES_MAX} are");
                }
            }
            Said::Forget(name) => drop(self.store.notes.remove(name)),
            Said::Ready => {
                self.was_ready = true;
                let first =
                    self.running.as_mut().is_some_and(|running| !std::mem::replace(&mut running.was_ready, true));
                if first && !self.stopping {
                    notify(NotifyState::Ready);
                }
            }
            Said::Status(text) => notify(NotifyState::Status(text)),
            Said::NextDescriptor(after) => match Store::next(&self.store.descriptors, after) {
                Some((name, fd)) => self.answer(Answer::Descriptor(name), Some(fd)),
                None => self.answer(Answer::End { stopping: self.stopping }, None),
            },
            Said::NextNote(after) => match Store::next(&self.store.notes, after) {
                Some((name, text)) => self.answer(Answer::Note(name, text), None),
                None => self.answer(Answer::End { stopping: self.stopping }, None),
            },
        }
    }

    /// Answers without waiting: whoever asks has read what was answered before.
    fn answer(&self, answer: Answer<'_>, fd: Option<&OwnedFd>) {
        let Some(link) = self.running.as_ref().and_then(|running| running.link.as_ref()) else { return };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let text = answer.to_text();
        if let Err(error) = send(link, text.as_bytes(), fd.map(OwnedFd::as_fd), flags) {
            warn!("answering the worker with `{text}` failed: {error}");
            // So that it goes on, without this one.
            if fd.is_some() {
                let _ = send(link, text.as_bytes(), None, flags);
            }
        }
    }

    /// Reaps whoever has ended; how, if it was the worker.
    fn reap(&self) -> Option<WaitStatus> {
        let worker = self.running.as_ref().map(|running| running.pid);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((ended, status))) if Some(ended) == worker => return Some(status),
                Ok(Some((ended, status))) => info!("process {ended} of an earlier worker ended {}", how(status)),
                Err(Errno::INTR) => {}
                _ => return None,
            }
        }
    }

    /// The code of a worker that is not to be started again.
    fn is_final(&self, status: WaitStatus) -> Option<u8> {
        let code = status.exit_status().map(|code| u8::try_from(code).unwrap_or(1));
        match code {
            Some(0) => Some(0),
            Some(code) if self.stopping || !self.was_ready => Some(code),
            // It was told to stop before it could hear it.
            None if self.stopping && self.store.is_empty() => Some(0),
            _ => None,
        }
    }
}

/// Describes how a process has ended.
fn how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("with exit code {code}"),
        (_, Some(signal)) => format!("by signal {signal}"),
        _ => "in an unknown way".into(),
    }
}

/// Tells the service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        warn!("telling the supervisor failed: {error}");
    }
}
