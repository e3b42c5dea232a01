//! One check by the standard gRPC health protocol: `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! Each of its two messages has one field, so they are written and read here.

use bytes::Bytes;
use h2::{RecvStream, client};
use hyper::{
    HeaderMap, Method, Request, Response, Uri, Version,
    header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT},
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{
    conn::Connected,
    failure::{CheckStage, Failure, GrpcFailure, Progress, SetupError},
    tls,
};
use zerottl_core::model::GrpcProbe;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// The longest answer that is read, bytes; one of the protocol has seven.
const ANSWER_MAX: usize = 4096;
/// The largest header and trailers accepted, bytes.
const HEADER_MAX: u32 = 16 * 1024;
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// `HealthCheckResponse.ServingStatus`, by its numbers.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// A check made ready once, tried often.
pub(crate) struct GrpcCheck {
    uri: Uri,
    message: Bytes,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl GrpcCheck {
    /// Makes one ready by the configuration. Reads the files that TLS needs.
    pub(crate) fn new(probe: &GrpcProbe, configs: &mut tls::Configs) -> Result<Self, SetupError> {
        let scheme = if probe.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(probe.host.as_str()).path_and_query(PATH).build();
        let uri = uri.map_err(|_| SetupError::Host(probe.host.clone()))?;
        let tls = probe.tls.as_ref().map(|tls| configs.connector(tls, tls::HTTP_2)).transpose()?;
        Ok(Self { uri, message: request_message(&probe.service).into(), tls })
    }

    /// Asks over a connected stream and judges the answer.
    pub(crate) async fn run(&self, stream: Connected, progress: &Progress) -> Result<(), Failure> {
        match &self.tls {
            None => self.over(stream, progress).await,
            Some((connector, name)) => {
                progress.enter(CheckStage::Tls);
                let stream = tls::handshake(connector, name, stream).await?;
                self.over(stream, progress).await
            }
        }
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, progress: &Progress) -> Result<(), Failure> {
        progress.enter(CheckStage::Response);
        let (sender, connection) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(HEADER_MAX)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(http2)?;
        let asked = async {
            let mut sender = sender.ready().await.map_err(http2)?;
            let (response, mut body) = sender.send_request(self.request(), false).map_err(http2)?;
            body.send_data(self.message.clone(), true).map_err(http2)?;
            judge(response.await.map_err(http2)?, progress).await
        };
        // The connection makes progress only while polled. Once it ends, what it has read is still to be judged.
        tokio::select! {
            result = asked => result,
            never = async { let _ = connection.await; std::future::pending().await } => never,
        }
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("zerottl/", env!("CARGO_PKG_VERSION"))));
        request
    }
}

async fn judge(response: Response<RecvStream>, progress: &Progress) -> Result<(), Failure> {
    let (head, mut body) = response.into_parts();
    if head.status != hyper::StatusCode::OK {
        return Err(Failure::Status { got: head.status.as_u16(), expected: vec![200] });
    }
    let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    if !head.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(GrpcFailure::ContentType.into());
    }
    // A call that fails may have no body, and its status where the header is.
    if head.headers.contains_key("grpc-status") {
        call_status(&head.headers)?;
    }
    progress.enter(CheckStage::Body);
    let mut answer = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(http2)?;
        // The window may as well stay: it is far larger than an answer.
        let _ = body.flow_control().release_capacity(data.len());
        if answer.len() + data.len() > ANSWER_MAX {
            return Err(GrpcFailure::TooLong(ANSWER_MAX).into());
        }
        answer.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(http2)?;
    call_status(&trailers.unwrap_or_default())?;
    match serving_status(&answer) {
        Some(SERVING) => Ok(()),
        Some(other) => {
            let name = usize::try_from(other).ok().and_then(|other| STATUSES.get(other).copied());
            Err(GrpcFailure::NotServing(name.unwrap_or("a status that the protocol does not have")).into())
        }
        None => Err(GrpcFailure::Message.into()),
    }
}

/// Judges how a call ended: 0 is well.
fn call_status(headers: &HeaderMap) -> Result<(), GrpcFailure> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status").ok_or(GrpcFailure::NoStatus)?;
    if code == "0" {
        return Ok(());
    }
    Err(GrpcFailure::Call { code, message: text("grpc-message").unwrap_or_default() })
}

/// `HealthCheckRequest`, in which field 1 is the service's name, with the prefix of gRPC.
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// Reads the status, field 1, of a `HealthCheckResponse` behind gRPC's prefix; 0 where the field is not there, as the encoding has it.
fn serving_status(answer: &[u8]) -> Option<u64> {
    let (prefix, mut rest) = answer.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    // No compression was offered.
    if prefix[0] != 0 || usize::try_from(length).ok()? != rest.len() {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn http2(error: h2::Error) -> Failure {
    if !error.is_io() {
        return Failure::Http2(error.into());
    }
    match error.into_io() {
        Some(error) => Failure::of_exchange(error, |error| Failure::Http2(error.into())),
        None => Failure::Http2("the connection broke off".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(message: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, message.len() as u8][..], message].concat()
    }

    #[test]
    fn messages_are_as_protocol_buffers_have_them() {
        assert_eq!(request_message(""), [0; 5]);
        assert_eq!(request_message("api.v1"), b"\0\0\0\0\x08\x0a\x06api.v1");
        let long = request_message(&"a".repeat(200));
        assert_eq!((&long[..8], long.len()), (&b"\0\0\0\0\xcb\x0a\xc8\x01"[..], 208));
        let rows: [(&[u8], Option<u64>); 10] = [
            (&[], Some(0)),
            (&[0x08, 1], Some(1)),
            (&[0x08, 2], Some(2)),
            (&[0x08, 2, 0x08, 1], Some(1)),
            (&[0x12, 2, 0xff, 0xff, 0x08, 1], Some(1)),
            (&[0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x28, 0x80, 1, 0x08, 1], Some(1)),
            (&[0x08], None),
            (&[0x08, 0x80], None),
            (&[0x12, 9, 1], None),
            (&[0x0b], None),
        ];
        for (message, status) in rows {
            assert_eq!(serving_status(&answer(message)), status, "{message:?}");
        }
        assert_eq!(serving_status(&[1, 0, 0, 0, 2, 0x08, 1]), None, "compressed");
        assert_eq!(serving_status(&[0, 0, 0, 0, 3, 0x08, 1]), None, "cut");
        assert_eq!(serving_status(&[0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = serving_status(&message);
            let _ = serving_status(&answer(&message));
        }
    }
}
