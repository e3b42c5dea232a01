//! Median and quartiles: what a round's outlier cannot move.

use std::fmt;

/// Median and quartiles of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter lies below.
    pub low: f64,
    /// Half lies below.
    pub median: f64,
    /// Three quarters lie below.
    pub high: f64,
}

impl Quartiles {
    /// Of at least one figure.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        assert!(!sorted.is_empty(), "quartiles of nothing");
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// Of what a function makes of two series, round by round: neighbours in time share the machine's mood.
    #[must_use]
    pub fn of_pairs(a: &[f64], b: &[f64], join: impl Fn(f64, f64) -> f64) -> Self {
        Self::of(a.iter().zip(b).map(|(a, b)| join(*a, *b)))
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "q1": self.low, "median": self.median, "q3": self.high })
    }
}

/// Returns what this share of the figures, 0 to 1, does not exceed.
///
/// # Panics
/// If there is no figure.
#[must_use]
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1]
}

impl fmt::Display for Quartiles {
    /// `median [q1 q3]`, with the formatter's precision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = f.precision().unwrap_or(1);
        let text = format!("{:.p$} [{:.p$} {:.p$}]", self.median, self.low, self.high);
        f.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let quartiles = Quartiles::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!((quartiles.low, quartiles.median, quartiles.high), (1.75, 2.5, 3.25));
        assert_eq!(Quartiles::of([7.0]), Quartiles { low: 7.0, median: 7.0, high: 7.0 });
        assert_eq!(format!("{quartiles:.2}"), "2.50 [1.75 3.25]");
    }
}
