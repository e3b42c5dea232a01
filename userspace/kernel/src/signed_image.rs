//! The contents of the maps of signed zones: what lies where, without the signatures themselves. Pure.

use std::{
    array,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use domain::base::{CanonicalOrd as _, Name, Rtype, rdata::ComposeRecordData as _};
use xdp_ebpf::{
    layout::{
        BLOCK_SLOTS, NetNode, SlotBlock,
        signed::{
            PROOF_ROOM, PROOF_STARTS, Proof, ProofChunk, Region, SIGNER_ROOM, SignatureLine, SignedName, Signer,
            UNSIGNED,
        },
    },
    sum::Sum,
};

use super::{
    label_tree::{self, LabelKey, label_key},
    perfect_hash::NameTable,
};
use zerottl_core::{
    model::{DynamicType, Model, ZoneId},
    plan::Plan,
};
use zerottl_dns::{
    Zones,
    dnssec::{AllSigned, SignedZone, chain::COHORTS, links::ChainLink},
    svcb,
    zone::{Data, FoldedName, Zone},
};

/// Regions of a zone: one for each cohort, and one to write the next to.
pub(crate) const REGIONS: usize = COHORTS + 1;
/// Lines of all zones, at most: 4 GiB.
const LINES_MAX: usize = (4 << 30) / size_of::<SignatureLine>();

/// The maps of signed zones. Its `Default` has none.
#[derive(Debug, Default)]
pub struct SignedImage {
    /// `SIGNED_NAMES`.
    pub names: Vec<SignedName>,
    /// `SIGNERS`.
    pub signers: Vec<Signer>,
    /// `PROOFS`.
    pub proofs: Vec<Proof>,
    /// `PROOF_BYTES`.
    pub bytes: Vec<ProofChunk>,
    /// `CHILDREN`.
    pub children: Vec<NetNode>,
    /// `ORDINALS`.
    pub ordinals: Vec<SlotBlock>,
    /// `REGIONS`, without times.
    pub regions: Vec<Region>,
    /// How many `SIGNATURES` there are.
    pub lines: usize,
    /// The zones, in the order of `signers`; each has 16 of `COHORTS`, and 17 of `REGIONS`.
    pub zones: Vec<ZoneId>,
}

/// The facts that positions depend on.
struct Facts<'a> {
    zones: &'a Zones,
    table: &'a NameTable,
    /// By address, its positions in `ENDPOINTS`.
    endpoints: HashMap<IpAddr, Vec<u32>>,
    /// HTTPS records in canonical order, with their positions in `RDATA`.
    bindings: Vec<(Data, u32)>,
}

/// By type, the number to be added to a slot of a set of answers.
type OrdinalBases = [u32; 3];

impl SignedImage {
    /// Lays out the signed zones of a plan's model. A zone that does not fit is left to the socket path.
    #[must_use]
    pub fn new(zones: &Zones, signed: &AllSigned, table: &NameTable, first: &Plan, model: &Model) -> Self {
        let mut image = Self::default();
        if signed.iter().all(Option::is_none) {
            return image;
        }
        let mut endpoints = HashMap::<IpAddr, Vec<u32>>::new();
        for (at, address) in first.endpoints.iter().enumerate() {
            endpoints.entry(*address).or_default().push(at as u32);
        }
        let mut bindings: Vec<_> = first
            .bindings
            .iter()
            .zip(0..)
            .map(|(binding, at)| (Data::from(svcb::https(*binding, model)), at))
            .collect();
        bindings.sort_by(|(a, _), (b, _)| a.canonical_cmp(b));
        let facts = Facts { zones, table, endpoints, bindings };
        image.names = vec![SignedName::default(); table.entries.len()];
        for (id, signed) in signed.iter().enumerate() {
            let Some(signed) = signed else { continue };
            if image.add(&facts, ZoneId(id), signed).is_none() {
                tracing::warn!(
                    "the zone {} is too large to be signed in the kernel: the socket path does",
                    signed.apex()
                );
            }
        }
        image
    }

    /// How many cohorts there are in all.
    #[must_use]
    pub fn cohorts(&self) -> usize {
        self.zones.len() * COHORTS
    }

