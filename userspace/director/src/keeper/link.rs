//! The worker's end of the link to its keeper.

use std::{
    collections::BTreeSet,
    env, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, sockopt},
    process::{Signal, set_parent_process_death_signal},
};
use zerottl_kernel::{inherited, readiness::readable};

use super::message::{
    Answer, DESCRIPTORS_MAX, LINK, MESSAGE_MAX, NAME_MAX, NOTES_MAX, Said, TEXT_MAX, VARIABLE, cut, is_name, receive,
    send,
};

/// The time within which a keeper that lives takes a message, or answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reason why the keeper does not hold something, or cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// This process was not started by a keeper.
    #[error("there is no keeper: start this by `zerottl director --config FILE --as SITE`")]
    None,
    /// The exchange failed.
    #[error("the keeper: {0}")]
    Exchange(#[from] io::Error),
    /// The keeper has gone.
    #[error("the keeper has gone")]
    Gone,
    /// It holds as many as it may.
    #[error("the keeper holds {0} of them, and takes no more")]
    Full(usize),
    /// It is no name.
    #[error("`{0}` cannot be a name: 1 to {NAME_MAX} visible ASCII characters")]
    Name(String),
    /// A note's text is too long.
    #[error("the text of the note `{0}` is too long: {TEXT_MAX} bytes at most")]
    Text(String),
}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        Self::Exchange(errno.into())
    }
}

/// Everything that the keeper has held while no worker ran; sorted by name.
#[derive(Debug, Default)]
pub struct Kept {
    /// Descriptors, close-on-exec.
    pub descriptors: Vec<(String, OwnedFd)>,
    /// Small texts.
    pub notes: Vec<(String, String)>,
    /// Whether the director has been told to stop: a worker before this one died while it did so.
    pub stopping: bool,
}

/// The names of what the keeper holds.
#[derive(Debug, Default)]
struct Names {
    descriptors: BTreeSet<String>,
    notes: BTreeSet<String>,
}

/// The worker's end. Its methods block for microseconds, and for five seconds where the keeper does not run.
#[derive(Debug)]
pub struct KeeperLink {
    socket: OwnedFd,
    names: Mutex<Names>,
}

impl KeeperLink {
    /// Takes the link over from the environment, and asks for all that the keeper holds. Once in a process, before it opens
    /// anything. When the keeper dies, the kernel kills this process from now on.
    pub fn from_env() -> Result<(Self, Kept), LinkError> {
        if env::var(VARIABLE).ok() != Some(LINK.to_string()) {
            return Err(LinkError::None);
        }
        let socket = inherited::take([LINK]).pop().ok_or(LinkError::None)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        Self::new(socket)
    }

    /// Takes the link over, and asks for all that the keeper holds.
    pub(super) fn new(socket: OwnedFd) -> Result<(Self, Kept), LinkError> {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        let link = Self { socket, names: Mutex::default() };
        let mut kept = Kept::default();
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut after = String::new();
        while let (Answer::Descriptor(name), fd) = link.ask(Said::NextDescriptor(&after), &mut buffer)? {
            name.clone_into(&mut after);
            // One that did not come over has no copy any more.
            let Some(fd) = fd else { continue };
            kept.descriptors.push((after.clone(), fd));
        }
        after.clear();
        kept.stopping = loop {
            match link.ask(Said::NextNote(&after), &mut buffer)?.0 {
                Answer::Note(name, text) => {
                    name.clone_into(&mut after);
                    kept.notes.push((after.clone(), text.to_owned()));
                }
                Answer::End { stopping } => break stopping,
                Answer::Descriptor(_) => return Err(LinkError::Exchange(io::ErrorKind::InvalidData.into())),
            }
        };
        let descriptors = kept.descriptors.iter().map(|(name, _)| name.clone()).collect();
        let notes = kept.notes.iter().map(|(name, _)| name.clone()).collect();
        *link.names.lock().unwrap_or_else(PoisonError::into_inner) = Names { descriptors, notes };
        Ok((link, kept))
    }

    /// Has the keeper hold a copy, in the place of one that it holds by that name already.
    pub fn keep(&self, name: &str, fd: impl AsFd) -> Result<(), LinkError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        added(&mut names.descriptors, name, DESCRIPTORS_MAX)?;
        let sent = self.say(Said::Keep(name), Some(fd.as_fd()));
        if sent.is_err() {
            names.descriptors.remove(name);
        }
        sent
    }

    /// Has the keeper close its copy; nothing if it has none.
    pub fn release(&self, name: &str) -> Result<(), LinkError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.descriptors.remove(name) { self.say(Said::Drop(name), None) } else { Ok(()) }
    }

    /// Has the keeper hold a text, in the place of one that it holds by that name already.
    pub fn note(&self, name: &str, text: &str) -> Result<(), LinkError> {
        if text.len() > TEXT_MAX {
            return Err(LinkError::Text(name.to_owned()));
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        added(&mut names.notes, name, NOTES_MAX)?;
        self.say(Said::Note(name, text), None)
    }

    /// Has the keeper forget a text; nothing if it has none.
    pub fn forget(&self, name: &str) -> Result<(), LinkError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.notes.remove(name) { self.say(Said::Forget(name), None) } else { Ok(()) }
    }

    /// Says that this worker serves; the keeper tells the service manager. From then on a worker that ends by itself is started
    /// again, unless with the exit code 0 or in a stop.
    pub fn ready(&self) -> Result<(), LinkError> {
        self.say(Said::Ready, None)
    }

    /// Says in a line how things are, for the service manager to show.
    pub fn status(&self, text: &str) -> Result<(), LinkError> {
        self.say(Said::Status(&cut(&text)), None)
    }

    /// Ends when the keeper has gone. Must be called within a tokio runtime.
    pub async fn closed(&self) {
        let Ok(socket) = self.socket.try_clone().and_then(readable) else { return };
        loop {
            let Ok(mut ready) = socket.readable().await else { return };
            // Nothing is said unasked; what comes nevertheless is thrown away.
            match recv(&self.socket, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    fn say(&self, said: Said<'_>, fd: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        send(&self.socket, said.to_text().as_bytes(), fd, SendFlags::NOSIGNAL).map_err(|error| match error {
            Errno::PIPE | Errno::CONNRESET => LinkError::Gone,
            error => error.into(),
        })
    }

    fn ask<'a>(&self, said: Said<'_>, buffer: &'a mut [u8]) -> Result<(Answer<'a>, Option<OwnedFd>), LinkError> {
        self.say(said, None)?;
        let (length, fd) = receive(&self.socket, buffer, RecvFlags::empty())?;
        if length == 0 {
            return Err(LinkError::Gone);
        }
        let answer = Answer::parse(&buffer[..length]).ok_or(LinkError::Exchange(io::ErrorKind::InvalidData.into()))?;
        Ok((answer, fd))
    }
}

/// Adds a name where there is room for it.
fn added(names: &mut BTreeSet<String>, name: &str, max: usize) -> Result<(), LinkError> {
    if !is_name(name) {
        return Err(LinkError::Name(name.to_owned()));
    }
    if names.len() >= max && !names.contains(name) {
        return Err(LinkError::Full(max));
    }
    names.insert(name.to_owned());
    Ok(())
}
