//! The short forms of `cargo xtask chaos`, a test for each scenario.

use tests::{
    chaos::{self, Length},
    lab::can_run,
    turn::alone,
};

/// Scenarios whose short form is an older test, and its module.
const ELSEWHERE: [(&str, &str); 3] =
    [("torn-plans", "kernel/torn.rs"), ("fuzz-parsers", "pure/fuzz.rs"), ("verifier-budget", "kernel/table.rs")];

/// Runs the short form of the scenario that a test is named after.
fn short(test: &str) {
    let name = test.replace('_', "-");
    let scenario = chaos::scenarios().find(|scenario| scenario.name == name).expect("a scenario of this name");
    let _alone = scenario.alone.then(alone);
    if !can_run(scenario.promise) {
        return;
    }
    let outcome = chaos::run(scenario, Length::Short);
    println!("{}", outcome.figure);
    assert!(outcome.held, "{}: {}", scenario.promise, outcome.figure);
}

macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                short(stringify!($test));
            }
        )*

        /// A scenario without a test here would be seen to fail only where somebody runs `cargo xtask chaos`.
        #[test]
        fn every_scenario_has_its_test() {
            let tests = [$(stringify!($test).replace('_', "-")),*];
            let is_tested = |name: &&str| tests.iter().any(|test| test == name) || ELSEWHERE.iter().any(|(own, _)| own == name);
            let without: Vec<_> = chaos::scenarios().map(|scenario| scenario.name).filter(|name| !is_tested(name)).collect();
            assert!(without.is_empty(), "without a test: {without:?}");
        }
    };
}

tests![
    // frames
    malformed_frames,
    // deaths
    kill_9,
    // changes
    reloads,
    // upgrades
    upgrades,
    // floods
    spoofed_flood,
    slow_path_flood,
    // echoes
    response_loops,
    amplification,
    // bytes
    fuzz_program,
    // soak
    soak,
    // machine
    clock_steps,
    two_agents,
    over_the_bounds,
    no_memory,
    state_read_only,
    state_disk_full,
    no_descriptors,
    // probing
    all_probes_fail,
    probe_network_cut,
    slow_targets,
    hanging_targets,
    flapping_site,
    probe_loss,
    // links
    link_changes,
    foreign_program,
    link_taken_away,
];
