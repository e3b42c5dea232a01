//! The sockets that the admin interface listens on.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::net::{TcpListener, UnixListener};

use zerottl_core::model::AdminListen;
use zerottl_inputs::agent_client::Stream;

/// Mode of a Unix socket: its owner and its group may ask over it.
pub(crate) const SOCKET_MODE: u32 = 0o660;
/// For a user's name to be found.
const NAME_WITHIN: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// The client of a connection, as far as the connection tells. Among each request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminPeer {
    /// An address, or over a Unix socket `uid` and the user's number.
    pub from: String,
    /// The user's number, where the kernel says it.
    pub uid: Option<u32>,
}

impl AdminPeer {
    /// The user's name, where the kernel says who it is and the machine has a name for it.
    pub async fn user(&self) -> Option<String> {
        let uid = self.uid?;
        // Names may come from a directory server that does not answer.
        let asked = tokio::task::spawn_blocking(move || user_name(uid));
        tokio::time::timeout(NAME_WITHIN, asked).await.ok()?.ok()?
    }
}

/// One connection.
pub(crate) struct Accepted {
    /// Its two directions.
    pub stream: Pin<Box<dyn Stream>>,
    /// The address that it came to; none over a Unix socket.
    pub local: Option<SocketAddr>,
    /// The client at its other end.
    pub peer: AdminPeer,
    /// The key by which connections count as one client's: an address, as which a user's number stands, too.
    pub client: IpAddr,
}

/// One bound socket. A Unix socket's file goes when this does.
#[derive(Debug)]
pub(crate) enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix(UnixListener, SocketFile),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(at) => at.fmt(f),
                Err(_) => f.write_str("TCP"),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

impl Listener {
    /// Binds; a Unix socket whose agent has gone is replaced. Must be called within a tokio runtime.
    pub async fn bind(place: &AdminListen) -> io::Result<Self> {
        match place {
            AdminListen::Tcp(at) => TcpListener::bind(at).await.map(Self::Tcp),
            AdminListen::Unix(path) => {
                clear(path)?;
                let listener = bind_unix(path)?;
                let file = SocketFile::new(path)?;
                Ok(Self::Unix(UnixListener::from_std(listener)?, file))
            }
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                let client = peer.ip().to_canonical();
                let peer = AdminPeer { from: client.to_string(), uid: None };
                Ok(Accepted { stream: Box::pin(stream), local: Some(local), peer, client })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred()?.uid();
                let client = Ipv4Addr::from_bits(user).into();
                let peer = AdminPeer { from: format!("uid {user}"), uid: Some(user) };
                Ok(Accepted { stream: Box::pin(stream), local: None, peer, client })
            }
        }
    }
}

/// The name of a user of this machine.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(uid.into()).ok()??;
    Some(user.name)
}

/// A socket's file while it is ours: another agent's at the same path is left alone.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), id: (metadata.dev(), metadata.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what an agent left that was killed; an error if the path is in use, or no socket.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Bound with [`SOCKET_MODE`] from its first moment, whatever the process's umask: Linux makes the file with the mode of
/// the socket before it is bound, less the umask.
fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_private_replaced_when_stale_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let place = AdminListen::Unix(path.clone());
        let first = Listener::bind(&place).await.expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let error = Listener::bind(&place).await.expect_err("another agent answers");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "the file goes with the listener");

        // As a killed agent leaves it: a file without anyone behind.
        drop(StdUnixListener::bind(&path).expect("bound"));
        let second = Listener::bind(&place).await.expect("the stale one is replaced");
        // Someone else's file at the path is left alone.
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "not a socket").expect("written");
        drop(second);
        assert!(path.exists());
        let error = Listener::bind(&place).await.expect_err("no socket");
        assert!(error.to_string().contains("no socket"), "{error}");
    }
}
