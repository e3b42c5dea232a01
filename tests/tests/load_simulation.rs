//! The load simulation: least-load converges and does not swing, and its rules are what does it.

use tests::load_sim::{
    BURST, DEATH, GROWS, RETURN, SECONDS, SHRINKS, Second, Setup, peak, run, swing, utilisation_swing,
};

/// Late reports, short sessions, resolvers that keep answers, and a Site whose death leaves the others three quarters full.
fn hard() -> Setup {
    Setup { session_s: 8.0, cached_s: 5.0, report_every_s: 5.0, report_late_s: 5.0, ..Setup::default() }
}

/// The seconds between events, once shares have settled.
fn settled(seconds: &[Second]) -> [&[Second]; 4] {
    [&seconds[90..DEATH], &seconds[DEATH + 60..RETURN], &seconds[RETURN + 80..SHRINKS], &seconds[GROWS + 60..SECONDS]]
}

/// S4-3A-320: it converges, nobody is overloaded once it has, and what a Site's death costs is bounded.
#[test]
fn s4_3a_320_least_load_converges() {
    let seconds = run(&Setup::default());
    for part in settled(&seconds) {
        assert!(
            utilisation_swing(part) < 0.35 && peak(part) < 1.05,
            "{:.2} {:.2}",
            utilisation_swing(part),
            peak(part)
        );
    }
    assert!(peak(&seconds[DEATH..RETURN]) < 1.15, "the death: {:.2}", peak(&seconds[DEATH..RETURN]));
    let blind = run(&Setup { policy: "weighted-round-robin", ..Setup::default() });
    let worst = |seconds: &[Second]| peak(&seconds[SHRINKS + 40..GROWS]);
    let (by_load, by_weight) = (worst(&seconds), worst(&blind));
    assert!(by_load < 1.2 && by_weight > 1.4, "a Site that shrinks: {by_load:.2}, by weight alone {by_weight:.2}");
}

/// S4-3A-320: `max_step` keeps late figures from making shares swing; without it they do.
#[test]
fn s4_3a_320_max_step_keeps_shares_from_swinging() {
    let with = run(&hard());
    let without = run(&Setup { max_step: 0.0, ..hard() });
    let dead = DEATH + 60..RETURN;
    let (calm, wild) = (swing(&with[dead.clone()]), swing(&without[dead.clone()]));
    assert!(calm < 0.4 && wild > 0.6, "shares go up and down by {calm:.2}, without max_step by {wild:.2}");
    let (calm, wild) = (peak(&with[dead.clone()]), peak(&without[dead]));
    assert!(calm < 1.15 && wild > 1.4, "load per capacity {calm:.2}, without max_step {wild:.2}");
}

/// S4-3A-320: debits keep a burst between two reports from going to Sites that it fills; without them it does.
#[test]
fn s4_3a_320_debits_keep_a_burst_within_capacity() {
    let burst = Setup { burst: 1000.0, cached_s: 0.0, report_every_s: 5.0, report_late_s: 0.5, ..Setup::default() };
    let worst = |per_answer| peak(&run(&Setup { per_answer: Some(per_answer), ..burst })[BURST - 1..BURST + 8]);
    let (with, without) = (worst(1.0), worst(0.0));
    assert!(with < 1.0 && without > 1.05, "load per capacity {with:.2}, without debits {without:.2}");
}

/// The same setup gives the same result: nothing here depends on the time of day or on the machine.
#[test]
fn it_is_the_same_every_time() {
    let (first, second) = (run(&Setup::default()), run(&Setup::default()));
    let bits = |second: &Second| {
        let figures = second.share.iter().chain(&second.utilisation);
        figures.map(|figure| figure.to_bits()).collect::<Vec<_>>()
    };
    assert!(first.iter().zip(&second).all(|(a, b)| bits(a) == bits(b)));
}
