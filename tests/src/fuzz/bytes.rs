//! Taking an input apart.

/// Splits an input: the first byte chooses how the others are taken.
pub(super) fn split(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
