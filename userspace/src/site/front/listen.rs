//! Sockets, and who may connect.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use super::{Counters, Refused, tls::Certificates};
use crate::model::{Web, WebLimits};

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

/// Who has connections open.
#[derive(Debug)]
pub(super) struct Admission {
    all_max: usize,
    client_max: usize,
    counters: Arc<Counters>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection's place among the open ones; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    client: IpAddr,
}

impl Admission {
    pub(super) fn new(limits: &WebLimits, counters: Arc<Counters>) -> Self {
        let (all_max, client_max) = (limits.connections, limits.connections_per_client);
        Self { all_max, client_max, counters, open: Mutex::default() }
    }

    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.counters.accepted.fetch_add(1, Relaxed);
        let client = client_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.all_max {
            self.counters.refuse(Refused::Full);
            return None;
        }
        let by_client = open.by_client.entry(client).or_default();
        if *by_client >= self.client_max {
            self.counters.refuse(Refused::PerClient);
            return None;
        }
        *by_client += 1;
        open.all += 1;
        self.counters.open.fetch_add(1, Relaxed);
        Some(Place { admission: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
        self.admission.counters.open.fetch_sub(1, Relaxed);
    }
}

/// Who counts as one client: an IPv6 host has a whole /64 to choose addresses from.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        four @ IpAddr::V4(_) => four,
    }
}
