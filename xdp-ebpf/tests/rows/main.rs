//! The kernel table on the host: [`decide`](xdp_ebpf::decide::decide) and [`write`](xdp_ebpf::answer::write) over
//! hand-made maps. No root is needed, so that cargo-mutants can run it; `tests/tests/kernel/table.rs` runs the same rows
//! through the kernel.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod image;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use kernel_table::{
    existing,
    host_maps::{self, Grow, HostMaps},
    mutate,
    packet::{A, AAAA, Checksum, HTTPS, ask, ask_wire},
    policies,
    row::{self, Ran},
    rows,
    runner::{self, Runner},
    verify,
    wire::wire,
    world::{FOUR, STICKY_PREFIX, World, name_of_127_labels, name_of_len},
};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use xdp_ebpf::{
    decide::sticky_turn,
    frame::Frame,
    layout::{BLOCK_SLOTS, CHOICE_ONE, CHOICE_SERVFAIL, CURSORS_MAX, ChoiceEntry, Cursor, STALE_BANK, type_bit},
    name::walk,
    reason::{Action, Reason},
};

/// The host's machine: every world's maps, and each answer made with room at the tail and at the head.
struct Host(HashMap<World, HostMaps>);

impl Host {
    fn new() -> Self {
        Self(World::ALL.into_iter().map(|world| (world, image::held(world))).collect())
    }
}

impl Runner for Host {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        Some(host_maps::run(&self.0[&world], frame, Grow::Tail))
    }
}

/// The host's machine for frames without room at the tail.
struct AtHead(Host);

impl Runner for AtHead {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        Some(host_maps::run(&self.0.0[&world], frame, Grow::Head))
    }
}

/// S4-3A-305, S4-3A-310, S4-3A-315, S4-3A-325, S4-3A-330, S4-3B-355/360/365/370.
#[test]
fn every_row_holds() {
    let rows = rows::all();
    runner::check_coverage(&rows);
    assert_eq!(runner::run(&mut Host::new(), &rows), 0);
}

#[test]
fn every_row_holds_where_frames_grow_at_the_head() {
    assert_eq!(runner::run(&mut AtHead(Host::new()), &rows::all()), 0);
}

/// A plan that nobody confirms is answered from the bank behind the others once it is of age, and not a nanosecond before;
/// a confirmation that lies in the future is none that is missing.
#[test]
fn a_plan_of_age_is_stale() {
    let check = |age_max: u64, boot_ns: u64, expected: Reason| {
        let mut held = image::held(World::Full);
        let control = held.control.as_mut().unwrap();
        (control.confirmed, control.age_max) = (5_000, age_max);
        held.boot_ns = boot_ns;
        let stale = (STALE_BANK * control.bank_services) as usize;
        for choice in held.services[stale..].iter_mut().flat_map(|service| &mut service.choice) {
            choice.kind = CHOICE_SERVFAIL;
        }
        let ran = host_maps::run(&held, &ask("rr.example", A).v4().bytes(), Grow::Head);
        assert_eq!(ran.reason, expected, "{age_max} {boot_ns}");
    };
    check(1_000, 5_999, Reason::AnswerA);
    check(1_000, 6_000, Reason::AnswerServfail);
    check(1_000, u64::MAX, Reason::AnswerServfail);
    check(1_000, 4_000, Reason::AnswerA);
    check(0, u64::MAX, Reason::AnswerA);
}

/// A choice that says itself what a slot would: no block is looked at, and no cursor turns.
#[test]
fn a_choice_of_one_needs_no_table() {
    let mut held = image::held(World::Full);
    for choice in held.services.iter_mut().map(|service| &mut service.choice[0]) {
        *choice = ChoiceEntry { block: 1, kind: CHOICE_ONE, ..ChoiceEntry::default() };
    }
    held.slots.clear();
    held.cursors.borrow_mut().clear();
    let ran = host_maps::run(&held, &ask("rr.example", A).v4().bytes(), Grow::Head);
    let address = held.endpoints[1].address[0].to_ne_bytes();
    assert_eq!((ran.reason, &ran.frame[ran.frame.len() - 4..]), (Reason::AnswerA, &address[..]));
}

#[test]
fn round_robin_takes_turns() {
    policies::round_robin(&mut Host::new());
}

#[test]
fn random_goes_by_weight() {
    policies::random(&mut Host::new());
}