    /// Its maps, and how many entries each has.
    pub(crate) fn sizes(&self) -> [(&'static str, u32); 9] {
        [
            ("SIGNED_NAMES", self.names.len()),
            ("SIGNERS", self.signers.len()),
            ("PROOFS", self.proofs.len()),
            ("PROOF_BYTES", self.bytes.len()),
            ("CHILDREN", self.children.len()),
            ("ORDINALS", self.ordinals.len()),
            ("COHORTS", self.cohorts()),
            ("REGIONS", self.regions.len()),
            ("SIGNATURES", self.lines),
        ]
        .map(|(map, entries)| (map, entries as u32))
    }

    /// Adds a zone, whole or, where it does not fit, so that no name leads to it.
    fn add(&mut self, facts: &Facts<'_>, id: ZoneId, signed: &SignedZone) -> Option<()> {
        let zone = facts.zones.zone(id);
        let lines = signed.lines().into_iter().max()?;
        let (first_cohort, first_line) = (self.zones.len() * COHORTS, self.lines);
        if first_line + REGIONS * lines > LINES_MAX {
            return None;
        }
        let proofs = self.add_proofs(signed, first_cohort)?;
        let apex = signed.link_at(signed.link_of(zone.apex().for_slice())?);
        let own = signer(signed, zone, &apex, first_cohort)?;
        let children = children(zone, signed, &proofs);
        let mut named = Vec::new();
        let mut bases = HashMap::new();
        for node in zone.nodes() {
            let name = node.owner.for_slice();
            let folded = FoldedName::new(name);
            let Some(at) = facts.table.position(folded.wire()).filter(|_| facts.zones.is_of(zone, name)) else {
                continue;
            };
            let link = signed.link_of(name);
            let nsec = proofs[link.unwrap_or_else(|| signed.gap_of(name))];
            let mut entry = SignedName {
                nsec,
                wildcard: proofs[signed.gap_of_wildcard(name)],
                signer: self.signers.len() as u16,
                is_signed: 1,
                ..SignedName::default()
            };
            if let Some(labels) = children.get(folded.wire()) {
                entry.children = label_tree::append(&mut self.children, labels, nsec)?;
            }
            if let Some(link) = link.map(|at| signed.link_at(at)) {
                entry.cohort = (first_cohort + link.cohort()) as u32;
                entry.labels = link.labels();
                for (of, ..) in link.proofs() {
                    entry.narrow |= of.map_or(0, |of| 1 << of.index());
                }
                entry.answers = DynamicType::ALL.map(|of| link.answers(of).map_or(0, |(line, _)| line));
                if let Some(answers) = link.answers_id() {
                    entry.ordinals =
                        *bases.entry(answers).or_insert_with(|| ordinals(&mut self.ordinals, facts, &link));
                }
            }
            named.push((at as usize, entry));
        }
        for (at, entry) in named {
            self.names[at] = entry;
        }
        let region = |at| Region { first: (first_line + at * lines) as u32, ..Region::default() };
        self.regions.extend((0..REGIONS).map(region));
        self.lines += REGIONS * lines;
        self.signers.push(own);
        self.zones.push(id);
        Some(())
    }

    /// Adds the proofs of a zone's names; the position of the first of each, in the order of the chain.
    fn add_proofs(&mut self, signed: &SignedZone, first_cohort: usize) -> Option<Vec<u32>> {
        let mut places = Vec::new();
        for link in signed.links() {
            places.push(self.proofs.len() as u32);
            for (_, line, nsec) in link.proofs() {
                let (bytes, pointer) = record(signed, &link, &nsec)?;
                let (chunk, offset) = self.place(&bytes);
                self.proofs.push(Proof {
                    chunk,
                    offset,
                    len: bytes.len() as u16,
                    sum: Sum::of_bytes(&bytes).fold(),
                    pointer,
                    cohort: (first_cohort + link.cohort()) as u32,
                    line,
                    labels: link.labels(),
                    reserved: [0; 3],
                });
            }
        }
        Some(places)
    }

    /// Puts bytes behind those before them.
    fn place(&mut self, bytes: &[u8]) -> (u32, u16) {
        let end = self.proofs.last().map_or(PROOF_STARTS, |last| usize::from(last.offset + last.len));
        let at = if end < PROOF_STARTS {
            end
        } else {
            self.bytes.push(ProofChunk([0; PROOF_STARTS + PROOF_ROOM]));
            0
        };
        let chunk = self.bytes.len() - 1;
        self.bytes[chunk].0[at..at + bytes.len()].copy_from_slice(bytes);
        (chunk as u32, at as u16)
    }
}

/// The bytes of an NSEC record, its owner relative to the apex, and where the pointer to that stands; none if it is too long.
fn record(signed: &SignedZone, link: &ChainLink<'_>, nsec: &Data) -> Option<(Vec<u8>, u16)> {
    let own = link.owner().len() - signed.apex().len();
    let mut bytes = link.owner().as_slice()[..own].to_vec();
    let pointer = bytes.len() as u16;
    bytes.extend([0; 2]);
    bytes.extend(Rtype::NSEC.to_int().to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(signed.proof_ttl().to_be_bytes());
    let mut data = Vec::new();
    // A vector takes all there is.
    let Ok(()) = nsec.compose_rdata(&mut data);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    (bytes.len() < PROOF_ROOM).then_some((bytes, pointer))
}

fn signer(signed: &SignedZone, zone: &Zone, apex: &ChainLink<'_>, first_cohort: usize) -> Option<Signer> {
    let (soa_line, soa_ttl) = apex.set(zone, Rtype::SOA)?;
    let wire = signed.apex().as_slice();
    let mut bytes = [0; SIGNER_ROOM];
    bytes[..wire.len()].copy_from_slice(wire);
    Some(Signer {
        len: wire.len() as u16,
        sum: Sum::of_bytes(wire).fold(),
        soa_ttl: soa_ttl.to_be(),
        proof_ttl: signed.proof_ttl().to_be(),
        soa_cohort: (first_cohort + apex.cohort()) as u32,
        soa_line,
        labels: apex.labels(),
        reserved: [0; 3],
        apex: array::from_fn(|i| u64::from_ne_bytes(array::from_fn(|at| bytes[8 * i + at]))),
    })
}

/// By name, the labels right below it with the proof of the last name at or below each.
fn children(zone: &Zone, signed: &SignedZone, proofs: &[u32]) -> HashMap<Vec<u8>, Vec<(LabelKey, u32)>> {
    let mut children = HashMap::<Vec<u8>, Vec<(LabelKey, u32)>>::new();
    let apex_labels = zone.apex().label_count();
    for (link, proof) in signed.links().zip(proofs) {
        let owner: &Name<[u8]> = link.owner().for_slice();
        let above = owner.iter_suffixes().skip(1).take_while(|name| name.label_count() >= apex_labels);
        for (label, name) in owner.iter().zip(above) {
            let below = children.entry(FoldedName::new(name.for_slice()).wire().to_vec()).or_default();
            let key = label_key(label.as_slice());
            // The chain is in order, so what is below one label comes together.
            match below.last_mut() {
                Some((last, last_proof)) if *last == key => *last_proof = *proof,
                _ => below.push((key, *proof)),
            }
        }
    }
    children
}

/// Appends which of a set of answers each slot is, and says by type what has to be added to a slot.
fn ordinals(blocks: &mut Vec<SlotBlock>, facts: &Facts<'_>, link: &ChainLink<'_>) -> OrdinalBases {
    DynamicType::ALL.map(|of| {
        let answers = link.answers(of).map_or(&[][..], |(_, answers)| answers);
        let slots: BTreeMap<u32, u16> = answers
            .iter()
            .zip(0..)
            .flat_map(|(data, ordinal)| facts.slots(data).map(move |slot| (slot, ordinal)))
            .collect();
        let (Some((least, _)), Some((most, _))) = (slots.first_key_value(), slots.last_key_value()) else {
            // Beyond all blocks, whatever the slot.
            return u32::MAX / 2;
        };
        let base = blocks.len() * BLOCK_SLOTS;
        let needed = (most - least) as usize + 1;
        blocks.extend((0..needed.div_ceil(BLOCK_SLOTS)).map(|_| SlotBlock([UNSIGNED; BLOCK_SLOTS])));
        for (slot, ordinal) in &slots {
            let at = base + (slot - least) as usize;
            blocks[at / BLOCK_SLOTS].0[at % BLOCK_SLOTS] = *ordinal;
        }
        (base as u32).wrapping_sub(*least)
    })
}

impl Facts<'_> {
    /// The slots that stand for an answer.
    fn slots<'a>(&'a self, data: &'a Data) -> Box<dyn Iterator<Item = u32> + 'a> {
        let of_address = |address: IpAddr| self.endpoints.get(&address).into_iter().flatten().copied();
        match data {
            Data::A(a) => Box::new(of_address(a.addr().into())),
            Data::Aaaa(aaaa) => Box::new(of_address(aaaa.addr().into())),
            _ => {
                let from = self.bindings.partition_point(|(own, _)| own.canonical_lt(data));
                let equal = self.bindings[from..].iter().take_while(move |(own, _)| own.canonical_cmp(data).is_eq());
                Box::new(equal.map(|(_, at)| *at))
            }
        }
    }
}
