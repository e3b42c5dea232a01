//! Whether answers were shared out as the weights say.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// Checks a weighted round robin: in every window of one cycle (the weights' sum) each gets its weight, give or take
/// one, and over all cycles its share. A cycle that does not divide a table of 2^k slots may have 1 % off its share
/// (the planner's promise), and one more for where in the table the answers began.
pub fn check_cycles<T: Eq + Hash + std::fmt::Debug>(answers: &[T], weights: &[(T, u32)]) -> Result<(), String> {
    check_windows(answers, weights)?;
    let cycle: u32 = weights.iter().map(|(_, weight)| weight).sum();
    // Windows alone would let one side always win by one: over whole cycles nothing but the last one may be off.
    let off = |share: u32| if cycle.is_power_of_two() { 1 } else { 2 + share / 100 };
    let whole = &answers[..answers.len() / cycle as usize * cycle as usize];
    let cycles = (whole.len() / cycle as usize) as u32;
    for (who, weight) in weights {
        let got = whole.iter().filter(|answer| *answer == who).count() as u32;
        if got.abs_diff(weight * cycles) > off(weight * cycles) {
            return Err(format!("{who:?} has {got} in {cycles} cycles, weight {weight}"));
        }
    }
    Ok(())
}

/// Checks a weighted round robin by its windows alone, for weights whose cycle does not divide a table of 2^k slots.
pub fn check_windows<T: Eq + Hash + std::fmt::Debug>(answers: &[T], weights: &[(T, u32)]) -> Result<(), String> {
    let cycle: u32 = weights.iter().map(|(_, weight)| weight).sum();
    if answers.len() < 4 * cycle as usize {
        return Err(format!("only {} answers for cycles of {cycle}", answers.len()));
    }
    for (start, window) in answers.windows(cycle as usize).enumerate() {
        for (who, weight) in weights {
            let got = window.iter().filter(|answer| *answer == who).count() as u32;
            if got.abs_diff(*weight) > 1 {
                return Err(format!("{who:?} has {got} of {cycle} from answer {start}, weight {weight}: {window:?}"));
            }
        }
    }
    if let Some(stranger) = answers.iter().find(|answer| weights.iter().all(|(who, _)| who != *answer)) {
        return Err(format!("{stranger:?} is none of {weights:?}"));
    }
    Ok(())
}

/// Pearson's chi-square of counts against weights.
#[must_use]
pub fn chi_square<T: Eq + Hash, S: BuildHasher>(counts: &HashMap<T, u64, S>, weights: &[(T, u32)]) -> f64 {
    let total: u64 = counts.values().sum();
    let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let term = |(who, weight): &(T, u32)| {
        let expected = float(total) * f64::from(*weight) / f64::from(sum);
        (float(counts.get(who).copied().unwrap_or(0)) - expected).powi(2) / expected
    };
    weights.iter().map(term).sum()
}

/// Above this, chance (one in a million, two degrees of freedom: three Sites) is no explanation: −2 ln 10⁻⁶.
pub const CHI_SQUARE_LIMIT_3: f64 = 27.631;

#[expect(clippy::cast_precision_loss, reason = "counts of a test, far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: [(char, u32); 3] = [('g', 1), ('b', 2), ('c', 1)];

    fn cycles(text: &str) -> Result<(), String> {
        check_cycles(&text.repeat(10).chars().collect::<Vec<_>>(), &WEIGHTS)
    }

    #[test]
    fn cycles_are_told_from_runs() {
        assert_eq!(cycles("bgcb"), Ok(()));
        assert_eq!(cycles("gbcb"), Ok(()));
        assert!(cycles("gggbbbbbbccc").is_err(), "right shares, wrong cycles");
        assert!(cycles("bgbg").is_err(), "one starves");
        assert!(cycles("bgxb").is_err(), "a stranger");
        let thirds = |text: &str| check_cycles(&text.chars().collect::<Vec<_>>(), &[('b', 2), ('c', 1)]);
        assert_eq!(thirds(&("bcb".repeat(42) + "bcc" + &"bcb".repeat(42))), Ok(()), "a table's seam");
        assert!(thirds(&"bcbc".repeat(60)).is_err(), "halves");
        assert!(check_cycles(&['b', 'g'], &WEIGHTS).is_err(), "too few to tell");
    }

    #[test]
    fn chi_square_tells_shares_apart() {
        let count = |g, b, c| HashMap::from([('g', g), ('b', b), ('c', c)]);
        assert!(chi_square(&count(2030, 3950, 2020), &WEIGHTS) < CHI_SQUARE_LIMIT_3);
        assert!(chi_square(&count(2667, 2667, 2666), &WEIGHTS) > CHI_SQUARE_LIMIT_3, "weights ignored");
        assert!(chi_square(&count(4000, 4000, 0), &WEIGHTS) > CHI_SQUARE_LIMIT_3, "one starves");
    }
}
