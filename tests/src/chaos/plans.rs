//! Plans that change while packets read them.

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::kernel::torn::torn_figures;

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "torn-plans",
    promise: "No answer has parts of two plans, while plans are published as fast as they can be and two programs are swapped under two CPUs' queries",
    alone: false,
    run: torn,
}];

/// Invariant 4.
fn torn(length: Length) -> ChaosOutcome {
    let wanted = length.of(100_000, 100_000_000);
    let figures = torn_figures(wanted);
    let figure = format!(
        "{} answers read over {} generations: {} of two",
        count(figures.answers),
        count(figures.generations),
        count(figures.mixed),
    );
    if figures.hold(wanted) {
        ChaosOutcome::held(figure)
    } else {
        ChaosOutcome::broken(format!("{figure}; {figures:?}"))
    }
}
