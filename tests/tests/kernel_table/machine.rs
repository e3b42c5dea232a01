//! The kernel as a machine of the table: the loaded program, run over one frame at a time.

use std::collections::HashMap;

use aya::programs::{TestRun, TestRunOptions};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use xdp_ebpf::reason::{Action, Reason};
use zerottl_kernel::{Fastpath, FastpathParts, PROGRAM};

use super::agent::Agent;
use crate::table::{Machine, Ran, world::World};

/// The shortest frame that the kernel's test-run takes: an Ethernet header (`ETH_HLEN`).
pub const FRAME_MIN: usize = 14;
/// Longer than any answer, and than what test-run takes.
const FRAME_MAX: usize = 4096;

/// One program per world.
pub struct Kernel(HashMap<World, Running>);

/// A loaded program and its counters as last seen.
pub struct Running {
    pub loaded: FastpathParts,
    seen: Vec<(Reason, u64)>,
}

impl Kernel {
    pub fn new(worlds: &[World]) -> Self {
        stay_on_one_cpu();
        Self(worlds.iter().map(|world| (*world, Running::new(*world))).collect())
    }

    pub fn world(&mut self, world: World) -> &mut Running {
        self.0.get_mut(&world).expect("a world that was asked for")
    }
}

impl Machine for Kernel {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        self.world(world).run(frame)
    }
}

impl Running {
    fn new(world: World) -> Self {
        let agent = Agent::new(world);
        let plan = agent.plan(1);
        let mut loaded = Fastpath::load(&agent.planner, &plan, &agent.zones).unwrap_or_else(|error| panic!("{error}"));
        loaded.publisher.set_macs(&world.macs());
        loaded.publisher.set_vlans(&super::maps::vlans(world));
        if world != World::NoPlan {
            loaded.publisher.publish(&plan);
        }
        let seen = loaded.counters.read().unwrap();
        Self { loaded, seen }
    }

    pub fn run(&mut self, frame: &[u8]) -> Option<Ran> {
        if frame.len() < FRAME_MIN {
            return None;
        }
        let mut out = [0; FRAME_MAX];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.loaded.fastpath.program(PROGRAM).test_run(options).unwrap();
        let action = match result.return_value {
            0 => Action::Abort,
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Answer,
            other => panic!("XDP action {other}"),
        };
        let now = self.loaded.counters.read().unwrap();
        let moved: Vec<(Reason, u64)> = now
            .iter()
            .zip(&self.seen)
            .filter(|(now, seen)| now.1 != seen.1)
            .map(|(now, seen)| (now.0, now.1 - seen.1))
            .collect();
        self.seen = now;
        let [(reason, 1)] = moved[..] else { panic!("counters moved by {moved:?}, not one by one") };
        Some(Ran { action, reason, frame: out[..result.data_size_out as usize].to_vec() })
    }
}

/// Cursors are one per CPU, and test-run runs where its caller does: on one CPU a sequence is one cursor's.
fn stay_on_one_cpu() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
}
