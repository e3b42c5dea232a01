//! The load simulation: least-load converges and does not swing, and its rules are what does it.

use std::ops::Range;

use tests::load_sim::{
    BURST, DEATH, GROWS, RETURN, SECONDS, SHRINKS, Second, Setup, over_seeds, peak, run, swing, utilisation_swing,
};

/// Late reports, short sessions, resolvers that keep answers, and a Site whose death leaves the others three quarters full.
fn hard() -> Setup {
    Setup { session_s: 8.0, cached_s: 5.0, report_every_s: 5.0, report_late_s: 5.0, ..Setup::default() }
}

/// Chances that each figure is taken over.
const SEEDS: u64 = 10;
/// The seconds between events, once shares have settled.
const SETTLED: [Range<usize>; 4] = [90..DEATH, DEATH + 60..RETURN, RETURN + 80..SHRINKS, GROWS + 60..SECONDS];

/// S4-3A-320: it converges, nobody is overloaded once it has, and what a Site's death costs is bounded; whatever chance does.
#[test]
fn s4_3a_320_least_load_converges() {
    let setup = Setup::default();
    for part in SETTLED {
        let (_, shares) = over_seeds(setup, SEEDS, |seconds| swing(&seconds[part.clone()]));
        let (_, loads) = over_seeds(setup, SEEDS, |seconds| utilisation_swing(&seconds[part.clone()]));
        let (_, most) = over_seeds(setup, SEEDS, |seconds| peak(&seconds[part.clone()]));
        assert!(shares < 0.1 && loads < 0.3 && most < 1.0, "{part:?}: {shares:.2} {loads:.2} {most:.2}");
    }
    let (_, death) = over_seeds(setup, SEEDS, |seconds| peak(&seconds[DEATH..RETURN]));
    assert!(death < 1.15, "the death: {death:.2}");
    let blind = Setup { policy: "weighted-round-robin", ..setup };
    let worst = |setup| over_seeds(setup, SEEDS, |seconds| peak(&seconds[SHRINKS + 40..GROWS])).0;
    let (by_load, by_weight) = (worst(setup), worst(blind));
    assert!(by_load < 1.1 && by_weight > 1.4, "a Site that shrinks: {by_load:.2}, by weight alone {by_weight:.2}");
}

/// S4-3A-320: `max_step` keeps late figures from making shares swing; without it they do.
#[test]
fn s4_3a_320_max_step_keeps_shares_from_swinging() {
    let without = Setup { max_step: 0.0, ..hard() };
    let dead = DEATH + 60..RETURN;
    let shares = |setup| over_seeds(setup, SEEDS, |seconds| swing(&seconds[dead.clone()]));
    let (calm, wild) = (shares(hard()), shares(without));
    assert!(calm.1 < 0.25 && wild.0 > 0.5, "shares go up and down by {calm:.2?}, without max_step by {wild:.2?}");
    let most = |setup| over_seeds(setup, SEEDS, |seconds| peak(&seconds[dead.clone()]));
    let (calm, wild) = (most(hard()), most(without));
    assert!(calm.0 < 1.1 && wild.0 > 1.3, "load per capacity {calm:.2?}, without max_step {wild:.2?}");
}

/// S4-3A-320: debits keep a burst between two reports from going to Sites that it fills; without them it does.
#[test]
fn s4_3a_320_debits_keep_a_burst_within_capacity() {
    let burst = Setup { burst: 1000.0, cached_s: 0.0, report_every_s: 5.0, report_late_s: 0.5, ..Setup::default() };
    let worst = |per_answer| {
        let setup = Setup { per_answer: Some(per_answer), ..burst };
        over_seeds(setup, SEEDS, |seconds| peak(&seconds[BURST - 1..BURST + 8])).0
    };
    let (with, without) = (worst(1.0), worst(0.0));
    assert!(with < 1.0 && without > 1.05, "load per capacity {with:.2}, without debits {without:.2}");
}

/// One setup always gives one result: nothing here depends on the time of day or on the machine.
#[test]
fn it_is_the_same_every_time() {
    let (first, second) = (run(&Setup::default()), run(&Setup::default()));
    let bits = |second: &Second| {
        let figures = second.share.iter().chain(&second.utilisation);
        figures.map(|figure| figure.to_bits()).collect::<Vec<_>>()
    };
    assert!(first.iter().zip(&second).all(|(a, b)| bits(a) == bits(b)));
}
