//! etcd, by its JSON gateway (`/v3/kv`, `/v3/lease`, `/v3/watch`; etcd 3.4 and later): one connection, one request at a time.
//!
//! Bytes are base64 and 64-bit numbers are texts there (the JSON mapping of protocol buffers). Every answer is bounded in time
//! and bytes.

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};
use zerottl_core::model::{EtcdConfig, EtcdTls};
use zerottl_host::trust::trust_anchors;

/// The longest answer, bytes: one page of keys, or one line of a watch.
pub(crate) const ANSWER_MAX: usize = 8 << 20;
/// For an answer. A write of a healthy cluster takes milliseconds; a new leader is there after two seconds.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);
/// Bytes of the words of a refusal that are kept.
const REFUSAL_MAX: usize = 4096;
/// Words of etcd to a user where it asks for none.
const NO_AUTH: &str = "authentication is not enabled";
/// Keys of one page.
const PAGE: u32 = 1000;

/// Why etcd could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The files of TLS are no good.
    #[error("TLS: {0}")]
    Tls(Box<dyn Error + Send + Sync>),
    /// Nobody answers there.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// Not in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The exchange broke off, or is not HTTP.
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    /// The request could not be made.
    #[error("http: {0}")]
    Request(#[from] hyper::http::Error),
    /// An answer of another form.
    #[error("not an answer of etcd: {0}")]
    Json(#[from] serde_json::Error),
    /// etcd refused, with its words.
    #[error("etcd: {0}")]
    Refused(String),
    /// An answer over `ANSWER_MAX` bytes.
    #[error("an answer of over {} MiB", ANSWER_MAX >> 20)]
    TooLong,
}

/// Bytes as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// A 64-bit number, which is a text in JSON.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct KeyValue {
    pub key: Blob,
    pub value: Blob,
    #[serde(deserialize_with = "number")]
    pub mod_revision: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum EventKind {
    #[default]
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "DELETE")]
    Delete,
}

/// A change of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct WatchEvent {
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub kv: KeyValue,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    #[serde(deserialize_with = "number")]
    pub revision: i64,
}

/// A line of a watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WatchLine {
    pub header: Header,
    pub events: Vec<WatchEvent>,
    pub canceled: bool,
}

#[derive(Debug, Deserialize)]
struct Streamed {
    result: Option<WatchLine>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RangeAnswer {
    header: Header,
    kvs: Vec<KeyValue>,
    more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseOp {
    response_range: RangeAnswer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TxnAnswer {
    header: Header,
    succeeded: bool,
    responses: Vec<ResponseOp>,
}

/// The outcome of a compare-and-swap.
#[derive(Debug)]
pub(crate) enum Swapped {
    /// Done, at this revision.
    Done(i64),
    /// Somebody was faster: what is there now, of those that are.
    Lost(Vec<KeyValue>),
}

/// A change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Bound to the lease.
    Put(String, Vec<u8>),
    /// Whatever becomes of the lease.
    Keep(String, Vec<u8>),
    Delete(String),
}

/// The settings by which a client reaches any of the nodes; read from files once.
pub(crate) struct Nodes {
    pub endpoints: Vec<SocketAddr>,
    pub prefix: String,
    tls: Option<Connector>,
    user: Option<(String, String)>,
}

impl Nodes {
    /// Takes the prefix off.
    pub fn key_of<'a>(&self, kv: &'a KeyValue) -> Option<&'a str> {
        std::str::from_utf8(kv.key.0.strip_prefix(self.prefix.as_bytes())?).ok()
    }

    /// Reads the files of TLS.
    pub fn new(config: &EtcdConfig) -> Result<Self, GatewayError> {
        let tls = config.tls.as_ref().map(connector).transpose().map_err(GatewayError::Tls)?;
        Ok(Self { endpoints: config.endpoints.clone(), prefix: config.prefix.clone(), tls, user: config.user.clone() })
    }
}

type Connector = (TlsConnector, Option<ServerName<'static>>);

fn connector(tls: &EtcdTls) -> Result<Connector, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => roots = trust_anchors(path)?,
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain)?.collect();
            builder.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_file(key)?)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = tls.server_name.clone().map(ServerName::try_from).transpose()?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A connection to one node. Dropping it closes it.
