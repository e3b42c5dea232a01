//! Response rate limiting: answers to one client network, whose address may be forged, are held to a rate.
//!
//! The generic cell rate algorithm (ITU-T I.371): a bucket is only the time at which its answers so far would have been
//! due, one number. A network's answers of one [`Class`] share a bucket; buckets lie in blocks of one cache line, and in
//! its block a network takes the place of the one that has been quiet for longest. Memory is bounded, and a flood from
//! forged addresses throws out what is idle, never the bucket of a network that is being held back, unless eight such
//! networks share a block.
//!
//! ```text
//! bucket  | tag 24 | due 40, in ticks of 256 ns |
//! ```
//!
//! CPUs may meet in a bucket and lose one another's answers: then a few more are given than the rate says.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::Relaxed;

use crate::{layout::Limits, name::mix};

/// Buckets of a block.
const WAYS: usize = 8;
/// Bits of a bucket's time: 78 hours of ticks.
const DUE_BITS: u32 = 40;
const DUE_MASK: u64 = (1 << DUE_BITS) - 1;
/// Ticks of a second.
pub const TICKS: u64 = 1_000_000_000 >> TICK_BITS;
/// Nanoseconds of a tick, as a shift.
pub const TICK_BITS: u32 = 8;
/// Ticks by which a bucket may lie further ahead than this CPU's time allows: another CPU has read the clock, which moves
/// in steps of up to 10 ms, after its next step.
const LATE_MAX: u64 = TICKS / 16;

/// Buckets whose keys share a hash: one cache line.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Buckets(pub [AtomicU64; WAYS]);

impl Buckets {
    #[inline(always)]
    fn load(&self, place: usize) -> u64 {
        // A plain load on BPF: its backend has no relaxed one, and none tears there.
        #[cfg(target_arch = "bpf")]
        // SAFETY: a reference's own memory.
        return unsafe { self.0[place].as_ptr().read_volatile() };
        #[cfg(not(target_arch = "bpf"))]
        self.0[place].load(Relaxed)
    }

    #[inline(always)]
    fn store(&self, place: usize, bucket: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as above; the map is the program's to write.
        unsafe {
            self.0[place].as_ptr().write_volatile(bucket);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0[place].store(bucket, Relaxed);
    }
}

/// The class of an answer; each is limited by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// Data.
    Data,
    /// NODATA.
    Nodata,
    /// NXDOMAIN.
    Nxdomain,
    /// Everything else.
    Other,
}

/// Where a network's bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its block.
    pub block: u32,
    /// The tag that tells it from others there.
    tag: u64,
}

impl Limits {
    /// The key of a source address, as it lies in a packet: IPv4's four bytes, or IPv6's first eight.
    #[inline(always)]
    #[must_use]
    pub fn key(&self, v6: bool, address: u64, class: u32) -> Key {
        let network = if v6 { address & self.mask6 } else { address & u64::from(self.mask4) };
        let hash = mix(mix(network, self.seed), u64::from(class) << 1 | u64::from(v6));
        Key { block: hash as u32 & self.block_mask, tag: hash >> DUE_BITS << DUE_BITS }
    }

    /// Takes an answer at `now`, in ticks, from a key's bucket; false if that is too early. `forget` is
    /// [`Control::forget`](crate::layout::Control::forget) to 3 bits.
    #[inline(always)]
    #[must_use]
    pub fn admit(&self, buckets: &Buckets, key: Key, now: u64, forget: impl Fn(usize) -> usize) -> bool {
        self.admit_many(buckets, key, 1, now, forget)
    }

    /// As [`admit`](Self::admit), of so many answers at once, or bytes.
    #[inline(always)]
    #[must_use]
    pub fn admit_many(
        &self,
        buckets: &Buckets,
        key: Key,
        count: u32,
        now: u64,
        forget: impl Fn(usize) -> usize,
    ) -> bool {
        let interval = u64::from(self.interval) * u64::from(count);
        let ahead_max = u64::from(self.burst) + interval + LATE_MAX;
        let mut place = 0;
        let mut oldest = 0;
        let mut i = 0;
        while i < WAYS {
            let bucket = buckets.load(i);
            if bucket & !DUE_MASK == key.tag {
                place = i;
                break;
            }
            // By how much the latest that can be due is later than it.
            let age = (now + ahead_max).wrapping_sub(bucket) & DUE_MASK;
            if age > oldest {
                oldest = age;
                place = i;
            }
            i += 1;
        }
        // The verifier follows all places as one.
        let place = forget(place) & (WAYS - 1);
        let bucket = buckets.load(place);
        let mut ahead = bucket.wrapping_sub(now) & DUE_MASK;
        // Another's, in the past, or from 78 hours ago.
        if bucket & !DUE_MASK != key.tag || ahead > ahead_max {
            ahead = 0;
        }
        if ahead > u64::from(self.burst) {
            return false;
        }
        let due = (now + ahead + interval) & DUE_MASK;
        buckets.store(place, key.tag | due);
        true
    }
}

