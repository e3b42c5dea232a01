//! Where the admin interface listens, and who may ask.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use subtle::ConstantTimeEq;

/// Before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Characters of a token: enough that nobody guesses it, and few enough for a header.
pub const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=256;

/// One place where the admin interface listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AdminListen {
    /// HTTP over TCP.
    Tcp(SocketAddr),
    /// HTTP over a Unix socket, whose mode says who may ask.
    Unix(PathBuf),
}

impl AdminListen {
    /// Whether nobody but this machine's users can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(at) => at.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// The reason why a text is no place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminListenError {
    /// A Unix socket's path is relative.
    #[error("the path in `{0}` does not start with /")]
    RelativePath(String),
    /// Not an address and a port.
    #[error("`{0}` is not an address and a port")]
    NoAddress(String),
}

impl FromStr for AdminListen {
    type Err = AdminListenError;

    fn from_str(text: &str) -> Result<Self, AdminListenError> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(AdminListenError::RelativePath(text.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| AdminListenError::NoAddress(text.to_owned())),
        }
    }
}

/// The token that a client shows to be let in (RFC 6750). Never printed.
#[derive(Clone)]
pub struct AdminToken(Box<str>);

impl AdminToken {
    /// From a file's text or a variable's: one word of printable ASCII, of a length in [`TOKEN_LEN`].
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let word = text.trim();
        if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token is not one word of printable ASCII");
        }
        if !TOKEN_LEN.contains(&word.len()) {
            return Err("the token does not have 16 to 256 characters");
        }
        Ok(Self(word.into()))
    }

    /// Whether `given` is the token; takes as long wherever they differ.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The value of the header `Authorization`.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// `[admin]`.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Where the admin interface listens; none turns it off.
    pub listen: Vec<AdminListen>,
    /// The token that clients over TCP must show; none only where all of `listen` is local.
    pub token: Option<AdminToken>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["127.0.0.1:8053", "[::1]:8053", "192.0.2.1:80", "unix:/run/zerottl/admin.sock"] {
            assert_eq!(text.parse::<AdminListen>().expect(text).to_string(), text);
        }
        let local = |text: &str| text.parse::<AdminListen>().expect(text).is_local();
        assert!(local("127.0.0.9:1") && local("[::1]:1") && local("unix:/a"));
        assert!(!local("192.0.2.1:1") && !local("0.0.0.0:1") && !local("[::]:1"));
        for text in ["8053", "localhost:8053", "unix:", "unix:admin.sock", "/run/admin.sock", "127.0.0.1"] {
            assert!(text.parse::<AdminListen>().is_err(), "{text}");
        }
    }

    #[test]
    fn tokens_are_compared_whole_and_never_shown() {
        let token = AdminToken::new("  correct-horse-battery\n").expect("a word");
        assert!(token.is(b"correct-horse-battery"));
        for other in ["", "correct-horse-batter", "correct-horse-batterY", "correct-horse-battery "] {
            assert!(!token.is(other.as_bytes()), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
        assert_eq!(token.header(), "Bearer correct-horse-battery");
        for text in ["", "short", "two words of text here", "caf\u{e9}-caf\u{e9}-caf\u{e9}-caf\u{e9}", &"a".repeat(257)]
        {
            assert!(AdminToken::new(text).is_err(), "{text}");
        }
    }
}
