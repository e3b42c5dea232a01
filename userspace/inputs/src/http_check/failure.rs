//! How far a check has come, and why it failed, as types and as a sentence.

use std::{
    error::Error,
    fmt, io,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use zerottl_host::{patience::Late, resources};

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
}

/// How far a running check has come, for the words of its timeout.
#[derive(Default)]
pub struct Progress(AtomicU8);

impl Progress {
    pub(super) fn enter(&self, stage: CheckStage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    pub(crate) fn stage(&self) -> CheckStage {
        CheckStage::from_index(self.0.load(Ordering::Relaxed))
    }
}

/// Why a check did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// This machine could not try (no file descriptor, no memory, no port). Says nothing about the Site, so it is no verdict.
    Local(io::Error),
    /// This machine did not run while it should have waited. No verdict either.
    Starved(Duration),
    /// No TCP connection.
    Connect(io::Error),
    /// The TLS handshake failed for another reason than the certificate.
    Tls(String),
    /// The server's certificate is not acceptable.
    Certificate(String),
    /// No well-formed HTTP/1.1 response, or one over the limits.
    Http(String),
    /// A response with another status.
    Status {
        /// The response's.
        got: u16,
        /// The acceptable ones.
        expected: Vec<u16>,
    },
    /// The expected text is not in the part of the body that is read.
    Body {
        /// The text.
        expected: String,
    },
    /// No outcome in time.
    Timeout {
        /// The probe's timeout.
        after: Duration,
        /// The stage that was being waited for.
        stage: CheckStage,
    },
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

/// The longest part of an expected text that is quoted, in characters.
const QUOTED_MAX: usize = 64;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(error) => write!(f, "not tried: {}", Io(error)),
            Self::Starved(lost) => write!(f, "not tried: {}", Late::Starved(*lost)),
            Self::Connect(error) => write!(f, "connect: {}", Io(error)),
            Self::Tls(why) => write!(f, "tls: {why}"),
            Self::Certificate(why) => write!(f, "certificate: {why}"),
            Self::Http(why) => write!(f, "http: {why}"),
            Self::Status { got, expected } => {
                write!(f, "status {got}, expected ")?;
                for (position, status) in expected.iter().enumerate() {
                    write!(f, "{}{status}", if position == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::Body { expected } => {
                let quoted: String = expected.chars().take(QUOTED_MAX).collect();
                let more = if quoted.len() < expected.len() { "…" } else { "" };
                write!(f, "body: {quoted:?}{more} is not in its first {} KiB", BODY_MAX / 1024)
            }
            Self::Timeout { after, stage } => {
                let waiting = match stage {
                    CheckStage::Connect => "connecting",
                    CheckStage::Tls => "in the TLS handshake",
                    CheckStage::Response => "waiting for the response",
                    CheckStage::Body => "reading the body",
                };
                write!(f, "timeout after {after:?} {waiting}")
            }
        }
    }
}

impl Error for Failure {}

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
        check(Failure::Certificate("expired".into()), "certificate: expired");
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
            let wrapped = Failure::sorted(io::Error::other(io::Error::from(errno)), |_| Failure::Http("bad".into()));
            assert!(!wrapped.is_verdict(), "{errno} as TLS and HTTP hand it on");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::TIMEDOUT, Errno::ACCESS] {
            assert!(Failure::from_io(errno.into()).is_verdict(), "{errno}");
        }
    }
}
