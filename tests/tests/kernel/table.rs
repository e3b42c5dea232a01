//! The kernel table through the kernel: the agent's own loader, publisher and plan, and the program as it is shipped.
//!
//! The rows are those that run on the host too (`xdp-ebpf/tests/rows/main.rs`): a row that held only on one side would show a
//! difference between what is tested without root and what answers, so both run the very same ones.

mod worlds;
mod zones;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use kernel_table::{
    existing::existing,
    host_maps::{self, Grow},
    mutate,
    packet::{A, AAAA, ask},
    policies, rows,
    runner::{self, Runner as _},
    verify,
    wire::wire,
    world::{self, ONE, TWO, World, WorldPolicy},
};
use tests::{
    kernel::{machine::FRAME_MIN, maps, planned::Planned},
    lab::can_load,
};
use xdp_ebpf::layout::{BANKS, FIXUP_APEX, FIXUP_NONE, NAME_INLINE, NameEntry};
use zerottl_core::{
    model::{Family, NameId, NameKind, Policy, SiteId},
    plan::PlannedAnswer,
    status::Health,
};
use zerottl_dns::view::View;
use zerottl_kernel::image::Image;

use self::worlds::Kernel;

/// The rows' assumptions about each name are what the agent's configuration, planner and SOA make of it.
#[test]
fn the_agent_configures_what_the_rows_assume() {
    let agent = Planned::world(World::Full);
    let (plan, model) = (agent.plan(1), agent.planner.model());
    let entries = world::entries();
    assert_eq!(model.names.len(), entries.len());
    for entry in entries {
        let at = model.names.iter().position(|name| name.name.to_string() == entry.name).unwrap();
        let service = plan.service(NameId(at));
        let policy = match service.policy {
            Policy::WeightedRoundRobin | Policy::LeastLoad => WorldPolicy::RoundRobin,
            Policy::WeightedRandom => WorldPolicy::Random,
            Policy::Sticky => WorldPolicy::Sticky,
        };
        assert_eq!((policy, service.ttl), (entry.policy, entry.ttl), "{}", entry.name);
        assert_eq!(matches!(model.names[at].kind, NameKind::Site(_)), entry.is_site, "{}", entry.name);
        if policy == WorldPolicy::Sticky {
            assert_eq!(service.sticky_prefix, world::STICKY_PREFIX);
        }
    }
    let rdata = Image::new(&agent.planner, &plan, &agent.zones, &agent.signed).unwrap().rdata;
    assert_eq!(plan.bindings.len(), world::BINDINGS);
    for (zone, soa) in world::zones().iter().zip(&rdata[world::BINDINGS..]) {
        assert_eq!(usize::from(soa.len), zone.rdlen, "{}", zone.apex);
        for (pointer, fixup) in zone.pointers.iter().zip(soa.fixups) {
            let found = (fixup.at != FIXUP_NONE)
                .then(|| (fixup.at.into(), (fixup.target != FIXUP_APEX).then_some(fixup.target.into())));
            assert_eq!(found, *pointer, "{}", zone.apex);
        }
    }
}

/// The agent's name map holds the names that the rows take to exist, each as they do, and no other.
#[test]
fn the_agents_names_are_what_the_rows_assume() {
    for world in World::ALL {
        let agent = Planned::world(world);
        let plan = agent.plan(1);
        let image = Image::new(&agent.planner, &plan, &agent.zones, &agent.signed).unwrap();
        assert_eq!(image.control.walk_from, 1);
        let mut found = BTreeMap::new();
        for entry in image.names.entries.iter().filter(|entry| entry.len > 0) {
            let len = usize::from(entry.len);
            let mut wire: Vec<u8> = entry.name.iter().flat_map(|word| word.to_ne_bytes()).collect();
            if len > NAME_INLINE {
                wire.extend(image.names.tails[entry.tail as usize].0.iter().flat_map(|word| word.to_ne_bytes()));
            }
            assert!(wire[len..].iter().all(|byte| *byte == 0), "zeros behind");
            wire.truncate(len);
            // Where things lie is the loader's to choose; that services are right, the rows show.
            let entry = NameEntry { service: 0, tail: 0, name: [0; NAME_INLINE / 8], ..*entry };
            assert_eq!(found.insert(wire, entry), None, "twice");
        }
        for name in existing() {
            let entry = found.remove(&wire(&name.name));
            assert_eq!(entry, Some(name.entry(world)), "{} in {world:?}", name.name);
        }
        assert_eq!(found.len(), 0, "{found:?} in {world:?}");
    }
}

