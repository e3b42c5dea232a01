//! How far a check has come, and why it failed, as types and as a sentence.

use std::{
    error::Error,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

use zerottl_host::{
    patience::Late,
    resources,
    trust::{IdentityError, TrustError},
};

/// How much of a body is searched for the expected text, bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// How far a check had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CheckStage {
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Until the response's header is there.
    Response,
    /// Until the expected text is there.
    Body,
}

impl CheckStage {
    /// By position; the last one beyond it.
    fn from_index(index: u8) -> Self {
        [Self::Connect, Self::Tls, Self::Response].get(usize::from(index)).copied().unwrap_or(Self::Body)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Response => "waiting for the response",
            Self::Body => "reading the body",
        }
    }
}

/// How far a running check has come, for the words of its timeout.
#[derive(Default)]
pub struct Progress(AtomicU8);

impl Progress {
    pub(super) fn enter(&self, stage: CheckStage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// Returns how far it has come.
    pub fn stage(&self) -> CheckStage {
        CheckStage::from_index(self.0.load(Ordering::Relaxed))
    }
}

/// Why a check did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This machine could not try (no file descriptor, no memory, no port). Says nothing about the Site, so it is no verdict.
    #[error("not tried: {}", Io(.0))]
    Local(#[source] io::Error),
    /// This machine did not run while it should have waited. No verdict either.
    #[error("not tried: {}", Late::Starved(*.0))]
    Starved(Duration),
    /// No TCP connection.
    #[error("connect: {}", Io(.0))]
    Connect(#[source] io::Error),
    /// The TLS handshake failed for another reason than the certificate.
    #[error("tls: {0}")]
    Tls(#[source] io::Error),
    /// The server broke TLS off.
    #[error("tls: {}", Alert(*.0))]
    Alert(AlertDescription),
    /// The server's certificate is not acceptable.
    #[error("certificate: {}", Certificate(.0))]
    Certificate(CertificateError),
    /// No well-formed HTTP/1.1 response, or one over the limits.
    // hyper's own words name the phase, its source the cause.
    #[error("http: {}{}", .0, Cause(.0))]
    Http(#[source] hyper::Error),
    /// No well-formed HTTP/2, or more of it than the limits have.
    #[error("http/2: {0}")]
    Http2(#[source] Box<dyn Error + Send + Sync>),
    /// A call of gRPC whose answer is not that all is well.
    #[error("grpc: {0}")]
    Grpc(#[from] GrpcFailure),
    /// The check could not be made ready.
    #[error("http: {0}")]
    Setup(#[source] Arc<SetupError>),
    /// A response with another status.
    #[error("status {got}, expected {}", Alternatives(.expected))]
    Status {
        /// The response's.
        got: u16,
        /// The acceptable ones.
        expected: Vec<u16>,
    },
    /// The expected text is not in the part of the body that is read.
    #[error("body: {} is not in its first {} KiB", Quoted(.expected), BODY_MAX / 1024)]
    Body {
        /// The text.
        expected: String,
    },
    /// No outcome in time.
    #[error("timeout after {after:?} {}", .stage.text())]
    Timeout {
        /// The probe's timeout.
        after: Duration,
        /// The stage that was being waited for.
        stage: CheckStage,
    },
}

/// The reason why a call of the gRPC health protocol did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum GrpcFailure {
    /// The service says so.
    #[error("the status is {0}, not SERVING")]
    NotServing(&'static str),
    /// The call itself failed.
    #[error("the call failed with {}{}", Code(.code), Said(.message))]
    Call {
        /// The number, as it was sent.
        code: String,
        /// The server's words.
        message: String,
    },
    /// Another protocol answers.
    #[error("the answer is not of type application/grpc")]
    ContentType,
    /// The trailers are not those of a call.
    #[error("the answer has no grpc-status")]
    NoStatus,
    /// The message is none of the health protocol.
    #[error("the answer is no HealthCheckResponse")]
    Message,
    /// The message is far longer than one can be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Why a check cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The path cannot stand in a request.
    #[error("`{0}` is not a path")]
    Path(String),
    /// The host cannot stand in a request.
    #[error("`{0}` cannot be a Host header")]
    Host(String),
    /// The name cannot be asked for in a TLS handshake.
    #[error("`{0}` is not a TLS server name")]
    ServerName(String),
    /// There is no TLS with the versions that are safe.
    #[error(transparent)]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The file of trust anchors cannot be used.
    #[error("trust anchors {}: {source}", .path.display())]
    TrustAnchors {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: TrustError,
    },
    /// The certificate to be shown, or its key, cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system has no trust anchors, or none that can be read.
    #[error("the system has no trust anchors{}", .0.as_ref().map_or(String::new(), |error| format!(": {error}")))]
    NoSystemAnchors(#[source] Option<rustls_native_certs::Error>),
}

impl Failure {
    /// Sorts an error of connecting or reading into this machine's fault or the Site's.
    pub fn from_io(error: io::Error) -> Self {
        Self::sorted(error, Self::Connect)
    }

    /// Sorts any error in the same way; where it is the Site's, `of_site` makes the failure of it.
    pub(super) fn sorted<E: Error + Send + Sync + 'static>(error: E, of_site: impl FnOnce(E) -> Self) -> Self {
        if resources::is_ours(&error) { Self::Local(io::Error::other(error)) } else { of_site(error) }
    }

    /// Sorts an error of an exchange that may be over TLS: an alert comes with the first answer where the handshake is over before the
    /// server has seen what it wants.
    pub(super) fn of_exchange<E: Error + Send + Sync + 'static>(error: E, of_site: impl FnOnce(E) -> Self) -> Self {
        match alert(&error) {
            Some(alert) => Self::Alert(alert),
            None => Self::sorted(error, of_site),
        }
    }

    /// Why an attempt has not ended within its time.
    #[must_use]
    pub fn from_late(late: Late, after: Duration, stage: CheckStage) -> Self {
        match late {
            Late::Timeout => Self::Timeout { after, stage },
            Late::Starved(lost) => Self::Starved(lost),
        }
    }

    /// Whether the attempt says that the Site is not well.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        !matches!(self, Self::Local(_) | Self::Starved(_))
    }
}

/// Returns the alert of TLS that an error is of.
pub(super) fn alert(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(TlsError::AlertReceived(alert)) = error.downcast_ref::<TlsError>() {
            return Some(*alert);
        }
        // An error's source is the source of what it wraps, which would be passed over.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// An alert of the server's; those about our own certificate as sentences.
struct Alert(AlertDescription);

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AlertDescription::CertificateRequired => f.write_str("the server wants a certificate, and none was shown"),
            AlertDescription::UnknownCA => f.write_str("the server does not trust the certificate that it was shown"),
            AlertDescription::CertificateExpired => {
                f.write_str("the certificate that the server was shown has expired")
            }
            other => write!(f, "the server broke off with the alert {other:?}"),
        }
    }
}

/// The longest part of an expected text that is quoted, in characters.
const QUOTED_MAX: usize = 64;

/// An expected text, quoted up to [`QUOTED_MAX`].
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: String = self.0.chars().take(QUOTED_MAX).collect();
        let more = if quoted.len() < self.0.len() { "…" } else { "" };
        write!(f, "{quoted:?}{more}")
    }
}

/// Names of gRPC's codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A code of gRPC by its name; by what was sent where it has none.
struct Code<'a>(&'a str);

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<usize>().ok().and_then(|code| CODES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", Quoted(self.0)),
        }
    }
}

