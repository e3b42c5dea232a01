//! One HTTP/1.1 check: a GET, its status, and some text in its body; or its body, whole.
//!
//! Redirects are not followed: a Site that answers its health path by one says nothing about itself.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use memchr::memmem::Finder;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{
    conn::Connected,
    failure::{BODY_MAX, CheckStage, Failure, Progress, SetupError},
    tls,
};
use zerottl_core::model::HttpProbe;

/// The largest response header accepted, bytes.
const HEADER_MAX: usize = 32 * 1024;
/// The most header fields accepted.
const HEADER_FIELDS_MAX: usize = 128;

/// Takes the headers of each response with an expected status, and the address that it came from.
pub(crate) type OnHeaders = Box<dyn Fn(&HeaderMap, Option<IpAddr>) + Send + Sync>;

/// A GET made ready once, tried often.
pub struct Get {
    uri: Uri,
    host: HeaderValue,
    statuses: Vec<u16>,
    text: Option<Finder<'static>>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    on_headers: Option<OnHeaders>,
}

impl Get {
    /// Makes one ready by the configuration. Reads the files that TLS needs.
    pub fn new(probe: &HttpProbe, configs: &mut tls::Configs) -> Result<Self, SetupError> {
        let uri = probe
            .path
            .parse::<Uri>()
            .ok()
            .filter(|uri| uri.authority().is_none() && uri.path().starts_with('/'))
            .ok_or_else(|| SetupError::Path(probe.path.clone()))?;
        let host = HeaderValue::from_str(&probe.host).map_err(|_| SetupError::Host(probe.host.clone()))?;
        let tls = probe.tls.as_ref().map(|tls| configs.connector(tls, tls::HTTP_1)).transpose()?;
        // The empty text is in every body, also in one that never comes.
        let text = probe.expect_body.as_ref().filter(|text| !text.is_empty());
        let text = text.map(|text| Finder::new(text).into_owned());
        Ok(Self { uri, host, statuses: probe.expect_status.clone(), text, tls, on_headers: None })
    }

    /// Sets what takes the responses' headers, if anything does.
    pub(crate) fn with_headers(self, on_headers: Option<OnHeaders>) -> Self {
        Self { on_headers, ..self }
    }

    /// Asks over a connected stream and judges the answer.
    pub async fn run(&self, stream: Connected, progress: &Progress) -> Result<(), Failure> {
        let from = stream.peer_addr().map(|from| from.ip()).ok();
        self.over(stream, progress, async |response| self.judge(response, from, progress).await).await
    }

    /// Asks over a connected stream and reads the answer's body, or as much of it as `max` bytes and one frame.
    pub async fn fetch(&self, stream: Connected, progress: &Progress, max: usize) -> Result<Vec<u8>, Failure> {
        let read = async |response: Response<Incoming>| {
            self.expected(&response)?;
            progress.enter(CheckStage::Body);
            let mut body = response.into_body();
            let mut bytes = Vec::new();
            while bytes.len() < max {
                let Some(frame) = body.frame().await else { break };
                if let Ok(data) = frame.map_err(http)?.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(bytes)
        };
        self.over(stream, progress, read).await
    }

    /// Sends a body by POST instead, with more headers, and returns the answer's status, whatever it is.
    pub async fn post(
        &self,
        stream: Connected,
        progress: &Progress,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<u16, Failure> {
        let mut request = self.request();
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(body);
        request.headers_mut().extend(headers.clone());
        self.send(stream, request, progress, async |response| Ok(response.status().as_u16())).await
    }

    async fn over<T>(
        &self,
        stream: Connected,
        progress: &Progress,
        take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.send(stream, self.request(), progress, take).await
    }

    async fn send<T>(
        &self,
        stream: Connected,
        mut request: Request<Full<Bytes>>,
        progress: &Progress,
        take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        stream.interim().count(&mut request);
        match &self.tls {
            None => exchange(stream, request, progress, take).await,
            Some((connector, name)) => {
                progress.enter(CheckStage::Tls);
                let stream = tls::handshake(connector, name, stream).await?;
                exchange(stream, request, progress, take).await
            }
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("zerottl/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        request
    }

    fn expected(&self, response: &Response<Incoming>) -> Result<(), Failure> {
        let got = response.status().as_u16();
        if self.statuses.contains(&got) {
            return Ok(());
        }
        Err(Failure::Status { got, expected: self.statuses.clone() })
    }

    async fn judge(
        &self,
        response: Response<Incoming>,
        from: Option<IpAddr>,
        progress: &Progress,
    ) -> Result<(), Failure> {
        self.expected(&response)?;
        if let Some(on_headers) = &self.on_headers {
            on_headers(response.headers(), from);
        }
        let Some(text) = &self.text else { return Ok(()) };
        progress.enter(CheckStage::Body);
        let mut body = response.into_body();
        let mut seen = Vec::new();
        while seen.len() < BODY_MAX {
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame.map_err(http)?.into_data() else { continue };
            // The text may straddle two frames, so the search starts a text's length back.
            let from = (seen.len() + 1).saturating_sub(text.needle().len());
            let room = BODY_MAX - seen.len();
            seen.extend_from_slice(&data[..data.len().min(room)]);
            if text.find(&seen[from..]).is_some() {
                return Ok(());
            }
        }
        Err(Failure::Body { expected: String::from_utf8_lossy(text.needle()).into_owned() })
    }
}

async fn exchange<S, T>(
    stream: S,
    request: Request<Full<Bytes>>,
    progress: &Progress,
    take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
) -> Result<T, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    progress.enter(CheckStage::Response);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_MAX)
        .max_header_size(HEADER_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let taken = async {
        let response = sender.send_request(request).await.map_err(http)?;
        take(response).await
    };
    // The connection makes progress only while polled. Once it ends, what it has read is still to be judged.
    tokio::select! {
        result = taken => result,
        never = async { let _ = connection.await; std::future::pending().await } => never,
    }
}

fn http(error: hyper::Error) -> Failure {
    Failure::of_exchange(error, Failure::Http)
}
