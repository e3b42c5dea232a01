//! The contents of the maps: a model's immutable part, and a plan's bank. Pure.

use std::{net::IpAddr, sync::Arc};

use xdp_ebpf::{
    layout::{
        ABI, ALL_BANKS, BLOCK_SLOTS, CHOICE_CURSOR, CHOICE_NODATA, CHOICE_ONE, CHOICE_RANDOM, CHOICE_SERVFAIL,
        CHOICE_STICKY, CURSORS_MAX, ChoiceEntry, Chosen, Control, Endpoint, LISTEN_MAX, Listen4, Listen6, NSID_MAX,
        OPTION_COOKIE, OPTION_SUBNET, Rdata, ServiceEntry, SlotBlock, VLAN_BITS, VLAN_PAIRS_MAX, vlan_pair,
    },
    net::words,
};

use super::{
    perfect_hash::{NameTable, NotNames},
    rdata,
    signed_image::SignedImage,
    zone_names,
};
use zerottl_core::{
    limit::{byte_limits, limits},
    model::{EdnsConfig, Model, OnStale, Policy, Vlan},
    plan::{Choice, Plan, Planner, Service, Services, mask6},
};
use zerottl_dns::{Zones, dnssec::AllSigned};

/// Blocks of a bank, at most: all banks then take 4 GiB, and their numbers stay within the maps' 32 bits.
const BLOCKS_MAX: usize = (4 << 30) / (ALL_BANKS as usize * size_of::<SlotBlock>());

/// Why a model does not fit into the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Its names.
    #[error(transparent)]
    Names(#[from] NotNames),
    /// All its tables together have this many slots.
    #[error(
        "all names together have tables of {} slots, more than {}; have fewer names with many Sites or with weights far \
         apart",
        .0,
        BLOCKS_MAX * BLOCK_SLOTS
    )]
    TooManySlots(usize),
}

/// The immutable part of the maps.
#[derive(Debug)]
pub struct Image {
    /// `CONTROL`, without MACs.
    pub control: Control,
    /// `NAMES`, `TAILS` and `DISPLACE`.
    pub names: NameTable,
    /// `RDATA`: HTTPS records at their positions in a plan, then the zones' SOAs.
    pub rdata: Vec<Rdata>,
    /// `ENDPOINTS`.
    pub endpoints: Vec<Endpoint>,
    /// `CHOSEN`; `NETS` are the model's own.
    pub chosen: Vec<Chosen>,
    /// Of each bank of `SERVICES` and `SLOTS`.
    pub layout: Layout,
    /// The maps of signed zones.
    pub signed: SignedImage,
}

impl Image {
    /// Works out the maps' contents for a planner's model, its zones and their signatures. `first` is any plan of that planner.
    pub fn new(planner: &Planner, first: &Plan, zones: &Zones, signed: &AllSigned) -> Result<Self, ImageError> {
        let model = planner.model();
        let walk_from = zone_names::walk_from(zones);
        let existing = zone_names::names(zones, walk_from, first, model);
        let names = NameTable::build(&existing)?;
        let layout = Layout::new(planner);
        if layout.blocks > BLOCKS_MAX {
            return Err(ImageError::TooManySlots(layout.blocks * BLOCK_SLOTS));
        }
        let stale = model.life.max_plan_age.filter(|_| model.life.on_stale != OnStale::Keep);
        let mut control = Control {
            seed: names.seed,
            names: names.entries.len() as u32,
            bucket_mask: names.bucket_mask,
            walk_from,
            bank_services: first.services.len() as u32,
            bank_blocks: layout.blocks as u32,
            cursors: names.entries.len().next_power_of_two().min(CURSORS_MAX) as u32,
            abi: ABI,
            pid: std::process::id(),
            // Of 8 bytes, 8 of which are a cache line.
            answers: first.endpoints.len().next_multiple_of(8) as u32,
            age_max: stale.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
            net_roots: model.nets.tree().1,
            ..Control::default()
        };
        listen(&mut control, model);
        edns(&mut control, &model.edns);
        if let Some(rate) = model.rate_limit {
            control.limits = limits(rate, rand::random());
        }
        if let Some(bytes) = model.signed_bytes() {
            control.signed_bytes = byte_limits(bytes, rand::random());
        }
        let rdata = first.bindings.iter().map(|binding| rdata::https(*binding, model));
        let chosen = first.chosen.iter().map(|chosen| Chosen {
            service: chosen.service,
            name: names.position(model.names[chosen.name.0].name.as_slice()).unwrap_or(0),
        });
        Ok(Self {
            chosen: chosen.collect(),
            control,
            layout,
            signed: SignedImage::new(zones, signed, &names, first, model),
            names,
            rdata: rdata.chain(zones.iter().map(rdata::soa)).collect(),
            endpoints: first.endpoints.iter().copied().map(endpoint).collect(),
        })
    }

