//! Why a session cannot be had, and why there can be none.

use std::{io, path::PathBuf};

use crate::journal::JournalError;

/// Why something cannot be done with a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// It was ended (logout): it never comes back.
    #[error("the session has ended")]
    Ended,
    /// Another worker hosts it, and lives.
    #[error("the session is hosted by another worker")]
    Elsewhere {
        /// The lease's value: where it is reached.
        worker: String,
    },
    /// Too few session servers answer to tell whose it is.
    #[error("{answered} of {servers} session servers answer, and {quorum} have to")]
    NoQuorum {
        /// Those that do.
        answered: usize,
        /// All.
        servers: usize,
        /// As many as are needed.
        quorum: usize,
    },
    /// No server that has the last acknowledged state answers.
    #[error("no session server that has the session's last state answers")]
    NoCopy,
    /// The copies that were asked for were not acknowledged in time: it may have been written or not.
    #[error("the session servers have not acknowledged the change in time: it may be kept or lost")]
    Unacknowledged,
    /// The session moved to another worker meanwhile.
    #[error("another worker has claimed the session meanwhile: the change may be kept or lost")]
    Fenced,
    /// Its version is another than the condition says.
    #[error("the session has changed since")]
    Changed,
    /// It is larger than it may be.
    #[error("a session may have {max} bytes, and this one has {size}")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// As many as it may have.
        max: usize,
    },
    /// There is no place for another one.
    #[error("{0} sessions are hosted here, which is as many as may be")]
    TooMany(usize),
    /// Too many workers claim it at once.
    #[error("several workers claim the session at once")]
    Contended,
}

/// Why sessions cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SessionStartError {
    /// The URL of a server.
    #[error("session server {name}: {source}")]
    Server {
        /// Its name.
        name: String,
        /// The fault.
        source: redis::RedisError,
    },
    /// A file that has to be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
