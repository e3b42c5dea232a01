//! A loaded program, run over one frame at a time.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use kernel_table::row::Ran;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use xdp_ebpf::reason::{Action, Reason};
use zerottl_core::plan::Plan;
use zerottl_kernel::{Fastpath, FastpathParts, LoadError, OBJECT, PROGRAM, SIGN_PROGRAM};

use super::planned::Planned;

/// The shortest frame that the kernel's test-run takes: an Ethernet header (`ETH_HLEN`).
pub const FRAME_MIN: usize = 14;
/// Longer than any answer, and than what test-run takes.
const FRAME_MAX: usize = 4096;

/// Runs a program over a frame once.
#[must_use]
pub fn run(program: &Xdp, frame: &[u8]) -> (Action, Vec<u8>) {
    let mut out = [0; FRAME_MAX];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let result = program.test_run(options).unwrap();
    let action = match result.return_value {
        0 => Action::Abort,
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Answer,
        other => panic!("XDP action {other}"),
    };
    (action, out[..result.data_size_out as usize].to_vec())
}

/// Loads a program of an object, the agent's or the benchmarks', for a plan, which is not published yet.
pub fn load(
    (object, program): (&[u8], &'static str),
    planned: &Planned,
    plan: &Plan,
    macs: &[[u8; 6]],
) -> Result<FastpathParts, LoadError> {
    let mut loaded = Fastpath::load_object(object, program, &planned.planner, plan, &planned.zones, &planned.signed)?;
    loaded.publisher.set_macs(macs);
    Ok(loaded)
}

/// A loaded program and its counters as last seen.
pub struct KernelMachine {
    /// The parts that the agent's loader has made.
    pub loaded: FastpathParts,
    seen: Vec<(Reason, u64)>,
}

impl KernelMachine {
    /// Loads the program for a plan, which is not published yet.
    #[must_use]
    pub fn load(planned: &Planned, plan: &Plan, macs: &[[u8; 6]]) -> Self {
        let loaded = load((OBJECT, PROGRAM), planned, plan, macs).unwrap_or_else(|error| panic!("{error}"));
        let seen = loaded.counters.read().unwrap();
        Self { loaded, seen }
    }

    /// Runs the program over a frame. Fails unless exactly one counter moves, by one.
    pub fn run(&mut self, frame: &[u8]) -> Ran {
        let (action, frame) = run(self.loaded.fastpath.program(PROGRAM), frame);
        let now = self.loaded.counters.read().unwrap();
        let moved = now.iter().zip(&self.seen).filter(|(now, seen)| now.1 != seen.1);
        let moved: Vec<(Reason, u64)> = moved.map(|(now, seen)| (now.0, now.1 - seen.1)).collect();
        self.seen = now;
        let [(reason, 1)] = moved[..] else { panic!("counters moved by {moved:?}, not one by one") };
        Ran { action, reason, frame }
    }

    /// Returns how many instructions the verifier looked at, and of how many, for each program.
    pub fn verified(&mut self) -> Vec<(&'static str, u32, u32)> {
        let of = |name| {
            let info = self.loaded.fastpath.program(name).info().unwrap();
            let looked = info.verified_instruction_count().expect("told since Linux 5.16");
            (name, looked, info.size_translated().map_or(0, |bytes| bytes / 8))
        };
        [PROGRAM, SIGN_PROGRAM].map(of).into()
    }
}

/// Keeps the calling thread on one CPU. Cursors are one per CPU, and test-run runs where its caller does: on one CPU a
/// sequence is one cursor's.
pub fn stay_on_one_cpu() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
}
