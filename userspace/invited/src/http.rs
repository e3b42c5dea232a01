//! Requests to a worker, in plain HTTP/1.1.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Bytes of an answer that is read as a whole, at most.
const ANSWER_MAX: usize = 64 * 1024;

/// The reason why a worker gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its URL is none.
    #[error("`{0}` is not http://HOST:PORT")]
    Url(String),
    /// No connection comes about.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// An error of HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// Nothing comes in time.
    #[error("no answer in time")]
    Late,
    /// It refuses.
    #[error("{0}: {1}")]
    Status(StatusCode, String),
    /// It says something else than expected.
    #[error("an answer that is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// A connection to a worker.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    token: Option<String>,
}

impl Connection {
    /// Connects to `http://HOST:PORT`.
    pub(crate) async fn open(url: &str, token: Option<&str>, limit: Duration) -> Result<Self, AskError> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority.filter(|rest| !rest.contains('/')).ok_or_else(|| AskError::Url(url.to_owned()))?;
        let stream = timeout(limit, TcpStream::connect(authority)).await.map_err(|_| AskError::Late)??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, authority: authority.to_owned(), token: token.map(str::to_owned) })
    }

    /// Sends a POST of JSON. Returns the answer's head and its body as it comes.
    pub(crate) async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, AskError> {
        self.sender.ready().await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.sender.send_request(request.body(Full::from(body))?).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = whole(response).await.unwrap_or_default();
        Err(AskError::Status(status, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Reads an answer's body.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| AskError::Connect(io::Error::other(error)))
}
