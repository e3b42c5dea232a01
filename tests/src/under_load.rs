//! Something done to an agent while queries are asked at a rate, each of which is checked.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    agent::Agent,
    checker::{self, CheckReport, Pace},
    config::Config,
    lab::{Lab, front_addresses},
    scene::Scene,
};

/// The load before and after what is done, so that it began and ended under load.
const AROUND: Duration = Duration::from_millis(300);

/// Asks every balanced name at a pace for as long as `meanwhile` takes, but no longer than the pace says.
///
/// # Panics
/// As `meanwhile` does, once the load has ended; and if the client cannot ask.
pub fn under_load<T>(
    scene: &mut Scene,
    pace: Pace,
    meanwhile: impl FnOnce(&mut Agent, &Lab, &Config) -> T,
) -> (CheckReport, T) {
    let (targets, stop) = (scene.targets(), AtomicBool::new(false));
    let Scene { agent, lab, config } = scene;
    let (lab, config) = (&*lab, &*config);
    thread::scope(|scope| {
        let checker = scope.spawn(|| checker::run(&lab.client, &front_addresses(0), &targets, pace, &stop));
        thread::sleep(AROUND);
        let result = catch_unwind(AssertUnwindSafe(|| meanwhile(agent, lab, config)));
        thread::sleep(AROUND);
        stop.store(true, Ordering::Relaxed);
        let report = checker.join().expect("the checker's thread").expect("checker");
        (report, result.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
