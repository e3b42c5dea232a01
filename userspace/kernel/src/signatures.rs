//! Signatures in the kernel: a cohort is written to a region that no packet reads, and then answered from.

use std::sync::{Arc, Mutex, PoisonError};

use xdp_ebpf::layout::signed::{Region, SignatureLine};
use zerottl_dns::dnssec::{
    AllSigned,
    chain::COHORTS,
    mirror::{CohortMirror, CohortSignatures},
};

use super::{
    mmap_array::{Mapped, store_u64},
    publish::grace_period,
    signed_image::{REGIONS, SignedImage},
};

/// The maps that change.
#[derive(Debug)]
pub(crate) struct SignatureMaps {
    /// `COHORTS`.
    pub cohorts: Mapped<u64>,
    /// `REGIONS`.
    pub regions: Mapped<Region>,
    /// `SIGNATURES`.
    pub lines: Mapped<SignatureLine>,
}

/// A zone's part of them.
#[derive(Debug)]
struct ZoneRegions {
    maps: Arc<Mutex<SignatureMaps>>,
    first_cohort: usize,
    first_region: usize,
    /// By cohort, the region it is answered from, counted within the zone.
    in_use: [Option<usize>; COHORTS],
    /// The regions that none is answered from.
    spare: Vec<usize>,
}

/// Has each zone of an image write to its maps what is signed now, and what it signs from now on.
pub(crate) fn follow(maps: SignatureMaps, image: &SignedImage, signed: &AllSigned) {
    let maps = Arc::new(Mutex::new(maps));
    for (at, zone) in image.zones.iter().enumerate() {
        let Some(signed) = signed.get(zone.0).and_then(Option::as_ref) else { continue };
        signed.mirror_to(Box::new(ZoneRegions {
            maps: Arc::clone(&maps),
            first_cohort: at * COHORTS,
            first_region: at * REGIONS,
            in_use: [None; COHORTS],
            spare: (0..REGIONS).collect(),
        }));
    }
}

impl CohortMirror for ZoneRegions {
    fn put(&mut self, cohort: usize, signatures: CohortSignatures<'_>) {
        // There are more regions than cohorts, and each has one.
        let Some(region) = self.spare.pop() else { return };
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.write(self.first_region + region, signatures);
        maps.answer_from(self.first_cohort + cohort, self.first_region + region);
        drop(maps);
        if let Some(before) = self.in_use[cohort].replace(region) {
            // Packets that began before this may still read it.
            grace_period();
            self.spare.push(before);
        }
    }
}

impl SignatureMaps {
    fn write(&mut self, region: usize, signatures: CohortSignatures<'_>) {
        let place = self.regions.read(region);
        for (line, signature) in (place.first as usize..).zip(signatures.lines) {
            let (words, _) = signature.as_chunks::<8>();
            let mut own = SignatureLine::default();
            own.0.iter_mut().zip(words).for_each(|(own, bytes)| *own = u64::from_ne_bytes(*bytes));
            self.lines.write(line, &[own]);
        }
        let validity = signatures.validity;
        let expiration = validity.expiration.to_be();
        let (inception, tag) = (validity.inception.to_be(), signatures.tag.to_be());
        let written = Region { expiration, inception, tag, algorithm: signatures.algorithm, ..place };
        self.regions.write(region, &[written]);
    }

    /// One store, behind all that it makes seen.
    #[expect(unsafe_code, reason = "a word of a shared map")]
    fn answer_from(&mut self, cohort: usize, region: usize) {
        // SAFETY: the mapping lives as long as `self`.
        unsafe { store_u64(self.cohorts.pointer(cohort), region as u64 + 1) };
    }
}