/// A server's words behind a colon, quoted, if there are any.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", Quoted(self.0)) }
    }
}

/// Status codes with `or` between them.
struct Alternatives<'a>(&'a [u16]);

impl fmt::Display for Alternatives<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, status) in self.0.iter().enumerate() {
            write!(f, "{}{status}", if position == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

/// An error's source behind a colon, if it has one.
struct Cause<'a>(&'a hyper::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

/// A certificate's fault; the common ones as sentences.
struct Certificate<'a>(&'a CertificateError);

impl fmt::Display for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CertificateError::UnknownIssuer => f.write_str("its issuer is not trusted"),
            CertificateError::BadSignature => f.write_str("its signature is not its issuer's"),
            other => other.fmt(f),
        }
    }
}

/// An I/O error in the words of its kind, without the number, where the kind says it all.
struct Io<'a>(&'a io::Error);

impl fmt::Display for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind as K;
        match self.0.kind() {
            kind @ (K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::PermissionDenied
            | K::TimedOut) => write!(f, "{kind}"),
            _ => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_a_sentence() {
        let check = |failure: Failure, expect: &str| assert_eq!(failure.to_string(), expect);
        let io = |errno: rustix::io::Errno| io::Error::from(errno);
        check(Failure::from_io(io(rustix::io::Errno::CONNREFUSED)), "connect: connection refused");
        check(Failure::from_io(io(rustix::io::Errno::HOSTUNREACH)), "connect: host unreachable");
        check(Failure::from_io(io(rustix::io::Errno::MFILE)), "not tried: Too many open files (os error 24)");
        check(Failure::Status { got: 503, expected: vec![200] }, "status 503, expected 200");
        check(Failure::Status { got: 503, expected: vec![200, 204] }, "status 503, expected 200 or 204");
        check(Failure::Body { expected: "ok\n".into() }, "body: \"ok\\n\" is not in its first 64 KiB");
        check(
            Failure::Timeout { after: Duration::from_millis(500), stage: CheckStage::Connect },
            "timeout after 500ms connecting",
        );
        check(
            Failure::Timeout { after: Duration::from_secs(2), stage: CheckStage::Response },
            "timeout after 2s waiting for the response",
        );
        check(Failure::Certificate(CertificateError::UnknownIssuer), "certificate: its issuer is not trusted");
        check(
            Failure::from_late(
                Late::Starved(Duration::from_millis(812)),
                Duration::from_millis(500),
                CheckStage::Connect,
            ),
            "not tried: this machine was too busy to wait: 812 ms were lost",
        );
    }

    #[test]
    fn lack_of_own_resources_is_no_verdict_and_everything_else_is() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
            let failure = Failure::from_io(errno.into());
            assert!(!failure.is_verdict() && failure.to_string().starts_with("not tried: "), "{errno}");
            let wrapped = Failure::sorted(io::Error::other(io::Error::from(errno)), Failure::Tls);
            assert!(!wrapped.is_verdict(), "{errno} as TLS and HTTP hand it on");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::TIMEDOUT, Errno::ACCESS] {
            assert!(Failure::from_io(errno.into()).is_verdict(), "{errno}");
        }
    }
}
