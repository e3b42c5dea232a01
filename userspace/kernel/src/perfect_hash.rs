//! The name table: a perfect hash, so that a look-up is one displacement and one entry whatever the number of names.
//!
//! Hash and displace (Belazzougui, Botelho, Dietzfelbinger, 2009): names fall into small buckets by one half of their
//! hash; each bucket, largest first, gets the first displacement that moves all its names to free entries. Where two
//! names of a bucket have the same position, no displacement parts them, and another seed is tried.

use xdp_ebpf::{
    layout::{BLOCK_DISPLACEMENTS, Displace, NAME_INLINE, NAMES_MIN, NameEntry, NameTail},
    name::{self, position},
};

/// Names per bucket on average: few enough to find displacements quickly, enough to keep the displacements in cache.
const BUCKET_NAMES: usize = 4;
/// Seeds tried before the table is doubled; each fails with a probability around one half at most.
const SEEDS: u64 = 64;

/// Tables are not made sparser than this many entries per name: only equal names are never parted.
const SPARSEST: usize = 64;

/// There is no table for these names: one is too long, or two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is too long, or stands twice")]
pub struct NotNames;

/// A configured name and what its entry says.
#[derive(Clone, Debug)]
pub struct Named {
    /// Wire form, lower case, 1 to 255 bytes.
    pub wire: Vec<u8>,
    /// Everything but the name itself.
    pub entry: NameEntry,
}

/// The contents of `NAMES`, `TAILS` and `DISPLACE`.
#[derive(Debug)]
pub struct NameTable {
    /// Keys the hash.
    pub seed: u64,
    /// A power of two of entries.
    pub entries: Vec<NameEntry>,
    /// Ends of long names.
    pub tails: Vec<NameTail>,
    /// Displacements, in blocks.
    pub displace: Vec<Displace>,
    /// Buckets less one.
    pub bucket_mask: u32,
}

impl NameTable {
    /// Builds the table.
    pub fn build(names: &[Named]) -> Result<Self, NotNames> {
        // Two fifths to four fifths full: dense, because cache misses are what many names cost.
        let mut slots = (names.len() * 5 / 4).next_power_of_two().max(NAMES_MIN);
        let sparsest = slots.saturating_mul(SPARSEST);
        while slots <= sparsest {
            if let Some(table) = (0..SEEDS).find_map(|seed| Self::try_build(names, slots, seed)) {
                return Ok(table);
            }
            slots *= 2;
        }
        Err(NotNames)
    }

