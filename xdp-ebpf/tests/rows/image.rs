//! The maps of a [`World`], made by hand: other code than the agent's, so that the two do not share a fault.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use kernel_table::{
    existing::{Existing, Is, existing},
    host_maps::HostMaps,
    wire::wire,
    world::{self, BINDINGS, Entry, STICKY_PREFIX, Says, World, WorldPolicy},
};
use xdp_ebpf::{
    layout::{
        ALL_BANKS, BLOCK_DISPLACEMENTS, BLOCK_SLOTS, CHOICE_CURSOR, CHOICE_NODATA, CHOICE_RANDOM, CHOICE_SERVFAIL,
        CHOICE_STICKY, ChoiceEntry, Control, Cursor, Displace, Endpoint, FIXUP_APEX, FIXUP_NONE, Fixup, Listen4,
        Listen6, NAME_INLINE, NAME_SERVED, NameEntry, RDATA_ROOM, Rdata, ServiceEntry, SlotBlock, vlan_pair,
    },
    name::{self, position},
    scratch::Scratch,
    sum::Sum,
};

/// The bank in use; the others hold services that no packet may meet.
const BANK: u32 = 2;
/// Two blocks, so that a slot's block matters.
pub const SLOTS: usize = 2 * BLOCK_SLOTS;

/// The maps of a world.
pub fn held(world: World) -> HostMaps {
    let mut control = control(world);
    let entries = world::entries();
    let mut held = HostMaps { scratch: Some(Scratch::default()), ..HostMaps::default() };
    let zones = world::zones();
    held.rdata = vec![rdata(&[]); BINDINGS];
    held.rdata.extend(zones.iter().map(soa));
    let mut https = Vec::new();

    let (mut bank, mut blocks) = (Vec::new(), Vec::new());
    for entry in &entries {
        let mut service = ServiceEntry {
            ttl: entry.ttl.to_be(),
            mask4: (u32::MAX << (32 - STICKY_PREFIX.0)).to_be(),
            mask6: [(u64::MAX << (64 - STICKY_PREFIX.1)).to_be(), 0],
            ..ServiceEntry::default()
        };
        service.choice = [0, 1, 2, 3].map(|of| choice(entry, of, &mut held.endpoints, &mut https, &mut blocks));
        bank.push(service);
    }
    assert!(https.len() <= BINDINGS);
    held.rdata[..https.len()].copy_from_slice(&https);
    let named: Vec<_> = existing().iter().map(|name| (wire(&name.name), named(name, world))).collect();
    control.walk_from = 1;
    place(&mut held, &mut control, &named);
    held.cursors = RefCell::new(vec![Cursor::default(); held.names.len()]);

    control.bank_services = bank.len() as u32;
    control.bank_blocks = blocks.len() as u32;
    control.word = if world == World::NoPlan { 0 } else { 7 << 8 | u64::from(BANK) };
    for i in 0..ALL_BANKS {
        let other = vec![ServiceEntry::default(); bank.len()];
        held.services.extend_from_slice(if i == BANK { &bank } else { &other });
        let none = vec![SlotBlock([u16::MAX; BLOCK_SLOTS]); blocks.len()];
        held.slots.extend_from_slice(if i == BANK { &blocks } else { &none });
    }
    held.control = Some(control);
    held
}

fn named(existing: &Existing, world: World) -> NameEntry {
    let service = match existing.is {
        Is::Dynamic { entry, .. } => entry as u32,
        // Nobody may look.
        _ => u32::MAX,
    };
    NameEntry { service, ..existing.entry(world) }
}

