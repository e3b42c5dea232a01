//! A scenario and how it ends.

/// One thing that goes wrong, and what must hold meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name on the command line and in the table, words joined by hyphens. The test of its short form bears it, too.
    pub name: &'static str,
    /// One plain sentence that must hold, without its full stop.
    pub promise: &'static str,
    /// Whether it measures the machine or takes more than its share, so that no test may run beside it.
    pub alone: bool,
    /// The scenario. It needs root; a panic means that the promise did not hold. It makes all that it needs and takes it down.
    pub run: fn(Length) -> ChaosOutcome,
}

/// How much of it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Of the tests: a few seconds, on a machine that is busy with other tests.
    Short,
    /// Of the chapter: minutes at most, but for the soak.
    Long,
}

impl Length {
    /// Picks by length.
    #[must_use]
    pub fn of<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChaosOutcome {
    /// Figures of what was done and what came of it, in words.
    pub figure: String,
    /// Whether the promise held.
    pub held: bool,
}

impl ChaosOutcome {
    /// A promise that held, with its figure.
    #[must_use]
    pub fn held(figure: impl Into<String>) -> Self {
        Self { figure: figure.into(), held: true }
    }

    /// A promise that did not hold, with what was seen.
    #[must_use]
    pub fn broken(figure: impl Into<String>) -> Self {
        Self { figure: figure.into(), held: false }
    }

    /// A promise that held if so.
    #[must_use]
    pub fn held_if(held: bool, figure: impl Into<String>) -> Self {
        Self { figure: figure.into(), held }
    }
}

/// Writes a count with commas between its thousands.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_thousands() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (100_000, "100,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(count(number), text);
        }
    }
}
