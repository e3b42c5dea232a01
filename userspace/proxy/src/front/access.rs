//! The access log: a line for each request, once it has ended, in a form that log readers know or as JSON.
//!
//! What a request's line says is collected on its way: a [`Trail`] goes with it in its extensions, where there is a log.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version,
    header::{HOST, REFERER, USER_AGENT},
    uri::PathAndQuery,
};
use serde::Serialize;
use tokio::time::Instant;

use super::{Peer, lines::Lines};
use zerottl_core::model::{AccessFormat, AccessLog};
use zerottl_site::trail::{Trail, Way};

/// The field with a request's number, whoever gave it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trace that it is part of (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The status that nginx uses for a client that went away before there was a response.
const CLIENT_GONE: u16 = 499;

/// An access log in use.
#[derive(Debug)]
pub(crate) struct AccessLogWriter {
    format: AccessFormat,
    lines: Lines,
}

/// An access log that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the access log{}: {source}", place(file.as_deref()))]
pub(crate) struct AccessLogError {
    /// None is standard output.
    file: Option<PathBuf>,
    source: io::Error,
}

fn place(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" {}", file.display()))
}

impl AccessLogWriter {
    /// Opens the file, or standard output.
    pub(crate) fn open(configured: &AccessLog) -> Result<Arc<Self>, AccessLogError> {
        let lines = Lines::open(configured.file.clone())
            .map_err(|source| AccessLogError { file: configured.file.clone(), source })?;
        Ok(Arc::new(Self { format: configured.format, lines }))
    }

    /// Opens the file anew, which somebody may have moved away.
    pub(crate) fn reopen(&self) {
        self.lines.reopen();
    }

    /// Returns how many lines were lost: too many at once, or nowhere to write them.
    #[must_use]
    pub(crate) fn lost(&self) -> u64 {
        self.lines.lost()
    }

    /// Writes what is there, and waits for that, for a second at most.
    pub(crate) fn finish(&self) {
        self.lines.finish();
    }
}

/// One request; its line is written when this is dropped.
#[derive(Debug)]
pub(super) struct LoggedRequest {
    log: Arc<AccessLogWriter>,
    trail: Trail,
    begun: (SystemTime, Instant),
    client: SocketAddr,
    tls: bool,
    version: Version,
    /// None where the head was not understood.
    method: Option<Method>,
    target: Option<PathAndQuery>,
    fields: Fields,
    status: Option<StatusCode>,
    answered: Option<Duration>,
    bytes: u64,
    is_whole: bool,
}

/// Header fields that are shown.
#[derive(Debug, Default)]
struct Fields {
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Fields {
    fn of(headers: &HeaderMap) -> Self {
        let field = |name| headers.get(name).cloned();
        Self {
            host: field(HOST),
            referer: field(REFERER),
            user_agent: field(USER_AGENT),
            request_id: field(REQUEST_ID),
            traceparent: field(TRACEPARENT),
        }
    }
}

impl LoggedRequest {
    /// Begins the line of a request that has come.
    pub(super) fn begin<B>(
        log: Arc<AccessLogWriter>,
        request: &mut Request<B>,
        peer: &Peer,
        now: Instant,
    ) -> Box<Self> {
        let mut record = Self::without_head(log, peer.client, peer.tls, now);
        record.version = request.version();
        record.method = Some(request.method().clone());
        record.target = request.uri().path_and_query().cloned();
        record.fields = Fields::of(request.headers());
        request.extensions_mut().insert(record.trail.clone());
        Box::new(record)
    }

    /// Begins the line of what came instead of a request.
    pub(super) fn without_head(log: Arc<AccessLogWriter>, client: SocketAddr, tls: bool, now: Instant) -> Self {
        Self {
            log,
            trail: Trail::default(),
            begun: (SystemTime::now(), now),
            client,
            tls,
            version: Version::HTTP_11,
            method: None,
            target: None,
            fields: Fields::default(),
            status: None,
            answered: None,
            bytes: 0,
            is_whole: false,
        }
    }