/// The turn is worked out here a second time, from the prefix as bytes.
#[test]
fn sticky_goes_by_prefix() {
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    };
    let expected = |client: IpAddr| {
        let words = match client {
            IpAddr::V4(client) => {
                let masked = client.to_bits() & (u32::MAX << (32 - STICKY_PREFIX.0));
                [u64::from(u32::from_ne_bytes(masked.to_be_bytes())), 0]
            }
            IpAddr::V6(client) => {
                let masked = (client.to_bits() & (u128::MAX << (128 - STICKY_PREFIX.1))).to_be_bytes();
                [0, 8].map(|at| u64::from_ne_bytes(masked[at..at + 8].try_into().unwrap()))
            }
        };
        let slot = (mix(mix(mix(words[0], 0), words[1]), 0) >> 16) as usize % image::SLOTS;
        // The hand-made table is one, two, one, one, two, one, …
        usize::from(slot % 3 == 1)
    };
    policies::sticky(&mut Host::new(), &expected);
}

/// Front ends of different versions must agree on a client's turn, so it may not change; worked out by hand.
#[test]
fn sticky_turns_are_for_ever() {
    let turns = [
        ([0x0, 0x0], 0x0),
        ([0x0064_33c6, 0x0], 0x5a69_fe24),
        ([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], 0xba29_9949),
        ([0xb80d_0120, 0x1], 0x2195_fcaf),
    ];
    for (prefix, turn) in turns {
        assert_eq!(sticky_turn(prefix), turn, "{prefix:#x?}");
    }
}

/// Clients that differ in one byte alone, whichever, are spread over the slots.
#[test]
fn sticky_spreads_by_every_byte() {
    for at in 0..16 {
        let turns = (0..=255).map(|byte| {
            let mut octets = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            octets[at] = byte;
            sticky_turn([0, 8].map(|half| u64::from_ne_bytes(octets[half..half + 8].try_into().unwrap())))
        });
        let slots: HashSet<u32> = turns.map(|turn| turn % 64).collect();
        assert!(slots.len() > 48, "byte {at}: {} of 64 slots", slots.len());
    }
}

#[test]
fn a_frame_knows_its_length() {
    let mut bytes = [0; 3];
    assert_eq!((Frame::of(&mut bytes).len(), Frame::of(&mut bytes).is_empty()), (3, false));
    assert_eq!((Frame::of(&mut []).len(), Frame::of(&mut []).is_empty()), (0, true));
}

/// A packet of a name's own world, and what becomes of it.
fn asked(held: &HostMaps, name: &[u8]) -> Reason {
    let frame = ask_wire(name.to_vec(), A).v4().bytes();
    let ran = host_maps::run(held, &frame, Grow::Tail);
    assert_eq!(ran.frame == frame, ran.action != Action::Answer);
    ran.reason
}

/// Invariant 2: where every question is compared with the same name, each of that name's bytes counts, and only they.
#[test]
fn a_name_is_compared_whole() {
    let mut names: Vec<Vec<u8>> = (5..=255).map(|len| wire(&name_of_len(len, 'a').unwrap())).collect();
    names.push(wire(&name_of_127_labels()));
    names.push(wire(""));
    for name in names {
        let held = image::alone(&name);
        assert_eq!(asked(&held, &name), Reason::AnswerA);
        let upper: Vec<u8> = name.iter().map(u8::to_ascii_uppercase).collect();
        assert_eq!(asked(&held, &upper), Reason::AnswerA);
        for at in (0..name.len()).filter(|at| name[*at].is_ascii_alphabetic()) {
            for bit in [0x01, 0x08, 0x80] {
                let mut near = name.clone();
                near[at] ^= bit;
                assert_eq!(asked(&held, &near), Reason::AnswerRefused, "byte {at} of {} by {bit:#x}", name.len());
                // The same bytes as a suffix, which the walk compares.
                let below = [b"\x01b", &near[..]].concat();
                let expected = if below.len() > 255 { Reason::PassName } else { Reason::AnswerRefused };
                assert_eq!(asked(&held, &below), expected, "byte {at} of {} by {bit:#x}, below", name.len());
            }
        }
        for label in [&b"\x01a"[..], b"\x02Ab", b"\x07abcdefg", b"\x01a\x03abc"] {
            let longer = [label, &upper[..]].concat();
            let expected = if longer.len() > 255 { Reason::PassName } else { Reason::AnswerNxdomain };
            assert_eq!(asked(&held, &longer), expected, "{label:x?} before {} bytes", name.len());
        }
        // Names of fewer labels than the walk begins with.
        let mut above = &name[..];
        while above != [0] {
            above = &above[1 + usize::from(above[0])..];
            assert_eq!(asked(&held, above), Reason::AnswerRefused);
        }
    }
}

/// All types, each with the bit that the agent and the program must agree on.
#[test]
fn every_type_has_its_bit() {
    for rtype in 0..=u16::MAX {
        assert_eq!(type_bit(rtype), 1 << existing::bit(rtype), "type {rtype}");
    }
}

