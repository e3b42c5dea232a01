//! One TCP attempt: the handshake, and nothing sent.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{failure::Failure, http::TAKEN_MAX, metered::Metered};

/// A connection of an attempt.
pub type Connected = Metered<TcpStream>;

/// Connects. A refusal counts at once.
pub async fn connect(target: SocketAddr) -> Result<Connected, Failure> {
    let stream = TcpStream::connect(target).await.map_err(Failure::from_io)?;
    Ok(attempt_over(stream))
}

/// Wraps the connection that an attempt is made over.
pub fn attempt_over(stream: TcpStream) -> Connected {
    // A request is one small write; waiting to coalesce it would only add to the latency. If it cannot be set, no harm.
    let _ = stream.set_nodelay(true);
    Metered::new(stream, TAKEN_MAX)
}
