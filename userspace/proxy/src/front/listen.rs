//! Sockets, and who may connect.

use std::{
    future::pending,
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
use tracing::info;

use super::{
    FrontCounters, FrontRefusal,
    tls::{CertificateError, Certificates},
};
use crate::{directed::HandedOver, handover::Inherited};
use zerottl_core::model::{Web, WebLimits};
use zerottl_host::{
    places::{self, Full, Places},
    resources::{Stumbles, is_ours},
};
use zerottl_server::Handover;
use zerottl_site::forwarded;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// A socket that listens, and how it is spoken on.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    /// Where clients come to: that of the socket, or the one that it stands for.
    local: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    /// Proxies, each of which is many clients.
    trusted: Box<[IpNet]>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", remedy(source))]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Says what can be done about an address that cannot be had.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE (root has it)",
        io::ErrorKind::AddrNotAvailable => "; no interface has this address: see `ip -br address`",
        io::ErrorKind::AddrInUse => "; something else has it: see `ss -lntp`",
        _ => "",
    }
}

/// An error of listening wherever `[web]` says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A director listens where nothing would be served.
    #[error("the director gives sockets for {}, where [web] does not listen: add them to its `listen` or `tls.listen`", joined(.0))]
    Unserved(Vec<SocketAddr>),
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl Bound {
    /// Returns where it listens, with the port that the system chose where none was given.
    #[must_use]
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Returns the certificates, if it speaks TLS; all that do share them.
    #[must_use]
    pub(crate) fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.as_ref()
    }

    /// Listens for plain HTTP. Inside a tokio runtime.
    pub(crate) fn plain(address: SocketAddr, inherited: &mut Inherited) -> Result<Self, ListenError> {
        let listener = match inherited.find(address) {
            Some(listener) => listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
            None => listener(address),
        };
        let of = |listener: TcpListener| {
            let local = listener.local_addr()?;
            Ok(Self { listener, local, certificates: None, trusted: Box::default() })
        };
        listener.and_then(of).map_err(|source| ListenError { address, source })
    }

    /// Listens at an address: by one socket, or by all that a director gives for it.
    fn at(
        address: SocketAddr,
        certificates: Option<&Arc<Certificates>>,
        inherited: &mut Inherited,
    ) -> Result<Vec<Self>, ListenError> {
        if !inherited.is_directed() {
            let plain = Self::plain(address, inherited)?;
            return Ok(vec![Self { certificates: certificates.cloned(), ..plain }]);
        }
        let given = inherited.find_within(address);
        if given.is_empty() {
            let source = io::Error::other("the director does not listen there: add it to `listen` of [director]");
            return Err(ListenError { address, source });
        }
        let given = given.into_iter().map(|(local, listener)| {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            Ok(Self { listener, local, certificates: certificates.cloned(), trusted: Box::default() })
        });
        given.collect::<io::Result<_>>().map_err(|source| ListenError { address, source })
    }

    /// Whether connections to this address of ours are among this socket's.
    fn covers(&self, local: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && self.local.is_ipv4() == local.is_ipv4();
        self.local.port() == local.port() && (any || self.local.ip() == local.ip())
    }

    /// Makes the report of accepting that fails.
    pub(super) fn stumbles(&self) -> Stumbles {
        Stumbles::new(format!("accepting connections at {}", self.local))
    }

    /// Accepts the next connection that may be. Never ends.
    pub(super) async fn accept(
        &self,
        admission: &Arc<ClientAdmission>,
        stumbles: &mut Stumbles,
    ) -> (TcpStream, SocketAddr, ClientPlace) {
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
                    if error.kind() == io::ErrorKind::InvalidInput {
                        info!(at = %self.local, "no longer listened on: the socket was shut down");
                        pending::<()>().await;
                    }
                    stumbles.over(&error).await;
                }
            }
        }
    }
}

/// Where connections come from: sockets that listen, and a director that hands them over.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The sockets.
    pub(super) bound: Vec<Arc<Bound>>,
    /// The director's.
    pub(crate) handed: Option<HandedOver>,
}

