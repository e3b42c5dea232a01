//! Names in lower case, as look-ups take them.

use domain::base::Name;

/// The longest name, in bytes of wire form (RFC 1035 section 2.3.4).
const NAME_LEN_MAX: usize = 255;
/// The most labels such a name can have, the root included.
const LABELS_MAX: usize = 128;

/// A name in lower case with its labels' places; on the stack, made once per look-up.
#[derive(Debug)]
pub struct FoldedName {
    wire: [u8; NAME_LEN_MAX],
    len: usize,
    starts: [u8; LABELS_MAX],
    labels: usize,
}

impl FoldedName {
    /// Folds a name (RFC 4343). Length bytes are at most 63, below any letter, so they fold to themselves.
    #[must_use]
    pub fn new(name: &Name<[u8]>) -> Self {
        let bytes = name.as_slice();
        let mut folded = Self { wire: [0; NAME_LEN_MAX], len: bytes.len(), starts: [0; LABELS_MAX], labels: 0 };
        folded.wire[..bytes.len()].copy_from_slice(bytes);
        folded.wire.make_ascii_lowercase();
        let mut at = 0;
        for label in name {
            folded.starts[folded.labels] = at;
            folded.labels += 1;
            // A label and its length byte are at most 64 bytes, a whole name 255; after the root this is not read.
            at = at.wrapping_add(label.len() as u8).wrapping_add(1);
        }
        folded
    }

    /// The whole name.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire[..self.len]
    }

    /// How many labels it has, the root included.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The name without its first `first` labels; `first` is less than [`Self::labels`].
    #[must_use]
    pub fn suffix(&self, first: usize) -> &[u8] {
        &self.wire[usize::from(self.starts[first])..self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use zerottl_core::model;

    use super::*;

    fn name(text: &str) -> model::Name {
        Name::from_str(text).unwrap()
    }

    #[test]
    fn folding_keeps_labels_and_drops_case() {
        let folded = FoldedName::new(name("wWw.App.COM.").for_slice());
        assert_eq!(folded.wire(), b"\x03www\x03app\x03com\0");
        assert_eq!((folded.labels(), folded.suffix(1), folded.suffix(3)), (4, &b"\x03app\x03com\0"[..], &b"\0"[..]));
    }

    #[test]
    fn folding_takes_the_longest_names() {
        let most_labels = name(&"a.".repeat(127));
        assert_eq!(FoldedName::new(most_labels.for_slice()).labels(), 128);
        let longest = name(&format!("{0}.{0}.{0}.{1}.", "x".repeat(63), "y".repeat(61)));
        let folded = FoldedName::new(longest.for_slice());
        assert_eq!((folded.wire().len(), folded.labels(), folded.suffix(4)), (255, 5, &b"\0"[..]));
    }
}