pub(crate) struct Gateway {
    nodes: Arc<Nodes>,
    at: SocketAddr,
    token: Option<String>,
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Gateway {
    /// Connects, and logs in if there is a user.
    pub async fn connect(nodes: &Arc<Nodes>, at: SocketAddr) -> Result<Self, GatewayError> {
        let connect = async {
            let mut gateway = Self::open(nodes, at).await?;
            if let Some((name, password)) = &nodes.user {
                #[derive(Deserialize)]
                struct Token {
                    token: String,
                }
                let login = json!({ "name": name, "password": password });
                match gateway.ask::<Token>("/v3/auth/authenticate", &login).await {
                    Ok(Token { token }) => gateway.token = Some(token),
                    // Whoever turns it on later ends the session, and the next one logs in.
                    Err(GatewayError::Refused(said)) if said.contains(NO_AUTH) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(gateway)
        };
        timeout(PATIENCE, connect).await.unwrap_or(Err(GatewayError::Timeout(PATIENCE)))
    }

    async fn open(nodes: &Arc<Nodes>, at: SocketAddr) -> Result<Self, GatewayError> {
        let failed = GatewayError::Connect;
        let stream = TcpStream::connect(at).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = JoinSet::new();
        let sender = if let Some((tls, name)) = &nodes.tls {
            let name = name.clone().unwrap_or_else(|| ServerName::IpAddress(at.ip().into()));
            let stream = tls.connect(name, stream).await.map_err(failed)?;
            let (sender, running) = http1::handshake(TokioIo::new(stream)).await?;
            // Its error reaches the sender, which is where it is reported.
            connection.spawn(async move { drop(running.await) });
            sender
        } else {
            let (sender, running) = http1::handshake(TokioIo::new(stream)).await?;
            connection.spawn(async move { drop(running.await) });
            sender
        };
        Ok(Self { nodes: Arc::clone(nodes), at, token: None, sender, _connection: connection })
    }

    async fn send(&mut self, path: &str, body: &impl Serialize) -> Result<Response<Incoming>, GatewayError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.at.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let words = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
        let words = words.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&words).ok();
        let said = said.as_ref().and_then(|said| said.get("message").or_else(|| said.get("error"))?.as_str());
        let plain =
            || format!("{status}: {}", String::from_utf8_lossy(&words).trim().chars().take(200).collect::<String>());
        Err(GatewayError::Refused(said.map_or_else(plain, str::to_owned)))
    }

    async fn ask<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, GatewayError> {
        let exchange = async {
            let response = self.send(path, body).await?;
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let bytes = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => GatewayError::Http(*error),
                Err(_) => GatewayError::TooLong,
            })?;
            Ok(serde_json::from_slice(&bytes.to_bytes())?)
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Err(GatewayError::Timeout(PATIENCE)))
    }

    fn full(&self, key: &str) -> Blob {
        Blob([self.nodes.prefix.as_bytes(), key.as_bytes()].concat())
    }

    /// The keys with the prefix, as etcd has ranges: from it to its successor.
    fn range(&self) -> (Blob, Blob) {
        let mut end = self.nodes.prefix.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            // A prefix ends with a slash.
            *last += 1;
        }
        (self.full(""), Blob(end))
    }

    /// Begins a lease, for a time in seconds.
    pub async fn grant(&mut self, seconds: u64) -> Result<i64, GatewayError> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(rename = "ID", deserialize_with = "number")]
            id: i64,
        }
        let Granted { id } = self.ask("/v3/lease/grant", &json!({ "TTL": seconds.to_string() })).await?;
        Ok(id)
    }

    /// Renews a lease; false where it has ended. (etcd answers then, too, with no time to live.)
    pub async fn keep_alive(&mut self, lease: i64) -> Result<bool, GatewayError> {
        #[derive(Deserialize)]
        struct Kept {
            #[serde(rename = "TTL")]
            ttl: Option<String>,
        }
        #[derive(Deserialize)]
        struct Answer {
            result: Option<Kept>,
        }
        let Answer { result } = self.ask("/v3/lease/keepalive", &json!({ "ID": lease.to_string() })).await?;
        Ok(result.and_then(|kept| kept.ttl).is_some_and(|ttl| ttl != "0"))
    }

    /// Ends a lease, and all that hangs on it.
    pub async fn revoke(&mut self, lease: i64) -> Result<(), GatewayError> {
        self.ask::<Value>("/v3/lease/revoke", &json!({ "ID": lease.to_string() })).await.map(drop)
    }

    /// Every key with the prefix, page by page, each handed to `each`; returns their revision. Pages that are too long are asked
    /// for in smaller ones; a key that is too long by itself comes without its value, and false.
    pub async fn all(&mut self, mut each: impl FnMut(KeyValue, bool)) -> Result<i64, GatewayError> {
        let (mut from, end) = self.range();
        let (mut revision, mut page, mut keys_only) = (0, PAGE, false);
        loop {
            let request = json!({
                "key": from, "range_end": end, "limit": page.to_string(), "revision": revision.to_string(),
                "keys_only": keys_only,
            });
            let answer: RangeAnswer = match self.ask("/v3/kv/range", &request).await {
                Err(GatewayError::TooLong) if !keys_only => {
                    // The rest of the answer is still on its way on this connection.
                    *self = Self::connect(&Arc::clone(&self.nodes), self.at).await?;
                    (page, keys_only) = ((page / 8).max(1), page == 1);
                    continue;
                }
                answer => answer?,
            };
            if revision == 0 {
                revision = answer.header.revision;
            }
            let last = answer.kvs.last().filter(|_| answer.more).map(|last| last.key.clone());
            answer.kvs.into_iter().for_each(|kv| each(kv, !keys_only));
            (page, keys_only) = ((page * 2).min(PAGE), false);
            from = match last {
                None => return Ok(revision),
                Some(Blob(mut last)) => {
                    last.push(0);
                    Blob(last)
                }
            };
        }
    }

    /// Puts several keys, most of them bound to a lease, or deletes some.
    pub async fn change(&mut self, changes: &[Change], lease: i64) -> Result<i64, GatewayError> {
        let operations: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Put(key, value) => json!({ "request_put": {
                    "key": self.full(key), "value": BASE64_STANDARD.encode(value), "lease": lease.to_string(),
                }}),
                Change::Keep(key, value) => json!({ "request_put": {
                    "key": self.full(key), "value": BASE64_STANDARD.encode(value),
                }}),
                Change::Delete(key) => json!({ "request_delete_range": { "key": self.full(key) } }),
            })
            .collect();
        let answer: TxnAnswer = self.ask("/v3/kv/txn", &json!({ "success": operations })).await?;
        Ok(answer.header.revision)
    }

    /// Puts keys if each still has its revision, 0 for one that is not there.
    pub async fn swap(&mut self, puts: &[(String, i64, Vec<u8>)]) -> Result<Swapped, GatewayError> {
        let compare: Vec<_> = puts
            .iter()
            .map(|(key, revision, _)| {
                json!({
                    "key": self.full(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string(),
                })
            })
            .collect();
        let success: Vec<_> = puts
            .iter()
            .map(|(key, _, value)| {
                json!({ "request_put": {
                    "key": self.full(key), "value": BASE64_STANDARD.encode(value),
                }})
            })
            .collect();
        let failure: Vec<_> =
            puts.iter().map(|(key, ..)| json!({ "request_range": { "key": self.full(key) } })).collect();
        let request = json!({ "compare": compare, "success": success, "failure": failure });
        let answer: TxnAnswer = self.ask("/v3/kv/txn", &request).await?;
        if answer.succeeded {
            return Ok(Swapped::Done(answer.header.revision));
        }
        Ok(Swapped::Lost(answer.responses.into_iter().flat_map(|response| response.response_range.kvs).collect()))
    }

    /// Watches every key with the prefix, from a revision on.
    pub async fn watch(mut self, from: i64) -> Result<Watch, GatewayError> {
        let (key, range_end) = self.range();
        let request = json!({ "create_request": {
            "key": key, "range_end": range_end, "start_revision": from.to_string(),
        }});
        let response = timeout(PATIENCE, self.send("/v3/watch", &request)).await;
        let response = response.unwrap_or(Err(GatewayError::Timeout(PATIENCE)))?;
        Ok(Watch { body: response.into_body(), pending: Vec::new(), read: 0, _gateway: self })
    }
}

/// A stream of changes.
pub(crate) struct Watch {
    body: Incoming,
    pending: Vec<u8>,
    /// Bytes of it that are taken.
    read: usize,
    _gateway: Gateway,
}

impl Watch {
    /// The next line; none at the end of the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<WatchLine>, GatewayError> {
        loop {
            if let Some(len) = memchr::memchr(b'\n', &self.pending[self.read..]) {
                let line = &self.pending[self.read..self.read + len];
                let streamed: Streamed = serde_json::from_slice(line)?;
                self.read += len + 1;
                return match streamed {
                    Streamed { result: Some(line), .. } => Ok(Some(line)),
                    Streamed { error, .. } => Err(GatewayError::Refused(error.unwrap_or_default().to_string())),
                };
            }
            self.pending.drain(..self.read);
            self.read = 0;
            if self.pending.len() > ANSWER_MAX {
                return Err(GatewayError::TooLong);
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }
}