/// The maps of a world with one name alone, in tables of one place: whatever is asked for is compared with it.
pub fn alone(name: &[u8]) -> HostMaps {
    let mut control = control(World::Full);
    control.word = 1 << 8;
    control.bank_services = 1;
    control.bank_blocks = 1;
    control.seed = 0x5eed;
    control.walk_from = name_labels(name);
    let (folded, tail) = name::key(name, control.seed).unwrap();
    let entry = NameEntry { len: name.len() as u8, kind: NAME_SERVED, name: folded.words, ..NameEntry::default() };
    let choice = ChoiceEntry { kind: CHOICE_CURSOR, ..ChoiceEntry::default() };
    HostMaps {
        control: Some(control),
        displace: vec![Displace([0; BLOCK_DISPLACEMENTS])],
        names: vec![entry],
        tails: vec![tail],
        endpoints: vec![endpoint(world::FOUR.parse().unwrap())],
        services: vec![ServiceEntry { choice: [choice; 4], ..ServiceEntry::default() }; ALL_BANKS as usize],
        slots: vec![SlotBlock([0; BLOCK_SLOTS]); ALL_BANKS as usize],
        cursors: RefCell::new(vec![Cursor::default()]),
        rdata: vec![soa(&world::zones()[0])],
        scratch: Some(Scratch::default()),
        ..HostMaps::default()
    }
}

/// Labels of a name in wire form, without the root's.
fn name_labels(wire: &[u8]) -> u32 {
    let (mut at, mut labels) = (0, 0);
    while wire[at] != 0 {
        at += 1 + usize::from(wire[at]);
        labels += 1;
    }
    labels
}

fn control(world: World) -> Control {
    let mut control = Control::default();
    for (address, port) in world.listen() {
        let port = port.to_be();
        match address {
            IpAddr::V4(address) => {
                let listen = Listen4 { address: u32::from_ne_bytes(address.octets()), port, reserved: 0 };
                control.listen4[control.listen4_len as usize] = listen;
                control.listen4_len += 1;
            }
            IpAddr::V6(address) => {
                let listen = Listen6 { address: halves(&address.octets()), port, reserved: [0; 3] };
                control.listen6[control.listen6_len as usize] = listen;
                control.listen6_len += 1;
            }
        }
    }
    for (own, mac) in control.mac.iter_mut().zip(world.macs()) {
        *own = u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]);
    }
    let (vlans, pairs) = world.vlans();
    for number in vlans.into_iter().chain([0]) {
        control.vlans[usize::from(number / 64)] |= 1 << (number % 64);
    }
    for (own, (outer, inner)) in control.vlan_pairs.iter_mut().zip(pairs) {
        *own = vlan_pair(outer, inner);
    }
    control
}

fn halves(octets: &[u8; 16]) -> [u64; 2] {
    [0, 8].map(|at| u64::from_ne_bytes(octets[at..at + 8].try_into().unwrap()))
}

fn endpoint(address: IpAddr) -> Endpoint {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    Endpoint { address: [0, 4, 8, 12].map(|at| u32::from_ne_bytes(octets[at..at + 4].try_into().unwrap())) }
}

fn choice(
    entry: &Entry,
    of: usize,
    endpoints: &mut Vec<Endpoint>,
    https: &mut Vec<Rdata>,
    blocks: &mut Vec<SlotBlock>,
) -> ChoiceEntry {
    let positions: Vec<u16> = match entry.says.get(of) {
        None => return ChoiceEntry::default(),
        Some(Says::NoData) => return ChoiceEntry { kind: CHOICE_NODATA, ..ChoiceEntry::default() },
        Some(Says::Servfail) => return ChoiceEntry { kind: CHOICE_SERVFAIL, ..ChoiceEntry::default() },
        Some(Says::Addresses(addresses)) => {
            addresses.iter().map(|address| position_of(endpoint(*address), endpoints, |a, b| a == b)).collect()
        }
        Some(Says::Https(records)) => {
            records.iter().map(|bytes| position_of(rdata(bytes), https, |a, b| a.bytes == b.bytes)).collect()
        }
    };
    let slots = if positions.len() == 1 { 1 } else { SLOTS };
    let block = blocks.len() as u32;
    for at in (0..slots).step_by(BLOCK_SLOTS) {
        // The second block goes on where the first ends, so that a turn in the wrong one shows.
        blocks.push(SlotBlock(std::array::from_fn(|i| positions[(at + i) % positions.len()])));
    }
    let kind = match entry.policy {
        WorldPolicy::RoundRobin => CHOICE_CURSOR,
        WorldPolicy::Random => CHOICE_RANDOM,
        WorldPolicy::Sticky => CHOICE_STICKY,
    };
    ChoiceEntry { block, mask: (slots - 1) as u16, kind, reserved: 0 }
}