    /// Entries of `BUCKETS`.
    #[must_use]
    pub fn buckets(&self) -> u32 {
        self.control.limits.block_mask + 1
    }

    /// Entries of `BYTE_BUCKETS`.
    #[must_use]
    pub fn byte_buckets(&self) -> u32 {
        self.control.signed_bytes.block_mask + 1
    }

    /// Entries of `SERVICES`.
    #[must_use]
    pub fn services(&self) -> u32 {
        ALL_BANKS * self.control.bank_services
    }

    /// Entries of `SLOTS`.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        ALL_BANKS * self.control.bank_blocks
    }
}

/// VLANs as [`Control::vlans`] and [`Control::vlan_pairs`] have them, that of no VLAN with a priority among them. Of pairs
/// there are at most [`VLAN_PAIRS_MAX`]; further ones are left to the socket path.
#[must_use]
pub fn vlans(ours: &[Vlan]) -> ([u64; 1 << (VLAN_BITS - 6)], [u32; VLAN_PAIRS_MAX]) {
    let (mut single, mut pairs) = ([0; 1 << (VLAN_BITS - 6)], [0; VLAN_PAIRS_MAX]);
    single[0] = 1;
    for vlan in ours.iter().filter(|vlan| vlan.inner.is_none()) {
        single[usize::from(vlan.outer / 64) % single.len()] |= 1 << (vlan.outer % 64);
    }
    let of_two = ours.iter().filter_map(|vlan| Some(vlan_pair(vlan.outer, vlan.inner?)));
    pairs.iter_mut().zip(of_two).for_each(|(at, pair)| *at = pair);
    (single, pairs)
}