impl Arrivals {
    /// Takes sockets, and connections that are handed over beside them.
    pub(crate) fn new(bound: Vec<Bound>, handed: Option<HandedOver>) -> Self {
        Self { bound: bound.into_iter().map(Arc::new).collect(), handed }
    }
}

impl HandedOver {
    /// Receives the next connection that may be, and the socket whose it is. `None` is that no more will come.
    pub(super) async fn next(
        &mut self,
        bound: &[Arc<Bound>],
        admission: &ClientAdmission,
    ) -> Option<(TcpStream, SocketAddr, ClientPlace, Arc<Bound>)> {
        loop {
            let (stream, client) = self.connections.recv().await?;
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            let whose = stream.as_ref().ok().and_then(|stream| {
                let local = stream.local_addr().ok()?;
                bound.iter().find(|one| one.covers(local))
            });
            if let (Ok(stream), Some(whose)) = (stream, whose) {
                let is_many = forwarded::is_trusted(client.ip(), &whose.trusted);
                if let Some(mut place) = admission.admit(client.ip(), is_many).await {
                    place.handover = Some(Arc::clone(&self.handover));
                    return Some((stream, client, place, Arc::clone(whose)));
                }
            }
            // Closed by now.
            let _ = self.handover.closed();
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
pub(crate) fn bind(web: &Web, inherited: &mut Inherited) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for address in &web.listen {
        bound.extend(Bound::at(*address, None, inherited)?);
    }
    if let Some(tls) = &web.tls {
        let certificates = Certificates::open(&tls.certificates)?;
        for address in &tls.listen {
            bound.extend(Bound::at(*address, Some(&certificates), inherited)?);
        }
    }
    if inherited.is_directed() && !inherited.rest().is_empty() {
        return Err(BindError::Unserved(inherited.rest()));
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
    counters: Arc<FrontCounters>,
}

/// A connection's place among the open ones; dropping it gives it back.
#[derive(Debug)]
pub(super) struct ClientPlace {
    place: places::Place,
    counters: Arc<FrontCounters>,
    /// The socket that is told of the end of one that was handed over.
    handover: Option<Arc<Handover>>,
}

impl ClientAdmission {
    pub(super) fn new(limits: &WebLimits, counters: Arc<FrontCounters>) -> Self {
        Self { places: Places::new(limits.connections, limits.connections_per_client), counters }
    }

    /// Gives a client a place, if there is one; `is_many` is whether it is a proxy, of whose clients each is one.
    pub(super) async fn admit(&self, client: IpAddr, is_many: bool) -> Option<ClientPlace> {
        self.counters.accepted.fetch_add(1, Relaxed);
        match self.places.take_in_time(client, is_many).await {
            Ok(place) => {
                self.counters.open.fetch_add(1, Relaxed);
                Some(ClientPlace { place, counters: Arc::clone(&self.counters), handover: None })
            }
            Err(full) => {
                self.counters.refuse(match full {
                    Full::All | Full::Leaving => FrontRefusal::Full,
                    Full::Client => FrontRefusal::PerClient,
                });
                None
            }
        }
    }
}

impl ClientPlace {
    /// Whether it was taken for a proxy.
    pub(super) fn is_for_many(&self) -> bool {
        self.place.is_for_many()
    }

    /// Notes that the connection waits for its client since then.
    pub(super) fn idle_since(&self, since: Instant) {
        self.place.idle_since(since);
    }

    /// Notes that it has something to do.
    pub(super) fn busy(&self) {
        self.place.busy();
    }

    /// Is ready once it is to make room for others, if it is idle.
    pub(super) fn poll_told(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.place.poll_told(cx)
    }

    /// Ends once it is to make room for others.
    pub(super) async fn told(&self) {
        self.place.told().await;
    }

    /// Returns how long it may be idle now, of the usual time.
    pub(super) fn idle_limit(&self, usual: Duration) -> Duration {
        self.place.idle_limit_of_all(usual)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
        if let Some(handover) = &self.handover {
            let _ = handover.closed();
        }
    }
}
