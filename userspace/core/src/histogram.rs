//! How long things took, counted by bounds that never change.

use std::time::Duration;

/// Bounds of a [`Histogram`].
pub const BOUNDS: usize = 11;

/// For the attempts of a probe: from a neighbour's to the longest usual time-out, seconds.
pub const PROBE_BOUNDS: [f64; BOUNDS] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// For publications: from one name's to that of all of a large configuration, seconds.
pub const PUBLISH_BOUNDS: [f64; BOUNDS] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0];

/// Counts of durations. Copied to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64; BOUNDS],
    /// The last is of what is longer than all bounds.
    counts: [u64; BOUNDS + 1],
    sum_s: f64,
}

impl Histogram {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(bounds: &'static [f64; BOUNDS]) -> Self {
        Self { bounds, counts: [0; BOUNDS + 1], sum_s: 0.0 }
    }

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS);
        self.counts[bucket] += 1;
        self.sum_s += took;
    }

    /// Adds another of the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_s += other.sum_s;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, seconds.
    #[must_use]
    pub fn sum_s(&self) -> f64 {
        self.sum_s
    }

    /// Bounds in seconds, the last infinite, each with how many were over the one before and not over it.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_by_their_bound() {
        let mut histogram = Histogram::new(&PROBE_BOUNDS);
        for ms in [1, 2, 5, 6_000, 7_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut twice = histogram;
        twice.add(&histogram);
        let counted: Vec<_> = twice.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(0.001, 2), (0.0025, 2), (0.005, 2), (f64::INFINITY, 4)]);
        assert_eq!((twice.count(), twice.sum_s().round()), (10, 26.0));
        for bounds in [PROBE_BOUNDS, PUBLISH_BOUNDS] {
            assert!(bounds.is_sorted());
        }
    }
}
