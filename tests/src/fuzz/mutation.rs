//! Inputs that are nearly right.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

/// The changes of one input.
const EDITS_MAX: usize = 4;
/// Bytes that have a meaning in DNS, in master files or in URLs.
const TELLING: [u8; 24] = *b"\0\x01\x29\x3f\x40\x7f\x80\xc0\xff\n\"();@\\/?&=,+!~";

/// Changes one of the inputs in a few places, all by a seed.
#[must_use]
pub fn mutated(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bytes = inputs.choose(&mut random).unwrap().clone();
    for _ in 0..random.random_range(1..=EDITS_MAX) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..9) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = *TELLING.choose(&mut random).unwrap(),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, *TELLING.choose(&mut random).unwrap()),
            5 => drop(bytes.remove(at)),
            // Characters of more than one byte, which are no place to cut a text.
            6 => drop(bytes.splice(at..at, "é\u{1f9ea}".bytes())),
            7 => {
                // One more or one less is where bounds are.
                bytes[at] = bytes[at].wrapping_add(if random.random() { 1 } else { u8::MAX });
            }
            _ => {
                // A piece of another input, or of this one.
                let other = inputs.choose(&mut random).unwrap();
                let from = random.random_range(0..=other.len());
                let to = random.random_range(from..=other.len()).min(from + 64);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}
