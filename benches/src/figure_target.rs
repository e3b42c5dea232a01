//! A figure beside what was to be reached.

use std::fmt;

/// A figure beside what was to be reached.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureTarget {
    /// The name of the figure.
    pub what: String,
    /// The figure.
    pub figure: f64,
    /// The figure that was to be reached.
    pub target: f64,
    /// At least that, not at most.
    pub at_least: bool,
}

impl fmt::Display for FigureTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.at_least { self.figure >= self.target } else { self.figure <= self.target };
        let bound = if self.at_least { "at least" } else { "at most" };
        let verdict = if met { "met" } else { "MISSED" };
        write!(f, "{:<74} {:>10.3}   {bound} {:<8} {verdict}", self.what, self.figure, self.target)
    }
}
