//! The TCP connection of a check: the handshake, and nothing sent.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{failure::Failure, metered::Metered};

/// The most that is taken of a target in one check, bytes, with TLS and chunks.
pub(crate) const TAKEN_MAX: usize = 320 * 1024;

/// A connection of a check.
pub(crate) type Connected = Metered<TcpStream>;

/// Connects. A refusal counts at once.
pub async fn connect(target: SocketAddr) -> Result<Connected, Failure> {
    let stream = TcpStream::connect(target).await.map_err(Failure::from_io)?;
    Ok(check_over(stream))
}

/// Wraps the connection that a check is made over.
pub fn check_over(stream: TcpStream) -> Connected {
    // A request is one small write; waiting to coalesce it would only add to the latency. If it cannot be set, no harm.
    let _ = stream.set_nodelay(true);
    Metered::new(stream, TAKEN_MAX)
}
