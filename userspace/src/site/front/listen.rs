//! Sockets, and who may connect.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use ipnet::IpNet;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use super::{super::forwarded, Counters, Refused, tls::Certificates};
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
    /// Proxies, each of which is many clients.
    trusted: Box<[IpNet]>,
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
    pub fn plain(address: SocketAddr) -> Result<Self, String> {
        Self::at(address, None)
    }

    fn at(address: SocketAddr, certificates: Option<Arc<Certificates>>) -> Result<Self, String> {
        let bound = listener(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = bound.map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE (root has it)",
                io::ErrorKind::AddrNotAvailable => "; no interface has this address: see `ip -br address`",
                io::ErrorKind::AddrInUse => "; something else has it: see `ss -lntp`",
                _ => "",
            };
            format!("cannot listen on {address}: {error}{help}")
        })?;
        Ok(Self { listener, local, certificates, trusted: Box::default() })
    }

    /// The next connection that may be. Never ends.
    pub(super) async fn accept(&self, admission: &Arc<Admission>) -> (TcpStream, SocketAddr, Place) {
        let mut retry = RETRY_MIN;
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    retry = RETRY_MIN;
                    let is_many = forwarded::is_trusted(client.ip(), &self.trusted);
                    if let Some(place) = admission.admit(client.ip(), is_many) {
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

/// Listens wherever `web` says, and reads the certificates. Inside a tokio runtime.
///
/// The error is a sentence: an address that cannot be had, or a file that is no certificate.
pub fn bind(web: &Web) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for address in &web.listen {
        bound.push(Bound::at(*address, None)?);
    }
    if let Some(tls) = &web.tls {
        let certificates = Certificates::open(&tls.certificates)?;
        for address in &tls.listen {
            bound.push(Bound::at(*address, Some(Arc::clone(&certificates)))?);
        }
    }
    for one in &mut bound {
        one.trusted = web.trusted_proxies.clone().into();
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

    /// `is_many` is whether it is a proxy, of whose clients each is one.
    pub(super) fn admit(&self, client: IpAddr, is_many: bool) -> Option<Place> {
        self.counters.accepted.fetch_add(1, Relaxed);
        match if is_many { self.places.take_for_many(client) } else { self.places.take(client) } {
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
