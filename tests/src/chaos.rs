//! Scenarios of what zerottl keeps while things go wrong, with a promise each and the figure that shows it.
//!
//! `cargo xtask chaos` runs the long forms and writes docs/chaos.md; `tests/tests/agent/chaos.rs` runs the short ones. A group of
//! scenarios is a file here, which lists them as `SCENARIOS`; [`GROUPS`] lists the groups.
//!
//! | module | concern |
//! |---|---|
//! | [`scenario`] | a scenario and how it ends |
//! | [`table`] | the table of the chapter |
//! | [`frames`] | frames that are not as they should be |
//! | [`deaths`] | agents that die and come back |
//! | [`changes`] | configurations that change |
//! | [`plans`] | plans that change while packets read them |
//! | [`floods`] | floods, beside clients that are as they should be |
//! | [`echoes`] | answers that go to where they do harm |
//! | [`soak`] | a long time in which everything changes |
//! | [`bytes`] | bytes from outside, any at all |
//! | [`verifier`] | the room that the kernel's verifier leaves |
//! | [`upgrades`] | agents that take over from others |
//! | [`machine`] | a clock that jumps, a machine that has no more of something |
//! | [`probing`] | probes that fail, are lost, hang or contradict each other |
//! | [`links`] | interfaces that change, and others' programs on them |

use std::panic::{AssertUnwindSafe, catch_unwind};

pub mod bytes;
pub mod changes;
pub mod deaths;
pub mod echoes;
pub mod floods;
pub mod frames;
pub mod links;
pub mod machine;
pub mod plans;
pub mod probing;
pub mod scenario;
pub mod soak;
pub mod table;
pub mod upgrades;
pub mod verifier;

pub use scenario::{ChaosOutcome, Length, Scenario};

/// Groups of scenarios, in the order of the chapter.
pub const GROUPS: &[&[Scenario]] = &[
    frames::SCENARIOS,
    deaths::SCENARIOS,
    changes::SCENARIOS,
    upgrades::SCENARIOS,
    plans::SCENARIOS,
    floods::SCENARIOS,
    echoes::SCENARIOS,
    bytes::SCENARIOS,
    verifier::SCENARIOS,
    machine::SCENARIOS,
    probing::SCENARIOS,
    links::SCENARIOS,
    soak::SCENARIOS,
];

/// Returns all scenarios, in the order of the chapter.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    GROUPS.iter().copied().flatten()
}

/// Runs a scenario. A panic in it is a promise that did not hold; what it had made is gone by then.
#[must_use]
pub fn run(scenario: &Scenario, length: Length) -> ChaosOutcome {
    catch_unwind(AssertUnwindSafe(|| (scenario.run)(length))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        ChaosOutcome::broken(said)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_kebab_and_each_there_once() {
        let mut names = BTreeSet::new();
        for Scenario { name, promise, .. } in scenarios() {
            let is_kebab = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            assert!(is_kebab && names.insert(name), "{name}");
            assert!(!promise.contains('|') && !promise.ends_with('.'), "{name}: a cell of a table: {promise}");
        }
    }

    #[test]
    fn a_panic_is_a_promise_that_did_not_hold() {
        let panics = |run| Scenario { name: "one", promise: "it holds", alone: false, run };
        for (run, said) in [
            (panics(|_| panic!("{} lost", 3)), "3 lost"),
            (panics(|_| panic!("lost")), "lost"),
            (panics(|length| ChaosOutcome::held_if(length == Length::Long, "short")), "short"),
        ] {
            assert_eq!(super::run(&run, Length::Short), ChaosOutcome::broken(said));
        }
    }
}
