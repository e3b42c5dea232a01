//! Ranges into the nodes of [`xdp_ebpf::nets`], every node full but the last of each level.

use xdp_ebpf::layout::{NET_DIVIDED, NET_ENDS, NetNode};

/// A tree of one range, of no group.
pub(super) const EMPTY: NetNode = NetNode { ends: [u64::MAX; NET_ENDS], values: [0; NET_ENDS + 1], child: 0 };

/// Appends the tree of a family's ranges, the first beginning at 0, and says where its root is and how many levels the
/// longest way down has.
pub(super) fn build(nodes: &mut Vec<NetNode>, ranges: &[(u128, u32)]) -> (u32, u32) {
    let mut upper: Vec<(u64, u32)> = Vec::with_capacity(ranges.len());
    // What the range before goes on with.
    let mut before = 0;
    let mut deepest = 0;
    for at in ranges.chunk_by(|(one, _), (other, _)| one >> 64 == other >> 64) {
        let (high, last) = ((at[0].0 >> 64) as u64, at[at.len() - 1].1);
        if at.len() == 1 && at[0].0 as u64 == 0 {
            upper.push((high, last));
        } else {
            let mut lower: Vec<(u64, u32)> = at.iter().map(|(start, value)| (*start as u64, *value)).collect();
            if lower[0].0 != 0 {
                lower.insert(0, (0, before));
            }
            let (root, levels) = append(nodes, &lower);
            deepest = deepest.max(levels);
            upper.push((high, NET_DIVIDED | root));
            if let Some(next) = high.checked_add(1) {
                upper.push((next, last));
            }
        }
        before = last;
    }
    // Where the next /64 begins a range of its own, that one counts.
    let mut kept: Vec<(u64, u32)> = Vec::with_capacity(upper.len());
    for (start, value) in upper {
        kept.pop_if(|(last, _)| *last == start);
        kept.push((start, value));
    }
    let (root, levels) = append(nodes, &kept);
    (root, levels + deepest)
}

/// Appends a tree over words, the first 0, level by level from the leaves, and says where its root is, the last node, and how
/// many levels it has.
pub fn append(nodes: &mut Vec<NetNode>, ranges: &[(u64, u32)]) -> (u32, u32) {
    let mut level: Vec<(u64, NetNode)> = ranges
        .chunks(NET_ENDS + 1)
        .map(|chunk| {
            let mut node = EMPTY;
            for (i, (start, value)) in chunk.iter().enumerate() {
                node.values[i] = *value;
                if i > 0 {
                    node.ends[i - 1] = start - 1;
                }
            }
            (chunk[0].0, node)
        })
        .collect();
    let mut levels = 1;
    while level.len() > 1 {
        levels += 1;
        let first = nodes.len() as u32;
        nodes.extend(level.iter().map(|(_, node)| *node));
        level = level
            .chunks(NET_ENDS + 1)
            .enumerate()
            .map(|(number, chunk)| {
                let mut node = NetNode { child: first + (number * (NET_ENDS + 1)) as u32, ..EMPTY };
                for (i, (start, _)) in chunk.iter().enumerate().skip(1) {
                    node.ends[i - 1] = start - 1;
                }
                (chunk[0].0, node)
            })
            .collect();
    }
    nodes.extend(level.first().map(|(_, node)| *node));
    (nodes.len() as u32 - 1, levels)
}
