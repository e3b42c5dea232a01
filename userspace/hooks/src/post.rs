//! One attempt to POST an event.

use std::time::{Duration, SystemTime};

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::{net::lookup_host, time::timeout};

use crate::{event::Message, failure::HookFailure, sign::signatures};
use zerottl_core::model::{HookKey, HttpProbe};
use zerottl_inputs::http_check::{Configs, Failure, Get, Progress, SetupError, connect};

/// Addresses of a server that are tried, at most.
const ADDRESSES_MAX: usize = 8;

/// The server that gets events.
pub(crate) struct Post {
    server: String,
    port: u16,
    request: Get,
    keys: Vec<HookKey>,
}

impl Post {
    pub fn new(
        server: &str,
        port: u16,
        request: &HttpProbe,
        keys: &[HookKey],
        tls: &mut Configs,
    ) -> Result<Self, SetupError> {
        Ok(Self { server: server.to_owned(), port, request: Get::new(request, tls)?, keys: keys.to_vec() })
    }

    pub async fn send(&self, message: &Message, limit: Duration) -> Result<(), HookFailure> {
        let found = lookup_host((self.server.as_str(), self.port)).await;
        let found = found.map_err(|error| HookFailure::Lookup(self.server.clone(), error))?;
        let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
        // One that says nothing must not take the time of the others.
        let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut failure = HookFailure::Lookup(self.server.clone(), std::io::ErrorKind::NotFound.into());
        for address in addresses {
            match timeout(share, connect(address)).await {
                Ok(Ok(stream)) => {
                    let (headers, body) = (self.headers(message), message.body.clone());
                    let status = self.request.post(stream, &Progress::default(), &headers, body).await?;
                    let is_taken = (200..300).contains(&status);
                    return if is_taken { Ok(()) } else { Err(HookFailure::Status(status)) };
                }
                Ok(Err(error)) => failure = error.into(),
                Err(_) => failure = Failure::Timeout { after: share, stage: Progress::default().stage() }.into(),
            }
        }
        Err(failure)
    }

    fn headers(&self, message: &Message) -> HeaderMap {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = since.as_secs();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut put = |name: &'static str, value: &str| {
            // Made of ASCII by us.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("webhook-id", &message.id);
        put("webhook-timestamp", &timestamp.to_string());
        if !self.keys.is_empty() {
            put("webhook-signature", &signatures(&self.keys, &message.id, timestamp, &message.body));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::Arc};

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, crypto::ring},
    };

    use super::*;
    use crate::event::HookEvent;
    use zerottl_core::model::{EventKind, ProbeTls};

    /// Serves one request by TLS and answers with a status; gives its port and its certificate.
    async fn serve(status: u16, folder: &std::path::Path) -> (u16, PathBuf) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let ca = folder.join("ca.pem");
        fs::write(&ca, cert.pem()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
            .expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.expect("a handshake");
            let mut seen = Vec::new();
            // Fields are sorted, and the last one is the time.
            while !seen.ends_with(b"Z\"}") {
                seen.push(stream.read_u8().await.expect("a request"));
            }
            let head = String::from_utf8_lossy(&seen).into_owned();
            let is_good = head.starts_with("POST /path HTTP/1.1\r\n") && head.contains("webhook-signature: v1,");
            let status = if is_good { status } else { 400 };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            let _ = stream.shutdown().await;
        });
        (port, ca)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn post(status: u16, trusts: bool) -> Result<(), HookFailure> {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, ca) = serve(status, folder.path()).await;
        let tls = ProbeTls { server_name: "localhost".into(), verify: true, ca: trusts.then_some(ca), identity: None };
        let (path, host) = ("/path".into(), "localhost".into());
        let request = HttpProbe { path, host, expect_status: vec![200], expect_body: None, tls: Some(tls) };
        let key = HookKey(b"0123456789abcdef".as_slice().into());
        let hook = Post::new("127.0.0.1", port, &request, &[key], &mut Configs::default()).expect("ready");
        let message = Message::new(HookEvent::new(EventKind::Word, "a word"), "ns1", SystemTime::UNIX_EPOCH);
        timeout(PATIENCE, hook.send(&message, PATIENCE)).await.expect("in time")
    }

    #[tokio::test]
    async fn an_event_goes_by_tls_to_a_server_that_is_trusted() {
        post(204, true).await.expect("taken");
        let said = post(302, true).await.expect_err("a redirect").to_string();
        assert_eq!(said, "status 302, expected 200 to 299");
        let said = post(204, false).await.expect_err("a stranger").to_string();
        assert!(said.starts_with("certificate: "), "{said}");
    }

    #[tokio::test]
    async fn a_server_that_nobody_knows_is_told() {
        let request =
            HttpProbe { path: "/".into(), host: "x".into(), expect_status: vec![], expect_body: None, tls: None };
        let post = Post::new("no-such-host.invalid", 80, &request, &[], &mut Configs::default()).expect("ready");
        let message = Message::new(HookEvent::new(EventKind::Word, "a"), "ns1", SystemTime::UNIX_EPOCH);
        let said = post.send(&message, PATIENCE).await.expect_err("no such host").to_string();
        assert!(said.starts_with("no address of no-such-host.invalid: "), "{said}");
    }
}
