//! The kernel's name map against the socket path's zones (invariant 7): whatever name and type are asked for, both know
//! the same of it.

use std::collections::BTreeMap;

use domain::base::{Name, Rtype};
use kernel_table::{
    existing::{bit, existing},
    host_maps::{self, Grow},
    mutate::Random,
    packet::{A, AAAA, ask_wire, opt},
    wire::wire,
    world::World,
};
use tests::kernel::{maps, planned::Planned};
use xdp_ebpf::reason::Reason;
use zerottl_core::{
    model::DynamicType,
    plan::{Choice, Plan},
};
use zerottl_dns::zone::{FoldedName, Found, Zone};

/// A name made of parts of those that exist: labels taken off and put before, in either case, perhaps one byte changed.
fn name(random: &mut Random, known: &[Vec<u8>], labels: &[Vec<u8>]) -> Vec<u8> {
    let mut name = known[random.below(known.len())].clone();
    for _ in 0..random.below(4).saturating_sub(1) {
        if name[0] != 0 {
            name.drain(..=usize::from(name[0]));
        }
    }
    let deep = if random.below(16) == 0 { 100 } else { 4 };
    for _ in 0..random.below(deep).saturating_sub(1) {
        let longer = [&labels[random.below(labels.len())][..], &name].concat();
        if longer.len() <= 255 {
            name = longer;
        }
    }
    // Length bytes are left alone: letters are above all of them.
    let letters: Vec<usize> = (0..name.len()).filter(|at| name[*at].is_ascii_alphabetic()).collect();
    for at in &letters {
        if random.below(4) == 0 {
            name[*at] ^= 0x20;
        }
    }
    if !letters.is_empty() && random.below(4) == 0 {
        name[letters[random.below(letters.len())]] ^= 1 << random.below(8);
    }
    name
}

/// Returns what the socket path's zones know, as the reason that the kernel must have for it. Of what goes up, the kernel need
/// not know more.
fn expected(agent: &Planned, plan: &Plan, world: World, name: &FoldedName, rtype: u16) -> Reason {
    let Some(zone) = agent.zones.zone_of(name) else { return Reason::AnswerRefused };
    let rtype = Rtype::from_int(rtype);
    let node = match zone.find(name, rtype == Rtype::DS) {
        Found::Cut(_) | Found::Forward(_) | Found::Redirect(_) => return Reason::PassStatic,
        Found::Wildcard(_) | Found::Missing if is_below_an_alias(zone, name) => return Reason::PassStatic,
        Found::Wildcard(_) => return Reason::PassWildcard,
        Found::Missing => return Reason::AnswerNxdomain,
        Found::Exact(node) => node,
    };
    if node.is_cut || node.alias().is_some() || node.redirect().is_some() {
        return Reason::PassStatic;
    }
    if let Some(dynamic) = node.dynamic {
        assert_eq!(dynamic.refer.is_some(), world != World::Full && node.owner.to_string().starts_with("site-"));
        if dynamic.refer.is_some() {
            return Reason::PassReferral;
        }
        let dynamic_types =
            [(Rtype::A, DynamicType::A), (Rtype::AAAA, DynamicType::Aaaa), (Rtype::HTTPS, DynamicType::Https)];
        if let Some((_, of)) = dynamic_types.iter().find(|own| own.0 == rtype) {
            return match (plan.choice(dynamic.id, *of), of) {
                (Choice::NoData, _) => Reason::AnswerNodata,
                (Choice::Servfail, _) => Reason::AnswerServfail,
                (Choice::Table(_), DynamicType::A) => Reason::AnswerA,
                (Choice::Table(_), DynamicType::Aaaa) => Reason::AnswerAaaa,
                (Choice::Table(_), DynamicType::Https) => Reason::AnswerHttps,
            };
        }
    }
    // NSEC shares a bit with all types that have none of their own.
    if zone.is_signed() && bit(rtype.to_int()) == bit(Rtype::NSEC.to_int()) {
        return Reason::PassStatic;
    }
    // The two types of the world that share a bit are there on one name each, and are asked for by themselves.
    if node.set(rtype).is_some() { Reason::PassStatic } else { Reason::AnswerNodata }
}

/// Whether an alias stands above a name.
fn is_below_an_alias(zone: &Zone, name: &FoldedName) -> bool {
    (1..name.labels()).any(|first| {
        let above = Name::from_octets(name.suffix(first).to_vec()).unwrap();
        zone.node(above.for_slice()).is_some_and(|node| node.alias().is_some())
    })
}

/// S4-3A-330.
#[test]
fn the_name_map_says_what_the_zones_say() {
    const NAMES: u64 = 100_000;
    const SEED: u64 = 0x7a65_726f_7474_6c02;
    const TYPES: [u16; 12] = [A, AAAA, 2, 5, 6, 15, 16, 43, 65, 257, 65_280, 65_281];
    println!("seed {SEED:#x}, {NAMES} names");
    for world in [World::Full, World::BalanceOnly] {
        let agent = Planned::world(world);
        let (plan, held) = (agent.plan(1), maps::held(world));
        let known: Vec<Vec<u8>> =
            existing().iter().map(|name| wire(&name.name)).chain([wire(""), wire("com")]).collect();
        // First labels, each with its length byte.
        let first = |wire: &Vec<u8>| wire[..=usize::from(wire[0])].to_vec();
        let mut labels: Vec<Vec<u8>> = ["a", "*", "none", "r", "xexample"].map(|label| first(&wire(label))).to_vec();
        labels.extend(known.iter().map(first));
        labels.retain(|label| (2..20).contains(&label.len()));
        labels.sort_unstable();
        labels.dedup();
        // Many known names differ by length alone; the others must come up often enough.
        let (short, long): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|name| name.ends_with(b"\x07example\0") || name.ends_with(b"\x04test\0") || name.len() < 5);
        let mut counts = BTreeMap::<&str, u64>::new();
        for i in 0..NAMES {
            let random = &mut Random(SEED.wrapping_add(i));
            let known = if random.below(4) == 0 { &long } else { &short };
            let wire = name(random, known, &labels);
            let rtype = TYPES[random.below(TYPES.len())];
            // Room for every answer, so that none is cut.
            let message = ask_wire(wire.clone(), rtype).additional(&opt(1232, 0, &[0; 400]));
            let ran = host_maps::run(&held, &if i % 2 == 0 { message.v4() } else { message.v6() }.bytes(), Grow::Tail);
            let name = Name::from_octets(wire).unwrap();
            let mut says = expected(&agent, &plan, world, &FoldedName::new(name.for_slice()), rtype);
            // They share a bit, so that the kernel cannot tell them apart, and passes more than it must.
            let owner = name.to_string().to_ascii_lowercase();
            if (rtype, &owner[..]) == (65_281, "odd.example") || (rtype, &owner[..]) == (65_280, "kept.example") {
                assert_eq!(says, Reason::AnswerNodata);
                says = Reason::PassStatic;
            }
            assert_eq!(ran.reason, says, "{name}, type {rtype}, {world:?}, seed {:#x}", SEED.wrapping_add(i));
            *counts.entry(ran.reason.name()).or_default() += 1;
        }
        println!("{world:?}: {counts:?}");
        let common = [Reason::AnswerNxdomain, Reason::AnswerNodata, Reason::AnswerRefused, Reason::PassStatic];
        for reason in common.into_iter().chain([Reason::AnswerA, Reason::AnswerAaaa, Reason::PassWildcard]) {
            assert!(counts.get(reason.name()).is_some_and(|count| *count > 500), "{}: {counts:?}", reason.name());
        }
    }
}
