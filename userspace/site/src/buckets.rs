//! Counts by epoch, without a lock: for what is counted until, or since, a time.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A count for each of the last epochs that were counted in, as many as there are slots. An epoch that another one's slot
/// is needed for is forgotten.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The epoch's low 32 bits, then its count.
    slots: Box<[AtomicU64]>,
}

impl Buckets {
    /// For ranges of up to so many epochs, at least 1.
    pub(super) fn new(epochs: usize) -> Self {
        Self { slots: (0..epochs.max(1)).map(|_| AtomicU64::new(0)).collect() }
    }

    fn slot(&self, epoch: u64) -> &AtomicU64 {
        &self.slots[(epoch % self.slots.len() as u64) as usize]
    }

    fn count(word: u64, epoch: u64) -> Option<u32> {
        (word >> 32 == epoch & u64::from(u32::MAX)).then_some(word as u32)
    }

    /// One more.
    pub(super) fn add(&self, epoch: u64) {
        let more = |word| Some(epoch << 32 | u64::from(Self::count(word, epoch).unwrap_or(0).saturating_add(1)));
        // Never fails: `more` is never none.
        let _ = self.slot(epoch).fetch_update(Relaxed, Relaxed, more);
    }

    /// One less, if there is one.
    pub(super) fn take(&self, epoch: u64) -> bool {
        // Only where something is counted is there anything to subtract from.
        let less = |word| Self::count(word, epoch).filter(|count| *count > 0).map(|_| word - 1);
        self.slot(epoch).fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    /// All of these epochs, which are no more than there are slots.
    pub(super) fn sum(&self, epochs: RangeInclusive<u64>) -> u64 {
        let of = |epoch| u64::from(Self::count(self.slot(epoch).load(Relaxed), epoch).unwrap_or(0));
        epochs.take(self.slots.len()).map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_s_slot_is_given_to_the_next_that_needs_it() {
        let buckets = Buckets::new(4);
        buckets.add(10);
        buckets.add(10);
        buckets.add(12);
        assert_eq!(buckets.sum(10..=13), 3);
        assert!(buckets.take(10) && buckets.take(10) && !buckets.take(10), "no less than none");
        buckets.add(16);
        assert_eq!((buckets.sum(9..=12), buckets.sum(13..=16)), (0, 1), "16 took 12's slot");
        assert!(!buckets.take(12));
        assert_eq!(buckets.sum(0..=u64::MAX), 0, "no more work than slots");
    }
}
