//! The kernel as a runner of the table: a loaded program for each world.

use std::collections::HashMap;

use kernel_table::{row::Ran, runner::Runner, world::World};
use tests::kernel::{
    machine::{FRAME_MIN, KernelMachine, stay_on_one_cpu},
    maps,
    planned::Planned,
};

/// One program per world.
pub(super) struct Kernel(HashMap<World, KernelMachine>);

impl Kernel {
    pub(super) fn new(worlds: &[World]) -> Self {
        stay_on_one_cpu();
        Self(worlds.iter().map(|world| (*world, load(*world))).collect())
    }

    pub(super) fn world(&mut self, world: World) -> &mut KernelMachine {
        self.0.get_mut(&world).expect("a world that was asked for")
    }
}

impl Runner for Kernel {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        (frame.len() >= FRAME_MIN).then(|| self.world(world).run(frame))
    }
}

fn load(world: World) -> KernelMachine {
    let planned = Planned::world(world);
    let plan = planned.plan(1);
    let mut machine = KernelMachine::load(&planned, &plan, &world.macs());
    machine.loaded.publisher.set_vlans(&maps::vlans(world));
    if world != World::NoPlan {
        machine.loaded.publisher.publish(&plan);
    }
    machine
}
