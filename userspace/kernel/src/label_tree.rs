//! Trees over the labels right below a name: which proof denies a label that is missing there.
//!
//! A label's key is eight words that sort as labels do ([`LABEL_WORDS`]). A tree is over the keys' first words; where labels
//! share one, it leads on to a tree over their next. Each range of words from one label to the next has the proof of the
//! last name at or below the first of the two.

use xdp_ebpf::layout::{
    NET_DIVIDED, NET_ENDS, NetNode,
    signed::{CHILD_STEPS_MAX, LABEL_WORDS},
};
use zerottl_core::nets::append_tree;

/// A label's key.
pub type LabelKey = [u64; LABEL_WORDS];

/// The key of a label of 1 to 63 bytes, in lower case.
#[must_use]
pub fn label_key(label: &[u8]) -> LabelKey {
    let mut bytes = [0; 8 * LABEL_WORDS];
    bytes[..label.len()].copy_from_slice(label);
    bytes.make_ascii_lowercase();
    bytes[8 * LABEL_WORDS - 1] = label.len() as u8;
    let mut key = [0; LABEL_WORDS];
    for (word, bytes) in key.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    key
}

/// Appends the tree over labels, each once and in order with the proof of its last name; `before` is the proof for what
/// comes before them all. Returns its root, never 0, and none where the way down is longer than the program goes.
pub fn append(nodes: &mut Vec<NetNode>, labels: &[(LabelKey, u32)], before: u32) -> Option<u32> {
    if nodes.is_empty() {
        // A node whose child is 0 is a leaf, so none may be there.
        nodes.push(NetNode { ends: [u64::MAX; NET_ENDS], values: [0; NET_ENDS + 1], child: 0 });
    }
    let (root, steps) = append_word(nodes, labels, before, 0);
    (steps <= CHILD_STEPS_MAX).then_some(root)
}

/// Appends the tree over one word of labels whose words before it are equal. Returns its root, and the steps of the longest
/// way down.
fn append_word(nodes: &mut Vec<NetNode>, labels: &[(LabelKey, u32)], before: u32, word: usize) -> (u32, u32) {
    let mut ranges: Vec<(u64, u32)> = vec![(0, before)];
    let mut push = |start: u64, value: u32| {
        ranges.pop_if(|(last, _)| *last == start);
        ranges.push((start, value));
    };
    let (mut last, mut deepest) = (before, 0);
    for of_word in labels.chunk_by(|(one, _), (other, _)| one[word] == other[word]) {
        let start = of_word[0].0[word];
        let after = of_word[of_word.len() - 1].1;
        if ends_here(of_word, word) {
            push(start, after);
        } else {
            let (root, steps) = append_word(nodes, of_word, last, word + 1);
            deepest = deepest.max(steps);
            push(start, NET_DIVIDED | root);
            if let Some(next) = start.checked_add(1) {
                push(next, after);
            }
        }
        last = after;
    }
    let (root, levels) = append_tree(nodes, &ranges);
    (root, levels + deepest)
}

/// Whether the word tells all that there is to tell: it is the last, or one label ends in it, and whatever else begins with
/// that word is longer. A label that ends in a zero byte looks like a shorter one.
fn ends_here(labels: &[(LabelKey, u32)], word: usize) -> bool {
    let [(key, _)] = labels else { return false };
    let len = (key[LABEL_WORDS - 1] & 0xff) as usize;
    let last = 8 * word + 7;
    let ends_in_zero = key[(len - 1) / 8].to_be_bytes()[(len - 1) % 8] == 0;
    word == LABEL_WORDS - 1 || len <= last + 1 && !ends_in_zero
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The way that the program goes, by plain means.
    fn find(nodes: &[NetNode], root: u32, label: &[u8]) -> u32 {
        let (key, mut at, mut word) = (label_key(label), root, 0);
        for _ in 0..CHILD_STEPS_MAX {
            let node = &nodes[at as usize];
            let i = node.ends.iter().take(NET_ENDS).filter(|end| **end < key[word]).count();
            if node.child != 0 {
                at = node.child + i as u32;
            } else if node.values[i] & NET_DIVIDED == 0 {
                return node.values[i];
            } else {
                (at, word) = (node.values[i] & !NET_DIVIDED, word + 1);
            }
        }
        panic!("too deep");
    }

    fn label() -> impl Strategy<Value = Vec<u8>> {
        // Few bytes and long common beginnings, so that labels meet in words; ends of the range among them.
        let few = prop_oneof![Just(0), Just(1), Just(b'a'), Just(b'b'), Just(255)];
        let byte = prop_oneof![6 => few, 1 => any::<u8>().prop_map(|byte| byte.to_ascii_lowercase())];
        let tail = proptest::collection::vec(byte, 1..10);
        (0_usize..54, tail).prop_map(|(len, tail)| [vec![b'p'; if len > 20 { 0 } else { len }], tail].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// D-NX: the tree finds what a sorted list does, whatever bytes labels are of.
        #[test]
        fn the_tree_finds_the_predecessor(
            mut labels in proptest::collection::vec(label(), 1..80),
            sought in proptest::collection::vec(label(), 1..40),
        ) {
            labels.sort();
            labels.dedup();
            let keyed: Vec<_> = labels.iter().zip(1..).map(|(label, proof)| (label_key(label), proof)).collect();
            prop_assert!(keyed.is_sorted(), "keys sort as labels do");
            let mut nodes = vec![];
            let root = append(&mut nodes, &keyed, 0).expect("not too deep");
            for label in sought.iter().filter(|label| labels.binary_search(label).is_err()) {
                let expected = labels.partition_point(|own| own < label);
                prop_assert_eq!(find(&nodes, root, label), expected as u32, "{:?} among {:?}", label, &labels);
            }
        }
    }

    /// Many labels of one beginning are some steps away.
    #[test]
    fn many_labels_are_no_deep_tree() {
        let labels = (0..60_000).map(|number| format!("www-{number:09}-of-a-long-beginning"));
        let keyed: Vec<_> = labels.zip(1..).map(|(label, proof)| (label_key(label.as_bytes()), proof)).collect();
        let mut nodes = vec![];
        let root = append(&mut nodes, &keyed, 0).expect("not too deep");
        assert_eq!(find(&nodes, root, b"www-000023456-of-a-long-beginninh"), 23_457);
        assert_eq!(find(&nodes, root, b"www-000023456"), 23_456);
    }
}