const _: () = assert!(size_of::<Buckets>() == 64);

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    /// 100 a second, up to a second ahead; /56 and /24.
    fn limits() -> Limits {
        Limits {
            seed: 7,
            mask6: (u64::MAX << 8).to_be(),
            mask4: (u32::MAX << 8).to_be(),
            interval: (TICKS / 100) as u32,
            burst: TICKS as u32,
            slip: 2,
            block_mask: 63,
            dry_run: 0,
        }
    }

    fn table() -> Vec<Buckets> {
        (0..64).map(|_| Buckets::default()).collect()
    }

    fn admitted(limits: &Limits, table: &[Buckets], key: Key, times: impl Iterator<Item = u64>) -> usize {
        times.filter(|now| limits.admit(&table[key.block as usize], key, *now, |i| i)).count()
    }

    /// A quiet network may ask a second's worth at once, then its rate.
    #[test]
    fn a_network_is_held_to_its_rate() {
        let (limits, table) = (limits(), table());
        let key = limits.key(false, 0x0101_0101, 0);
        for begin in [0, 5 * TICKS, DUE_MASK - TICKS, 1 << 50] {
            let table = &table;
            assert_eq!(admitted(&limits, table, key, (0..10_000).map(|_| begin)), 101, "at once");
            let ten_seconds = (0..100_000).map(|i| begin + i * TICKS / 10_000);
            assert_eq!(admitted(&limits, table, key, ten_seconds), 1000, "10,000 a second for ten");
            let later = begin + 20 * TICKS;
            assert_eq!(admitted(&limits, table, key, (0..1000).map(|i| later + i * TICKS / 100)), 1000, "at the rate");
        }
    }

    #[test]
    fn networks_and_classes_have_buckets_of_their_own() {
        let (limits, table) = (limits(), table());
        let all = |key| admitted(&limits, &table, key, (0..200).map(|_| 9));
        assert_eq!(all(limits.key(false, u64::from(u32::from_ne_bytes([10, 0, 0, 1])), 0)), 101);
        assert_eq!(all(limits.key(false, u64::from(u32::from_ne_bytes([10, 0, 0, 200])), 0)), 0, "the same /24");
        assert_eq!(all(limits.key(false, u64::from(u32::from_ne_bytes([10, 0, 1, 1])), 0)), 101, "another");
        assert_eq!(all(limits.key(false, u64::from(u32::from_ne_bytes([10, 0, 0, 1])), 1)), 101, "another class");
        assert_eq!(all(limits.key(true, u64::from(u32::from_ne_bytes([10, 0, 0, 1])), 0)), 101, "the other family");
        let v6 = |octets| limits.key(true, u64::from_ne_bytes(octets), 0);
        assert_eq!(all(v6([0x20, 1, 0xd, 0xb8, 0, 0, 1, 0])), 101);
        assert_eq!(all(v6([0x20, 1, 0xd, 0xb8, 0, 0, 1, 0xff])), 0, "the same /56");
        assert_eq!(all(v6([0x20, 1, 0xd, 0xb8, 0, 0, 2, 0])), 101, "another");
    }

    /// A flood of 100,000 forged networks does not free one that is held back.
    #[test]
    fn a_flood_leaves_a_held_back_bucket_alone() {
        let (limits, table) = (limits(), table());
        let victim = limits.key(false, 1, 0);
        let mut given = 0;
        for i in 0..100_000_u64 {
            let now = i * TICKS / 100_000;
            given += admitted(&limits, &table, victim, [now, now].into_iter());
            let forged = limits.key(false, u64::from((i as u32).to_be()) << 8 | 2, 0);
            admitted(&limits, &table, forged, [now].into_iter());
        }
        assert!((200..=202).contains(&given), "{given} of 200,000 in a second");
    }

    /// A CPU that has read the clock just before its step does not take a full bucket for one of 78 hours ago.
    #[test]
    fn a_late_cpu_forgives_nothing() {
        let (limits, table) = (limits(), table());
        let key = limits.key(false, 4, 0);
        let (now, late) = (9 * TICKS, 9 * TICKS - TICKS / 100);
        assert_eq!(admitted(&limits, &table, key, (0..200).map(|_| now)), 101);
        assert_eq!(admitted(&limits, &table, key, (0..200).map(|_| late)), 0);
        // Nor is that bucket thrown out for another network's.
        for other in 5..10_000 {
            admitted(&limits, &table, limits.key(false, other << 8, 0), [late].into_iter());
        }
        assert_eq!(admitted(&limits, &table, key, (0..200).map(|_| late)), 0);
    }

    /// An entry of 78 hours ago is no debt.
    #[test]
    fn time_may_wrap() {
        let (limits, table) = (limits(), table());
        let key = limits.key(false, 3, 0);
        assert_eq!(admitted(&limits, &table, key, (0..200).map(|_| 50)), 101);
        assert_eq!(admitted(&limits, &table, key, (0..200).map(|_| DUE_MASK - 2 * TICKS)), 101);
    }
}
