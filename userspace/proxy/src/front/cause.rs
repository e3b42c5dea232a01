//! The cause of an answer that did not come, in words, and whose fault it is.

use std::{error::Error, fmt, io, time::Duration};

use bytes::Bytes;

use zerottl_host::resources;

/// Bytes of an answer that is no HTTP which are shown.
const SHOWN: usize = 8;
/// The reason why there is no answer.
#[derive(Debug)]
pub(super) enum Cause {
    /// No connection came about.
    Unreachable(io::Error),
    /// Nor could it: this machine has no descriptor, memory or port left for one.
    Ours(io::Error),
    /// No head came in time.
    Slow(Duration),
    /// An error of HTTP, and how what came begins.
    Http(hyper::Error, Bytes),
    /// It has become another protocol, without being asked.
    Switched,
}

impl Cause {
    /// Returns the cause of a failed connect.
    pub(super) fn of_connect(error: io::Error) -> Self {
        if is_ours(&error) { Self::Ours(error) } else { Self::Unreachable(error) }
    }
}

/// Whether an error is of this machine: it says nothing of the other one, and would be the same with any.
pub(super) fn is_ours(error: &io::Error) -> bool {
    // Besides: no port or route cache entry just then, and this machine's own firewall.
    let more = [libc::EAGAIN, libc::EPERM];
    resources::is_ours(error) || error.raw_os_error().is_some_and(|code| more.contains(&code))
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) if error.kind() == io::ErrorKind::TimedOut => {
                out.write_str("no connection in time")
            }
            Self::Unreachable(error) => write!(out, "no connection: {error}"),
            Self::Ours(error) => write!(out, "no connection, because of this machine: {error}"),
            Self::Slow(limit) => write!(out, "no answer within {limit:?}"),
            Self::Http(error, came) => http(out, error, came),
            Self::Switched => out.write_str("it answered 101, which was not asked for"),
        }
    }
}

fn http(out: &mut fmt::Formatter<'_>, error: &hyper::Error, came: &[u8]) -> fmt::Result {
    if error.is_incomplete_message() {
        let how_far = if came.is_empty() { "without an answer" } else { "within its answer's head" };
        return write!(out, "it closed the connection {how_far}");
    }
    if error.is_parse_too_large() {
        return out.write_str("its answer's head has too many fields or bytes");
    }
    if error.is_parse() {
        write!(out, "its answer is not HTTP/1 ({error})")?;
        if came.is_empty() {
            return Ok(());
        }
        out.write_str(": it begins with")?;
        for byte in came.iter().take(SHOWN) {
            write!(out, " {byte:02x}")?;
        }
        // A record of TLS begins with its kind, 20 to 23, and version 3.
        return match came {
            [20..=23, 3, ..] => out.write_str(", which is TLS: a backend is spoken to in plain HTTP"),
            _ => Ok(()),
        };
    }
    match error.source() {
        Some(source) => write!(out, "{error}: {source}"),
        None => write!(out, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_an_error_is() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
            let cause = Cause::of_connect(io::Error::from_raw_os_error(code));
            assert!(matches!(cause, Cause::Ours(_)), "{cause}");
            assert!(cause.to_string().contains("this machine"), "{cause}");
        }
        for code in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH] {
            let cause = Cause::of_connect(io::Error::from_raw_os_error(code));
            assert!(matches!(cause, Cause::Unreachable(_)), "{cause}");
        }
        assert_eq!(Cause::of_connect(io::ErrorKind::TimedOut.into()).to_string(), "no connection in time");
    }
}