    /// Notes that its response has begun.
    pub(super) fn answered(&mut self, status: StatusCode, after: Duration) {
        (self.status, self.answered) = (Some(status), Some(after));
    }

    /// Notes that bytes of the response's body were handed over, and whether those were the last.
    pub(super) fn sent(&mut self, bytes: usize, is_whole: bool) {
        self.bytes += bytes as u64;
        self.is_whole |= is_whole;
    }

    fn status(&self) -> u16 {
        self.status.map_or(CLIENT_GONE, |status| status.as_u16())
    }

    fn client(&self, way: &Way) -> IpAddr {
        way.client.unwrap_or_else(|| self.client.ip()).to_canonical()
    }

    fn target(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::as_str)
    }

    /// Writes NCSA's common log format; `combined` has two fields more. Escaped as nginx does.
    fn common(&self, way: &Way, combined: bool) -> String {
        let mut line = String::with_capacity(256);
        // Writing into a String does not fail.
        let _ = write!(line, "{} - - [{}] \"", self.client(way), clock(self.begun.0).common);
        if let Some(method) = &self.method {
            let _ = write!(line, "{method} ");
            escape(&mut line, self.target().as_bytes());
            let _ = write!(line, " {}", protocol(self.version));
        }
        let _ = write!(line, "\" {} {}", self.status(), self.bytes);
        if combined {
            for field in [&self.fields.referer, &self.fields.user_agent] {
                line.push_str(" \"");
                escape(&mut line, field.as_ref().map_or(b"-", HeaderValue::as_bytes));
                line.push('"');
            }
        }
        line.push('\n');
        line
    }

