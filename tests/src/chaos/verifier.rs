//! The room that the kernel's verifier leaves.

use std::path::Path;

use kernel_table::world::World;
use zerottl_kernel::director::DirectorPrograms;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    kernel::{machine::KernelMachine, planned::Planned},
    netns::Netns,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "verifier-budget",
    promise: "The verifier looks at no more than half of the million instructions that it allows, for each program that is loaded; on Debian 12's kernel, 6.1, `cargo xtask test --kernel` prints and holds the same",
    alone: false,
    run: budget,
}];

/// Half of the kernel's million.
const INSTRUCTIONS_MAX: u32 = 500_000;

fn director() -> Vec<(&'static str, u32, u32)> {
    let machine = Netns::new().expect("root");
    let programs = machine.run(|| {
        let v2 = |path: &&&str| Path::new(path).join("cgroup.controllers").exists();
        let cgroup = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().find(v2).expect("a cgroup v2 file system");
        let pins = Path::new("/sys/fs/bpf/zerottl-director");
        let programs = DirectorPrograms::open(pins, Path::new(cgroup), 1).expect("it loads");
        let verified = programs.verified();
        drop(programs);
        DirectorPrograms::unpin(pins).expect("unpinned");
        verified
    });
    programs.expect("a thread")
}

fn budget(_: Length) -> ChaosOutcome {
    let planned = Planned::world(World::Full);
    let plan = planned.plan(1);
    let packets = KernelMachine::load(&planned, &plan, &World::Full.macs()).verified();
    let all: Vec<_> = packets.into_iter().chain(director()).collect();
    let each: Vec<String> = all
        .iter()
        .map(|(name, looked, size)| format!("`{name}` {} of {}", count((*looked).into()), count((*size).into())))
        .collect();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let figure = format!("Linux {release}: looked at, of instructions there are: {}", each.join(", "));
    ChaosOutcome::held_if(all.len() >= 4 && all.iter().all(|(_, looked, _)| *looked <= INSTRUCTIONS_MAX), figure)
}