fn listen(control: &mut Control, model: &Model) {
    let (mut v4, mut v6) = (0, 0);
    for listen in &model.front.listen {
        let port = listen.port().to_be();
        match listen.ip() {
            IpAddr::V4(address) if v4 < LISTEN_MAX => {
                control.listen4[v4] = Listen4 { address: address.to_bits().to_be(), port, reserved: 0 };
                v4 += 1;
            }
            IpAddr::V6(address) if v6 < LISTEN_MAX => {
                control.listen6[v6] = Listen6 { address: words(address.into()), port, reserved: [0; 3] };
                v6 += 1;
            }
            // The configuration refuses more; the socket path serves them all the same.
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    control.listen4_len = v4 as u32;
    control.listen6_len = v6 as u32;
}

fn edns(control: &mut Control, edns: &EdnsConfig) {
    if let Some(secrets) = edns.cookies {
        control.options |= OPTION_COOKIE;
        // No second secret is as good as one that is the first.
        control.secrets = [secrets.present, secrets.previous.unwrap_or(secrets.present)];
    }
    if edns.client_subnet {
        control.options |= OPTION_SUBNET;
    }
    let nsid = edns.nsid.as_deref().unwrap_or_default().as_bytes();
    control.nsid_len = nsid.len().min(NSID_MAX) as u32;
    for (word, bytes) in control.nsid.iter_mut().zip(nsid.chunks(8)) {
        let mut octets = [0; 8];
        octets[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(octets);
    }
}

fn endpoint(address: IpAddr) -> Endpoint {
    let mut endpoint = Endpoint::default();
    match address {
        IpAddr::V4(address) => endpoint.address[0] = address.to_bits().to_be(),
        IpAddr::V6(address) => {
            for (i, word) in endpoint.address.iter_mut().enumerate() {
                *word = ((address.to_bits() >> (96 - 32 * i)) as u32).to_be();
            }
        }
    }
    endpoint
}

/// Where the tables of each of a plan's services lie in a bank, whatever the plan: a plan differs from another in a bank
/// only where its services differ.
#[derive(Clone, Debug)]
pub struct Layout {
    /// By position of the service and [`DynamicType::index`](zerottl_core::model::DynamicType::index): the table's first block.
    homes: Arc<[[u32; 3]]>,
    /// Blocks of a bank.
    blocks: usize,
}

/// The change that a plan makes in a bank at one service.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// The service's position in the bank's part of `SERVICES`.
    pub at: usize,
    /// The service to write there.
    pub service: ServiceEntry,
    /// Slots, and the position of the block that they begin in, in the bank's part of `SLOTS`.
    pub tables: [Option<(usize, &'a [u16])>; 3],
}

impl Layout {
    /// For the plans of a planner.
    #[must_use]
    pub fn new(planner: &Planner) -> Self {
        let mut blocks = 0;
        let homes = planner.slot_counts().map(|slots| {
            slots.map(|slots| {
                let home = blocks as u32;
                // A Site Name's one endpoint needs no place of its own, neither here nor in the kernel's cache.
                blocks += if slots > 1 { slots.div_ceil(BLOCK_SLOTS) } else { 0 };
                home
            })
        });
        let homes = homes.collect();
        // No map is empty.
        Self { homes, blocks: blocks.max(1) }
    }

    /// Returns what has to be written to a bank that holds the services of the plan `held` so that it holds those of
    /// `plan`.
    pub fn changes<'a>(&'a self, held: &'a Services, plan: &'a Plan) -> impl Iterator<Item = Change<'a>> {
        plan.services.changed(held).map(|(at, service, held)| {
            let mut tables = [None; 3];
            let mut choice = [ChoiceEntry::default(); 4];
            for of in 0..3 {
                let home = self.homes[at][of];
                choice[of] = kernel_choice(service, of, home);
                if let Choice::Table(table) = &service.choice[of]
                    && choice[of].kind != CHOICE_ONE
                    && held.is_none_or(|held| held.choice[of] != service.choice[of])
                {
                    tables[of] = Some((home as usize, &table.slots[..]));
                }
            }
            Change { at, service: kernel_service(service, choice), tables }
        })
    }
}

fn kernel_choice(service: &Service, of: usize, home: u32) -> ChoiceEntry {
    let of_kind = |kind| ChoiceEntry { kind, ..ChoiceEntry::default() };
    match &service.choice[of] {
        Choice::NoData => of_kind(CHOICE_NODATA),
        Choice::Servfail => of_kind(CHOICE_SERVFAIL),
        Choice::Table(table) => match &table.slots[..] {
            [endpoint] => ChoiceEntry { block: u32::from(*endpoint), ..of_kind(CHOICE_ONE) },
            slots => ChoiceEntry {
                block: home,
                mask: (slots.len() - 1) as u16,
                ..of_kind(match service.policy {
                    Policy::WeightedRoundRobin | Policy::LeastLoad => CHOICE_CURSOR,
                    Policy::WeightedRandom => CHOICE_RANDOM,
                    Policy::Sticky => CHOICE_STICKY,
                })
            },
        },
    }
}

fn kernel_service(service: &Service, choice: [ChoiceEntry; 4]) -> ServiceEntry {
    let (prefix4, prefix6) = service.sticky_prefix;
    let mask6 = mask6(prefix6);
    ServiceEntry {
        choice,
        ttl: service.ttl.to_be(),
        mask4: u32::MAX.checked_shl(32 - u32::from(prefix4)).unwrap_or(0).to_be(),
        mask6: [((mask6 >> 64) as u64).to_be(), (mask6 as u64).to_be()],
        chosen: service.chosen.unwrap_or(0),
        prefix: [prefix4, prefix6],
        reserved: [0; 2],
    }
}

/// A table as the blocks it is written in.
pub fn blocks(slots: &[u16]) -> impl Iterator<Item = SlotBlock> {
    slots.chunks(BLOCK_SLOTS).map(|slots| {
        let mut block = SlotBlock([0; BLOCK_SLOTS]);
        block.0[..slots.len()].copy_from_slice(slots);
        block
    })
}

/// A plan's bank, whole: for whoever fills maps without a [`Publisher`](super::publish::Publisher).
#[derive(Clone, Debug)]
pub struct Bank {
    /// `SERVICES`.
    pub services: Vec<ServiceEntry>,
    /// `SLOTS`.
    pub blocks: Vec<SlotBlock>,
}

impl Bank {
    /// Lays out a plan.
    #[must_use]
    pub fn new(layout: &Layout, plan: &Plan) -> Self {
        let mut bank = Self {
            services: vec![ServiceEntry::default(); plan.services.len()],
            blocks: vec![SlotBlock([0; BLOCK_SLOTS]); layout.blocks],
        };
        bank.apply(layout.changes(&Services::default(), plan));
        bank
    }

    /// Takes over what changes from the plan that lies there to another.
    pub fn apply<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) {
        for change in changes {
            self.services[change.at] = change.service;
            for (home, slots) in change.tables.into_iter().flatten() {
                self.blocks[home..].iter_mut().zip(blocks(slots)).for_each(|(at, block)| *at = block);
            }
        }
    }
}