    fn json(&self, way: &Way) -> String {
        let text = |field: &Option<HeaderValue>| {
            field.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let line = Line {
            time: &clock(self.begun.0).rfc3339,
            client: self.client(way),
            port: self.client.port(),
            tls: self.tls,
            method: self.method.as_ref().map(Method::as_str),
            host: text(&self.fields.host),
            target: self.target.as_ref().map(PathAndQuery::as_str),
            protocol: self.method.as_ref().map(|_| protocol(self.version)),
            status: self.status(),
            bytes: self.bytes,
            whole: self.is_whole || self.method == Some(Method::HEAD),
            seconds: rounded(self.begun.1.elapsed()),
            answered_after: self.answered.map(rounded),
            backend: way.backend.as_deref(),
            backends_asked: way.asked,
            outcome: way.outcome,
            session: way.in_session,
            referer: text(&self.fields.referer),
            user_agent: text(&self.fields.user_agent),
            request_id: text(&self.fields.request_id),
            traceparent: text(&self.fields.traceparent),
        };
        let mut line = serde_json::to_string(&line).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl Drop for LoggedRequest {
    fn drop(&mut self) {
        let way = self.trail.way();
        let line = match self.log.format {
            AccessFormat::Common => self.common(&way, false),
            AccessFormat::Combined => self.common(&way, true),
            AccessFormat::Json => self.json(&way),
        };
        self.log.lines.write(line.as_bytes());
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    client: IpAddr,
    port: u16,
    tls: bool,
    method: Option<&'a str>,
    host: Option<String>,
    target: Option<&'a str>,
    protocol: Option<&'a str>,
    status: u16,
    bytes: u64,
    whole: bool,
    seconds: f64,
    answered_after: Option<f64>,
    backend: Option<&'a str>,
    backends_asked: usize,
    outcome: Option<&'a str>,
    session: bool,
    referer: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    traceparent: Option<String>,
}

/// Returns seconds, to the microsecond.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Names the version as nginx does.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// A moment, in UTC.
struct Clock {
    /// `10/Oct/2000:13:55:36 +0000`
    common: String,
    /// `2000-10-10T13:55:36.123Z`
    rfc3339: String,
}

fn clock(at: SystemTime) -> Clock {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    // Always as long: "Tue, 10 Oct 2000 13:55:36 GMT".
    let date = httpdate::fmt_http_date(at);
    let part = |from: usize, to: usize| date.get(from..to).unwrap_or_default();
    let (day, month, year, time) = (part(5, 7), part(8, 11), part(12, 16), part(17, 25));
    let number = MONTHS.find(month).map_or(0, |at| at / 3 + 1);
    Clock {
        common: format!("{day}/{month}/{year}:{time} +0000"),
        rfc3339: format!("{year}-{number:02}-{day}T{time}.{ms:03}Z"),
    }
}

fn escape(line: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(line, "\\x{byte:02X}");
            }
            _ => line.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(format: AccessFormat, file: &Path) -> Arc<AccessLogWriter> {
        AccessLogWriter::open(&AccessLog { file: Some(file.to_owned()), format }).unwrap()
    }

    fn line(format: AccessFormat, change: impl FnOnce(&mut LoggedRequest)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let log = log(format, &file);
        let mut request = Request::get("/a%20\"b?c=d").body(()).unwrap();
        for (name, value) in [
            ("host", &b"app.com"[..]),
            ("user-agent", b"M\xf6zilla \\\"5\""),
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("x-request-id", b"7"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_bytes(value).unwrap());
        }
        let peer = Peer {
            client: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            local: "192.0.2.1:80".parse().unwrap(),
            tls: false,
            server_name: None,
        };
        let mut record = LoggedRequest::begin(Arc::clone(&log), &mut request, &peer, Instant::now());
        record.begun.0 = SystemTime::UNIX_EPOCH + Duration::from_millis(971_186_136_123);
        change(&mut record);
        drop(record);
        log.finish();
        std::fs::read_to_string(file).unwrap()
    }

    #[test]
    fn forms_that_log_readers_know() {
        let answer = |record: &mut LoggedRequest| {
            record.answered(StatusCode::OK, Duration::from_millis(2));
            record.sent(1000, false);
            record.sent(234, true);
        };
        let common = r#"192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] "GET /a%20\x22b?c=d HTTP/1.1" 200 1234"#;
        assert_eq!(line(AccessFormat::Common, answer), format!("{common}\n"));
        let combined = format!("{common} \"-\" \"M\\xF6zilla \\x5C\\x225\\x22\"\n");
        assert_eq!(line(AccessFormat::Combined, answer), combined);
        assert!(line(AccessFormat::Common, |_| ()).contains(" HTTP/1.1\" 499 0"), "the client went away");
        let malformed = line(AccessFormat::Common, |record| {
            record.method = None;
            record.answered(StatusCode::BAD_REQUEST, Duration::ZERO);
        });
        assert_eq!(malformed, "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"\" 400 0\n");
        assert!(line(AccessFormat::Common, |record| record.version = Version::HTTP_2).contains(" HTTP/2.0\" "));
    }

    #[test]
    fn json_has_all() {
        let text = line(AccessFormat::Json, |record| {
            record.answered(StatusCode::BAD_GATEWAY, Duration::from_micros(1500));
            record.sent(0, true);
            record.trail.decided("2001:db8::1".parse().unwrap(), "in-session", true);
            record.trail.asked("http://127.0.0.1:8080", 2);
        });
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["seconds"].take().as_f64().is_some());
        let expected = serde_json::json!({
            "time": "2000-10-10T13:55:36.123Z", "client": "2001:db8::1", "port": 4711, "tls": false,
            "method": "GET", "host": "app.com", "target": "/a%20\"b?c=d", "protocol": "HTTP/1.1",
            "status": 502, "bytes": 0, "whole": true, "seconds": null, "answered_after": 0.0015,
            "backend": "http://127.0.0.1:8080", "backends_asked": 2, "outcome": "in-session", "session": true,
            "referer": null, "user_agent": "M\u{fffd}zilla \\\"5\"", "request_id": "7",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        });
        assert_eq!(value, expected);
    }
}
