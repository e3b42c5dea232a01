//! The contents that the agent writes into the program's maps, on the host.

use std::sync::{Arc, Mutex};

use kernel_table::{
    host_maps::{HostMaps, SignedHostMaps},
    world::World,
};
use xdp_ebpf::{
    layout::{Cursor, signed::SignatureLine},
    scratch::Scratch,
};
use zerottl_core::model::Vlan;
use zerottl_dns::dnssec::{
    AllSigned,
    chain::COHORTS,
    mirror::{CohortMirror, CohortSignatures},
};
use zerottl_kernel::{
    image::{self, Bank, Image},
    signed_image::SignedImage,
};

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
    let image = Image::new(&planned.planner, &plan, &planned.zones, &planned.signed).unwrap();
    let bank = Bank::new(&image.layout, &plan);
    let mut control = image.control;
    control.word = 1 << 8;
    for (own, mac) in control.mac.iter_mut().zip(world.macs()) {
        *own = u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]);
    }
    (control.vlans, control.vlan_pairs) = image::vlans(&vlans(world));
    let signed = signed(image.signed, &planned.signed);
    let cursors = vec![Cursor::default(); image.control.cursors as usize];
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
        signed,
        ..HostMaps::default()
    }
}

/// Those of signed zones, each cohort in its first region.
fn signed(image: SignedImage, all: &AllSigned) -> SignedHostMaps {
    let lines = Arc::new(Mutex::new(SignedHostMaps {
        names: image.names,
        signers: image.signers,
        proofs: image.proofs,
        bytes: image.bytes,
        children: image.children,
        ordinals: image.ordinals,
        cohorts: vec![0; COHORTS * image.zones.len()],
        regions: image.regions,
        lines: vec![SignatureLine::default(); image.lines],
        buckets: Vec::new(),
    }));
    for (zone, signed) in image.zones.iter().enumerate().filter_map(|(at, zone)| Some((at, all[zone.0].as_ref()?))) {
        signed.mirror_to(Box::new(HostMirror { maps: Arc::clone(&lines), zone }));
    }
    // The mirrors keep an empty one.
    std::mem::take(&mut *lines.lock().unwrap())
}

/// Takes the signatures of a zone once.
#[derive(Debug)]
struct HostMirror {
    maps: Arc<Mutex<SignedHostMaps>>,
    zone: usize,
}

impl CohortMirror for HostMirror {
    fn put(&mut self, cohort: usize, signatures: CohortSignatures<'_>) {
        let mut maps = self.maps.lock().unwrap();
        let region = self.zone * (COHORTS + 1) + cohort;
        let Some(place) = maps.regions.get_mut(region) else { return };
        place.expiration = signatures.validity.expiration.to_be();
        place.inception = signatures.validity.inception.to_be();
        (place.tag, place.algorithm) = (signatures.tag.to_be(), signatures.algorithm);
        let first = place.first as usize;
        for (line, signature) in (first..).zip(signatures.lines) {
            let (words, _) = signature.as_chunks::<8>();
            maps.lines[line] = SignatureLine(std::array::from_fn(|i| u64::from_ne_bytes(words[i])));
        }
        maps.cohorts[self.zone * COHORTS + cohort] = region as u64 + 1;
    }
}