/// Where a thing stands among those known, at the end if it is new.
fn position_of<T>(own: T, known: &mut Vec<T>, is_same: impl Fn(&T, &T) -> bool) -> u16 {
    known.iter().position(|known| is_same(known, &own)).unwrap_or_else(|| {
        known.push(own);
        known.len() - 1
    }) as u16
}

/// A perfect hash of two blocks of displacements: names by bucket, each bucket moved to the first place free for all.
fn place(held: &mut HostMaps, control: &mut Control, named: &[(Vec<u8>, NameEntry)]) {
    const SLOTS: usize = 4096;
    const BUCKETS: usize = 512;
    control.names = SLOTS as u32;
    control.bucket_mask = BUCKETS as u32 - 1;
    'seeds: for seed in 1..1_000 {
        control.seed = name::mix(seed, 0x00de_cade);
        held.names = vec![NameEntry::default(); SLOTS];
        held.displace = vec![Displace([0; BLOCK_DISPLACEMENTS]); BUCKETS / BLOCK_DISPLACEMENTS];
        held.tails.clear();
        let mut buckets = HashMap::<usize, Vec<(u64, NameEntry)>>::new();
        for (wire, entry) in named {
            let (folded, tail) = name::key(wire, control.seed).unwrap();
            let mut entry = NameEntry { len: wire.len() as u8, name: folded.words, ..*entry };
            if wire.len() > NAME_INLINE {
                entry.tail = held.tails.len() as u32;
                held.tails.push(tail);
            }
            buckets.entry((folded.hash >> 32) as usize % BUCKETS).or_default().push((folded.hash, entry));
        }
        for (bucket, members) in buckets {
            let fits = |displacement: &u32| {
                let mut places: Vec<u32> =
                    members.iter().map(|(hash, _)| position(*hash, *displacement, control.names)).collect();
                places.sort_unstable();
                places.dedup();
                places.len() == members.len() && places.iter().all(|at| held.names[*at as usize].len == 0)
            };
            let Some(displacement) = (0..SLOTS as u32).map(|step| step * (u32::MAX / SLOTS as u32)).find(fits) else {
                continue 'seeds;
            };
            held.displace[bucket / BLOCK_DISPLACEMENTS].0[bucket % BLOCK_DISPLACEMENTS] = displacement;
            for (hash, entry) in members {
                held.names[position(hash, displacement, control.names) as usize] = entry;
            }
        }
        return;
    }
    panic!("no seed places the names");
}

fn soa(zone: &world::WorldZone) -> Rdata {
    let mut bytes = Vec::new();
    let mut fixups = [Fixup { at: FIXUP_NONE, target: 0 }; 2];
    for ((name, pointer), fixup) in [&zone.mname, &zone.rname].into_iter().zip(zone.pointers).zip(&mut fixups) {
        let start = bytes.len();
        bytes.extend_from_slice(&wire(name));
        if let Some((at, target)) = pointer {
            assert!(at >= start, "a pointer before its name");
            bytes.truncate(at);
            bytes.extend_from_slice(&[0, 0]);
            *fixup = Fixup { at: at as u16, target: target.map_or(FIXUP_APEX, |target| target as u16) };
        }
    }
    for number in [world::SERIAL, world::REFRESH, world::RETRY, world::EXPIRE, zone.negative_ttl] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    Rdata { ttl: zone.negative_ttl.to_be(), fixups, ..rdata(&bytes) }
}

fn rdata(of: &[u8]) -> Rdata {
    let mut bytes = [0; RDATA_ROOM];
    bytes[..of.len()].copy_from_slice(of);
    let none = Fixup { at: FIXUP_NONE, target: 0 };
    Rdata { len: of.len() as u16, sum: Sum::of_bytes(of).fold(), ttl: 0, fixups: [none; 2], bytes }
}
