//! A request to another worker, over a connection of its own.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Why another worker has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayFault {
    /// It was not asked.
    Unsent,
    /// It was asked: it may have done it or not.
    Unanswered,
}

/// The time for a connection.
const CONNECT: Duration = Duration::from_millis(500);

/// Asks the worker at `reach`: `http://HOST:PORT`, or the path of a Unix socket.
pub async fn relay(
    reach: &str,
    request: Request<Full<Bytes>>,
    max: usize,
    patience: Duration,
) -> Result<Response<Full<Bytes>>, RelayFault> {
    if Path::new(reach).is_absolute() {
        let stream = timeout(CONNECT, UnixStream::connect(reach)).await;
        ask(stream.ok().and_then(Result::ok).ok_or(RelayFault::Unsent)?, "localhost", request, max, patience).await
    } else {
        let host = reach.strip_prefix("http://").ok_or(RelayFault::Unsent)?;
        let stream = timeout(CONNECT, TcpStream::connect(host)).await;
        ask(stream.ok().and_then(Result::ok).ok_or(RelayFault::Unsent)?, host, request, max, patience).await
    }
}

async fn ask<S>(
    stream: S,
    host: &str,
    mut request: Request<Full<Bytes>>,
    max: usize,
    patience: Duration,
) -> Result<Response<Full<Bytes>>, RelayFault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| RelayFault::Unsent)?);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| RelayFault::Unsent)?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = Limited::new(body, max.saturating_add(4096)).collect().await.ok()?;
        Some(Response::from_parts(head, Full::new(body.to_bytes())))
    };
    let answer = timeout(patience, answered).await.ok().flatten();
    connection.abort();
    answer.ok_or(RelayFault::Unanswered)
}
