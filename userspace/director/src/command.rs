//! Commands to the loop: by the operator, and by the other tasks of this process.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustix::process::Signal;
use tokio::sync::oneshot;
use zerottl_core::model::Director;

use crate::pages::{ConnectionPage, DirectorPage};

/// A verb: something done with a server or a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// No new connections.
    Drain,
    /// No new connections, and then it is stopped.
    Maint,
    /// It serves again; one that was given up is started again.
    Ready,
    /// A new process takes its place.
    Restart,
}

impl Verb {
    /// Its word.
    pub const ALL: [(&'static str, Self); 4] =
        [("drain", Self::Drain), ("maint", Self::Maint), ("ready", Self::Ready), ("restart", Self::Restart)];
}

/// A question or an order to the loop.
#[derive(Debug)]
pub(crate) enum Command {
    /// The page.
    Page(oneshot::Sender<DirectorPage>),
    /// Something is done with a server, a process, or all of them; the names of the processes come back, none if there is
    /// no such server.
    Do { verb: Verb, name: Option<String>, reply: oneshot::Sender<Vec<String>> },
    /// Why a connection is where it is.
    Explain { client: SocketAddr, reply: oneshot::Sender<Option<ConnectionPage>> },
    /// Where all processes of `kind = "site"` that serve show their state.
    SitePlaces(oneshot::Sender<Vec<PathBuf>>),
    /// Where a process of `kind = "site"` shows its state; none if there is no such process.
    SitePlace { name: String, reply: oneshot::Sender<Option<PathBuf>> },
    /// Another configuration; a sentence comes back if it cannot be had without a restart.
    Reload { config: Arc<Director>, reply: oneshot::Sender<Result<(), String>> },
    /// A signal for the processes of `kind = "site"`.
    Pass(Signal),
}
