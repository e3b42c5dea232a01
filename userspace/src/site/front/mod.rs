//! The stand-alone server and proxy.

use std::{net::SocketAddr, sync::Arc};

/// How a request came.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end.
    pub client: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// Whether by TLS.
    pub tls: bool,
    /// The server's name in the TLS handshake.
    pub server_name: Option<Arc<str>>,
}
