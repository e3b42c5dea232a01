//! The sockets.
//!
//! [`Sockets::bind`] takes every served address, so that the agent can say READY knowing that it has them;
//! [`Sockets::run`] answers until it is cancelled. Every address has its own socket, so an answer's source is the
//! address that was asked (RFC 2181 section 4.1).

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    service::{DnsService, Outcome},
    tcp::{self, TcpAdmission},
    transport::{Asker, Transport},
};
use zerottl_host::resources::Stumbles;

/// The largest datagram there is.
const DATAGRAM_LEN_MAX: usize = 65_535;
/// Kernel memory for datagrams not yet read, bytes per socket; the kernel cuts it to `net.core.rmem_max`.
const UDP_RECEIVE_BUFFER: usize = 1 << 20;
/// Tasks that read one UDP socket; more than the cores would only wait for each other.
const UDP_TASKS_MAX: usize = 4;
/// Connections the kernel completes before they are accepted.
const TCP_BACKLOG: i32 = 256;

/// Bound sockets, a UDP and a TCP one per address.
#[derive(Debug)]
pub struct Sockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    admission: Arc<TcpAdmission>,
}

impl Sockets {
    /// Binds every address, inside a tokio runtime. Port 0 takes a free one, the same for both.
    ///
    /// # Errors
    /// The first address that cannot be bound; the message names it.
    pub fn bind(listen: &[SocketAddr]) -> io::Result<Self> {
        Self::bind_with(listen, Arc::default(), false)
    }

    /// As [`Self::bind`], with the TCP limits of others; `freebind` also takes addresses that no interface has yet.
    pub fn bind_with(listen: &[SocketAddr], admission: Arc<TcpAdmission>, freebind: bool) -> io::Result<Self> {
        let mut sockets = Self { udp: Vec::new(), tcp: Vec::new(), admission };
        for &address in listen {
            let udp = named(address, "UDP", bind_udp(address, freebind))?;
            let port = named(address, "UDP", udp.local_addr())?.port();
            let tcp = named(address, "TCP", bind_tcp(SocketAddr::new(address.ip(), port), freebind))?;
            sockets.udp.push(udp);
            sockets.tcp.push(tcp);
        }
        Ok(sockets)
    }

    /// The bound addresses, in the order given.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(UdpSocket::local_addr).collect()
    }

    /// Answers until `cancel`; then every task ends: UDP at once, a TCP connection when what it has read is answered,
    /// at the latest after [`TcpLimits::write`](tcp::TcpLimits::write).
    pub async fn run(self, service: Arc<DnsService>, cancel: CancellationToken) {
        let tasks = TaskTracker::new();
        let udp_tasks = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(UDP_TASKS_MAX));
        for socket in self.udp {
            let socket = Arc::new(socket);
            for _ in 0..udp_tasks {
                let (socket, service, cancel) = (Arc::clone(&socket), Arc::clone(&service), cancel.clone());
                let spawner = tasks.clone();
                tasks.spawn(async move {
                    cancel.run_until_cancelled(udp(&socket, &service, &spawner, &cancel)).await;
                });
            }
        }
        for listener in self.tcp {
            let (service, admission) = (Arc::clone(&service), Arc::clone(&self.admission));
            let (connections, cancel) = (tasks.clone(), cancel.clone());
            tasks.spawn(async move {
                let accepting = tcp::accept(&listener, &service, &admission, &connections, &cancel);
                cancel.run_until_cancelled(accepting).await;
            });
        }
        cancel.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }
}

/// An error with its address and, for the common ones, what to do.
fn named<T>(address: SocketAddr, transport: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE (root has it)",
            io::ErrorKind::AddrNotAvailable => {
                "; no interface has this address: see `ip -br address`, or [front] `freebind`"
            }
            io::ErrorKind::AddrInUse => "; something else has it: see `ss -lnptu`",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address} ({transport}): {error}{help}"))
    })
}

