//! Epochs and versions: which of two states of a session is the later one.

use std::{fmt, str::FromStr};

use ring::digest;

/// Bits of an epoch that tell workers apart which claim at the same time.
const CLAIMANT_BITS: u32 = 16;
/// Epochs are numbers of Lua too: whole ones up to 2^53.
const COUNTER_MAX: u64 = (1 << (53 - CLAIMANT_BITS)) - 1;

/// A term of ownership: whoever claims a session makes a higher one than any before. 37 bits of a counter, then 16 of the
/// claimant, so that two workers never make the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Makes the next one above this, of a claimant.
    #[must_use]
    pub fn next(self, claimant: u16) -> Self {
        let counter = (self.0 >> CLAIMANT_BITS).saturating_add(1).min(COUNTER_MAX);
        Self(counter << CLAIMANT_BITS | u64::from(claimant))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A state of a session as workers and servers order it: the epoch under which it was written, and its number, which grows with
/// each change and never begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The epoch.
    pub epoch: Epoch,
    /// The number.
    pub number: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// A state of a session for those who use it: its number and a digest of its data. It stays the same when another worker takes
/// the session over, and is another for any other data. As text, and so in an `ETag`, `NUMBER-DIGEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The number.
    pub number: u64,
    /// The first 64 bits of the data's SHA-256.
    pub digest: u64,
}

impl Tag {
    /// Makes the tag of a state.
    #[must_use]
    pub fn new(number: u64, data: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, data);
        Self { number, digest: digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.digest)
    }
}

/// A text that is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag is NUMBER-DIGEST, as `3-0123456789abcdef`")]
pub struct TagError;

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let (number, digest) = text.split_once('-').ok_or(TagError)?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let hex = digest.len() == 16 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = number.parse().ok().filter(|_| digits).ok_or(TagError)?;
        Ok(Self { number, digest: u64::from_str_radix(digest, 16).ok().filter(|_| hex).ok_or(TagError)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// S0-X-FENCE: an epoch made from another is higher, and two claimants never make the same.
        #[test]
        fn s0_x_fence_the_next_epoch_is_higher(counter in 0..COUNTER_MAX, a: u16, b: u16) {
            let epoch = Epoch(counter << CLAIMANT_BITS | u64::from(a));
            prop_assert!(epoch.next(b) > epoch);
            prop_assert!(epoch.next(b).0 < 1 << 53);
            prop_assert_eq!(epoch.next(a) == epoch.next(b), a == b);
        }

        #[test]
        fn a_tag_is_its_text(number: u64, data: Vec<u8>) {
            let tag = Tag::new(number, &data);
            prop_assert_eq!(tag.to_string().parse(), Ok(tag));
        }
    }

    #[test]
    fn nothing_else_is_a_tag() {
        for text in [
            "",
            "1",
            "1-",
            "-1",
            "+1-0123456789abcdef",
            "1-0123456789ABCDEF",
            "1-0123456789abcdef-",
            "1-+123456789abcdef",
        ] {
            assert_eq!(text.parse::<Tag>(), Err(TagError), "{text}");
        }
    }
}