/// Each byte value in a label matches itself and, if it is a letter, its other case: nothing else (RFC 4343).
#[test]
fn letters_alone_have_two_cases() {
    for own in 0..=255_u8 {
        // In each place of a word: folding works on eight bytes at once.
        let name = |byte: u8| [&[9][..], &[byte; 9], &[0]].concat();
        let held = image::alone(&name(own.to_ascii_lowercase()));
        for other in 0..=255_u8 {
            let same = own.eq_ignore_ascii_case(&other);
            let expected = if same { Reason::AnswerA } else { Reason::AnswerRefused };
            assert_eq!(asked(&held, &name(other)), expected, "{own:#x} and {other:#x}");
        }
    }
}

/// A missing map entry is [`Reason::Internal`]: the packet is dropped as it came, never answered half.
#[test]
fn a_missing_map_entry_is_a_bug_that_is_counted() {
    type Take = fn(&mut HostMaps);
    let long = name_of_len(200, 'a').unwrap();
    let parts: [(&str, Take, &[&str]); 9] = [
        ("CONTROL", |held| held.control = None, &["www.example"]),
        ("DISPLACE", |held| held.displace.clear(), &["www.example"]),
        ("NAMES", |held| held.names.clear(), &["www.example"]),
        ("TAILS", |held| held.tails.clear(), &[&long]),
        ("SERVICES", |held| held.services.clear(), &["www.example"]),
        ("SLOTS", |held| held.slots.clear(), &["www.example", "sticky.example"]),
        ("ENDPOINTS", |held| held.endpoints.clear(), &["www.example", "random.example"]),
        ("CURSORS", |held| held.cursors.borrow_mut().clear(), &["www.example"]),
        ("SERVICES' kinds", |held| held.services.fill(xdp_ebpf::layout::ServiceEntry::default()), &["www.example"]),
    ];
    for (part, take, names) in parts {
        let mut held = image::held(World::Full);
        take(&mut held);
        for name in names {
            let frame = ask(name, A).v4().bytes();
            let ran = host_maps::run(&held, &frame, Grow::Tail);
            assert_eq!(ran, Ran { action: Action::Abort, reason: Reason::Internal, frame }, "{part}, {name}");
        }
    }
    for (name, take) in [
        ("four.example", (|held| held.rdata.clear()) as Take),
        ("none.example", |held| held.rdata.clear()),
        ("none.example", |held| held.scratch = None),
        ("com", |held| held.scratch = None),
    ] {
        let mut held = image::held(World::Full);
        take(&mut held);
        let frame = ask(name, AAAA).v6().bytes();
        assert_eq!(host_maps::run(&held, &frame, Grow::Tail).reason, Reason::Internal, "{name}");
    }
    for take in [(|held| held.rdata.clear()) as Take, |held| held.cursors.borrow_mut().clear()] {
        let mut held = image::held(World::Full);
        take(&mut held);
        let frame = ask("rr.example", HTTPS).v6().bytes();
        assert_eq!(host_maps::run(&held, &frame, Grow::Tail).reason, Reason::Internal);
    }
}

/// A turn is a slot of its own, in every block of a table, also where the cursor wraps around.
#[test]
fn each_turn_has_its_slot() {
    let mut held = image::alone(&wire("www.example"));
    let slots = 4 * BLOCK_SLOTS;
    for service in &mut held.services {
        service.choice[0].mask = slots as u16 - 1;
    }
    let control = held.control.as_mut().unwrap();
    control.bank_blocks = 4;
    control.word = 5 << 8 | 3;
    let addresses = 0..slots as u32;
    held.endpoints = addresses.clone().map(|i| xdp_ebpf::layout::Endpoint { address: [i.to_be(), 0, 0, 0] }).collect();
    // Three other banks of four blocks come before.
    let block = |i: usize| xdp_ebpf::layout::SlotBlock(std::array::from_fn(|slot| (i * BLOCK_SLOTS + slot) as u16));
    held.slots = (0..16).map(|i| if i < 12 { block(1_000) } else { block(i - 12) }).collect();
    held.cursors.borrow_mut()[0] = Cursor([1, u32::MAX - 10, 0, 0]);
    let frame = ask("www.example", A).v4().bytes();
    for turn in 0..2 * slots as u32 {
        let ran = host_maps::run(&held, &frame, Grow::Tail);
        let found = u32::from_be_bytes(ran.frame[ran.frame.len() - 4..].try_into().unwrap());
        assert_eq!(found, (u32::MAX - 10).wrapping_add(turn) % slots as u32);
    }
}

