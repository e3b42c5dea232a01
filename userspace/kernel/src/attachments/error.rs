//! Why the program is not on its interfaces.

use std::io;

use crate::{
    attach::{AttachError, AttachMode},
    pins::PinError,
};

/// Why the program is not on its interfaces.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// It cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// It cannot be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The state of the interfaces cannot be told.
    #[error("what is attached cannot be told: {0}")]
    Unknown(#[source] io::Error),
    /// Another program is on this interface's link: another agent has taken over.
    #[error("the program on {0} is not this agent's any more ({1}): another has taken over")]
    Replaced(String, #[source] io::Error),
    /// The mode cannot be changed, as the program in force could not be put back if that failed.
    #[error(
        "a program of another version is on {} in {} mode, and could not be put back if another mode failed: `zerottl \
         detach` first",
        .0,
        .1.name()
    )]
    NoWayBack(String, AttachMode),
}
