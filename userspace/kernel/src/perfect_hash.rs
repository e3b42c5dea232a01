//! The name table: a perfect hash, so that a look-up is one displacement and one entry whatever the number of names.
//!
//! Hash and displace (Belazzougui, Botelho, Dietzfelbinger, 2009): names fall into small buckets by one half of their
//! hash; each bucket, largest first, gets the first displacement that moves all its names to free entries. Where there is
//! none, another seed is tried.

use std::borrow::Cow;

use xdp_ebpf::{
    layout::{BLOCK_DISPLACEMENTS, Displace, NAME_INLINE, NAMES_MIN, NameEntry, NameTail},
    name::{self, position},
};

/// Names per bucket on average: few enough to find displacements quickly, enough to keep the displacements in cache.
const BUCKET_NAMES: usize = 4;
/// Seeds tried before the table is made larger.
const SEEDS: u64 = 8;

/// Tables are not made sparser than this many entries per name: only equal names are never parted.
const SPARSEST: usize = 64;

/// There is no table for these names: one is too long, or two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is too long, or stands twice")]
pub struct NotNames;

/// A configured name and what its entry says.
#[derive(Clone, Debug)]
pub struct Named<'n> {
    /// Wire form, in any case, 1 to 255 bytes.
    pub wire: Cow<'n, [u8]>,
    /// Everything but the name itself.
    pub facts: NameFacts,
}

/// The facts of a [`NameEntry`], which has them by the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameFacts {
    /// Where the zone's apex begins within the name.
    pub apex: u8,
    /// One of the `NAME_` kinds.
    pub kind: u8,
    /// `NAME_HAS_` bits.
    pub flags: u8,
    /// Position in a bank of `SERVICES`.
    pub service: u32,
    /// Position of the zone's SOA.
    pub soa: u16,
    /// The types that the zone has records of here.
    pub types: u16,
}

/// The contents of `NAMES`, `TAILS` and `DISPLACE`.
#[derive(Debug)]
pub struct NameTable {
    /// Keys the hash.
    pub seed: u64,
    /// Entries, most of them in use.
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
    pub fn build(names: &[Named<'_>]) -> Result<Self, NotNames> {
        // Fifteen sixteenths full: dense, because cache misses are what many names cost.
        let mut entries = (names.len() + names.len() / 15).max(NAMES_MIN);
        let sparsest = entries.saturating_mul(SPARSEST);
        while entries <= sparsest {
            for seed in 0..SEEDS {
                match Self::try_build(names, entries, seed) {
                    Err(Unbuilt::AnotherSeed) => {}
                    Err(Unbuilt::Never) => return Err(NotNames),
                    Ok(table) => return Ok(table),
                }
            }
            entries += entries / 8;
        }
        Err(NotNames)
    }

    /// Where a name's entry is.
    #[must_use]
    pub fn position(&self, wire: &[u8]) -> Option<u32> {
        let (folded, tail) = name::key(wire, self.seed)?;
        let bucket = ((folded.hash >> 32) as u32 & self.bucket_mask) as usize;
        let displacement = self.displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS];
        let at = position(folded.hash, displacement, self.entries.len() as u32);
        let entry = &self.entries[at as usize];
        let same = usize::from(entry.len) == wire.len() && entry.name == folded.words;
        (same && (wire.len() <= NAME_INLINE || self.tails[entry.tail as usize] == tail)).then_some(at)
    }

    fn try_build(names: &[Named<'_>], count: usize, seed: u64) -> Result<Self, Unbuilt> {
        let seed = name::mix(seed, 0x7a65_726f_7474_6c00);
        let count = u32::try_from(count).map_err(|_| Unbuilt::Never)?;
        let buckets = Buckets::new(names, seed).ok_or(Unbuilt::Never)?;
        let mut displace = vec![Displace([0; BLOCK_DISPLACEMENTS]); buckets.count().div_ceil(BLOCK_DISPLACEMENTS)];
        let mut taken = vec![false; count as usize];
        // Turning by a little less than one entry's part of the range comes to every entry.
        let turn = u32::MAX / count;
        // Where to begin looking: a moving start spreads the displacements and keeps the search short.
        let mut start = 0_u32;
        let mut places = Vec::new();
        for bucket in buckets.largest_first() {
            let members = buckets.members(bucket);
            let mut fits = |displacement: u32| {
                places.clear();
                for &name in members {
                    let at = position(buckets.hashes[name as usize], displacement, count);
                    if taken[at as usize] || places.contains(&at) {
                        return false;
                    }
                    places.push(at);
                }
                true
            };
            let displacements = (0..=count).map(|step| start.wrapping_add(step.wrapping_mul(turn)));
            let Some(displacement) = displacements.into_iter().find(|displacement| fits(*displacement)) else {
                return Err(buckets.why_unparted(names, bucket));
            };
            start = displacement.wrapping_add(turn);
            displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS] = displacement;
            for at in &places {
                taken[*at as usize] = true;
            }
        }
        let bucket_mask = buckets.count() as u32 - 1;
        let mut table =
            Self { seed, entries: vec![NameEntry::default(); count as usize], tails: vec![], displace, bucket_mask };
        for (named, hash) in names.iter().zip(&buckets.hashes) {
            table.place(named, *hash).ok_or(Unbuilt::Never)?;
        }
        Ok(table)
    }

