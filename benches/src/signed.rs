//! (i) Signed answers beside unsigned ones: in the kernel, over veth beside Knot's geoip module, and what signing costs.

pub mod answers;
pub mod counted_memory;
pub mod report;
pub mod signing;
pub mod wire;

use std::path::Path;

use self::signing::SigningScene;
pub use self::{answers::SignedKind, signing::Signing, wire::WireRate};
use crate::{
    agent::{ChangedAgent, PAUSE},
    cost::CostEffort,
    error::BenchError,
    rate::{RateEffort, on_own_cpu},
    scene,
};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct SignedEffort {
    /// Interleaved rounds in the kernel's test run.
    pub rounds: usize,
    /// Runs of a program per round there.
    pub repeat: u32,
    /// Over veth.
    pub rate: RateEffort,
    /// Zones that are signed for the first time.
    pub scenes: Vec<SigningScene>,
    /// How often each.
    pub signings: usize,
    /// Names while Sites change.
    pub names: usize,
    /// Changes of Sites.
    pub changes: usize,
}

impl SignedEffort {
    /// Returns that of a whole run, or of a smoke run.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        let small = SigningScene { names: 1_000, sites: 3, at_most: Some((1.0, 2e6)) };
        let middle = SigningScene { names: 10_000, sites: 10, at_most: Some((10.0, 30e6)) };
        let large = SigningScene { names: 100_000, sites: 3, at_most: None };
        if quick {
            let rate = RateEffort { rounds: 1, seconds: 1, timed_rounds: 0 };
            let scenes = vec![small];
            Self { rounds: 3, repeat: 10_000, rate, scenes, signings: 1, names: 1_000, changes: 6 }
        } else {
            let rate = RateEffort { rounds: 11, seconds: 2, timed_rounds: 0 };
            let scenes = vec![small, middle, large];
            Self { rounds: 21, repeat: 100_000, rate, scenes, signings: 3, names: 10_000, changes: 500 }
        }
    }
}

/// Everything measured.
#[derive(Clone, Debug)]
pub struct SignedCosts {
    /// In the kernel's test run.
    pub kinds: Vec<SignedKind>,
    /// Over veth.
    pub rates: Vec<WireRate>,
    /// First signing.
    pub signings: Vec<Signing>,
    /// Names of `changes`.
    pub names: usize,
    /// Microseconds of Sites' changes, from the verdict to the published plan: in an unsigned zone, and in the same zone
    /// signed.
    pub changes: [Vec<f64>; 2],
}

/// Measures all of it; `signing` is the program that signs.
///
/// # Errors
/// Whatever keeps a part from being measured.
pub fn measure(effort: &SignedEffort, signing: &Path) -> Result<SignedCosts, BenchError> {
    let SignedEffort { rounds, repeat, rate, scenes, signings, names, changes } = effort;
    let test_run = CostEffort { scenes: Vec::new(), rounds: *rounds, repeat: *repeat };
    Ok(SignedCosts {
        kinds: on_own_cpu(move || answers::measure(&test_run))??,
        rates: wire::measure(*rate)?,
        signings: signing::measure(scenes, *signings, signing)?,
        names: *names,
        changes: measure_changes(*names, *changes)?,
    })
}

/// Makes the same changes with a zone that is not signed and with one that is, in turn.
fn measure_changes(names: usize, count: usize) -> Result<[Vec<f64>; 2], BenchError> {
    let model = scene::own_sites_model(names);
    let signed = scene::signed(&model).into();
    let mut agents = [ChangedAgent::new(&model)?, ChangedAgent::new(&signed)?];
    let mut changes: [Vec<f64>; 2] = Default::default();
    for turn in 0..count {
        for which in [turn % 2, 1 - turn % 2] {
            std::thread::sleep(PAUSE);
            agents[which].rest();
            let [.., whole] = agents[which].change();
            changes[which].push(whole);
        }
    }
    Ok(changes)
}
