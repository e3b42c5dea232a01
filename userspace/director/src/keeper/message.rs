//! Messages between worker and keeper: one datagram each, text, with one descriptor where the words say so.

use std::{
    fmt::Display,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    str,
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

/// Descriptors that are held, at most.
pub const DESCRIPTORS_MAX: usize = 4096;
/// Notes that are held, at most.
pub const NOTES_MAX: usize = 4096;

/// The number of the link's descriptor in the worker.
pub(super) const LINK: RawFd = 3;
/// The variable with that number.
pub(crate) const VARIABLE: &str = "ZEROTTL_KEEPER";

/// The longest name, bytes.
pub(super) const NAME_MAX: usize = 128;
/// The longest text of a note, bytes.
pub(super) const TEXT_MAX: usize = 4096;
/// The longest message, bytes.
pub(super) const MESSAGE_MAX: usize = NAME_MAX + TEXT_MAX + 32;

/// A message of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Hold the descriptor that comes with this.
    Keep(&'a str),
    /// Close the descriptor of that name.
    Drop(&'a str),
    /// Hold a text.
    Note(&'a str, &'a str),
    /// Forget a text.
    Forget(&'a str),
    /// It serves.
    Ready,
    /// A line about it for the service manager to show.
    Status(&'a str),
    /// Answer with the first descriptor whose name comes after this one.
    NextDescriptor(&'a str),
    /// Answer with the first note whose name comes after this one.
    NextNote(&'a str),
}

impl<'a> Said<'a> {
    /// Understands a message; none if it is not one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let named = || Some(rest).filter(|name| is_name(name));
        let after = || Some(rest).filter(|name| name.is_empty() || is_name(name));
        Some(match verb {
            "keep" => Self::Keep(named()?),
            "drop" => Self::Drop(named()?),
            "note" => {
                let (name, text) = rest.split_once(' ')?;
                Self::Note(Some(name).filter(|name| is_name(name))?, Some(text).filter(|text| text.len() <= TEXT_MAX)?)
            }
            "forget" => Self::Forget(named()?),
            "ready" => Self::Ready,
            "status" => Self::Status(rest),
            "next-descriptor" => Self::NextDescriptor(after()?),
            "next-note" => Self::NextNote(after()?),
            _ => return None,
        })
    }

    /// Returns its bytes.
    pub(super) fn to_text(self) -> String {
        match self {
            Self::Keep(name) => format!("keep {name}"),
            Self::Drop(name) => format!("drop {name}"),
            Self::Note(name, text) => format!("note {name} {text}"),
            Self::Forget(name) => format!("forget {name}"),
            Self::Ready => "ready".into(),
            Self::Status(text) => format!("status {text}"),
            Self::NextDescriptor(after) => format!("next-descriptor {after}"),
            Self::NextNote(after) => format!("next-note {after}"),
        }
    }
}

/// The keeper's answer to [`Said::NextDescriptor`] and [`Said::NextNote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The next descriptor, which comes with this.
    Descriptor(&'a str),
    /// The next note.
    Note(&'a str, &'a str),
    /// There are no more; and whether the director has been told to stop.
    End { stopping: bool },
}

impl<'a> Answer<'a> {
    /// Understands an answer; none if it is not one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (verb, rest) = text.split_once(' ')?;
        Some(match verb {
            "descriptor" => Self::Descriptor(rest),
            "note" => {
                let (name, text) = rest.split_once(' ')?;
                Self::Note(name, text)
            }
            "end" => Self::End { stopping: rest == "stopping" },
            _ => return None,
        })
    }

    /// Returns its bytes.
    pub(super) fn to_text(self) -> String {
        match self {
            Self::Descriptor(name) => format!("descriptor {name}"),
            Self::Note(name, text) => format!("note {name} {text}"),
            Self::End { stopping } => format!("end {}", if stopping { "stopping" } else { "running" }),
        }
    }
}

/// Whether it may name a descriptor or a note: up to [`NAME_MAX`] visible ASCII characters.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Cuts a text to what a message has room for.
pub(super) fn cut(text: &impl Display) -> String {
    let mut text = text.to_string().replace('\n', " ");
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

/// Sends a message, with a descriptor if there is one.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>, flags: SendFlags) -> Result<(), Errno> {
    let fds = fd.map(|fd| [fd]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        with.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut with, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Receives a message, with the first of its descriptors; 0 bytes at the end. What is longer than the buffer is cut.
pub(super) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut with, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got.bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    };
    // Where more than one has come, the others are closed by being dropped.
    let mut first = None;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for fd in fds {
                first.get_or_insert(fd);
            }
        }
    }
    Ok((length, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let long = "x".repeat(TEXT_MAX);
        for said in [
            Said::Keep("app-1/tcp-[2001_db8__1]_443"),
            Said::Drop("a"),
            Said::Note("pid", "app-1 70"),
            Said::Note("pid", ""),
            Said::Note("pid", &long),
            Said::Forget("pid"),
            Said::Ready,
            Said::Status("3 servers"),
            Said::NextDescriptor(""),
            Said::NextDescriptor("a"),
            Said::NextNote("b"),
        ] {
            let text = said.to_text();
            assert_eq!(Said::parse(text.as_bytes()), Some(said), "{text}");
            assert!(text.len() <= MESSAGE_MAX);
        }
        for answer in [
            Answer::Descriptor("a"),
            Answer::Note("pid", "app-1 70"),
            Answer::End { stopping: false },
            Answer::End { stopping: true },
        ] {
            assert_eq!(Answer::parse(answer.to_text().as_bytes()), Some(answer));
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        let long = format!("note a {}", "x".repeat(TEXT_MAX + 1));
        let name = format!("keep {}", "x".repeat(NAME_MAX + 1));
        for text in ["", "keep", "keep ", "keep a b", "keep \u{e9}", "note a", "note  b", "Ready", "what", &long, &name]
        {
            assert_eq!(Said::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Said::parse(b"keep \xff"), None);
        assert_eq!(Answer::parse(b"end"), None);
        assert_eq!(cut(&format!("a\nb{}", "\u{e9}".repeat(TEXT_MAX))).len(), TEXT_MAX - 1);
    }
}
