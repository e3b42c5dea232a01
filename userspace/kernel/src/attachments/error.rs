//! Why the program is not on its interfaces.

use std::{fmt, io};

use crate::{
    attach::{AttachError, AttachMode},
    pins::PinError,
};

/// Why the program is not on its interfaces.
#[derive(Debug)]
pub enum AttachmentError {
    /// It cannot be attached.
    Attach(AttachError),
    /// It cannot be pinned.
    Pin(PinError),
    /// The state of the interfaces cannot be told.
    Unknown(io::Error),
    /// Another program is on this interface's link: another agent has taken over.
    Replaced(String, io::Error),
    /// The mode cannot be changed, as the program in force could not be put back if that failed.
    NoWayBack(String, AttachMode),
}

impl fmt::Display for AttachmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(error) => error.fmt(f),
            Self::Pin(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "what is attached cannot be told: {error}"),
            Self::Replaced(interface, error) => {
                write!(f, "the program on {interface} is not this agent's any more ({error}): another has taken over")
            }
            Self::NoWayBack(interface, mode) => write!(
                f,
                "a program of another version is on {interface} in {} mode, and could not be put back if another mode \
                 failed: `zerottl detach` first",
                mode.name()
            ),
        }
    }
}

impl std::error::Error for AttachmentError {}
