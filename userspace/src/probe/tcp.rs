//! One TCP attempt: the handshake, and nothing sent.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::failure::Failure;

/// Connects. A refusal counts at once.
pub(crate) async fn connect(target: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(target).await.map_err(Failure::from_connect)?;
    // A request is one small write; waiting to coalesce it would only add to the latency. If it cannot be set, no harm.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
