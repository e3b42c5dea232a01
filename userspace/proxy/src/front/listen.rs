//! Sockets, and who may connect.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use ipnet::IpNet;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{Counters, Refused, tls::Certificates};
use crate::handover::Inherited;
use zerottl_core::model::{Web, WebLimits};
use zerottl_host::{
    places::{self, Full, Places},
    resources::{Stumbles, is_ours},
};
use zerottl_site::forwarded;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

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
        Ok(Self { listener, local, certificates, trusted: Box::default() })
    }

    /// Returns what is said when accepting fails.
    pub(super) fn stumbles(&self) -> Stumbles {
        Stumbles::new(format!("accepting connections at {}", self.local))
    }

    /// The next connection that may be. Never ends.
    pub(super) async fn accept(
        &self,
        admission: &Arc<ClientAdmission>,
        stumbles: &mut Stumbles,
    ) -> (TcpStream, SocketAddr, Place) {
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    stumbles.good();
                    let is_many = forwarded::is_trusted(client.ip(), &self.trusted);
                    if let Some(place) = admission.admit(client.ip(), is_many).await {
                        return (stream, client, place);
                    }
                }
                Err(error) => {
                    if is_ours(&error) {
                        admission.places.make_room();
                    }
                    stumbles.over(&error).await;
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

/// The admission of clients that connect.
#[derive(Debug)]
pub(super) struct ClientAdmission {
    places: Arc<Places>,
    counters: Arc<Counters>,
}

/// A connection's place among the open ones; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    place: places::Place,
    counters: Arc<Counters>,
}

impl ClientAdmission {
    pub(super) fn new(limits: &WebLimits, counters: Arc<Counters>) -> Self {
        Self { places: Places::new(limits.connections, limits.connections_per_client), counters }
    }

    /// `is_many` is whether it is a proxy, of whose clients each is one.
    pub(super) async fn admit(&self, client: IpAddr, is_many: bool) -> Option<Place> {
        self.counters.accepted.fetch_add(1, Relaxed);
        match self.places.take_in_time(client, is_many).await {
            Ok(place) => {
                self.counters.open.fetch_add(1, Relaxed);
                Some(Place { place, counters: Arc::clone(&self.counters) })
            }
            Err(full) => {
                self.counters.refuse(match full {
                    Full::All | Full::Leaving => Refused::Full,
                    Full::Client => Refused::PerClient,
                });
                None
            }
        }
    }
}

impl Place {
    /// Whether it was taken for a proxy.
    pub(super) fn is_for_many(&self) -> bool {
        self.place.is_for_many()
    }

    /// The connection waits for its client since then.
    pub(super) fn idle_since(&self, since: Instant) {
        self.place.idle_since(since);
    }

    /// It has something to do.
    pub(super) fn busy(&self) {
        self.place.busy();
    }

    /// Ready once it is to make room for others, if it is idle.
    pub(super) fn poll_told(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.place.poll_told(cx)
    }

    /// Ends once it is to make room for others.
    pub(super) async fn told(&self) {
        self.place.told().await;
    }

    /// How long it may be idle now, of the usual time.
    pub(super) fn idle_limit(&self, usual: Duration) -> Duration {
        self.place.idle_limit_of_all(usual)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}
