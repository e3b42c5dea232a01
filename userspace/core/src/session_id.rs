//! The name of a session: 128 random bits.

use std::{fmt, str::FromStr};

/// Bytes of an ID.
pub const SESSION_ID_LEN: usize = 16;
/// Characters of an ID as text: base64url without padding (RFC 4648 section 5).
pub const SESSION_ID_TEXT_LEN: usize = 22;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The ID of a session: 128 random bits, as text 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; SESSION_ID_LEN]);

/// A text that is no session's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIdError;

impl fmt::Display for SessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a session's ID has {SESSION_ID_TEXT_LEN} characters of base64url: A to Z, a to z, 0 to 9, - and _")
    }
}

impl std::error::Error for SessionIdError {}

impl FromStr for SessionId {
    type Err = SessionIdError;

    /// Reads the one text of an ID: bits beyond its 128 are zero.
    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        if text.len() != SESSION_ID_TEXT_LEN {
            return Err(SessionIdError);
        }
        let mut bits = 0_u128;
        for (at, byte) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|one| *one == byte).ok_or(SessionIdError)? as u128;
            bits = if at < SESSION_ID_TEXT_LEN - 1 {
                bits << 6 | digit
            } else if digit.trailing_zeros() >= 4 {
                bits << 2 | digit >> 4
            } else {
                return Err(SessionIdError);
            };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let digit = |at: usize| {
            let value = if at < SESSION_ID_TEXT_LEN - 1 { bits >> (122 - 6 * at) } else { bits << 4 };
            char::from(ALPHABET[(value & 0x3f) as usize])
        };
        (0..SESSION_ID_TEXT_LEN).try_for_each(|at| fmt::Write::write_char(f, digit(at)))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        // As `base64 --wrap 0 | tr +/ -_` has it.
        assert_eq!(id.to_string(), "AAECAwQFBgcICQoLDA0O_w");
        assert_eq!("AAECAwQFBgcICQoLDA0O_w".parse(), Ok(id));
        for wrong in ["AAECAwQFBgcICQoLDA0O_x", "AAECAwQFBgcICQoLDA0O/w", "AAECAwQFBgcICQoLDA0O_", "", "é"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(SessionIdError), "{wrong}");
        }
        assert_eq!("_____________________w".parse(), Ok(SessionId([255; 16])));
    }
}
