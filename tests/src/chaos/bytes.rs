//! Bytes from outside, any at all.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use kernel_table::{mutate, world::World};
use xdp_ebpf::reason::Reason;
use zerottl_kernel::PROGRAM;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    fuzz::{TARGETS, corpus, mutation::mutated},
    kernel::{
        machine::{self, FRAME_MIN, KernelMachine},
        maps,
        planned::Planned,
    },
    kernel_log::KernelLog,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fuzz-parsers",
        promise: "No bytes from outside make a parser of ours panic or break an invariant: mutations of the corpus for seven parsers",
        alone: false,
        run: parsers,
    },
    Scenario {
        name: "fuzz-program",
        promise: "Whatever frame comes, the loaded program counts it under one reason, does what that reason says, changes nothing that it does not answer, and never aborts",
        alone: false,
        run: program,
    },
];

const SEED: u64 = 0x7a65_726f_7474_6c05;
/// Inputs that a thread takes at a time.
const BATCH: u64 = 256;

fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// Gives seeds to `one` from all CPUs until so many are done or one has failed, which is said.
fn over_seeds(wanted: u64, one: impl Fn(u64) -> Result<(), String> + Sync) -> (u64, Option<String>) {
    let (next, done, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let fault = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= wanted {
                        break;
                    }
                    for seed in from..(from + BATCH).min(wanted) {
                        if let Err(why) = one(seed) {
                            failed.store(true, Ordering::Relaxed);
                            fault
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(format!("seed {seed}: {why}"));
                            return;
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    (done.into_inner(), fault.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The parts that each target has of the inputs: those that take longest have the fewest.
const PARTS: [(&str, u64); 7] =
    [("config", 2), ("frame", 200), ("load", 150), ("records", 2), ("site", 200), ("socket", 223), ("trace", 223)];

fn parsers(length: Length) -> ChaosOutcome {
    let wanted: u64 = length.of(20_000, 100_000_000);
    let (mut figures, mut all) = (Vec::new(), 0);
    for (name, target) in TARGETS {
        let part = PARTS.iter().find(|(of, _)| *of == name).expect("a part for each").1;
        let inputs: Vec<Vec<u8>> = corpus::read(name).expect("a corpus").into_values().collect();
        let one = |seed: u64| {
            let input = mutated(&inputs, SEED.wrapping_add(seed));
            catch_unwind(AssertUnwindSafe(|| target(&input))).map_err(|_| format!("{name}: input {input:02x?}"))
        };
        let (done, fault) = over_seeds(wanted * part / 1_000, one);
        all += done;
        if let Some(fault) = fault {
            return ChaosOutcome::broken(fault);
        }
        figures.push(format!("{name} {}", count(done)));
    }
    ChaosOutcome::held_if(all >= wanted, format!("{} executions ({}): 0 failed", count(all), figures.join(", ")))
}

fn program(length: Length) -> ChaosOutcome {
    // Some frames are too short for the test run.
    let wanted: u64 = length.of(20_000, 10_400_000);
    let mut log = KernelLog::from_now().expect("the kernel's log");
    let planned = Planned::world(World::Full);
    let plan = planned.plan(1);
    let mut machine = KernelMachine::load(&planned, &plan, &World::Full.macs());
    machine.loaded.publisher.set_vlans(&maps::vlans(World::Full));
    machine.loaded.publisher.publish(&plan);
    let before = machine.loaded.counters.read().expect("counters");
    let program = &*machine.loaded.fastpath.program(PROGRAM);
    let answered = AtomicU64::new(0);
    let ran = AtomicU64::new(0);
    let one = |seed: u64| {
        let frame = mutate::frame(SEED.wrapping_add(seed));
        if frame.len() < FRAME_MIN {
            return Ok(());
        }
        let (action, out) = machine::run(program, &frame);
        ran.fetch_add(1, Ordering::Relaxed);
        match action {
            xdp_ebpf::reason::Action::Abort => Err(format!("aborted: {frame:02x?}")),
            xdp_ebpf::reason::Action::Answer => {
                answered.fetch_add(1, Ordering::Relaxed);
                kernel_table::verify::well_formed(&frame, &out).map_err(|fault| format!("{fault}: {frame:02x?}"))
            }
            _ if out == frame => Ok(()),
            _ => Err(format!("changed and not answered: {frame:02x?}")),
        }
    };
    let (_, fault) = over_seeds(wanted, one);
    let after = machine.loaded.counters.read().expect("counters");
    let moved: Vec<(Reason, u64)> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| (after.0, after.1 - before.1))
        .filter(|(_, count)| *count > 0)
        .collect();
    let counted: u64 = moved.iter().map(|(_, count)| count).sum();
    let (ran, answered, troubles) =
        (ran.into_inner(), answered.into_inner(), log.troubles().expect("the kernel's log"));
    let figure = format!(
        "{} frames, {} answered: {} counted, under {} reasons; none was changed without an answer, no abort, {} lines of trouble \
         in the kernel's log",
        count(ran),
        count(answered),
        count(counted),
        moved.len(),
        troubles.len(),
    );
    match fault {
        Some(fault) => ChaosOutcome::broken(fault),
        None => ChaosOutcome::held_if(
            counted == ran && ran * 10 > wanted * 9 && moved.len() > 20 && troubles.is_empty(),
            figure,
        ),
    }
}