/// S4-3A-305, S4-3A-310, S4-3A-315, S4-3A-325, S4-3A-330, S4-3B-355/360/365/370.
#[test]
fn every_row_holds_in_the_kernel() {
    if !can_load("the kernel table") {
        return;
    }
    let rows = rows::all();
    runner::check_coverage(&rows);
    let short = rows.iter().filter(|row| row.frame.len() < FRAME_MIN).count();
    let skipped = runner::run(&mut Kernel::new(&World::ALL), &rows);
    assert_eq!(skipped, short, "only frames without an Ethernet header are left to the host's run");
    println!("{} rows, {skipped} of them too short for test-run", rows.len());
}

#[test]
fn round_robin_takes_turns_in_the_kernel() {
    if can_load("round robin in the kernel") {
        policies::round_robin(&mut Kernel::new(&[World::Full]));
    }
}

#[test]
fn random_goes_by_weight_in_the_kernel() {
    if can_load("weighted random in the kernel") {
        policies::random(&mut Kernel::new(&[World::Full]));
    }
}

/// The kernel's choice is the socket path's (invariant 7).
#[test]
fn sticky_is_as_the_socket_path_says() {
    if !can_load("sticky in the kernel") {
        return;
    }
    let agent = Planned::world(World::Full);
    let view = View::new(Arc::clone(agent.planner.model()), agent.plan(1));
    let name = view.model.names.iter().position(|name| name.name.to_string() == "sticky.example").unwrap();
    let expected = |client: IpAddr| {
        let picks = Family::ALL.map(|family| view.pick(NameId(name), family, client.into()).pick);
        let site = [ONE, TWO].map(|site| site.map(|address| PlannedAnswer::Address(address.parse().unwrap(), 0)));
        site.iter().position(|site| *site == picks).expect("one Site for both families")
    };
    policies::sticky(&mut Kernel::new(&[World::Full]), &expected);
}

/// S4-DNS-STATUS: each plan is in force once it is published, through every bank and around again.
#[test]
fn every_plan_is_answered_from_at_once() {
    if !can_load("publishing in the kernel") {
        return;
    }
    let mut kernel = Kernel::new(&[World::Full]);
    let mut agent = Planned::world(World::Full);
    let model = Arc::clone(agent.planner.model());
    let two = model.sites.iter().position(|site| site.key == "two").unwrap();
    let next = model.names.iter().find(|name| name.kind == NameKind::Site(SiteId(two))).unwrap();
    assert_eq!(next.name.to_string(), "site-two.example");
    for generation in 2..2 + 3 * u64::from(BANKS) {
        let up = generation % 3 != 0;
        agent.status.health[two].fill(if up { Health::Up } else { Health::Down });
        kernel.world(World::Full).loaded.publisher.publish(&agent.plan(generation));
        for (kind, family) in [(A, 0), (AAAA, 1)] {
            let found = policies::answer(&mut kernel, &ask("site-two.example", kind).v4());
            let expected: IpAddr = if up { TWO[family] } else { ONE[family] }.parse().unwrap();
            assert_eq!(found, expected, "generation {generation}");
        }
    }
}

/// Code compiled twice does one thing: whatever frame comes, the kernel's program does what the host's does.
#[test]
fn kernel_and_host_agree_on_mutated_packets() {
    const FRAMES: u64 = 6_000;
    const SEED: u64 = 0x7a65_726f_7474_6c01;
    if !can_load("host against kernel") {
        return;
    }
    println!("seed {SEED:#x}, {FRAMES} frames");
    let mut kernel = Kernel::new(&[World::Full]);
    let held = maps::held(World::Full);
    let mut counts = BTreeMap::<&str, u64>::new();
    for i in 0..FRAMES {
        let frame = mutate::frame(SEED.wrapping_add(i));
        let Some(ran) = kernel.run(World::Full, &frame) else { continue };
        let expected = host_maps::run(&held, &frame, Grow::Tail);
        assert_eq!(ran, expected, "seed {:#x}: {}", SEED.wrapping_add(i), verify::hex(&frame));
        *counts.entry(ran.reason.name()).or_default() += 1;
    }
    println!("{counts:?}");
    assert!(counts.len() > 20, "the mutations do not reach far: {counts:?}");
}

/// Half of the million instructions that the verifier looks at, so that a new kernel's verifier has room to differ.
#[test]
fn the_verifier_has_room_to_spare() {
    const INSTRUCTIONS_MAX: u32 = 500_000;
    if !can_load("the verifier's work") {
        return;
    }
    let mut kernel = Kernel::new(&[World::Full]);
    for (program, count, size) in kernel.world(World::Full).verified() {
        println!("{program}: the verifier looked at {count} instructions of {size}");
        assert!(count <= INSTRUCTIONS_MAX, "{program}: {count} instructions");
    }
}
