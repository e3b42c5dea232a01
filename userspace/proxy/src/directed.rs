//! A Site's process that a director runs, beside others for the same addresses: its sockets, connections and page are given to
//! it, and its admin interface is at a socket of its own.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    net::{SocketAddr, TcpStream},
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{net::UnixListener, sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zerottl_host::socket_names::SITE_ADMIN;
use zerottl_server::{Contract, Handover, LoopPage};

/// The variable with the name of this process.
const NAME: &str = "ZEROTTL_SERVER";
/// The variable with the path of the socket for the admin interface.
const ADMIN: &str = "ZEROTTL_SITE_ADMIN";
/// The time from one round that is published to the next; a director takes a process for hanging after several.
const ROUND: Duration = Duration::from_millis(25);
/// The time for which connections that were chosen for this process before it was told to stop are accepted, at least.
pub(crate) const LAST_ACCEPTS: Duration = Duration::from_millis(100);

/// Whether the environment says that a director runs this process.
#[must_use]
pub fn is_directed() -> bool {
    env::var_os(NAME).is_some()
}

/// The parts of a director's contract that are no listeners.
#[derive(Debug, Default)]
pub(crate) struct Directed {
    name: String,
    handover: Option<Handover>,
    page: Option<LoopPage>,
    /// Where the admin interface is to be.
    admin: Option<AdminSocket>,
}

/// Where the admin interface is to be.
#[derive(Debug)]
enum AdminSocket {
    /// At a socket that the director has made, for its own user alone.
    Made(OwnedFd),
    /// At a path.
    At(PathBuf),
}

/// Connections that were handed over, and the way back.
#[derive(Debug)]
pub(crate) struct HandedOver {
    /// The connections with their clients.
    pub(crate) connections: mpsc::Receiver<(TcpStream, SocketAddr)>,
    /// The socket that is told when one is closed.
    pub(crate) handover: Arc<Handover>,
}

/// The socket for the admin interface cannot be made, and why.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {source}")]
pub(crate) struct AdminSocketError {
    place: String,
    source: io::Error,
}

impl Directed {
    /// Takes what is left of a contract once the listeners are taken.
    pub(crate) fn new(contract: Contract) -> Self {
        let path = || env::var_os(ADMIN).map(PathBuf::from).filter(|path| path.as_os_str() != OsStr::new(""));
        let made = contract.others.into_iter().find(|(name, _)| name == SITE_ADMIN);
        let admin = made.map(|(_, socket)| AdminSocket::Made(socket)).or_else(|| path().map(AdminSocket::At));
        let (handover, page) = (contract.handover, contract.page);
        Self { name: contract.server.unwrap_or_default(), handover, page, admin }
    }

    /// Returns the name of this process.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Begins to receive connections that are handed over, if there is a socket for them. Its thread ends with the process.
    pub(crate) fn receive(&mut self) -> io::Result<Option<HandedOver>> {
        let Some(handover) = self.handover.take().map(Arc::new) else { return Ok(None) };
        // One waits here at most: the others are counted where they are.
        let (give, connections) = mpsc::channel(1);
        let receiving = Arc::clone(&handover);
        thread::Builder::new().name("handover".to_owned()).spawn(move || {
            loop {
                match receiving.receive() {
                    Ok(Some(connection)) => {
                        if give.blocking_send(connection).is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        warn!(%error, "connections are handed over no more");
                        return;
                    }
                }
            }
        })?;
        Ok(Some(HandedOver { connections, handover }))
    }

    /// Says on the page that the tasks of this process are run, until `cancel`. Inside a tokio runtime.
    pub(crate) fn go_round(&mut self, cancel: CancellationToken) {
        let Some(page) = self.page.take() else { return };
        tokio::spawn(cancel.run_until_cancelled_owned(async move {
            loop {
                page.looped();
                sleep(ROUND).await;
            }
        }));
    }

    /// Listens for the admin interface, if it is to be anywhere. Inside a tokio runtime.
    pub(crate) fn admin_socket(&mut self) -> Result<Option<UnixListener>, AdminSocketError> {
        match self.admin.take() {
            None => Ok(None),
            Some(AdminSocket::Made(socket)) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                let taken = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
                taken.map(Some).map_err(|source| AdminSocketError { place: SITE_ADMIN.to_owned(), source })
            }
            Some(AdminSocket::At(path)) => {
                let failed = |source| AdminSocketError { place: format!("{ADMIN}: {}", path.display()), source };
                listen(&path).map(Some).map_err(failed)
            }
        }
    }

    /// Returns the path of its socket.
    pub(crate) fn admin_path(&self) -> Option<PathBuf> {
        match self.admin.as_ref()? {
            AdminSocket::At(path) => Some(path.clone()),
            AdminSocket::Made(socket) => {
                let socket = std::os::unix::net::UnixListener::from(socket.try_clone().ok()?);
                socket.local_addr().ok()?.as_pathname().map(Path::to_owned)
            }
        }
    }

    /// Whether there is to be one.
    pub(crate) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }
}

/// Listens at a path, for this user alone; what a process before has left there goes.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(left) if left.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something other than a socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_socket_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        for _ in 0..2 {
            drop(listen(&path).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
