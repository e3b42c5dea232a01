//! Why an attempt failed.

use std::{io, process::ExitStatus, time::Duration};

use zerottl_inputs::http_check::Failure;

/// The reason why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookFailure {
    #[error("no address of {0}: {1}")]
    Lookup(String, #[source] io::Error),
    #[error(transparent)]
    Exchange(#[from] Failure),
    #[error("status {0}, expected 200 to 299")]
    Status(u16),
    #[error("no outcome after {0:?}")]
    Timeout(Duration),
    #[error("it does not start: {0}")]
    Start(#[source] io::Error),
    #[error("{status}{}", if .said.is_empty() { String::new() } else { format!(": {said}") })]
    Exit { status: ExitStatus, said: String },
}
