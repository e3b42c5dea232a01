//! Sockets, and who may connect.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use super::{super::handover::Inherited, Counters, Refused, tls::Certificates};
use crate::{
    model::{Web, WebLimits},
    places::{self, Full, Places},
};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// Between attempts to accept, while it fails (out of descriptors, out of memory).
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// A socket that listens, and how it is spoken on.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local: SocketAddr,
    certificates: Option<Arc<Certificates>>,
}

impl Bound {
    /// Where it listens, with the port that the system chose where none was given.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The certificates, if it speaks TLS; all that do share them.
    #[must_use]
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.as_ref()
    }

    /// Listens for plain HTTP. Inside a tokio runtime; the error is a sentence.
    pub fn plain(address: SocketAddr, inherited: &mut Inherited) -> Result<Self, String> {
        Self::at(address, None, inherited)
    }

    fn at(
        address: SocketAddr,
        certificates: Option<Arc<Certificates>>,
        inherited: &mut Inherited,
    ) -> Result<Self, String> {
        let listener = match inherited.find(address) {
            Some(listener) => listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
            None => listener(address),
        };
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = bound.map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE (root has it)",
                io::ErrorKind::AddrNotAvailable => "; no interface has this address: see `ip -br address`",
                io::ErrorKind::AddrInUse => "; something else has it: see `ss -lntp`",
                _ => "",
            };
            format!("cannot listen on {address}: {error}{help}")
        })?;
        Ok(Self { listener, local, certificates })
    }

    /// The next connection that may be. Never ends.
    pub(super) async fn accept(&self, admission: &Arc<Admission>) -> (TcpStream, SocketAddr, Place) {
        let mut retry = RETRY_MIN;
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    retry = RETRY_MIN;
                    if let Some(place) = admission.admit(client.ip()) {
                        return (stream, client, place);
                    }
                }
                Err(error) => {
                    warn!(%error, at = %self.local, "accept failed");
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Listens wherever `web` says, by sockets that were given where there are such, and reads the certificates. Inside a tokio
/// runtime.
///
/// The error is a sentence: an address that cannot be had, or a file that is no certificate.
pub fn bind(web: &Web, inherited: &mut Inherited) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for address in &web.listen {
        bound.push(Bound::at(*address, None, inherited)?);
    }
    if let Some(tls) = &web.tls {
        let certificates = Certificates::open(&tls.certificates)?;
        for address in &tls.listen {
            bound.push(Bound::at(*address, Some(Arc::clone(&certificates)), inherited)?);
        }
    }
    Ok(bound)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A restart must not wait for the last connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Who may connect.
#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Places>,
    counters: Arc<Counters>,
}

/// A connection's place among the open ones; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    _place: places::Place,
    counters: Arc<Counters>,
}

impl Admission {
    pub(super) fn new(limits: &WebLimits, counters: Arc<Counters>) -> Self {
        Self { places: Places::new(limits.connections, limits.connections_per_client), counters }
    }

    pub(super) fn admit(&self, client: IpAddr) -> Option<Place> {
        self.counters.accepted.fetch_add(1, Relaxed);
        match self.places.take(client) {
            Ok(place) => {
                self.counters.open.fetch_add(1, Relaxed);
                Some(Place { _place: place, counters: Arc::clone(&self.counters) })
            }
            Err(full) => {
                self.counters.refuse(match full {
                    Full::All => Refused::Full,
                    Full::Client => Refused::PerClient,
                });
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}