fn socket(address: SocketAddr, kind: SocketType, freebind: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
        sockopt::set_ipv6_freebind(&fd, freebind)?;
    } else {
        sockopt::set_ip_freebind(&fd, freebind)?;
    }
    Ok(fd)
}

fn bind_udp(address: SocketAddr, freebind: bool) -> io::Result<UdpSocket> {
    let fd = socket(address, SocketType::DGRAM, freebind)?;
    sockopt::set_socket_recv_buffer_size(&fd, UDP_RECEIVE_BUFFER)?;
    // DF is set and what ICMP says of the path is ignored: no forged message can make us fragment, and answers are
    // small enough for any path.
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(&fd, sockopt::Ipv4PathMtuDiscovery::PROBE)?;
    } else {
        sockopt::set_ipv6_mtu_discover(&fd, sockopt::Ipv6PathMtuDiscovery::PROBE)?;
    }
    net::bind(&fd, &address)?;
    UdpSocket::from_std(fd.into())
}

fn bind_tcp(address: SocketAddr, freebind: bool) -> io::Result<TcpListener> {
    let fd = socket(address, SocketType::STREAM, freebind)?;
    // A restart must not wait for the last connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    net::bind(&fd, &address)?;
    net::listen(&fd, TCP_BACKLOG)?;
    TcpListener::from_std(fd.into())
}

/// Never returns; whoever spawns it drops it.
async fn udp(socket: &Arc<UdpSocket>, service: &Arc<DnsService>, tasks: &TaskTracker, cancel: &CancellationToken) {
    let mut buffer = vec![0; DATAGRAM_LEN_MAX];
    let mut stumbles = Stumbles::new("receiving datagrams".into());
    loop {
        let (len, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => {
                stumbles.good();
                received
            }
            // It may persist (out of memory), so the loop must not spin.
            Err(error) => {
                stumbles.over(&error).await;
                continue;
            }
        };
        // No answer can be sent to port 0.
        if client.port() == 0 {
            service.counters.dropped.fetch_add(1, Relaxed);
            continue;
        }
        let asker = Asker { transport: Transport::Udp, client: client.ip(), idle: Duration::ZERO };
        match service.answer(&buffer[..len], asker) {
            Some(Outcome::Ready(message)) => send(socket, service, &message, client).await,
            Some(Outcome::Forward(job)) => {
                // On its own, so that nobody waits for another's upstream; as many as there are places.
                let (socket, service, cancel) = (Arc::clone(socket), Arc::clone(service), cancel.clone());
                tasks.spawn(async move {
                    if let Some(Some(message)) = cancel.run_until_cancelled(service.forward(job)).await {
                        send(&socket, &service, &message, client).await;
                    }
                });
            }
            // Over UDP there are no transfers.
            Some(Outcome::Transfer(..)) | None => {}
        }
    }
}

async fn send(socket: &UdpSocket, service: &DnsService, message: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(message, client).await {
        service.counters.send_errors.fetch_add(1, Relaxed);
        debug!(%error, %client, "UDP send failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9715: a UDP answer is never fragmented. DF is set, and what ICMP says of the path is ignored.
    #[tokio::test]
    async fn udp_sockets_never_fragment() {
        let v4 = bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(sockopt::ip_mtu_discover(&v4), Ok(sockopt::Ipv4PathMtuDiscovery::PROBE));
        let v6 = bind_udp("[::1]:0".parse().unwrap(), true).unwrap();
        assert_eq!(sockopt::ipv6_mtu_discover(&v6), Ok(sockopt::Ipv6PathMtuDiscovery::PROBE));
        // More than the loopback's MTU: refused here, not sent in pieces.
        let to = v4.local_addr().unwrap();
        let sent = v4.send_to(&vec![0; 65_507], to).await;
        let mtu: usize = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
        assert_eq!(sent.is_err(), mtu < 65_507 + 28, "{sent:?}, MTU {mtu}");
    }
}