    /// Writes a name's entry to its place.
    fn place(&mut self, named: &Named<'_>, hash: u64) -> Option<()> {
        let (folded, tail) = name::key(&named.wire, self.seed)?;
        let bucket = ((hash >> 32) as u32 & self.bucket_mask) as usize;
        let displacement = self.displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS];
        let at = position(hash, displacement, self.entries.len() as u32) as usize;
        let NameFacts { apex, kind, flags, service, soa, types } = named.facts;
        let len = named.wire.len() as u8;
        let mut entry = NameEntry { len, apex, kind, flags, service, tail: 0, soa, types, name: folded.words };
        if named.wire.len() > NAME_INLINE {
            entry.tail = u32::try_from(self.tails.len()).ok()?;
            self.tails.push(tail);
        }
        self.entries[at] = entry;
        Some(())
    }
}

/// Why no table was built.
enum Unbuilt {
    /// Another seed, or more entries, may do.
    AnotherSeed,
    /// A name is too long, or two are equal.
    Never,
}

/// Names by bucket.
struct Buckets {
    /// By name.
    hashes: Vec<u64>,
    /// Where each bucket begins in `order`, and the end.
    starts: Vec<u32>,
    /// Names, bucket by bucket.
    order: Vec<u32>,
}

impl Buckets {
    /// None where a name is too long.
    fn new(names: &[Named<'_>], seed: u64) -> Option<Self> {
        let count = names.len().div_ceil(BUCKET_NAMES).next_power_of_two();
        let hash = |named: &Named<'_>| name::key(&named.wire, seed).map(|(folded, _)| folded.hash);
        let hashes = names.iter().map(hash).collect::<Option<Vec<u64>>>()?;
        let bucket = |hash: u64| (hash >> 32) as usize & (count - 1);
        let mut starts = vec![0_u32; count + 1];
        for hash in &hashes {
            starts[bucket(*hash) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0; names.len()];
        for (name, hash) in (0..).zip(&hashes) {
            let at = &mut next[bucket(*hash)];
            order[*at as usize] = name;
            *at += 1;
        }
        Some(Self { hashes, starts, order })
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    fn members(&self, bucket: usize) -> &[u32] {
        &self.order[self.starts[bucket] as usize..self.starts[bucket + 1] as usize]
    }

    /// Those that have names.
    fn largest_first(&self) -> Vec<usize> {
        let mut buckets: Vec<usize> = (0..self.count()).filter(|bucket| !self.members(*bucket).is_empty()).collect();
        buckets.sort_by_key(|bucket| std::cmp::Reverse(self.members(*bucket).len()));
        buckets
    }

    /// Why no displacement parts the names of a bucket.
    fn why_unparted(&self, names: &[Named<'_>], bucket: usize) -> Unbuilt {
        let members = self.members(bucket);
        let is_twice = |(i, name): (usize, &u32)| {
            let wire = &names[*name as usize].wire;
            members[..i].iter().any(|other| names[*other as usize].wire.eq_ignore_ascii_case(wire))
        };
        if members.iter().enumerate().any(is_twice) { Unbuilt::Never } else { Unbuilt::AnotherSeed }
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
            wire: wire(text).into(),
            facts: NameFacts { service: i as u32, ..NameFacts::default() },
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
            assert!(
                table.entries.len() <= count + count / 8 + NAMES_MIN,
                "{} entries for {count}",
                table.entries.len()
            );
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
        let named = |text: String| Named { wire: wire(&text).into(), facts: NameFacts::default() };
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
