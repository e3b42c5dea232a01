//! The contents that the agent writes into the program's maps, on the host.

use kernel_table::{host_maps::HostMaps, world::World};
use xdp_ebpf::scratch::Scratch;
use zerottl_core::model::Vlan;
use zerottl_kernel::image::{self, Bank, Image};

use super::planned::Planned;

/// The maps that the agent fills, on the host.
#[must_use]
pub fn held(world: World) -> HostMaps {
    held_by(&Planned::world(world), world)
}

/// A world's VLANs as the agent has them.
#[must_use]
pub fn vlans(world: World) -> Vec<Vlan> {
    let (single, pairs) = world.vlans();
    let single = single.into_iter().map(|outer| Vlan { outer, inner: None });
    single.chain(pairs.into_iter().map(|(outer, inner)| Vlan { outer, inner: Some(inner) })).collect()
}

/// Returns the maps as the agent fills them for a configuration of one's own.
#[must_use]
pub fn held_by(planned: &Planned, world: World) -> HostMaps {
    let plan = planned.plan(1);
    let image = Image::new(&planned.planner, &plan, &planned.zones).unwrap();
    let bank = Bank::new(&image.layout, &plan);
    let mut control = image.control;
    control.word = 1 << 8;
    for (own, mac) in control.mac.iter_mut().zip(world.macs()) {
        *own = u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]);
    }
    (control.vlans, control.vlan_pairs) = image::vlans(&vlans(world));
    let cursors = vec![[0; 2]; image.control.cursors as usize];
    HostMaps {
        control: Some(control),
        displace: image.names.displace,
        names: image.names.entries,
        tails: image.names.tails,
        rdata: image.rdata,
        endpoints: image.endpoints,
        services: bank.services,
        slots: bank.blocks,
        cursors: cursors.into(),
        scratch: Some(Scratch::default()),
        ..HostMaps::default()
    }
}