    /// Where a name's entry is.
    #[must_use]
    pub fn position(&self, wire: &[u8]) -> Option<u32> {
        let (folded, tail) = name::key(wire, self.seed)?;
        let bucket = ((folded.hash >> 32) as u32 & self.bucket_mask) as usize;
        let displacement = self.displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS];
        let at = position(folded.hash, displacement, self.entries.len() as u32 - 1);
        let entry = &self.entries[at as usize];
        let same = usize::from(entry.len) == wire.len() && entry.name == folded.words;
        (same && (wire.len() <= NAME_INLINE || self.tails[entry.tail as usize] == tail)).then_some(at)
    }

    fn try_build(names: &[Named], slots: usize, seed: u64) -> Option<Self> {
        let seed = name::mix(seed, 0x7a65_726f_7474_6c00);
        let slot_mask = (slots - 1) as u32;
        let bucket_count = names.len().div_ceil(BUCKET_NAMES).next_power_of_two();
        let bucket_mask = (bucket_count - 1) as u32;
        let mut tails = Vec::new();
        let mut buckets: Vec<Vec<(u64, NameEntry)>> = vec![Vec::new(); bucket_count];
        for named in names {
            let (folded, tail) = name::key(&named.wire, seed)?;
            let mut entry = NameEntry { len: named.wire.len() as u8, name: folded.words, ..named.entry };
            if named.wire.len() > NAME_INLINE {
                entry.tail = u32::try_from(tails.len()).ok()?;
                tails.push(tail);
            }
            buckets[((folded.hash >> 32) as u32 & bucket_mask) as usize].push((folded.hash, entry));
        }
        let mut order: Vec<usize> = (0..bucket_count).collect();
        order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));

        let mut entries = vec![NameEntry::default(); slots];
        let mut displace = vec![Displace([0; BLOCK_DISPLACEMENTS]); bucket_count.div_ceil(BLOCK_DISPLACEMENTS)];
        // Where to begin looking: a moving start spreads the displacements and keeps the search short.
        let mut start = 0_u32;
        for bucket in order {
            let members = &buckets[bucket];
            if members.is_empty() {
                break;
            }
            let at = |displacement: u32, hash: u64| position(hash, displacement, slot_mask) as usize;
            for (i, (hash, _)) in members.iter().enumerate() {
                if members[..i].iter().any(|(other, _)| at(0, *other) == at(0, *hash)) {
                    return None;
                }
            }
            let free = |displacement: &u32| members.iter().all(|(hash, _)| entries[at(*displacement, *hash)].len == 0);
            let displacement = (0..=slot_mask).map(|step| start.wrapping_add(step) & slot_mask).find(free)?;
            start = displacement.wrapping_add(1);
            displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS] = displacement;
            for (hash, entry) in members {
                entries[at(displacement, *hash)] = *entry;
            }
        }
        Some(Self { seed, entries, tails, displace, bucket_mask })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }

    fn find(table: &NameTable, wire: &[u8]) -> Option<NameEntry> {
        table.position(wire).map(|at| table.entries[at as usize])
    }

    fn table_of(texts: &[String]) -> NameTable {
        let named = |(i, text): (usize, &String)| Named {
            wire: wire(text),
            entry: NameEntry { service: i as u32, ..NameEntry::default() },
        };
        NameTable::build(&texts.iter().enumerate().map(named).collect::<Vec<_>>()).unwrap()
    }

    /// S4-3A-310: every name is found, without regard to case, and no other.
    #[test]
    fn every_name_is_found_and_no_other() {
        for count in [1, 2, 10, 1_000, 20_000] {
            let texts: Vec<String> = (0..count).map(|i| format!("site-{i}.pool{}.example", i % 7)).collect();
            let table = table_of(&texts);
            let mut seen = HashSet::new();
            for (i, text) in texts.iter().enumerate() {
                let entry = find(&table, &wire(&text.to_uppercase())).unwrap();
                assert_eq!(entry.service, i as u32);
                assert!(seen.insert(entry.service));
                assert!(find(&table, &wire(&format!("x{text}"))).is_none());
            }
            assert!(table.entries.len() <= 4 * count + NAMES_MIN, "{} entries for {count}", table.entries.len());
        }
    }

    #[test]
    fn long_names_differ_by_their_ends() {
        let label = "a".repeat(60);
        let texts: Vec<String> = (0..4).map(|i| format!("{label}.{label}.{label}.end{i}")).collect();
        let table = table_of(&texts);
        assert_eq!(table.tails.len(), 4);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(find(&table, &wire(text)).unwrap().service, i as u32);
        }
        assert!(find(&table, &wire(&format!("{label}.{label}.{label}.end9"))).is_none());
    }

    #[test]
    fn only_what_cannot_be_a_table_is_refused() {
        let named = |text: String| Named { wire: wire(&text), entry: NameEntry::default() };
        let twice = ["a.example", "b.example", "a.example"].map(|text| named(text.into()));
        assert_eq!(NameTable::build(&twice).unwrap_err(), NotNames);
        let label = "a".repeat(50);
        let long: Vec<_> = (0..70_000).map(|i| named(format!("{label}.{i}"))).collect();
        assert_eq!(NameTable::build(&long).unwrap().tails.len(), long.len(), "more than 16 bits can count");
    }

    #[test]
    fn the_root_can_be_a_name() {
        assert!(find(&table_of(&[String::new()]), &[0]).is_some());
    }
}
