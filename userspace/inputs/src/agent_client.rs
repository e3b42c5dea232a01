//! The command line's side of the admin interface.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::ControlFlow,
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use crate::http_check::metered::Metered;
use zerottl_core::model::{AdminListen, AdminToken};

/// A connection, of whatever kind the place has.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// For a whole page.
pub(crate) const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest page read, bytes: the status of some hundred thousand names.
pub(crate) const PAGE_MAX: usize = 128 * 1024 * 1024;
/// The longest line of a trace, bytes.
pub const LINE_MAX: usize = 64 * 1024;

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there: most likely no agent runs, or `admin.listen` is another.
    #[error("no agent answers at {0}: {1}")]
    Connect(AdminListen, #[source] io::Error),
    /// Not within `PAGE_TIMEOUT`.
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    /// The path cannot stand in a request.
    #[error("`{0}` is not a path")]
    Path(String),
    /// The exchange broke off or is not HTTP.
    #[error("http: {0}")]
    Http(#[source] Box<dyn Error + Send + Sync>),
    /// The agent or the command line sends JSON of another form.
    #[error("http: {0}")]
    Json(#[from] serde_json::Error),
    /// The agent refused; with its words.
    #[error("the agent answered {}: {}", .0, .1.trim_end())]
    Status(u16, String),
    /// A page over `PAGE_MAX` or a line over [`LINE_MAX`].
    #[error("the agent's answer is too long")]
    TooLong,
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error.into())
    }
}

/// Where the agent is asked, and what is shown to it.
#[derive(Clone, Debug)]
pub struct AgentAddress {
    /// Its place.
    pub place: AdminListen,
    /// Its token.
    pub token: Option<AdminToken>,
}

impl From<SocketAddr> for AgentAddress {
    fn from(at: SocketAddr) -> Self {
        Self { place: AdminListen::Tcp(at), token: None }
    }
}

impl From<&AgentAddress> for AgentAddress {
    fn from(at: &AgentAddress) -> Self {
        at.clone()
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// An open exchange: dropping it ends the connection.
struct Exchange {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

/// A page, whole. Must be called within a tokio runtime.
pub async fn get(at: impl Into<AgentAddress>, path: &str) -> Result<Bytes, ClientError> {
    page(&at.into(), path, None).await
}

/// Sends a request that changes something, and returns the agent's answer. Must be called within a tokio runtime.
pub async fn post(at: impl Into<AgentAddress>, path: &str, request: &impl Serialize) -> Result<Bytes, ClientError> {
    let json = serde_json::to_vec(request)?;
    page(&at.into(), path, Some(json.into())).await
}

/// Sends a request as [`post`] does, for what takes its time: waits for up to `limit`. Must be called within a tokio
/// runtime.
pub async fn post_within(
    at: impl Into<AgentAddress>,
    path: &str,
    request: &impl Serialize,
    limit: Duration,
) -> Result<Bytes, ClientError> {
    let json = serde_json::to_vec(request)?;
    page_within(&at.into(), path, Some(json.into()), limit).await
}

async fn page(at: &AgentAddress, path: &str, json: Option<Bytes>) -> Result<Bytes, ClientError> {
    page_within(at, path, json, PAGE_TIMEOUT).await
}

async fn page_within(
    at: &AgentAddress,
    path: &str,
    json: Option<Bytes>,
    limit: Duration,
) -> Result<Bytes, ClientError> {
    let page = async {
        let Exchange { response, _connection } = ask(at, path, json, PAGE_MAX + LINE_MAX).await?;
        read_all(response.into_body(), PAGE_MAX).await
    };
    tokio::time::timeout(limit, page).await.unwrap_or(Err(ClientError::Timeout(limit)))
}

/// Calls `each` with every line of a page that goes on, until it breaks or the agent ends. Must be called within a
/// tokio runtime.
pub async fn lines(
    at: impl Into<AgentAddress>,
    path: &str,
    mut each: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let asked = tokio::time::timeout(PAGE_TIMEOUT, ask(&at.into(), path, None, usize::MAX))
        .await
        .unwrap_or(Err(ClientError::Timeout(PAGE_TIMEOUT)))?;
    let Exchange { response, _connection } = asked;
    let mut body = response.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        pending.extend_from_slice(&data);
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &pending[start..]) {
            if each(&String::from_utf8_lossy(&pending[start..start + length])).is_break() {
                return Ok(());
            }
            start += length + 1;
        }
        pending.drain(..start);
        if pending.len() > LINE_MAX {
            return Err(ClientError::TooLong);
        }
    }
    Ok(())
}

/// Percent-encodes a value for a query string: everything but letters, digits and `-._~`.
#[must_use]
pub fn query_value(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |nibble: u8| char::from(HEX[usize::from(nibble)]);
                encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    encoded
}

/// A connection, and the Host to name on it.
async fn connect(place: &AdminListen) -> Result<(Pin<Box<dyn Stream>>, String), ClientError> {
    let failed = |error| ClientError::Connect(place.clone(), error);
    match place {
        AdminListen::Tcp(at) => {
            // What listens everywhere is asked over loopback: its wildcard is no host name.
            let ip = match at.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            let at = SocketAddr::new(ip, at.port());
            let stream = TcpStream::connect(at).await.map_err(failed)?;
            Ok((Box::pin(stream), at.to_string()))
        }
        AdminListen::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            Ok((Box::pin(stream), "localhost".into()))
        }
    }
}

/// An exchange of which no more than so many bytes are read.
async fn ask(at: &AgentAddress, path: &str, json: Option<Bytes>, max: usize) -> Result<Exchange, ClientError> {
    let (stream, host) = connect(&at.place).await?;
    let stream = Metered::new(stream, max).in_any_pieces();
    let interim = stream.interim();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error reaches the sender or the body, which is where it is reported.
        let _ = connection.await;
    });
    let mut request = Request::builder().uri(path).header(HOST, host);
    if let Some(token) = &at.token {
        request = request.header(AUTHORIZATION, token.header());
    }
    if json.is_some() {
        request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(json.unwrap_or_default())).map_err(|_| ClientError::Path(path.to_owned()));
    let mut request = request?;
    interim.count(&mut request);
    let response = sender.send_request(request).await?;
    if response.status().is_success() {
        return Ok(Exchange { response, _connection: driver });
    }
    let status = response.status().as_u16();
    let words = read_all(response.into_body(), LINE_MAX).await?;
    Err(ClientError::Status(status, String::from_utf8_lossy(&words).into_owned()))
}

async fn read_all(body: Incoming, max: usize) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { ClientError::TooLong } else { ClientError::Http(error) }
    })?;
    Ok(collected.to_bytes())
}
