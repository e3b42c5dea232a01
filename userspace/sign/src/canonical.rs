//! Names in canonical order (RFC 4034 section 6.1).
//!
//! Labels are compared from the right, each as bytes in lower case, and a name that ends first comes first. The key of a
//! name sorts as its bytes do: its labels from the right, each byte `b` of them as it is but 0 and 1, which are written
//! as `1, b + 1`, and a 0 behind each label.
//!
//! ```text
//! www.App.com.  ->  c o m 0 a p p 0 w w w 0
//! ```

use domain::base::Name;

/// Ends a label: less than any byte of one.
const END: u8 = 0;
/// Says that the next byte stands for a byte of 0 or 1.
const ESCAPE: u8 = 1;

/// A name's key, which sorts as the name does among names.
#[must_use]
pub fn key(name: &Name<[u8]>) -> Box<[u8]> {
    let labels: Vec<_> = name.iter().filter(|label| !label.is_root()).collect();
    let mut key = Vec::with_capacity(name.len());
    for label in labels.into_iter().rev() {
        for byte in label.as_slice() {
            match byte.to_ascii_lowercase() {
                low @ (END | ESCAPE) => key.extend([ESCAPE, low + 1]),
                byte => key.push(byte),
            }
        }
        key.push(END);
    }
    key.into()
}

/// The key of the wildcard right below a name.
#[must_use]
pub fn wildcard_key(name: &Name<[u8]>) -> Box<[u8]> {
    [&key(name)[..], &[b'*', END]].concat().into()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use domain::base::{CanonicalOrd, NameBuilder};
    use proptest::prelude::*;

    use super::*;

    fn key_of(text: &str) -> Box<[u8]> {
        key(Name::<Vec<u8>>::from_str(text).unwrap().for_slice())
    }

    /// The example of RFC 4034 section 6.1.
    #[test]
    fn names_sort_as_in_the_rfc() {
        let names = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let keys: Vec<_> = names.iter().map(|name| key_of(name)).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(wildcard_key(Name::<Vec<u8>>::from_str("Z.example.").unwrap().for_slice()), key_of("*.z.example."));
    }

    fn names() -> impl Strategy<Value = Name<Vec<u8>>> {
        // Few bytes and short labels, so that names meet; those at the ends of the range among them.
        let few = prop_oneof![Just(0), Just(1), Just(b'a'), Just(b'A')];
        let byte = prop_oneof![8 => few, 1 => any::<u8>()];
        let label = proptest::collection::vec(byte, 1..4);
        proptest::collection::vec(label, 0..4).prop_map(|labels| {
            let mut builder = NameBuilder::new_vec();
            for label in labels {
                builder.append_label(&label).unwrap();
            }
            builder.into_name().unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// D-NX: keys sort as names do by the library, whatever bytes they are of.
        #[test]
        fn keys_sort_as_names(a in names(), b in names()) {
            prop_assert_eq!(key(a.for_slice()).cmp(&key(b.for_slice())), a.canonical_cmp(&b));
        }
    }
}