/// However the queries for two names that share a cursor follow each other, each slot comes as often as any for both; a name
/// that is asked for again and again goes round. By chi-square at seven degrees of freedom: passed by chance once in a
/// hundred million runs.
#[test]
fn names_that_share_a_cursor_keep_their_shares() {
    const SLOTS: u32 = 8;
    let patterns: [&[u32]; 5] = [&[0, 1], &[0, 0, 1], &[0, 1, 1, 0], &[0, 0, 0, 0, 1], &[0, 1, 1, 1, 1, 1, 1, 1, 1]];
    for which in 0..3 {
        for pattern in patterns {
            let (mut cursor, mut random) = (Cursor::default(), 0x9e37_79b9_u32);
            let mut seen = [[0_u32; SLOTS as usize]; 2];
            for name in pattern.iter().cycle().take(40_000) {
                let turn = cursor.turn(*name * CURSORS_MAX as u32, which, || {
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    random
                });
                seen[*name as usize][(turn % SLOTS) as usize] += 1;
            }
            for seen in seen {
                let expected = f64::from(seen.iter().sum::<u32>()) / f64::from(SLOTS);
                let chi_square: f64 = seen.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum();
                assert!(chi_square < 50.0, "{chi_square:.1} in {pattern:?}, type {which}: {seen:?}");
            }
        }
    }
    let mut cursor = Cursor::default();
    let first = cursor.turn(7, 0, || 1_000);
    assert!((1..1_000).all(|i| cursor.turn(7, 0, || panic!("it is its own")) == first + i));
    // What comes between is another type's, with a start of its own.
    let other = cursor.turn(7, 1, || panic!("it is its own"));
    assert!(other % SLOTS != first % SLOTS && cursor.turn(7, 0, || panic!("it is its own")) == first + 1_000);
}

/// The name `""` can be configured by hand-made maps alone; the wire's shortest question is answered all the same.
#[test]
fn the_root_is_a_name() {
    let held = image::alone(&[0]);
    let frame = ask("", A).v4().checksum(Checksum::Given(0)).bytes();
    assert_eq!(frame.len(), 14 + 20 + 8 + 17);
    let ran = host_maps::run(&held, &frame, Grow::Tail);
    assert_eq!(ran.reason, Reason::AnswerA);
    let row = row::answers("the root", frame, FOUR);
    assert_eq!(verify::fault(&row, &ran), None);
}

/// Length of a name, label by label; the question's type and class must follow it.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        match usize::from(*bytes.get(len)?) {
            0 => return (len < 255 && bytes.len() >= len + 5).then_some(len + 1),
            label @ 1..=63 => len += label + 1,
            _ => return None,
        }
    }
}

/// Labels of one byte are read two at a time: with others between them, of every length, and cut off everywhere, a name is as
/// long as it is. A name that is followed by less than type and class may be called as long as it is, or none.
#[test]
fn a_name_is_as_long_as_its_labels() {
    let ones = |count: usize| [1, b'a'].repeat(count);
    for (before, label) in (0..=127_usize).flat_map(|before| [0, 1, 2, 3, 62, 63, 64].map(|label| (before, label))) {
        for after in [0, 1, 2, 3, 127 - before, 127_usize.saturating_sub(before + label / 2)] {
            let mut name = [ones(before), vec![label as u8], vec![b'b'; label], ones(after)].concat();
            name.extend([0, 0, 1, 0, 1]);
            for end in (name.len().saturating_sub(12)..=name.len()).chain([before, 2 * before]) {
                let cut = &mut name[..end].to_vec();
                let (expected, is_whole) = (length(cut), length(&[&cut[..], &[0; 4]].concat()));
                let walked = walk(Frame::of(cut), 0).ok();
                let is_right = walked == expected || (expected.is_none() && walked == is_whole);
                assert!(
                    is_right && walked.is_none_or(|len| len <= end),
                    "{walked:?}, not {expected:?}: {:?}",
                    &name[..end]
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// S4-3A-305: whatever comes, nothing panics, what is not answered stays as it was, and answers are well-formed.
    #[test]
    fn mutated_packets_are_answered_rightly_or_left_alone(seed in any::<u64>()) {
        thread_local! {
            static HELD: HostMaps = image::held(World::Full);
        }
        let frame = mutate::frame(seed);
        let ran = HELD.with(|held| host_maps::run(held, &frame, Grow::Head));
        prop_assert_eq!(ran.reason.action(), ran.action);
        prop_assert_eq!(ran.action == Action::Abort, false);
        if ran.action == Action::Answer {
            prop_assert_eq!(verify::well_formed(&frame, &ran.frame), Ok(()));
        } else {
            prop_assert_eq!(ran.frame, frame);
        }
    }
}
